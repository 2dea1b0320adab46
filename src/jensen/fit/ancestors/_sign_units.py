"""Linear threshold units: the one that a signal asks for most, exactly in low rank, by search beyond.

A unit is s(x . w), 1 for x . w > 0 and -1 otherwise. To maximise |r' s(X w)| is to find the linear
classifier with the least weighted error, which is hard in general; in rank k there are of order n^(k - 1)
cells to look at.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog

from jensen.errors import ArgumentError
from jensen.fit._arrangement import all_gates, count_gates, independent_columns
from jensen.fit._losses import Floats

_MOST_CELLS = 200_000
_PATIENCE = 10
"""Circles without progress, for each dimension, that end a search."""


def sign_outputs(x: Floats, weights: Floats) -> Floats:
    """Evaluate units: (n, d) and (m, d) to (n, m) of 1 and -1."""
    return np.where(x @ weights.T > 0, 1.0, -1.0)


def direction_of(x: Floats, gate: NDArray[np.bool_]) -> Floats:
    """Find a unit vector in the middle of a gate's cell: the largest margin in the cube.

    Raises
    ------
    ArgumentError
        If the gate is not that of a cell.
    """
    lengths = np.linalg.norm(x, axis=1)
    some = lengths > 0
    if not some.any():
        w = np.zeros(x.shape[1])
        w[0] = 1.0
        return w
    rows = np.where(gate, 1.0, -1.0)[some, None] * x[some] / lengths[some, None]
    d = x.shape[1]
    cost = np.zeros(d + 1)
    cost[d] = -1.0
    found = linprog(
        cost,
        A_ub=np.concatenate([-rows, np.ones((len(rows), 1))], axis=1),
        b_ub=np.zeros(len(rows)),
        bounds=[(-1.0, 1.0)] * d + [(None, 1.0)],
        method="highs",
    )
    w = np.zeros(d) if found.x is None else np.asarray(found.x[:d])
    if found.status != 0 or not (rows @ w > 0).all():
        raise ArgumentError("there is no direction with this gate in general position")
    return np.asarray(w / np.linalg.norm(w))


class SignOracle:
    """Finds the unit with the largest |r' s(X w)|.

    Attributes
    ----------
    exact : bool
        Whether all cells are looked at: for ranks with at most 200,000 of them. Units whose hyperplane meets
        a nonzero sample are limits that are not counted.
    """

    def __init__(self, x: Floats, rng: np.random.Generator, starts: int = 20) -> None:
        self._x, self._rng, self._starts = x, rng, starts
        rank = max(1, len(independent_columns(x)))
        self.exact = count_gates(len(x), rank) <= _MOST_CELLS
        if self.exact:
            none = np.zeros((1, len(x)), dtype=bool)
            cells = all_gates(x, limit=_MOST_CELLS)
            # The empty gate is a cell iff its opposite is, for samples that are not zero.
            some = x.any(1)
            opposite = bool((cells[:, some].all(1)).any()) or not some.any()
            self._gates = np.concatenate([none, cells]) if opposite else cells
            self._patterns = np.where(self._gates, 1.0, -1.0)

    def best(self, signal: Floats) -> tuple[Floats, float]:
        """Return a unit vector w and |r' s(X w)|: the largest one if `exact`."""
        if self.exact:
            scores = np.abs(self._patterns @ signal)
            place = int(np.argmax(scores))
            return direction_of(self._x, self._gates[place]), float(scores[place])
        found = [self._search(signal) for _ in range(self._starts)]
        scores = np.abs(signal @ sign_outputs(self._x, np.array(found)))
        place = int(np.argmax(scores))
        return found[place], float(scores[place])

    def _search(self, signal: Floats) -> Floats:
        """Improve a random direction on great circles through random others, each searched exactly."""
        d = self._x.shape[1]
        w = _unit(self._rng.standard_normal((d,)))
        score, idle = 0.0, 0
        while idle < _PATIENCE * d:
            v = self._rng.standard_normal((d,))
            v = _unit(v - (v @ w) * w)
            angle, found = _best_on_circle(self._x @ w, self._x @ v, signal)
            idle = 0 if found > score * (1 + 1e-12) else idle + 1
            if found > score:
                w, score = _unit(np.cos(angle) * w + np.sin(angle) * v), found
        return w


def _unit(w: Floats) -> Floats:
    return np.asarray(w / np.linalg.norm(w))


def _best_on_circle(one: Floats, two: Floats, signal: Floats) -> tuple[float, float]:
    """Maximise |r' s(cos t one + sin t two)| over angles t; the angle and the value."""
    moving = (one != 0) | (two != 0)
    angles = np.sort(np.mod(np.arctan2(-one[moving], two[moving]), np.pi))
    if not angles.size:
        return 0.0, float(abs(signal.sum()))
    middles = (angles + np.append(angles[1:], angles[0] + np.pi)) / 2
    products = np.cos(middles)[:, None] * one + np.sin(middles)[:, None] * two
    # Opposite units differ on samples that are zero: both are looked at.
    ahead, behind = (np.abs(np.where(side > 0, 1.0, -1.0) @ signal) for side in (products, -products))
    best = int(np.argmax(np.maximum(ahead, behind)))
    turn = 0.0 if ahead[best] >= behind[best] else np.pi
    return float(middles[best] + turn), float(max(ahead[best], behind[best]))
