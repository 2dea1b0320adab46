from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from jensen.errors import ArgumentError
from jensen.fit._network import (
    coefficients_of,
    merge_neurons,
    neurons_of,
    read_network,
    split_coefficient,
    to_torch,
    ungate,
)
from jensen.fit._patterns import gaussian_gates

Floats = NDArray[np.float64]


def outputs_on(x: Floats, weights: Floats, outputs: Floats) -> Floats:
    return np.asarray(np.maximum(x @ weights.T, 0) @ outputs)


def norm(weights: Floats, outputs: Floats) -> float:
    return float(np.linalg.norm(weights, axis=1) @ np.abs(outputs))


def test_a_coefficient_becomes_a_balanced_neuron() -> None:
    u = np.array([[3.0, 4.0], [0.0, 0.0], [-1.0, 0.0]])
    weights, outputs = neurons_of(u, np.array([-1, 1, 1], dtype=np.int8))
    assert weights == pytest.approx(u[[0, 2]] / np.sqrt([[5.0], [1.0]]))
    assert outputs == pytest.approx([-np.sqrt(5), 1.0])
    assert np.linalg.norm(weights, axis=1) == pytest.approx(np.abs(outputs))
    back, signs = coefficients_of(weights, outputs)
    assert back == pytest.approx(u[[0, 2]])
    assert signs.tolist() == [-1, 1]


def test_merging_keeps_outputs_and_lowers_the_norm() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(6, 3))
    weights, outputs = rng.normal(size=(60, 3)), rng.normal(size=60)
    merged_weights, merged_outputs = merge_neurons(x, weights, outputs)
    assert len(merged_weights) < 50
    assert outputs_on(x, merged_weights, merged_outputs) == pytest.approx(outputs_on(x, weights, outputs))
    assert norm(merged_weights, merged_outputs) <= norm(weights, outputs)
    signatures = {
        (tuple(g), o > 0) for g, o in zip((merged_weights @ x.T > 0).tolist(), merged_outputs, strict=True)
    }
    assert len(signatures) == len(merged_weights)


def test_neurons_on_a_common_boundary_merge() -> None:
    x = np.array([[1.0, 0.0], [0.0, 1.0]])
    # The first is inactive on the second sample, the second vanishes on it.
    weights, outputs = merge_neurons(x, np.array([[1.0, -1.0], [1.0, 0.0]]), np.array([1.0, 1.0]))
    assert len(weights) == 1
    assert outputs_on(x, weights, outputs) == pytest.approx([2.0, 0.0])
    # Opposite output weights do not.
    assert len(merge_neurons(x, np.array([[1.0, -1.0], [1.0, 0.0]]), np.array([1.0, -1.0]))[0]) == 2


def test_neurons_that_are_never_active_vanish() -> None:
    x = np.array([[1.0, 0.0], [2.0, 0.0]])
    weights, outputs = merge_neurons(x, np.array([[-1.0, 3.0], [0.0, 1.0]]), np.array([1.0, 1.0]))
    assert weights.shape == (0, 2)
    assert outputs.shape == (0,)


@pytest.mark.parametrize("seed", range(8))
def test_a_split_is_in_the_cone_and_shortest(seed: int) -> None:
    cp = pytest.importorskip("cvxpy")
    rng = np.random.default_rng(seed)
    n, d = int(rng.integers(2, 30)), int(rng.integers(2, 5))
    x = rng.normal(size=(n, d)) * 10.0 ** rng.integers(-3, 4)
    gate = gaussian_gates(x, 5, seed)[0]
    u = rng.normal(size=d)
    a, b = split_coefficient(x, gate, u)
    assert a - b == pytest.approx(u)
    rows = np.where(gate, 1.0, -1.0)[:, None] * x
    size = np.linalg.norm(x, axis=1).max() * (np.linalg.norm(a) + np.linalg.norm(b))
    assert min((rows @ a).min(), (rows @ b).min()) >= -1e-10 * size
    one, two = cp.Variable(d), cp.Variable(d)
    scaled = rows / np.linalg.norm(rows, axis=1)[:, None]
    programme = cp.Problem(
        cp.Minimize(cp.norm(one) + cp.norm(two)), [one - two == u, scaled @ one >= 0, scaled @ two >= 0]
    )
    programme.solve(solver=cp.CLARABEL)
    assert np.linalg.norm(a) + np.linalg.norm(b) == pytest.approx(programme.value, rel=1e-5)


def test_splits_at_the_ends() -> None:
    x, gate = np.array([[1.0, 0.0], [0.0, 0.0]]), np.array([True, False])
    assert [p.tolist() for p in split_coefficient(x, gate, np.array([2.0, 1.0]))] == [[2.0, 1.0], [0.0, 0.0]]
    assert [p.tolist() for p in split_coefficient(x, gate, np.array([-2.0, 1.0]))] == [
        [0.0, 0.0],
        [2.0, -1.0],
    ]
    assert [p.tolist() for p in split_coefficient(x, gate, np.zeros(2))] == [[0.0, 0.0], [0.0, 0.0]]
    opposite = np.array([[1.0, 0.5], [2.0, 1.0]])
    with pytest.raises(ArgumentError, match="not the gate of a direction"):
        split_coefficient(opposite, gate, np.array([2.0, -1.0]))


def test_a_gated_solution_becomes_a_relu_network() -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(12, 3))
    gates = gaussian_gates(x, 6)
    coefficients = rng.normal(size=(len(gates), 3))
    coefficients[0] = 0
    weights, outputs = ungate(x, gates, coefficients)
    gated = sum((g * (x @ u) for g, u in zip(gates, coefficients, strict=True)), np.zeros(12))
    assert outputs_on(x, weights, outputs) == pytest.approx(gated)
    assert len(weights) <= 2 * (len(gates) - 1)


@pytest.mark.parametrize("bias", [False, True])
def test_modules_compute_the_network_and_are_read_back(bias: bool) -> None:
    import torch

    rng = np.random.default_rng(1)
    x = rng.normal(size=(9, 4))
    if bias:
        x[:, 3] = 1
    weights, outputs = rng.normal(size=(5, 4)), rng.normal(size=5)
    module = to_torch(weights, outputs, bias=bias)
    given = torch.tensor(x[:, : 4 - bias])
    assert module(given).detach().numpy()[:, 0] == pytest.approx(outputs_on(x, weights, outputs))
    again = read_network(module, x)
    assert (again[0] == weights).all()
    assert (again[1] == outputs).all()
    several = to_torch(weights, np.column_stack([outputs, 2 * outputs]), bias=bias)
    assert several(given).shape == (9, 2)
    assert read_network(several, x)[1].shape == (5, 2)
    empty = to_torch(np.zeros((0, 4)), np.zeros(0), bias=bias)
    assert not empty(given).any()


def test_modules_go_to_the_rest_of_jensen() -> None:
    import torch

    import jensen

    weights, outputs = np.array([[1.0, 2.0], [-1.0, 0.5], [0.3, -1.0]]), np.array([1.0, 2.0, 0.5])
    module = to_torch(weights, outputs, bias=True)
    assert jensen.check(module).kind == "convex"
    assert jensen.check(to_torch(weights, -outputs, bias=True)).kind == "not_convex"
    torch.export.export(module, (torch.zeros(3, 1, dtype=torch.float64),))


def test_other_modules_are_refused() -> None:
    from torch import nn

    x = np.ones((3, 2))
    for module, says in [
        (nn.Linear(2, 1), "Linear, ReLU, Linear"),
        (nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1)), "holds Linear, Tanh, Linear"),
        (nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)), "last layer has a bias"),
        (nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1, bias=False)), "and has a bias"),
        (nn.Sequential(nn.Linear(5, 3), nn.ReLU(), nn.Linear(3, 1, bias=False)), "takes 5 inputs"),
    ]:
        with pytest.raises(ArgumentError, match=says):
            read_network(module, x)
    with pytest.raises(ArgumentError, match="got int"):
        read_network(3, x)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="do not fit"):
        to_torch(np.ones((2, 2)), np.ones(3))
