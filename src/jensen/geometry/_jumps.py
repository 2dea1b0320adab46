"""Exact jumps of the gradient across facets, and exact proofs that one is negative."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from jensen.geometry._cone import Cone, dot, primitive, rank
from jensen.geometry._exact_tree import ExactTree, Node
from jensen.geometry._exact_weights import Row
from jensen.geometry._program import ACTIVE, ZERO


def nearest(value: Fraction) -> float:
    """Round a rational to a float that keeps its sign."""
    try:
        rounded = float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")
    if rounded == 0 and value:
        return 5e-324 if value > 0 else -5e-324
    return rounded


@dataclass(frozen=True)
class Facet:
    """A frontier seen from the region where its first neuron is active.

    Attributes
    ----------
    neuron : int
        The first neuron, in topological order, whose pre-activation vanishes on the facet but not around it.
    neurons : tuple of int
        All leading neurons whose pre-activation vanishes on it.
    rays : int
        Its rays among the region's, as bits.
    """

    neuron: int
    neurons: tuple[int, ...]
    rays: int


def interior_facets(tree: ExactTree, node: Node, both: bool = False) -> list[Facet]:
    """Frontiers of a region, those that are counted here or, with `both`, all."""
    always = node.cone.always
    found = []
    for rays, bits in node.cone.facets():
        if bits & tree.boundary:
            continue
        first = tree.neurons(bits & ~always)[0]
        if both or node.states[first] == ACTIVE:
            found.append(Facet(first, tuple(tree.neurons(bits)), rays))
    return found


class JumpRule:
    """Jumps of the slope per unit of the pre-activation of a facet's first neuron.

    Parameters
    ----------
    tree : ExactTree
        Two affine forms are the same if they agree on its domain.
    """

    def __init__(self, tree: ExactTree) -> None:
        self.program, self.exact = tree.program, tree.exact
        self.span = [*tree.cone.rays, *tree.cone.lines]

    def constants(self) -> dict[int, float]:
        """Jumps of the neurons that nothing but the output reads: they are the same on every frontier."""
        program = self.program
        read = {k for weights in program.weights for k in weights}
        weights = dict(self.exact.output)
        scale = 1 << self.exact.exponent
        found = {}
        for layer in range(len(program.weights)):
            if layer + 1 in read:
                continue
            start, end = program.starts[layer], program.starts[layer + 1]
            adjoint = {v: Fraction(weights.get(program.d + v, 0), scale) for v in range(start, end)}
            for v in range(start, end):
                if program.members[v]:
                    found[v] = nearest(self.isolated(v, adjoint))
        return found

    def isolated(self, v: int, adjoint: Sequence[Fraction] | Mapping[int, Fraction]) -> Fraction:
        """Jump where only v and its followers switch; the adjoints may be those of either side."""
        total = Fraction(0)
        for member in self.program.members[v]:
            total += adjoint[member] * abs(self.program.kinds.ratio[member]) * (1 - self._slope(member))
        return total

    def _slope(self, v: int) -> Fraction:
        layer = int(self.program.layer_of[v])
        return Fraction(float(self.program.slopes[layer][v - self.program.starts[layer]]))

    def _ratio(self, form: Row, scale: int, unit: Row, unit_scale: int) -> Fraction:
        """Divide two forms that vanish on one facet."""
        for vector in self.span:
            below = dot(unit, vector)
            if below:
                shift = unit_scale - scale
                ratio = Fraction(dot(form, vector), below)
                return ratio * (1 << shift) if shift >= 0 else ratio / (1 << -shift)
        raise ValueError("the first neuron of a facet does not vanish on the whole domain")

    def general(
        self, facet_neurons: Sequence[int], first: int, states: Sequence[int], forms: Sequence[Row]
    ) -> Fraction:
        """Jump where several neurons switch.

        A neuron that vanishes on the facet is a multiple of the first one on each side; the multiples are
        pushed through the network side by side.

        Parameters
        ----------
        facet_neurons : sequence of int
            Leading neurons that vanish on the facet.
        first : int
            The first among them that does not vanish on the region.
        states, forms : sequences over all neurons
            On the side where the first neuron is active.
        """
        program = self.program
        exact = self.exact
        one = Fraction(1, 1 << exact.exponent)
        switching = {m for v in facet_neurons for m in program.members[v]}
        unit_scale = exact.scale[int(program.layer_of[first])]
        jumps: list[Fraction | int] = [0] * (program.d + program.n_neurons)
        for v in range(program.n_neurons):
            layer = int(program.layer_of[v])
            local = v - program.starts[layer]
            terms = (w * jumps[j] for j, w in exact.weights[layer][local] if jumps[j])
            change = sum(terms, Fraction(0)) * one
            if v in switching:
                slope = self._slope(v)
                plus = self._ratio(forms[v], exact.scale[layer], forms[first], unit_scale)
                minus = plus - change
                change = (plus if plus > 0 else slope * plus) - (minus if minus < 0 else slope * minus)
            elif change and states[v] != ACTIVE:
                change *= self._slope(v)
            jumps[program.d + v] = change
        return sum((w * jumps[j] for j, w in exact.output if jumps[j]), Fraction(0)) * one


@dataclass(frozen=True)
class Directions:
    """The directions in which convexity is asked: a basis of their space.

    Attributes
    ----------
    basis : tuple of rows
        Integer vectors in homogeneous coordinates, the last entry zero.
    restricted : bool
        Whether some facets may be parallel to all of them.
    """

    basis: tuple[Row, ...]
    restricted: bool

    def project(self, form: Row) -> Row | None:
        """Direction along which a form grows, None where it is constant along all directions."""
        total = [0] * len(form)
        for vector in self.basis:
            value = dot(form, vector)
            if value:
                total = [t + value * c for t, c in zip(total, vector, strict=True)]
        return primitive(total)[:-1] if any(total) else None


def directions(cone: Cone, d: int, wrt: Sequence[int] | None) -> Directions:
    """Intersect the coordinates `wrt` with the directions of the domain."""
    hull = hull_directions(cone, d)
    basis = hull
    if wrt is not None:
        chosen = set(wrt)
        for i in range(d):
            if i not in chosen:
                basis = _eliminate(basis, i)
    return Directions(tuple(basis), wrt is not None and len(basis) < len(hull))


def hull_directions(cone: Cone, d: int) -> list[Row]:
    """Give a basis of the directions of the affine hull; unit vectors where the domain is full."""
    if cone.rank + len(cone.lines) == d + 1:
        return [tuple(int(i == j) for j in range(d + 1)) for i in range(d)]
    base = next(ray for ray in cone.rays if ray[d])
    candidates = [*cone.lines]
    for ray in cone.rays:
        candidates.append(primitive([base[d] * a - ray[d] * b for a, b in zip(ray, base, strict=True)]))
    basis: list[Row] = []
    for vector in candidates:
        if rank([*basis, vector]) > len(basis):
            basis.append(vector)
    return basis


def _eliminate(basis: list[Row], i: int) -> list[Row]:
    """Keep the part of a space whose coordinate i is zero."""
    pivot = next((v for v in basis if v[i]), None)
    if pivot is None:
        return basis
    return [
        primitive([pivot[i] * a - v[i] * b for a, b in zip(v, pivot, strict=True)]) if v[i] else v
        for v in basis
        if v is not pivot
    ]


def interior_point(rays: Sequence[Row]) -> tuple[Fraction, ...]:
    """Take a rational point in the relative interior of the hull of vertices and directions."""
    d = len(rays[0]) - 1
    vertices = [r for r in rays if r[d]]
    point = [sum((Fraction(r[i], r[d]) for r in vertices), Fraction(0)) / len(vertices) for i in range(d)]
    for r in rays:
        if not r[d]:
            size = max(abs(v) for v in r)
            point = [p + Fraction(v, size) for p, v in zip(point, r, strict=False)]
    return tuple(point)


@dataclass(frozen=True)
class Violation:
    """A frontier at which the function is strictly concave, proved in exact arithmetic.

    Attributes
    ----------
    point : tuple of Fraction
        In the relative interior of the facet.
    direction : tuple of int
        Crosses the facet towards the side where the first neuron is active; within the `wrt` coordinates and
        the domain's directions.
    slope_sum : Fraction
        ``f'(point; direction) + f'(point; -direction)``, negative.
    neuron : int
        The first neuron that switches, counted through all layers.
    neurons : tuple of int
        All neurons that switch or vanish on the facet.
    jump : float
        Jump of the slope per unit of the first neuron's pre-activation.
    """

    point: tuple[Fraction, ...]
    direction: tuple[int, ...]
    slope_sum: Fraction
    neuron: int
    neurons: tuple[int, ...]
    jump: float


def prove(tree: ExactTree, node: Node, facet: Facet, moves: Directions, jump: float) -> Violation:
    """Prove by exact evaluation of the network that a facet's jump is negative."""
    direction = moves.project(node.forms[facet.neuron])
    if direction is None:
        raise ValueError("the facet is parallel to all directions in which convexity is asked")
    point = interior_point([r for i, r in enumerate(node.cone.rays) if facet.rays >> i & 1])
    total = sum(tree.program.network.exact.one_sided_slopes(point, direction), Fraction(0))
    if total >= 0:
        raise ArithmeticError("exact evaluation contradicts a jump that was found negative")
    neurons = tuple(sorted(m for v in facet.neurons for m in tree.program.members[v]))
    return Violation(point, direction, total, facet.neuron, neurons, jump)


def exact_jump(rule: JumpRule, node: Node, facet: Facet, adjoint: Sequence[Fraction]) -> Fraction:
    """Jump across a facet of a finished region, whether one or several neurons switch."""
    if len(facet.neurons) == 1 and node.states[facet.neuron] != ZERO:
        return rule.isolated(facet.neuron, adjoint)
    return rule.general(facet.neurons, facet.neuron, node.states, node.forms)
