"""Training block by block: the loss never rises, and convex blocks end at their minimum."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import cvxpy
import numpy as np
import pytest
import torch
from torch import nn

from jensen.blocks import LOSSES, BlockVisit, train_blocks
from jensen.errors import ArgumentError

cp: Any = cvxpy


def net(outputs: int = 1, hidden: int = 5) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, hidden), nn.ReLU(), nn.Linear(hidden, outputs)).double()


def table(classes: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(40, 3, generator=generator, dtype=torch.float64)
    y = x[:, 0].abs() - x[:, 1] + 0.3 * torch.randn(40, generator=generator, dtype=torch.float64)
    return x, (y > 0.5).long() if classes else y


def features(model: nn.Sequential, x: torch.Tensor) -> np.ndarray[Any, Any]:
    with torch.no_grad():
        h = model[1](model[0](x))
    return np.column_stack([h.numpy(), np.ones(len(h))])


@pytest.mark.parametrize("name", ["squared", "absolute", "hinge", "logistic", "pinball", "cross_entropy"])
def test_the_loss_never_rises_and_the_record_is_true(name: str) -> None:
    model = net(2 if name == "cross_entropy" else 1)
    x, y = table(name == "cross_entropy")
    target = y.sign() if name in ("hinge", "logistic") else y
    seen: list[BlockVisit] = []
    run = train_blocks(model, name, (x, target), sweeps=4, callback=seen.append, scheme="alternate")
    losses = [run.start, *(visit.loss for visit in run.visits)]
    assert all(b <= a for a, b in itertools.pairwise(losses))
    assert run.loss < 0.9 * run.start
    assert list(run.visits) == seen
    with torch.no_grad():
        assert LOSSES[name](model(x), target).item() == pytest.approx(run.loss, rel=1e-9, abs=1e-12)
    assert {visit.method for visit in run.visits if "2.bias" in visit.block} == {"solved"}
    if name in ("squared", "absolute", "pinball"):  # the classes are separable, and lost at once
        assert [visit.method for visit in run.visits[:2]] == ["solved", "gates held"]


def test_the_last_layer_is_solved_as_by_cvxpy() -> None:
    x, y = table()
    w = cp.Variable(6)
    objectives: dict[str, Callable[[Any], Any]] = {
        "squared": lambda r: cp.sum_squares(r) / 40,
        "absolute": lambda r: cp.norm1(r) / 40,
        "pinball": lambda r: cp.sum(cp.maximum(0.125 * r, -0.875 * r)) / 40,
    }
    for name, function in objectives.items():
        model = net()
        problem = cp.Problem(cp.Minimize(function(features(model, x) @ w - y.numpy())))
        problem.solve()
        run = train_blocks(model, name, (x, y), ["2"], sweeps=2, scheme="alternate")
        assert run.loss == pytest.approx(problem.value, rel=1e-5)
        assert run.visits[-1].gap < 1e-6
        assert run.reason == "converged"


@pytest.mark.parametrize("name", ["absolute", "hinge", "logistic", "epsilon_insensitive"])
def test_the_last_layer_with_decay_is_solved_as_by_cvxpy(name: str) -> None:
    x, y = table()
    target = y.sign() if name in ("hinge", "logistic") else y
    model = net()
    with torch.no_grad():
        held = sum(float(p.square().sum()) for p in model[0].parameters())
    w, t = cp.Variable(6), target.numpy()
    z = features(model, x) @ w
    losses: dict[str, Callable[[], Any]] = {
        "absolute": lambda: cp.abs(z - t),
        "hinge": lambda: cp.pos(1 - cp.multiply(t, z)),
        "logistic": lambda: cp.logistic(-cp.multiply(t, z)),
        "epsilon_insensitive": lambda: cp.pos(cp.abs(z - t) - 0.125),
    }
    problem = cp.Problem(cp.Minimize(cp.sum(losses[name]()) / 40 + 0.05 * (cp.sum_squares(w) + held)))
    problem.solve(solver=cp.CLARABEL)
    run = train_blocks(model, name, (x, target), ["2"], decay=0.1, sweeps=2, scheme="alternate")
    assert run.loss == pytest.approx(problem.value, rel=1e-6)
    assert run.visits[0].method == "solved"
    assert run.visits[-1].gap < 1e-7


@pytest.mark.parametrize("name", ["absolute", "hinge"])
def test_alternating_with_decay_never_rises(name: str) -> None:
    x, y = table()
    target = y.sign() if name == "hinge" else y
    run = train_blocks(net(), name, (x, target), decay=0.01, sweeps=5, scheme="alternate")
    losses = [run.start, *(visit.loss for visit in run.visits)]
    assert all(b <= a for a, b in itertools.pairwise(losses))
    assert run.loss < run.start


def test_cross_entropy_with_decay_reaches_a_stationary_point_of_the_last_layer() -> None:
    x, classes = table(True)
    model = net(2)
    run = train_blocks(model, "cross_entropy", (x, classes), ["2"], decay=0.01, sweeps=3, scheme="alternate")
    loss = LOSSES["cross_entropy"](model(x), classes)
    loss = loss + 0.005 * sum(p.square().sum() for p in model.parameters())
    assert loss.item() == pytest.approx(run.loss)
    gradients = torch.autograd.grad(loss, list(model[2].parameters()))
    assert max(float(g.abs().max()) for g in gradients) < 1e-4


def test_reduction_solves_the_last_layer_at_every_point() -> None:
    x, y = table()
    model, other = net(), net()
    run = train_blocks(model, "squared", (x, y), scheme="reduce", sweeps=4)
    alternating = train_blocks(other, "squared", (x, y), sweeps=4, scheme="alternate")
    assert run.loss < alternating.loss < alternating.start
    losses = [run.start, *(visit.loss for visit in run.visits)]
    assert all(b <= a for a, b in itertools.pairwise(losses))
    f = features(model, x)
    best = np.linalg.lstsq(f, y.numpy(), rcond=None)[0]
    assert run.loss == pytest.approx(np.square(f @ best - y.numpy()).mean(), rel=1e-6)
    with torch.no_grad():
        assert LOSSES["squared"](model(x), y).item() == pytest.approx(run.loss, rel=1e-9)


def test_reduction_with_decay_and_classes() -> None:
    x, classes = table(True)
    model = net(2)
    run = train_blocks(model, "cross_entropy", (x, classes), scheme="reduce", decay=0.01, sweeps=3)
    loss = LOSSES["cross_entropy"](model(x), classes)
    loss = loss + 0.005 * sum(p.square().sum() for p in model.parameters())
    assert loss.item() == pytest.approx(run.loss)
    gradients = torch.autograd.grad(loss, list(model[2].parameters()))
    assert max(float(g.abs().max()) for g in gradients) < 1e-3


def test_reduction_needs_a_smooth_convex_block_and_another() -> None:
    x, y = table()
    for loss, blocks, words in (
        ("absolute", None, "smooth"),
        ("squared", ["2"], "second block"),
        ("squared", ["0"], "convex by the rules"),
    ):
        with pytest.raises(ArgumentError, match=words):
            train_blocks(net(), loss, (x, y), blocks, scheme="reduce")
    with pytest.raises(ArgumentError, match="scheme"):
        train_blocks(net(), "squared", (x, y), scheme="nonsense")  # type: ignore[arg-type]


def test_first_layer_that_is_convex_is_solved() -> None:
    """Nonnegative output weights and targets far below: |f - y| = f - y is convex in the first layer."""
    x, y = table()
    model = net()
    with torch.no_grad():
        model.get_parameter("2.weight").abs_()
        model.get_parameter("2.bias").zero_()
    run = train_blocks(model, "absolute", (x, -y.abs() - 1), ["0"], sweeps=2, scheme="alternate")
    assert run.visits[0].method == "solved"
    with torch.no_grad():
        assert model[1](model[0](x)).abs().max().item() < 1e-9
    assert run.loss == pytest.approx(float((y.abs() + 1).mean()))


def test_other_activations_descend() -> None:
    x, y = table()
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)).double()
    run = train_blocks(model, "squared", (x, y), sweeps=3, scheme="alternate")
    assert {visit.method for visit in run.visits} == {"solved", "descent"}
    assert run.loss < 0.5 * run.start


def test_deep_and_leaky_networks() -> None:
    x, y = table()
    torch.manual_seed(0)
    layers = [nn.Linear(3, 8), nn.LeakyReLU(0.1), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 1)]
    run = train_blocks(nn.Sequential(*layers), "squared", (x, y), sweeps=5, scheme="alternate")
    assert [visit.method for visit in run.visits[:3]] == ["solved", "gates held", "gates held"]
    assert run.loss < 0.5 * run.start


def test_limits_and_bad_arguments() -> None:
    x, y = table()
    assert train_blocks(net(), "squared", (x, y), time_limit=1e-9, scheme="alternate").reason == "time_limit"

    def stop(visit: BlockVisit) -> None:
        raise KeyboardInterrupt

    assert (
        len(train_blocks(net(), "squared", (x, y), callback=lambda visit: True, scheme="alternate").visits)
        == 1
    )
    model = net()
    run = train_blocks(model, "squared", (x, y), callback=stop, scheme="alternate")
    assert run.reason == "interrupted"
    with torch.no_grad():
        assert LOSSES["squared"](model(x), y).item() == pytest.approx(run.loss)
    with pytest.raises(ArgumentError, match="decay must be 0"):
        train_blocks(net(3), "multiclass_hinge", (x, (y > 0).long()), decay=0.1, scheme="alternate")
    with pytest.raises(ArgumentError, match="no block"):
        train_blocks(net(), "absolute", (x, y), [], scheme="alternate")
    with pytest.raises(ArgumentError, match="sweeps"):
        train_blocks(net(), "absolute", (x, y), sweeps=0, scheme="alternate")
