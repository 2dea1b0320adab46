"""Models made of cuts and their minimisation: HiGHS, or the walk where a quadratic term comes in."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeAlias

import highspy
import numpy as np
from numpy.typing import NDArray

from jensen.certify._highs import quiet_highs
from jensen.minimize.posed._polyhedron import Polyhedron
from jensen.network import FloatArray, Layer, ReLUNetwork

_DUAL, _PRIMAL = 1, 4
"""Simplex methods, in HiGHS's numbers."""

Solved: TypeAlias = tuple[FloatArray, float, FloatArray, FloatArray]
"""Point, value, the cuts' weights (which add up to 1), and multipliers of the domain's rows."""


class LinearMaster:
    """max of cuts + tilt . y over a box and rows, by the simplex method, warm from one call to the next."""

    def __init__(self, inside: Polyhedron) -> None:
        self.inside, self.count = inside, 0
        n, m = len(inside.lo), len(inside.right)
        self._n, self._m, self._lost = n, m, False
        self._columns = np.arange(n + 1, dtype=np.int32)
        self._highs = quiet_highs()
        program = highspy.HighsLp()
        program.num_col_, program.num_row_ = n + 1, m
        program.col_cost_ = np.append(np.zeros(n), 1.0)
        program.col_lower_ = np.append(inside.lo, -np.inf)
        program.col_upper_ = np.append(inside.hi, np.inf)
        program.row_lower_, program.row_upper_ = np.full(m, -np.inf), inside.right
        program.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
        program.a_matrix_.start_ = np.arange(0, m * n + 1, n, dtype=np.int32) if m else np.zeros(1, np.int32)
        program.a_matrix_.index_ = np.tile(self._columns[:n], m)
        program.a_matrix_.value_ = inside.rows.ravel()
        self._highs.passModel(program)

    def add(self, slope: FloatArray, offset: float) -> None:
        """Add the cut t >= slope . y + offset."""
        row = np.append(slope, -1.0)
        added = self._highs.addRow(-np.inf, -offset, self._n + 1, self._columns, row)
        self._lost = self._lost or added == highspy.HighsStatus.kError  # numbers beyond 1e15
        self.count += 1

    def drop(self, places: NDArray[np.intp]) -> None:
        """Remove cuts, by their numbers."""
        if self._lost:
            return
        rows = (places + self._m).astype(np.int32)
        self._highs.deleteRows(len(rows), rows)
        self.count -= len(rows)

    def solve(self, tilt: FloatArray, curvature: float, lo: FloatArray, hi: FloatArray) -> Solved | None:
        """Minimise within a smaller box; None where HiGHS fails."""
        if self._lost:
            return None
        n = self._n
        self._highs.changeColsCost(n, self._columns[:n], tilt)
        self._highs.changeColsBounds(n, self._columns[:n], lo, hi)
        for strategy in (_DUAL, _DUAL, _PRIMAL):  # from the last basis; afresh; afresh by the primal method
            self._highs.setOptionValue("simplex_strategy", strategy)
            self._highs.run()
            status = self._highs.getModelStatus()
            if status == highspy.HighsModelStatus.kOptimal:
                break
            self._highs.clearSolver()
        if status != highspy.HighsModelStatus.kOptimal:
            return None
        solution = self._highs.getSolution()
        dual = np.array(solution.row_dual)
        weights = np.maximum(-dual[self._m :], 0.0)
        if not weights.sum() > 0:
            return None
        value = self._highs.getInfo().objective_function_value
        y = np.clip(np.array(solution.col_value[:n]), lo, hi)
        return y, float(value), weights / weights.sum(), np.maximum(-dual[: self._m], 0.0)


class QuadraticMaster:
    """max of cuts + tilt . y + (curvature / 2) |y|^2 over a box and rows, by the walk.

    The maximum of cuts l_1, ..., l_K is an input convex network with one neuron a layer:
    h_{k+1} = relu(l_k + h_k - l_{k+1}), and the maximum is l_K + h_K.
    """

    def __init__(self, inside: Polyhedron) -> None:
        self.inside = inside
        self._slopes: list[FloatArray] = []
        self._offsets: list[float] = []

    @property
    def count(self) -> int:
        """Number of cuts."""
        return len(self._offsets)

    def add(self, slope: FloatArray, offset: float) -> None:
        """Add the cut slope . y + offset."""
        self._slopes.append(slope)
        self._offsets.append(offset)

    def drop(self, places: NDArray[np.intp]) -> None:
        """Remove cuts, by their numbers."""
        gone = {int(i) for i in places}
        self._slopes = [s for i, s in enumerate(self._slopes) if i not in gone]
        self._offsets = [c for i, c in enumerate(self._offsets) if i not in gone]

    def solve(self, tilt: FloatArray, curvature: float, lo: FloatArray, hi: FloatArray) -> Solved | None:
        """Minimise within a smaller box; None where the walk gets stuck."""
        from jensen.minimize.walk._walker import Walker  # compiled code: only loaded where it is used

        slopes, offsets = self._slopes, self._offsets
        layers = []
        for k in range(1, len(offsets)):
            sources = {0: (slopes[k - 1] - slopes[k])[None]}
            if k > 1:
                sources[k - 1] = np.ones((1, 1))
            layers.append(Layer(sources, [offsets[k - 1] - offsets[k]]))
        last = {0: slopes[-1]} | ({len(layers): np.ones(1)} if layers else {})
        network = ReLUNetwork(len(tilt), layers, last, offsets[-1])
        walker = Walker(network, replace(self.inside, lo=lo, hi=hi, witness=None))
        found = walker.solve(tilt, curvature, (lo + hi) / 2, 1e-3)
        if found.status != "optimal":
            return None
        sigma, price = walker.multipliers()
        weights = np.ones(len(offsets))
        onward = 1.0
        for k in range(len(offsets) - 1, 0, -1):
            weights[k] = onward * (1.0 - sigma[k - 1])
            onward *= sigma[k - 1]
        weights[0] = onward
        return found.point, found.value, weights, price
