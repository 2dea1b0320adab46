"""Networks that a check of convexity is easily wrong about, each with what is true of it."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from oracle import Method, oracle_is_convex, witness_complaint

import jensen
from jensen.network import Box, Domain, FloatArray, Layer, Polytope, ReLUNetwork, from_arrays

ROWS = list[list[float]]


def one_layer(W: ROWS, b: list[float], out: list[float], slope: float | list[float] = 0.0) -> ReLUNetwork:
    return ReLUNetwork(len(W[0]), [Layer({0: W}, b, slope)], {1: out})


def expect(
    network: ReLUNetwork,
    convex: bool,
    domain: Domain | None = None,
    wrt: Sequence[int] | None = None,
    oracle: bool = True,
) -> None:
    """Every deciding stage must give the right answer, and a sound witness where the answer is no."""
    if oracle:
        assert oracle_is_convex(network, domain, wrt).convex == convex
    methods: list[Method] = ["auto", "enumerate", "branch"] if oracle else ["auto"]
    for method in methods:
        verdict = jensen.check(network, domain=domain, wrt=wrt, time_limit=60, method=method)
        assert verdict.kind == ("convex" if convex else "not_convex"), method
        if convex:
            assert verdict.witness is None
        else:
            found = verdict.witness
            assert found is not None
            assert witness_complaint(network, domain, wrt, (found.x, found.y, found.t)) == ""


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_dead_last_layer_neuron_with_negative_weight(depth: int) -> None:
    """relu(-h - 1) is zero for h >= 0, and relu(x - 9) is on a small box; their weights say nothing."""
    dead = from_arrays(
        [[[1.0, 0.0], [0.0, 1.0]], [[1.0, 1.0], [-1.0, 0.0]], [1.0, -3.0]], [[0, 0], [0, -1], [0]]
    )
    expect(dead, True)
    layers = [Layer({0: [[1.0], [1.0]]}, [0.0, -9.0])]
    layers += [Layer({k: [[1.0, 0.0], [0.0, 1.0]]}, [0.0, 0.0]) for k in range(1, depth)]
    network = ReLUNetwork(1, layers, {depth: [1.0, -1.0]})
    expect(network, True, Box(-3, 8))
    expect(network, True, Box(-3, 9))  # its kink lies on the boundary
    expect(network, False, Box(-3, 10))
    expect(network, False)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_always_on_neuron_with_negative_weight(depth: int) -> None:
    layers = [Layer({0: [[1.0], [1.0]]}, [0.0, 5.0])]
    layers += [Layer({k: [[1.0, 0.0], [0.0, 1.0]]}, [0.0, 0.0]) for k in range(1, depth)]
    network = ReLUNetwork(1, layers, {depth: [1.0, -1.0]})
    expect(network, True, Box(-4, 4))
    expect(network, True, Box(-5, 4))
    expect(network, False, Box(-6, 4))
    expect(network, False)


def test_always_on_by_other_neurons() -> None:
    """relu(h1 + h2 + 1) never switches, on the whole plane: h1 + h2 >= 0."""
    W2 = [[1.0, 1.0], [1.0, 0.0]]
    network = ReLUNetwork(
        2, [Layer({0: np.eye(2)}, [0, 0]), Layer({1: W2}, [1, 1])], {1: [2, 1], 2: [-1, -1]}
    )
    expect(network, True)  # 2 h1 + h2 - (h1 + h2) - h1: affine
    network = ReLUNetwork(2, network.layers, {1: [2, 1], 2: [-1, -2]})
    expect(network, False)


@pytest.mark.parametrize(
    ("weight", "convex"), [(0.25, True), (0.5, True), (0.5 + 2**-40, False), (1.0, False)]
)
@pytest.mark.parametrize("form", [[1.0, 0.0], [1.0, -2.0]])
def test_twin_neurons(weight: float, convex: bool, form: list[float]) -> None:
    """relu(l) - c relu(2 l) has the slope change 1 - 2 c."""
    twice = [2 * v for v in form]
    expect(one_layer([form, twice], [1.0, 2.0], [1.0, -weight]), convex)


def test_opposite_twins() -> None:
    """relu(l) - relu(-l) = l, and 2 relu(l) - relu(-l) bends upwards; the other way round it does not."""
    form, opposite = [1.0, -2.0], [-1.0, 2.0]
    expect(one_layer([form, opposite], [3.0, -3.0], [1.0, -1.0]), True)
    expect(one_layer([form, opposite], [3.0, -3.0], [-1.0, 1.0]), True)
    expect(one_layer([form, opposite], [3.0, -3.0], [2.0, -1.0]), True)
    expect(one_layer([form, opposite], [3.0, -3.0], [1.0, -2.0]), False)
    expect(one_layer([form, opposite], [3.0, -3.0], [-1.0, -1.0]), False)


def test_nearly_twin_neurons() -> None:
    """Hyperplanes that differ in the last bit do not coincide: between them the function bends downwards."""
    near = 1.0 + 2**-52
    expect(one_layer([[1.0], [1.0]], [1.0, 1.0], [1.0, -1.0]), True)
    expect(one_layer([[1.0], [1.0]], [1.0, near], [1.0, -1.0]), False)
    expect(one_layer([[1.0], [near]], [0.0, 0.0], [1.0, -1.0]), False)
    expect(one_layer([[1.0], [near]], [0.0, 0.0], [1.0, -1.0]), False, Box(-1, 1))


def test_cancelling_neurons_beside_a_kink() -> None:
    """relu(x) - relu(x) + |y| is convex, although one adjoint is negative."""
    W = [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, -1.0]]
    expect(one_layer(W, [0.0] * 4, [1.0, -1.0, 1.0, 1.0]), True)
    expect(one_layer(W, [0.0] * 4, [1.0, -1.125, 1.0, 1.0]), False)


def test_a_concave_kink_far_away() -> None:
    """relu(x) + relu(x + y) - relu(y - 500): convex in any box that ends before y = 500."""
    network = one_layer([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]], [0.0, 0.0, -500.0], [1.0, 1.0, -1.0])
    expect(network, False)
    expect(network, True, Box(-100, 100))
    expect(network, True, Box(-500, 500))
    expect(network, False, Box(-501, 501))
    expect(network, False, Box(0, np.inf))
    far = one_layer([[1.0], [1.0]], [0.0, -1e12], [1.0, -0.5])
    expect(far, False)
    expect(far, True, Box(-1e12, 1e12))


def test_a_concave_kink_that_only_unbounded_regions_have() -> None:
    """A kink of a second-layer neuron far out along a thin cone: relu(h1 - 100 h2 - 1000)."""
    layers = [Layer({0: np.eye(2)}, [0, 0]), Layer({1: [[1.0, -100.0]]}, [-1000.0])]
    expect(ReLUNetwork(2, layers, {1: [1.0, 101.0], 2: [1.0]}), True)
    expect(ReLUNetwork(2, layers, {1: [1.0, 101.0], 2: [-0.5]}), False)
    expect(ReLUNetwork(2, layers, {1: [1.0, 99.0], 2: [1.0]}), False)
    expect(ReLUNetwork(2, layers, {1: [1.0, 99.0], 2: [1.0]}), True, Box(-50, 50))


def test_bias_free_networks() -> None:
    """All hyperplanes pass through the origin, so every region is a cone and no vertex is generic."""
    W1 = [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [1.0, -1.0]]
    for domain in (None, Box(-1, 1), Box(0, 2)):
        expect(from_arrays([W1, [[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 2.0]], [1.0, 3.0]]), True, domain)
        # max(h1, h2) = h2 + relu(h1 - h2)
        expect(from_arrays([W1, [[1.0, -1.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]], [1.0, 1.0]]), True, domain)
    # min(h1, h2) = h2 - relu(h2 - h1)
    minimum = from_arrays([W1, [[-1.0, 1.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]], [-1.0, 1.0]])
    expect(minimum, False)
    expect(minimum, False, Box(0, 2))
    expect(minimum, True, Box(-2, 0))
    expect(minimum, True, Polytope([[1.0, -1.0]], [0.0]))  # where x1 <= x2 it is h1


def test_bias_free_random_networks_against_the_oracle() -> None:
    rng = np.random.default_rng(5)
    kinds = set()
    for _ in range(25):
        W = [
            rng.integers(-2, 3, (3, 3)),
            np.abs(rng.integers(-1, 3, (2, 3))),
            np.abs(rng.integers(-1, 3, (1, 2))),
        ]
        network = from_arrays(W, skips=[None, None, rng.integers(-1, 2, (1, 3))])
        if rng.random() < 0.5:
            network = from_arrays([W[0], W[1] - (rng.random((2, 3)) < 0.3), W[2]])
        answer = oracle_is_convex(network)
        kinds.add(answer.convex)
        expect(network, answer.convex)
    assert kinds == {True, False}


def float32_icnn(rng: np.random.Generator, sizes: Sequence[int]) -> list[FloatArray]:
    weights = [rng.standard_normal((b, a)) / np.sqrt(a) for a, b in pairwise(sizes)]
    weights = [weights[0], *(np.abs(w) for w in weights[1:])]
    return [w.astype(np.float32).astype(np.float64) for w in weights]


def test_float32_weights_256_units() -> None:
    rng = np.random.default_rng(0)
    weights = float32_icnn(rng, [8, 256, 256, 1])
    biases = [0.5 * rng.standard_normal(n).astype(np.float32).astype(np.float64) for n in (256, 256, 1)]
    expect(from_arrays(weights, biases), True, oracle=False)
    # a dead neuron, on the box, may have any weight
    biases[1][17] = -1e4
    weights[2][0, 17] = -1.0
    expect(from_arrays(weights, biases), True, Box(-1, 1), oracle=False)
    expect(from_arrays(weights, biases), False, oracle=False)
    # a neuron that switches may not
    weights[2][0, 18] = -3.0
    biases[1][18] = -float(weights[1][18] @ np.maximum(biases[0], 0.0))
    expect(from_arrays(weights, biases), False, Box(-1, 1), oracle=False)


def test_float32_twins_256_units() -> None:
    """128 pairs c relu(l) - (c / 2) relu(2 l) vanish exactly; with the last bit changed one does not."""
    rng = np.random.default_rng(1)
    half = rng.standard_normal((128, 8)).astype(np.float32).astype(np.float64)
    bias = rng.standard_normal(128).astype(np.float32).astype(np.float64)
    c = rng.standard_normal(128).astype(np.float32).astype(np.float64)
    out = np.concatenate([c, -c / 2])
    W, b = np.concatenate([half, 2 * half]), np.concatenate([bias, 2 * bias])
    expect(from_arrays([W, out], [b, [0.0]]), True, oracle=False)
    out[128] = np.nextafter(np.float32(out[128]), np.float32(-np.inf))
    expect(from_arrays([W, out], [b, [0.0]]), False, oracle=False)
    expect(from_arrays([W, out], [b, [0.0]]), False, Box(-10, 10), oracle=False)


def test_input_skips() -> None:
    """y + h + relu(x + y - 1 - h) with h = relu(x - y): the affine parts travel on skips."""
    layers = [Layer({0: [[1.0, -1.0]]}, [0.0]), Layer({0: [[1.0, 1.0]], 1: [[-1.0]]}, [-1.0])]
    # on x = y the slope changes by the weight of h, less 1 where the second neuron is on
    expect(ReLUNetwork(2, layers, {0: [0.0, 1.0], 1: [1.0], 2: [1.0]}), True)
    expect(ReLUNetwork(2, layers, {0: [0.0, 1.0], 1: [0.5], 2: [1.0]}), False)
    # a skip into the output alone is affine and changes nothing
    expect(ReLUNetwork(2, layers, {0: [7.0, -5.0], 1: [1.0], 2: [1.0]}), True)
    # a hidden layer that reads the input only, by a skip
    late = [Layer({0: [[1.0, 0.0]]}, [0.0]), Layer({0: [[0.0, 1.0]]}, [0.0])]
    expect(ReLUNetwork(2, late, {1: [1.0], 2: [1.0]}), True)
    expect(ReLUNetwork(2, late, {1: [1.0], 2: [-1.0]}), False)


@pytest.mark.parametrize(("weight", "convex"), [(-1.0, True), (-0.5, True), (-1.5, False)])
def test_neurons_of_different_layers_on_one_hyperplane(weight: float, convex: bool) -> None:
    """relu(x) + weight relu(relu(x)), and relu(y + x) alongside."""
    layers = [Layer({0: [[1.0, 0.0], [1.0, 1.0]]}, [0.0, 0.0]), Layer({1: [[1.0, 0.0]]}, [0.0])]
    expect(ReLUNetwork(2, layers, {1: [1.0, 1.0], 2: [weight]}), convex)
    # relu(2 x) of layer 2, by a skip, where layer 1 has relu(-x)
    layers = [Layer({0: [[-1.0, 0.0], [1.0, 1.0]]}, [0.0, 0.0]), Layer({0: [[2.0, 0.0]]}, [0.0])]
    expect(ReLUNetwork(2, layers, {1: [1.0, 1.0], 2: [weight / 2]}), convex)
    # relu(x + relu(-x)) = relu(x): the kink that the second layer inherits stands where its own is
    layers = [Layer({0: [[-1.0]]}, [0.0]), Layer({0: [[1.0]], 1: [[1.0]]}, [0.0])]
    expect(ReLUNetwork(1, layers, {1: [1.0], 2: [weight]}), convex)


def test_duplicated_neurons() -> None:
    W = [[1.0, 0.0]] * 3 + [[0.0, 1.0]] * 2
    expect(one_layer(W, [0.0] * 5, [1.0, -2.0, 1.0, -1.0, 1.0]), True)
    expect(one_layer(W, [0.0] * 5, [1.0, -2.0, 0.5, -1.0, 1.0]), False)
    layers = [Layer({0: W}, [0.0] * 5), Layer({1: [[1.0] * 5, [1.0] * 5]}, [-1.0, -1.0])]
    expect(ReLUNetwork(2, layers, {2: [3.0, -2.0]}), True)
    expect(ReLUNetwork(2, layers, {2: [3.0, -4.0]}), False)


def test_zero_rows_and_constant_neurons() -> None:
    """Neurons that read nothing are constant, whatever they are worth; also the neuron relu(0)."""
    W = [[0.0, 0.0], [0.0, 0.0], [0.0, 0.0], [1.0, 0.0]]
    expect(one_layer(W, [1.0, 0.0, -1.0, 0.0], [-1.0, -1.0, -1.0, 1.0]), True)
    expect(one_layer(W, [1.0, 0.0, -1.0, 0.0], [1.0, 1.0, 1.0, -1.0]), False)
    affine = ReLUNetwork(2, [], {0: [1.0, -1.0]}, 2.0)
    expect(affine, True)
    expect(affine, True, Box(-1, 1))


def test_kinks_on_the_boundary_only() -> None:
    concave = one_layer([[1.0, 1.0]], [-2.0], [-1.0])
    expect(concave, True, Box(-1, 1))  # x + y = 2 touches the box in a corner
    expect(concave, False, Box(-1, 1.5))
    expect(one_layer([[1.0, 0.0]], [-1.0], [-1.0]), True, Box(-1, 1))  # along a face
    expect(concave, True, Polytope([[1.0, 1.0]], [2.0]))  # along the only face of a half plane
    expect(concave, False, Polytope([[1.0, 1.0]], [2.0 + 2**-30]))


def test_flat_boxes() -> None:
    """Where a variable is fixed, convexity is asked of the others."""
    network = one_layer([[1.0, 0.0], [0.0, 1.0]], [0.0, 0.0], [1.0, -1.0])
    expect(network, False, Box(-1, 1))
    expect(network, True, Box([-1, 1], [1, 1]))
    expect(network, False, Box([1, -1], [1, 1]))
    expect(network, True, Box([1, 0], [1, 0]))  # a point
    # min(x, y) on the segment x + y = 1, and on x = y, where it is linear
    minimum = ReLUNetwork(2, [Layer({0: [[-1.0, 1.0]]}, [0.0])], {0: [0.0, 1.0], 1: [-1.0]})
    expect(minimum, False, Polytope([[1.0, 1.0], [-1.0, -1.0]], [1.0, -1.0]))
    expect(minimum, True, Polytope([[1.0, -1.0], [-1.0, 1.0]], [0.0, 0.0]))


def test_flat_boxes_make_neurons_coincide() -> None:
    """At y = 1, relu(x) and relu(x + y - 1) are one neuron."""
    network = one_layer([[1.0, 0.0], [1.0, 1.0]], [0.0, -1.0], [1.0, -1.0])
    expect(network, False)
    expect(network, False, Box(-1, 1))
    expect(network, True, Box([-1, 1], [1, 1]))
    expect(network, False, Box([-1, 0.5], [1, 0.5]))


def test_convexity_in_some_inputs() -> None:
    """|x| - |y| is convex in x and concave in y; x and y mix in relu(x + y)."""
    W = [[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]]
    saddle = one_layer(W, [0.0] * 4, [1.0, 1.0, -1.0, -1.0])
    expect(saddle, False)
    expect(saddle, True, wrt=(0,))
    expect(saddle, False, wrt=(1,))
    expect(saddle, False, wrt=(0, 1))
    expect(saddle, True, Box([-1, 0], [1, 1]), wrt=(1,))
    mixed = one_layer([[1.0, 1.0], [0.0, 1.0]], [0.0, 0.0], [-1.0, 3.0])
    expect(mixed, False, wrt=(0,))
    expect(mixed, False, wrt=(1,))


def test_partial_convexity_with_a_sign_that_depends_on_the_parameter() -> None:
    """relu(x + h) - relu(x - h) with h = relu(y) has a concave kink in x for y > 0 only."""
    layers = [
        Layer({0: [[0.0, 1.0]]}, [0.0]),
        Layer({0: [[1.0, 0.0], [1.0, 0.0]], 1: [[1.0], [-1.0]]}, [0.0, 0.0]),
    ]
    network = ReLUNetwork(2, layers, {2: [1.0, -1.0]})
    expect(network, False, wrt=(0,))
    expect(network, True, Box([-2, -2], [2, 0]), wrt=(0,))
    expect(network, True, Box([-2, 1], [0.5, 2]), wrt=(0,))
    expect(network, False, Box([-2, 1], [1.5, 2]), wrt=(0,))


def test_negative_slopes() -> None:
    """Leaky ReLU, the absolute value, a linear activation and one that is steeper on the left (concave)."""
    for slope, sign, convex in [
        (0.5, 1, True),
        (0.5, -1, False),
        (-1.0, 1, True),
        (1.0, -1, True),
        (2.0, -1, True),
    ]:
        expect(one_layer([[1.0, 1.0]], [0.5], [float(sign)], slope), convex)
    expect(one_layer([[1.0, 1.0]], [0.5], [1.0], 2.0), False)
    # the absolute value of a convex function need not be convex
    layers = [Layer({0: [[1.0]]}, [0.0], -1.0), Layer({1: [[1.0]]}, [-1.0], -1.0)]
    expect(ReLUNetwork(1, layers, {2: [1.0]}), False)
    expect(ReLUNetwork(1, layers, {2: [1.0]}), True, Box(1, 3))
    # -leaky(-|x|) with slope 1 on both sides is |x|
    layers = [Layer({0: [[1.0]]}, [0.0], -1.0), Layer({1: [[-1.0]]}, [0.0], 1.0)]
    expect(ReLUNetwork(1, layers, {2: [-1.0]}), True)


def test_a_tiny_negative_jump_is_found() -> None:
    """No tolerance: a jump of -2^-60 is negative, a jump of zero is not."""
    tiny = float(Fraction(1, 2**60))
    expect(one_layer([[1.0, 2.0]], [1.0], [-tiny]), False)
    expect(one_layer([[1.0, 2.0]], [1.0], [0.0]), True)
    expect(one_layer([[1.0, 2.0], [3.0, 6.0]], [1.0, 3.0], [3.0, -1.0]), True)
    expect(one_layer([[1.0, 2.0], [3.0, 6.0]], [1.0, 3.0], [3.0, -np.nextafter(1.0, 2.0)]), False)
