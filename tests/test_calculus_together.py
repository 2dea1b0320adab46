"""What several operators are together: monomials, roots of sums, products of one value, entropies."""

# ruff: noqa: E501 - a table has one line for each function

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from programs import WIDTH
from test_calculus_soundness import _granted
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

import jensen
from jensen.calculus import analyse
from jensen.calculus._value import AFFINE, ANY_SIGN, DOWN, NONNEGATIVE, UP, Value
from jensen.network.lowering._program import call
from jensen.program import Leaf, Name, Node, Program

X, Y = torch.ones(3), torch.ones(3)
Function = Callable[[Tensor, Tensor], Tensor]

# The first argument has any sign, the second is declared to be >= 0.
KINDS: list[tuple[str, Function, str]] = [
    ("square over linear", lambda x, y: x.square() / y, "convex"),
    ("written as a product", lambda x, y: x * x / y, "convex"),
    ("by a reciprocal", lambda x, y: x * y.reciprocal() * x, "convex"),
    ("in another order", lambda x, y: y.reciprocal() * x * x, "convex"),
    ("of one sign", lambda x, y: y.reciprocal() * y[0] * y[0], "convex"),
    ("sum of squares over linear", lambda x, y: x.square().sum() / y[0], "convex"),
    ("dot product over linear", lambda x, y: x @ x / (1 + y[0]), "convex"),
    ("over a concave function", lambda x, y: x.square() / y.sqrt(), "convex"),
    ("over a convex function", lambda x, y: x.square() / y.exp(), "unknown"),
    ("of a convex function", lambda x, y: x.exp().square() / y, "convex"),
    ("of a concave function", lambda x, y: y.sqrt().square() / (1 + y[0]), "unknown"),
    ("of a product", lambda x, y: (y * y.exp()).square() / (y.sqrt() * y.sqrt()), "convex"),
    ("linear over linear", lambda x, y: x / y, "unknown"),
    ("too high a power below", lambda x, y: x.square() / y.pow(1.5), "unknown"),
    ("high enough a power above", lambda x, y: x.abs().pow(2.5) / y.pow(1.5), "convex"),
    ("odd power of any sign", lambda x, y: x.pow(3) / y, "unknown"),
    ("odd power of one sign", lambda x, y: (1 + y).pow(3) / y, "convex"),
    ("power of a quotient", lambda x, y: (y[1] / y[0]).pow(3) * y[0].square(), "convex"),
    ("geometric mean", lambda x, y: (y[0] * y[1]).sqrt(), "concave"),
    ("product of roots", lambda x, y: y[0].sqrt() * y[1].sqrt(), "concave"),
    ("roots of what may be negative", lambda x, y: x[0].sqrt() * x[1].sqrt(), "concave"),
    ("root of what may be negative", lambda x, y: (x[0] * x[1]).sqrt(), "unknown"),
    ("root of what is positive where it counts", lambda x, y: (x[0] * (1 + y[0])).sqrt(), "concave"),
    ("root of a product that may be zero", lambda x, y: (x[0] * y[0]).sqrt(), "unknown"),
    ("of three", lambda x, y: y[0].pow(0.25) * y[1].sqrt() * y[2].pow(0.25), "concave"),
    ("powers of more than one", lambda x, y: y[0].sqrt() * y[1].pow(0.75), "unknown"),
    ("of convex functions", lambda x, y: (x[0].exp() * y[1].square()).sqrt(), "unknown"),
    ("one over a product", lambda x, y: 1 / (y[0] * y[1]), "convex"),
    ("one over a product of any sign", lambda x, y: 1 / (x[0] * x[1]), "unknown"),
    ("one over a product with one sign", lambda x, y: 1 / (x[0] * y[1]), "convex"),
    ("root of one and a square", lambda x, y: (1 + x.square()).sqrt(), "convex"),
    ("root of a square less one", lambda x, y: (x.square() - 1).sqrt(), "unknown"),
    ("norm written out", lambda x, y: x.square().sum().sqrt(), "convex"),
    ("norm of convex functions", lambda x, y: (x.exp().square() + 2 * y.square()).sqrt(), "convex"),
    ("norm of concave functions", lambda x, y: (y.sqrt().square() + y[0].square()).sqrt(), "unknown"),
    ("root too small", lambda x, y: x.square().sum().pow(0.49), "unknown"),
    ("root of fourth powers", lambda x, y: x.pow(4).mean().pow(0.25), "convex"),
    ("a hair below a root of cubes", lambda x, y: y.pow(3).sum().pow(1 / 3), "unknown"),
    ("harmonic mean", lambda x, y: 1 / (1 / y).sum(), "concave"),
    ("square of a sum of roots", lambda x, y: y.sqrt().sum().square(), "concave"),
    ("cube of a sum of roots", lambda x, y: y.sqrt().sum().pow(3), "unknown"),
    ("harmonic mean of convex functions", lambda x, y: 1 / (1 / (1 + y.square())).sum(), "unknown"),
    ("x exp(x)", lambda x, y: y * y.exp(), "convex"),
    ("x exp(x) of any sign", lambda x, y: x * x.exp(), "unknown"),
    ("x exp(-x)", lambda x, y: y * (-y).exp(), "unknown"),
    ("both fall", lambda x, y: (-y).exp() * (1 + y).reciprocal(), "convex"),
    ("of a convex argument", lambda x, y: x.square() * F.softplus(x.square()), "convex"),
    ("of a concave argument", lambda x, y: y.sqrt() * y.sqrt().exp(), "unknown"),
    ("of negative sign", lambda x, y: -y * y.cosh(), "concave"),
    ("of different entries", lambda x, y: y * y.flip(0).exp(), "unknown"),
    ("relative entropy", lambda x, y: x * (x / y).log(), "convex"),
    ("as a difference", lambda x, y: (x.log() - y.log()) * x, "convex"),
    ("upside down", lambda x, y: x * (y / x).log(), "concave"),
    ("relative to a concave function", lambda x, y: x * (x / y.sqrt()).log2(), "convex"),
    ("relative to a convex function", lambda x, y: x * (x / y.exp()).log(), "unknown"),
    ("of different bases", lambda x, y: x * (x.log2() - y.log()), "unknown"),
    ("negative divisor", lambda x, y: x * (x / (-1 - y)).log(), "unknown"),
    ("computed twice", lambda x, y: (2 * x + 1) * (2 * x + 1).log(), "convex"),
    ("twice the same", lambda x, y: (x.exp() + x.exp()) * x.exp(), "convex"),
    ("a difference of the same", lambda x, y: x.sin() - x.sin(), "constant"),
    ("maximum of the same", lambda x, y: torch.maximum(y.sqrt(), y.sqrt()), "concave"),
    ("logaddexp of the same", lambda x, y: torch.logaddexp(y.sqrt(), y.sqrt()), "concave"),
    ("sum of sizes of one sign", lambda x, y: torch.linalg.vector_norm(y.sqrt(), 1), "concave"),
    ("form of a convex function", lambda x, y: y.exp() @ torch.ones(3, 3, dtype=y.dtype) @ y.exp(), "convex"),
    ("form with two signs", lambda x, y: y.exp() @ (torch.eye(3, dtype=y.dtype) * 2 - 0.5) @ y.exp(), "unknown"),
    ("logsumexp of what is nonnegative", lambda x, y: y.logsumexp(0).square(), "convex"),
    ("logsumexp of any sign", lambda x, y: x.logsumexp(0).square(), "unknown"),
    ("cross-entropy of a concave score", lambda x, y: F.cross_entropy(torch.stack([x[0].exp(), y[0].sqrt()]), torch.tensor(1)), "convex"),
    ("cross-entropy of a convex score", lambda x, y: F.cross_entropy(torch.stack([x[0].exp(), y[0].sqrt()]), torch.tensor(0)), "unknown"),
    ("log-softmax of one concave score", lambda x, y: torch.stack([x[0].exp(), y[0].sqrt()]).log_softmax(0)[1], "concave"),
    ("log-softmax of the other", lambda x, y: torch.stack([x[0].exp(), y[0].sqrt()]).log_softmax(0)[0], "unknown"),
    ("logistic loss of concave scores", lambda x, y: F.binary_cross_entropy_with_logits(y.sqrt(), torch.ones(3)), "convex"),
    ("logistic loss of convex scores", lambda x, y: F.binary_cross_entropy_with_logits(x.exp(), torch.zeros(3)), "convex"),
    ("logistic loss of soft targets", lambda x, y: F.binary_cross_entropy_with_logits(x.exp(), torch.full((3,), 0.5)), "unknown"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "function", "kind"), KINDS, ids=[k[0] for k in KINDS])
def test_kinds(name: str, function: Function, kind: str) -> None:
    found = jensen.curvature(function, (X, Y), nonnegative=1)
    assert found.kind == kind, (name, str(found))
    generator = torch.Generator().manual_seed(0)
    # What is claimed holds, where what is taken for granted does: at positive points, to be short.
    for _ in range(200):
        x, y = (torch.rand((2, 2, 3), generator=generator, dtype=torch.float64) * 3 + 1e-3).unbind()
        if not found.conditions:
            x = x - 1.5
        values = [function(a, b).double() for a, b in ((x[0], y[0]), (x[1], y[1]), (x.mean(0), y.mean(0)))]
        gap = values[2] - (values[0] + values[1]) / 2
        size = 1e-6 * (1 + max(float(v.abs().max()) for v in values))
        assert kind not in ("convex", "constant") or gap.max() < size
        assert kind not in ("concave", "constant") or gap.min() > -size


# What random monomials are made of: operators of one value, and those that join two.
ONE: list[tuple[str, dict[str, Any]]] = [
    ("pow.Tensor_Scalar", {"exponent": 2}), ("pow.Tensor_Scalar", {"exponent": 3}),
    ("pow.Tensor_Scalar", {"exponent": 1.5}), ("pow.Tensor_Scalar", {"exponent": 0.25}),
    ("pow.Tensor_Scalar", {"exponent": -0.5}), ("pow.Tensor_Scalar", {"exponent": -1}),
    ("square.default", {}), ("sqrt.default", {}), ("rsqrt.default", {}), ("reciprocal.default", {}),
    ("abs.default", {}), ("add.Tensor", {"other": 0.5}), ("mul.Tensor", {"other": 2.0}), ("exp.default", {}),
    ("log.default", {}), ("neg.default", {}),
]  # fmt: skip
SUM: tuple[str, dict[str, Any]] = ("sum.dim_IntList", {"dim": [-1], "keepdim": True})
TWO = ["mul.Tensor", "mul.Tensor", "div.Tensor", "add.Tensor"]


def random_monomial(rng: np.random.Generator, samples: int) -> Program:
    """Write a random program of powers, products, quotients and sums for a number of samples."""
    leaves = tuple(Leaf(name, name, "input", (samples, WIDTH)) for name in "xy")
    metas = {leaf.name: torch.empty(leaf.shape, dtype=torch.float64, device="meta") for leaf in leaves}
    nodes: list[Node] = []
    values = ["x", "y"]
    for i in range(7):
        recent = values[int(rng.integers(max(0, len(values) - 4), len(values)))]
        kind = rng.random()
        if kind < 0.5:
            operator, extra = ONE[int(rng.integers(len(ONE)))]
            args: dict[str, Any] = {"self": Name(recent), **extra}
        elif kind < 0.58:
            operator, args = SUM[0], {"self": Name(recent), **SUM[1]}
        else:
            operator = TWO[int(rng.integers(len(TWO)))]
            args = {"self": Name(recent), "other": Name(values[int(rng.integers(len(values)))])}
        name, target = f"n{i}", f"aten.{operator}"
        metas[name] = call(target, {k: metas[v.name] if isinstance(v, Name) else v for k, v in args.items()})
        nodes.append(Node(name, target, args, name, tuple(metas[name].shape)))
        values.append(name)
    return Program(leaves, {}, tuple(nodes), tuple(node.name for node in nodes))


@pytest.mark.filterwarnings("ignore")
def test_no_claim_about_a_random_monomial_is_refuted() -> None:
    told, trials = 0, 400
    for seed in range(200):
        analysis = analyse(
            random_monomial(np.random.default_rng(seed), 1),
            {
                "x": Value(np.full((1, WIDTH), ANY_SIGN, np.int8), np.full((1, WIDTH), AFFINE, np.int8)),
                "y": Value(np.full((1, WIDTH), NONNEGATIVE, np.int8), np.full((1, WIDTH), AFFINE, np.int8)),
            },
        )
        rng = np.random.default_rng([seed, 1])
        ends = rng.standard_normal((4, trials, WIDTH)) * rng.choice([0.3, 1.0, 3.0], (4, trials, 1))
        x, y = ends[:2], np.abs(ends[2:])
        positive = rng.random(trials) < 0.5  # so that more is defined
        x[:, positive] = np.abs(x[:, positive])
        points = [np.concatenate([*v, v.mean(axis=0)]) for v in (x, y)]
        with np.errstate(all="ignore"):
            found = random_monomial(np.random.default_rng(seed), 3 * trials).evaluate(*points)
        values = {"x": points[0], "y": points[1], **dict(zip(analysis.program.outputs, found, strict=True))}
        ok = _granted(analysis, values).reshape(3, trials).all(axis=0)
        for name, value, f in zip(analysis.program.outputs, analysis.outputs, found, strict=True):
            fa, fb, fm = (part[ok] for part in np.split(f, 3))
            gap = fm - (fa + fb) / 2
            slack = 1e-9 * (1 + np.abs(fa) + np.abs(fb) + np.abs(fm))
            up = (value.curvature & UP).astype(bool)
            down = (value.curvature & DOWN).astype(bool)
            assert ((gap > -slack) | up).all(), (seed, name)
            assert ((gap < slack) | down).all(), (seed, name)
            told += int((up ^ down).sum()) * bool(ok.any())
    assert told > 500


def test_a_product_that_is_too_long_is_left_alone() -> None:
    def product(x: Tensor, y: Tensor) -> Tensor:
        result = y[0].pow(0.01)
        for i in range(1, 12):
            result = result * (y[0] + i).pow(0.01)
        return result

    assert jensen.curvature(product, (X, Y), nonnegative=1).kind == "unknown"
