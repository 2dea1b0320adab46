"""A linear programme whose bounds are proofs: HiGHS proposes multipliers, weak duality makes them sound."""

from __future__ import annotations

import highspy
import numpy as np
from scipy import sparse

from jensen.certify._bounds import EPS, SMALLEST, TINY
from jensen.certify._highs import quiet_highs
from jensen.certify._rows import Expression, Rows
from jensen.network import FloatArray


class Relaxation:
    """Minimise an affine function of the columns subject to rows and column bounds.

    Parameters
    ----------
    low, high : (columns,) arrays
    rows : Rows
    objective : Expression

    Attributes
    ----------
    cost, offset, error
        The objective is within `error` of cost @ columns + offset.
    matrix, row_low, row_high
        row_low <= matrix @ columns <= row_high.
    """

    def __init__(self, low: FloatArray, high: FloatArray, rows: Rows, objective: Expression) -> None:
        n = len(low)
        self.low, self.high = low, high
        self.cost = np.zeros(n)
        for column, c in objective.entries.items():
            self.cost[column] = c
        self.offset, self.error = objective.constant, objective.error
        self.row_low, self.row_high = np.array(rows.low), np.array(rows.high)
        shape = (len(rows.low), n)
        self.matrix = sparse.csr_array((rows.value, (rows.row, rows.column)), shape=shape)
        self._transposed = self.matrix.T.tocsr()
        self._magnitude = abs(self._transposed)
        self._terms = float(np.diff(self._transposed.indptr).max(initial=1) + n + shape[0] + 8)

    def solver(self) -> highspy.Highs:
        """Load the programme into HiGHS."""
        lp = highspy.HighsLp()
        lp.num_col_, lp.num_row_ = self.low.size, self.row_low.size
        lp.col_cost_, lp.offset_ = self.cost, self.offset
        lp.col_lower_, lp.col_upper_ = self.low, self.high
        lp.row_lower_, lp.row_upper_ = self.row_low, self.row_high
        lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
        lp.a_matrix_.start_ = self.matrix.indptr.astype(np.int32)
        lp.a_matrix_.index_ = self.matrix.indices.astype(np.int32)
        lp.a_matrix_.value_ = self.matrix.data
        highs = quiet_highs()
        highs.passModel(lp)
        return highs

    @np.errstate(over="ignore", invalid="ignore")  # what overflows proves nothing
    def lower_bound(
        self, multipliers: FloatArray, low: FloatArray, high: FloatArray, cost: FloatArray
    ) -> float:
        """Weak duality with every rounding error on the safe side (Neumaier and Shcherbina, 2004).

        Any multipliers are sound: min c x >= y b + min (c - A'y) x over the column bounds.

        Parameters
        ----------
        multipliers : (rows,) array
        low, high : (columns,) arrays
            Column bounds of the node.
        cost : (columns,) array
            The objective, or zeros to prove infeasibility (a positive result means: no point).
        """
        y = np.where(
            (multipliers > 0) & np.isneginf(self.row_low) | (multipliers < 0) & np.isposinf(self.row_high),
            0.0,
            multipliers,
        )
        side = np.where(y > 0, self.row_low, self.row_high)
        products = y * np.where(y == 0, 0.0, side)
        reduced = cost - self._transposed @ y
        if not (y.any() or cost.any()):
            return 0.0
        slack = (self._terms + 4) * EPS * (np.abs(cost) + self._magnitude @ np.abs(y)) + SMALLEST
        reach = np.maximum(np.abs(low), np.abs(high))
        columns = np.where(reduced > 0, reduced * low, reduced * high)
        size = np.abs(products).sum() + (np.abs(reduced) * reach).sum()
        lost = (slack * reach).sum() * (1 + 1e-9) + 4 * self._terms * EPS * size + TINY
        bound = float(products.sum() + columns.sum() - lost)
        return bound if np.isfinite(bound) else -np.inf  # what overflowed proves nothing
