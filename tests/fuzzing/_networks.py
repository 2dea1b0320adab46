"""Networks from arrays: odd numbers, odd shapes, nothing to switch."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from scipy import sparse

from fuzzing._judge import ODD_FLOATS, Question, network_case, pick_entry
from jensen.network import Box, Layer, ReLUNetwork, from_arrays

SIZES = (
    1.0,
    -1.0,
    1e300,
    -1e300,
    5e-324,
    -5e-324,
    1e-310,
    2.0**1023,
    2.0**-1074,
    0.1,
    3e-155,
    1e155,
    -1e-160,
)


def numbers(rng: Random, folder: Path) -> Question:
    """Put NaN, infinities, denormal and huge numbers among the weights."""
    del folder
    network, domain = network_case(rng)
    if rng.random() < 0.5:
        domain = None
    kind = rng.choice(["one", "one", "few", "all", "scales", "uniform"])
    pool = ODD_FLOATS if kind in ("one", "few") else SIZES
    layers: list[Any] = [
        [{k: np.array(w) for k, w in lay.weights.items()}, np.array(lay.bias), np.array(lay.negative_slope)]
        for lay in network.layers
    ]
    outputs = {k: np.array(w) for k, w in network.output_weights.items()}
    bias = [network.output_bias]
    arrays: list[Any] = [a for lay in layers for a in (*lay[0].values(), lay[1], lay[2])] + list(
        outputs.values()
    )
    notes = []
    if kind in ("one", "few"):
        for _ in range(1 if kind == "one" else 4):
            array = rng.choice(arrays)
            if (entry := pick_entry(rng, array)) is not None:
                array[entry] = rng.choice(pool)
                notes.append(repr(float(array[entry])))
        if rng.random() < 0.1:
            bias[0] = rng.choice(pool)
    elif kind == "all":
        for array in arrays:
            array[...] = np.array([rng.choice(pool) for _ in range(array.size)]).reshape(array.shape)
    else:
        factor = rng.choice(SIZES)
        for array in arrays:
            if kind == "scales":
                factor = rng.choice(SIZES)
            with np.errstate(all="ignore"):
                np.multiply(array, factor, out=array)

    def model() -> Any:
        return ReLUNetwork(network.input_size, [Layer(*lay) for lay in layers], outputs, bias[0])

    return Question(f"{kind} {' '.join(notes)}", model, lambda: domain)


def degenerate(rng: Random, folder: Path) -> Question:
    """Networks without neurons, without weights, with constant outputs or layers of width zero."""
    del folder
    _, domain = network_case(rng)
    d = rng.randint(1, 3)
    if domain is not None:
        lo = float(rng.randint(-2, 0))
        domain = rng.choice([None, Box(lo, lo + rng.randint(0, 2))])
    zero, one = np.zeros, np.ones
    # What no type checker lets pass: arguments of wrong types.
    arrays: Any = from_arrays
    network: Any = ReLUNetwork
    layer: Any = Layer

    def no_width() -> ReLUNetwork:
        return ReLUNetwork(
            d, [Layer({0: zero((0, d))}, zero(0)), Layer({1: zero((2, 0))}, one(2))], {2: one(2)}
        )

    def no_sources() -> ReLUNetwork:
        return ReLUNetwork(d, [Layer({}, [1.0, -1.0])], {1: [rng.choice([1.0, -1.0]), -1.0]}, 1.0)

    def unused() -> ReLUNetwork:
        return ReLUNetwork(d, [Layer({0: one((2, d))}, zero(2))], {}, 3.0)

    def slopes() -> ReLUNetwork:
        slope = rng.choice([1.0, 2.0, -1.0, 0.0, 1e300, -1e300, 5e-324, float("nan")])
        return ReLUNetwork(d, [Layer({0: one((2, d))}, zero(2), slope)], {1: [1.0, rng.choice([-1.0, 1.0])]})

    def empty_sparse() -> ReLUNetwork:
        w = sparse.csr_array((2, d))
        return ReLUNetwork(d, [Layer({0: w}, one(2)), Layer({1: one((1, 2))}, [0.0])], {2: [[-1.0]]})

    def twins() -> ReLUNetwork:
        w = np.array([[1.0] + [0.0] * (d - 1)] * 2)
        size = rng.choice([1.0, 1e300, 5e-324])
        return ReLUNetwork(d, [Layer({0: w * size}, zero(2))], {1: [1.0, -rng.choice([1.0, 0.5, 2.0])]})

    def deep() -> ReLUNetwork:
        return from_arrays([one((1, d)), *[one((1, 1))] * 60, one((1, 1)) * rng.choice([1, -1])])

    builders: dict[str, Any] = {
        "no hidden layer": lambda: from_arrays([one((1, d))]),
        "constant": lambda: ReLUNetwork(d, [], {}, 1.0),
        "zero weights": lambda: from_arrays([zero((3, d)), zero((1, 3))]),
        "constant neurons": lambda: from_arrays([zero((3, d)), -one((1, 3))], [one(3), [1.0]]),
        "width zero": no_width,
        "output of nothing": lambda: ReLUNetwork(
            d, [Layer({0: zero((0, d))}, zero(0))], {1: zero((1, 0))}, 1.0
        ),
        "no sources": no_sources,
        "unused layer": unused,
        "slopes": slopes,
        "empty sparse": empty_sparse,
        "twins": twins,
        "deep": deep,
        "zero inputs": lambda: from_arrays([zero((2, 0)), one((1, 2))]),
        "no weights": lambda: from_arrays([]),
        "empty row": lambda: from_arrays([[]]),
        "ragged": lambda: from_arrays([[[1.0], [1.0, 2.0]], [[1.0]]]),
        "text": lambda: arrays([[["a"]], [[1.0]]]),
        "objects": lambda: arrays([[[None]], [[1.0]]]),
        "complex": lambda: from_arrays([np.ones((1, 1), complex), [[1.0]]]),
        "three axes": lambda: from_arrays([zero((1, 1, d)), [[1.0]]]),
        "two outputs": lambda: from_arrays([one((2, d))]),
        "misfit": lambda: from_arrays([one((3, d)), one((1, 2))]),
        "short biases": lambda: from_arrays([one((3, d)), one((1, 3))], [zero(2), zero(1)]),
        "few biases": lambda: from_arrays([one((3, d)), one((1, 3))], [zero(3)]),
        "skip first": lambda: from_arrays([one((3, d)), one((1, 3))], skips=[one((3, d)), None]),
        "bad skip": lambda: from_arrays([one((3, d)), one((1, 3))], skips=[None, one((2, d))]),
        "skip": lambda: from_arrays([one((3, d)), -one((1, 3))], skips=[None, one((1, d))]),
        "float16": lambda: from_arrays([one((3, d)).astype(np.float16), one((1, 3)).astype(np.float16)]),
        "integers": lambda: from_arrays([[[2**70] * d], [[1]]]),
        "too large": lambda: from_arrays([[[10**400] * d], [[1]]]),
        "booleans": lambda: from_arrays([np.ones((2, d), bool), [[True, True]]]),
        "number": lambda: from_arrays([1.0]),
        "one array": lambda: arrays(one((2, 2))),
        "source of itself": lambda: ReLUNetwork(1, [Layer({1: [[1.0]]}, [0.0])], {1: [1.0]}),
        "source beyond": lambda: ReLUNetwork(1, [Layer({0: [[1.0]]}, [0.0])], {5: [1.0]}),
        "negative source": lambda: ReLUNetwork(1, [Layer({-1: [[1.0]]}, [0.0])], {1: [1.0]}),
        "source of text": lambda: network(1, [layer({"a": [[1.0]]}, [0.0])], {1: [1.0]}),
        "scalar bias": lambda: ReLUNetwork(1, [Layer({0: [[1.0]]}, 0.0)], {1: [1.0]}),
        "negative size": lambda: ReLUNetwork(-1, [], {}),
        "text size": lambda: network("2", [], {}),
        "list for a layer": lambda: network(1, [[[1.0]]], {}),
        "text bias": lambda: network(1, [], {}, "x"),
        "no array": lambda: [None, None],
        "text model": lambda: ["a", "b"],
        "nested model": lambda: [[[[[1.0]]]]],
        "huge product": lambda: from_arrays([one((1, d)) * 1e300, one((1, 1)) * 1e300, one((1, 1)) * -1e300]),
        "tiny product": lambda: from_arrays(
            [one((1, d)) * 1e-300, one((1, 1)) * 1e-300, one((1, 1)) * -1e-300]
        ),
    }
    name = rng.choice(list(builders))
    return Question(name, builders[name], lambda: domain)
