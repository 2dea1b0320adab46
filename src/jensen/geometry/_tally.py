"""What a scan remembers of the frontiers that stream past: counts, worst jumps, the worst violation."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from jensen.geometry import _kernel_walk as registers
from jensen.geometry._arrays import Flags, build_out
from jensen.geometry._bits import from_words
from jensen.geometry._engine import Engine
from jensen.geometry._exact_tree import ExactTree, Node
from jensen.geometry._jumps import (
    Directions,
    Facet,
    JumpRule,
    Violation,
    exact_jump,
    interior_facets,
    nearest,
    prove,
)


class Tally:
    """Counts and worst jumps, and what they are taken over.

    Parameters
    ----------
    tree : ExactTree
    moves : Directions
    needed : (K,) bool array
        Neurons whose frontiers are tested; the others are counted only.
    check : bool
        Whether jumps are looked at, at all.
    stop : bool
        Whether the first violation ends the scan.
    """

    def __init__(self, tree: ExactTree, moves: Directions, needed: Flags, check: bool, stop: bool) -> None:
        self.tree, self.moves, self.needed, self.check, self.stop = tree, moves, needed, check, stop
        self.rule = JumpRule(tree)
        size = tree.program.n_neurons
        words = max(1, -(-(tree.base + size) // 64))
        self.out = build_out(tree.program.d, size, words, records=64 + 4 * size, regions=0, rays=0, facets=0)
        self.n_regions = 0
        """Regions that were found in exact arithmetic."""
        self.violation: Violation | None = None

    @property
    def ended(self) -> bool:
        """Whether nothing more needs to be looked at."""
        return self.stop and self.violation is not None

    def _tested(self, neurons: Sequence[int], form: tuple[int, ...] | None) -> bool:
        """Whether convexity asks for a facet's jump; the form is needed where facets may be parallel."""
        members = self.tree.program.members
        if not any(self.needed[m] for v in neurons for m in members[v]):
            return False
        return form is None or not self.moves.restricted or self.moves.project(form) is not None

    def region(self, node: Node) -> None:
        """Count a finished region and test the frontiers on which its first neuron is active."""
        self.n_regions += 1
        adjoint: list[Fraction] | None = None
        for facet in interior_facets(self.tree, node):
            self.out.counts[facet.neuron] += 1
            if not self.check or self.ended or not self._tested(facet.neurons, node.forms[facet.neuron]):
                continue
            if adjoint is None:
                adjoint = self.tree.exact.adjoints(node.states)
            self._record(node, facet, exact_jump(self.rule, node, facet, adjoint))

    def _record(self, node: Node, facet: Facet, jump: Fraction) -> None:
        """Take note of a jump; a new worst one is proved at once."""
        value = nearest(jump)
        self.out.worst[facet.neuron] = min(self.out.worst[facet.neuron], value)
        if jump < 0 and (self.violation is None or value < self.violation.jump):
            self.violation = prove(self.tree, node, facet, self.moves, value)

    def flush(self, engine: Engine) -> None:
        """Decide the jumps that floats left open."""
        count = int(engine.reg[registers.OPEN])
        engine.reg[registers.OPEN] = 0
        for at in range(count):
            states = self.out.open_state[at].tolist()
            neurons = self.tree.neurons(from_words(self.out.open_bits[at]))
            self._decide(states, neurons, int(self.out.open_first[at]))
            if self.ended:
                return

    def _decide(self, states: list[int], neurons: list[int], first: int) -> None:
        exact = self.tree.exact
        forms = exact.all_forms(states) if len(neurons) > 1 or self.moves.restricted else None
        if not self._tested(neurons, None if forms is None else forms[first]):
            return
        if len(neurons) > 1 and forms is not None:
            jump = self.rule.general(neurons, first, states, forms)
        else:
            jump = self.rule.isolated(first, exact.adjoints(states))
        if jump < 0:
            self.replay(states, first)
        else:
            self.out.worst[first] = min(self.out.worst[first], nearest(jump))

    def replay(self, states: list[int], first: int) -> None:
        """Rebuild a region exactly and take note of the jump across one of its facets."""
        node = self.tree.replay(states)
        facet = next(f for f in interior_facets(self.tree, node) if f.neuron == first)
        self._record(node, facet, exact_jump(self.rule, node, facet, self.tree.exact.adjoints(node.states)))

    def violated(self, engine: Engine) -> None:
        """Prove the most negative jump that the compiled walk has seen."""
        value, first = engine.least
        if first >= 0 and (self.violation is None or value < self.violation.jump):
            self.replay(self.out.bad.tolist(), int(first))
