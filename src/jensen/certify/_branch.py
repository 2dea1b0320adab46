"""Branch and bound on the signs of undecided neurons, for one neuron's kink on one bounded piece.

A node fixes some signs. It is closed when sound arithmetic shows that no point of the kink has these
signs, or that the jump is nonnegative for all of them; when every sign is fixed, exact arithmetic
decides. Nothing is closed on a solver's word. A node that is left open is data, so that the search can be
cut off at any time, shared between processes, and taken up again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter

import highspy
import numpy as np

from jensen.certify._exact_domain import ExactDomain
from jensen.certify._facet import Kink, facet_violation
from jensen.certify._programme import Neuron, Programme
from jensen.network import FloatArray, ReLUNetwork

Node = tuple[tuple[int, int], ...]
"""Decisions (position in `Programme.undecided`, 0 or 1) on the way from the root."""

ROOT: Node = ()


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
    nodes, exact_leaves : int
    """

    open: list[Node] = field(default_factory=lambda: [ROOT])
    lower_bound: float = np.inf
    kink: Kink | None = None
    stopped: bool = False
    nodes: int = 0
    exact_leaves: int = 0


def search(
    programme: Programme,
    original: ReLUNetwork,
    domain: ExactDomain,
    nodes: list[Node],
    probe: Callable[[FloatArray], bool],
    deadline: float,
) -> Search:
    """Search the subtrees below the given nodes until they are closed, a violation is found, or time is up.

    Parameters
    ----------
    programme : Programme
    original : ReLUNetwork
        The network in its own input space, for exact decisions.
    domain : ExactDomain
    nodes : list of Node
    probe : callable
        Given a point of the piece, looks for an exact violation near it and says whether it found one;
        the search then stops.
    deadline : float
        Time by `time.perf_counter` at which to stop.
    """
    result = Search(open=list(nodes))
    solver = programme.solver()
    while result.open:
        if perf_counter() > deadline:
            return result
        node = result.open.pop()
        # Should an interrupt arrive in here, the node must not be lost.
        try:
            children = _expand(programme, original, domain, node, solver, result, probe)
        except KeyboardInterrupt:
            result.open.append(node)
            raise
        result.nodes += 1
        if result.stopped or result.kink is not None:
            return result
        result.open.extend(children)
    return result


def _expand(
    programme: Programme,
    original: ReLUNetwork,
    domain: ExactDomain,
    node: Node,
    solver: highspy.Highs,
    result: Search,
    probe: Callable[[FloatArray], bool],
) -> list[Node]:
    """Close a node or return its children."""
    low, high = programme.low.copy(), programme.high.copy()
    for position, side in node:
        low[programme.indicators[position]] = high[programme.indicators[position]] = side
    columns = programme.indicators
    if columns.size:
        solver.changeColsBounds(columns.size, columns, low[columns], high[columns])
    solver.run()
    status = solver.getModelStatus()
    solution: FloatArray | None = None
    if status == highspy.HighsModelStatus.kOptimal:
        answer = solver.getSolution()
        bound = programme.lower_bound(np.asarray(answer.row_dual), low, high, programme.cost)
        bound += programme.offset - programme.error
        if bound >= 0:
            result.lower_bound = min(result.lower_bound, bound)
            return []
        solution = np.asarray(answer.col_value)
    elif status == highspy.HighsModelStatus.kInfeasible:
        if _proved_empty(programme, solver, low, high):
            return []
    if solution is not None:
        result.stopped = probe(solution[: programme.network.input_size])
        if result.stopped:
            return []
    if len(node) == len(programme.undecided):
        result.exact_leaves += 1
        result.kink = facet_violation(original, domain, programme.neuron, _pattern(programme, node))
        result.lower_bound = min(result.lower_bound, 0.0)
        return []
    position, first = _choose(programme, node, solution)
    return [(*node, (position, 1 - first)), (*node, (position, first))]


def _proved_empty(programme: Programme, solver: highspy.Highs, low: FloatArray, high: FloatArray) -> bool:
    """Turn the solver's claim of infeasibility into a proof, or reject it."""
    _, has_ray, ray = solver.getDualRay()
    if not has_ray:
        return False
    multipliers, nothing = np.asarray(ray), np.zeros(programme.low.size)
    return any(programme.lower_bound(sign * multipliers, low, high, nothing) > 0 for sign in (1.0, -1.0))


def _pattern(programme: Programme, node: Node) -> list[np.ndarray]:
    """Return the complete activation pattern of a node in which every sign is fixed."""
    network = programme.network
    pattern = [
        np.array([programme.sign(layer, i) > 0 for i in range(n)], dtype=bool)
        for layer, n in enumerate(network.widths, start=1)
    ]
    for position, side in node:
        layer, i = programme.undecided[position]
        pattern[layer - 1][i] = bool(side)
    return pattern


def _choose(programme: Programme, node: Node, solution: FloatArray | None) -> tuple[int, int]:
    """Pick the undecided neuron to branch on, and the side to search first."""
    fixed = np.zeros(len(programme.undecided), dtype=bool)
    fixed[[position for position, _ in node]] = True
    free = np.flatnonzero(~fixed)
    if solution is None:
        return int(free[0]), 1
    a = solution[programme.indicators[free]]
    score = np.minimum(a, 1 - a) * programme.weights[free]
    best = int(free[np.argmax(score)])
    if score.max() <= 1e-9:
        best = int(free[np.argmax(programme.weights[free])])
    return best, int(solution[programme.indicators[best]] > 0.5)


__all__ = ["ROOT", "Neuron", "Node", "Search", "search"]
