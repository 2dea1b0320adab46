"""Random programs composed of the calculus's operators, written down without tracing anything."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

import numpy as np
import torch

from jensen.network.lowering._program import call
from jensen.program import Leaf, Name, Node, Program

WIDTH = 3

UNARY: list[tuple[str, dict[str, Any]]] = [
    ("relu.default", {}),
    ("leaky_relu.default", {"negative_slope": 0.25}),
    ("leaky_relu.default", {"negative_slope": -0.5}),
    ("leaky_relu.default", {"negative_slope": 1.5}),
    ("abs.default", {}),
    ("square.default", {}),
    ("exp.default", {}),
    ("softplus.default", {"beta": 2.0, "threshold": 40.0}),
    ("elu.default", {"alpha": 0.5}),
    ("elu.default", {"alpha": 1.5}),
    ("celu.default", {"alpha": 2.0}),
    ("sigmoid.default", {}),
    ("tanh.default", {}),
    ("erfc.default", {}),
    ("sinh.default", {}),
    ("cosh.default", {}),
    ("silu.default", {}),
    ("log_sigmoid.default", {}),
    ("hardtanh.default", {"min_val": -0.5, "max_val": 1.0}),
    ("expm1.default", {}),
    ("neg.default", {}),
    ("neg.default", {}),
    ("pow.Tensor_Scalar", {"exponent": 3}),
    ("pow.Tensor_Scalar", {"exponent": 4}),
    ("pow.Tensor_Scalar", {"exponent": 1.5}),
    ("pow.Tensor_Scalar", {"exponent": -2}),
    ("sqrt.default", {}),
    ("log.default", {}),
    ("reciprocal.default", {}),
    ("clamp.default", {"min": -0.5}),
    ("clamp.default", {"max": 0.5}),
    ("clamp.default", {"min": -0.5, "max": 0.5}),
    ("flip.default", {"dims": [-1]}),
    ("cumsum.default", {"dim": -1}),
    ("log_softmax.int", {"dim": -1}),
    ("softmax.int", {"dim": -1}),
    ("add.Tensor", {"other": 0.75}),
    ("sub.Tensor", {"other": 0.75}),
    ("mul.Tensor", {"other": -1.5}),
]
REDUCTIONS: list[tuple[str, dict[str, Any]]] = [
    ("sum.dim_IntList", {"dim": [-1], "keepdim": True}),
    ("mean.dim", {"dim": [-1], "keepdim": True}),
    ("amax.default", {"dim": [-1], "keepdim": True}),
    ("amin.default", {"dim": [-1], "keepdim": True}),
    ("logsumexp.default", {"dim": [-1], "keepdim": True}),
    ("linalg_vector_norm.default", {"ord": 2, "dim": [-1], "keepdim": True}),
    ("linalg_vector_norm.default", {"ord": 1, "dim": [-1], "keepdim": True}),
    ("var.correction", {"dim": [-1], "correction": 0, "keepdim": True}),
]
BINARY = ["add.Tensor", "add.Tensor", "sub.Tensor", "mul.Tensor", "maximum.default", "minimum.default",
          "div.Tensor", "logaddexp.default"]  # fmt: skip


def random_recipe(
    rng: np.random.Generator, length: int, known: Container[str] | None = None
) -> list[tuple[str, str, dict[str, Any]]]:
    """Choose operators (of packets that are known) and what they read, for any number of samples."""

    def chosen(operator: str) -> bool:
        return known is None or f"aten.{operator.partition('.')[0]}" in known

    unary = [(operator, extra) for operator, extra in UNARY if chosen(operator)]
    reductions = [(operator, extra) for operator, extra in REDUCTIONS if chosen(operator)]
    binary = [operator for operator in BINARY if chosen(operator)]
    values = ["x", "p"]
    steps: list[tuple[str, str, dict[str, Any]]] = []
    for i in range(length):
        recent = values[int(rng.integers(max(0, len(values) - 3), len(values)))]
        kind = rng.random()
        if kind < 0.55:
            operator, extra = unary[int(rng.integers(len(unary)))]
            args: dict[str, Any] = {"self": Name(recent), **extra}
        elif kind < 0.7:
            operator, extra = reductions[int(rng.integers(len(reductions)))]
            args = {"self": Name(recent), **extra}
        elif kind < 0.85:
            operator, args = "mul.Tensor", {"self": Name(recent), "other": Name(f"weight{i}")}
        else:
            operator = binary[int(rng.integers(len(binary)))]
            args = {"self": Name(recent), "other": Name(values[int(rng.integers(len(values)))])}
        name = f"n{i}"
        steps.append((name, f"aten.{operator}", args))
        values.append(name)
    return steps


def random_weights(rng: np.random.Generator, length: int) -> dict[str, np.ndarray]:
    """Draw a weight for each step: positive, negative, mixed, with zeros."""
    found = {}
    for i in range(length):
        w = rng.uniform(0.25, 1.5, WIDTH) * (rng.random(WIDTH) < 0.8)
        found[f"weight{i}"] = w * (1, -1, rng.choice([-1, 1], WIDTH))[int(rng.integers(3))]
    return found


def written(
    steps: list[tuple[str, str, dict[str, Any]]], weights: dict[str, np.ndarray], samples: int
) -> Program:
    """Write a recipe down for a number of samples; every intermediate is an output."""
    leaves = (
        Leaf("x", "x", "input", (samples, WIDTH)),
        Leaf("p", "p", "input", (samples, WIDTH)),
    )
    metas: dict[str, torch.Tensor] = {
        leaf.name: torch.empty(leaf.shape, dtype=torch.float64, device="meta") for leaf in leaves
    }
    metas.update({k: torch.empty(v.shape, dtype=torch.float64, device="meta") for k, v in weights.items()})
    nodes = []
    for name, operator, args in steps:
        resolved = {k: metas[v.name] if isinstance(v, Name) else v for k, v in args.items()}
        metas[name] = call(operator, resolved)
        nodes.append(Node(name, operator, args, name, tuple(metas[name].shape)))
    return Program(leaves, weights, tuple(nodes), tuple(name for name, *_ in steps))
