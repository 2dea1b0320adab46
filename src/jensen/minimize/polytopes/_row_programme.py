"""Linear programmes over a batch of polytopes: points inside, a box around."""

from __future__ import annotations

from typing import Any

import highspy
import numpy as np
from scipy import sparse

from jensen.certify._highs import quiet_highs
from jensen.errors import DomainError, JensenError
from jensen.network import FloatArray

_STATUS = highspy.HighsModelStatus
_PRIMAL = 4
"""HiGHS's number for the primal simplex method."""


class RowProgramme:
    """Programmes over ``{y : G y <= h_i}``; each starts from the last one's basis.

    Parameters
    ----------
    G : (m, n) sparse array
        Rows of length 1.
    h : (samples, m) array
        Infinite where a sample lacks the row.
    """

    def __init__(self, G: sparse.csr_array[np.float64], h: FloatArray) -> None:
        self.G, self.h = G, h

    def centres(self) -> tuple[FloatArray, FloatArray]:
        """Find for each sample a point as far as possible from all rows, up to 1; and that distance.

        Raises
        ------
        DomainError
            If a polytope is empty.
        """
        m, n = self.G.shape
        goal, free = np.append(np.zeros(n), -1.0), np.full(n, np.inf)
        rows = sparse.hstack([self.G, sparse.csr_array(np.ones((m, 1)))])
        highs = _model(rows, goal, np.append(-free, 0.0), np.append(free, 1.0))
        found = [self._solved(highs, i, goal, right) for i, right in enumerate(self.h)]
        return np.array([x[:n] for x in found]).reshape(len(found), n), np.array([x[n] for x in found])

    def enclosing_box(self, lo: FloatArray, hi: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Complete bounds to a box around all polytopes, a little larger than the programmes say.

        Parameters
        ----------
        lo, hi : (n,) arrays
            Bounds that all polytopes obey; where they are infinite they stay so if there are none.
        """
        n = self.G.shape[1]
        widest = self.h.max(axis=0, initial=-np.inf)
        highs = _model(self.G, np.zeros(n), np.full(n, -np.inf), np.full(n, np.inf))
        ends = [lo.copy(), hi.copy()]
        for side, sign in enumerate((1.0, -1.0)):
            for j in np.flatnonzero(np.isinf(ends[side])):
                goal = np.zeros(n)
                goal[j] = sign
                x = _minimum(highs, goal, widest)
                if x is not None and len(x):
                    ends[side][j] = x[j] - sign * 1e-6 * (1 + np.abs(x[j]))
        return ends[0], ends[1]

    def _solved(self, highs: Any, sample: int, goal: FloatArray, right: FloatArray) -> FloatArray:
        x = _minimum(highs, goal, right)
        if x is None or not len(x):
            which = f" for sample {sample}" if len(self.h) > 1 else ""
            raise DomainError(f"the polytope is empty{which}")
        return x


def _model(rows: Any, goal: FloatArray, low: FloatArray, high: FloatArray) -> Any:
    """Pass ``rows x <= ...`` to HiGHS."""
    m, columns = rows.shape
    program = highspy.HighsLp()
    program.num_col_, program.num_row_ = columns, m
    program.col_cost_, program.col_lower_, program.col_upper_ = goal, low, high
    program.row_lower_, program.row_upper_ = np.full(m, -np.inf), np.full(m, np.inf)
    program.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    matrix = sparse.csr_array(rows)
    program.a_matrix_.start_ = matrix.indptr.astype(np.int32)
    program.a_matrix_.index_ = matrix.indices.astype(np.int32)
    program.a_matrix_.value_ = matrix.data
    highs = quiet_highs()
    highs.setOptionValue("primal_feasibility_tolerance", 1e-10)
    highs.passModel(program)
    return highs


def _minimum(highs: Any, goal: FloatArray, right: FloatArray) -> FloatArray | None:
    """Solve with this objective and right-hand sides; None where it is unbounded, empty where infeasible.

    Raises
    ------
    JensenError
        If HiGHS does not tell.
    """
    m, n = len(right), len(goal)
    highs.changeColsCost(n, np.arange(n, dtype=np.int32), goal)
    highs.changeRowsBounds(m, np.arange(m, dtype=np.int32), np.full(m, -np.inf), right)
    highs.run()
    status = highs.getModelStatus()
    if status in (_STATUS.kUnboundedOrInfeasible, _STATUS.kUnknown):
        highs.clearSolver()
        highs.setOptionValue("simplex_strategy", _PRIMAL)
        highs.run()
        status = highs.getModelStatus()
    if status == _STATUS.kInfeasible:
        return np.zeros(0)
    if status == _STATUS.kUnbounded:
        return None
    if status != _STATUS.kOptimal:
        raise JensenError(f"HiGHS does not tell about the polytope: {highs.modelStatusToString(status)}")
    return np.array(highs.getSolution().col_value)
