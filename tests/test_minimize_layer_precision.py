"""Argmin layers where numbers get hard: entropies that saturate, single precision, training."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from jensen import Box
from jensen.minimize import ArgminLayer, ArgminLoss, minimize_entropy, prox
from jensen.nn import FICNN, PICNN


def test_entropies_that_underflow() -> None:
    """Minimisers so near to 0 that dy/dslope is below 1e-300, on a kink: a Newton step divided by it."""
    torch.manual_seed(0)
    slope = torch.linspace(300.0, 360.0, 600, dtype=torch.double)[:, None].requires_grad_(True)
    for seed in range(4):
        torch.manual_seed(seed)
        net = PICNN(1, 1, (5, 5), initialisation="torch").double()
        x = torch.randn(600, 1, dtype=torch.double, requires_grad=True)
        layer = ArgminLayer(net, weight=0.46, tolerance=1e-8, max_iterations=60)
        y = layer(x, linear=slope)
        assert bool(((y >= 0) & (y <= 1)).all())
        found = torch.autograd.grad(y.sum(), [x, slope, *net.parameters()], allow_unused=True)
        assert all(g is None or bool(g.isfinite().all()) for g in found)


@pytest.mark.parametrize("rate", [0.03, 0.3])
def test_training_with_long_steps(rate: float) -> None:
    torch.manual_seed(0)
    net = PICNN(4, 3, (24, 12), initialisation="torch").double()
    loss = ArgminLoss(ArgminLayer(net, tolerance=1e-8, max_iterations=40))
    x = torch.randn(64, 4, dtype=torch.double)
    target = (x[:, :3] > 1).double()  # most labels are 0, so that slopes grow
    optimiser = torch.optim.Adam(net.parameters(), rate)
    for step in range(40):
        some = slice(16 * (step % 4), 16 * (step % 4) + 16)
        optimiser.zero_grad()
        loss(x[some], target[some]).backward()
        optimiser.step()
    assert all(bool(p.isfinite().all()) for p in net.parameters())


def gradients(net: PICNN, x: Tensor, v: Tensor, options: Any) -> tuple[Tensor, Tensor]:
    dtype = next(net.parameters()).dtype
    point = x.to(dtype, copy=True).requires_grad_(True)
    y = ArgminLayer(net, *options)(point)
    assert y.dtype == dtype
    (found,) = torch.autograd.grad((y * v.to(dtype)).sum(), point)
    return y.detach().double(), found.double()


@pytest.mark.parametrize("initialisation", ["torch", "principled"])
@pytest.mark.parametrize("options", [(None, "entropy"), (Box(0.0, 1.0), "quadratic")])
def test_single_precision_gradients_are_those_of_double(options: Any, initialisation: Any) -> None:
    wrong = 0
    for seed in range(3):
        torch.manual_seed(seed)
        net = PICNN(10, 10, (40, 30), initialisation=initialisation)
        x, v = torch.randn(16, 10), torch.randn(16, 10)
        y, single = gradients(net, x, v, options)
        exact_y, double = gradients(copy.deepcopy(net).double(), x, v, options)
        torch.testing.assert_close(y, exact_y, atol=1e-4, rtol=0)
        size = double.norm(dim=1).clamp_min(1e-9)
        wrong += int(((single - double).norm(dim=1) > 0.01 * size).sum())
    assert wrong <= 2  # before systems were solved in double precision: from 3 to 20 of 48


def test_steps_end_where_large_terms_cancel_inside_the_network() -> None:
    """f's values say nothing of the 1e5 that is added and taken away again inside."""
    torch.manual_seed(0)
    net = FICNN(60, (40, 40), initialisation="torch")
    exact = copy.deepcopy(net).double()
    with torch.no_grad():
        net.hidden[0].bias.add_(1e5)  # type: ignore[operator]
        net.hidden[1].bias.sub_(net.hidden[1].weight.sum() * 1e5)  # type: ignore[operator]
    slope = 0.2 * torch.randn(4, 60)
    found = minimize_entropy(net, linear=slope, max_iterations=400, tolerance=1e-12)
    assert bool(found.converged.all())
    assert int(found.iterations.max()) <= 100
    best = minimize_entropy(exact, linear=slope.double()).point
    torch.testing.assert_close(found.point.double(), best, atol=0.1, rtol=0)


def test_prox_in_single_precision_and_many_variables() -> None:
    torch.manual_seed(0)
    net = FICNN(2048, (64, 64), initialisation="torch", quadratic=0.1)
    points = torch.randn(2, 2048)
    near = prox(net, 1.0, tolerance=1e-6)(points)
    exact = prox(copy.deepcopy(net).double(), 1.0)(points.double())
    torch.testing.assert_close(near.double(), exact, atol=2e-3, rtol=0)
