"""The baseline to beat: plain HiGHS, one mixed-integer programme per hidden neuron, asked only for a sign.

For a hidden neuron v the programme minimises the adjoint g_v = df/dh_v over the points of the box where
z_v = 0. Every ReLU that interval arithmetic leaves undecided gets a binary and big-M rows; in deeper
networks the products of a binary and an adjoint are linearised by McCormick rows (exact, since one factor
is binary). HiGHS stops as soon as its bound proves g_v >= 0 (`objective_bound`) or a point
with g_v < 0 is found (`objective_target`). The tolerances are its defaults, so that the answers are those of
floating point, and a closed region of dimension too small to hold a frontier counts as one.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import highspy
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from benchmarks.networks import load, names
from jensen.network import Box, Matrix, ReLUNetwork

Status = Literal["proved", "violated", "open"]
Kind = Literal["convex", "not_convex", "unknown"]
FloatArray = NDArray[np.float64]
TARGET = -1e-6
"""A neuron counts as violated below this; HiGHS's own tolerances are of the same size."""


@dataclass(frozen=True)
class NeuronAnswer:
    """What the baseline found for one neuron; layers count from 1, neurons from 0."""

    layer: int
    index: int
    status: Status
    seconds: float
    by_bounds: bool = False


def _dense(matrix: Matrix) -> FloatArray:
    return matrix if isinstance(matrix, np.ndarray) else matrix.toarray()


class Baseline:
    """The baseline for one plain ReLU network on one bounded box.

    Parameters
    ----------
    network : ReLUNetwork
        Skip connections are allowed, leaky neurons are not.
    box : Box

    Raises
    ------
    ValueError
        If the box is unbounded or a neuron has a negative slope other than 0.
    """

    def __init__(self, network: ReLUNetwork, box: Box) -> None:
        lo, hi = box.bounds(network.input_size)
        if not np.isfinite([lo, hi]).all():
            raise ValueError("the baseline needs a bounded box: its big-M constants are interval bounds")
        if any(layer.negative_slope.any() for layer in network.layers):
            raise ValueError("the baseline knows plain ReLU only")
        self.network, self.depth = network, network.depth
        self.weights = {
            (target, k): _dense(network.weight(target, k))
            for k, targets in enumerate(network.readers)
            for target in targets
        }
        self.lo, self.hi, values = [], [], [(lo, hi)]
        for position, layer in enumerate(network.layers, start=1):
            low, high = layer.bias.copy(), layer.bias.copy()
            for k in layer.weights:
                w, (a, b) = self.weights[position, k], values[k]
                low += np.maximum(w, 0) @ a + np.minimum(w, 0) @ b
                high += np.maximum(w, 0) @ b + np.minimum(w, 0) @ a
            self.lo.append(low)
            self.hi.append(high)
            values.append((np.maximum(low, 0), np.maximum(high, 0)))
        self.box = lo, hi
        self._programmes: dict[int, _Programme] = {}
        self._adjoint_bounds()

    def _adjoint_bounds(self) -> None:
        self.g_lo: list[FloatArray] = [np.zeros(0)] * self.depth
        self.g_hi: list[FloatArray] = [np.zeros(0)] * self.depth
        for k in range(self.depth, 0, -1):
            low, high = np.zeros(len(self.lo[k - 1])), np.zeros(len(self.lo[k - 1]))
            for target in self.network.readers[k]:
                w = self.weights[target, k]
                if target == self.depth + 1:
                    low, high = low + w[0], high + w[0]
                    continue
                on, off = self.lo[target - 1] > 0, self.hi[target - 1] <= 0
                a, b = self.g_lo[target - 1], self.g_hi[target - 1]
                a = np.where(on, a, np.where(off, 0, np.minimum(a, 0)))
                b = np.where(on, b, np.where(off, 0, np.maximum(b, 0)))
                low = low + a @ np.maximum(w, 0) + b @ np.minimum(w, 0)
                high = high + b @ np.maximum(w, 0) + a @ np.minimum(w, 0)
            self.g_lo[k - 1], self.g_hi[k - 1] = low, high

    def by_bounds(self, layer: int, index: int) -> bool:
        """Whether interval bounds alone show that the neuron never switches or that g_v >= 0."""
        low, high = self.lo[layer - 1][index], self.hi[layer - 1][index]
        return bool(low > 0 or high < 0 or self.g_lo[layer - 1][index] >= 0)

    def neuron(self, layer: int, index: int, time_limit: float = float("inf")) -> NeuronAnswer:
        """Decide one neuron; `time_limit` is in seconds."""
        start = time.perf_counter()
        if self.by_bounds(layer, index):
            return NeuronAnswer(layer, index, "proved", time.perf_counter() - start, by_bounds=True)
        if layer not in self._programmes:
            self._programmes[layer] = _Programme(self, layer)
        status, objective = self._programmes[layer].minimise(index, time_limit)
        kinds = highspy.HighsModelStatus
        answer: Status = "open"
        if objective < TARGET:
            answer = "violated"
        elif status in (kinds.kInfeasible, kinds.kOptimal, kinds.kObjectiveBound):
            answer = "proved"
        elif status != kinds.kTimeLimit:
            raise RuntimeError(f"HiGHS stopped with status {status}")
        return NeuronAnswer(layer, index, answer, time.perf_counter() - start)


class _Programme:
    """The mixed-integer programme of one layer's neurons: they differ in the cost and in which z is zero.

    Columns: x; per layer z, a (activity) and, but for the last, h; for later layers g and q = a g; this
    layer's g. Presolve removes what bounds decide.
    """

    def __init__(self, baseline: Baseline, layer: int) -> None:
        self.baseline, self.layer = baseline, layer
        self.columns: dict[tuple[str, int], slice] = {}
        self.lower: list[FloatArray] = []
        self.upper: list[FloatArray] = []
        self.rows: list[tuple[FloatArray, NDArray[np.int64], NDArray[np.int64]]] = []
        self.row_lower: list[FloatArray] = []
        self.row_upper: list[FloatArray] = []
        self.height = 0
        self.width = 0
        self._add_columns("h", 0, *baseline.box)
        for k in range(1, baseline.depth + 1):
            self._add_layer(k)
        for k in range(baseline.depth, layer - 1, -1):
            self._add_adjoints(k)
        self.model = self._assemble()

    def _add_columns(self, name: str, k: int, lower: FloatArray, upper: FloatArray) -> None:
        self.columns[name, k] = slice(self.width, self.width + len(lower))
        self.width += len(lower)
        self.lower.append(lower)
        self.upper.append(upper)

    def _add_rows(
        self, parts: dict[tuple[str, int], FloatArray], lower: FloatArray, upper: FloatArray
    ) -> None:
        """Rows lower <= sum of parts <= upper; a vector stands for a diagonal block."""
        for key, part in parts.items():
            block = np.diag(part) if part.ndim == 1 else part
            row, column = np.nonzero(block)
            self.rows.append((block[row, column], row + self.height, column + self.columns[key].start))
        self.height += len(lower)
        self.row_lower.append(lower)
        self.row_upper.append(upper)

    def _add_layer(self, k: int) -> None:
        base = self.baseline
        low, high, bias = base.lo[k - 1], base.hi[k - 1], base.network.layers[k - 1].bias
        one, below, above = np.ones(len(low)), np.full(len(low), -np.inf), np.full(len(low), np.inf)
        self._add_columns("z", k, low, high)
        self._add_columns("a", k, (low > 0).astype(float), (high > 0).astype(float))
        z, a, h = ("z", k), ("a", k), ("h", k)
        sources = {("h", j): -base.weights[k, j] for j in base.network.layers[k - 1].weights}
        self._add_rows({z: one, **sources}, bias, bias)
        if k == base.depth:
            self._add_rows({z: one, a: -high}, below, 0 * one)
            self._add_rows({z: one, a: low}, low, above)
            return
        self._add_columns("h", k, 0 * one, np.maximum(high, 0))
        self._add_rows({h: one, z: -one}, 0 * one, above)
        self._add_rows({h: one, z: -one, a: -low}, below, -low)
        self._add_rows({h: one, a: -np.maximum(high, 0)}, below, 0 * one)

    def _add_adjoints(self, k: int) -> None:
        base = self.baseline
        low, high = base.g_lo[k - 1], base.g_hi[k - 1]
        one, below, above = np.ones(len(low)), np.full(len(low), -np.inf), np.full(len(low), np.inf)
        self._add_columns("g", k, low, high)
        g, q, a = ("g", k), ("q", k), ("a", k)
        readers = base.network.readers[k]
        constant = base.weights[base.depth + 1, k][0] if base.depth + 1 in readers else 0 * one
        sources = {("q", j): -base.weights[j, k].T for j in readers if j <= base.depth}
        self._add_rows({g: one, **sources}, constant, constant)
        if k == self.layer:
            return
        self._add_columns("q", k, np.minimum(low, 0), np.maximum(high, 0))
        self._add_rows({q: one, a: -high}, below, 0 * one)
        self._add_rows({q: one, a: -low}, 0 * one, above)
        self._add_rows({q: one, g: -one, a: -low}, below, -low)
        self._add_rows({q: one, g: -one, a: -high}, -high, above)

    def _assemble(self) -> highspy.Highs:
        data, rows, columns = (np.concatenate(part) for part in zip(*self.rows, strict=True))
        matrix = sparse.csr_array((data, (rows, columns)), shape=(self.height, self.width))
        lp = highspy.HighsLp()
        lp.num_row_, lp.num_col_ = matrix.shape
        lp.col_cost_ = np.zeros(self.width)
        lp.col_lower_, lp.col_upper_ = np.concatenate(self.lower), np.concatenate(self.upper)
        lp.row_lower_, lp.row_upper_ = np.concatenate(self.row_lower), np.concatenate(self.row_upper)
        lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
        lp.a_matrix_.start_, lp.a_matrix_.index_, lp.a_matrix_.value_ = (
            matrix.indptr,
            matrix.indices,
            matrix.data,
        )
        kinds = np.full(self.width, highspy.HighsVarType.kContinuous)
        for (name, _), place in self.columns.items():
            if name == "a":
                kinds[place] = highspy.HighsVarType.kInteger
        lp.integrality_ = kinds.tolist()
        model = highspy.Highs()  # type: ignore[no-untyped-call]
        options = {"output_flag": False, "threads": 1, "objective_bound": 0.0, "objective_target": TARGET}
        for option, value in options.items():
            model.setOptionValue(option, value)
        model.passModel(lp)
        return model

    def minimise(self, index: int, time_limit: float) -> tuple[highspy.HighsModelStatus, float]:
        """Minimise g_v where z_v = 0; returns HiGHS's status and the best value found (inf if none)."""
        z, g = self.columns["z", self.layer].start + index, self.columns["g", self.layer].start + index
        low, high = self.baseline.lo[self.layer - 1][index], self.baseline.hi[self.layer - 1][index]
        model = self.model
        model.clearSolver()
        model.setOptionValue("time_limit", model.getRunTime() + time_limit)  # its clock runs on between calls
        model.changeColCost(g, 1.0)
        model.changeColBounds(z, 0.0, 0.0)
        model.run()
        info = model.getInfo()
        feasible = info.primal_solution_status == highspy.SolutionStatus.kSolutionStatusFeasible
        value = info.objective_function_value if feasible else float("inf")
        status = model.getModelStatus()
        model.changeColCost(g, 0.0)
        model.changeColBounds(z, low, high)
        return status, value


@dataclass(frozen=True)
class BaselineAnswer:
    """The baseline's verdict on a network, with its neurons and the CPU seconds that it took."""

    kind: Kind
    seconds: float
    neurons: tuple[NeuronAnswer, ...]


def decide(
    network: ReLUNetwork, box: Box, time_limit: float = float("inf"), *, every: bool = False
) -> BaselineAnswer:
    """Run the baseline on every hidden neuron, last layer first, until one is violated.

    Parameters
    ----------
    network : ReLUNetwork
    box : Box
    time_limit : float
        Seconds by the clock for the whole network.
    every : bool, default False
        Whether to go on after a violation and answer for every neuron.

    Returns
    -------
    BaselineAnswer
    """
    start, deadline = time.process_time(), time.perf_counter() + time_limit
    baseline = Baseline(network, box)
    answers: list[NeuronAnswer] = []
    for layer in range(network.depth, 0, -1):
        for index in range(network.widths[layer - 1]):
            left = deadline - time.perf_counter()
            answer = (
                baseline.neuron(layer, index, left) if left > 0 else NeuronAnswer(layer, index, "open", 0.0)
            )
            answers.append(answer)
            if answer.status == "violated" and not every:
                return BaselineAnswer("not_convex", time.process_time() - start, tuple(answers))
    statuses = {answer.status for answer in answers}
    kind: Literal["convex", "not_convex", "unknown"] = "unknown" if "open" in statuses else "convex"
    return BaselineAnswer(
        "not_convex" if "violated" in statuses else kind, time.process_time() - start, tuple(answers)
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the baseline alone on chosen benchmark networks."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("names", nargs="*", default=names())
    parser.add_argument("--factors", type=float, nargs="+", default=[1.0])
    parser.add_argument("--time-limit", type=float, default=60.0)
    parser.add_argument("--every", action="store_true", help="answer for every neuron")
    options = parser.parse_args(arguments)
    for name in options.names:
        for factor in options.factors:
            network, box = load(name, factor)
            answer = decide(network, box, options.time_limit, every=options.every)
            counts = {s: sum(n.status == s for n in answer.neurons) for s in ("proved", "violated", "open")}
            bounds = sum(n.by_bounds for n in answer.neurons)
            slowest = max(n.seconds for n in answer.neurons)
            print(
                f"{name} f={factor:g}: {answer.kind} {answer.seconds:.2f} s {counts} "
                f"by bounds {bounds}, slowest neuron {slowest:.2f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
