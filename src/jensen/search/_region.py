"""Where a search for violations may go: points of a polyhedron, and segments in the variables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog

from jensen.errors import DomainError
from jensen.network import FloatArray

Exact = list[Fraction]
_SCALES = (0.1, 0.3, 1.0, 3.0, 10.0)
_LENGTHS = (0.1, 0.5, 2.0)
_WALKERS = 32
_INSIDE = 1 - 1e-6
"""Part of the way to the border that a step may go: beyond it, rounding could leave the domain."""


@dataclass(frozen=True)
class Hull:
    """The affine hull of a polyhedron, exactly.

    Attributes
    ----------
    start : sequence of Fraction
        A point of the relative interior.
    strides, moves : sequence of {entry: Fraction}
        Bases of the directions in which points may lie, and in which the two ends of a segment may differ.
    """

    start: Sequence[Fraction]
    strides: Sequence[Mapping[int, Fraction]]
    moves: Sequence[Mapping[int, Fraction]]


def interior(lo: FloatArray, hi: FloatArray, moves: NDArray[np.bool_], A: FloatArray, b: FloatArray) -> Hull:
    """Find the centre of a large ball inside a polyhedron that has an inside.

    Raises
    ------
    DomainError
        If the polyhedron is empty.
    """
    free = np.flatnonzero(lo < hi)
    still = np.where(lo < hi, 0.0, lo)
    # The last variable is the ball's radius, which also keeps away from the bounds.
    rows = [np.hstack([A[:, free], np.linalg.norm(A[:, free], axis=1, keepdims=True)])]
    right = [b - A @ still]
    for sign, bound in ((1.0, hi[free]), (-1.0, -lo[free])):
        used = np.isfinite(bound)
        rows.append(np.hstack([sign * np.eye(free.size), np.ones((free.size, 1))])[used])
        right.append(bound[used])
    limits = [(None, None)] * free.size + [(0.0, 1.0)]
    cost = np.append(np.zeros(free.size), -1.0)
    solved = linprog(cost, np.vstack(rows), np.concatenate(right), bounds=limits, method="highs")
    if solved.x is None:
        raise DomainError("no point lies in the domain: its inequalities have no common solution")
    point = still.copy()
    point[free] = solved.x[:-1]
    strides, steps = (
        [{int(j): Fraction(1)} for j in np.flatnonzero(m)] for m in (lo < hi, moves & (lo < hi))
    )
    return Hull([Fraction(v) for v in point.tolist()], strides, steps)


class Region:
    """Points x with lo <= x <= hi and A x <= b, and segments along the entries that move.

    Parameters
    ----------
    lo, hi : (size,) arrays
    moves : (size,) array of bool
        Entries in which the ends of a segment may differ.
    A, b : (m, size) and (m,) arrays, optional
    hull : Hull, optional
        Needed where there are inequalities.
    """

    def __init__(
        self,
        lo: FloatArray,
        hi: FloatArray,
        moves: NDArray[np.bool_],
        A: FloatArray | None = None,
        b: FloatArray | None = None,
        hull: Hull | None = None,
    ) -> None:
        self.lo, self.hi, self.size = lo, hi, lo.size
        self.A = np.zeros((0, lo.size)) if A is None else A
        self.b = np.zeros(0) if b is None else b
        self.hull = hull
        self.moving = moves & (lo < hi)
        self._free = lo < hi
        # Orthonormal rows; None where the directions are just the entries of a mask.
        self._strides = None if hull is None else _orthonormal(hull.strides, self.size, self._free)
        self._moves = None if hull is None else _orthonormal(hull.moves, self.size, self.moving)
        self.dimension = int(self.moving.sum()) if self._moves is None else len(self._moves)
        if hull is not None:
            self._walkers = np.tile([float(v) for v in hull.start], (_WALKERS, 1))

    def points(self, rng: np.random.Generator, n: int) -> FloatArray:
        """Draw n points of the domain."""
        if self.hull is not None:
            return self._walked(rng, n)
        x = rng.standard_normal((n, self.size)) * rng.choice(_SCALES, (n, 1))
        low, high = np.isfinite(self.lo), np.isfinite(self.hi)
        x = np.where(low & ~high, self.lo + np.abs(x), np.where(high & ~low, self.hi - np.abs(x), x))
        both = low & high
        x[:, both] = rng.uniform(self.lo[both], self.hi[both], (n, int(both.sum())))
        return np.asarray(x)

    def _walked(self, rng: np.random.Generator, n: int) -> FloatArray:
        """Hit and run: the next point lies anywhere on a line through the last."""
        found: list[FloatArray] = []
        for _ in range(-(-n // _WALKERS)):
            for _ in range(3):
                step = self.along(rng.standard_normal(self._walkers.shape))
                step *= rng.choice(_SCALES, (_WALKERS, 1)) / _lengths(step)
                step *= rng.uniform(0, 1, (_WALKERS, 1)) * self.reach(self._walkers, step, 10.0)[:, None]
                self._walkers = self._walkers + step
            found.append(self._walkers)
        return np.concatenate(found)[:n]

    def steps(self, rng: np.random.Generator, n: int) -> FloatArray:
        """Draw n half segments; a third of them along one entry."""
        if self._moves is not None:
            parts = rng.standard_normal((n, self.dimension))
            return np.asarray((parts @ self._moves) * rng.choice(_LENGTHS, (n, 1)))
        step = np.where(self.moving, rng.standard_normal((n, self.size)), 0.0) * rng.choice(_LENGTHS, (n, 1))
        entries = np.flatnonzero(self.moving)
        if entries.size:
            single = np.flatnonzero(rng.random(n) < 0.3)
            chosen = rng.choice(entries, single.size)
            kept = step[single, chosen]
            step[single] = 0.0
            step[single, chosen] = kept
        return np.asarray(step)

    def directions(self) -> FloatArray:
        """All directions of segments, as orthonormal rows (dimension, size)."""
        return np.eye(self.size)[self.moving] if self._moves is None else self._moves

    def across(self, step: FloatArray) -> FloatArray:
        """Project rows onto the directions of segments."""
        if self._moves is None:
            return np.asarray(np.where(self.moving, step, 0.0))
        return np.asarray(step @ self._moves.T @ self._moves)

    def along(self, step: FloatArray) -> FloatArray:
        """Project rows onto the directions in which points may lie."""
        if self._strides is None:
            return np.asarray(np.where(self._free, step, 0.0))
        return np.asarray(step @ self._strides.T @ self._strides)

    def moved(self, x: FloatArray, step: FloatArray) -> FloatArray:
        """Go from points of the domain along steps, as far as the domain reaches."""
        if self.hull is None:
            return np.clip(x + step, self.lo, self.hi)
        return np.asarray(x + step * self.reach(x, step, 1.0)[:, None])

    def shortened(self, m: FloatArray, s: FloatArray) -> FloatArray:
        """Shorten half segments, so that m - s and m + s lie in the domain."""
        both = np.minimum(self.reach(m, s, 1.0), self.reach(m, -s, 1.0))
        return np.asarray(s * both[:, None])

    def clipped(self, m: FloatArray, s: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Cut segments off at the border, which may turn them in a box; return middles and halves."""
        if self.hull is not None:
            return m, self.shortened(m, s)
        x, y = np.clip(m - s, self.lo, self.hi), np.clip(m + s, self.lo, self.hi)
        x, y = np.where(self.moving, x, m), np.where(self.moving, y, m)
        return (x + y) / 2, (y - x) / 2

    def reach(self, x: FloatArray, step: FloatArray, most: float) -> FloatArray:
        """Largest t <= most with x + t step in the domain, a little less where a border is met."""
        with np.errstate(divide="ignore", invalid="ignore"):
            room = np.where(step > 0, self.hi - x, self.lo - x) / step
            nearest = np.where(step != 0, room, np.inf).min(axis=1, initial=np.inf)
            if len(self.A):
                slope = step @ self.A.T
                room = np.where(slope > 0, (self.b - x @ self.A.T) / slope, np.inf)
                nearest = np.minimum(nearest, room.min(axis=1))
        return np.asarray(np.clip(_INSIDE * nearest, 0.0, most))

    def rounded(self, m: FloatArray, s: FloatArray, digits: int | None) -> tuple[Exact, Exact] | None:
        """Round a segment's ends to so many binary digits after the point, within the domain, exactly.

        None means no digits less than float64 has. Returns None where the rounded ends are not inside.
        """

        def near(v: FloatArray) -> FloatArray:
            return v if digits is None else np.round(v * 2.0**digits) / 2.0**digits

        if self._strides is None or self.hull is None:
            x = np.clip(near(m - s), self.lo, self.hi)
            y = np.where(self.moving, np.clip(near(m + s), self.lo, self.hi), x)
            ends = [Fraction(v) for v in x.tolist()], [Fraction(v) for v in y.tolist()]
        else:
            start = [float(v) for v in self.hull.start]
            centre = _combined(self.hull.strides, near(_parts(self.hull.strides, m - start)))
            half = _combined(self.hull.moves, near(_parts(self.hull.moves, s)))
            middle = [v + centre.get(j, Fraction(0)) for j, v in enumerate(self.hull.start)]
            ends = (
                [v - half.get(j, Fraction(0)) for j, v in enumerate(middle)],
                [v + half.get(j, Fraction(0)) for j, v in enumerate(middle)],
            )
        return ends if ends[0] != ends[1] and all(self.contains(end) for end in ends) else None

    def contains(self, point: Exact) -> bool:
        """Whether a point lies in the domain, decided exactly."""
        for v, low, high in zip(point, self.lo.tolist(), self.hi.tolist(), strict=True):
            if not low <= v <= high:
                return False
        for row, right in zip(self.A, self.b.tolist(), strict=True):
            used = np.flatnonzero(row)
            total = sum((Fraction(float(row[j])) * point[j] for j in used), Fraction(0))
            if total > Fraction(right):
                return False
        return True


def _lengths(rows: FloatArray) -> FloatArray:
    return np.asarray(np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-300))


def _dense(basis: Sequence[Mapping[int, Fraction]], size: int) -> FloatArray:
    rows = np.zeros((len(basis), size))
    for row, step in zip(rows, basis, strict=True):
        for j, v in step.items():
            row[j] = float(v)
    return rows


def _orthonormal(
    basis: Sequence[Mapping[int, Fraction]], size: int, mask: NDArray[np.bool_]
) -> FloatArray | None:
    """Orthonormal rows, or None where the basis is just the entries of the mask."""
    if len(basis) == mask.sum() and all(len(step) == 1 for step in basis):
        return None
    return np.asarray(np.linalg.qr(_dense(basis, size).T)[0].T)


def _parts(basis: Sequence[Mapping[int, Fraction]], vector: FloatArray) -> FloatArray:
    """Coefficients of a vector in a basis."""
    return np.asarray(np.linalg.lstsq(_dense(basis, vector.size).T, vector, rcond=None)[0])


def _combined(basis: Sequence[Mapping[int, Fraction]], parts: FloatArray) -> dict[int, Fraction]:
    total: dict[int, Fraction] = {}
    for step, part in zip(basis, parts.tolist(), strict=True):
        for j, v in step.items():
            total[j] = total.get(j, Fraction(0)) + Fraction(part) * v
    return total
