"""Sliding windows of convolutions and pools: which input positions every output position reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, prod

import numpy as np
from numpy.typing import NDArray

from jensen.errors import NetworkError
from jensen.network._relu_network import FloatArray

MAX_TAPS = 1 << 27
"""The windows of a convolution or pool may not read more positions than this, one channel's together."""


@dataclass(frozen=True, eq=False)
class Windows:
    """Windows over a grid of positions.

    Attributes
    ----------
    in_shape, out_shape : tuple of int
    axes : tuple of (out, taps) int arrays
        For every spatial axis, the input positions that each output position reads; -1 outside.
    paddings : tuple of (int, int)
    """

    in_shape: tuple[int, ...]
    out_shape: tuple[int, ...]
    axes: tuple[NDArray[np.intp], ...]
    paddings: tuple[tuple[int, int], ...]

    def table(self) -> NDArray[np.intp]:
        """Flat input positions (outputs, taps) of every output position in C order; -1 outside."""
        dims = len(self.axes)
        flat = np.zeros((1,) * (2 * dims), dtype=np.intp)
        outside = np.zeros((1,) * (2 * dims), dtype=bool)
        for d, positions in enumerate(self.axes):
            shape = [1] * (2 * dims)
            shape[d], shape[dims + d] = positions.shape
            grid = positions.reshape(shape)
            flat = flat * self.in_shape[d] + grid
            outside = outside | (grid < 0)
        return np.where(outside, -1, flat).reshape(prod(self.out_shape), -1)

    @property
    def overlap(self) -> bool:
        """Whether windows share input positions."""
        return any(bool(np.bincount(p[p >= 0]).max(initial=0) > 1) for p in self.axes)


def sliding(
    in_shape: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[tuple[int, int]],
    dilation: Sequence[int],
    *,
    ceil_mode: bool = False,
) -> Windows:
    """Windows of a convolution or pool; `ceil_mode` adds one that starts inside but ends outside."""
    axes, taps = [], 1
    for n, k, s, (before, after), d in zip(in_shape, kernel, stride, padding, dilation, strict=True):
        if min(k, s, d) < 1:
            raise NetworkError(f"kernel {k}, stride {s} and dilation {d} must be positive")
        free = n + before + after - d * (k - 1) - 1
        if free < 0:
            raise NetworkError(
                f"a window of {k} (dilation {d}) exceeds a padded axis of {n + before + after}"
            )
        count = free // s + 1
        if ceil_mode:
            count = ceil(free / s) + 1
            if (count - 1) * s >= n + before:
                count -= 1
        taps *= count * k
        if taps > MAX_TAPS:
            raise NetworkError(f"{count} windows of {k} positions on an axis are too many")
        positions = np.arange(count)[:, None] * s + np.arange(k)[None, :] * d - before
        axes.append(np.where((positions < 0) | (positions >= n), -1, positions))
    return Windows(tuple(in_shape), tuple(len(a) for a in axes), tuple(axes), tuple(padding))


def adaptive(in_shape: Sequence[int], out_shape: Sequence[int]) -> Windows:
    """Windows of an adaptive pool: output i reads floor(i n / m) up to ceil((i + 1) n / m)."""
    axes = []
    for n, m in zip(in_shape, out_shape, strict=True):
        starts = [i * n // m for i in range(m)]
        stops = [-(-(i + 1) * n // m) for i in range(m)]
        widest = max(stop - start for start, stop in zip(starts, stops, strict=True))
        positions = np.array(starts)[:, None] + np.arange(widest)[None, :]
        axes.append(np.where(positions < np.array(stops)[:, None], positions, -1))
    return Windows(tuple(in_shape), tuple(out_shape), tuple(axes), ((0, 0),) * len(axes))


def members(windows: Windows) -> FloatArray:
    """Count the input positions inside each window."""
    counts: FloatArray = (windows.table() >= 0).sum(axis=1).astype(np.float64)
    return counts


def padded_members(
    windows: Windows, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]
) -> FloatArray:
    """Count the positions of each window inside the input or its padding."""
    sizes = np.ones((1,))
    for n, k, s, d, (before, after), positions in zip(
        windows.in_shape, kernel, stride, dilation, windows.paddings, windows.axes, strict=True
    ):
        grid = np.arange(len(positions))[:, None] * s + np.arange(k)[None, :] * d
        inside = (grid < n + before + after).sum(axis=1).astype(np.float64)
        sizes = (sizes[:, None] * inside[None, :]).ravel()
    return sizes
