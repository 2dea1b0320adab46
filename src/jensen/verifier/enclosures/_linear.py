"""Enclosures of operators that are linear in each of their arguments."""

from __future__ import annotations

from itertools import product
from math import prod
from typing import Any

import numpy as np
from flint import arb, arb_mat

from jensen.verifier.enclosures._balls import (
    Balls,
    Call,
    Registry,
    add,
    array,
    as_balls,
    each,
    matrix_product,
    minus,
    same_samples,
    spread_out,
    summed,
    times,
)

rules = Registry()


def _multiplied(one: Balls, other: Balls) -> Balls:
    """Multiply as `numpy.matmul` does."""
    a = one[None, :] if one.ndim == 1 else one
    b = other[:, None] if other.ndim == 1 else other
    batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    if b.ndim == 2 and a.ndim > 2:
        found = matrix_product(a.reshape(-1, a.shape[-1]), b).reshape(*a.shape[:-1], b.shape[-1])
    else:
        a_all = np.broadcast_to(a, (*batch, *a.shape[-2:])).reshape(-1, *a.shape[-2:])
        b_all = np.broadcast_to(b, (*batch, *b.shape[-2:])).reshape(-1, *b.shape[-2:])
        parts = [matrix_product(x, y) for x, y in zip(a_all, b_all, strict=True)]
        found = np.array(parts, dtype=object).reshape(*batch, a.shape[-2], b.shape[-1])
    if one.ndim == 1:
        found = found[..., 0, :]
    return found[..., 0] if other.ndim == 1 else found


@rules("linear")
def _linear(call: Call) -> Balls:
    found = _multiplied(call.balls("input"), call.balls("weight").T)
    return found if call.get("bias") is None else add(found, call.balls("bias"))


@rules("mm", "matmul", "bmm", "mv", "dot", "vdot")
def _matmul(call: Call) -> Balls:
    return np.asarray(
        _multiplied(call.balls("self"), call.balls("mat2", "other", "vec", "tensor")), dtype=object
    )


@rules("outer")
def _outer(call: Call) -> Balls:
    return times(call.balls("self")[:, None], call.balls("vec2")[None, :])


@rules("addmm", "addmv", "baddbmm")
def _addmm(call: Call) -> Balls:
    found = _multiplied(call.balls("mat1", "mat", "batch1"), call.balls("mat2", "vec", "batch2"))
    return add(times(found, call.number("alpha", 1)), times(call.balls("self"), call.number("beta", 1)))


@rules("addbmm")
def _addbmm(call: Call) -> Balls:
    found = summed(_multiplied(call.balls("batch1"), call.balls("batch2")), (0,), False)
    return add(times(found, call.number("alpha", 1)), times(call.balls("self"), call.number("beta", 1)))


@rules("addcmul")
def _addcmul(call: Call) -> Balls:
    factors = times(call.balls("tensor1"), call.balls("tensor2"))
    return add(call.balls("self"), times(factors, call.number("value", 1)))


@rules("sum", "mean")
def _sum(call: Call) -> Balls:
    given = call.balls("self")
    total = summed(given, call.axes, call.keep)
    return times(total, arb(total.size) / given.size) if call.node.packet == "aten.mean" else total


@rules("cumsum")
def _cumsum(call: Call) -> Balls:
    given = call.balls("self")
    return np.asarray(np.add.accumulate(given, axis=call.args["dim"]) if given.ndim else given, dtype=object)


@rules("trace")
def _trace(call: Call) -> Balls:
    return summed(np.diagonal(call.balls("self")), None, False)


@rules("batch_norm", "_native_batch_norm_legit_no_training", "native_batch_norm")
def _batch_norm(call: Call) -> Balls | tuple[Balls, ...]:
    if call.get("training", False) or call.get("running_mean") is None:
        raise call.refused("it depends on the batch")
    given = call.balls("input")
    channels = (-1, *(1,) * (given.ndim - 2))
    spread = each(lambda v: (v + call.number("eps", 1e-5)).rsqrt(), call.balls("running_var"))
    found = minus(given, call.balls("running_mean").reshape(channels))
    found = times(found, spread.reshape(channels))
    if call.get("weight") is not None:
        found = times(found, call.balls("weight").reshape(channels))
    if call.get("bias") is not None:
        found = add(found, call.balls("bias").reshape(channels))
    return found if call.node.packet == "aten.batch_norm" else (found,)


@rules("layer_norm", "group_norm", "instance_norm", "_fused_rms_norm", "rms_norm")
def _normalised(call: Call) -> Balls | tuple[Balls, ...]:
    """Divide by the deviation, or by the root mean square, of a sample's entries or of a group of them."""
    given, packet = call.balls("self", "input"), call.node.packet.removeprefix("aten.")
    eps, weight, bias = call.get("eps"), call.get("weight"), call.get("bias")
    if eps is None:
        if "rms" in packet:
            raise call.refused("its eps is that of a dtype")
        eps = 1e-5
    if packet in ("group_norm", "instance_norm"):
        if call.get("running_mean") is not None and not call.get("use_input_stats", True):
            raise call.refused("it has statistics of its own")
        groups = call.args["num_groups"] if packet == "group_norm" else given.shape[1]
        parts = given.reshape(given.shape[0], groups, -1)
        affine = (-1, *(1,) * (given.ndim - 2))
    else:
        size = prod(call.args["normalized_shape"])
        parts, affine = given.reshape(*given.shape[: -len(call.args["normalized_shape"])], size), None
    rest = parts
    if "rms" not in packet:
        rest = minus(parts, times(summed(parts, (-1,), True), 1 / arb(parts.shape[-1])))
    spread = times(summed(times(rest, rest), (-1,), True), 1 / arb(parts.shape[-1]))
    found = times(rest, each(lambda v: (v + arb(eps)).rsqrt(), spread)).reshape(given.shape)
    for extra, apply in ((weight, times), (bias, add)):
        if extra is not None:
            balls = as_balls(extra)
            found = apply(found, balls if affine is None else balls.reshape(affine))
    return (found,) if packet.startswith("_") else found


@rules("_linalg_det", "linalg_det", "linalg_slogdet", "_linalg_slogdet")
def _determinant(call: Call) -> Balls | tuple[Balls, ...]:
    given = call.balls("A")
    n = given.shape[-1]
    flat = given.reshape(-1, n, n)
    found = array((arb_mat(n, n, m.ravel().tolist()).det() for m in flat), given.shape[:-2])
    if "slog" in call.node.packet:
        if any(not (v > 0 or v < 0) for v in found.ravel()):
            raise call.refused("a determinant is too close to zero")
        return each(arb.sgn, found), each(lambda v: abs(v).log(), found)
    return (found,) if call.node.packet.startswith("aten._") else found


@rules("conv1d", "conv2d", "conv3d", "convolution")
def _convolution(call: Call) -> Balls:
    """Multiply patches by kernels, group by group."""
    x, w = call.balls("input"), call.balls("weight")
    axes, groups, padding = w.ndim - 2, call.get("groups", 1), call.get("padding", [0])
    if isinstance(padding, str) or x.ndim != w.ndim or call.get("transposed", False):
        raise call.refused("only plain convolutions of a batch are known")
    if same_samples(x):
        x = x[:1]
    stride, dilation = spread_out(call.get("stride", [1]), axes), spread_out(call.get("dilation", [1]), axes)
    margins = [0, 0, *spread_out(padding, axes)]
    padded = np.full([n + 2 * p for n, p in zip(x.shape, margins, strict=True)], arb(0), dtype=object)
    padded[tuple(slice(p, p + n) for n, p in zip(x.shape, margins, strict=True))] = x
    places = call.shape[2:]
    columns = []
    for place in product(*map(range, w.shape[2:])):
        cut = [
            slice(i * d, i * d + s * (n - 1) + 1, s)
            for i, d, s, n in zip(place, dilation, stride, places, strict=True)
        ]
        columns.append(padded[(slice(None), slice(None), *cut)])
    # Batch, channel, kernel position, place.
    patches = np.stack(columns, axis=2).reshape(x.shape[0], groups, -1, prod(places))
    kernels = w.reshape(groups, w.shape[0] // groups, -1)
    found = np.empty((x.shape[0], groups, w.shape[0] // groups, prod(places)), dtype=object)
    for group in range(groups):
        beside = np.concatenate(list(patches[:, group]), axis=1)
        results = matrix_product(kernels[group], beside)
        found[:, group] = results.reshape(len(results), x.shape[0], -1).transpose(1, 0, 2)
    result = np.broadcast_to(found.reshape(x.shape[0], *call.shape[1:]), call.shape)
    if call.get("bias") is None:
        return result
    return add(result, call.balls("bias").reshape(-1, *(1,) * axes))


@rules("conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
def _transposed_convolution(call: Call) -> Balls:
    """Add what every entry puts, by every position of the kernel, at its place in the result."""
    x, w = call.balls("input"), call.balls("weight")
    axes, groups = w.ndim - 2, call.get("groups", 1)
    if x.ndim != w.ndim:
        raise call.refused("only convolutions of a batch are known")
    stride, dilation, padding = (
        spread_out(call.get(name, [default]), axes)
        for name, default in (("stride", 1), ("dilation", 1), ("padding", 0))
    )
    sizes = [n + 2 * p for n, p in zip(call.shape[2:], padding, strict=True)]
    reach = [
        (n - 1) * s + d * (k - 1) + 1
        for n, s, d, k in zip(x.shape[2:], stride, dilation, w.shape[2:], strict=True)
    ]
    whole = [max(size, r) for size, r in zip(sizes, reach, strict=True)]
    result: Any = np.full((*call.shape[:2], *whole), arb(0), dtype=object)
    inner, outer = x.shape[1] // groups, w.shape[1]
    for group in range(groups):
        rows = np.moveaxis(x[:, group * inner : (group + 1) * inner], 1, -1).reshape(-1, inner)
        for place in product(*map(range, w.shape[2:])):
            corner: Any = (slice(group * inner, (group + 1) * inner), slice(None), *place)
            put = matrix_product(rows, w[corner]).reshape(x.shape[0], *x.shape[2:], outer)
            cut = [
                slice(i * d, i * d + s * (n - 1) + 1, s)
                for i, d, s, n in zip(place, dilation, stride, x.shape[2:], strict=True)
            ]
            result[(slice(None), slice(group * outer, (group + 1) * outer), *cut)] += np.moveaxis(put, -1, 1)
    found = result[(..., *(slice(p, p + n) for p, n in zip(padding, call.shape[2:], strict=True)))]
    return found if call.get("bias") is None else add(found, call.balls("bias").reshape(-1, *(1,) * axes))
