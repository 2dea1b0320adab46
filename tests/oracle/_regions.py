"""All full-dimensional regions of a small network: every sign pattern, neuron by neuron, by exact LP."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from math import gcd, lcm

from oracle._lp import Polyhedron
from oracle._weights import Hull, Neuron, Weights

Form = list[int]
IntegerNeuron = tuple[tuple[tuple[int, int, int], ...], int, int, int]
"""Terms with integer weights, bias, and the slope as numerator and denominator."""


@dataclass(frozen=True)
class Region:
    """One full-dimensional region.

    Attributes
    ----------
    pattern : tuple of int
        Sign of each neuron in order: 1 on, -1 off, 0 where the neuron is identically zero.
    rows : list of forms
        The region is the closure of the points where they are all positive.
    piece : tuple of int
        The network's affine form on the region, times a number that is the same for all regions.
    polyhedron : Polyhedron
    """

    pattern: tuple[int, ...]
    rows: list[Form]
    piece: tuple[int, ...]
    polyhedron: Polyhedron


class Scaled:
    """The network with every layer scaled so that all forms have integer coefficients.

    Scaling a source by a positive number changes no sign; `scale` is what the output is multiplied by.
    """

    def __init__(self, weights: Weights, hull: Hull) -> None:
        self.forms = hull.forms
        scales = [hull.scale]
        self.layers: list[list[IntegerNeuron]] = []
        for layer in weights.layers:
            common = lcm(*(self._needed(neuron, scales) for neuron in layer)) if layer else 1
            scale = common * lcm(*(neuron.slope.denominator for neuron in layer)) if layer else 1
            self.layers.append([self._integer(neuron, scales, scale) for neuron in layer])
            scales.append(scale)
        self.scale = self._needed(weights.output, scales)
        self.output = self._integer(weights.output, scales, self.scale)

    @staticmethod
    def _needed(neuron: Neuron, scales: list[int]) -> int:
        return lcm(neuron.bias.denominator, *((w / scales[k]).denominator for k, _, w in neuron.terms))

    @staticmethod
    def _integer(neuron: Neuron, scales: list[int], scale: int) -> IntegerNeuron:
        terms = tuple((k, i, int(w * scale / scales[k])) for k, i, w in neuron.terms)
        return terms, int(neuron.bias * scale), neuron.slope.numerator, neuron.slope.denominator


def _form(neuron: IntegerNeuron, values: list[list[Form]], width: int) -> Form:
    form = [0] * width
    form[0] = neuron[1]
    for k, i, w in neuron[0]:
        for j, v in enumerate(values[k][i]):
            form[j] += w * v
    return form


def primitive(form: Form) -> Form:
    """Divide a form by the greatest common divisor of its coefficients."""
    common = gcd(*form)
    return [v // common for v in form] if common > 1 else form


def regions(weights: Weights, hull: Hull) -> tuple[list[Region], Fraction]:
    """List all full-dimensional regions, and the number by which their pieces are scaled."""
    scaled = Scaled(weights, hull)
    found = list(_walk(scaled, _Partial([scaled.forms], [], hull.polyhedron, hull.rows, ())))
    return found, Fraction(scaled.scale)


@dataclass(frozen=True)
class _Partial:
    """A sign pattern of the first few neurons: forms of whole layers, and of the one being filled."""

    complete: list[list[Form]]
    current: list[Form]
    polyhedron: Polyhedron
    rows: list[Form]
    pattern: tuple[int, ...]


def _walk(net: Scaled, state: _Partial) -> Iterator[Region]:
    """Recurse over the signs of the next neuron."""
    complete, current, polyhedron, rows = state.complete, state.current, state.polyhedron, state.rows
    while len(complete) <= len(net.layers) and len(current) == len(net.layers[len(complete) - 1]):
        complete, current = [*complete, current], []
    width = polyhedron.size + 1
    if len(complete) > len(net.layers):
        yield Region(state.pattern, rows, tuple(_form(net.output, complete, width)), polyhedron)
        return
    neuron = net.layers[len(complete) - 1][len(current)]
    z = _form(neuron, complete, width)
    if not any(z):
        yield from _walk(net, _Partial(complete, [*current, z], polyhedron, rows, (*state.pattern, 0)))
        return
    positive, negative = primitive(z), primitive([-v for v in z])
    signs = [s for s, row in ((1, positive), (-1, negative)) if polyhedron.exceeds_zero(row)]
    for sign in signs:
        h = z if sign > 0 else [v * neuron[2] // neuron[3] for v in z]
        child, extended = polyhedron, rows
        if len(signs) == 2:  # otherwise the row follows from the others
            row = positive if sign > 0 else negative
            child, extended = polyhedron.copy(), [*rows, row]
            child.cut(row, strict=True)
        yield from _walk(net, _Partial(complete, [*current, h], child, extended, (*state.pattern, sign)))
