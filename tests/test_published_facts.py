"""What is published about convex ReLU networks, as `jensen.check` sees it.

The facts are those of Gagneux, Massias, Soubies and Gribonval, "Convexity in ReLU neural networks: beyond
ICNNs?" (2025), arXiv:2501.03017.
"""

from __future__ import annotations

from collections import defaultdict
from fractions import Fraction
from itertools import pairwise
from math import gcd, lcm

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import Method, beyond_icnn, by_facets, by_pieces, is_icnn, read_network
from oracle._lp import interior_point
from oracle._regions import regions
from oracle._weights import read_domain

import jensen
from jensen.network import Box, ReLUNetwork, from_arrays

METHODS: list[Method] = ["auto", "enumerate", "branch"]


@pytest.mark.parametrize("method", METHODS)
def test_widths_2_2_beyond_icnn_is_convex(method: Method) -> None:
    network = beyond_icnn()
    assert network.widths == (2, 2)
    assert not is_icnn(read_network(network))
    assert by_pieces(network).convex
    assert by_facets(network).convex
    assert jensen.check(network, method=method).kind == "convex"
    assert jensen.check(network, Box(-3, 3), method=method).kind == "convex"


def test_widths_2_2_beyond_icnn_has_the_pieces_of_its_proof() -> None:
    """The proof needs f = max(0, x1 - 1, x2 - 1, x1 + x2 - 1, 2 x2 - 3), each of them somewhere."""
    weights = read_network(beyond_icnn())
    hull = read_domain(None, 2)
    found, scale = regions(weights, hull)
    assert scale == 1
    pieces = [(0, 0, 0), (-1, 1, 0), (-1, 0, 1), (-1, 1, 1), (-3, 0, 2)]
    assert {region.piece for region in found} == set(pieces)
    for region in found:
        x = interior_point(2, region.rows)
        assert weights(x) == max(c + a * x[0] + b * x[1] for c, a, b in pieces)


def test_changing_the_negative_weight_of_the_example() -> None:
    """On the kink of h1 the slope changes by 1 - |w| where both are on, so -1 is as negative as w may be."""
    for w, kind in [(-1.0, "convex"), (-0.5, "convex"), (-1.0 - 2**-20, "not_convex")]:
        network = from_arrays([np.eye(2), np.array([[1, 1], [w, 1]]), np.ones(2)], [[0, 0], [-1, -2], [0]])
        assert jensen.check(network).kind == kind


def merged_weights(W: list[list[int]], b: list[int], out: list[Fraction]) -> list[Fraction]:
    """Weights of a one-layer network after merging the neurons on each hyperplane into one.

    A neuron k * l with a primitive form l counts |k| times; relu(-l) = relu(l) - l, so it is merged with
    relu(l), up to an affine function. Constant neurons go into the bias.
    """
    merged: dict[tuple[int, ...], Fraction] = defaultdict(Fraction)
    for row, bias, weight in zip(W, b, out, strict=True):
        if not any(row):
            continue
        common = gcd(*row, bias)
        lead = next(v for v in row if v)
        sign = common if lead > 0 else -common
        merged[*(v // sign for v in row), bias // sign] += weight * common
    return list(merged.values())


small = st.integers(-2, 2)


@st.composite
def one_layer(draw: st.DrawFn) -> tuple[list[list[int]], list[int], list[Fraction]]:
    """Draw a one-layer network with few different hyperplanes; half of the time with weights that make up."""
    d, n = draw(st.integers(1, 3)), draw(st.integers(1, 6))
    forms = draw(st.lists(st.tuples(*[small] * (d + 1)), min_size=1, max_size=3))
    picks = draw(
        st.lists(st.tuples(st.sampled_from(forms), st.sampled_from([-2, -1, 1, 3])), min_size=n, max_size=n)
    )
    W = [[k * v for v in form[:-1]] for form, k in picks]
    b = [k * form[-1] for form, k in picks]
    out = [Fraction(v, 4) for v in draw(st.lists(st.integers(-4, 6), min_size=n, max_size=n))]
    return W, b, out


@settings(max_examples=60, deadline=None)
@given(one_layer())
def test_one_hidden_layer_is_convex_iff_an_icnn_after_merging(
    drawn: tuple[list[list[int]], list[int], list[Fraction]],
) -> None:
    W, b, out = drawn
    network = from_arrays([W, [float(v) for v in out]], [b, [0.0]])
    expected = all(weight >= 0 for weight in merged_weights(W, b, out))
    assert by_pieces(network).convex == expected
    assert jensen.check(network).kind == ("convex" if expected else "not_convex")


def test_merging_by_hand() -> None:
    W, b = [[1, 0], [-2, 0], [0, 3], [0, 0]], [1, -2, 0, 5]
    out = [Fraction(1), Fraction(-1, 2), Fraction(-1), Fraction(-7)]
    assert sorted(merged_weights(W, b, out)) == [-3, 0]
    assert lcm(*(v.denominator for v in out)) == 2


def draw_normal(rng: np.random.Generator, sizes: list[int]) -> ReLUNetwork:
    """Standard normal weights and biases; the output's weights are nonnegative."""
    weights = [rng.standard_normal((b, a)) for a, b in pairwise(sizes)]
    weights[-1] = np.abs(weights[-1])
    return from_arrays(weights, [rng.standard_normal(b) for b in sizes[1:]])


def draw_uniform(rng: np.random.Generator, sizes: list[int]) -> ReLUNetwork:
    """PyTorch's default for linear layers: uniform within 1 / sqrt(fan-in)."""
    weights = [rng.uniform(-1, 1, (b, a)) / np.sqrt(a) for a, b in pairwise(sizes)]
    return from_arrays(weights, [rng.uniform(-1, 1, b) / np.sqrt(a) for a, b in pairwise(sizes)])


def count(kind: str, d: int, widths: list[int], draws: int) -> int:
    rng = np.random.default_rng(0)
    draw = draw_normal if kind == "normal" else draw_uniform
    networks = [draw(rng, [d, *widths, 1]) for _ in range(draws)]
    return sum(jensen.check(network).kind == "convex" for network in networks)


@pytest.mark.parametrize(("kind", "first", "last"), [("normal", 3, 6), ("uniform", 2, 5)])
def test_counts_of_convex_networks_grow_with_depth(kind: str, first: int, last: int) -> None:
    """Width 2 on the plane. Deep networks are often constant, hence convex.

    With nonnegative output weights the count falls from 2 hidden layers to 3 before it grows: that choice
    makes every network of one hidden layer convex.
    """
    shallow, deep = (count(kind, 2, [2] * depth, 40) for depth in (first, last))
    assert deep > 1.3 * shallow > 0


@pytest.mark.parametrize(("n1", "n2"), [(1, 3), (1, 4), (2, 4)])
def test_counts_are_larger_for_n2_above_n1(n1: int, n2: int) -> None:
    widening, narrowing = count("normal", 2, [n1, n2], 120), count("normal", 2, [n2, n1], 120)
    assert widening > 1.3 * narrowing
