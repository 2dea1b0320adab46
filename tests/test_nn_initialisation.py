"""Initial signals keep mean and variance through the depth, for every architecture, map and activation."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from jensen.nn import ACTIVATIONS, CONSTRAINTS, FICNN, PICNN, ConvICNN, NonnegativeLinear, SkipMLP


def preactivations(net: nn.Module, *inputs: Tensor) -> list[Tensor]:
    """What every hidden layer's activation sees, and the output, as (n, samples)."""
    seen: list[Tensor] = []
    activation = net.activation
    assert isinstance(activation, nn.Module)
    handle = activation.register_forward_hook(lambda module, args, out: seen.append(args[0]))
    with torch.no_grad():
        seen.append(net(*inputs)[:, None])
    handle.remove()
    return [z.transpose(0, 1).flatten(1) for z in seen]


@pytest.mark.parametrize("depth", [2, 5, 10])
@pytest.mark.parametrize("size", [(2, 16), (10, 64), (50, 16)])
@pytest.mark.parametrize("skips", [True, False])
def test_ficnn_keeps_mean_and_variance(depth: int, size: tuple[int, int], skips: bool) -> None:
    torch.manual_seed(0)
    d, width = size
    net = FICNN(d, [width] * depth, skips=skips)
    for z in preactivations(net, torch.randn(4000, d))[1:]:
        assert 0.5 < float(z.var(1).mean()) < 2.0
        assert float(z.mean(1).abs().max()) < 0.25


def correlation(z: Tensor) -> float:
    """Mean correlation of two neurons."""
    matrix, n = torch.corrcoef(z), len(z)
    return float((matrix.sum() - n) / (n * (n - 1)))


def test_skips_keep_neurons_apart() -> None:
    """Without them the neurons of a deep layer of nonnegative weights all say the same."""
    torch.manual_seed(0)
    x = torch.randn(2000, 10)
    with_skips = preactivations(FICNN(10, [64] * 10), x)[-2]
    without = preactivations(FICNN(10, [64] * 10, skips=False), x)[-2]
    assert correlation(with_skips) < 0.75
    assert correlation(without) > 0.95


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("constraint", CONSTRAINTS)
def test_every_map_and_activation(activation: str, constraint: str) -> None:
    torch.manual_seed(0)
    # Behind several squares the variance is that of a few rare samples, and no number of them estimates it.
    depth = 2 if activation == "squared_relu" else 4
    net = FICNN(10, [32] * depth, activation, constraint=constraint)
    for z in preactivations(net, torch.randn(4000, 10))[1:]:
        assert 0.4 < float(z.var(1).mean()) < 2.5


def test_weights_do_not_depend_on_the_map() -> None:
    weights = []
    for constraint in CONSTRAINTS:
        torch.manual_seed(0)
        weights.append(
            FICNN(5, (8, 8), constraint=constraint, dtype=torch.float64)(torch.ones(1, 5).double())
        )
    for value in weights[1:]:
        torch.testing.assert_close(value, weights[0])


@pytest.mark.parametrize("skips", [True, False])
def test_convolutions(skips: bool) -> None:
    torch.manual_seed(0)
    net = ConvICNN((3, 12, 12), [16] * 5, stride=(1, 2, 1, 1, 1), skips=skips)
    for z in preactivations(net, torch.randn(64, 3, 12, 12))[1:]:
        assert 0.4 < float(z.var(1).mean()) < 2.5


def test_picnn() -> None:
    torch.manual_seed(0)
    net = PICNN(6, 4, [32] * 6)
    for z in preactivations(net, torch.randn(4000, 6), torch.randn(4000, 4)):
        assert 0.5 < float(z.var(1).mean()) < 2.0


def test_skip_mlp() -> None:
    torch.manual_seed(0)
    net = SkipMLP(10, [64] * 10)
    for z in preactivations(net, torch.randn(4000, 10))[1:-1]:
        assert 0.5 < float(z.square().mean()) < 2.0


def test_layer_alone() -> None:
    torch.manual_seed(0)
    layer = NonnegativeLinear(40, 30)
    z = layer(torch.randn(4000, 40).relu()).detach().T
    assert float((z.var(1) - 1).abs().max()) < 0.3
    assert float(z.mean(1).abs().max()) < 0.2


def test_kinks_in_one_dimension_do_not_meet() -> None:
    torch.manual_seed(0)
    net = FICNN(1, (16,))
    kinks = (-net.first.bias / net.first.weight[:, 0]).detach()
    assert float(kinks.std()) > 0.1


def test_other_initialisation() -> None:
    """The free parameters are drawn as torch draws weights."""
    torch.manual_seed(0)
    net = FICNN(100, (100, 100), initialisation="torch", constraint="clamp")
    raw = net.get_parameter("hidden.0.parametrizations.weight.original").detach()
    assert -0.1 <= float(raw.min()) < -0.09
    assert 0.09 < float(raw.max()) <= 0.1
