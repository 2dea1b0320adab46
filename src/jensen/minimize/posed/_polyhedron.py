"""The domain of a minimisation as arrays: bounds and rows; and a point inside it."""

from __future__ import annotations

from dataclasses import dataclass

import highspy
import numpy as np

from jensen.certify._highs import quiet_highs
from jensen.errors import JensenError
from jensen.network import Domain, FloatArray

_FLAT = 1e-9
_CORNERS = 30


@dataclass(frozen=True)
class Polyhedron:
    """``{y : lo <= y <= hi, rows @ y <= right}``; rows that bound one variable are bounds.

    Attributes
    ----------
    lo, hi : (n,) arrays
    rows : (m, n) array
    right : (m,) array
    """

    lo: FloatArray
    hi: FloatArray
    rows: FloatArray
    right: FloatArray

    @property
    def is_empty(self) -> bool:
        """Whether the bounds, or rows without a variable, contradict each other."""
        idle = ~self.rows.any(axis=1)
        return bool((self.lo > self.hi).any() or (self.right[idle] < 0).any())

    @property
    def is_box(self) -> bool:
        """Whether there are no rows."""
        return not len(self.rows)

    @property
    def is_bounded_box(self) -> bool:
        """Whether it is a box, and every variable has two bounds."""
        return self.is_box and bool(np.isfinite(self.lo).all() and np.isfinite(self.hi).all())

    def breach(self, y: FloatArray) -> float:
        """Largest violation of a bound or row at a point; at most 0 inside."""
        outside = max(float((self.lo - y).max(initial=-np.inf)), float((y - self.hi).max(initial=-np.inf)))
        return max(outside, float((self.rows @ y - self.right).max(initial=-np.inf)))


def polyhedron(domain: Domain, d: int) -> Polyhedron:
    """Read a domain of d variables.

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
    return Polyhedron(lo, hi, np.ascontiguousarray(rows * unit[:, None]), right * unit)


def feasible_point(inside: Polyhedron, near: FloatArray) -> FloatArray | None:
    """Find a point of a polyhedron, as far as its rows allow away from them (up to 1); None if there is none.

    Parameters
    ----------
    inside : Polyhedron
    near : (n,) array
        Taken as it is, moved into the bounds, where it obeys the rows.

    Raises
    ------
    JensenError
        If HiGHS does not tell.
    """
    if inside.is_empty:
        return None
    y = np.clip(near, inside.lo, inside.hi)
    if inside.is_box or (inside.rows @ y <= inside.right).all():
        return y
    found = _deepest(inside)
    return None if found is None else found[0]


def generic_point(inside: Polyhedron, near: FloatArray, rng: np.random.Generator) -> FloatArray | None:
    """Draw a point of the relative interior, on no particular hyperplane; None if the polyhedron is empty.

    Parameters
    ----------
    inside : Polyhedron
    near : (n,) array
        In the polyhedron; says where along unbounded variables.
    rng : Generator

    Raises
    ------
    JensenError
        If HiGHS does not tell.
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
    found = _deepest(Polyhedron(inside.lo, inside.hi, rows, right))
    if found is None:
        return None
    centre, room = found
    if room <= _FLAT:  # a mean of corners lies inside their face
        bounded = Polyhedron(lo, hi, inside.rows, inside.right)
        drawn = (_deepest(bounded, rng.normal(size=len(lo))) for _ in range(min(len(lo), _CORNERS) + 2))
        corners = np.array([corner[0] for corner in drawn if corner is not None])
        mean: FloatArray = rng.dirichlet(np.ones(len(corners))) @ corners if len(corners) else centre
        return mean
    step = rng.uniform(-0.5, 0.5, len(lo)) * room / np.sqrt(len(lo))
    inner = np.clip(centre + np.where(free, step, 0.0), inside.lo, inside.hi)
    return inner


def _deepest(inside: Polyhedron, cost: FloatArray | None = None) -> tuple[FloatArray, float] | None:
    """Find a point as far as possible from all rows, up to 1, and that distance; None if there is none.

    With a cost, find a point of least cost instead.
    """
    n, m = len(inside.lo), len(inside.right)
    program = highspy.HighsLp()
    program.num_col_, program.num_row_ = n + 1, m
    program.col_cost_ = np.append(np.zeros(n), -1.0) if cost is None else np.append(cost, 0.0)
    program.col_lower_ = np.append(inside.lo, 0.0)
    program.col_upper_ = np.append(inside.hi, 1.0 if cost is None else 0.0)
    program.row_lower_ = np.full(m, -np.inf)
    program.row_upper_ = inside.right
    whole = np.column_stack([inside.rows, np.linalg.norm(inside.rows, axis=1)])
    program.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    program.a_matrix_.start_ = np.arange(0, m * (n + 1) + 1, n + 1, dtype=np.int32)
    program.a_matrix_.index_ = np.tile(np.arange(n + 1, dtype=np.int32), m)
    program.a_matrix_.value_ = whole.ravel()
    highs = quiet_highs()
    highs.passModel(program)
    highs.run()
    status = highs.getModelStatus()
    if status == highspy.HighsModelStatus.kInfeasible:
        return None
    if status != highspy.HighsModelStatus.kOptimal:
        raise JensenError(f"HiGHS finds no point of the domain and does not call it empty: {status}")
    columns = np.array(highs.getSolution().col_value)
    return np.clip(columns[:n], inside.lo, inside.hi), float(columns[n])
