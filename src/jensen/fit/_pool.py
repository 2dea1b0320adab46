"""The groups of a restricted programme, which come and go."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from jensen.fit._losses import Floats
from jensen.fit._patterns import Gates
from jensen.fit._solution import Groups

_PATIENCE = 6
"""Solves for which a group may stay unused before it is dropped."""


class Pool:
    """Groups, each once, with their coefficients and for how many solves they were zero.

    Parameters
    ----------
    x : (n, d) array
    """

    def __init__(self, x: Floats) -> None:
        self._x = x
        self._place: dict[bytes, int] = {}
        self._gates: list[NDArray[np.bool_]] = []
        self._signs: list[int] = []
        self._idle: list[int] = []
        self._coefficients: list[Floats] = []

    def __len__(self) -> int:
        return len(self._signs)

    @property
    def groups(self) -> Groups:
        """The groups, in the order of `coefficients`."""
        gates = np.array(self._gates, dtype=bool).reshape(-1, len(self._x))
        return Groups(gates, np.array(self._signs, dtype=np.int8))

    @property
    def coefficients(self) -> Floats:
        """Coefficients (P, d), where the next solve starts."""
        return np.array(self._coefficients).reshape(-1, self._x.shape[1])

    def add(self, gates: Gates, signs: NDArray[np.int8]) -> int:
        """Add groups that are not there; returns how many that were."""
        before = len(self)
        for gate, sign in zip(gates, signs.tolist(), strict=True):
            if gate.any():
                self._at(gate, sign)
        return len(self) - before

    def _at(self, gate: NDArray[np.bool_], sign: int) -> int:
        key = np.packbits(gate).tobytes() + (b"+" if sign > 0 else b"-")
        place = self._place.setdefault(key, len(self))
        if place == len(self):
            self._gates.append(gate.copy())
            self._signs.append(sign)
            self._idle.append(0)
            self._coefficients.append(np.zeros(self._x.shape[1]))
        return place

    def solved(self, coefficients: Floats) -> None:
        """Take over a solution for all groups."""
        self._coefficients = list(coefficients)
        used = np.linalg.norm(coefficients, axis=1) > 0
        self._idle = [0 if used[i] else idle + 1 for i, idle in enumerate(self._idle)]

    def move_to(self, coefficients: Floats, signs: NDArray[np.int8]) -> int:
        """Let the next solve start at a network, whose groups are added; returns how many were new."""
        before = len(self)
        for place in range(before):
            self._coefficients[place] = np.zeros(self._x.shape[1])
        for u, sign in zip(coefficients, signs.tolist(), strict=True):
            gate = self._x @ u > 0
            if gate.any():
                place = self._at(gate, sign)
                self._coefficients[place] = self._coefficients[place] + u
        return len(self) - before

    def forget(self) -> None:
        """Drop the groups that were unused for long."""
        kept = [i for i, idle in enumerate(self._idle) if idle < _PATIENCE or self._coefficients[i].any()]
        if len(kept) == len(self):
            return
        keys = list(self._place)
        self._place = {keys[i]: new for new, i in enumerate(kept)}
        self._gates = [self._gates[i] for i in kept]
        self._signs = [self._signs[i] for i in kept]
        self._idle = [self._idle[i] for i in kept]
        self._coefficients = [self._coefficients[i] for i in kept]
