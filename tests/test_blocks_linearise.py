"""Training with outputs linearised: the steps' optima against other solvers, descent, refusals."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from time import perf_counter
from typing import Any

import cvxpy
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog
from torch import nn

from jensen.blocks import LOSSES, BlockVisit, train_blocks
from jensen.blocks._convex import Linearised
from jensen.blocks._interior import HingeProblem, interior, simplex
from jensen.blocks._objective import objective
from jensen.blocks._outputs import OutputMap, rounded, split, until
from jensen.blocks._tail import Tail
from jensen.errors import ArgumentError

cp: Any = cvxpy
CLASSES = ("cross_entropy", "multiclass_hinge")


def net(outputs: int = 1, hidden: int = 5, seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, hidden), nn.ReLU(), nn.Linear(hidden, outputs)).double()


def table(name: str = "squared", rows: int = 30, seed: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, 3, generator=generator, dtype=torch.float64)
    y = x[:, 0].abs() - x[:, 1] + 0.3 * torch.randn(rows, generator=generator, dtype=torch.float64)
    if name in CLASSES:
        return x, (y > 0).long() + (y > 1).long()
    return x, y.sign() if name in ("hinge", "logistic") else y


def evaluated(model: nn.Module, name: str, data: tuple[torch.Tensor, torch.Tensor], decay: float) -> float:
    with torch.no_grad():
        squares = sum(float(p.square().sum()) for p in model.parameters())
        return LOSSES[name](model(data[0]), data[1]).item() + decay / 2 * squares


def posed(name: str, model: nn.Module, rows: int = 30) -> tuple[Tail, OutputMap, dict[str, Any]]:
    traced = objective(model, name, table(name, rows))
    cut = split(traced.program)
    assert cut is not None
    return Tail(cut), OutputMap(until(traced.program, cut.name), traced.names), dict(traced.values)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("decay", [0.0, 0.01])
def test_the_loss_never_rises_and_the_record_is_true(name: str, decay: float) -> None:
    model, data = net(3 if name in CLASSES else 1), table(name)
    seen: list[BlockVisit] = []
    run = train_blocks(model, name, data, decay=decay, sweeps=25, callback=seen.append)
    losses = [run.start, *(visit.loss for visit in run.visits)]
    assert all(b <= a for a, b in itertools.pairwise(losses))
    assert run.loss < 0.7 * run.start
    assert list(run.visits) == seen
    assert {visit.method for visit in seen} == {"linearised"}
    assert evaluated(model, name, data, decay) == pytest.approx(run.loss, rel=1e-9, abs=1e-12)


@settings(max_examples=12, deadline=None)
@given(st.sampled_from(sorted(LOSSES)), st.integers(1, 6), st.integers(2, 12), st.integers(0, 99))
def test_descent_from_any_start(name: str, hidden: int, rows: int, seed: int) -> None:
    model, data = net(3 if name in CLASSES else 1, hidden, seed), table(name, rows, seed)
    run = train_blocks(model, name, data, sweeps=5)
    losses = [run.start, *(visit.loss for visit in run.visits)]
    assert all(b <= a for a, b in itertools.pairwise(losses))
    assert evaluated(model, name, data, 0.0) == pytest.approx(run.loss, rel=1e-9, abs=1e-12)


def test_beats_adam_on_the_same_number_of_gradients() -> None:
    """A step costs one gradient for each row, and is worth more than as many steps of Adam as it has rows."""
    data = table(rows=60)
    model, other = net(hidden=8), net(hidden=8)
    run = train_blocks(model, "squared", data)
    optimiser = torch.optim.Adam(other.parameters(), 0.01)
    for _ in range(1000):
        optimiser.zero_grad()
        LOSSES["squared"](other(data[0]), data[1]).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    assert run.loss < evaluated(other, "squared", data, 0.0)


def test_same_start_same_end() -> None:
    ends = []
    for _ in range(2):
        model = net()
        train_blocks(model, "absolute", table(), sweeps=10)
        ends.append(torch.cat([p.detach().reshape(-1) for p in model.parameters()]))
    assert torch.equal(*ends)


@pytest.mark.parametrize("name", [name for name in LOSSES if name != "multiclass_hinge"])
@pytest.mark.parametrize(("decay", "rows"), [(0.0, 30), (0.05, 30), (0.0, 4), (0.05, 4)])
def test_steps_are_optimal(name: str, decay: float, rows: int) -> None:
    """Against cvxpy's solution of the same convex problem, written down by hand."""
    model = net(3 if name in CLASSES else 1)
    tail, outputs, values = posed(name, model, rows)
    c, jacobian = outputs.derivatives(values)
    start = torch.from_numpy(np.concatenate([v.ravel() for v in values.values()]))
    problem = Linearised(tail, c, jacobian, start, decay)
    pull = torch.full_like(start, 0.1)
    found = problem.minimum(pull, 1e-10)
    assert found is not None
    target = table(name, rows)[1].numpy()
    d = cp.Variable(len(start))
    z = c.numpy() + jacobian.numpy() @ d
    losses: dict[str, Callable[[], Any]] = {
        "absolute": lambda: cp.abs(z - target),
        "squared": lambda: cp.square(z - target),
        "hinge": lambda: cp.pos(1 - cp.multiply(target, z)),
        "logistic": lambda: cp.logistic(-cp.multiply(target, z)),
        "epsilon_insensitive": lambda: cp.pos(cp.abs(z - target) - 0.125),
        "pinball": lambda: cp.maximum(0.875 * (target - z), 0.125 * (z - target)),
        "cross_entropy": lambda: (
            cp.log_sum_exp(cp.reshape(z, (rows, 3), order="C"), axis=1) - z[np.arange(rows) * 3 + target]
        ),
    }
    regular = decay / 2 * cp.sum_squares(start.numpy() + d) + 0.05 * cp.sum_squares(d)
    truth = cp.Problem(cp.Minimize(cp.sum(losses[name]()) / rows + regular))
    truth.solve(solver=cp.CLARABEL, tol_gap_abs=1e-11, tol_gap_rel=1e-11, tol_feas=1e-11)
    value = problem.value(found.point) + 0.05 * float(found.point.square().sum())
    assert value == pytest.approx(truth.value, rel=1e-7, abs=1e-9)
    assert found.gap < 1e-8
    assert np.allclose(found.point.numpy(), d.value, atol=1e-4)


def test_steps_within_a_box_are_optimal() -> None:
    """A loss that is no sum of hinges: a linear programme of the whole network, against cvxpy."""
    tail, outputs, values = posed("multiclass_hinge", net(3))
    assert tail.hinges is None
    assert tail.network is not None
    c, jacobian = outputs.derivatives(values)
    start = torch.from_numpy(np.concatenate([v.ravel() for v in values.values()]))
    problem = Linearised(tail, c, jacobian, start, 0.0)
    found = problem.inside(0.05, None)
    assert found is not None
    target = table("multiclass_hinge")[1].numpy()
    d = cp.Variable(len(start))
    z = c.numpy() + jacobian.numpy() @ d
    margins = cp.reshape(z, (30, 3), order="C") + (1 - np.eye(3)[target])
    loss = cp.sum(cp.max(margins, axis=1) - z[np.arange(30) * 3 + target]) / 30
    truth = cp.Problem(cp.Minimize(loss), [cp.abs(d) <= 0.05])
    truth.solve(solver=cp.CLARABEL)
    assert problem.value(found.point) == pytest.approx(truth.value, rel=1e-6)
    assert found.gap < 1e-6
    assert float(found.point.abs().max()) <= 0.05 + 1e-9


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 8), st.integers(1, 30), st.integers(0, 999))
def test_sums_of_hinges_are_minimised(size: int, hinges: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    matrix, shift = rng.standard_normal((hinges, size)), rng.standard_normal(hinges)
    weights, quadratic = rng.uniform(0.1, 2.0, hinges), rng.uniform(1e-3, 1.0, size)
    # A slope of this kind leaves the function bounded below without a quadratic term.
    slope = -(rng.uniform(0.0, 1.0, hinges) * weights) @ matrix
    problem = HingeProblem(float(rng.standard_normal()), slope, quadratic, matrix, shift, weights)
    found = interior(problem, 1e-9)
    assert 0 <= found.gap <= 1e-8
    for _ in range(20):
        other = found.point + rng.standard_normal(size) * rng.choice([1e-3, 0.1, 1.0])
        assert problem.value(other) >= found.value - found.gap - 1e-12
    flat = HingeProblem(problem.constant, slope, np.zeros(size), matrix, shift, weights)
    exact = simplex(flat)
    assert exact is not None
    cost = np.concatenate([slope, weights])
    rows = np.hstack([matrix, -np.eye(hinges)])
    bounds = [(None, None)] * size + [(0, None)] * hinges
    truth: Any = linprog(cost, A_ub=rows, b_ub=-shift, bounds=bounds)
    assert exact.value == pytest.approx(truth.fun + problem.constant, rel=1e-7, abs=1e-7)
    assert exact.gap < 1e-6


def test_sums_of_hinges_without_a_minimum() -> None:
    one = np.ones(1)
    assert simplex(HingeProblem(0.0, -2 * one, 0 * one, np.ones((1, 1)), 0 * one, one)) is None


@pytest.mark.parametrize("softness", [0.0, 0.3])
def test_derivatives_are_those_of_autograd(softness: float) -> None:
    layers: dict[str, nn.Module] = {
        "rows": net(2),
        "leaky": nn.Sequential(nn.Linear(3, 4), nn.LeakyReLU(0.2), nn.Linear(4, 2), nn.Tanh()),
        "convolution": nn.Sequential(nn.Unflatten(1, (1, 3)), nn.Conv1d(1, 2, 2), nn.ReLU(), nn.Flatten()),
        "rows that mix": nn.Sequential(nn.Linear(3, 4), nn.Softmax(0), nn.ReLU(), nn.Linear(4, 2)),
    }  # fmt: skip
    x = table()[0]
    for kind, model in layers.items():
        model.double()
        target = torch.ones_like(model(x))
        traced = objective(model, lambda o, t: (o - t).square().mean(), (x, target))
        cut = split(traced.program)
        assert cut is not None
        outputs = OutputMap(until(traced.program, cut.name), traced.names)
        values = dict(traced.values)
        outputs.widths = {name: softness * size for name, size in outputs.sizes(values).items()}
        c, jacobian = outputs.derivatives(values)
        assert torch.allclose(c, outputs(values), rtol=1e-12)
        if not softness:
            assert torch.allclose(c, model(x).reshape(-1), rtol=1e-12)
        rng = np.random.default_rng(0)
        way = {name: 1e-6 * rng.standard_normal(v.shape) for name, v in values.items()}
        ends = [outputs({name: v + sign * way[name] for name, v in values.items()}) for sign in (1, -1)]
        flat = torch.from_numpy(np.concatenate([way[name].ravel() for name in traced.names]))
        assert torch.allclose(jacobian @ flat, (ends[0] - ends[1]) / 2, atol=1e-11), kind


@given(st.floats(-3, 3), st.floats(0.01, 2), st.sampled_from([0.0, 0.2, -1.0]))
def test_rounded_kinks_are_averages(z: float, width: float, slope: float) -> None:
    points = np.linspace(z - width, z + width, 20001)
    average = np.trapezoid(np.maximum(points, 0) + slope * np.minimum(points, 0), points) / (2 * width)
    assert float(rounded(torch.tensor(z, dtype=torch.float64), width, slope)) == pytest.approx(
        average, abs=1e-6
    )


def test_chosen_blocks_alone_move() -> None:
    model, data = net(), table()
    before = model.get_parameter("0.weight").detach().clone()
    run = train_blocks(model, "squared", data, ["2", "0.bias"], sweeps=5)
    assert torch.equal(before, model.get_parameter("0.weight"))
    assert run.loss < run.start
    assert run.visits[0].block == ("2.weight", "2.bias", "0.bias")


def test_other_networks_and_losses() -> None:
    x, y = table()
    torch.manual_seed(0)
    layers = [nn.Conv1d(1, 3, 2), nn.Tanh(), nn.Flatten(), nn.LeakyReLU(), nn.Linear(6, 1)]
    model = nn.Sequential(*layers)
    run = train_blocks(model, "squared", (x[:, None], y), sweeps=20)
    assert run.loss < 0.5 * run.start
    robust = train_blocks(net(), nn.HuberLoss(), (x, y[:, None]), sweeps=20)
    assert robust.loss < 0.5 * robust.start
    coupled = train_blocks(net(), lambda o, t: (o[:, 0] - t).square().sum().sqrt(), (x, y), sweeps=20)
    assert coupled.loss < coupled.start


def test_refusals() -> None:
    x, y = table()
    with pytest.raises(ArgumentError, match="convex in the outputs"):
        train_blocks(net(), lambda o, t: (o[:, 0] - t).clamp(-1, 1).mean(), (x, y))
    with pytest.raises(ArgumentError, match="convex in the outputs"):
        train_blocks(net(), lambda o, t: o.mean(), (x, y))
    wide = nn.Linear(3, 3000)
    with pytest.raises(ArgumentError, match="entries are too many"):
        train_blocks(wide, lambda o, t: o.square().mean(), (x, y))


def test_what_is_established_is_kept() -> None:
    data = table()

    def stop(visit: BlockVisit) -> bool:
        if visit.sweep == 3:
            raise KeyboardInterrupt
        return False

    for options in ({"callback": stop}, {"time_limit": 1e-9}, {"callback": lambda visit: True}):
        model = net()
        run = train_blocks(model, "squared", data, **options)
        assert run.reason in ("interrupted", "time_limit", "callback")
        assert run.loss < run.start
        assert evaluated(model, "squared", data, 0.0) == pytest.approx(run.loss)


def test_slow_steps_keep_to_the_time() -> None:
    """A linear programme of thousands of entries is not waited for."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 3))
    data = torch.randn(60, 20), torch.randint(3, (60,))
    began = perf_counter()
    run = train_blocks(model, "multiclass_hinge", data, time_limit=2.0)
    assert perf_counter() - began < 30
    assert run.reason == "time_limit"
    assert run.loss <= run.start


def test_it_ends() -> None:
    run = train_blocks(net(hidden=2), "squared", table(), sweeps=2000)
    assert run.reason == "converged"
