"""Networks for the campaign: random ones, convex ones built on purpose, and those with weights changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

import numpy as np

from jensen.network import Domain, Layer, ReLUNetwork
from oracle import _convex
from oracle._draws import random_domain, small


@dataclass(frozen=True)
class Case:
    """One question: a network, a domain (None is the whole space) and the moving inputs (None is all)."""

    generator: str
    network: ReLUNetwork
    domain: Domain | None
    wrt: tuple[int, ...] | None


def random_network(rng: Random) -> tuple[ReLUNetwork, Domain | None]:
    """Draw a network with integer weights, many of them zero; with and without skips."""
    d, depth = rng.randint(1, 4), rng.randint(1, 4)
    widths = [rng.randint(1, 4) for _ in range(depth)]
    while sum(widths) > 10:
        widths[widths.index(max(widths))] -= 1
    zeros, skips = rng.choice([0.1, 0.3, 0.5]), rng.random() < 0.5
    biased, nonnegative = rng.random() < 0.7, rng.random() < 0.2
    sloped = rng.random() < 0.2
    sizes = [d, *widths]

    def matrices(rows: int, target: int) -> dict[int, list[list[int]]]:
        chosen = {target - 1} | {k for k in range(target - 1) if skips and rng.random() < 0.6}
        result = {}
        for k in sorted(chosen):
            drawn = [[small(rng, zeros) for _ in range(sizes[k])] for _ in range(rows)]
            # mostly nonnegative inner weights, so that convex networks are not too rare
            flip = k > 0 and nonnegative and rng.random() < 0.8
            result[k] = [[abs(w) for w in row] for row in drawn] if flip else drawn
        return result

    layers = []
    for position, width in enumerate(widths, 1):
        bias = [small(rng, 0.4) if biased else 0 for _ in range(width)]
        slopes = [float(rng.choice([0, 0, -1, 0.5, 1, 2])) if sloped else 0.0 for _ in range(width)]
        layers.append(Layer(matrices(width, position), bias, slopes))
    network = ReLUNetwork(d, layers, matrices(1, depth + 1), small(rng))
    return network, random_domain(rng, d)


GENERATORS: dict[str, Callable[[Random], tuple[ReLUNetwork, Domain | None]]] = {
    "random": random_network,
    "max-affine": _convex.max_affine,
    "max-affine without skips": _convex.max_affine_without_skips,
    "fixed neurons": _convex.fixed_neurons,
    "cancellation": _convex.cancellation,
    "twins": _convex.twins,
    "guarded": _convex.guarded,
    "disguised signs": _convex.disguised_signs,
}
TURNS = ["random", "random", *GENERATORS]
CHANGED = ", changed"


def case(seed: int, index: int) -> Case:
    """Draw the index-th case of a campaign; the generators take turns."""
    rng = Random(f"{seed}/{index}")
    name = TURNS[index % len(TURNS)]
    network, domain = GENERATORS[name](rng)
    if name != "random" and rng.random() < 0.7:
        name, network = name + CHANGED, change_weights(rng, network)
    d, wrt = network.input_size, None
    if d > 1 and rng.random() < 0.12:
        wrt = tuple(sorted(rng.sample(range(d), rng.randint(1, d - 1))))
    return Case(name, network, domain, wrt)


def change_weights(rng: Random, network: ReLUNetwork) -> ReLUNetwork:
    """Change a few weights or biases, mostly ones that act on hidden neurons, by a little or in sign."""
    layers = [
        ({k: np.array(w) for k, w in lay.weights.items()}, np.array(lay.bias)) for lay in network.layers
    ]
    layers.append(
        ({k: np.array(w) for k, w in network.output_weights.items()}, np.array([network.output_bias]))
    )
    for _ in range(rng.choice([1, 1, 2, 3])):
        weights, bias = rng.choice([*layers, layers[-1]])
        step = rng.choice([-2.0, -1.0, -1.0, 1.0, -0.125, 0.125])
        if not weights or rng.random() < 0.2:
            bias[rng.randrange(bias.size)] += step
            continue
        matrix = weights[max(weights) if rng.random() < 0.7 else rng.choice(list(weights))]
        used = (
            np.argwhere(matrix) if matrix.any() and rng.random() < 0.8 else np.argwhere(np.ones_like(matrix))
        )
        r, c = rng.choice(used.tolist())
        matrix[r, c] = -matrix[r, c] if rng.random() < 0.3 else matrix[r, c] + step
    outputs, last = layers.pop()
    hidden = [Layer(w, b, lay.negative_slope) for (w, b), lay in zip(layers, network.layers, strict=True)]
    return ReLUNetwork(network.input_size, hidden, outputs, float(last[0]))


def describe(question: Case) -> str:
    """Print a case as Python that builds it again."""

    def matrices(weights: object) -> str:
        assert hasattr(weights, "items")
        return "{" + ", ".join(f"{k}: {w.tolist()}" for k, w in weights.items()) + "}"

    net = question.network
    layers = ", ".join(
        f"Layer({matrices(lay.weights)}, {lay.bias.tolist()}, {lay.negative_slope.tolist()})"
        for lay in net.layers
    )
    domain = "None" if question.domain is None else str(question.domain.to_dict())
    return (
        f"ReLUNetwork({net.input_size}, [{layers}], {matrices(net.output_weights)}, {net.output_bias})\n"
        f"domain={domain}, wrt={question.wrt}, from {question.generator!r}"
    )
