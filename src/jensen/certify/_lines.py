"""Random chords of a domain: where the falsify stage looks."""

from __future__ import annotations

import numpy as np

from jensen.certify._exact_domain import ExactDomain
from jensen.network import Domain, FloatArray


class Lines:
    """Random chords of the domain, in directions that move only the chosen inputs.

    Where the domain is unbounded, chords reach up to 10 ** `decades` times the scale of its interior point.
    """

    def __init__(self, domain: Domain, exact: ExactDomain, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.d = exact.d
        self.lo, self.hi = domain.bounds(self.d)
        self.A, self.b = domain.inequalities(self.d)
        self.start = exact.interior_point
        self.reach = max(1.0, float(np.abs(self.start).max()))
        self.decades = 0.5
        self._exact = exact
        self.mask = np.zeros(self.d)
        for step in exact.directions:
            self.mask[list(step)] = 1.0

    def _random_directions(self, count: int) -> FloatArray:
        steps = self._exact.directions
        coefficients = self.rng.normal(size=(count, len(steps)))
        if len(steps) > 1:  # sparse moves as well: kinks often hide along single inputs
            coefficients[::4] *= self.rng.random((len(coefficients[::4]), len(steps))) < 2.0 / len(steps)
        if all(len(step) == 1 for step in steps):
            directions = np.zeros((count, self.d))
            directions[:, [next(iter(step)) for step in steps]] = coefficients
        else:
            basis = np.zeros((len(steps), self.d))
            for i, step in enumerate(steps):
                for j, v in step.items():
                    basis[i, j] = int(v.p) / int(v.q)
            directions = coefficients @ basis
        norms = np.linalg.norm(directions, axis=1, keepdims=True)
        return np.asarray(directions[norms[:, 0] > 0] / norms[norms[:, 0] > 0])

    def chords(self, points: FloatArray, directions: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Ranges of t in which points + t directions stay in the domain, at random scale where unbounded."""
        with np.errstate(divide="ignore", invalid="ignore"):
            to_hi = (self.hi - points) / directions
            to_lo = (self.lo - points) / directions
            forward = np.where(directions > 0, to_hi, np.where(directions < 0, to_lo, np.inf)).min(axis=1)
            backward = np.where(directions > 0, to_lo, np.where(directions < 0, to_hi, -np.inf)).max(axis=1)
            if len(self.b):
                rate, room = directions @ self.A.T, self.b - points @ self.A.T
                forward = np.minimum(forward, np.where(rate > 0, room / rate, np.inf).min(axis=1))
                backward = np.maximum(backward, np.where(rate < 0, room / rate, -np.inf).max(axis=1))
        scale = self.reach * 10.0 ** self.rng.uniform(-2, self.decades, size=len(points))
        return np.maximum(np.minimum(backward, 0.0), -scale), np.minimum(np.maximum(forward, 0.0), scale)

    def sample(
        self, count: int, near: FloatArray | None = None
    ) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        """Return points, directions and chord ends of about `count` lines."""
        if near is None:
            finite = np.isfinite(self.lo) & np.isfinite(self.hi)
            if finite.all() and not len(self.b):
                share = self.rng.random((count, self.d))
                points = self.lo * (1 - share) + self.hi * share
            else:
                points = np.repeat(self.start[None, :], count, axis=0)
                for _ in range(4):
                    points = self._step(points)
        else:
            points = near[self.rng.integers(len(near), size=count)]
        directions = self._random_directions(len(points))
        points = points[: len(directions)]
        return points, directions, *self.chords(points, directions)

    def _step(self, points: FloatArray) -> FloatArray:
        raw = self.rng.normal(size=points.shape) * (self.lo < self.hi)
        if len(self.b) and len(self._exact.equalities):
            raw = self._random_directions(len(points))
            points = points[: len(raw)]
        raw /= np.maximum(np.linalg.norm(raw, axis=1, keepdims=True), 1e-300)
        begin, end = self.chords(points, raw)
        t = self.rng.uniform(begin, end)
        return np.asarray(points + 0.98 * t[:, None] * raw)
