"""Convolutional modules: tapes, repair and training, with kernels that stay shared."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import jensen
from jensen.nn import ConvICNN
from jensen.training._tape import has_tape, tape

UNIT = jensen.Box(0.0, 1.0)


def normed(*layers: nn.Module) -> nn.Sequential:
    """Give batch normalisations statistics and weights of both signs."""
    net = nn.Sequential(*layers)
    for part in net.modules():
        if isinstance(part, (nn.BatchNorm1d, nn.BatchNorm2d)):
            assert part.running_mean is not None
            assert part.running_var is not None
            with torch.no_grad():
                part.running_mean.normal_()
                part.running_var.uniform_(0.5, 2.0)
                part.weight.normal_()
                part.bias.normal_()
    return net


def shaped(shape: tuple[int, ...], *layers: nn.Module) -> nn.Sequential:
    return normed(nn.Unflatten(1, shape), *layers).double().eval()


MODULES: dict[str, Any] = {
    "conv2d": lambda: shaped(
        (2, 5, 4), nn.Conv2d(2, 3, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(3, 2, (2, 1), bias=False),
        nn.LeakyReLU(0.25), nn.Flatten(), nn.Linear(2 * 2 * 2, 1),
    ),
    "conv1d": lambda: shaped(
        (2, 9), nn.Conv1d(2, 4, 3, dilation=2, padding=1, groups=2), nn.ReLU(), nn.AvgPool1d(2),
        nn.Conv1d(4, 2, 3, padding="same"), nn.ReLU(), nn.Flatten(), nn.Linear(6, 1, bias=False),
    ),
    "norms": lambda: shaped(
        (2, 4, 4), nn.BatchNorm2d(2), nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(),
        nn.BatchNorm2d(4), nn.AvgPool2d(2, padding=1, stride=2), nn.Conv2d(4, 2, 2, groups=2), nn.AvgPool2d(2),
        nn.BatchNorm2d(2), nn.ReLU(), nn.Dropout(), nn.Flatten(), nn.BatchNorm1d(2), nn.Linear(2, 3),
        nn.BatchNorm1d(3), nn.ReLU(), nn.Linear(3, 1),
    ),
    "flattened_norm": lambda: shaped(
        (2, 3, 3), nn.Conv2d(2, 2, 2), nn.ReLU(), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3), nn.ReLU(),
        nn.Linear(3, 1),
    ),
    "adaptive": lambda: shaped(
        (1, 4, 6), nn.Conv2d(1, 3, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d((2, None)),
        nn.Conv2d(3, 3, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 1),
    ),
    "pooled_output": lambda: shaped((1, 4, 4), nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Conv2d(2, 1, 1), nn.AvgPool2d(2)),
    "icnn": lambda: ConvICNN((2, 5, 4), (3, 2), stride=(1, 2)).double(),
    "icnn_mean": lambda: ConvICNN((1, 4, 4), (3, 2), "leaky_relu", head="mean").double(),
    "icnn_bare": lambda: nn.Sequential(nn.Unflatten(1, (1, 4, 4)), ConvICNN((1, 4, 4), (3, 2), skips=False)).double(),
    "norm_between_linear": lambda: normed(
        nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.BatchNorm1d(4), nn.Linear(4, 1)
    ).double().eval(),
}  # fmt: skip


def by_value(module: nn.Module, x: torch.Tensor) -> torch.Tensor:
    shape = module.input_shape if isinstance(module, ConvICNN) else x.shape[1:]
    value: torch.Tensor = module(x.reshape(-1, *shape)).reshape(-1)
    return value


@pytest.mark.parametrize("name", MODULES)
def test_tape_is_the_module(name: str) -> None:
    torch.manual_seed(0)
    module = MODULES[name]()
    assert has_tape(module)
    network = tape(module).network()
    x = torch.randn(6, network.input_size, dtype=torch.float64, requires_grad=True)
    expected = by_value(module, x)
    np.testing.assert_allclose(network(x.detach().numpy()), expected.detach().numpy(), atol=1e-12)
    (gradient,) = torch.autograd.grad(expected.sum(), x)
    z = tape(module).preactivations(x)
    for ours, theirs in zip(z, network.preactivations(x.detach().numpy()), strict=True):
        np.testing.assert_allclose(ours.detach().numpy(), theirs, atol=1e-12)
    backward = tape(module).backward(tape(module).slopes(z))
    np.testing.assert_allclose(backward[0].detach().numpy(), gradient.numpy(), atol=1e-12)
    for ours, theirs in zip(
        backward, network.backward([s.numpy() for s in tape(module).slopes(z)]), strict=True
    ):
        np.testing.assert_allclose(ours.detach().numpy(), theirs, atol=1e-12)
    for p in module.parameters():
        assert all(
            g is None or bool(g.isfinite().all())
            for g in torch.autograd.grad(backward[1].sum(), p, allow_unused=True, retain_graph=True)
        )
