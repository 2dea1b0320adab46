"""Training losses by name; all but the squared, the logistic and the cross-entropy are piecewise linear."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from torch import Tensor
from torch.nn import functional

Loss: TypeAlias = Callable[[Tensor, Tensor], Tensor]

EPSILON = 0.125
"""Half the width of the tube of "epsilon_insensitive": a power of two, so that nothing rounds."""
QUANTILE = 0.875
"""The quantile that "pinball" estimates."""


def _aligned(output: Tensor, target: Tensor) -> Tensor:
    """Give an output of shape (n, 1) the shape of its targets, instead of broadcasting to (n, n)."""
    return output if output.shape == target.shape else output.reshape(target.shape)


def _absolute(output: Tensor, target: Tensor) -> Tensor:
    return (_aligned(output, target) - target).abs().mean()


def _squared(output: Tensor, target: Tensor) -> Tensor:
    return (_aligned(output, target) - target).square().mean()


def _hinge(output: Tensor, target: Tensor) -> Tensor:
    return (1 - target * _aligned(output, target)).relu().mean()


def _logistic(output: Tensor, target: Tensor) -> Tensor:
    return functional.softplus(-target * _aligned(output, target)).mean()


def _epsilon_insensitive(output: Tensor, target: Tensor) -> Tensor:
    gap = _aligned(output, target) - target
    return ((gap - EPSILON).relu() + (-gap - EPSILON).relu()).mean()


def _pinball(output: Tensor, target: Tensor) -> Tensor:
    gap = target - _aligned(output, target)
    return (QUANTILE * gap.relu() + (1 - QUANTILE) * (-gap).relu()).mean()


def _multiclass_hinge(output: Tensor, target: Tensor) -> Tensor:
    right = output.gather(1, target[:, None])
    margins = 1 - functional.one_hot(target, output.shape[1]).to(output.dtype)
    return ((output + margins).amax(1) - right.squeeze(1)).mean()


LOSSES: dict[str, Loss] = {
    "absolute": _absolute,
    "squared": _squared,
    "hinge": _hinge,
    "logistic": _logistic,
    "epsilon_insensitive": _epsilon_insensitive,
    "pinball": _pinball,
    "multiclass_hinge": _multiclass_hinge,
    "cross_entropy": functional.cross_entropy,
}
"""Means over samples of a loss of (output, target). "hinge" and "logistic" take targets -1 and 1,
"multiclass_hinge" and "cross_entropy" the numbers of classes."""
