"""What a loss is convex in: the outputs of a network, as a map of its parameters with its derivatives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np
import torch

from jensen.blocks._gates import is_convex
from jensen.blocks._rules import analysed
from jensen.network import FloatArray
from jensen.program import Leaf, Name, Node, Program, substituted
from jensen.program._evaluate import applied

MOST_DERIVATIVES = 50_000_000
"""Entries of a matrix of derivatives beyond which none is made."""
_AGREES = 1e-8
_CHUNK = 256
"""Passes that are made at once."""
_SLOPES = {"aten.relu": 0.0, "aten.leaky_relu": 0.01, "aten.abs": -1.0}
OUTPUTS = "outputs"
"""Label of the one leaf of the program that computes a loss from outputs."""


@dataclass(frozen=True, eq=False)
class Split:
    """A loss as a convex function of what all parameters pass through.

    Attributes
    ----------
    name : str
        Of the value at which the program is cut.
    shape : tuple of int
    tail : Program
        The loss, of one leaf `OUTPUTS`.
    """

    name: str
    shape: tuple[int, ...]
    tail: Program

    @property
    def size(self) -> int:
        """Number of outputs."""
        return prod(self.shape)


def split(program: Program) -> Split | None:
    """Find the earliest value that all parameters pass through and of which the loss is convex.

    None if there is none, or the loss is no more than affine in it, which says nothing of the loss.
    """
    used = {name: k for k, node in enumerate(program.nodes) for name in node.inputs}
    last = max((used.get(leaf.name, -1) for leaf in program.leaves), default=-1)
    for position, node in enumerate(program.nodes[:-1]):
        if position >= last and all(isinstance(part, int) for part in node.shape):
            shape = tuple(int(part) for part in node.shape if isinstance(part, int))
            leaf = Leaf(node.name, OUTPUTS, "input", shape)
            tail = replace(program, leaves=(leaf,), nodes=program.nodes[position + 1 :])
            if is_convex(tail, (OUTPUTS,), None) and not is_affine(tail, (OUTPUTS,)):
                return Split(node.name, shape, tail)
        last = max(last, used.get(node.name, -1))
    return None


def until(program: Program, name: str) -> Program:
    """Keep the part of a program that computes a value."""
    end = next(k for k, node in enumerate(program.nodes) if node.name == name)
    return replace(program, nodes=program.nodes[: end + 1], outputs=(name,))


def is_affine(program: Program, block: Sequence[str]) -> bool:
    """Whether the rules prove all entries of a program's output affine in a block, whatever the rest is."""
    analysis = analysed(program, block, None)
    return not analysis.conditions and {o.kind() for o in analysis.outputs} <= {"affine", "constant"}


class OutputMap:
    """A program's output, flat, and its derivatives in the entries of a block.

    Parameters
    ----------
    program : Program
        With one output.
    block : sequence of str
        Labels of leaves, whose entries stand one leaf after the other.

    Attributes
    ----------
    widths : mapping of str to float
        Nodes whose kinks are rounded, with half the widths of what takes their place.
    """

    def __init__(self, program: Program, block: Sequence[str]) -> None:
        self.program, self.block = program, tuple(block)
        self.leaves = [leaf for name in block for leaf in program.leaves if leaf.label == name]
        self.constants = {name: torch.as_tensor(np.array(v)) for name, v in program.constants.items()}
        self.size = sum(leaf.size for leaf in self.leaves)
        self.n_outputs = prod(program.shapes[program.outputs[0]])
        self.widths: Mapping[str, float] = {}
        self._taps = _linear_uses(program, self.leaves)
        self._trusted: bool | None = None if self._taps else False

    @property
    def fits(self) -> bool:
        """Whether the matrix of derivatives is of a size that is made."""
        return bool(self.size * self.n_outputs <= MOST_DERIVATIVES)

    def __call__(self, values: Mapping[str, FloatArray]) -> torch.Tensor:
        """Evaluate, as a vector."""
        with torch.no_grad():
            return self._run(self._environment(values)).reshape(-1)

    def sizes(self, values: Mapping[str, FloatArray]) -> dict[str, float]:
        """Mean magnitude of what goes into every ReLU and absolute value, by names of nodes."""
        env = self._environment(values)
        with torch.no_grad():
            self._run(env)
        found = {}
        for node in self.program.nodes:
            if node.packet in _SLOPES:
                found[node.name] = float(env[node.args["self"].name].abs().mean())
        return found

    def derivatives(self, values: Mapping[str, FloatArray]) -> tuple[torch.Tensor, torch.Tensor]:
        """Evaluate with derivatives.

        Returns
        -------
        outputs : (m,) tensor
        jacobian : (m, p) tensor
        """
        if self._trusted is not False:
            found = self._by_rows(values)
            if self._trusted is None:
                self._trusted = self._is_right(values, found[1])
            if self._trusted:
                return found
        return self._by_columns(values)

    def _environment(self, values: Mapping[str, FloatArray]) -> dict[str, torch.Tensor]:
        env = dict(self.constants)
        for leaf in self.program.leaves:
            env[leaf.name] = torch.as_tensor(np.array(values[leaf.label]))
        return env

    def _run(self, env: dict[str, torch.Tensor]) -> torch.Tensor:
        for node in self.program.nodes:
            env[node.name] = self._applied(node, env)
        return env[self.program.outputs[0]]

    def _applied(self, node: Node, env: Mapping[str, torch.Tensor]) -> torch.Tensor:
        args = substituted(node.args, env)
        if width := self.widths.get(node.name, 0.0):
            return rounded(args["self"], width, args.get("negative_slope", _SLOPES[node.packet]))
        value: torch.Tensor = applied(node, args)
        return value

    def _at(self, flat: torch.Tensor, env: dict[str, torch.Tensor]) -> torch.Tensor:
        env, start = dict(env), 0
        for leaf in self.leaves:
            env[leaf.name] = flat[start : start + leaf.size].reshape(leaf.shape)
            start += leaf.size
        return self._run(env).reshape(-1)

    def _flat(self, env: dict[str, torch.Tensor]) -> torch.Tensor:
        return torch.cat([env[leaf.name].reshape(-1) for leaf in self.leaves])

    def _by_columns(self, values: Mapping[str, FloatArray]) -> tuple[torch.Tensor, torch.Tensor]:
        """Differentiate whatever the program is, in the direction that has fewer passes."""
        env = self._environment(values)
        flat = self._flat(env)

        def at(x: torch.Tensor) -> torch.Tensor:
            return self._at(x, env)

        if self.size < self.n_outputs:
            along = torch.func.vmap(lambda way: torch.func.jvp(at, (flat,), (way,))[1], chunk_size=_CHUNK)
            jacobian: torch.Tensor = along(torch.eye(self.size, dtype=flat.dtype)).T.contiguous()
        else:
            jacobian = torch.func.jacrev(at, chunk_size=_CHUNK)(flat)
        with torch.no_grad():
            return self._at(flat, env), jacobian.detach()

    def _by_rows(self, values: Mapping[str, FloatArray]) -> tuple[torch.Tensor, torch.Tensor]:
        """Differentiate layers that treat every row of the data alone: one backward pass for each output.

        The derivative of a row in a weight is that of the layer's result in this row times its input there.
        """
        env = self._environment(values)
        results: dict[str, torch.Tensor] = {}
        with torch.enable_grad():
            for node in self.program.nodes:
                value = self._applied(node, env)
                if node.name in self._taps:
                    value = value if value.requires_grad else value.requires_grad_(True)
                    results[node.name] = value
                env[node.name] = value
            output = env[self.program.outputs[0]]
            rows = output.shape[0]
            columns = output.reshape(rows, -1)
        count = columns.shape[1]
        jacobian = torch.zeros(rows, count, self.size, dtype=output.dtype)
        starts = dict(
            zip(
                [leaf.name for leaf in self.leaves],
                np.cumsum([0, *(leaf.size for leaf in self.leaves)]).tolist(),
                strict=False,
            )
        )
        for k in range(count):
            slopes = torch.autograd.grad(columns[:, k].sum(), list(results.values()), retain_graph=True)
            for (name, result), slope in zip(results.items(), slopes, strict=True):
                node = self._taps[name]
                source = env[node.args["input"].name].detach()
                width = source.shape[1] * result.shape[1]
                if (start := starts.get(_leaf(node, "weight"))) is not None:
                    part = slope[:, :, None] * source[:, None, :]
                    jacobian[:, k, start : start + width] += part.reshape(rows, width)
                if (start := starts.get(_leaf(node, "bias"))) is not None:
                    jacobian[:, k, start : start + result.shape[1]] += slope
        return output.detach().reshape(-1), jacobian.reshape(rows * count, self.size)

    def _is_right(self, values: Mapping[str, FloatArray], jacobian: torch.Tensor) -> bool:
        """Compare with forward differentiation in a random direction: rows may depend on each other."""
        env = self._environment(values)
        flat = self._flat(env)
        way = torch.from_numpy(np.random.default_rng(0).standard_normal(self.size))
        truth: torch.Tensor = torch.func.jvp(lambda x: self._at(x, env), (flat,), (way,))[1]
        error = float((jacobian @ way - truth).abs().max())
        return error <= _AGREES * (1 + float(truth.abs().max()))


def rounded(z: torch.Tensor, width: float, slope: float) -> torch.Tensor:
    """Average max(z, slope z) over z - width to z + width: near 0 a parabola, and the same elsewhere."""
    bent = (z + width).clamp(0.0, 2 * width).square() / (4 * width) + (z - width).relu()
    return bent if slope == 0 else slope * z + (1 - slope) * bent


def _leaf(node: Node, key: str) -> str:
    ref = node.args.get(key)
    return ref.name if isinstance(ref, Name) else ""


def _linear_uses(program: Program, leaves: Sequence[Leaf]) -> dict[str, Node]:
    """Linear layers on a table of rows that use leaves; none if these are used in any other way."""
    rows = program.shapes[program.outputs[0]][:1]
    wanted = {leaf.name for leaf in leaves}
    found: dict[str, Node] = {}
    for node in program.nodes:
        mine = wanted.intersection(node.inputs)
        if not mine:
            continue
        own = {_leaf(node, "weight"), _leaf(node, "bias")}
        fits = node.packet == "aten.linear" and len(node.shape) == 2 and node.shape[:1] == rows
        if not fits or not mine <= own or _leaf(node, "input") in wanted:
            return {}
        found[node.name] = node
    return found
