"""Operators that only move entries around, or choose among them, by a pattern that is known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from jensen.calculus._arithmetic import Count, product, summed, total
from jensen.calculus._call import Call, Registry, Result
from jensen.calculus._value import ZERO, Bits, Value, chosen, constant
from jensen.program._evaluate import applied

rules = Registry()

_PLAIN = """view reshape _unsafe_view _reshape_copy view_copy flatten unflatten permute transpose swapaxes
    swapdims t numpy_T movedim squeeze unsqueeze expand broadcast_to expand_copy expand_as view_as
    reshape_as repeat tile slice slice_copy select select_copy narrow index_select index split
    split_with_sizes chunk unsafe_split unsafe_chunk split_copy unbind cat concat concatenate stack
    flip roll gather diagonal reflection_pad1d reflection_pad2d
    replication_pad1d replication_pad2d reflection_pad3d replication_pad3d unfold im2col diag diag_embed
    upsample_nearest1d upsample_nearest2d upsample_nearest3d pixel_shuffle pixel_unshuffle channel_shuffle
    rot90 fliplr flipud embedding tril triu repeat_interleave as_strided_copy"""
_WRITTEN = "slice_scatter select_scatter copy copy_"
"""What writes into another tensor, and so into its dtype."""
_SAME = """contiguous clone alias detach detach_ dropout dropout_ feature_dropout alpha_dropout
    lift_fresh_copy positive identity"""


def run(call: Call, values: dict[str, Any]) -> Any:
    """Call the operator on tensors."""
    with torch.no_grad():
        return applied(call.node, {**call.args, **values})


def _tensors(given: Any, part: str) -> Any:
    if isinstance(given, Value):
        # Bits that stand where an operator fills in zeros must say "zero".
        nothing = np.zeros(given.shape, dtype=np.int8)
        logs = nothing if given.logs is None else given.logs
        bits = {"curvature": given.curvature, "sign": given.sign ^ ZERO, "logs": logs}[part]
        return torch.from_numpy(np.array(bits, dtype=np.float32))
    if isinstance(given, np.ndarray):
        return torch.tensor(given)
    if isinstance(given, (list, tuple)):
        return [_tensors(entry, part) for entry in given]
    return given


def _bits(tensor: torch.Tensor) -> Bits:
    return tensor.numpy().astype(np.int8)


def move(call: Call, **changes: Any) -> Result:
    """Move signs and curvatures as the operator moves numbers."""
    args = {**call.args, **changes}
    if any(_holds_value(args.get(name)) for name in ("index", "indices", "repeats", "mask")):
        return call.nothing_known()  # where entries go depends on other values
    kinds = {key: _described(v) if key in _HOLDERS else v for key, v in args.items()}
    signs = run(call, {key: _tensors(v, "sign") for key, v in kinds.items()})
    bends = run(call, {key: _tensors(v, "curvature") for key, v in kinds.items()})
    logs = None
    if any(value.logs is not None for value in call.values):
        logs = run(call, {key: _tensors(v, "logs") for key, v in kinds.items()})
    if isinstance(signs, torch.Tensor):
        return Value(_bits(signs) ^ ZERO, _bits(bends), None if logs is None else _bits(logs))
    parts = zip(signs, bends, [None] * len(signs) if logs is None else logs, strict=True)
    return tuple(
        Value(_bits(s) ^ ZERO, _bits(b), None if claims is None else _bits(claims)) for s, b, claims in parts
    )


_HOLDERS = ("self", "src", "input", "tensors", "other", "source", "values", "value")
"""Arguments whose numbers end up in the result, even where they are integers."""


def _described(given: Any) -> Any:
    if isinstance(given, (list, tuple)):
        return [_described(entry) for entry in given]
    return constant(given) if isinstance(given, np.ndarray) else given


def _holds_value(given: Any) -> bool:
    return any(isinstance(entry, Value) for entry in (given if isinstance(given, (list, tuple)) else [given]))


@rules(*_PLAIN.split())
def _move(call: Call) -> Result:
    return move(call)


@rules(*_WRITTEN.split())
def _write(call: Call) -> Result:
    return move(call) if isinstance(call.args["self"], Value) else call.nothing_known()


@rules("index_put", "_unsafe_index_put")
def _put(call: Call) -> Result:
    places = call.args.get("indices")
    if not isinstance(call.args["self"], Value) or _holds_value(places):
        return call.nothing_known()
    if call.get("accumulate", False):
        return added(call, "values")
    ones = torch.ones(call.value("values").shape, dtype=torch.float64)
    often = _add_up(call, "values", {"accumulate": True})(ones)
    # Torch does not say what it writes where a place is named twice.
    return move(call) if (often < 1.5).all() else call.nothing_known()


@rules("scatter_add", "index_add")
def _added(call: Call) -> Result:
    if not isinstance(call.args["self"], Value) or _holds_value(call.args["index"]):
        return call.nothing_known()
    return added(call, "src" if "src" in call.args else "source")


def added(call: Call, source: str) -> Value:
    """Add the entries of one argument to places of another."""
    add = _add_up(call, source, {"alpha": 1} if call.node.packet == "aten.index_add" else {})
    scaled = product(call.value(source), constant(call.get("alpha", 1)))
    return total(call.value(), summed(scaled, lambda flags: add(torch.from_numpy(flags))))


def _add_up(call: Call, source: str, changes: dict[str, Any]) -> Callable[[torch.Tensor], Count]:
    rest = {key: _tensors(value, "sign") for key, value in call.args.items()}
    rest |= {"self": torch.zeros(call.value().shape, dtype=torch.float64), **changes}
    return lambda entries: np.asarray(run(call, {**rest, source: entries}).numpy())


@rules(*_SAME.split())
def _same(call: Call) -> Result:
    if call.get("train", False):
        return call.nothing_known()
    return call.value("input" if "input" in call.args else "self")


@rules("native_dropout")
def _native_dropout(call: Call) -> Result:
    return call.nothing_known() if call.get("train", False) else (call.value("input"), None)


@rules("to", "_to_copy", "type_as", "_to_dtype")
def _to(call: Call) -> Result:
    if "other" in call.args:  # which may hold integers
        return call.nothing_known()
    return call.value()


@rules("constant_pad_nd", "pad")
def _pad(call: Call) -> Result:
    if call.get("mode", "constant") != "constant":
        return move(call)
    fill = int(constant(float(call.get("value", 0.0))).sign)
    value = call.value()
    moved = move(call, self=Value(value.sign ^ fill ^ ZERO, value.curvature, value.logs), value=0)
    assert isinstance(moved, Value)
    return Value(moved.sign ^ fill ^ ZERO, moved.curvature, moved.logs)


@rules("zeros_like", "ones_like", "full_like", "new_zeros", "new_ones", "new_full")
def _filled(call: Call) -> Result:
    name = call.node.packet
    number = 0.0 if "zeros" in name else 1.0 if "ones" in name else float(call.get("fill_value"))
    return constant(number).broadcast(tuple(call.node.shape))  # type: ignore[arg-type]


@rules("where")
def _where(call: Call) -> Result:
    condition = call.args.get("condition")
    if not isinstance(condition, np.ndarray) or "other" not in call.args:
        return call.nothing_known()
    a, b = call.value("self"), call.value("other")
    return chosen(condition, a, b)


@rules("masked_fill")
def _masked_fill(call: Call) -> Result:
    mask = call.args["mask"]
    if not isinstance(mask, np.ndarray):
        return call.nothing_known()
    a, b = call.value("self"), call.value("value")
    return chosen(mask, b, a)
