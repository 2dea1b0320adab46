"""How many weights a program's convolutions have as matrices, counted before anything is built."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import torch
from torch.utils._pytree import tree_map

from jensen.errors import NetworkError
from jensen.network.lowering._aten import packet
from jensen.network.lowering._aten_table import HANDLERS
from jensen.network.lowering._folding import is_foldable

if TYPE_CHECKING:
    from jensen.network.lowering._program import Program

MAX_WEIGHTS = 1 << 26
"""Weights of all convolutions, as sparse matrices: more take minutes to read, and gigabytes."""
_CONVOLUTIONS = frozenset(("aten.conv1d", "aten.conv2d", "aten.conv3d", "aten.convolution"))


class TooManyWeightsError(NetworkError):
    """A network is too large to be held as matrices."""


def bound_weights(program: Program) -> None:
    """Refuse a program whose convolutions have too many weights as matrices.

    Raises
    ------
    TooManyWeightsError
        If they have more than `MAX_WEIGHTS`.
    """
    if not any(packet(node.target) in _CONVOLUTIONS for node in program.nodes):
        return
    from jensen.network.lowering._program import call, resolve

    env: dict[str, Any] = {name: value.to("meta") for name, value in program.constants.items()}
    env[program.input_name] = torch.empty(program.input_shape, device="meta")
    samples = program.input_shape[0] if program.batched else 1
    total = 0
    for node in program.nodes:
        args = resolve(node.args, env)
        if node.target == "_operator.getitem":
            env[node.name] = args["a"][args["b"]]
            continue
        if packet(node.target) not in HANDLERS and not is_foldable(node.target):
            # What cannot be lowered is told by the lowering itself.
            return
        try:
            env[node.name] = call(node.target, tree_map(_as_float, args))
        except (RuntimeError, TypeError, ValueError, IndexError, NotImplementedError):
            return
        if packet(node.target) in _CONVOLUTIONS:
            total += env[node.name].numel() // samples * prod(args["weight"].shape[1:])
            if total > MAX_WEIGHTS:
                raise TooManyWeightsError(
                    f"the convolutions up to {node.place} have {total:,} weights as matrices, more than "
                    f"the {MAX_WEIGHTS:,} that are lowered"
                )


def _as_float(value: Any) -> Any:
    """Give all floating-point tensors one dtype: only shapes matter."""
    return value.float() if isinstance(value, torch.Tensor) and value.is_floating_point() else value
