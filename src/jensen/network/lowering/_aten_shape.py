"""The aten operators that only move elements around."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import torch

from jensen.errors import UnsupportedOperatorError
from jensen.network.lowering import _tensor
from jensen.network.lowering._aten import Call, Registry
from jensen.network.lowering._tensor import Tensor

register = Registry()


@register(
    "contiguous", "clone", "alias", "detach", "detach_", "dropout", "dropout_", "feature_dropout",
    "alpha_dropout", "lift_fresh_copy", "native_dropout", "positive", "identity",
)  # fmt: skip
def _identity(call: Call) -> Any:
    if call.get("train", False):
        raise UnsupportedOperatorError(call.target, call.tape.place, "dropout is random in training mode")
    value = call.tensor("input" if "input" in call.args else "self")
    return (value, None) if "native" in call.target else value


@register("to", "_to_copy", "type_as", "_to_dtype")
def _to(call: Call) -> Tensor:
    dtype = call.get("dtype")
    if isinstance(dtype, torch.dtype) and not dtype.is_floating_point:
        raise UnsupportedOperatorError(
            call.target, call.tape.place, f"conversion to {dtype} is not continuous"
        )
    return call.tensor()


@register("flatten")
def _flatten(call: Call) -> Tensor:
    t = call.tensor()
    if t.ndim == 0:
        return _tensor.reshape(t, [1])
    start, end = t.axis(call.get("start_dim", 0)), t.axis(call.get("end_dim", -1))
    shape = t.visible_shape
    return _tensor.reshape(t, [*shape[:start], prod(shape[start : end + 1]), *shape[end + 1 :]])


@register("view", "reshape", "_unsafe_view", "_reshape_copy", "view_copy")
def _reshape(call: Call) -> Tensor:
    sizes = call.get("shape", call.get("size", []))
    return _tensor.reshape(call.tensor(), sizes)


@register("unflatten")
def _unflatten(call: Call) -> Tensor:
    t = call.tensor()
    axis, shape = t.axis(call.args["dim"]), t.visible_shape
    sizes = list(call.args["sizes"])
    if -1 in sizes:
        known = prod(n for n in sizes if n != -1)
        sizes[sizes.index(-1)] = shape[axis] // max(known, 1)
    return _tensor.reshape(t, [*shape[:axis], *sizes, *shape[axis + 1 :]])


@register("permute")
def _permute(call: Call) -> Tensor:
    return _tensor.permute(call.tensor(), call.args["dims"])


@register("transpose", "swapaxes", "swapdims")
def _transpose(call: Call) -> Tensor:
    t = call.tensor()
    names = ("dim0", "dim1") if "dim0" in call.args else ("axis0", "axis1")
    a, b = t.axis(call.args[names[0]]), t.axis(call.args[names[1]])
    order = list(range(t.ndim))
    order[a], order[b] = b, a
    return _tensor.permute(t, order)


@register("t", "numpy_T")
def _t(call: Call) -> Tensor:
    t = call.tensor()
    return _tensor.permute(t, range(t.ndim)[::-1])


@register("movedim")
def _movedim(call: Call) -> Tensor:
    t = call.tensor()
    source, target = call.args["source"], call.args["destination"]
    order = np.moveaxis(np.empty(range(1, t.ndim + 1)), source, target).shape
    return _tensor.permute(t, [n - 1 for n in order])


@register("squeeze")
def _squeeze(call: Call) -> Tensor:
    return _tensor.squeeze(call.tensor(), call.axes())


@register("unsqueeze")
def _unsqueeze(call: Call) -> Tensor:
    return _tensor.unsqueeze(call.tensor(), call.args["dim"])


@register("expand", "broadcast_to", "expand_copy")
def _expand(call: Call) -> Tensor:
    return _tensor.expand(call.tensor(), call.args["size"])


@register("expand_as", "view_as", "reshape_as")
def _like(call: Call) -> Tensor:
    other = call.args["other"]
    sizes = other.visible_shape if isinstance(other, Tensor) else tuple(other.shape)
    if "expand" in call.target:
        return _tensor.expand(call.tensor(), sizes)
    return _tensor.reshape(call.tensor(), sizes)


@register("repeat", "tile")
def _repeat(call: Call) -> Tensor:
    t = call.tensor()
    times = list(call.args["repeats" if "repeats" in call.args else "dims"])
    times = [1] * (t.ndim - len(times)) + times
    for _ in range(len(times) - t.ndim):
        t = _tensor.unsqueeze(t, 0)
    for axis, count in enumerate(times):
        if count != 1:
            t = _tensor.concatenate([t] * count, axis)
    return t


@register("slice", "slice_copy")
def _slice(call: Call) -> Tensor:
    axis = call.get("dim", 0)
    return _tensor.slice_axis(call.tensor(), axis, call.get("start"), call.get("end"), call.get("step", 1))


@register("select", "select_copy")
def _select(call: Call) -> Tensor:
    return _tensor.select(call.tensor(), call.args["dim"], call.args["index"])


@register("narrow")
def _narrow(call: Call) -> Tensor:
    t = call.tensor()
    start = call.args["start"]
    start = start + t.visible_shape[t.axis(call.args["dim"])] if start < 0 else start
    return _tensor.slice_axis(t, call.args["dim"], start, start + call.args["length"])


@register("index_select")
def _index_select(call: Call) -> Tensor:
    return _tensor.index_axis(
        call.tensor(), call.args["dim"], np.atleast_1d(_positions(call, call.args["index"]))
    )


@register("index")
def _index(call: Call) -> Tensor:
    t = call.tensor()
    indices = [(axis, index) for axis, index in enumerate(call.args["indices"]) if index is not None]
    if not indices:
        return t
    if len(indices) == 1 and indices[0][1].dtype != torch.bool:
        return _tensor.index_axis(t, indices[0][0], _positions(call, indices[0][1]))
    arrays = {axis: index.cpu().numpy() for axis, index in indices if isinstance(index, torch.Tensor)}
    if len(arrays) != len(indices) or list(arrays) != list(range(min(arrays), max(arrays) + 1)):
        raise UnsupportedOperatorError(
            call.target, call.tape.place, "only adjacent constant indices can be lowered"
        )
    first = min(arrays)
    if t.batch is not None and t.batch >= first:
        raise t.mixing()
    key = (slice(None),) * first + tuple(arrays.values())
    return t.rearrange(lambda n: n[key])


def _positions(call: Call, index: Any) -> Any:
    if isinstance(index, Tensor):
        raise UnsupportedOperatorError(call.target, call.tape.place, "the index depends on the input")
    return index.cpu().numpy().astype(np.intp)


@register("split", "split_with_sizes", "chunk", "unsafe_split", "unsafe_chunk", "split_copy")
def _split(call: Call) -> tuple[Tensor, ...]:
    t, axis = call.tensor(), call.get("dim", 0)
    n = t.visible_shape[t.axis(axis)]
    sizes = call.get("split_size", call.get("split_sizes"))
    if "chunks" in call.args:
        sizes = -(-n // call.args["chunks"])
    if isinstance(sizes, int):
        sizes = [min(sizes, n - start) for start in range(0, n, sizes)]
    stops = np.cumsum(sizes).tolist()
    return tuple(_tensor.slice_axis(t, axis, b - s, b) for b, s in zip(stops, sizes, strict=True))


@register("unbind")
def _unbind(call: Call) -> tuple[Tensor, ...]:
    t, axis = call.tensor(), call.get("dim", 0)
    return tuple(_tensor.select(t, axis, i) for i in range(t.shape[t.feature_axis(axis)]))


@register("cat", "concat", "concatenate")
def _cat(call: Call) -> Tensor:
    return _tensor.concatenate([call.convert(v) for v in call.args["tensors"]], call.get("dim", 0))


@register("stack")
def _stack(call: Call) -> Tensor:
    values, axis = [call.convert(v) for v in call.args["tensors"]], call.get("dim", 0)
    return _tensor.concatenate(
        [_tensor.unsqueeze(v, axis) if isinstance(v, Tensor) else np.expand_dims(v, axis) for v in values],
        axis,
    )


@register("slice_scatter", "select_scatter")
def _scatter(call: Call) -> Tensor:
    t = call.value("self" if "self" in call.args else "input")
    source = call.value("src")
    like = t if isinstance(t, Tensor) else source
    assert isinstance(like, Tensor)
    axis = like.feature_axis(call.get("dim", 0))
    if "index" in call.args:
        index = int(call.args["index"])
        cut = slice(index, index + 1 or None)
        source = (
            _tensor.unsqueeze(source, axis) if isinstance(source, Tensor) else np.expand_dims(source, axis)
        )
    else:
        cut = slice(call.get("start"), call.get("end"), call.get("step", 1))
    base = t if isinstance(t, Tensor) else _tensor.as_tensor(t, like)
    return _tensor.replace(base, source, (slice(None),) * axis + (cut,))


@register("flip")
def _flip(call: Call) -> Tensor:
    t = call.tensor()
    axes = [t.feature_axis(a) for a in call.args["dims"]]
    return t.rearrange(lambda n: np.flip(n, tuple(axes)))


@register("pad", "constant_pad_nd")
def _pad(call: Call) -> Tensor:
    t, widths = call.tensor(), call.args["pad"]
    pairs = [(widths[i], widths[i + 1]) for i in range(0, len(widths), 2)][::-1]
    full = [(0, 0)] * (t.ndim - len(pairs)) + pairs
    mode = call.get("mode", "constant")
    if mode == "constant":
        return _tensor.pad(t, full, float(call.convert(call.get("value", 0.0))))  # type: ignore[arg-type]
    if t.batch is not None and full[t.batch] != (0, 0):
        raise t.mixing()
    numpy_mode = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}.get(mode)
    if numpy_mode is None or min(min(pair) for pair in full) < 0:
        raise UnsupportedOperatorError(call.target, call.tape.place, f"padding mode {mode!r}")
    return t.rearrange(lambda n: np.pad(n, full, mode=numpy_mode))  # type: ignore[call-overload]


@register("reflection_pad1d", "reflection_pad2d", "replication_pad1d", "replication_pad2d")
def _edge_pad(call: Call) -> Tensor:
    mode = "reflect" if "reflection" in call.target else "replicate"
    args = {"self": call.args["self"], "pad": call.args["padding"], "mode": mode}
    padded: Tensor = _pad(Call(call.target, args, call.tape, call.dtype))
    return padded
