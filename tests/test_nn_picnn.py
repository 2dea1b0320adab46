"""PICNN: the full recurrence, what it can represent, and the convex function at a point."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from jensen.errors import ArgumentError, NetworkError
from jensen.nn import FICNN, PICNN


def linear(layer: nn.Module) -> nn.Linear:
    assert isinstance(layer, nn.Linear)
    return layer


def recurrence(net: PICNN, x: Tensor, y: Tensor) -> Tensor:
    """The published formula, one sample at a time, with plain matrices."""
    values = []
    for u, v in zip(x, y, strict=True):
        z: Tensor | None = None
        for i in range(len(net.widths) + 1):
            scale = net.scales[i]
            s = net.skips[i].weight @ (v * (scale.weight @ u + scale.bias)) + net.contexts[i].weight @ u
            if z is None:
                s = s + net.contexts[0].bias
            else:
                gate = (net.gates[i - 1].weight @ u + net.gates[i - 1].bias).clamp_min(0)
                s = s + net.hidden[i - 1].weight @ (z * gate) + net.hidden[i - 1].bias
            z = s if i == len(net.widths) else net.activation(s)
            if i < len(net.x_path):
                u = net.x_activation(net.x_path[i].weight @ u + net.x_path[i].bias)  # noqa: PLW2901
        assert z is not None
        values.append(z[0] + net.strong_convexity / 2 * v.square().sum())
    return torch.stack(values)


def make(**options: object) -> PICNN:
    torch.manual_seed(3)
    net = PICNN(3, 2, (6, 5), (4, 7), dtype=torch.float64, **options)  # type: ignore[arg-type]
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.3 * torch.randn_like(p))
    return net


@pytest.mark.parametrize("activation", ["relu", "softplus"])
@pytest.mark.parametrize("quadratic", [0.0, 0.8])
def test_recurrence(activation: str, quadratic: float) -> None:
    net = make(activation=activation, quadratic=quadratic, x_activation=nn.Tanh())
    x, y = torch.randn(20, 3).double(), torch.randn(20, 2).double()
    torch.testing.assert_close(net(x, y), recurrence(net, x, y))


@pytest.mark.parametrize("constraint", ["clamp", "exp", "softplus"])
@pytest.mark.parametrize("activation", ["relu", "elu"])
@pytest.mark.parametrize("quadratic", [0.0, 0.8])
def test_at(constraint: str, activation: str, quadratic: float) -> None:
    net = make(constraint=constraint, activation=activation, quadratic=quadratic)
    x, y = torch.randn(3).double(), torch.randn(50, 2).double()
    state = torch.random.get_rng_state()
    fixed = net.at(x)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert isinstance(fixed, FICNN)
    assert fixed.convex_arguments == (0,)
    before = net(x.expand(50, 3), y).detach()
    torch.testing.assert_close(fixed(y), before, rtol=1e-12, atol=1e-12)
    with torch.no_grad():
        for p in net.parameters():
            p.zero_()
        x.zero_()
    torch.testing.assert_close(fixed(y), before, rtol=1e-12, atol=1e-12)
    assert fixed.activation is not net.activation
    assert all(p.requires_grad for p in fixed.parameters())


def test_at_refuses_other_shapes() -> None:
    net = make()
    for bad in (torch.zeros(2).double(), torch.zeros(1, 3).double(), torch.tensor(1.0), None):
        with pytest.raises(NetworkError):
            net.at(bad)  # type: ignore[arg-type]


def test_represents_every_ficnn() -> None:
    """Proposition 2 of the paper: no weights in the x path, gates constantly one."""
    ficnn = FICNN(2, (6, 5), dtype=torch.float64)
    net = PICNN(3, 2, (6, 5), (4, 7), dtype=torch.float64)
    with torch.no_grad():
        for group in (net.x_path, net.gates, net.scales, net.contexts):
            for layer in map(linear, group):
                layer.weight.zero_()
        for gate in (*net.gates, *net.scales):
            linear(gate).bias.fill_(1.0)
        linear(net.contexts[0]).bias.copy_(ficnn.first.bias)
        net.skips[0].load_state_dict({"weight": ficnn.first.weight})
        for i, layer in enumerate(map(linear, ficnn.hidden)):
            net.hidden[i].load_state_dict(layer.state_dict())
            net.skips[i + 1].load_state_dict(ficnn.skips[i].state_dict())
    x, y = torch.randn(20, 3).double(), torch.randn(20, 2).double()
    torch.testing.assert_close(net(x, y), ficnn(y))


def test_represents_every_feed_forward_network() -> None:
    """The inner product of y with the output of a network in x."""
    plain = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 7), nn.ReLU(), nn.Linear(7, 2)).double()
    net = PICNN(3, 2, (6, 5), (4, 7), dtype=torch.float64)
    with torch.no_grad():
        for p in net.parameters():
            p.zero_()
    for i in (0, 1):
        net.x_path[i].load_state_dict(plain[2 * i].state_dict())
    net.scales[2].load_state_dict(plain[4].state_dict())
    net.skips[2].load_state_dict({"weight": torch.ones(1, 2)})
    x, y = torch.randn(20, 3).double(), torch.randn(20, 2).double()
    torch.testing.assert_close(net(x, y), (plain(x) * y).sum(1))


def test_batches_are_not_broadcast() -> None:
    net = make()
    with pytest.raises(NetworkError, match="same batch"):
        net(torch.zeros(1, 3).double(), torch.zeros(4, 2).double())


def test_arguments() -> None:
    with pytest.raises(ArgumentError, match="x_widths"):
        PICNN(3, 2, (4, 4), (4,))
    with pytest.raises(ArgumentError, match="x_activation"):
        PICNN(3, 2, (4,), x_activation="tanh")  # type: ignore[arg-type]


def test_deepcopy_is_independent() -> None:
    net = make()
    twin = copy.deepcopy(net)
    x, y = torch.randn(5, 3).double(), torch.randn(5, 2).double()
    before = net(x, y).detach()
    with torch.no_grad():
        for p in twin.parameters():
            p.add_(1.0)
    torch.testing.assert_close(net(x, y), before, rtol=0, atol=0)
