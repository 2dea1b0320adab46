"""The aten operators that slide windows over a grid: convolutions and pools."""

from __future__ import annotations

from typing import Any

import numpy as np

from jensen.errors import UnsupportedOperatorError
from jensen.network.lowering import _linear, _piecewise, _windows
from jensen.network.lowering._aten import Call, Registry, packet
from jensen.network.lowering._tensor import Tensor

register = Registry()


def _spatial(call: Call) -> int:
    """Read the number of spatial axes, the digit in the operator's name."""
    return int(next(c for c in packet(call.target) if c.isdigit()))


@register("conv1d", "conv2d", "conv3d", "convolution")
def _convolution(call: Call) -> Tensor:
    t, weight = call.tensor("input"), call.constant("weight")
    if call.get("transposed", False):
        raise UnsupportedOperatorError(
            call.target, call.tape.place, "transposed convolutions are not lowered"
        )
    axes = weight.ndim - 2
    kernel = weight.shape[2:]
    stride, dilation = call.ints("stride", axes, 1), call.ints("dilation", axes, 1)
    padding = call.get("padding", 0)
    if padding == "same":
        totals = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        pairs = [(n // 2, n - n // 2) for n in totals]
    elif padding == "valid":
        pairs = [(0, 0)] * axes
    else:
        pairs = [(p, p) for p in call.ints("padding", axes, 0)]
    windows = _windows.sliding(t.shape[t.ndim - axes :], kernel, stride, pairs, dilation)
    return _linear.convolution(t, weight, call.optional("bias"), windows, call.get("groups", 1))


def _pool_windows(call: Call) -> tuple[Tensor, _windows.Windows, list[int], list[int], list[int]]:
    t, axes = call.tensor(), _spatial(call)
    kernel = call.ints("kernel_size", axes, 1)
    stride = kernel if call.get("stride") in (None, []) else call.ints("stride", axes, 1)
    dilation = call.ints("dilation", axes, 1)
    padding = [(p, p) for p in call.ints("padding", axes, 0)]
    space = t.shape[t.ndim - axes :]
    windows = _windows.sliding(
        space, kernel, stride, padding, dilation, ceil_mode=bool(call.get("ceil_mode", False))
    )
    return t, windows, kernel, stride, dilation


@register("max_pool1d", "max_pool2d", "max_pool3d", "max_pool2d_with_indices", "max_pool1d_with_indices")
def _max_pool(call: Call) -> Any:
    t, windows, *_ = _pool_windows(call)
    result = _piecewise.max_pool(t, windows)
    return (result, None) if "indices" in call.target else result


@register("avg_pool1d", "avg_pool2d", "avg_pool3d")
def _avg_pool(call: Call) -> Tensor:
    t, windows, kernel, stride, dilation = _pool_windows(call)
    if (override := call.get("divisor_override")) is not None:
        divisors = np.full(len(windows.table()), float(override))
    elif call.get("count_include_pad", True):
        divisors = _windows.padded_members(windows, kernel, stride, dilation)
    else:
        divisors = _windows.members(windows)
    return _linear.average_pool(t, windows, divisors)


def _adaptive_windows(call: Call) -> tuple[Tensor, _windows.Windows]:
    t, axes = call.tensor(), _spatial(call)
    space = t.shape[t.ndim - axes :]
    sizes = call.get("output_size")
    sizes = [sizes] * axes if isinstance(sizes, int) else sizes
    targets = [n if m is None else m for m, n in zip(sizes, space, strict=True)]
    return t, _windows.adaptive(space, targets)


@register("adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "_adaptive_avg_pool2d")
def _adaptive_avg_pool(call: Call) -> Tensor:
    t, windows = _adaptive_windows(call)
    return _linear.average_pool(t, windows, _windows.members(windows))


@register("adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d")
def _adaptive_max_pool(call: Call) -> Any:
    t, windows = _adaptive_windows(call)
    return _piecewise.max_pool(t, windows), None
