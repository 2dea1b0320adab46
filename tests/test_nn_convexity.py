"""Networks of jensen.nn are convex at every moment: fresh, trained, and under hostile parameters."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import jensen
from jensen.errors import ArgumentError
from jensen.nn import ACTIVATIONS, CONSTRAINTS, FICNN, PICNN, ConvexActivation, ConvICNN, SkipMLP
from jensen.nn._activation import as_activation

CONVEX = (FICNN, PICNN, ConvICNN)
TOLERANCE = 1e-9


def build(kind: type[nn.Module], activation: str, constraint: str, quadratic: float, init: str) -> nn.Module:
    options = {
        "activation": activation,
        "constraint": constraint,
        "quadratic": quadratic,
        "initialisation": init,
        "dtype": torch.float64,
    }
    if kind is FICNN:
        return FICNN(3, (6, 5, 4), **options)  # type: ignore[arg-type]
    if kind is PICNN:
        return PICNN(2, 3, (5, 4), (3, 4), x_activation=nn.Tanh(), **options)  # type: ignore[arg-type]
    return ConvICNN((2, 3, 4), (3, 2), stride=(1, 2), **options)  # type: ignore[arg-type]


def arguments(net: nn.Module, batch: int) -> tuple[tuple[Tensor, ...], int]:
    """Random inputs, and which of them convexity is about."""
    if isinstance(net, PICNN):
        return (torch.randn(batch, 2).double(), 3 * torch.randn(batch, 3).double()), 1
    shape = net.input_shape if isinstance(net, ConvICNN) else (3,)
    return (3 * torch.randn(batch, *shape).double(),), 0


def excess(net: nn.Module, batch: int = 64) -> float:
    """Largest violation of Jensen's inequality on random chords, relative to the values at hand."""
    inputs, which = arguments(net, batch)
    other = arguments(net, batch)[0][which]
    t = torch.rand(batch).double()
    wide = t.reshape(-1, *[1] * (other.ndim - 1))

    def at(point: Tensor) -> Tensor:
        value: Tensor = net(*[point if i == which else v for i, v in enumerate(inputs)])
        return value

    with torch.no_grad():
        here, there = at(inputs[which]), at(other)
        between = at(wide * inputs[which] + (1 - wide) * other)
    gap = between - t * here - (1 - t) * there
    scale = 1 + torch.stack([here, there, between]).abs().max()
    assert gap.isfinite().all()
    return float((gap / scale).max())


def shake(net: nn.Module) -> None:
    """Train towards a target that is not convex, with steps far too large."""
    optimiser = torch.optim.SGD(net.parameters(), lr=1.0)
    for _ in range(4):
        inputs, which = arguments(net, 16)
        loss = (net(*inputs) - inputs[which].flatten(1).sum(1).sin()).abs().mean()
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()


def attack(net: nn.Module) -> None:
    state = {name: 2 * torch.randn_like(value) - 0.5 for name, value in net.state_dict().items()}
    net.load_state_dict(state, strict=True)


@settings(max_examples=50, deadline=None)
@given(
    st.sampled_from(CONVEX),
    st.sampled_from(ACTIVATIONS),
    st.sampled_from(CONSTRAINTS),
    st.sampled_from([0.0, 0.3]),
    st.sampled_from(["principled", "torch"]),
    st.sampled_from([None, shake, attack]),
    st.integers(0, 2**32 - 1),
)
def test_convex_at_every_moment(
    kind: type[nn.Module],
    activation: str,
    constraint: str,
    quadratic: float,
    init: str,
    change: Callable[[nn.Module], None] | None,
    seed: int,
) -> None:
    torch.manual_seed(seed)
    net = build(kind, activation, constraint, quadratic, init)
    if change is not None:
        change(net)
    assert excess(net) <= TOLERANCE
    assert net.convex_arguments == ((1,) if kind is PICNN else (0,))


@pytest.mark.parametrize("kind", CONVEX)
@pytest.mark.parametrize(
    ("activation", "constraint"), [("leaky_relu", "abs"), *(("relu", c) for c in CONSTRAINTS)]
)
def test_rules_decide_piecewise_linear_networks(
    kind: type[nn.Module], activation: str, constraint: str
) -> None:
    torch.manual_seed(1)
    net = build(kind, activation, constraint, 0.0, "principled")
    attack(net)
    plane: nn.Module = net.at(torch.randn(2).double()) if isinstance(net, PICNN) else net
    shape = net.input_shape if isinstance(net, ConvICNN) else None
    verdict = jensen.check(plane, input_shape=shape)
    assert verdict.kind == "convex"
    # "prove" alone is what a network reports whose weights are such that no neuron reaches the output.
    assert {stage.name for stage in verdict.stages} <= {"rules", "prove"}
    assert net.piecewise_linear


@pytest.mark.parametrize("seed", range(5))
def test_skip_mlp_is_free(seed: int) -> None:
    torch.manual_seed(seed)
    net = SkipMLP(3, (8, 8))
    verdict = jensen.check(net)
    assert verdict.kind == "not_convex"
    assert verdict.witness is not None
    assert net.convex_arguments == ()


def test_picnn_is_not_forced_to_be_convex_in_x() -> None:
    """f(., y) of a random network violates Jensen's inequality somewhere."""
    torch.manual_seed(0)
    net = PICNN(1, 1, (8, 8), dtype=torch.float64)
    x = torch.linspace(-3, 3, 201, dtype=torch.float64)[:, None]
    with torch.no_grad():
        values = net(x, torch.ones_like(x))
    second = values[2:] - 2 * values[1:-1] + values[:-2]
    assert float(second.min()) < -1e-3
    assert float(second.max()) > 1e-3


def test_quadratic_term_makes_strongly_convex() -> None:
    torch.manual_seed(0)
    net = FICNN(3, (6, 6), quadratic=0.7, dtype=torch.float64)
    x, y = torch.randn(2, 500, 3).double()
    with torch.no_grad():
        gap = (net(x) + net(y)) / 2 - net((x + y) / 2)
    assert (gap >= 0.7 / 8 * (x - y).square().sum(1) - 1e-12).all()
    assert net.strong_convexity == 0.7
    assert not net.piecewise_linear


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(ACTIVATIONS), st.integers(0, 2**32 - 1))
def test_activations_are_convex_and_do_not_decrease(name: str, seed: int) -> None:
    """Also where torch's own softplus would fall by 2e-9, at 20."""
    activation = as_activation(name)
    centre = 50 * torch.rand(1, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) - 10
    x = centre + torch.linspace(-1, 1, 2001, dtype=torch.float64)
    for points in (x, centre + 1e-6 * (x - centre)):
        y = activation(points)
        step = y.diff()
        rounding = 4e-16 * float(y.abs().max() + points.abs().max())
        assert (step >= -rounding).all()
        assert (step.diff() >= -16 * rounding).all()


@pytest.mark.parametrize(
    "module",
    [nn.ReLU(), nn.LeakyReLU(0.3), nn.LeakyReLU(1.0), nn.Softplus(2.0), nn.ELU(0.5), nn.CELU(3.0)],
)
def test_torch_activations_are_taken_over(module: nn.Module) -> None:
    x = torch.linspace(-3, 3, 100)
    torch.testing.assert_close(as_activation(module)(x), module(x))


@pytest.mark.parametrize(
    "bad",
    [
        nn.SELU(),
        nn.GELU(),
        nn.SiLU(),
        nn.Mish(),
        nn.Tanh(),
        nn.Sigmoid(),
        nn.LogSigmoid(),
        nn.ReLU6(),
        nn.Hardtanh(),
        nn.PReLU(),
        nn.ELU(1.5),
        nn.LeakyReLU(-0.1),
        nn.LeakyReLU(1.5),
        nn.Softplus(0.0),
        nn.Linear(2, 2),
        "tanh",
        None,
    ],
)
def test_other_activations_are_refused(bad: str | nn.Module) -> None:
    with pytest.raises(ArgumentError, match="convex"):
        FICNN(2, (3,), bad)


def test_own_activation() -> None:
    class Hinge(ConvexActivation):
        def forward(self, x: Tensor) -> Tensor:
            return torch.maximum(x - 1, 0.5 * x)

    torch.manual_seed(0)
    net = FICNN(3, (6, 6), Hinge(), dtype=torch.float64)
    assert excess(net) <= TOLERANCE
