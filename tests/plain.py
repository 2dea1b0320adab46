"""Plain rational arithmetic on networks, one number at a time; and random networks to try it on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from random import Random

import numpy as np
from oracle import read_network
from oracle._weights import Neuron as PlainNeuron
from scipy import sparse

from jensen.network import Layer, ReLUNetwork

Point = Sequence[Fraction]


def affine(neuron: PlainNeuron, values: Sequence[Sequence[Fraction]]) -> Fraction:
    """Value of a pre-activation for given values of its sources."""
    return neuron.bias + sum((w * values[k][i] for k, i, w in neuron.terms), Fraction(0))


def linear(neuron: PlainNeuron, values: Sequence[Sequence[Fraction]]) -> Fraction:
    """Rate of a pre-activation for given rates of its sources."""
    return affine(neuron, values) - neuron.bias


def preactivations(network: ReLUNetwork, x: Point) -> list[list[Fraction]]:
    """All pre-activations at a point."""
    values, result = [[Fraction(v) for v in x]], []
    for layer in read_network(network).layers:
        z = [affine(neuron, values) for neuron in layer]
        result.append(z)
        values.append([v if v > 0 else n.slope * v for v, n in zip(z, layer, strict=True)])
    return result


def slope_along(network: ReLUNetwork, x: Point, step: Point) -> Fraction:
    """One-sided directional derivative, by dual numbers."""
    weights = read_network(network)
    values, rates = [[Fraction(v) for v in x]], [[Fraction(v) for v in step]]
    for layer in weights.layers:
        z = [affine(neuron, values) for neuron in layer]
        dz = [linear(neuron, rates) for neuron in layer]
        on = [v > 0 or (v == 0 and r > 0) for v, r in zip(z, dz, strict=True)]
        values.append([v if a else n.slope * v for v, a, n in zip(z, on, layer, strict=True)])
        rates.append([r if a else n.slope * r for r, a, n in zip(dz, on, layer, strict=True)])
    return linear(weights.output, rates)


@dataclass(frozen=True)
class Passes:
    """Adjoints df/dh and products a * g (a = 1 where active), per layer, for one pattern."""

    adjoint: list[list[Fraction]]
    derivative: list[list[Fraction]]


def adjoints(network: ReLUNetwork, pattern: Sequence[Sequence[bool]]) -> Passes:
    """Backward pass with a given activation pattern."""
    weights = read_network(network)
    adjoint = [[Fraction(0)] * len(layer) for layer in weights.layers]
    derivative = [list(row) for row in adjoint]
    for k, i, w in weights.output.terms:
        if k:
            adjoint[k - 1][i] += w
    for position in range(len(weights.layers), 0, -1):
        for u, neuron in enumerate(weights.layers[position - 1]):
            slope = Fraction(1) if pattern[position - 1][u] else neuron.slope
            derivative[position - 1][u] = slope * adjoint[position - 1][u]
            for k, i, w in neuron.terms:
                if k:
                    adjoint[k - 1][i] += w * derivative[position - 1][u]
    return Passes(adjoint, derivative)


def jump(
    network: ReLUNetwork, pattern: Sequence[Sequence[bool]], layer: int, members: dict[int, Fraction]
) -> Fraction:
    """Jump across a hyperplane on which the neurons {index: factor} of one layer switch together."""
    g = adjoints(network, pattern).adjoint[layer - 1]
    slopes = [neuron.slope for neuron in read_network(network).layers[layer - 1]]
    return sum((abs(factor) * (1 - slopes[i]) * g[i] for i, factor in members.items()), Fraction(0))


def random_point(rng: Random, d: int, reach: int = 3) -> list[Fraction]:
    """Draw a rational point."""
    return [Fraction(rng.randint(-reach * 12, reach * 12), 12) for _ in range(d)]


WILD = [0.0, 5e-324, -5e-324, 3e-310, 1e-200, -1e200, 0.1, -0.3, 1 / 3, 1.0, -2.0, 2.0**70]
TAME = [0.0, 0.0, 0.5, -0.25, 1.0, -1.0, 2.0, 0.1, -0.3]
SLOPES = [0.0, 0.0, 0.0, 1.0, -1.0, 0.5, 0.01, 2.0, -0.1]


def random_network(
    rng: Random,
    *,
    wild: bool = False,
    sloped: bool = True,
    d: int | None = None,
    depth: int | None = None,
    width: int = 4,
) -> ReLUNetwork:
    """Draw a network with skips, some matrices sparse; `wild` draws denormal and huge weights."""
    d, depth = d or rng.randint(1, 3), depth or rng.randint(1, 3)
    sizes = [d, *(rng.randint(1, width) for _ in range(depth))]
    values = WILD if wild else TAME

    def matrices(rows: int, target: int) -> dict[int, object]:
        result: dict[int, object] = {}
        for k in range(target):
            if k != target - 1 and rng.random() < 0.5:
                continue
            w = np.array([[rng.choice(values) for _ in range(sizes[k])] for _ in range(rows)])
            result[k] = sparse.csr_array(w) if rng.random() < 0.3 else w
        return result

    layers = []
    for target in range(1, depth + 1):
        n = sizes[target]
        bias = [rng.choice(values) for _ in range(n)]
        layers.append(
            Layer(matrices(n, target), bias, [rng.choice(SLOPES) if sloped else 0.0 for _ in range(n)])
        )
    return ReLUNetwork(d, layers, matrices(1, depth + 1), rng.choice(values))
