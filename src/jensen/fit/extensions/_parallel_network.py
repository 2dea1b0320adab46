"""Parallel networks of any depth: sums of trees of ReLU neurons.

A sub-network is a tree. Its leaves are neurons relu(x . w_j); a node adds its children's values times the
weights of their edges, and is a ReLU of the sum; the root's value is multiplied by c. `fan_ins` = (h_1,
..., h_(L - 2)) tells how many children nodes have, from below: with L layers of weights a sub-network has
h_1 ... h_(L - 2) leaves. What is penalised is the l2 norm over paths, lambda sum |c| (sum_j |w_j|^2 prod
b^2)^(1/2) with the edges b above leaf j. (Ergen and Pilanci, "Path regularization", NeurIPS 2023.)

Layered sub-networks, where neurons have several parents, are trees as well: give every parent a copy of its
own. Outputs and the sum over paths stay the same. So with enough neurons the two classes are one.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from jensen.errors import ArgumentError
from jensen.fit._losses import Floats
from jensen.fit._rows import as_rows
from jensen.network._numbers import as_count

if TYPE_CHECKING:
    from torch import nn


def as_fan_ins(fan_ins: int | tuple[int, ...]) -> tuple[int, ...]:
    """Check fan-ins; a number is that of three layers.

    Raises
    ------
    ArgumentError
        If they are not positive integers, one at least.
    """
    several = fan_ins if isinstance(fan_ins, tuple) else (fan_ins,)
    if not several:
        raise ArgumentError("fan_ins must hold a number at least: two layers are those of fit_network")
    return tuple(as_count(h, "a number of fan_ins") for h in several)


def widths_of(fan_ins: tuple[int, ...]) -> tuple[int, ...]:
    """Count the nodes of a sub-network in each hidden layer, from below: the last number is 1."""
    return tuple(prod(fan_ins[layer:]) for layer in range(len(fan_ins) + 1))


@dataclass(frozen=True)
class ParallelNetwork:
    """A parallel network: S trees.

    Attributes
    ----------
    fan_ins : tuple of int
        h_1, ..., h_(L - 2).
    weights : (S, h_1 ... h_(L - 2), d) float64 array
        Of the leaves; children of a node are neighbours.
    edges : tuple of (S, h_l ... h_(L - 2)) float64 arrays, l = 1, ..., L - 2
        Weights of the edges from layer l upwards.
    outputs : (S,) float64 array
        c.
    """

    fan_ins: tuple[int, ...]
    weights: Floats
    edges: tuple[Floats, ...]
    outputs: Floats

    def sums(self, x: Floats) -> list[Floats]:
        """Evaluate what the nodes' ReLUs are taken of, (n, S, nodes) for each hidden layer."""
        found = [np.einsum("nd,skd->nsk", x, self.weights)]
        for h, edge in zip(self.fan_ins, self.edges, strict=True):
            below = np.maximum(found[-1], 0) * edge
            found.append(below.reshape(*below.shape[:2], edge.shape[1] // h, h).sum(3))
        return found

    def predict(self, x: object) -> Floats:
        """Evaluate the network: (n, d) to (n,).

        Raises
        ------
        ArgumentError
            If X does not have d columns.
        """
        data = as_rows(x, self.weights.shape[2])
        return np.asarray(np.maximum(self.sums(data)[-1][:, :, 0], 0) @ self.outputs)

    def paths(self) -> Floats:
        """Fold all weights into the leaves: |c| prod |b| w, (S, leaves, d); its norms are the path norms."""
        scale = np.abs(self.outputs)[:, None]
        for h, edge in zip(self.fan_ins[::-1], self.edges[::-1], strict=True):
            scale = np.repeat(scale, h, axis=1) * np.abs(edge)
        return np.asarray(self.weights * scale[:, :, None])

    def path_norm(self) -> float:
        """Sum of the sub-networks' path norms."""
        return float(np.linalg.norm(self.paths(), axis=(1, 2)).sum())

    def to_torch(self) -> nn.Module:
        """Make the network Linear, ReLU, ..., Linear in float64; matrices are zero between sub-networks."""
        import torch
        from torch import nn

        count, leaves, d = self.weights.shape
        matrices = [self.weights.reshape(count * leaves, d)]
        for h, edge in zip(self.fan_ins, self.edges, strict=True):
            matrices.append(np.kron(np.eye(edge.size // h), np.ones((1, h))) * edge.ravel())
        matrices.append(self.outputs[None])
        if not count:
            matrices = [np.zeros((1, d)), *(np.zeros((1, 1)) for _ in matrices[1:])]
        parts: list[nn.Module] = []
        for matrix in matrices:
            layer = nn.Linear(matrix.shape[1], matrix.shape[0], bias=False, dtype=torch.float64)
            with torch.no_grad():
                layer.weight.copy_(torch.tensor(matrix))
            parts += [layer, nn.ReLU()]
        return nn.Sequential(*parts[:-1])


def random_parallel_network(
    d: int, fan_ins: int | tuple[int, ...], count: int, seed: int = 0
) -> ParallelNetwork:
    """Draw sub-networks with Gaussian weights.

    Parameters
    ----------
    d : int
        Inputs.
    fan_ins : int or tuple of int
        Children of the nodes, from below; a number h is (h,), three layers.
    count : int
        Sub-networks.
    seed : int, default 0

    Returns
    -------
    ParallelNetwork

    Raises
    ------
    ArgumentError
        If an argument makes no sense.
    """
    several, d, count = as_fan_ins(fan_ins), as_count(d, "d"), as_count(count, "count")
    rng = np.random.default_rng(as_count(seed, "seed", 0))
    widths = widths_of(several)
    return ParallelNetwork(
        several,
        rng.standard_normal((count, widths[0], d)),
        tuple(rng.standard_normal((count, width)) for width in widths[:-1]),
        rng.standard_normal(count),
    )
