"""Operators that only move entries around, or choose among them by a pattern that is constant.

The operator itself is applied to the numbers of entries: every number of the result tells where that entry
came from. Number zero is what the operator fills in.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from jensen.program import Name
from jensen.verifier.rules._call import Call, Rule
from jensen.verifier.rules._known import Known, chosen, constant

_MOVED = ("self", "input", "tensors", "src")
"""Arguments whose entries end up in the result."""


def moved(call: Call, fill: Known | None = None, **changes: Any) -> Known | tuple[Known, ...] | None:
    """Move flags as the operator moves numbers; None where that depends on values that are not constant."""
    if "dtype" in call.node.args:
        return None  # a view of the same bits as other numbers
    pool = [constant(0.0) if fill is None else fill]
    count = 1

    def numbered(given: Any) -> Any:
        nonlocal count
        if isinstance(given, (list, tuple)):
            return [numbered(entry) for entry in given]
        known = call.of(given)
        pool.append(known)
        start, count = count, count + known.up.size
        # Float64 is what all operators take, and exact for these numbers.
        return np.arange(start, count, dtype=np.float64).reshape(known.shape)

    args: dict[str, Any] = {**changes}
    for name, given in call.node.args.items():
        if name in _MOVED:
            args[name] = numbered(given)
        elif name not in changes:
            args[name] = _constants(call, given)
            if args[name] is _VARYING:
                return None
    if len(pool) == 1:
        return None  # its result is made of none of them
    found = call.run(args)
    flags = [
        np.concatenate([part.ravel() for part in parts]) for parts in zip(*(map(list, pool)), strict=True)
    ]

    def gathered(numbers: Any) -> Known:
        places = np.asarray(numbers).astype(np.int64)
        if (places != numbers).any() or (places < 0).any() or (places >= count).any():
            raise call.refused("it does not only move entries around")
        return Known(*(flag[places] for flag in flags))

    return tuple(map(gathered, found)) if isinstance(found, list) else gathered(found)


_VARYING = object()


def _constants(call: Call, given: Any) -> Any:
    """Replace names of constants by their numbers, such as indices."""
    if isinstance(given, (list, tuple)):
        parts = [_constants(call, entry) for entry in given]
        return _VARYING if any(part is _VARYING for part in parts) else parts
    if isinstance(given, Name):
        numbers = call.numbers(given)
        return _VARYING if numbers is None else numbers
    return given


def _padded(call: Call) -> Known | tuple[Known, ...] | None:
    if call.given("mode") not in (None, "constant"):
        return moved(call)
    return moved(call, constant(call.number("value", 0.0)), value=0.0)


def _same(call: Call) -> Known | None:
    if call.flag("train") or call.given("other") is not None:
        return None  # random, or a conversion to the type of another tensor
    return call.known("input", "self")


def _picked(call: Call) -> Known:
    return call.part(call.given("a"), call.given("b"))


def _where(call: Call) -> Known | None:
    name = "mask" if call.node.packet == "aten.masked_fill" else "condition"
    mask, other = call.numbers(call.given(name)), call.given("value", "other")
    if mask is None or mask.dtype != np.bool_ or other is None:
        return None
    one, two = call.known("self"), call.of(other)
    parts = [part.broadcast(call.shape) for part in (one, two)]
    return chosen(mask, *(parts[::-1] if name == "mask" else parts))


_MOVES = """view reshape _unsafe_view flatten unflatten permute transpose swapaxes swapdims t numpy_T movedim
    squeeze unsqueeze expand broadcast_to repeat tile slice select narrow index_select index split
    split_with_sizes chunk unsafe_split unsafe_chunk unbind cat concat concatenate stack slice_scatter
    select_scatter flip roll gather diagonal reflection_pad1d reflection_pad2d replication_pad1d
    replication_pad2d tril triu repeat_interleave
    reflection_pad3d replication_pad3d unfold im2col pixel_shuffle pixel_unshuffle upsample_nearest1d
    upsample_nearest2d upsample_nearest3d"""
_SAMES = "contiguous clone alias detach dropout feature_dropout alpha_dropout lift_fresh_copy positive"

RULES: dict[str, Rule] = {
    **dict.fromkeys((f"aten.{name}" for name in _MOVES.split()), moved),
    **dict.fromkeys((f"aten.{name}" for name in _SAMES.split()), _same),
    "aten.to": _same,
    "aten._to_copy": _same,
    "aten.constant_pad_nd": _padded,
    "aten.pad": _padded,
    "aten.where": _where,
    "aten.masked_fill": _where,
    "_operator.getitem": _picked,
}
