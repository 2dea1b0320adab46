"""A sketch pad for small networks: neurons are added as affine expressions of earlier ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np

from jensen.network import Layer, ReLUNetwork

Source = tuple[int, int]
"""Layer (0 is the input) and index in it."""


@dataclass(frozen=True)
class Expr:
    """An affine expression of inputs and neurons."""

    terms: Mapping[Source, Fraction] = field(default_factory=dict)
    constant: Fraction = Fraction(0)

    def __add__(self, other: Expr | int | Fraction) -> Expr:
        if not isinstance(other, Expr):
            return Expr(self.terms, self.constant + other)
        terms = dict(self.terms)
        for source, c in other.terms.items():
            terms[source] = terms.get(source, Fraction(0)) + c
        return Expr({s: c for s, c in terms.items() if c}, self.constant + other.constant)

    def __mul__(self, factor: int | Fraction) -> Expr:
        terms = {s: c * factor for s, c in self.terms.items() if c * factor}
        return Expr(terms, self.constant * factor)

    __rmul__ = __mul__

    def __neg__(self) -> Expr:
        return self * -1

    def __sub__(self, other: Expr | int | Fraction) -> Expr:
        return self + -other

    @property
    def depth(self) -> int:
        """The last layer that is read."""
        return max((layer for layer, _ in self.terms), default=0)


class Sketch:
    """Neurons in layers, each as late as the expressions it reads demand (or later).

    Parameters
    ----------
    inputs : int
    """

    def __init__(self, inputs: int) -> None:
        self.inputs = inputs
        self.layers: list[list[tuple[Expr, Fraction]]] = []

    def affine(self, coefficients: list[int], constant: int = 0) -> Expr:
        """Return an affine form of the inputs."""
        terms = {(0, i): Fraction(c) for i, c in enumerate(coefficients) if c}
        return Expr(terms, Fraction(constant))

    def relu(self, z: Expr, layer: int = 1, slope: Fraction | int = 0) -> Expr:
        """Add a neuron in the given layer, or as early as possible after what it reads."""
        position = max(layer, z.depth + 1)
        while len(self.layers) < position:
            self.layers.append([])
        self.layers[position - 1].append((z, Fraction(slope)))
        return Expr({(position, len(self.layers[position - 1]) - 1): Fraction(1)})

    @property
    def neurons(self) -> int:
        """Number of neurons so far."""
        return sum(len(layer) for layer in self.layers)

    def network(self, output: Expr) -> ReLUNetwork:
        """Build the network that computes an expression; layers without a neuron must not occur."""
        sizes = [self.inputs, *(len(layer) for layer in self.layers)]
        layers = []
        for layer in self.layers:
            rows = [z for z, _ in layer]
            bias = [float(z.constant) for z in rows]
            layers.append(Layer(_matrices(rows, sizes), bias, [float(s) for _, s in layer]))
        return ReLUNetwork(self.inputs, layers, _matrices([output], sizes), float(output.constant))


def _matrices(
    rows: list[Expr], sizes: list[int]
) -> dict[int, np.ndarray[tuple[int, int], np.dtype[np.float64]]]:
    matrices = {}
    for source in sorted({layer for z in rows for layer, _ in z.terms}):
        matrix = np.zeros((len(rows), sizes[source]))
        for r, z in enumerate(rows):
            for (layer, index), c in z.terms.items():
                if layer == source:
                    matrix[r, index] = float(c)
        matrices[source] = matrix
    return matrices
