"""A program run by torch in float64."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from jensen.errors import NetworkError
from jensen.network.lowering._program import call
from jensen.program._program import Node, Program, substituted


def evaluate(program: Program, values: Sequence[Any]) -> tuple[NDArray[np.float64], ...]:
    """Evaluate all outputs."""
    env: dict[str, Any] = {name: torch.tensor(value) for name, value in program.constants.items()}
    for leaf, value in zip(program.leaves, values, strict=True):
        array = np.array(value, dtype=np.float64)
        if array.shape != leaf.shape:
            raise NetworkError(f"{leaf.label} must have shape {leaf.shape}, got {array.shape}")
        env[leaf.name] = torch.from_numpy(array)
    with torch.no_grad():
        compute(program.nodes, env)
    return tuple(env[name].double().numpy() for name in program.outputs)


def compute(nodes: Iterable[Node], env: dict[str, Any]) -> None:
    """Add the values of nodes to what they are computed from, by names."""
    for node in nodes:
        env[node.name] = applied(node, substituted(node.args, env))


def applied(node: Node, args: dict[str, Any]) -> Any:
    """Call a node's operator on tensors."""
    if node.operator == "_operator.getitem":
        return args["a"][args["b"]]
    if isinstance(name := args.get("dtype"), str):
        dtype = getattr(torch, name)
        args = {**args, "dtype": torch.float64 if dtype.is_floating_point else dtype}
    return call(node.operator, args)
