"""Exact minimisation of input convex ReLU networks as linear programmes: the epigraph, on HiGHS."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import highspy
import numpy as np
from scipy import sparse

from jensen.certify._highs import quiet_highs
from jensen.certify._progress import Clock
from jensen.errors import ArgumentError, JensenError
from jensen.minimize.exact._refine import refined
from jensen.minimize.exact._stop import Stop
from jensen.minimize.posed._affine import box_minimum, minorant
from jensen.minimize.posed._feasible import moved_inside
from jensen.minimize.posed._icnn import why_not_icnn
from jensen.minimize.posed._polyhedron import Polyhedron, feasible_point
from jensen.minimize.posed._recession import falling_ray
from jensen.minimize.posed._result import Minimum, Status, empty_domain
from jensen.network import FloatArray, Layer, ReLUNetwork

_STATUS = highspy.HighsModelStatus
_DUAL, _PRIMAL = 1, 4
"""Simplex methods, in HiGHS's numbers."""
_ENDED: dict[highspy.HighsModelStatus, Status] = {
    _STATUS.kTimeLimit: "time_limit",
    _STATUS.kInterrupt: "interrupted",
}


class Epigraph:
    """The epigraph of an input convex network as rows: h >= z and h >= slope z for every neuron.

    Columns are the inputs, then all neurons' activations. The network's value is the least of
    ``cost @ columns + constant`` over all activations that obey the rows.

    Attributes
    ----------
    matrix : (m, columns) sparse array
    below : (m,) array
        ``matrix @ columns >= below``.
    cost, low : (columns,) arrays
        Objective and lower bounds of columns; the first n are free.
    constant : float
    upper_rows, lower_rows : (N,) int arrays
        For every neuron its row h >= z, and h >= slope z or -1, where that is the bound h >= 0.

    Raises
    ------
    ArgumentError
        If the network is no ICNN; the message says why.
    """

    def __init__(self, network: ReLUNetwork) -> None:
        if reason := why_not_icnn(network):
            raise ArgumentError(f"the epigraph needs an input convex network, and {reason}")
        n = network.input_size
        starts = np.concatenate([[0], np.cumsum([n, *network.widths])])
        columns = int(starts[-1])
        self.cost, self.constant = np.zeros(columns), network.output_bias
        for k, w in network.output_weights.items():
            self.cost[starts[k] : starts[k + 1]] += (w.toarray() if sparse.issparse(w) else w)[0]
        self.low = np.full(columns, -np.inf)
        blocks, below = [], []
        self.upper_rows = np.arange(columns - n)
        self.lower_rows = np.full(columns - n, -1)
        for position, layer in enumerate(network.layers, 1):
            parts: list[Any] = [sparse.csr_array((layer.size, int(e - s))) for s, e in _spans(starts)]
            for k, w in layer.weights.items():
                parts[k] = -sparse.csr_array(w)
            blocks.append(
                [*parts[:position], sparse.identity(layer.size, format="csr"), *parts[position + 1 :]]
            )
            below.append(layer.bias)
            self.low[starts[position] : starts[position + 1]] = np.where(
                layer.negative_slope == 0, 0.0, -np.inf
            )
        rows = [sparse.hstack(parts, format="csr") for parts in blocks]
        slanted, m = [], columns - n
        for position, layer in enumerate(network.layers, 1):
            leaky = np.flatnonzero(layer.negative_slope)
            if len(leaky):
                slope = layer.negative_slope[leaky]
                own = sparse.csr_array(
                    (1.0 - slope, (np.arange(len(leaky)), starts[position] + leaky)),
                    shape=(len(leaky), columns),
                )
                slanted.append(sparse.csr_array(rows[position - 1][leaky].multiply(slope[:, None])) + own)
                below.append(slope * layer.bias[leaky])
                self.lower_rows[starts[position] - n + leaky] = m + np.arange(len(leaky))
                m += len(leaky)
        whole = [*rows, *slanted]
        self.matrix = sparse.csr_array(sparse.vstack(whole)) if whole else sparse.csr_array((0, columns))
        self.matrix.eliminate_zeros()
        self.below = np.concatenate([*below, np.zeros(0)])


class EpigraphLP:
    """Minimises net(y) + slope . y for many slopes by the simplex method; each begins at the last basis.

    Parameters
    ----------
    network : ReLUNetwork
        With nonnegative weights on hidden neurons.
    inside : Polyhedron

    Raises
    ------
    ArgumentError
        If the network is no ICNN.
    """

    method = "lp"

    def __init__(self, network: ReLUNetwork, inside: Polyhedron) -> None:
        self.network, self.inside = network, inside
        self.epigraph = Epigraph(network)
        self.highs: Any = quiet_highs()
        self._stop = Stop(self.highs)
        if self.highs.passModel(linear_program(self.epigraph, inside)) == highspy.HighsStatus.kError:
            raise JensenError("HiGHS takes no weights or bounds as large as these (beyond 1e15)")

    def solve(
        self,
        slope: FloatArray | None = None,
        curvature: float = 0.0,
        start: FloatArray | None = None,
        gap: float = 1e-6,
        clock: Clock | None = None,
        progress: Callable[[Minimum], None] | None = None,
    ) -> Minimum:
        """Minimise with this slope added; see `Walker.solve`.

        Raises
        ------
        ArgumentError
            If a curvature is asked for.
        JensenError
            If HiGHS ends without an answer.

        Notes
        -----
        An interrupt (Ctrl-C) gives the best so far: the point where the simplex method stands.
        """
        if curvature:
            raise ArgumentError('method "lp" minimises no quadratic terms; use "walk" or "cuts"')
        clock = clock or Clock(None)
        began, n = clock.elapsed, self.network.input_size
        tilt = np.zeros(n) if slope is None else np.asarray(slope, dtype=np.float64)
        if self.inside.is_empty:
            return empty_domain(n, self.method, clock.elapsed - began)
        places = np.arange(n, dtype=np.int32)
        self.highs.changeColsCost(n, places, self.epigraph.cost[:n] + tilt)
        self.highs.setOptionValue("time_limit", self.highs.getRunTime() + clock.left)
        status, pivots = self._run()
        solution = self.highs.getSolution()
        columns, dual = np.array(solution.col_value), np.array(solution.row_dual)
        ended = _ENDED.get(status)
        if status not in (_STATUS.kOptimal, *_ENDED):
            if status in (_STATUS.kUnbounded, _STATUS.kUnboundedOrInfeasible):
                ray = self._ray(tilt)
                if ray is not None:
                    y = self._inside(columns[:n])
                    seconds = clock.elapsed - began
                    return Minimum(y, -np.inf, -np.inf, pivots, self.method, "unbounded", seconds, ray)
            columns = np.zeros(0)  # HiGHS is lost in the scales: what it says means nothing
        y, value, low = self._measured(columns, dual, tilt)
        if ended is None and not value - low <= gap * max(1.0, abs(value)):
            program = linear_program(self.epigraph, self.inside)
            program.col_cost_ = self.epigraph.cost + np.append(tilt, np.zeros(len(self.epigraph.cost) - n))
            if not len(columns):
                columns, dual = self._columns(y), np.zeros(program.num_row_)
            basis = self.highs.getBasis() if status == _STATUS.kOptimal else None
            better = self._measured(*refined(program, columns, dual, basis, clock), tilt)
            y, value = (y, value) if value <= better[1] else better[:2]
            low = max(low, better[2])
        known: Status = "optimal" if value - low <= gap * max(1.0, abs(value)) else "inaccurate"
        if self._stop.asked:  # whatever comes next should not begin
            known = "interrupted"
        elif ended is not None and known != "optimal":
            known = ended
        return Minimum(y, value, low, pivots, self.method, known, clock.elapsed - began)

    def _inside(self, y: FloatArray) -> FloatArray:
        """Move a point, or none, into the domain."""
        point = np.clip(y if len(y) else np.zeros(self.network.input_size), self.inside.lo, self.inside.hi)
        if len(y) and self.inside.holds(point):
            return point
        moved = moved_inside(self.inside, point) if len(y) else feasible_point(self.inside, point)
        if moved is None:
            moved = feasible_point(self.inside, point)
        if moved is None:
            raise JensenError("no point of the domain is found in float64: rescale it")
        return moved

    def _columns(self, y: FloatArray) -> FloatArray:
        """Compute inputs and activations at a point."""
        pre, _ = self.network.forward(y[None])
        layers = zip(pre, self.network.layers, strict=True)
        return np.concatenate([y, *(np.where(z[0] > 0, z[0], a.negative_slope * z[0]) for z, a in layers)])

    def _measured(
        self, columns: FloatArray, dual: FloatArray, tilt: FloatArray
    ) -> tuple[FloatArray, float, float]:
        """Return the programme's point, moved into the domain, its value, and a lower bound."""
        y = self._inside(columns[: self.network.input_size])
        return y, float(self.network(y)[0]) + float(tilt @ y), self._bound(dual, tilt, y)

    def _run(self) -> tuple[highspy.HighsModelStatus, int]:
        """Solve; begin afresh, by the dual and then by the primal simplex method, where HiGHS gives up."""
        pivots = 0
        for attempt in (_DUAL, _DUAL, _PRIMAL):
            self.highs.setOptionValue("simplex_strategy", attempt)
            with self._stop.listening():
                self.highs.run()
            pivots += self.highs.getInfo().simplex_iteration_count
            status = self.highs.getModelStatus()
            if status in (_STATUS.kOptimal, _STATUS.kUnbounded, *_ENDED):  # the domain is not empty
                break
            self.highs.clearSolver()
        self.highs.setOptionValue("simplex_strategy", _DUAL)
        return status, int(pivots)

    def set_inside(self, inside: Polyhedron) -> None:
        """Change the domain's bounds and right-hand sides; rows stay, and the basis stays warm.

        Raises
        ------
        ArgumentError
            If the rows differ.
        """
        if inside.rows.shape != self.inside.rows.shape or (inside.rows != self.inside.rows).any():
            raise ArgumentError("a warm start keeps the domain's rows: make a new EpigraphLP for others")
        n, m = len(inside.lo), len(inside.right)
        self.inside = inside
        self.highs.changeColsBounds(n, np.arange(n, dtype=np.int32), inside.lo, inside.hi)
        first = len(self.epigraph.below)
        for i in range(m):
            self.highs.changeRowBounds(first + i, -np.inf, float(inside.right[i]))

    def set_network(self, network: ReLUNetwork) -> None:
        """Change all weights, to those of the same architecture (another x, say); the basis stays warm.

        Raises
        ------
        ArgumentError
            If the shapes differ, or the network is no ICNN.
        """
        if (network.input_size, network.widths) != (self.network.input_size, self.network.widths):
            raise ArgumentError("a warm start keeps the network's shape: make a new EpigraphLP for another")
        epigraph = Epigraph(network)
        same_rows = len(epigraph.below) == len(self.epigraph.below)
        basis = self.highs.getBasis()
        self.network, self.epigraph = network, epigraph
        self.highs.passModel(linear_program(epigraph, self.inside))
        if same_rows and basis.valid:
            self.highs.setBasis(basis)

    def _bound(self, dual: FloatArray, tilt: FloatArray, y: FloatArray) -> float:
        """Bound from below by the duals: they are slopes for all activations, see `minorant`."""
        if not len(dual):
            dual = np.zeros(len(self.epigraph.below) + len(self.inside.right))
        upper = np.maximum(dual[self.epigraph.upper_rows], 0.0)
        slanted = self.epigraph.lower_rows
        lower = np.where(slanted >= 0, np.maximum(dual[slanted], 0.0), 0.0) if len(slanted) else upper
        price = np.maximum(-dual[len(self.epigraph.below) :], 0.0)
        affine = minorant(self.network, upper, lower, y).plus(tilt, y)
        return box_minimum(affine.plus_rows(self.inside, price, y), self.inside, y)

    def _ray(self, tilt: FloatArray) -> FloatArray | None:
        """Find a ray along which the goal falls without end, rounding errors considered."""
        n = self.network.input_size
        _, has_ray, found = self.highs.getPrimalRay()
        ray = falling_ray(self.network, self.inside, tilt, np.array(found[:n])) if has_ray else None
        if ray is not None:
            return ray
        flat = [Layer(a.weights, np.zeros(a.size), a.negative_slope) for a in self.network.layers]
        cone = Polyhedron(
            np.where(np.isfinite(self.inside.lo), 0.0, -1.0),
            np.where(np.isfinite(self.inside.hi), 0.0, 1.0),
            self.inside.rows,
            np.zeros(len(self.inside.right)),
        )  # rays up to length 1, and what the network without its biases does there
        steep = EpigraphLP(ReLUNetwork(n, flat, self.network.output_weights, 0.0), cone).solve(tilt).point
        return falling_ray(self.network, self.inside, tilt, steep)


def linear_program(epigraph: Epigraph, inside: Polyhedron) -> highspy.HighsLp:
    """Write the programme min cost @ columns over the epigraph and a domain, for HiGHS."""
    columns, n = len(epigraph.cost), len(inside.lo)
    program = highspy.HighsLp()
    rows = sparse.csr_array(inside.rows)
    wide = sparse.csr_array((rows.data, rows.indices, rows.indptr), shape=(len(inside.right), columns))
    matrix = sparse.csr_array(sparse.vstack([epigraph.matrix, wide]))
    program.num_col_, program.num_row_ = columns, matrix.shape[0]
    program.offset_ = epigraph.constant
    program.col_cost_ = epigraph.cost
    low, high = epigraph.low.copy(), np.full(columns, np.inf)
    low[:n], high[:n] = inside.lo, inside.hi
    program.col_lower_, program.col_upper_ = low, high
    program.row_lower_ = np.concatenate([epigraph.below, np.full(len(inside.right), -np.inf)])
    program.row_upper_ = np.concatenate([np.full(len(epigraph.below), np.inf), inside.right])
    program.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    program.a_matrix_.start_ = matrix.indptr.astype(np.int32)
    program.a_matrix_.index_ = matrix.indices.astype(np.int32)
    program.a_matrix_.value_ = matrix.data
    return program


def _spans(starts: FloatArray) -> list[tuple[int, int]]:
    return [(int(a), int(b)) for a, b in pairwise(starts)]
