"""Batch normalisation after the ReLU."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from test_fit_extensions import descend_any

from jensen.errors import ArgumentError
from jensen.fit import all_gates, fit_batch_norm_after, network_gates

Floats = NDArray[np.float64]
STRENGTH = 0.05


def table(seed: int, n: int, d: int, bias: bool = False) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d))
    return (np.column_stack([x, np.ones(n)]) if bias else x), rng.normal(size=n)


def by_clarabel(x: Floats, y: Floats, gates: NDArray[np.bool_], centred: bool, shortest: bool) -> float:
    """The programme over w itself, or over u with w = V S^-1 u, the shortest of its kind."""
    cp: Any = pytest.importorskip("cvxpy")
    n, d = x.shape
    outputs, norm, rules = 0, 0, []
    for gate in gates:
        masked = gate[:, None] * x
        moved = masked - masked.mean(0) if centred else masked
        lift = np.linalg.pinv(moved) @ moved if shortest else np.eye(d)
        for sign in (1, -1):
            w, c = cp.Variable(d), cp.Variable()
            part = moved @ lift @ w + (c if centred else 0) * np.ones(n)
            rules.append((2 * gate[:, None] - 1) * (x @ lift) @ w >= 0)
            outputs, norm = outputs + sign * part, norm + cp.norm(part) / np.sqrt(n)
    programme = cp.Problem(cp.Minimize(cp.sum_squares(outputs - y) / (2 * n) + STRENGTH * norm), rules)
    programme.solve(solver=cp.CLARABEL)
    return float(programme.value)


def training(x: Floats, y: Floats, m: int, centred: bool) -> Any:
    """The objective of training, of a vector (W, gamma, alpha, a), and a start."""
    import torch

    (n, d), data, target = x.shape, torch.tensor(x), torch.tensor(y)

    def value(z: Any) -> Any:
        w, gamma, alpha, a = torch.split(z, [m * d, m, m, m])
        h = torch.relu(data @ w.reshape(d, m))
        if centred:
            h = torch.nn.functional.batch_norm(h, None, None, gamma, alpha, True, eps=1e-12)
        else:
            h = gamma * h / torch.sqrt((h**2).mean(0) + 1e-12)
        decay = (gamma**2).sum() + (alpha**2).sum() + (a**2).sum()
        return ((h @ a - target) ** 2).sum() / (2 * n) + STRENGTH * decay / 2

    return value


@pytest.mark.parametrize(("seed", "n", "d", "bias"), [(0, 8, 2, False), (1, 7, 2, True), (2, 6, 3, False)])
@pytest.mark.parametrize("centred", [True, False])
def test_the_programme_agrees_with_an_interior_point_solver(
    seed: int, n: int, d: int, bias: bool, centred: bool
) -> None:
    x, y = table(seed, n, d, bias)
    found = fit_batch_norm_after(x, y, STRENGTH, centred=centred, tolerance=1e-7)
    value = by_clarabel(x, y, all_gates(x), centred, shortest=False)
    assert found.solution.status == "optimal"
    assert found.solution.objective == pytest.approx(value, rel=1e-6)
    assert found.solution.lower_bound <= value * (1 + 1e-7)


@pytest.mark.slow
@pytest.mark.parametrize("centred", [True, False])
def test_no_training_ends_below_the_optimum_and_some_reach_it(centred: bool) -> None:
    import torch

    x, y = table(3, 8, 2)
    found, m = fit_batch_norm_after(x, y, STRENGTH, centred=centred), 20
    value = training(x, y, m, centred)
    rng = np.random.default_rng(0)
    ends = [descend_any(value, rng.normal(size=m * 5), 1000) for _ in range(8)]
    assert min(ends) >= found.solution.lower_bound
    assert min(ends) <= found.solution.objective * 1.01
    # The layers have the objective that is claimed.
    room = m - len(found.weights)
    assert room >= 0
    z = [np.pad(found.weights, ((0, room), (0, 0))).T.ravel()]
    z += [np.pad(v, (0, room)) for v in (found.gamma, found.alpha, found.outputs)]
    claimed = float(value(torch.tensor(np.concatenate(z))))
    assert claimed == pytest.approx(found.solution.objective, rel=1e-9)


def test_the_shortest_weights_do_for_all_gates_and_not_for_some() -> None:
    """With w = V_i S_i^-1 u gates of deficient rank are wrong; among all gates they are not needed."""
    x, y = table(0, 6, 3)
    gates = all_gates(x)
    true = fit_batch_norm_after(x, y, STRENGTH, centred=False).solution.objective
    assert by_clarabel(x, y, gates, False, shortest=True) == pytest.approx(true, rel=1e-6)
    full = np.array([gate for gate in gates if np.linalg.matrix_rank(x[gate]) == 3])
    assert 0 < len(full) < len(gates)
    few = fit_batch_norm_after(x, y, STRENGTH, centred=False, gates=full).solution.objective
    assert few == pytest.approx(true, rel=2e-6)
    # x_1 . x_2 > 0: the shortest w that activates sample 1 activates sample 2 as well. Others do not.
    x, y = np.array([[1.0, 0.0], [1.0, 1.0]]), np.array([1.0, 0.0])
    gate = np.array([[True, False]])
    found = fit_batch_norm_after(x, y, STRENGTH, centred=False, gates=gate).solution
    assert by_clarabel(x, y, gate, False, shortest=True) == pytest.approx(0.25, rel=1e-6)
    assert found.objective == pytest.approx(0.05 / np.sqrt(2) - 0.05**2 / 2, rel=1e-6)


def test_more_dimensions_than_samples_have_a_closed_form() -> None:
    """All nonnegative vectors are neurons: the positive and the negative part of y shrink."""
    x, y = table(4, 6, 9)
    found = fit_batch_norm_after(x, y, STRENGTH, centred=False, gates=np.array([y > 0, y < 0]))
    parts = (np.maximum(y, 0), np.maximum(-y, 0))
    shrunk = [p * max(0.0, 1 - STRENGTH * np.sqrt(6) / np.linalg.norm(p)) for p in parts]
    assert found.predict(x) == pytest.approx(shrunk[0] - shrunk[1], abs=2e-3)
    norm = sum(np.linalg.norm(p) for p in shrunk) / np.sqrt(6)
    value = ((shrunk[0] - shrunk[1] - y) ** 2).sum() / 12 + STRENGTH * norm
    assert found.solution.objective == pytest.approx(value, rel=1e-6)
    assert found.solution.lower_bound <= value * (1 + 1e-12)
    # No network does better than with these two gates.
    ends = [
        descend_any(training(x, y, 6, False), np.random.default_rng(s).normal(size=6 * 12)) for s in range(4)
    ]
    assert value * (1 - 1e-9) <= min(ends) <= value * 1.01


def test_gates_of_a_trained_network_give_at_most_its_objective() -> None:
    x, y = table(5, 30, 5)
    value, m = training(x, y, 10, True), 10
    rng = np.random.default_rng(0)
    import torch
    from scipy.optimize import minimize

    def objective(z: Floats) -> tuple[float, Floats]:
        at = torch.tensor(z, requires_grad=True)
        value(at).backward()
        assert at.grad is not None
        return float(value(at).detach()), at.grad.numpy()

    end = minimize(objective, rng.normal(size=m * 8), jac=True, method="L-BFGS-B", options={"maxiter": 300})
    gates = network_gates(end.x[: m * 5].reshape(5, m).T, x)
    found = fit_batch_norm_after(x, y, STRENGTH, gates=gates)
    assert found.solution.status == "optimal"
    assert found.solution.lower_bound <= found.solution.objective <= end.fun * (1 + 1e-6)


def test_the_module_predicts_the_same_in_both_modes() -> None:
    import torch

    x, y = table(6, 10, 2, bias=True)
    x[:, 0] += 5
    found = fit_batch_norm_after(x, y, 0.02)
    module, data = found.to_torch(), torch.tensor(x)
    with torch.no_grad():
        evaluated = module(data).numpy()[:, 0]
        trained = module.train()(data).numpy()[:, 0]
    assert len(found.outputs) > 0
    assert (found.gamma >= 0).all()
    assert evaluated == pytest.approx(found.predict(x), abs=1e-9)
    assert trained == pytest.approx(evaluated, abs=1e-8)


def test_invariant_under_linear_maps_of_the_inputs() -> None:
    x, y = table(7, 8, 2)
    moved = x @ np.array([[3.0, 1.0], [0.0, 0.01]])
    one, two = (fit_batch_norm_after(data, y, STRENGTH).solution.objective for data in (x, moved))
    assert one == pytest.approx(two, rel=3e-6)


@pytest.mark.parametrize("centred", [True, False])
def test_gates_without_constraints(centred: bool) -> None:
    """With a bias all samples may be active whatever the slope is; with nothing else there is no slope."""
    x = np.column_stack([np.linspace(-1, 1, 9), np.ones(9)])
    for data in (x, x[:, 1:]):
        found = fit_batch_norm_after(data, np.abs(x[:, 0]), STRENGTH, centred=centred).solution
        value = by_clarabel(data, np.abs(x[:, 0]), all_gates(data), centred, shortest=False)
        assert found.status == "optimal"
        assert found.objective == pytest.approx(value, rel=2e-6)


def test_large_regularisation_leaves_nothing() -> None:
    x, y = table(0, 6, 2)
    found = fit_batch_norm_after(x, y, 100.0)
    assert len(found.outputs) == 0
    assert not found.predict(x).any()
    assert found.to_torch() is not None


def test_what_makes_no_sense_is_refused() -> None:
    x = np.array([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]])
    y = np.ones(3)
    with pytest.raises(ArgumentError, match="open cone"):
        fit_batch_norm_after(x, y, 0.1, gates=np.array([[True, False, True]]))
    with pytest.raises(ArgumentError, match="gates must be bool"):
        fit_batch_norm_after(x, y, 0.1, gates=np.ones((1, 2), dtype=bool))
    with pytest.raises(ArgumentError, match="two samples"):
        fit_batch_norm_after(x[:1], y[:1], 0.1)
    with pytest.raises(ArgumentError, match="smooth"):
        fit_batch_norm_after(x, y, 0.1, "hinge")
