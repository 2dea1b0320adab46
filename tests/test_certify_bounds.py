"""Bounds on pre-activations, adjoints and jumps contain what exact arithmetic finds; no tolerance."""

from __future__ import annotations

from fractions import Fraction
from random import Random

import numpy as np
import plain
import pytest

from jensen.certify._bounds import Intervals, adjoint_bounds, interval_bounds
from jensen.certify._relax import Cut, relaxed_bounds
from jensen.certify._rules import jump_lower_bounds, moved_by, unbounded
from jensen.certify._twins import JumpWeights, twin_groups
from jensen.network import FloatArray, Layer, ReLUNetwork


def _within(low: float, value: Fraction, high: float) -> bool:
    return (low == -np.inf or Fraction(low) <= value) and (high == np.inf or value <= Fraction(high))


def _contains(bounds: Intervals, z: list[list[Fraction]]) -> bool:
    return all(
        _within(float(low), value, float(high))
        for lows, values, highs in zip(bounds.lo, z, bounds.hi, strict=True)
        for low, value, high in zip(lows, values, highs, strict=True)
    )


def _box(rng: Random, d: int, *, infinite: bool) -> tuple[FloatArray, FloatArray]:
    lo = np.array([rng.choice([-2.0, -0.1, 0.0, 1e-300]) for _ in range(d)])
    hi = lo + np.array([rng.choice([0.0, 0.1, 3.0, 1e-310]) for _ in range(d)])
    if infinite:
        lo[rng.randrange(d)], hi[rng.randrange(d)] = -np.inf, np.inf
    return lo, hi


def _point(rng: Random, lo: FloatArray, hi: FloatArray) -> list[Fraction]:
    ends = [
        (Fraction(float(low)) if np.isfinite(low) else Fraction(-(10**9)), high)
        for low, high in zip(lo, hi, strict=True)
    ]
    both = [(a, Fraction(float(b)) if np.isfinite(b) else a + 10**9) for a, b in ends]
    shares = [Fraction(0), Fraction(0), Fraction(1), Fraction(1)]
    return [a + (b - a) * rng.choice([*shares, Fraction(rng.randint(0, 97), 97)]) for a, b in both]


@pytest.mark.parametrize("seed", range(120))
def test_intervals_and_relaxations_contain_every_point(seed: int) -> None:
    rng = Random(seed)
    network = plain.random_network(rng, wild=seed % 3 == 0)
    infinite = seed % 4 == 1
    lo, hi = _box(rng, network.input_size, infinite=infinite)
    bounds = [interval_bounds(network, lo, hi)]
    if not infinite:
        bounds.append(relaxed_bounds(network, lo, hi, bounds[0]))
        for k in range(network.depth):
            assert (bounds[1].lo[k] >= bounds[0].lo[k]).all()
            assert (bounds[1].hi[k] <= bounds[0].hi[k]).all()
    for _ in range(12):
        z = plain.preactivations(network, _point(rng, lo, hi))
        for found in bounds:
            assert _contains(found, z)


@pytest.mark.parametrize("seed", range(60))
def test_relaxations_on_a_cut_contain_every_point_of_it(seed: int) -> None:
    rng = Random(seed)
    network = plain.random_network(rng, d=rng.randint(2, 3), wild=seed % 4 == 0)
    lo, hi = np.full(network.input_size, -2.0), np.full(network.input_size, 1.5)
    w = network.layers[0].weights[0]
    row = np.asarray(w[[0]].todense() if not isinstance(w, np.ndarray) else w[[0]]).ravel()
    offset = float(network.layers[0].bias[0])
    known = interval_bounds(network, lo, hi)
    cut = relaxed_bounds(network, lo, hi, known, Cut(row, offset))
    for _ in range(40):
        point = _point(rng, lo, hi)
        j = rng.randrange(network.input_size)
        if not row[j]:
            continue
        rest = sum(
            (Fraction(float(a)) * v for i, (a, v) in enumerate(zip(row, point, strict=True)) if i != j)
        )
        point[j] = -(Fraction(offset) + rest) / Fraction(float(row[j]))
        if Fraction(float(lo[j])) <= point[j] <= Fraction(float(hi[j])):
            assert _contains(cut, plain.preactivations(network, point))


def test_a_cut_that_misses_the_box_is_seen() -> None:
    network = ReLUNetwork(1, [Layer({0: [[1.0], [1.0]]}, [5.0, 0.0])], {1: [1.0, 1.0]})
    lo, hi = np.array([-1.0]), np.array([1.0])
    found = relaxed_bounds(network, lo, hi, interval_bounds(network, lo, hi), Cut(np.array([1.0]), 5.0))
    assert any((low > high).any() for low, high in zip(found.lo, found.hi, strict=True))


def test_zero_rows_and_dead_sources_stay_exact() -> None:
    layers = [Layer({0: [[0.0], [1.0]]}, [0.0, -2.0]), Layer({1: [[1.0, 1.0]]}, [0.0])]
    network = ReLUNetwork(1, layers, {2: [1.0]})
    found = interval_bounds(network, np.array([-1.0]), np.array([1.0]))
    assert (found.lo[0][0], found.hi[0][0]) == (0.0, 0.0)
    assert (found.lo[1][0], found.hi[1][0]) == (0.0, 0.0)


def _members(network: ReLUNetwork, layer: int) -> list[dict[int, Fraction]]:
    """Groups of neurons of a layer that switch together; the first member stands for its group."""
    groups = [dict(group) for group in twin_groups(network.layers[layer - 1])]
    merged = {i for group in groups for i in group}
    return groups + [{i: Fraction(1)} for i in range(network.widths[layer - 1]) if i not in merged]


@pytest.mark.parametrize("seed", range(120))
def test_adjoints_and_jumps_of_every_pattern_are_bounded(seed: int) -> None:
    rng = Random(seed)
    network = plain.random_network(rng, wild=seed % 3 == 0, width=3)
    jumps = JumpWeights(network)
    known = unbounded(network)
    found = adjoint_bounds(network, known.slopes(network), jumps)
    rules = jump_lower_bounds(network, known, jumps)
    for _ in range(12):
        pattern = [[rng.random() < 0.5 for _ in range(n)] for n in network.widths]
        exact = plain.adjoints(network, pattern).adjoint
        for layer, values in enumerate(exact, start=1):
            for i, g in enumerate(values):
                assert _within(float(found.low[layer - 1][i]), g, float(found.high[layer - 1][i]))
            for members in _members(network, layer):
                i, jump = next(iter(members)), plain.jump(network, pattern, layer, members)
                assert _within(float(found.jump[layer - 1][i]), jump, np.inf)
                if network.layers[layer - 1].negative_slope[i] != 1:
                    assert _within(float(rules[layer - 1][i]), jump, np.inf)


def _one_layer(rows: list[list[float]], slopes: list[float], out: list[float]) -> ReLUNetwork:
    values = np.array(rows)
    return ReLUNetwork(values.shape[1] - 1, [Layer({0: values[:, :-1]}, values[:, -1], slopes)], {1: out})


def test_twins_merge_exactly() -> None:
    # relu(l) - relu(3 l) / 3 cancels up to the rounding of 1 / 3, which is a jump of its own.
    network = _one_layer([[1.0, 2.0], [3.0, 6.0]], [0.0, 0.0], [1.0, -1 / 3])
    weights = np.asarray(JumpWeights(network).weight(2, 1))
    assert Fraction(float(weights[0, 0])) == 1 - 3 * Fraction(1 / 3)
    assert weights[0, 1] == 0
    # Mirrored rows keep the sign of the jump, and leaky slopes scale it.
    mirrored = _one_layer([[1.0, 2.0], [-2.0, -4.0]], [0.5, -1.0], [1.0, -0.125])
    merged = np.asarray(JumpWeights(mirrored).weight(2, 1))
    assert merged.tolist() == [[0.5 - 2 * 2 * 0.125, 0.0]]


def test_a_linear_neuron_is_no_twin() -> None:
    network = _one_layer([[1.0, 0.0], [1.0, 0.0]], [1.0, 0.0], [1.0, -1.0])
    assert twin_groups(network.layers[0]) == []
    assert np.asarray(JumpWeights(network).weight(2, 1))[0, 1] == -1.0


def test_nearly_proportional_rows_are_no_twins() -> None:
    network = _one_layer([[1.0, 1 / 3], [3.0, 1.0]], [0.0, 0.0], [1.0, -1.0])
    assert twin_groups(network.layers[0]) == []


def test_jumps_that_underflow_keep_their_sign() -> None:
    network = _one_layer([[1.0, 0.0]], [0.75], [-5e-324])
    assert np.asarray(JumpWeights(network).weight(2, 1))[0, 0] < 0


def test_jump_weights_follow_the_adjoints_of_a_batch() -> None:
    rng = Random(3)
    network = plain.random_network(rng, d=2, depth=2)
    jumps = JumpWeights(network)
    pattern = [[rng.random() < 0.5 for _ in range(n)] for n in network.widths]
    slopes = [
        np.where(np.array(on), 1.0, layer.negative_slope)[None, :]
        for on, layer in zip(pattern, network.layers, strict=True)
    ]
    for layer, found in enumerate(jumps.at(slopes), start=1):
        for members in _members(network, layer):
            expected = plain.jump(network, pattern, layer, members)
            assert found[0, next(iter(members))] == pytest.approx(float(expected), abs=1e-12)


def test_neurons_that_the_inputs_cannot_move() -> None:
    layers = [Layer({0: [[1.0, 0.0], [0.0, 5e-324]]}, [0.0, 0.0]), Layer({1: np.eye(2)}, [0.0, 0.0])]
    network = ReLUNetwork(2, layers, {2: [1.0, 1.0]})
    assert [m.tolist() for m in moved_by(network, {1})] == [[False, True], [False, True]]
