"""Solutions of linear programmes beyond the solver's tolerances, by iterative refinement.

What a solution breaks, and by how much its multipliers miss, is a linear programme again: shifted to the
solution, with the errors as its right-hand sides and costs. Taken in units of these errors it is solved to
the same absolute tolerances as the first, and adds as many digits.

A. Gleixner, D. Steffy and K. Wolter, "Iterative Refinement for Linear Programming", INFORMS Journal on
Computing 28(3), 2016.
"""

from __future__ import annotations

from typing import Any

import highspy
import numpy as np
from scipy import sparse

from jensen.certify._highs import quiet_highs
from jensen.certify._progress import Clock
from jensen.network import FloatArray

_ROUNDS = 5
_STEP = 40
"""A round may change units by so many powers of two; HiGHS is exact to about half as many."""


def refined(
    program: highspy.HighsLp, columns: FloatArray, dual: FloatArray, basis: Any, clock: Clock
) -> tuple[FloatArray, FloatArray]:
    """Improve columns and duals of a minimisation, as far as HiGHS follows.

    Parameters
    ----------
    program : HighsLp
        With rows stored one after the other.
    columns : (n,) array
    dual : (m,) array
        Of the rows, in HiGHS's signs.
    basis : HighsBasis or None
        Where to begin.
    clock : Clock
    """
    cost = np.array(program.col_cost_)
    sides = [np.array(side) for side in (program.col_lower_, program.col_upper_)]
    ends = [np.array(side) for side in (program.row_lower_, program.row_upper_)]
    stored = program.a_matrix_
    matrix = sparse.csr_array(
        (np.array(stored.value_, dtype=np.longdouble), np.array(stored.index_), np.array(stored.start_)),
        shape=(program.num_row_, program.num_col_),
    )
    highs = quiet_highs()
    wide, across = columns.astype(np.longdouble), dual.astype(np.longdouble)
    unit, price = 0, 0
    for turn in range(_ROUNDS):
        image = matrix @ wide
        reduced = cost - matrix.T @ across
        (low, high), (below, above) = [s - wide for s in sides], [e - image for e in ends]
        broken = max(float(part.max(initial=0.0)) for part in (low, -high, below, -above))
        wrong = max(
            float(reduced[np.isinf(sides[0])].max(initial=0.0)),
            float(-reduced[np.isinf(sides[1])].min(initial=0.0)),
        )
        unit, price = _exponent(broken, unit), _exponent(wrong, price)
        with np.errstate(over="ignore"):
            program.col_lower_, program.col_upper_ = (_scaled(part, unit) for part in (low, high))
            program.row_lower_, program.row_upper_ = (_scaled(part, unit) for part in (below, above))
            program.col_cost_ = _scaled(reduced, price)
        if highs.passModel(program) == highspy.HighsStatus.kError:
            break
        if basis is not None:
            highs.setBasis(basis)
        highs.setOptionValue("time_limit", highs.getRunTime() + clock.left)
        highs.run()
        if highs.getModelStatus() != highspy.HighsModelStatus.kOptimal:
            break
        basis = highs.getBasis()
        solution = highs.getSolution()
        wide = wide + np.ldexp(np.array(solution.col_value), unit)
        across = across + np.ldexp(np.array(solution.row_dual), price)
        if turn and unit == price == 0:
            break
    return wide.astype(np.float64), across.astype(np.float64)


def _exponent(error: float, before: int) -> int:
    """Exponent of the unit of an error, at most so much finer than before."""
    here = int(np.frexp(error)[1]) if error > 0 else before
    return max(here, before - _STEP)


def _scaled(part: Any, exponent: int) -> FloatArray:
    scaled: FloatArray = np.ldexp(part.astype(np.float64), -exponent)
    return scaled
