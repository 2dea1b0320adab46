"""Enclosures of pools: what every window of a tensor holds, as a mean or a maximum."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from math import ceil, prod
from typing import Any

import numpy as np
from flint import arb

from jensen.verifier.enclosures._balls import Balls, Call, Registry, folded, spread_out, summed

rules = Registry()


def _windows(call: Call, axes: int) -> tuple[list[list[range]], list[list[int]]]:
    """List the positions in every window along every axis, and how long windows are with their padding."""
    sizes, shape = call.balls("self").shape[-axes:], call.shape_of_first[-axes:]
    kernel = spread_out(call.args["kernel_size"], axes)
    stride = spread_out(call.get("stride") or kernel, axes)
    padding, dilation = spread_out(call.get("padding", 0), axes), spread_out(call.get("dilation", 1), axes)
    found, lengths = [], []
    for n, m, k, s, p, d in zip(sizes, shape, kernel, stride, padding, dilation, strict=True):
        starts = [i * s - p for i in range(m)]
        found.append([_inside(range(a, a + k * d, d), n) for a in starts])
        lengths.append([min(a + k, n + p) - a for a in starts])
    return found, lengths


def _inside(window: range, size: int) -> range:
    kept = [i for i in window if 0 <= i < size]
    return range(kept[0], kept[-1] + 1, window.step) if kept else range(0)


def _adaptive(call: Call, axes: int) -> list[list[range]]:
    sizes, shape = call.balls("self").shape[-axes:], call.shape_of_first[-axes:]
    return [
        [range(i * n // m, ceil((i + 1) * n / m)) for i in range(m)]
        for n, m in zip(sizes, shape, strict=True)
    ]


def _pooled(given: Balls, windows: Sequence[Sequence[range]], gather: Callable[[Balls, int], Balls]) -> Balls:
    """Gather what every window holds, which is given with all its entries on the last axis."""
    axes = len(windows)
    places = list(product(*map(enumerate, windows)))
    parts = []
    for number, place in enumerate(places):
        where: Any = (..., *np.ix_(*(list(window) for _, window in place)))
        parts.append(gather(given[where].reshape(*given.shape[:-axes], -1), number))
    stacked = np.stack(parts, axis=-1) if parts else np.empty((*given.shape[:-axes], 0), dtype=object)
    return stacked.reshape(*given.shape[:-axes], *map(len, windows))


@rules("avg_pool1d", "avg_pool2d", "avg_pool3d")
def _mean(call: Call) -> Balls:
    axes = int(call.node.packet[-2])
    windows, lengths = _windows(call, axes)
    override, padded = call.get("divisor_override"), call.get("count_include_pad", True)
    divisors = [
        override or prod(length if padded else len(window) for length, window in place)
        for place in product(*(zip(a, b, strict=True) for a, b in zip(lengths, windows, strict=True)))
    ]
    return _pooled(
        call.balls("self"), windows, lambda held, i: np.asarray(summed(held, (-1,), False) / arb(divisors[i]))
    )


@rules("adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "_adaptive_avg_pool2d")
def _adaptive_mean(call: Call) -> Balls:
    windows = _adaptive(call, int(call.node.packet[-2]))
    return _pooled(
        call.balls("self"), windows, lambda held, _: np.asarray(summed(held, (-1,), False) / held.shape[-1])
    )


def _largest(held: Balls, number: int) -> Balls:
    del number
    return folded(arb.max, held, (-1,), False)


@rules(
    "max_pool1d", "max_pool2d", "max_pool3d", "max_pool1d_with_indices", "max_pool2d_with_indices",
    "max_pool3d_with_indices",
)  # fmt: skip
def _max(call: Call) -> Balls | tuple[Balls, ...]:
    windows, _ = _windows(call, int(call.node.packet.removesuffix("_with_indices")[-2]))
    found = _pooled(call.balls("self"), windows, _largest)
    return (found,) if call.node.packet.endswith("_with_indices") else found


@rules("adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d")
def _adaptive_max(call: Call) -> tuple[Balls, ...]:
    return (_pooled(call.balls("self"), _adaptive(call, int(call.node.packet[-2])), _largest),)
