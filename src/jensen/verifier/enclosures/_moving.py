"""Enclosures of operators that only move entries around, by a pattern that is constant.

The operator itself is applied, by torch, to the numbers of entries: every number of the result tells which
entry it came from. Number zero is what the operator fills in.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from flint import arb

from jensen.verifier.enclosures._balls import Balls, Call, Registry, array, as_balls, times

rules = Registry()

_MOVED = ("self", "input", "tensors", "src")
"""Arguments whose entries end up in the result."""


def moved(call: Call, fill: arb | None = None, **changes: Any) -> Balls | tuple[Balls, ...]:
    """Move balls as the operator moves numbers."""
    import torch

    from jensen.program._evaluate import applied

    if "dtype" in call.args:
        raise call.refused("it reads the bits of numbers as other numbers")
    pool: list[arb] = [arb(0) if fill is None else fill]

    def numbered(given: Any) -> Any:
        if isinstance(given, (list, tuple)):
            return [numbered(entry) for entry in given]
        if given is None:
            return given
        balls = as_balls(given)
        start = len(pool)
        pool.extend(balls.ravel())
        # Float64 is exact for these numbers.
        return torch.arange(start, len(pool), dtype=torch.float64).reshape(balls.shape)

    def tensor(given: Any) -> Any:
        if isinstance(given, (list, tuple)):
            return [tensor(entry) for entry in given]
        return torch.tensor(given) if isinstance(given, np.ndarray) else given

    args = {
        name: numbered(v) if name in _MOVED else tensor(_places(call, v)) for name, v in call.args.items()
    }
    with torch.no_grad():
        found = applied(call.node, {**args, **changes})

    def gathered(numbers: Any) -> Balls:
        places = numbers.numpy()
        return array((pool[int(i)] for i in places.ravel().tolist()), places.shape)

    return tuple(map(gathered, found)) if isinstance(found, (list, tuple)) else gathered(found)


def _places(call: Call, given: Any) -> Any:
    """Return indices and masks, which must be constants."""
    for entry in given if isinstance(given, (list, tuple)) else [given]:
        if isinstance(entry, np.ndarray) and entry.dtype == object:
            raise call.refused("where entries go depends on other values")
    return given


MOVES = """view reshape _unsafe_view _reshape_copy view_copy flatten unflatten permute transpose swapaxes
    swapdims t numpy_T movedim squeeze unsqueeze expand broadcast_to expand_copy repeat tile slice slice_copy
    select select_copy narrow index_select index _unsafe_index split split_with_sizes chunk unsafe_split
    unsafe_chunk split_copy unbind cat concat concatenate stack flip roll gather diagonal reflection_pad1d
    reflection_pad2d replication_pad1d replication_pad2d reflection_pad3d replication_pad3d unfold im2col
    diag diag_embed upsample_nearest1d upsample_nearest2d upsample_nearest3d pixel_shuffle pixel_unshuffle
    rot90 fliplr flipud tril triu repeat_interleave"""
_WRITES = "slice_scatter select_scatter copy copy_"
_SAMES = """contiguous clone alias detach detach_ dropout dropout_ feature_dropout alpha_dropout
    lift_fresh_copy positive identity to _to_copy"""


@rules(*MOVES.split())
def _move(call: Call) -> Balls | tuple[Balls, ...]:
    return moved(call)


@rules("expand_as", "view_as", "reshape_as")
def _like(call: Call) -> Balls:
    """Take the shape of another value, whose entries do not matter."""
    if call.node.packet == "aten.expand_as":
        return np.broadcast_to(call.balls("self"), call.shape)
    return call.balls("self").reshape(call.shape)


@rules(*_WRITES.split())
def _write(call: Call) -> Balls | tuple[Balls, ...]:
    if call.args["self"].dtype != object:
        raise call.refused("it writes among integers")
    return moved(call)


@rules("embedding")
def _embedding(call: Call) -> Balls:
    return np.asarray(call.balls("weight")[_places(call, call.args["indices"])], dtype=object)


@rules("index_add", "scatter_add", "index_put")
def _added(call: Call) -> Balls:
    """Add entry after entry at its place."""
    result = call.balls("self").copy()
    if call.args["self"].dtype != object:
        raise call.refused("it writes among integers")
    if call.node.packet == "aten.index_put":
        places: Any = tuple(slice(None) if i is None else i for i in _places(call, call.args["indices"]))
        if not call.get("accumulate", False):
            raise call.refused("places may be named twice")
        np.add.at(result, places, call.balls("values"))
        return result
    index, axis = _places(call, call.args["index"]), call.args["dim"]
    if call.node.packet == "aten.index_add":
        source = times(call.balls("source"), call.number("alpha", 1))
        np.add.at(np.moveaxis(result, axis, 0), index, np.moveaxis(source, axis, 0))
        return result
    source = call.balls("src")[tuple(slice(n) for n in index.shape)]
    where = list(np.indices(index.shape))
    where[axis] = index
    np.add.at(result, tuple(where), source)
    return result


@rules(*_SAMES.split())
def _same(call: Call) -> Balls:
    if call.get("train", False):
        raise call.refused("it is random")
    return call.balls("self", "input")


@rules("constant_pad_nd", "pad")
def _pad(call: Call) -> Balls | tuple[Balls, ...]:
    if call.get("mode", "constant") != "constant":
        return moved(call)
    return moved(call, call.number("value", 0.0), value=0.0)


@rules("zeros_like", "ones_like", "full_like", "new_zeros", "new_ones", "new_full")
def _filled(call: Call) -> Balls:
    name = call.node.packet
    value = arb(0) if "zeros" in name else arb(1) if "ones" in name else arb(call.args["fill_value"])
    return np.full(call.shape, value, dtype=object)
