"""The ONNX operators that only move elements around."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jensen.network.lowering import _tensor
from jensen.network.lowering._onnx_ops import OnnxCall, OnnxRegistry
from jensen.network.lowering._tensor import Tensor

_FLOATS = (1, 10, 11, 16)
"""ONNX numbers of float, float16, double and bfloat16."""

register = OnnxRegistry()


@register("Concat")
def _concat(call: OnnxCall) -> Tensor:
    values = [call.value(n) for n in range(len(call.inputs))]
    return _tensor.concatenate(values, call.required("axis"))


@register("Slice")
def _slice(call: OnnxCall) -> Tensor:
    t = call.tensor()
    starts, ends = call.ints("starts", 1), call.ints("ends", 2)
    if starts is None or ends is None:
        raise call.unsupported("its bounds are missing")
    axes = call.ints("axes", 3) or list(range(len(starts)))
    steps = call.ints("steps", 4) or [1] * len(starts)
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        size = t.visible_shape[t.axis(axis)]
        # A negative step runs to the very front where the end lies before it; None says so to numpy.
        stop = None if step < 0 and end < -size else end
        t = _tensor.slice_axis(t, axis, start, stop, step)
    return t


@register("Split")
def _split(call: OnnxCall) -> tuple[Tensor, ...]:
    t, axis = call.tensor(), call.attributes.get("axis", 0)
    n = t.visible_shape[t.axis(axis)]
    sizes = call.ints("split", 1)
    if sizes is None:
        each = -(-n // call.n_outputs)
        sizes = [min(each, n - each * i) for i in range(call.n_outputs)]
    stops = np.cumsum(sizes).tolist()
    return tuple(_tensor.slice_axis(t, axis, b - s, b) for b, s in zip(stops, sizes, strict=True))


@register("Gather")
def _gather(call: OnnxCall) -> Tensor:
    positions: NDArray[np.intp] = call.constant(1).astype(np.intp)
    axis = call.attributes.get("axis", 0)
    if positions.ndim == 0:
        return _tensor.select(call.tensor(), axis, int(positions))
    return _tensor.index_axis(call.tensor(), axis, positions)


@register("Flatten")
def _flatten(call: OnnxCall) -> Tensor:
    t = call.tensor()
    axis, shape = call.attributes.get("axis", 1), t.visible_shape
    axis = axis + t.ndim if axis < 0 else axis
    return _tensor.reshape(t, [prod(shape[:axis]), prod(shape[axis:])])


@register("Reshape")
def _reshape(call: OnnxCall) -> Tensor:
    t = call.tensor()
    sizes = call.ints("shape", 1)
    if sizes is None:
        raise call.unsupported("its shape is missing")
    if not call.attributes.get("allowzero", 0):
        sizes = [t.visible_shape[i] if n == 0 else n for i, n in enumerate(sizes)]
    return _tensor.reshape(t, sizes)


@register("Transpose")
def _transpose(call: OnnxCall) -> Tensor:
    t = call.tensor()
    return _tensor.permute(t, call.ints("perm") or list(range(t.ndim))[::-1])


@register("Squeeze")
def _squeeze(call: OnnxCall) -> Tensor:
    return _tensor.squeeze(call.tensor(), call.ints("axes", 1))


@register("Unsqueeze")
def _unsqueeze(call: OnnxCall) -> Tensor:
    t, axes = call.tensor(), call.ints("axes", 1) or []
    rank = t.ndim + len(axes)
    for axis in sorted(a + rank if a < 0 else a for a in axes):
        t = _tensor.unsqueeze(t, axis)
    return t


@register("Expand")
def _expand(call: OnnxCall) -> Tensor:
    t = call.tensor()
    sizes = [int(n) for n in call.constant(1)]
    return _tensor.expand(t, np.broadcast_shapes(t.visible_shape, tuple(sizes)))


@register("Pad")
def _pad(call: OnnxCall) -> Tensor:
    t, pads = call.tensor(), call.ints("pads", 1)
    if pads is None:
        raise call.unsupported("its widths are missing")
    axes = call.ints("axes", 3) or list(range(len(pads) // 2))
    widths = [(0, 0)] * t.ndim
    for i, axis in enumerate(axes):
        widths[t.axis(axis)] = (pads[i], pads[i + len(axes)])
    mode = call.attributes.get("mode", b"constant")
    mode = mode.decode() if isinstance(mode, bytes) else mode
    if mode == "constant":
        fill = call.optional(2)
        value = call.attributes.get("value", 0.0) if fill is None else float(fill.ravel()[0])
        return _tensor.pad(t, widths, value)
    if mode not in ("reflect", "edge", "wrap") or min(min(w) for w in widths) < 0:
        raise call.unsupported(f"padding mode {mode!r}")
    if t.batch is not None and widths[t.batch] != (0, 0):
        raise t.mixing()
    return t.rearrange(lambda n: np.pad(n, widths, mode=mode))  # type: ignore[arg-type]


@register("Identity", "Dropout")
def _identity(call: OnnxCall) -> Any:
    training = call.raw(2)
    if call.operator == "Dropout" and training is not None and bool(training):
        raise call.unsupported("dropout is random in training mode")
    return (call.tensor(), None) if call.n_outputs > 1 else call.tensor()


@register("Cast", "CastLike")
def _cast(call: OnnxCall) -> Tensor:
    if call.operator == "Cast" and call.required("to") not in _FLOATS:
        raise call.unsupported("conversion to anything but a floating-point number is not continuous")
    return call.tensor()


@register("Shape", "Size")
def _shape(call: OnnxCall) -> NDArray[np.int64]:
    shape = np.array(call.tensor().visible_shape, dtype=np.int64)
    if call.operator == "Size":
        return np.array(shape.prod(), dtype=np.int64)
    return shape[call.attributes.get("start", 0) : call.attributes.get("end")]
