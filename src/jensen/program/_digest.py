"""A fingerprint of a program: what it computes, not what its values are called."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from jensen.program._program import Program


def digest(program: Program) -> str:
    """Hash leaves, operators, arguments and constants; values are named by their positions.

    Returns
    -------
    str
        "program:sha256:" and 64 hexadecimal digits.
    """
    state = sha256(b"jensen.program 1")
    number: dict[str, int] = {}

    def plain(value: Any) -> Any:
        if hasattr(value, "name"):
            return {"value": number[value.name]}
        if isinstance(value, dict):
            return {key: plain(entry) for key, entry in sorted(value.items())}
        if isinstance(value, (list, tuple)):
            return [plain(entry) for entry in value]
        return value.hex() if isinstance(value, float) else value

    def feed(*content: Any) -> None:
        data = json.dumps(content, separators=(",", ":")).encode()
        state.update(len(data).to_bytes(8, "little") + data)

    for leaf in program.leaves:
        number[leaf.name] = len(number)
        feed("leaf", leaf.kind, leaf.shape, leaf.batched)
    used = dict.fromkeys([*(name for node in program.nodes for name in node.inputs), *program.outputs])
    for name in used:
        if name in program.constants:
            number[name] = len(number)
            value = program.constants[name]
            feed("constant", value.dtype.str, value.shape)
            # Adding zero turns -0.0 into 0.0.
            exact = np.ascontiguousarray(value + 0 if value.dtype.kind == "f" else value)
            state.update(exact.data if exact.size else b"")
    for node in program.nodes:
        feed("node", node.operator, plain(dict(node.args)), node.shape)
        number[node.name] = len(number)
    feed("outputs", [number[name] for name in program.outputs])
    return f"program:sha256:{state.hexdigest()}"
