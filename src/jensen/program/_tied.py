"""Parameters that are one tensor under several names, as in models with tied weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import torch

from jensen.errors import ArgumentError
from jensen.program._program import Name, Program, substituted


def namesakes(tensors: Mapping[str, torch.Tensor], wanted: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Find the other names of each wanted tensor; of several wanted names the first stands for all.

    Parameters
    ----------
    tensors : mapping of str to torch.Tensor
        All parameters and buffers.
    wanted : iterable of str
        Names among them.

    Raises
    ------
    ArgumentError
        If a wanted tensor shares only a part of its memory with another: no set of whole tensors is then
        free to move while the others stay.
    """
    found: dict[str, tuple[str, ...]] = {}
    for name in wanted:
        if any(name in others for others in found.values()) or name in found:
            continue
        one = tensors[name]
        others = []
        for label, other in tensors.items():
            if label == name or not _overlap(one, other):
                continue
            if _place(one) != _place(other):
                raise ArgumentError(f"{name!r} and {label!r} share a part of their memory: copy one of them")
            others.append(label)
        found[name] = tuple(others)
    return found


def _place(tensor: torch.Tensor) -> tuple[object, ...]:
    return tensor.data_ptr(), tensor.dtype, tuple(tensor.shape), tensor.stride()


def _overlap(one: torch.Tensor, other: torch.Tensor) -> bool:
    ends = []
    for tensor in (one, other):
        if not tensor.numel():
            return False
        extent = 1 + sum((size - 1) * step for size, step in zip(tensor.shape, tensor.stride(), strict=True))
        ends.append((tensor.data_ptr(), tensor.data_ptr() + extent * tensor.element_size()))
    return one.device == other.device and ends[0][0] < ends[1][1] and ends[1][0] < ends[0][1]


def merged(program: Program, tied: Mapping[str, tuple[str, ...]]) -> Program:
    """Let leaves that are one tensor be one leaf, which knows its other names.

    Parameters
    ----------
    program : Program
    tied : mapping of str to tuple of str
        Labels of leaves that go into another one, by the label of that one.
    """
    if not any(tied.values()):
        return program
    own = {leaf.label: leaf.name for leaf in program.leaves}
    twins = {own[twin]: Name(own[label]) for label, others in tied.items() for twin in others}
    values = {**{name: Name(name) for name in program.shapes}, **twins}
    nodes = tuple(replace(node, args=substituted(node.args, values)) for node in program.nodes)
    outputs = tuple(values[name].name for name in program.outputs)
    leaves = tuple(
        replace(leaf, others=tied.get(leaf.label, ())) for leaf in program.leaves if leaf.name not in twins
    )
    return replace(program, leaves=leaves, nodes=nodes, outputs=outputs)
