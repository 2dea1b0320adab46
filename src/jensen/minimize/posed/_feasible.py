"""Whether a polyhedron has points, decided once for all methods; and points moved into it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import highspy
import numpy as np
from flint import fmpq
from scipy import sparse

from jensen.certify._highs import quiet_highs
from jensen.certify._simplex import Refutation, decide
from jensen.minimize.posed._affine import Affine, box_minimum
from jensen.minimize.posed._icnn import EPS
from jensen.network import FloatArray

if TYPE_CHECKING:
    from jensen.minimize.posed._polyhedron import Polyhedron

_FINEST = 1e-10
"""HiGHS takes no smaller tolerance."""
_ROUNDS = 4
_EXACT = 400
"""Systems of up to so many numbers are decided in rational arithmetic where nothing else decides."""


@dataclass(frozen=True)
class Deepest:
    """A point as far as possible from all rows, and why there is no farther one.

    Attributes
    ----------
    point : (n,) array
    room : float
        Its distance from the rows, up to the domain's unit; negative where rows are broken.
    price : (m,) array
        Nonnegative multipliers of the rows.
    """

    point: FloatArray
    room: float
    price: FloatArray


def deepest(inside: Polyhedron, cost: FloatArray | None = None) -> Deepest | None:
    """Find a point far from all rows, within the bounds; None where HiGHS ends without an answer.

    With a cost, find a point of least cost that obeys the rows instead.
    """
    n, m, shift = len(inside.lo), len(inside.right), inside.exponent
    program = highspy.HighsLp()
    program.num_col_, program.num_row_ = n + 1, m
    program.col_cost_ = np.append(np.zeros(n), -1.0) if cost is None else np.append(cost, 0.0)
    program.col_lower_ = np.append(np.ldexp(inside.lo, -shift), -np.inf if cost is None else 0.0)
    program.col_upper_ = np.append(np.ldexp(inside.hi, -shift), 1.0 if cost is None else 0.0)
    program.row_lower_ = np.full(m, -np.inf)
    program.row_upper_ = np.ldexp(inside.right, -shift)
    whole = np.column_stack([inside.rows, np.linalg.norm(inside.rows, axis=1)])
    program.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    program.a_matrix_.start_ = np.arange(0, m * (n + 1) + 1, n + 1, dtype=np.int32)
    program.a_matrix_.index_ = np.tile(np.arange(n + 1, dtype=np.int32), m)
    program.a_matrix_.value_ = whole.ravel()
    solved = _solved(program)
    if solved is None:
        return None
    columns, dual = solved
    point = np.clip(np.ldexp(columns[:n], shift), inside.lo, inside.hi)
    return Deepest(point, float(np.ldexp(columns[n], shift)), np.maximum(-dual, 0.0))


def moved_inside(inside: Polyhedron, y: FloatArray) -> FloatArray | None:
    """Move a point by as little as needed, in the sum of all coordinates, until it obeys all rows.

    Every round solves for a correction in units of what is broken still, so that the tolerances of
    linear programming end below rounding, whatever the scales. None if that fails.
    """
    y = np.clip(y, inside.lo, inside.hi)
    n, m = len(y), len(inside.right)
    rows = sparse.csr_array(inside.rows)
    matrix = sparse.csr_array(sparse.hstack([rows, -rows]))
    for _ in range(_ROUNDS):
        broken = inside.excess(y)
        if (broken <= inside.rounding(y)).all():
            return y
        shift = int(np.frexp(broken.max())[1])
        program = highspy.HighsLp()
        program.num_col_, program.num_row_ = 2 * n, m
        program.col_cost_, program.col_lower_ = np.ones(2 * n), np.zeros(2 * n)
        with np.errstate(over="ignore"):
            program.col_upper_ = np.ldexp(np.concatenate([inside.hi - y, y - inside.lo]), -shift)
            program.row_upper_ = np.ldexp(-broken, -shift)
        program.row_lower_ = np.full(m, -np.inf)
        program.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
        program.a_matrix_.start_ = matrix.indptr.astype(np.int32)
        program.a_matrix_.index_ = matrix.indices.astype(np.int32)
        program.a_matrix_.value_ = matrix.data
        solved = _solved(program)
        if solved is None:
            return None
        step = np.ldexp(solved[0][:n] - solved[0][n:], shift)
        y = np.clip(y + step, inside.lo, inside.hi)
    return y if (inside.excess(y) <= inside.rounding(y)).all() else None


def is_contradicted(inside: Polyhedron, y: FloatArray, price: FloatArray) -> bool:
    """Whether multiples of the rows prove that there is no point, all rounding errors considered.

    price @ (rows @ w - right) > 0 for all w within the bounds; where a slope of rounding size is left over
    along variables without bounds, for those within 1000 max(1, |y|) in the domain's unit.
    """
    zero = np.zeros(len(y))
    unit = -inside.exponent
    here, sized = np.ldexp(y, unit), inside.in_units(inside.exponent)
    none = Affine(0.0, zero, 0.0, zero)
    return box_minimum(none.plus_rows(sized, price, here), sized, here) > 0.0


def decided(inside: Polyhedron) -> FloatArray | bool | None:
    """Decide in rational arithmetic: a point, False if there is none, None if the system is too large.

    Rows may be broken by the domain's tolerance.
    """
    n = len(inside.lo)
    low, high = np.flatnonzero(np.isfinite(inside.lo)), np.flatnonzero(np.isfinite(inside.hi))
    if (len(inside.right) + len(low) + len(high)) * n > _EXACT:
        return None
    closed = []
    for row, right in zip(inside.rows, inside.right + inside.tolerance, strict=True):
        closed.append([*(_rational(-a) for a in row), _rational(right)])
    for places, sign, bounds in ((low, 1, -inside.lo), (high, -1, inside.hi)):
        for j in places:
            closed.append([*(fmpq(sign if i == j else 0) for i in range(n)), _rational(bounds[j])])
    found = decide(closed, [], n)
    if isinstance(found, Refutation):
        return False
    return np.clip([int(v.p) / int(v.q) for v in found], inside.lo, inside.hi)


def _rational(value: float) -> fmpq:
    return fmpq(*float(value).as_integer_ratio())


def _solved(program: highspy.HighsLp) -> tuple[FloatArray, FloatArray] | None:
    """Solve a programme to HiGHS's finest tolerance: columns and duals of rows; None where it does not."""
    highs = quiet_highs()
    for name in ("primal_feasibility_tolerance", "dual_feasibility_tolerance"):
        highs.setOptionValue(name, _FINEST)
    highs.passModel(program)
    highs.run()
    if highs.getModelStatus() != highspy.HighsModelStatus.kOptimal:
        return None
    solution = highs.getSolution()
    return np.array(solution.col_value), np.array(solution.row_dual)


def slack(y: FloatArray, rows: FloatArray, right: FloatArray) -> FloatArray:
    """Compute rows @ y - right with one rounding more than needed, for differences of large numbers."""
    wide = rows.astype(np.longdouble) @ y.astype(np.longdouble) - right
    return wide.astype(np.float64)


def sizes(y: FloatArray, rows: FloatArray, right: FloatArray) -> FloatArray:
    """Largest rounding errors of rows @ y - right in float64."""
    return 4.0 * (len(y) + 4) * EPS * (np.abs(rows) @ np.abs(y) + np.abs(right))
