"""Random chords of a domain."""

from __future__ import annotations

import numpy as np

from jensen.certify._exact_domain import ExactDomain
from jensen.certify._lines import Lines
from jensen.errors import DomainError
from jensen.network import Domain, FloatArray, WholeSpace

DECADES = 2.0
"""On an unbounded domain lengths of chords are spread evenly, by their logarithm, up to 10 ** DECADES."""

CELLS = 1 << 18
"""Numbers that are drawn in advance, at most."""


class Chords:
    """Draws random chords of a domain, reproducibly.

    Half of them are full chords through a random point; the others are random parts of such, so that kinks
    that are close to each other are told apart.

    Parameters
    ----------
    domain : Domain or None
        None is the whole space.
    d : int
        Number of inputs.
    seed : int

    Raises
    ------
    DomainError
        If the domain is empty, a single point, or does not fit d.
    """

    def __init__(self, domain: Domain | None, d: int, seed: int) -> None:
        where = WholeSpace() if domain is None else domain
        exact = ExactDomain(where, d)
        if not exact.directions:
            raise DomainError("the domain is a single point: no line runs through it")
        self.d = d
        self._ready = np.empty((2, 0, d))
        self._lines = Lines(where, exact, seed)
        self._lines.decades = DECADES
        width = float(np.linalg.norm(self._lines.hi - self._lines.lo))
        if np.isfinite(width):  # the least random length exceeds every chord of the box
            self._lines.reach = 100.0 * width

    def draw(self, count: int) -> FloatArray:
        """End points of chords, a (2, count, d) array."""
        while self._ready.shape[1] < count:  # in advance: many at once cost little more than a few
            most = max(count, min(64 * count, CELLS // self.d))
            self._ready = np.concatenate([self._ready, self._more(most)], axis=1)
        drawn, self._ready = self._ready[:, :count], self._ready[:, count:]
        return drawn

    def _more(self, count: int) -> FloatArray:
        lines = self._lines
        points, directions, begin, end = lines.sample(count)
        share = np.sort(lines.rng.random((len(points), 2)), axis=1)
        share[::2] = 0.0, 1.0
        t = begin[:, None] + (end - begin)[:, None] * share
        # Rounding must not carry an end out of the box.
        return np.stack([np.clip(points + t[:, [k]] * directions, lines.lo, lines.hi) for k in (0, 1)])
