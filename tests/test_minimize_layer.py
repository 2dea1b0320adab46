"""Argmin layers, conjugates, proximal maps and structured losses: gradients against finite differences."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor
from torch.autograd import gradcheck

from jensen import Box
from jensen.errors import ArgumentError
from jensen.minimize.batched._minimize_entropy import minimize_entropy
from jensen.minimize.layer._conjugate import conjugate, gradient_map, prox
from jensen.minimize.layer._layer import ArgminLayer
from jensen.minimize.layer._structured import ArgminLoss, MaxMarginLoss
from jensen.nn import FICNN, PICNN, SkipMLP


def along_random_directions(
    parameters: list[Tensor], call: Callable[[], Tensor], tolerance: float = 1e-5
) -> None:
    """Compare gradients with central differences; every parameter takes part in two directions of four."""
    found = torch.autograd.grad(call(), parameters, allow_unused=True)
    for k in range(4):
        some = [
            (p, g, torch.randn_like(p))
            for i, (p, g) in enumerate(zip(parameters, found, strict=True))
            if (i + k) % 4 < 2
        ]
        slope = sum(0.0 if g is None else float((g * d).sum()) for _, g, d in some)
        ends = []
        for sign in (1, -1):
            with torch.no_grad():
                for p, _, d in some:
                    p.add_(d, alpha=sign * 1e-6)
                ends.append(float(call()))
                for p, _, d in some:
                    p.sub_(d, alpha=sign * 1e-6)
        assert (ends[0] - ends[1]) / 2e-6 == pytest.approx(slope, abs=tolerance, rel=1e-4)


CASES: list[tuple[str, float, Any, Box | None]] = [
    ("relu", 0.0, "entropy", None),
    ("softplus", 0.0, "entropy", None),
    ("relu", 0.0, "quadratic", None),
    ("relu", 0.3, "quadratic", Box(-0.2, 0.3)),
    ("relu", 0.5, None, Box(-0.2, 0.3)),
    ("softplus", 0.3, None, Box(-0.2, 0.3)),
    ("softplus", 0.0, "quadratic", None),
]


def network(activation: str, quadratic: float) -> PICNN:
    torch.manual_seed(0)
    return PICNN(3, 4, (9, 8), None, activation, torch.nn.Tanh(), quadratic=quadratic).double()


@pytest.mark.parametrize("case", CASES)
def test_gradients_in_x_and_linear(case: tuple[str, float, Any, Box | None]) -> None:
    activation, quadratic, regulariser, domain = case
    layer = ArgminLayer(network(activation, quadratic), domain, regulariser, weight=0.5)
    x = torch.randn(2, 3, dtype=torch.double, requires_grad=True)
    slope = torch.randn(2, 4, dtype=torch.double, requires_grad=True)
    assert gradcheck(lambda x, s: layer(x, linear=s), (x, slope), eps=1e-6, atol=1e-5, fast_mode=True)


@pytest.mark.parametrize("case", CASES)
def test_gradients_in_the_weights(case: tuple[str, float, Any, Box | None]) -> None:
    activation, quadratic, regulariser, domain = case
    net = network(activation, quadratic)
    layer = ArgminLayer(net, domain, regulariser, weight=0.5)
    x, v = torch.randn(2, 3, dtype=torch.double), torch.randn(2, 4, dtype=torch.double)
    along_random_directions(list(net.parameters()), lambda: torch.sum(layer(x) * v))


@pytest.mark.parametrize("regulariser", ["entropy", "quadratic"])
def test_unrolled_inference_tends_to_the_argmin(regulariser: Any) -> None:
    net = network("softplus", 0.0)
    x = torch.randn(4, 3, dtype=torch.double, requires_grad=True)
    exact = ArgminLayer(net, None, regulariser)
    steps = ArgminLayer(net, None, regulariser, unrolled=400, step=0.05)
    torch.testing.assert_close(steps(x), exact(x), atol=1e-5, rtol=0)
    (a,) = torch.autograd.grad(exact(x).square().sum(), x)
    (b,) = torch.autograd.grad(steps(x).square().sum(), x)
    torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-3)


def test_unrolled_steps_compute_the_path_of_x_once(monkeypatch: pytest.MonkeyPatch) -> None:
    net, calls = network("softplus", 0.0), [0]
    path = net.x_path[0].forward

    def counted(u: Tensor) -> Any:
        calls[0] += 1
        return path(u)

    monkeypatch.setattr(net.x_path[0], "forward", counted)
    x = torch.randn(2, 3, dtype=torch.double, requires_grad=True)
    steps = ArgminLayer(net, unrolled=20)
    found = torch.autograd.grad(steps(x).square().sum(), [x, *net.x_path.parameters()])
    assert calls[0] == 1
    assert all(bool(g.any()) for g in found)
    assert gradcheck(steps, (x,), fast_mode=True)


@pytest.mark.parametrize("batch", [0, 1, 4])
def test_batches(batch: int) -> None:
    net = network("relu", 0.0)
    layer = ArgminLayer(net)
    y = layer(torch.randn(batch, 3, dtype=torch.double))
    assert y.shape == (batch, 4)
    if batch:
        found = torch.autograd.grad(y.sum(), list(net.parameters()), allow_unused=True)
        assert all(g is None or bool(g.isfinite().all()) for g in found)


@pytest.mark.parametrize("activation", ["relu", "softplus"])
def test_conjugate(activation: str) -> None:
    torch.manual_seed(0)
    f = FICNN(4, (8, 8), activation, quadratic=1.0).double()
    f_star, slope = conjugate(f), torch.randn(3, 4, dtype=torch.double, requires_grad=True)
    y = torch.randn(50, 4, dtype=torch.double)
    value = f_star(slope)
    # Fenchel-Young, with equality at the maximiser
    assert (value[:, None] >= slope @ y.T - f(y)).all()
    (best,) = torch.autograd.grad(value.sum(), slope)
    torch.testing.assert_close(value, (slope * best).sum(1) - f(best), atol=1e-9, rtol=0)
    assert gradcheck(f_star, (slope,), eps=1e-6, atol=1e-6, fast_mode=True)
    assert gradcheck(
        lambda s: torch.autograd.grad(f_star(s).sum(), s, create_graph=True)[0],
        (slope,),
        atol=1e-5,
        fast_mode=True,
    )
    if activation == "softplus":
        torch.testing.assert_close(gradient_map(f)(best), slope, atol=1e-8, rtol=0)


@pytest.mark.parametrize("activation", ["relu", "softplus"])
def test_gradients_of_minima_in_the_weights(activation: str) -> None:
    """On a kink those of the pieces that meet there, with their multipliers; torch's are one piece's."""
    torch.manual_seed(0)
    f, net = FICNN(4, (8, 8), activation, quadratic=1.0).double(), network(activation, 0.0)
    slope, x = torch.randn(6, 4, dtype=torch.double), torch.randn(6, 3, dtype=torch.double)
    target = (torch.rand(6, 4) > 0.5).double()
    loss = MaxMarginLoss(net, reduction="sum", tolerance=1e-12, max_iterations=200)
    along_random_directions(list(f.parameters()), lambda: conjugate(f)(slope).sum(), 1e-4)
    along_random_directions(list(net.parameters()), lambda: loss(x, target), 1e-3)


def test_conjugate_of_a_quadratic() -> None:
    f = FICNN(3, (), "relu", quadratic=2.0).double()
    slope = torch.randn(5, 3, dtype=torch.double)
    tilt, shift = f.first.weight[0].detach(), f.first.bias[0].detach()
    exact = (slope - tilt).square().sum(1) / 4 - shift
    torch.testing.assert_close(conjugate(f)(slope), exact)


@pytest.mark.parametrize("activation", ["relu", "softplus"])
def test_prox(activation: str) -> None:
    torch.manual_seed(0)
    f = FICNN(3, (6, 6), activation).double()
    point = torch.randn(4, 3, dtype=torch.double, requires_grad=True)
    near = prox(f, 0.5)
    assert gradcheck(near, (point,), eps=1e-6, atol=1e-5, fast_mode=True)
    y = near(point).detach()
    for p, q in zip(point.detach(), y, strict=True):

        def objective(v: Any, p: Tensor = p) -> float:
            t = torch.tensor(v)
            return float(f(t[None])[0] + (t - p).square().sum())

        with torch.no_grad():
            other = minimize(
                objective, q.numpy() + 0.1, method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-13}
            )
            assert objective(q.numpy()) <= other.fun + 1e-10
    assert near(point[:0]).shape == (0, 3)


def test_gradient_map_is_differentiable_in_the_weights() -> None:
    f = FICNN(3, (6,), "softplus").double()
    y = torch.randn(2, 3, dtype=torch.double)
    (found,) = torch.autograd.grad(gradient_map(f)(y).square().sum(), f.first.weight)
    assert bool(found.any())


def test_max_margin() -> None:
    torch.manual_seed(0)
    net = PICNN(3, 5, (8, 8)).double()
    loss = MaxMarginLoss(net, reduction="none", tolerance=1e-9)
    x = torch.randn(6, 3, dtype=torch.double)
    target = (torch.rand(6, 5) > 0.5).double()
    value = loss(x, target)
    y = torch.rand(500, 6, 5, dtype=torch.double).clamp(1e-9, 1 - 1e-9)
    entropy = -(y * y.log() + (1 - y) * (1 - y).log()).sum(-1)
    energies = torch.stack([net(x, p) for p in y])
    below = (y - target).abs().sum(-1) - energies + entropy + net(x, target)
    assert (value >= below - 1e-8).all()
    optimiser = torch.optim.Adam(net.parameters(), 0.01)
    for _ in range(60):
        optimiser.zero_grad()
        loss(x, target).mean().backward()
        optimiser.step()
    assert loss(x, target).mean() < 0.4 * value.mean()
    assert np.mean((minimize_entropy(net, x).point > 0.5).numpy() == (target > 0.5).numpy()) > 0.9
    with pytest.raises(ArgumentError, match="0 or 1"):
        loss(x, target + 0.5)


@pytest.mark.parametrize("unrolled", [None, 10])
def test_argmin_loss_trains(unrolled: int | None) -> None:
    torch.manual_seed(0)
    net = PICNN(2, 3, (6,)).double()
    loss = ArgminLoss(ArgminLayer(net, unrolled=unrolled))
    x, target = torch.randn(5, 2, dtype=torch.double), torch.rand(5, 3, dtype=torch.double)
    before = loss(x, target)
    optimiser = torch.optim.Adam(net.parameters(), 0.02)
    for _ in range(20):
        optimiser.zero_grad()
        loss(x, target).backward()
        optimiser.step()
    assert loss(x, target) < before


def test_refusals() -> None:
    with pytest.raises(ArgumentError, match="whole face"):
        ArgminLayer(FICNN(2, (3,)), Box(0.0, 1.0), None)(batch=1)
    with pytest.raises(ArgumentError, match="closed form"):
        ArgminLayer(FICNN(2, (3,), quadratic=1.0))(batch=1)
    with pytest.raises(ArgumentError, match="not constrained"):
        ArgminLayer(SkipMLP(2, (3,)))(batch=1)
    with pytest.raises(ArgumentError, match="smooth=True"):
        ArgminLayer(torch.nn.Linear(2, 1))
    with pytest.raises(ArgumentError, match="step"):
        prox(FICNN(2, (3,)), 0.0)
    with pytest.raises(ArgumentError, match="regulariser"):
        ArgminLayer(FICNN(2, (3,)), None, "lasso")  # type: ignore[arg-type]
