"""A program's values and gradients at many points at once."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
import torch

from jensen.network import FloatArray
from jensen.network._torch import TRACING_ERRORS
from jensen.program import Node, Program, substituted
from jensen.program._evaluate import applied

_MOST_ENTRIES = 1 << 23
"""Entries of all intermediate values that are held at a time."""
_EXACT_BEYOND = 40.0
"""Where log(1 + exp(x)) and x are the same float64."""


class ManyPoints:
    """One entry of a program's output as a function of one sample of all leaves, vectorised over points.

    Parameters
    ----------
    program : Program
    output : int
        Which entry of the flattened outputs of one sample.

    Attributes
    ----------
    size : int
        Number of entries of a point: one sample of every leaf, one leaf after the other.
    """

    def __init__(self, program: Program, output: int) -> None:
        self.program, self.output = program, output
        self.leaves = program.leaves
        self.ends = [int(end) for end in np.cumsum([0, *(leaf.size for leaf in self.leaves)])]
        self.size = self.ends[-1]
        self.batch = max((leaf.shape[0] for leaf in self.leaves if leaf.batched), default=1)
        # Where a leaf is shared by the samples of a batch, a point needs an evaluation of its own.
        self.alone = self.batch > 1 and not all(leaf.batched for leaf in self.leaves)
        self.constants = {name: torch.tensor(value) for name, value in program.constants.items()}
        held = sum(prod(shape) for shape in program.shapes.values() if all(type(n) is int for n in shape))
        per = 1 if self.alone else self.batch
        self.most = per * max(1, _MOST_ENTRIES // max(held, 1))
        self._differentiable = True
        self._mapped: Callable[[torch.Tensor], torch.Tensor] = self._one_by_one
        if self.most > per and self._maps():
            self._mapped = torch.vmap(self._rows)

    def values(self, points: FloatArray) -> FloatArray:
        """Evaluate at points (n, size); what is not finite, or fails, is NaN."""
        with torch.no_grad():
            parts = [self._tried(part).numpy() for part in self._chunks(points)]
        found = np.concatenate(parts) if parts else np.zeros(0)
        return np.where(np.isfinite(found), found, np.nan)

    def gradients(self, points: FloatArray) -> FloatArray:
        """Differentiate at points (n, size); what is not finite, or has no derivative in torch, is zero."""
        if self._differentiable:
            try:
                return self._slopes(points)
            except TRACING_ERRORS:
                self._differentiable = False
        return np.zeros_like(points)

    def _slopes(self, points: FloatArray) -> FloatArray:
        parts = []
        for part in self._chunks(points):
            with torch.enable_grad():
                given = part.requires_grad_()
                value = self._evaluated(given).sum()
                # An output may be constant.
                slopes = (
                    torch.autograd.grad(value, given)[0] if value.requires_grad else torch.zeros_like(part)
                )
            parts.append(slopes.numpy())
        return np.asarray(np.nan_to_num(np.concatenate(parts), nan=0.0, posinf=0.0, neginf=0.0))

    def _chunks(self, points: FloatArray) -> list[torch.Tensor]:
        return [
            torch.from_numpy(np.array(points[start : start + self.most]))
            for start in range(0, len(points), self.most)
        ]

    def _evaluated(self, points: torch.Tensor) -> torch.Tensor:
        if self.alone:
            groups = points[:, None, :].expand(-1, self.batch, -1)
            return self._mapped(groups)[:, 0]
        missing = -len(points) % self.batch
        filled = torch.cat([points, points[-1:].expand(missing, -1)]) if missing else points
        return self._mapped(filled.reshape(-1, self.batch, self.size)).reshape(-1)[: len(points)]

    def _tried(self, points: torch.Tensor) -> torch.Tensor:
        """Evaluate where torch can: NaN where an operator refuses, as a position that is out of range."""
        try:
            return self._evaluated(points)
        except TRACING_ERRORS:
            if len(points) == 1:
                return torch.full((1,), torch.nan, dtype=torch.float64)
            return torch.cat([self._tried(part) for part in points.tensor_split(2)])

    def _one_by_one(self, groups: torch.Tensor) -> torch.Tensor:
        return torch.stack([self._rows(rows) for rows in groups])

    def _maps(self) -> bool:
        """Whether torch can vectorise the program: not where an operator has no rule for it."""
        trial = torch.linspace(-1, 1, 2 * self.batch * self.size, dtype=torch.float64)
        groups = trial.reshape(2, self.batch, self.size)
        # Torch would loop over the points inside of such an operator, with a warning for each.
        switches: Any = torch._C._functorch
        loops = switches._is_vmap_fallback_enabled()
        switches._set_vmap_fallback_enabled(False)
        try:
            with torch.no_grad():
                found = torch.vmap(self._rows)(groups)
                return bool(torch.allclose(found, self._one_by_one(groups), rtol=1e-9, equal_nan=True))
        except TRACING_ERRORS:
            return False
        finally:
            switches._set_vmap_fallback_enabled(loops)

    def _rows(self, rows: torch.Tensor) -> torch.Tensor:
        """Evaluate at the points of one batch."""
        env: dict[str, Any] = dict(self.constants)
        for leaf, a, b in zip(self.leaves, self.ends[:-1], self.ends[1:], strict=True):
            own = rows[:, a:b] if leaf.batched else rows[0, a:b]
            env[leaf.name] = own.reshape(leaf.shape)
        for node in self.program.nodes:
            env[node.name] = _called(node, substituted(node.args, env))
        parts = [env[name].double().reshape(self.batch, -1) for name in self.program.outputs]
        return torch.cat(parts, dim=1)[:, self.output]


def _called(node: Node, args: dict[str, Any]) -> Any:
    """Call an operator as the real function that it stands for, where torch can vectorise that."""
    if node.packet == "aten.softplus" and float(args.get("threshold", 20.0)) >= 20.0:
        # Torch's own jumps at its threshold.
        args = {**args, "threshold": _EXACT_BEYOND}
    if node.packet == "aten._native_batch_norm_legit_no_training":
        return (_normalised(args),)
    return applied(node, args)


def _normalised(args: dict[str, Any]) -> torch.Tensor:
    """Batch normalisation by running statistics."""
    given = args["input"]
    shape = (1, -1, *(1,) * (given.dim() - 2))
    scale = (args["running_var"] + args["eps"]).rsqrt()
    scale = scale if args.get("weight") is None else scale * args["weight"]
    value: torch.Tensor = (given - args["running_mean"].reshape(shape)) * scale.reshape(shape)
    return value if args.get("bias") is None else value + args["bias"].reshape(shape)
