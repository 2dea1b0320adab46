from __future__ import annotations

from fractions import Fraction
from math import comb

import numpy as np
import pytest

from jensen.geometry import Regions, regions
from jensen.network import Box, Polytope, ReLUNetwork, from_arrays


def random_network(*sizes: int, seed: int = 0) -> ReLUNetwork:
    rng = np.random.default_rng(seed)
    weights, biases = [], []
    for fan_in, fan_out in zip(sizes, [*sizes[1:], 1], strict=True):
        weights.append(rng.normal(size=(fan_out, fan_in)) * np.sqrt(2 / fan_in))
        biases.append(0.5 * rng.normal(size=fan_out))
    return from_arrays(weights, biases)


def check(network: ReLUNetwork, result: Regions) -> None:
    """Check each region at an interior point, and each jump against the gradients on both sides."""
    assert result.complete
    assert len({p.tobytes() for p in result.patterns}) == result.n_regions
    for region in result:
        point = region.vertices.mean(axis=0) + 0.37 * region.rays.sum(axis=0)
        signs = np.concatenate(network.exact.signs([Fraction(float(v)) for v in point]))
        np.testing.assert_array_equal(signs > 0, region.pattern)
        np.testing.assert_allclose(network([point])[0], region.gradient @ point + region.offset, atol=1e-7)
    plus, minus = result.frontier_regions.T
    assert (result.frontier_regions >= 0).all()
    assert (plus != minus).all()
    change = result.gradients[plus] - result.gradients[minus]
    np.testing.assert_allclose(change, result.normals * result.jumps[:, None], atol=1e-9)


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("sizes", [(1, 6, 5), (2, 6, 5), (3, 5, 4), (2, 4, 4, 3)])
def test_regions_of_random_networks(sizes: tuple[int, ...], exact: bool) -> None:
    network = random_network(*sizes)
    result = regions(network, exact=exact)
    check(network, result)
    if sizes[0] <= 2:
        euler = result.n_vertices - result.n_frontiers + result.n_regions
        assert euler == 1 if sizes[0] == 2 else result.n_regions == result.n_vertices + 1


@pytest.mark.parametrize("seed", range(6))
def test_boxes_and_both_arithmetics(seed: int) -> None:
    network = random_network(2, 5, 5, seed=seed)
    fast, slow = regions(network, Box(-1, 1)), regions(network, Box(-1, 1), exact=True)
    check(network, fast)
    assert fast.bounded.all()
    assert (fast.n_regions, fast.n_frontiers, fast.n_vertices) == (
        slow.n_regions,
        slow.n_frontiers,
        slow.n_vertices,
    )
    assert sorted(p.tobytes() for p in fast.patterns) == sorted(p.tobytes() for p in slow.patterns)
    np.testing.assert_allclose(np.sort(fast.jumps), np.sort(slow.jumps), atol=1e-12)


@pytest.mark.parametrize(("d", "n"), [(1, 7), (2, 7), (3, 6), (4, 6), (5, 6)])
def test_generic_hyperplanes(d: int, n: int) -> None:
    result = regions(random_network(d, n))
    assert result.n_regions == sum(comb(n, k) for k in range(d + 1))
    assert result.n_frontiers == n * sum(comb(n - 1, k) for k in range(d))
    assert result.n_vertices == comb(n, d)
    assert result.bounded.sum() == comb(n - 1, d)


def test_published_number_of_vertices() -> None:
    result = regions(random_network(6, 8, 8))
    assert (result.n_vertices, result.complete) == (2586, True)


def test_an_absolute_value() -> None:
    result = regions(from_arrays([[[1.0], [-1.0]], [[1.0, 1.0]]], [[-2.0, 2.0], [0.0]]))
    assert (result.n_regions, result.n_frontiers) == (2, 1)
    np.testing.assert_allclose(result.vertices, [[2.0]])
    np.testing.assert_allclose(result.normals, [[1.0]])
    np.testing.assert_allclose(result.jumps, [2.0])
    assert result.switching(0) == (0, 1)
    assert not result.bounded.any()
    assert [r.index for r in result] == [0, 1]


def test_directions_that_the_network_ignores() -> None:
    result = regions(from_arrays([[[1.0, 1.0]], [[1.0]]]))
    assert (result.n_regions, len(result.lineality)) == (2, 1)
    assert result.lineality[0].sum() == 0
    assert not result.bounded.any()


def test_a_flat_domain_and_a_polytope() -> None:
    network = random_network(2, 6, 6)
    segment = regions(network, Polytope([[1, -1], [-1, 1], [1, 0], [-1, 0]], [0, 0, 1, 1]))
    assert segment.n_frontiers == segment.n_regions - 1
    assert segment.n_vertices == segment.n_regions + 1
    triangle = regions(network, Polytope([[-1, 0], [0, -1], [1, 1]], [0, 0, 1]))
    check(network, triangle)
    assert triangle.bounded.all()


def test_limits() -> None:
    network = random_network(3, 10, 10)
    few = regions(network, max_regions=10)
    assert not few.complete
    assert 10 <= few.n_regions < 300
    assert not regions(network, time_limit=0.0).complete


@pytest.mark.parametrize("seed", range(20))
def test_degenerate_networks(seed: int) -> None:
    rng = np.random.default_rng(seed)
    weights = [rng.integers(-2, 3, size=shape) for shape in ((4, 2), (4, 4), (1, 4))]
    network = from_arrays(weights, [rng.integers(-1, 2, size=n) for n in (4, 4, 1)])
    result = regions(network, Box(-2, 2))
    assert (result.frontier_regions >= 0).all()
    plus, minus = result.frontier_regions.T
    change = result.gradients[plus] - result.gradients[minus]
    np.testing.assert_allclose(change, result.normals * result.jumps[:, None], atol=1e-9)
