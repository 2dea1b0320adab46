"""Programs whose ReLUs are held in the state they are in: what is left is affine where they bent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from jensen.blocks._elementary import elementary
from jensen.blocks._rules import analysed
from jensen.network import FloatArray
from jensen.program import Leaf, Name, Node, Program, substituted
from jensen.program._evaluate import applied, compute

_GATES = ("aten.relu", "aten.leaky_relu")
Values = Mapping[str, FloatArray]


def gated(program: Program, count: int, block: Sequence[str]) -> tuple[Program, tuple[Node, ...]]:
    """Replace the first `count` ReLUs that a block reaches by products with new leaves "gate0", ...

    Returns
    -------
    program : Program
    gates : tuple of Node
        The ReLUs that were replaced.
    """
    reached = {leaf.name for leaf in program.leaves if leaf.label in block}
    nodes: list[Node] = []
    leaves: list[Leaf] = []
    gates: list[Node] = []
    for node in program.nodes:
        if not reached.isdisjoint(node.inputs):
            reached.add(node.name)
            if node.packet in _GATES and len(gates) < count:
                label = f"gate{len(gates)}"
                shape = node.shape
                leaves.append(Leaf(label, label, "parameter", shape))  # type: ignore[arg-type]
                gates.append(node)
                args = {"self": node.args["self"], "other": Name(label)}
                nodes.append(replace(node, operator="aten.mul.Tensor", args=args))
                continue
        nodes.append(node)
    return replace(program, leaves=(*program.leaves, *leaves), nodes=tuple(nodes)), tuple(gates)


def is_convex(program: Program, block: Sequence[str], values: Values | None) -> bool:
    """Whether the rules prove a program convex in a block, at given values of the rest or at any (None)."""
    return _proved(program, block, values) or _proved(elementary(program), block, values)


def _proved(program: Program, block: Sequence[str], values: Values | None) -> bool:
    analysis = analysed(program, block, values)
    bends = {output.kind() for output in analysis.outputs}
    return bends <= {"constant", "affine", "convex"} and not analysis.conditions


def fewest_gates(program: Program, block: Sequence[str]) -> int | None:
    """Count the ReLUs, from the input on, that must be held to make a loss convex in a block.

    None if holding all of them does not do it.
    """
    count = 0
    while True:
        part, gates = gated(program, count, block)
        if len(gates) < count:
            return None
        if is_convex(part, block, None):
            return count
        count += 1


def states(program: Program, gates: Sequence[Node], values: Values) -> dict[str, FloatArray]:
    """Evaluate in which state ReLUs are: slopes 1 and 0 (or the negative slope), by names of leaves."""
    env = environment(program, values)
    wanted = {str(ref.name): node for node in gates if isinstance(ref := node.args["self"], Name)}
    found: dict[str, FloatArray] = {}
    with torch.no_grad():
        for node in program.nodes:
            if len(found) == len(gates):
                break
            env[node.name] = applied(node, substituted(node.args, env))
    for name, node in wanted.items():
        slope = node.args.get("negative_slope", 0.01) if node.packet == "aten.leaky_relu" else 0.0
        found[f"gate{list(gates).index(node)}"] = np.where(env[name].numpy() > 0, 1.0, float(slope))
    return found


def environment(program: Program, values: Values) -> dict[str, Any]:
    """Tensors of a program's constants and leaves."""
    env: dict[str, Any] = {name: torch.tensor(value) for name, value in program.constants.items()}
    for leaf in program.leaves:
        env[leaf.name] = torch.tensor(values[leaf.label])
    return env


class BlockFunction:
    """A program as a differentiable function of the entries of a block.

    What the block does not reach is computed once.

    Parameters
    ----------
    program : Program
    block : sequence of str
    values : mapping of str to float64 array
        Of all leaves.
    decay : float
        Half of this times the sum of squares of all parameters is added.
    """

    def __init__(self, program: Program, block: Sequence[str], values: Values, decay: float = 0.0) -> None:
        self.leaves = [leaf for name in block for leaf in program.leaves if leaf.label == name]
        self.decay, self.output = decay, program.outputs[0]
        self.start = torch.cat([torch.tensor(values[leaf.label]).reshape(-1) for leaf in self.leaves])
        self.held = sum(
            float(np.square(values[leaf.label]).sum())
            for leaf in program.leaves
            if leaf.label not in block and not leaf.label.startswith("gate")
        )
        self.env = environment(program, values)
        reached = {leaf.name for leaf in self.leaves}
        self.nodes: list[Node] = []
        with torch.no_grad():
            for node in program.nodes:
                if reached.isdisjoint(node.inputs):
                    self.env[node.name] = applied(node, substituted(node.args, self.env))
                else:
                    reached.add(node.name)
                    self.nodes.append(node)

    def __call__(self, flat: torch.Tensor) -> torch.Tensor:
        """Evaluate at a vector of the block's entries."""
        env = dict(self.env)
        start = 0
        for leaf in self.leaves:
            env[leaf.name] = flat[start : start + leaf.size].reshape(leaf.shape)
            start += leaf.size
        compute(self.nodes, env)
        loss: torch.Tensor = env[self.output].reshape(())
        if self.decay:
            loss = loss + self.decay / 2 * (flat.square().sum() + self.held)
        return loss

    def value(self, flat: torch.Tensor) -> float:
        """Evaluate without derivatives."""
        with torch.no_grad():
            return float(self(flat))
