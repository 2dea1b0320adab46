"""In-place writes that torch loses when it removes them from an exported program."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch.export import ExportedProgram

from jensen.errors import UnsupportedOperatorError
from jensen.network.lowering._aten import packet
from jensen.network.lowering._program import REBINDING

_ITSELF = ("aten.dropout", "aten.feature_dropout", "aten.alpha_dropout", "aten.einsum")
"""Operators that may return their argument itself, of which their schemas say nothing."""


def refuse_hidden_writes(exported: ExportedProgram) -> None:
    """Refuse a program that writes into a value under two names of which torch knows one only.

    Raises
    ------
    UnsupportedOperatorError
        If an operator that may return its argument itself is followed by a write into either, and the
        argument is read elsewhere too.
    """
    order = {node: i for i, node in enumerate(exported.graph.nodes)}
    for node, place in order.items():
        if not isinstance(node.target, torch._ops.OpOverload) or packet(str(node.target)) not in _ITSELF:
            continue
        for source in node.all_input_nodes:
            if len(source.users) < 2:
                continue
            if any(order[write] > place for name in (node, source) for write in _writes(name)):
                raise UnsupportedOperatorError(
                    str(node.target),
                    f"node {node.name}",
                    "it may return its argument itself, which is read elsewhere and written in place",
                )


def _writes(node: torch.fx.Node) -> Iterator[torch.fx.Node]:
    """List the operators that write into a value or a view of it."""
    waiting, seen = [node], {node}
    while waiting:
        value = waiting.pop()
        for user in value.users:
            if not isinstance(user.target, torch._ops.OpOverload) or user.args[:1] != (value,):
                continue
            schema = user.target._schema
            if schema.is_mutable and packet(str(user.target)) not in REBINDING:
                yield user
            if user not in seen and any(result.alias_info for result in schema.returns):
                seen.add(user)
                waiting.append(user)
