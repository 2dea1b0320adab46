from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from scipy.optimize import linprog

from jensen.errors import DomainError
from jensen.geometry import scan
from jensen.network import Box, Domain, Layer, Polytope, ReLUNetwork, WholeSpace, from_arrays


def he_network(*sizes: int, seed: int = 0) -> ReLUNetwork:
    rng = np.random.default_rng(seed)
    weights, biases = [], []
    for fan_in, fan_out in zip(sizes, [*sizes[1:], 1], strict=True):
        weights.append(rng.normal(size=(fan_out, fan_in)) * np.sqrt(2 / fan_in))
        biases.append(0.5 * rng.normal(size=fan_out))
    return from_arrays(weights, biases)


def degenerate_network(rng: np.random.Generator, d: int, slopes: bool = False) -> ReLUNetwork:
    """Small integer weights with many zeros, some input skips: coincident and dead neurons abound."""
    sizes = [d, *rng.integers(1, 5, size=rng.integers(1, 4)).tolist()]
    density = rng.random()
    weights, biases, skips = [], [], []
    for position, (fan_in, fan_out) in enumerate(zip(sizes, [*sizes[1:], 1], strict=True)):
        shape = (fan_out, fan_in)
        weights.append(rng.integers(-2, 3, size=shape) * (rng.random(shape) < density))
        biases.append(rng.integers(-2, 3, size=fan_out) * (rng.random(fan_out) < density))
        skip = rng.integers(-1, 2, size=(fan_out, d)) if position and rng.random() < 0.3 else None
        skips.append(skip)
    network = from_arrays(weights, biases, skips)
    if not slopes:
        return network
    layers = [
        Layer(lay.weights, lay.bias, rng.choice([0, 0.25, -1, 1.0], size=lay.size)) for lay in network.layers
    ]
    return ReLUNetwork(d, layers, network.output_weights, network.output_bias)


def some_domain(rng: np.random.Generator, d: int) -> Domain:
    A, b = rng.integers(-2, 3, size=(4, d)), rng.integers(0, 3, size=4)
    flat = np.r_[0.0, -np.ones(d - 1)], np.r_[0.0, np.ones(d - 1)]
    domains = [WholeSpace(), Box(-1, 2), Box(*flat), Polytope(A, b), Polytope([*A, -A[0]], [*b, -b[0]])]
    return domains[rng.integers(len(domains))]


def count_patterns(network: ReLUNetwork, radius: float) -> int:
    """Regions in a box, by one linear programme per pattern: independent of the enumeration."""
    d, size, found = network.input_size, network.n_neurons, 0
    for code in range(2**size):
        bits = np.array([code >> v & 1 for v in range(size)], dtype=bool)
        parts = np.split(bits, np.cumsum(network.widths)[:-1])
        forms = network.exact.affine_forms(parts)[:-1]
        rows = np.array([[float(c) * 2.0**-e for c in row] for table, e in forms for row in table])
        idle = ~rows.any(axis=1)
        if bits[idle].any():
            continue
        signed = np.where(bits[:, None], rows, -rows)[~idle]
        A = np.hstack([-signed[:, :d], np.ones((len(signed), 1))])
        bounds = [(-radius, radius)] * d + [(0, 1)]
        answer = linprog(np.r_[np.zeros(d), -1], A, signed[:, d], bounds=bounds)
        found += answer.status == 0 and float(answer.fun or 0.0) < -1e-7
    return found


@pytest.mark.parametrize("seed", range(12))
def test_regions_are_those_that_linear_programmes_find(seed: int) -> None:
    rng = np.random.default_rng(seed)
    while (network := degenerate_network(rng, int(rng.integers(1, 4)))).n_neurons > 8:
        pass
    assert scan(network, Box(-3, 3), stop=False).n_regions == count_patterns(network, 3.0)


@pytest.mark.parametrize("seed", range(120))
def test_floats_and_exact_arithmetic_agree(seed: int) -> None:
    rng = np.random.default_rng(seed)
    d = int(rng.integers(1, 5))
    network = degenerate_network(rng, d, slopes=seed % 4 == 0)
    domain, wrt = some_domain(rng, d), None if rng.random() < 0.6 else [0]
    try:
        exact = scan(network, domain, wrt, stop=False, exact=True)
    except DomainError:
        assert isinstance(domain, Polytope)
        assert linprog(np.zeros(d), domain.A, domain.b, bounds=(None, None)).status == 2
        return
    fast = scan(network, domain, wrt, stop=False)
    assert (fast.complete, fast.n_regions) == (True, exact.n_regions)
    np.testing.assert_array_equal(fast.frontiers_per_neuron, exact.frontiers_per_neuron)
    np.testing.assert_allclose(fast.worst_jumps, exact.worst_jumps, atol=1e-9)
    assert (fast.violation is None) == (exact.violation is None)
    if fast.violation is not None and exact.violation is not None:
        assert fast.violation.jump == pytest.approx(exact.violation.jump)
        check_violation(network, domain, wrt, fast.violation.point, fast.violation.direction)


def check_violation(
    network: ReLUNetwork,
    domain: Domain,
    wrt: list[int] | None,
    point: tuple[Fraction, ...],
    direction: tuple[int, ...],
) -> None:
    assert sum(network.exact.one_sided_slopes(point, direction)) < 0
    assert domain.contains(point)
    assert wrt is None or all(v == 0 for i, v in enumerate(direction) if i not in wrt)


@pytest.mark.parametrize(
    ("sizes", "n_regions", "n_frontiers"),
    [((2, 20, 20), 831, 1617), ((5, 10, 10), 23_266, 108_649), ((6, 10, 10), 38_538, 204_069)],
)
def test_published_counts(sizes: tuple[int, ...], n_regions: int, n_frontiers: int) -> None:
    result = scan(he_network(*sizes), check=False)
    assert (result.complete, result.n_regions, result.n_frontiers) == (True, n_regions, n_frontiers)


def test_float_errors_need_exact_arithmetic_only_rarely() -> None:
    assert scan(he_network(4, 12, 12), stop=False).exact_nodes == 0


def test_twins_are_judged_together() -> None:
    # 2 relu(l) - relu(2 l) / 4 = 3/2 relu(l), but relu(l) - relu(2 l) = -relu(l).
    convex = from_arrays([[[1.0, 2.0], [2.0, 4.0]], [[2.0, -0.25]]], [[1.0, 2.0], [0.0]])
    concave = from_arrays([[[1.0, 2.0], [2.0, 4.0]], [[1.0, -1.0]]], [[1.0, 2.0], [0.0]])
    assert scan(convex).violation is None
    assert scan(convex, stop=False).n_regions == 2
    violation = scan(concave).violation
    assert violation is not None
    assert violation.neurons == (0, 1)


def test_opposite_twins_make_a_linear_function() -> None:
    network = from_arrays([[[1.0], [-1.0]], [[1.0, -1.0]]], [[0.5, -0.5], [0.0]])
    result = scan(network, stop=False)
    assert result.complete
    assert result.violation is None
    assert result.worst_jumps[0] == 0


def test_neurons_of_two_layers_on_one_hyperplane() -> None:
    # relu(relu(x)) = relu(x); with outputs 1 and -1 the two cancel.
    for weights, convex in (([1.0, -1.0], True), ([1.0, -1.5], False), ([-1.0, 2.0], True)):
        network = ReLUNetwork(
            1, [Layer({0: [[1.0]]}, [0.0]), Layer({1: [[1.0]]}, [0.0])], {1: weights[:1], 2: weights[1:]}
        )
        result = scan(network, stop=False)
        assert (result.n_regions, result.n_frontiers) == (2, 1)
        assert (result.violation is None) == convex


def test_a_kink_far_away_is_found_on_the_whole_space() -> None:
    network = from_arrays([[[1.0, 0.0]], [[-1.0]]], [[-500.0], [0.0]])
    assert scan(network, Box(-10, 10)).violation is None
    violation = scan(network).violation
    assert violation is not None
    assert violation.point[0] == 500


def test_no_biases() -> None:
    rng = np.random.default_rng(3)
    network = from_arrays([rng.normal(size=(6, 3)), rng.normal(size=(5, 6)), rng.normal(size=(1, 5))])
    assert scan(network, stop=False).n_regions == scan(network, stop=False, exact=True).n_regions


def test_wrt_ignores_frontiers_that_the_inputs_cannot_cross() -> None:
    # |x0| - |x1|: convex in x0 alone, concave in x1 alone.
    network = from_arrays([[[1, 0], [-1, 0], [0, 1], [0, -1]], [[1, 1, -1, -1]]])
    assert scan(network, wrt=[0]).violation is None
    violation = scan(network, wrt=[1]).violation
    assert violation is not None
    assert violation.direction[0] == 0
    with pytest.raises(DomainError, match="wrt"):
        scan(network, wrt=[2])


def test_flat_domains_and_empty_ones() -> None:
    network = from_arrays([[[1, 0], [-1, 0], [0, 1], [0, -1]], [[1, 1, -1, -1]]])
    assert scan(network, Box([-1, 0.5], [1, 0.5])).violation is None
    assert scan(network, Box([0.5, -1], [0.5, 1])).violation is not None
    diagonal = Polytope([[1.0, -1.0], [-1.0, 1.0]], [0.0, 0.0])
    result = scan(network, diagonal, stop=False)
    assert result.n_regions == 2
    assert result.violation is None
    point = scan(network, Box([1, 1], [1, 1]), stop=False)
    assert (point.n_regions, point.n_frontiers) == (1, 0)
    with pytest.raises(DomainError, match="empty"):
        scan(network, Polytope([[1.0, 0.0], [-1.0, 0.0]], [0.0, -1.0]))


def test_needed_neurons_only() -> None:
    network = from_arrays([np.eye(2), [[1.0, -1.0]]])
    assert scan(network, needed=[True, False]).violation is None
    assert scan(network, needed=[False, True]).violation is not None
    with pytest.raises(ValueError, match="needed"):
        scan(network, needed=[True])


@pytest.mark.parametrize("seed", range(10))
def test_needed_neurons_have_the_same_worst_jumps(seed: int) -> None:
    network = he_network(3, 6, 5, seed=seed)
    needed = np.random.default_rng(seed).random(11) < 0.4
    all_of_them, some = scan(network, stop=False), scan(network, needed=needed, stop=False)
    np.testing.assert_allclose(some.worst_jumps[needed], all_of_them.worst_jumps[needed])
    assert np.isposinf(some.worst_jumps[~needed]).all()


def test_rank_deficient_first_layer_with_late_skip() -> None:
    layers = [Layer({0: [[1.0, 1, 0]]}, [0.0]), Layer({0: [[0, 1.0, 0]], 1: [[1.0]]}, [-1.0])]
    network = ReLUNetwork(3, layers, {2: [1.0]})
    result = scan(network, stop=False)
    assert (result.n_regions, result.violation) == (4, None)


def test_limits_and_parts() -> None:
    network = he_network(4, 12, 12)
    short = scan(network, stop=False, time_limit=0.0)
    assert not short.complete
    whole, parts = scan(network, stop=False), None
    from joblib import parallel_config

    with parallel_config(backend="threading"):
        parts = scan(network, stop=False, n_jobs=2)
    assert (parts.n_regions, parts.n_frontiers) == (whole.n_regions, whole.n_frontiers)
    np.testing.assert_array_equal(parts.worst_jumps, whole.worst_jumps)
    seen: list[int] = []
    scan(network, stop=False, progress=lambda n, _: seen.append(n))
    assert seen
    assert seen == sorted(seen)


def test_network_without_neurons() -> None:
    result = scan(ReLUNetwork(2, [], {0: [1.0, 2.0]}))
    assert (result.complete, result.n_regions, result.n_frontiers, result.violation) == (True, 1, 0, None)
