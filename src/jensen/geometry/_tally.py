"""What a scan remembers of the frontiers that stream past: counts, worst jumps, the worst violation."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from jensen.geometry._exact_tree import ExactTree, Node
from jensen.geometry._jumps import Directions, Facet, JumpRule, Violation, exact_jump, interior_facets, prove
from jensen.network import FloatArray


class Tally:
    """Counts and worst jumps, and what they are taken over.

    Parameters
    ----------
    tree : ExactTree
    moves : Directions
    needed : (K,) bool array
        Neurons whose frontiers are tested; the others are counted only.
    stop : bool
        Whether the first violation ends the scan.
    """

    def __init__(self, tree: ExactTree, moves: Directions, needed: np.ndarray, stop: bool) -> None:
        self.tree, self.moves, self.needed, self.stop = tree, moves, needed, stop
        self.rule = JumpRule(tree.program, tree.cone)
        size = tree.program.n_neurons
        self.n_regions = 0
        self.counts = np.zeros(size, dtype=np.int64)
        self.worst: FloatArray = np.full(size, np.inf)
        self.violation: Violation | None = None
        self.least = 0.0
        """Most negative jump for which the violation stands."""

    @property
    def ended(self) -> bool:
        """Whether nothing more needs to be looked at."""
        return self.stop and self.violation is not None

    def _tested(self, facet: Facet) -> bool:
        return any(self.needed[m] for v in facet.neurons for m in self.tree.program.members[v])

    def region(self, node: Node) -> None:
        """Count a finished region and test the frontiers on which its first neuron is active."""
        self.n_regions += 1
        adjoint: list[Fraction] | None = None
        for facet in interior_facets(self.tree, node):
            self.counts[facet.neuron] += 1
            if self.ended or not self._tested(facet):
                continue
            if self.moves.restricted and self.moves.project(node.forms[facet.neuron]) is None:
                continue
            if adjoint is None:
                adjoint = self.tree.program.exact.adjoints(node.states)
            self.record(node, facet, exact_jump(self.rule, node, facet, adjoint))

    def record(self, node: Node, facet: Facet, jump: Fraction) -> None:
        """Take note of a jump; a new worst one is proved at once."""
        value = nearest(jump)
        self.worst[facet.neuron] = min(self.worst[facet.neuron], value)
        if jump < 0 and (self.violation is None or value < self.least):
            proof = prove(self.tree, node, facet, self.moves, value)
            if proof is not None:
                self.violation, self.least = proof, value


def nearest(value: Fraction) -> float:
    """Round a rational to a float that keeps its sign."""
    try:
        rounded = float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")
    if rounded == 0 and value:
        return 5e-324 if value > 0 else -5e-324
    return rounded
