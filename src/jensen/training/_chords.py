"""Random chords of a domain."""

from __future__ import annotations

import numpy as np

from jensen.certify._exact_domain import ExactDomain
from jensen.certify._lines import Lines
from jensen.errors import DomainError
from jensen.network import Domain, FloatArray, WholeSpace

DECADES = 2.0
"""On an unbounded domain lengths of chords are spread evenly, by their logarithm, up to 10 ** DECADES."""


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
        self._lines = Lines(where, exact, seed)
        self._lines.decades = DECADES
        width = float(np.linalg.norm(self._lines.hi - self._lines.lo))
        if np.isfinite(width):  # the least random length exceeds every chord of the box
            self._lines.reach = 100.0 * width

    def draw(self, count: int) -> tuple[FloatArray, FloatArray]:
        """End points of chords, two (count, d) arrays."""
        starts, ends = np.empty((0, self.d)), np.empty((0, self.d))
        while len(starts) < count:
            points, directions, begin, end = self._lines.sample(count - len(starts))
            share = np.sort(self._lines.rng.random((len(points), 2)), axis=1)
            share[::2] = 0.0, 1.0
            t = begin[:, None] + (end - begin)[:, None] * share
            # Rounding must not carry an end out of the box.
            p, q = (np.clip(points + t[:, [k]] * directions, self._lines.lo, self._lines.hi) for k in (0, 1))
            starts, ends = np.concatenate([starts, p]), np.concatenate([ends, q])
        return starts, ends
