"""The domain of a minimisation as arrays: bounds and rows; and a point inside it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from jensen.minimize.posed._feasible import decided, deepest, is_contradicted, moved_inside, sizes, slack
from jensen.network import Domain, FloatArray

_FLAT = 1e-9
_CORNERS = 30
_BROKEN = 1e-9
"""By how much rows may be broken, relative to their largest entry and to the domain's unit, up to 1."""


@dataclass(frozen=True)
class Polyhedron:
    """``{y : lo <= y <= hi, rows @ y <= right}``; rows that bound one variable are bounds.

    Attributes
    ----------
    lo, hi : (n,) arrays
    rows : (m, n) array
    right : (m,) array
    witness : (n,) array or None
        A point of it, where one had to be found.
    refuted : bool
        Whether it is known to be empty.
    tolerance : float
        By how much points may break rows, beyond rounding errors.
    """

    lo: FloatArray
    hi: FloatArray
    rows: FloatArray
    right: FloatArray
    witness: FloatArray | None = None
    refuted: bool = False
    tolerance: float = 0.0

    @property
    def is_empty(self) -> bool:
        """Whether it is known to be empty, or bounds or rows without a variable contradict each other."""
        idle = ~self.rows.any(axis=1)
        return self.refuted or bool((self.lo > self.hi).any() or (self.right[idle] < 0).any())

    @property
    def is_box(self) -> bool:
        """Whether there are no rows."""
        return not len(self.rows)

    @property
    def is_bounded_box(self) -> bool:
        """Whether it is a box, and every variable has two bounds."""
        return self.is_box and bool(np.isfinite(self.lo).all() and np.isfinite(self.hi).all())

    @property
    def exponent(self) -> int:
        """Exponent of the unit of its points: that of the largest finite bound or right-hand side, or 0."""
        ends = np.concatenate([self.lo, self.hi, self.right])
        size = np.abs(ends[np.isfinite(ends)]).max(initial=0.0)
        return int(np.frexp(size)[1]) - 1 if size > 0 else 0

    def excess(self, y: FloatArray) -> FloatArray:
        """By how much each row is broken at a point; negative where it is obeyed."""
        return slack(y, self.rows, self.right)

    def rounding(self, y: FloatArray) -> FloatArray:
        """Bound the rounding errors of each row at a point."""
        return sizes(y, self.rows, self.right)

    def holds(self, y: FloatArray) -> bool:
        """Whether it contains a point, as far as its tolerance and rounding go."""
        within = bool((self.lo <= y).all() and (y <= self.hi).all())
        return within and bool((self.excess(y) <= np.maximum(self.tolerance, self.rounding(y))).all())

    def in_units(self, exponent: int) -> Polyhedron:
        """Give the polyhedron of y' for y = 2^exponent y'."""
        lo, hi, right = (np.ldexp(side, -exponent) for side in (self.lo, self.hi, self.right))
        witness = None if self.witness is None else np.ldexp(self.witness, -exponent)
        tolerance = float(np.ldexp(self.tolerance, -exponent))
        return Polyhedron(lo, hi, self.rows, right, witness, self.refuted, tolerance)


def polyhedron(domain: Domain, d: int) -> Polyhedron:
    """Read a domain of d variables, and decide whether it is empty.

    A polyhedron is empty if its rows, each broken by up to 1e-9 of its largest entry and of the domain's
    unit (if that is below 1; or by rounding errors), contradict each other. That is proved by multipliers,
    with all rounding errors, or in rational arithmetic; where rows contradict each other by less, they are
    moved apart, by as much. Where neither decides, in large systems, it is what HiGHS says.

    Raises
    ------
    DomainError
        If it has another number of variables.
    """
    lo, hi = (np.array(side, dtype=np.float64) for side in domain.bounds(d))
    rows, right = domain.inequalities(d)
    single = (np.count_nonzero(rows, axis=1) == 1) & (np.abs(rows).max(axis=1, initial=0.0) == 1.0)
    for i in np.flatnonzero(single):  # division by 1 does not round
        j = int(np.flatnonzero(rows[i])[0])
        if rows[i, j] > 0:
            hi[j] = min(hi[j], right[i])
        else:
            lo[j] = max(lo[j], -right[i])
    rows, right = rows[~single], right[~single]
    # Tolerances of linear programming are absolute. Powers of two do not round.
    largest = np.abs(rows).max(axis=1, initial=0.0)
    unit = np.exp2(-np.floor(np.log2(np.where(largest > 0, largest, 1.0)))).clip(2.0**-1000, 2.0**1000)
    return _settled(Polyhedron(lo, hi, np.ascontiguousarray(rows * unit[:, None]), right * unit))


def _settled(inside: Polyhedron) -> Polyhedron:
    """Tell whether there is a point, and move what contradicts each other by rounding errors apart."""
    inside = replace(inside, tolerance=float(np.ldexp(_BROKEN, min(inside.exponent, 0))))
    crossed = (inside.lo > inside.hi) & (inside.lo - inside.hi <= inside.tolerance)
    if crossed.any():
        lo, hi = inside.lo, inside.hi
        inside = replace(inside, lo=np.where(crossed, hi, lo), hi=np.where(crossed, lo, hi))
    if inside.is_empty or inside.is_box:
        return inside
    if (inside.rows @ np.clip(0.0, inside.lo, inside.hi) <= inside.right).all():
        return inside
    found = deepest(inside)
    y = np.clip(0.0, inside.lo, inside.hi) if found is None else found.point
    if (near := moved_inside(inside, y)) is not None:
        y = near
    if not inside.holds(y):
        if found is not None and is_contradicted(inside, y, found.price):
            return replace(inside, refuted=True)
        exact = decided(inside)
        if exact is None or isinstance(exact, bool):
            return replace(inside, refuted=True)
        y = exact
    right = np.maximum(inside.right, np.nextafter(inside.rows @ y, np.inf))
    return replace(inside, right=np.where(inside.excess(y) > 0, right, inside.right), witness=y)


def feasible_point(inside: Polyhedron, near: FloatArray) -> FloatArray | None:
    """Find a point of a polyhedron, as far as its rows allow away from them (up to 1); None if there is none.

    Parameters
    ----------
    inside : Polyhedron
    near : (n,) array
        Taken as it is, moved into the bounds, where it obeys the rows.
    """
    if inside.is_empty:
        return None
    y = np.clip(near, inside.lo, inside.hi)
    if inside.is_box or (inside.rows @ y <= inside.right).all():
        return y
    if inside.witness is not None:
        return inside.witness.copy()
    found = deepest(inside)
    return moved_inside(inside, y if found is None else found.point)


def generic_point(inside: Polyhedron, near: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Draw a point of the relative interior, on no particular hyperplane.

    Parameters
    ----------
    inside : Polyhedron
    near : (n,) array
        In the polyhedron; says where along unbounded variables.
    rng : Generator
    """
    inner: FloatArray
    reach = 1.0 + np.abs(near)
    lo = np.where(np.isfinite(inside.lo), inside.lo, np.minimum(near, inside.hi) - reach)
    hi = np.where(np.isfinite(inside.hi), inside.hi, np.maximum(near, inside.lo) + reach)
    if inside.is_box:
        inner = lo + rng.uniform(0.25, 0.75, len(lo)) * (hi - lo)
        return inner
    free, eye = inside.lo < inside.hi, np.eye(len(lo))
    above, below = free & np.isfinite(inside.hi), free & np.isfinite(inside.lo)
    rows = np.vstack([inside.rows, eye[above], -eye[below]])
    right = np.concatenate([inside.right, inside.hi[above], -inside.lo[below]])
    found = deepest(Polyhedron(inside.lo, inside.hi, rows, right))
    if found is None:
        return near
    centre, room = found.point, found.room
    if room <= _FLAT:  # a mean of corners lies inside their face
        bounded = Polyhedron(lo, hi, inside.rows, inside.right)
        drawn = (deepest(bounded, rng.normal(size=len(lo))) for _ in range(min(len(lo), _CORNERS) + 2))
        corners = np.array([corner.point for corner in drawn if corner is not None])
        mean: FloatArray = rng.dirichlet(np.ones(len(corners))) @ corners if len(corners) else centre
        return mean if inside.holds(mean) else near
    step = rng.uniform(-0.5, 0.5, len(lo)) * room / np.sqrt(len(lo))
    inner = np.clip(centre + np.where(free, step, 0.0), inside.lo, inside.hi)
    return inner
