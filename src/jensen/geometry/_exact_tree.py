"""The tree of regions in exact arithmetic: one neuron after the other cuts the cones that are there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from jensen.geometry._cone import Cone, domain_cone
from jensen.geometry._exact_weights import ExactWeights, Row
from jensen.geometry._program import ACTIVE, FIXED, FOLLOW, INACTIVE, ZERO, Program
from jensen.network import Domain


@dataclass
class Node:
    """A cone on which the first neurons have constant signs.

    Attributes
    ----------
    cone : Cone
    states : list of int
        State of every neuron met so far; as many as there are neurons on a leaf.
    forms : list of rows
        Affine forms of the pre-activations, up to the end of the layer under way.
    sources : list of rows
        Affine forms of the inputs and of the activations of the finished layers.
    """

    cone: Cone
    states: list[int]
    forms: list[Row]
    sources: list[Row]


class ExactTree:
    """Walks the regions of a network in exact arithmetic, without recursion.

    Parameters
    ----------
    program : Program
    domain : Domain
    """

    def __init__(self, program: Program, domain: Domain) -> None:
        self.program = program
        self.exact = ExactWeights(program)
        self.cone, self.rows = domain_cone(domain, program.d)
        self.base = len(self.rows)
        self.boundary = (1 << self.base) - 1
        """Bits of the domain and of infinity; neuron v has bit ``base + v``."""

    def root(self) -> Node:
        """Return the domain itself, no neuron met yet."""
        return Node(self.cone, [], [], self.exact.inputs)

    def bit(self, v: int) -> int:
        """Return the bit of a neuron."""
        return 1 << (self.base + v)

    def neurons(self, bits: int) -> list[int]:
        """Neurons among the constraints given as bits, in order."""
        bits >>= self.base
        found = []
        while bits:
            lowest = bits & -bits
            found.append(lowest.bit_length() - 1)
            bits ^= lowest
        return found

    def _prepare(self, node: Node) -> None:
        """Compute the forms of the next layer when the last one is finished."""
        program, exact = self.program, self.exact
        k = len(node.states)
        if k < len(node.forms):
            return
        layer = int(program.layer_of[k])
        if layer:
            lo, hi = program.starts[layer - 1], program.starts[layer]
            done = exact.activations(layer - 1, node.forms[lo:hi], node.states[lo:hi])
            node.sources = node.sources + done
        node.forms = node.forms + exact.forms(layer, node.sources)

    def advance(self, node: Node, guide: Sequence[int] = ()) -> list[Node]:
        """Meet neurons until one splits the region.

        Parameters
        ----------
        node : Node
            Consumed.
        guide : sequence of int
            Known states: where a neuron among them splits, only that side is followed.

        Returns
        -------
        list of Node
            The two sides of the split, or the node itself, finished.
        """
        program = self.program
        kinds, states = program.kinds, node.states
        while len(states) < program.n_neurons:
            k = len(states)
            if k and k == len(guide):
                return [node]
            if kinds.kind[k] == FIXED:
                self._prepare(node)
                states.append(int(kinds.state[k]))
                continue
            self._prepare(node)
            if kinds.kind[k] == FOLLOW:
                leading = states[int(kinds.leader[k])]
                states.append(leading if leading == ZERO or kinds.ratio[k] > 0 else 1 - leading)
                continue
            plus, minus = node.cone.split(node.forms[k], self.bit(k))
            if plus is None and minus is None:
                node.cone = node.cone.touch(self.bit(k))
                states.append(ZERO)
            elif plus is not None and minus is not None and k >= len(guide):
                return [
                    Node(plus, [*states, ACTIVE], node.forms, node.sources),
                    Node(minus, [*states, INACTIVE], node.forms, node.sources),
                ]
            else:
                active = plus is not None and (minus is None or guide[k] == ACTIVE)
                chosen = plus if active else minus
                if chosen is not None:
                    node.cone = chosen
                states.append(ACTIVE if active else INACTIVE)
        return [node]

    def replay(self, states: Sequence[int]) -> Node:
        """Rebuild the node of known states."""
        node = self.root()
        return self.advance(node, states)[0] if len(states) else node

    def finished(self, node: Node) -> bool:
        """Whether all neurons have been met."""
        return len(node.states) == self.program.n_neurons

    def walk(self, start: Node) -> Iterator[Node]:
        """Yield the regions below a node, depth first; a network without neurons has one."""
        stack = [start]
        while stack:
            node = stack.pop()
            if self.finished(node):
                yield node
            else:
                stack.extend(reversed(self.advance(node)))
