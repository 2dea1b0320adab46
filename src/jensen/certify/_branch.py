"""Branch and bound on the signs of undecided neurons, for one neuron's kink on one bounded piece.

A node fixes some signs. It is closed when sound arithmetic shows that no point of the kink has these
signs, or that the jump is nonnegative for all of them; when every sign is fixed, exact arithmetic
decides. Nothing is closed on a solver's word, and with a prover nothing on floating point's. A node that is
left open is data, so that the search can be cut off at any time, shared between processes, and taken up
again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter

import highspy
import numpy as np
from numpy.typing import NDArray

from jensen.certify._bounds import Intervals, adjoint_bounds
from jensen.certify._exact_domain import ExactDomain
from jensen.certify._facet import Kink, decide_facet
from jensen.certify._programme import Programme
from jensen.certify._prover import Node, ProvedLeaf, Prover
from jensen.network import FloatArray, ReLUNetwork
from jensen.verifier import Leaf, Multipliers

Path = tuple[tuple[int, int], ...]
"""The same within one programme: (position in `Programme.undecided`, 0 or 1)."""

DEGENERATE = 8
"""Exact leaves without a violation after which a kink is searched in topological order, with exact tests."""

NEARLY_ZERO = 1e-9
"""Bounds that floating point cannot tell from zero are worth a look at signs."""

LOOKAHEAD, PATIENCE, RELIABLE, ITERATIONS = 24, 6, 8, 50
"""Candidates looked at, unsuccessful ones in a row, tries until a gain is trusted, simplex steps per try."""


@dataclass
class Search:
    """What a stretch of branch and bound established.

    Attributes
    ----------
    open : list of Node
        Nodes still to be searched; empty when the neuron is proved.
    lower_bound : float
        Least jump proved over the closed nodes.
    kink : Kink or None
        An exact violation found at a leaf.
    stopped : bool
        Whether the probe found a violation.
    leaves : list of ProvedLeaf
        The closed nodes, where there is a prover.
    nodes, exact_leaves : int
    """

    open: list[Node] = field(default_factory=list)
    lower_bound: float = np.inf
    kink: Kink | None = None
    stopped: bool = False
    leaves: list[ProvedLeaf] = field(default_factory=list)
    nodes: int = 0
    exact_leaves: int = 0


class Tree:
    """The search of one programme: a warm solver, and what branching has taught so far.

    Parameters
    ----------
    programme : Programme
    original : ReLUNetwork
        The network in its own input space, for exact decisions.
    domain : ExactDomain
    probe : callable
        Given a point of the piece and an activation pattern, looks for an exact violation near them and
        says whether it found one; the search then stops.
    prover : Prover, optional
        Lets a node be closed only if exact arithmetic agrees, and keeps what closed it.
    """

    def __init__(
        self,
        programme: Programme,
        original: ReLUNetwork,
        domain: ExactDomain,
        probe: Callable[[FloatArray, list[NDArray[np.bool_]]], bool],
        prover: Prover | None = None,
    ) -> None:
        self.programme, self.original, self.domain, self.probe = programme, original, domain, probe
        self.prover = prover
        self.solver = programme.solver()
        # The dual simplex may stop as soon as its bound proves the node.
        self.solver.setOptionValue("objective_bound", 1e-6 + programme.error)
        self.memory = Memory(programme.weights)

    def search(self, nodes: list[Node], deadline: float) -> Search:
        """Search below the given nodes until they are closed, a violation is found, or time is up.

        Parameters
        ----------
        nodes : list of Node
        deadline : float
            Time by `time.perf_counter` at which to stop.
        """
        undecided, result = self.programme.undecided, Search()
        position = {neuron: k for k, neuron in enumerate(undecided)}
        paths = [tuple((position[neuron], side) for neuron, side in node) for node in nodes]
        while paths and perf_counter() < deadline:
            children = self._expand(paths.pop(), result)
            result.nodes += 1
            if result.stopped or result.kink is not None:
                break
            paths.extend(children)
        result.open = [self._named(path) for path in paths]
        result.leaves = [] if self.prover is None else self.prover.leaves
        return result

    def _named(self, path: Path) -> Node:
        return tuple((self.programme.undecided[p], side) for p, side in path)

    def _expand(self, node: Path, result: Search) -> list[Path]:
        """Close a node, or return its children."""
        while True:
            degenerate = result.exact_leaves >= DEGENERATE
            if degenerate and self._is_thin(node):
                return []
            relaxed = self._solve(node, result)
            if relaxed.closed:
                return []
            if relaxed.point is not None and self._worth_probing(result):
                result.stopped = self._probe(relaxed.point)
                if result.stopped:
                    return []
            if len(node) == len(self.programme.undecided):
                return self._leaf(node, result)
            if degenerate:  # in topological order, so that affine forms become known
                position = min(set(range(len(self.programme.undecided))) - {p for p, _ in node})
                return [(*node, (position, 0)), (*node, (position, 1))]
            choice, fixed = self._choose(node, relaxed, result)
            if result.stopped:
                return []
            if not fixed:
                position, first = choice
                return [(*node, (position, 1 - first)), (*node, (position, first))]
            node = (*node, *fixed)

    def _probe(self, point: FloatArray) -> bool:
        """Look for a violation near a solution of the linear programme, with the signs that it takes."""
        programme = self.programme
        taken = tuple((k, int(a > 0.5)) for k, a in enumerate(point[programme.indicators]))
        return self.probe(point[: programme.network.input_size], _pattern(programme, taken)[0])

    def _worth_probing(self, result: Search) -> bool:
        return result.nodes < 16 or result.nodes % 8 == 0

    def _is_thin(self, node: Path) -> bool:
        """Whether the signs fixed so far leave no room for a facet, by exact arithmetic on known forms."""
        pattern, decided = _pattern(self.programme, node)
        claim = decide_facet(self.original, self.domain, self.programme.neuron, pattern, decided)
        return not (claim is None or isinstance(claim, Kink)) and self._accepts(node, claim)

    def _leaf(self, node: Path, result: Search) -> list[Path]:
        """Decide a node in which every sign is fixed, exactly."""
        result.exact_leaves += 1
        pattern, _ = _pattern(self.programme, node)
        claim = decide_facet(self.original, self.domain, self.programme.neuron, pattern)
        if isinstance(claim, Kink):
            result.kink = claim
        elif claim is None or not self._accepts(node, claim):
            raise RuntimeError(
                f"the checker refuses a decided facet of neuron {self.programme.neuron}: {claim}"
            )
        result.lower_bound = min(result.lower_bound, 0.0)
        return []

    def _accepts(self, node: Path, leaf: Leaf) -> bool:
        return self.prover is None or self.prover.accept(self._named(node), leaf, 0.0)

    def _accepts_duals(self, node: Path, duals: FloatArray, bound: float) -> bool:
        return self.prover is None or self.prover.accept_multipliers(self._named(node), duals, bound)

    def _solve(self, node: Path, result: Search, iterations: int = 2**30) -> Relaxed:
        """Bound a node by its linear programme; it is closed only on a proof."""
        programme, solver = self.programme, self.solver
        low, high = programme.low.copy(), programme.high.copy()
        for position, side in node:
            low[programme.indicators[position]] = high[programme.indicators[position]] = side
        columns = programme.indicators
        if columns.size:
            solver.changeColsBounds(columns.size, columns, low[columns], high[columns])
        solver.setOptionValue("simplex_iteration_limit", iterations)
        solver.run()
        status = solver.getModelStatus()
        if status == highspy.HighsModelStatus.kInfeasible:
            ray = _emptiness(programme, solver, low, high)
            return Relaxed(ray is not None and self._accepts_duals(node, ray, np.inf), np.inf, None)
        answer = solver.getSolution()
        bound, duals = -np.inf, np.asarray(answer.row_dual)
        if answer.dual_valid:
            bound = programme.lower_bound(duals, low, high, programme.cost)
            bound += programme.offset - programme.error
        if bound >= 0 and self._accepts_duals(node, duals, bound):
            result.lower_bound = min(result.lower_bound, bound)
            return Relaxed(True, bound, None)
        if bound > -NEARLY_ZERO and self._signs_close(node):
            result.lower_bound = min(result.lower_bound, 0.0)
            return Relaxed(True, 0.0, None)
        optimal = status == highspy.HighsModelStatus.kOptimal
        return Relaxed(False, bound, np.asarray(answer.col_value) if optimal else None)

    def _signs_close(self, node: Path) -> bool:
        """Whether the signs fixed so far leave no negative term in the jump: then it may be exactly zero."""
        programme = self.programme
        if self.prover is not None:
            return self.prover.accept(self._named(node), Multipliers(), 0.0)
        lo = [v.copy() for v in programme.intervals.lo]
        hi = [v.copy() for v in programme.intervals.hi]
        for position, side in node:
            layer, i = programme.undecided[position]
            if side:
                lo[layer - 1][i] = 0.0
            else:
                hi[layer - 1][i] = 0.0
        layer, i = programme.neuron
        slopes = Intervals(lo, hi).slopes(programme.network)
        return bool(adjoint_bounds(programme.network, slopes, programme.jumps).jump[layer - 1][i] >= 0)

    def _choose(
        self, node: Path, relaxed: Relaxed, result: Search
    ) -> tuple[tuple[int, int], list[tuple[int, int]]]:
        """Pick the neuron to branch on by looking ahead; or return signs that looking ahead has fixed.

        Reliability branching (Achterberg, Koch and Martin, 2005): neurons whose effect on the bound is
        not yet known are tried on both sides; a side that closes at once fixes the other.
        """
        programme, memory = self.programme, self.memory
        free = np.ones(len(programme.undecided), dtype=bool)
        free[[position for position, _ in node]] = False
        candidates = np.flatnonzero(free)
        if relaxed.point is None:
            return (int(candidates[0]), 1), []
        a = relaxed.point[programme.indicators[candidates]]
        order = np.argsort(-memory.scores(candidates, a), kind="stable")
        best, best_score, tries = int(candidates[order[0]]), -1.0, 0
        for k in order[:LOOKAHEAD]:
            position, share = int(candidates[k]), float(a[k])
            if memory.reliable(position):
                score = float(memory.scores(candidates[[k]], a[[k]])[0])
            else:
                gains = []
                for side in (0, 1):
                    child = self._solve((*node, (position, side)), result, ITERATIONS)
                    gain = min(max(child.bound - relaxed.bound, 0.0), -relaxed.bound)
                    memory.learn(position, side, gain, share)
                    if child.closed:
                        return (position, 1 - side), [(position, 1 - side)]
                    if child.point is not None and result.nodes == 0:
                        result.stopped = self._probe(child.point)
                        if result.stopped:
                            return (position, side), []
                    gains.append(gain)
                score = max(gains[0], 1e-9) * max(gains[1], 1e-9)
            tries += 1
            if score > best_score:
                best, best_score, tries = position, score, 0
            elif tries >= PATIENCE:
                break
        return (best, int(relaxed.point[programme.indicators[best]] > 0.5)), []


@dataclass(frozen=True)
class Relaxed:
    """A node's linear programme: whether it closes the node, a sound bound, and its solution."""

    closed: bool
    bound: float
    point: FloatArray | None


class Memory:
    """How much fixing each sign has raised the bound, per unit of its indicator's distance."""

    def __init__(self, weights: FloatArray) -> None:
        self.weights = weights / max(float(weights.max(initial=0.0)), 1e-300)
        self.total = np.zeros((2, weights.size))
        self.count = np.zeros((2, weights.size))

    def learn(self, position: int, side: int, gain: float, share: float) -> None:
        """Record the gain of fixing an indicator that stood at `share`."""
        distance = max(share if side == 0 else 1.0 - share, 1e-3)
        self.total[side, position] += gain / distance
        self.count[side, position] += 1

    def reliable(self, position: int) -> bool:
        """Whether both sides have been tried often enough."""
        return bool(self.count[:, position].min() >= RELIABLE)

    def scores(self, positions: NDArray[np.intp], shares: FloatArray) -> FloatArray:
        """Estimate the product of both gains; weights stand in where nothing has been learnt."""
        known = self.total.sum() / max(self.count.sum(), 1.0)
        rates = np.where(
            self.count[:, positions] > 0,
            self.total[:, positions] / np.maximum(self.count[:, positions], 1.0),
            known * self.weights[positions] + 1e-6 * self.weights[positions],
        )
        down, up = rates[0] * np.maximum(shares, 1e-3), rates[1] * np.maximum(1.0 - shares, 1e-3)
        return np.asarray(np.maximum(down, 1e-9) * np.maximum(up, 1e-9))


def _emptiness(
    programme: Programme, solver: highspy.Highs, low: FloatArray, high: FloatArray
) -> FloatArray | None:
    """Turn the solver's claim of infeasibility into multipliers that prove it, or reject it."""
    _, has_ray, ray = solver.getDualRay()  # type: ignore[attr-defined]
    if not has_ray:
        return None
    multipliers, nothing = np.asarray(ray), np.zeros(programme.low.size)
    for signed in (multipliers, -multipliers):
        if programme.lower_bound(signed, low, high, nothing) > 0:
            return signed
    return None


def _pattern(programme: Programme, node: Path) -> tuple[list[NDArray[np.bool_]], list[NDArray[np.bool_]]]:
    """Return the activation pattern of a node, and which of its entries are decided."""
    signs = [
        np.array([programme.sign(layer, i) for i in range(n)])
        for layer, n in enumerate(programme.network.widths, start=1)
    ]
    layer, i = programme.neuron
    signs[layer - 1][i] = 1
    for position, side in node:
        layer, i = programme.undecided[position]
        signs[layer - 1][i] = 1 if side else -1
    return [s > 0 for s in signs], [s != 0 for s in signs]
