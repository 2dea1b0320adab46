"""`ReLUNetwork`, its exact twin, arrays and domains."""

from __future__ import annotations

import pickle
from fractions import Fraction
from random import Random
from typing import Any

import numpy as np
import plain
import pytest
from oracle import read_network
from scipy import sparse

from jensen.errors import DomainError, NetworkError
from jensen.network import Box, Layer, Polytope, ReLUNetwork, WholeSpace, from_arrays


def _dyadic(integers: Any, exponent: int) -> list[Fraction]:
    return [Fraction(int(v)) * Fraction(2) ** -exponent for v in np.ravel(integers)]


@pytest.mark.parametrize("seed", range(40))
def test_exact_evaluation_is_plain_rational_arithmetic(seed: int) -> None:
    rng = Random(seed)
    network = plain.random_network(rng, wild=seed % 2 == 0)
    points = [plain.random_point(rng, network.input_size) for _ in range(4)]
    points.append([Fraction(1, 3) ** 40] * network.input_size)
    assert network.exact.evaluate(points) == [read_network(network)(tuple(p)) for p in points]
    for point in points:
        signs = [[(z > 0) - (z < 0) for z in layer] for layer in plain.preactivations(network, point)]
        assert [s.tolist() for s in network.exact.signs(point)] == signs


@pytest.mark.parametrize("seed", range(40))
def test_one_sided_slopes_are_exact_also_on_kinks(seed: int) -> None:
    rng = Random(seed)
    network = plain.random_network(rng, wild=seed % 4 == 0)
    for _ in range(4):
        point = [Fraction(rng.randint(-1, 1)) for _ in range(network.input_size)]  # on many kinks at once
        step = plain.random_point(rng, network.input_size)
        back = [-v for v in step]
        expected = plain.slope_along(network, point, step), plain.slope_along(network, point, back)
        assert network.exact.one_sided_slopes(point, step) == expected


@pytest.mark.parametrize("seed", range(40))
def test_affine_forms_agree_with_the_network_where_their_pattern_holds(seed: int) -> None:
    rng = Random(seed)
    network = plain.random_network(rng, wild=seed % 2 == 0)
    point = plain.random_point(rng, network.input_size)
    z = plain.preactivations(network, point)
    forms = network.exact.affine_forms([np.array([v > 0 for v in layer]) for layer in z])
    expected = [*z, [read_network(network)(tuple(point))]]
    for (integers, exponent), values in zip(forms, expected, strict=True):
        for row, value in zip(integers, values, strict=True):
            coefficients = _dyadic(row, exponent)
            assert sum((c * v for c, v in zip(coefficients, [*point, Fraction(1)], strict=True))) == value


@pytest.mark.parametrize("seed", range(20))
def test_floats_follow_exact_values(seed: int) -> None:
    rng = Random(seed)
    network = plain.random_network(rng)
    points = [plain.random_point(rng, network.input_size) for _ in range(5)]
    x = np.array([[float(v) for v in p] for p in points])
    exact = [float(v) for v in network.exact.evaluate([[Fraction(float(v)) for v in p] for p in x])]
    np.testing.assert_allclose(network(x), exact, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("seed", range(20))
def test_gradient_and_adjoint_are_derivatives_away_from_kinks(seed: int) -> None:
    rng = Random(seed)
    network = plain.random_network(rng)
    found = 0
    for _ in range(20):
        point = [v + Fraction(1, 97) for v in plain.random_point(rng, network.input_size)]
        z = plain.preactivations(network, point)
        gradient = network.gradient([float(v) for v in point])[0]
        adjoint = network.adjoint([float(v) for v in point])
        if any(abs(v) < Fraction(1, 1000) and v for layer in z for v in layer):
            continue
        found += 1
        for j in range(network.input_size):
            unit = [Fraction(int(j == i)) for i in range(network.input_size)]
            back = [-v for v in unit]
            ahead, behind = plain.slope_along(network, point, unit), plain.slope_along(network, point, back)
            if ahead == -behind:
                assert gradient[j] == pytest.approx(float(ahead), abs=1e-12)
        expected = plain.adjoints(network, [[v > 0 for v in layer] for layer in z]).adjoint
        for found_g, g in zip(adjoint, expected, strict=True):
            np.testing.assert_allclose(found_g[0], [float(v) for v in g], rtol=1e-12, atol=1e-12)
    assert found


@pytest.mark.parametrize("batch", [0, 1, 4])
@pytest.mark.parametrize("seed", range(4))
def test_shapes(batch: int, seed: int) -> None:
    network = plain.random_network(Random(seed), d=3)
    x = np.ones((batch, 3))
    assert network(x).shape == (batch,)
    assert network.gradient(x).shape == (batch, 3)
    for per_layer in (
        network.preactivations(x),
        network.adjoint(x),
        network.slopes(network.preactivations(x)),
    ):
        assert [v.shape for v in per_layer] == [(batch, n) for n in network.widths]


def test_a_vector_is_a_batch_of_one() -> None:
    network = from_arrays([np.ones((2, 3)), np.ones((1, 2))])
    assert network(np.ones(3)) == pytest.approx([6.0])


def test_a_network_without_hidden_layers_is_affine() -> None:
    network = ReLUNetwork(2, [], {0: [1.0, -2.0]}, 0.5)
    assert network([[1.0, 1.0]]) == pytest.approx([-0.5])
    assert network.gradient([[1.0, 1.0]]).tolist() == [[1.0, -2.0]]
    assert network.exact.evaluate([[1, Fraction(1, 3)]]) == [Fraction(5, 6)]


def test_pickling_keeps_every_bit() -> None:
    for seed in range(6):
        network = plain.random_network(Random(seed), wild=True)
        twin = pickle.loads(pickle.dumps(network))
        assert twin.widths == network.widths
        assert read_network(twin) == read_network(network)


def test_weights_are_copied_and_read_only() -> None:
    dense, thin = np.ones((2, 1)), sparse.csr_array(np.ones((1, 2)))
    network = ReLUNetwork(1, [Layer({0: dense}, np.zeros(2))], {1: thin})
    dense[:], thin.data[:] = 7.0, 7.0
    assert network([[1.0]]) == pytest.approx([2.0])
    stored = network.layers[0].weights[0]
    assert isinstance(stored, np.ndarray)
    with pytest.raises(ValueError, match="read-only"):
        stored[0, 0] = 3.0


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Layer({0: [[np.nan]]}, [0.0]), "NaN or infinity"),
        (lambda: Layer({0: [[1.0]]}, [np.inf]), "NaN or infinity"),
        (lambda: Layer({0: [[1.0]]}, [0.0], np.nan), "NaN or infinity"),
        (lambda: Layer({0: sparse.csr_array(np.array([[np.inf]]))}, [0.0]), "NaN or infinity"),
        (lambda: Layer({0: [[1.0], [2.0]]}, [0.0]), "rows"),
        (lambda: Layer({0: [1.0]}, [0.0]), "must be a matrix"),
        (lambda: Layer({0: [[1.0]]}, 0.0), "must be a vector"),
        (lambda: ReLUNetwork(0, [], {}), "at least one input"),
        (lambda: ReLUNetwork(2, [Layer({0: [[1.0]]}, [0.0])], {1: [1.0]}), "columns"),
        (lambda: ReLUNetwork(1, [Layer({1: [[1.0]]}, [0.0])], {1: [1.0]}), "come before it"),
        (lambda: ReLUNetwork(1, [Layer({0: [[1.0]]}, [0.0])], {2: [1.0]}), "come before it"),
        (lambda: ReLUNetwork(1, [Layer({-1: [[1.0]]}, [0.0])], {1: [1.0]}), "come before it"),
        (lambda: ReLUNetwork(1, [Layer({0: [[1.0]]}, [0.0])], {1: [[1.0], [1.0]]}), "single number"),
        (lambda: ReLUNetwork(1, [], {0: [1.0]}, np.nan), "NaN or infinite"),
        (lambda: from_arrays([]), "at least one weight"),
        (lambda: from_arrays([[[1.0]], [[1.0]]], [[0.0]]), "must agree"),
        (lambda: from_arrays([[[1.0]], [[1.0]]], [[0.0], [0.0, 1.0]]), "single number"),
        (lambda: from_arrays([[[1.0]], [[1.0]]], skips=[[[1.0]], None]), "must be None"),
    ],
)
def test_malformed_networks_are_refused(build: Any, message: str) -> None:
    with pytest.raises(NetworkError, match=message):
        build()


@pytest.mark.parametrize("x", [np.ones(2), np.ones((1, 2)), np.ones((1, 1, 3)), 1.0])
def test_inputs_of_a_wrong_shape_are_refused(x: Any) -> None:
    with pytest.raises(NetworkError, match="inputs must have shape"):
        from_arrays([np.ones((2, 3)), np.ones((1, 2))])(x)


def test_skips_of_from_arrays() -> None:
    network = from_arrays([[[1.0]], [[1.0]]], [[0.0], [1.0]], [None, [[-2.0]]])
    assert network([[3.0], [-1.0]]).tolist() == [-2.0, 3.0]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Box([0.0, np.nan], 1.0), "NaN"),
        (lambda: Box(1.0, 0.0), "empty"),
        (lambda: Box(np.inf, np.inf), "empty"),
        (lambda: Box([0.0], [1.0, 2.0]), "entries"),
        (lambda: Box([[0.0]], 1.0), "numbers or vectors"),
        (lambda: Box([0.0], [1.0]).bounds(2), "variables"),
        (lambda: Polytope([[1.0]], [1.0, 2.0]), "takes A"),
        (lambda: Polytope([[np.inf]], [1.0]), "NaN or infinity"),
        (lambda: Polytope([[1.0]], [1.0]).inequalities(2), "variables"),
    ],
)
def test_malformed_domains_are_refused(build: Any, message: str) -> None:
    with pytest.raises(DomainError, match=message):
        build()


def test_containment_is_exact() -> None:
    third = Fraction(1, 3)
    assert WholeSpace().contains([third])
    assert not Box(1 / 3, 1.0).contains([Fraction(1 / 3) - Fraction(1, 10**30)])
    assert Box(0.0, [1.0, np.inf]).contains([Fraction(1), Fraction(10) ** 400])
    assert Polytope([[3.0, 0.0]], [1.0]).contains([third, Fraction(0)])
    assert not Polytope([[3.0, 0.0]], [1.0]).contains([third + Fraction(1, 10**40), Fraction(0)])
