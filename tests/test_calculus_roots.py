"""Convex roots in the calculus: norms, deviations and their kin written out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from test_calculus_atoms import CASES, assert_shape, declared, evaluate
from test_calculus_soundness import tried_entries
from torch import Tensor
from torch.nn import functional

import jensen
from jensen.calculus import Atom
from jensen.calculus._elementary import power
from jensen.calculus._value import (
    NEGATIVE,
    POSITIVE,
    ROOT_CONVEX,
)

X = torch.ones(4, 3)
ONES = torch.ones(4, 3)

KINDS: list[tuple[str, Callable[..., Tensor], str]] = [
    ("norm", lambda x: x.square().sum().sqrt(), "convex"),
    ("group lasso", lambda x: (x.pow(2).sum(-1) + 1e-6).sqrt().sum(), "convex"),
    ("pseudo-Huber", lambda x: (1 + x * x).sqrt() - 1, "convex"),
    ("root mean square error", lambda x: functional.mse_loss(x, ONES).sqrt(), "convex"),
    ("deviation", lambda x: x.std(-1), "convex"),
    ("deviation written out", lambda x: x.var(-1).sqrt(), "convex"),
    ("deviation of a convex function", lambda x: x.relu().std(-1), "unknown"),
    ("norm of a convex function", lambda x: (x.relu() + 1).square().sum().sqrt(), "convex"),
    ("norm of one of two signs", lambda x: (x.relu() - 1).square().sum().sqrt(), "unknown"),
    ("length of a form", lambda x: (x[0] @ torch.eye(3) @ x[0]).sqrt(), "convex"),
    ("length of two", lambda x: torch.hypot(x[0], x[1]), "convex"),
    ("difference", lambda x: 3 - (1 + x.square()).sqrt(), "concave"),
    ("root less a number", lambda x: (x.square() - 0.1).sqrt(), "unknown"),
    ("root of a minimum", lambda x: torch.minimum(x[0].square(), x[1].square() + 1).sqrt(), "unknown"),
    ("root of a maximum", lambda x: torch.maximum(x[0].square(), x[1].square() + 1).sqrt(), "convex"),
    ("root of a product", lambda x: (x[0].square() * x[1].square()).sqrt(), "unknown"),
    ("root of an absolute value", lambda x: x.abs().sqrt(), "unknown"),
    ("cubes", lambda x: x.abs().pow(3).sum().sqrt(), "convex"),
    ("powers below two", lambda x: x.abs().pow(1.5).sum().sqrt(), "unknown"),
    ("a power above a half", lambda x: x.square().sum().pow(0.6), "convex"),
    ("a power below a half", lambda x: x.square().sum().pow(0.4), "unknown"),
    ("beside a posynomial", lambda x: (x.exp().sum() + x.square().sum()).sqrt(), "convex"),
    ("weights", lambda x: functional.linear(x.square(), torch.tensor([[1.0, 0.0, 2.0]])).sqrt(), "convex"),
    (
        "one negative weight",
        lambda x: functional.linear(x.square(), torch.tensor([[1.0, -1e-30, 2.0]])).sqrt(),
        "unknown",
    ),
    (
        "a negative bias",
        lambda x: functional.linear(x.square(), ONES[:1], torch.tensor([-1.0])).sqrt(),
        "unknown",
    ),
    ("matrix product of two that vary", lambda x: (x.square() @ x.square().T).sqrt(), "unknown"),
    ("padded", lambda x: functional.pad(x.square(), (1, 1), value=2.0).sum(-1).sqrt(), "convex"),
    ("pooled", lambda x: functional.avg_pool1d(x.square(), 3).sqrt(), "convex"),
]


@pytest.mark.parametrize(("name", "function", "kind"), KINDS, ids=[k[0] for k in KINDS])
def test_kinds(name: str, function: Callable[..., Tensor], kind: str) -> None:
    found = jensen.curvature(function, X)
    assert found.kind == kind, (name, str(found))


def roots_hold(atom: Atom, function: Callable[[np.ndarray], np.ndarray]) -> None:
    """Compare what an atom declares of roots with values on even grids."""
    x = np.linspace(-3.0 if atom.domain == "real" else 1e-3, 3.0, 1601)
    s = np.linspace(0.0, 3.0, 1601)
    with np.errstate(all="ignore"):
        if atom.root is not None:
            for half, sign in ((x[x >= 0], POSITIVE), (x[x <= 0], NEGATIVE)):
                if half.size and not (sign == NEGATIVE and atom.root.domain != "real"):
                    assert_shape(atom.root.shape_on(sign), np.sqrt(function(half)))
        for flag, change in ((atom.of_square, lambda v: v), (atom.root_of_square, np.sqrt)):
            if flag:
                values = change(function(s**2))
                assert (np.diff(values) >= -1e-12).all()
                assert (np.diff(values, 2) >= -1e-12 * (1 + values.max())).all()


@pytest.mark.parametrize(("packet", "arguments"), CASES, ids=str)
def test_an_atom_keeps_its_word_about_roots(packet: str, arguments: dict[str, float]) -> None:
    roots_hold(declared(packet, arguments), lambda x: evaluate(packet, arguments, x))


@pytest.mark.parametrize("p", [0.25, 0.5, 0.75, 1, 1.5, 2, 2.5, 3, 4, 5, 6, 7.5])
def test_powers_keep_theirs(p: float) -> None:
    atom = power(p)
    roots_hold(atom, lambda x: np.power(x, p))
    assert atom.of_square or atom.root_of_square or p in (0.25, 1)
    assert (atom.root is not None) == (p >= 2)


_NAMES = """abs square mul add sum mean amax maximum sqrt pow relu exp linalg_vector_norm clamp flip cumsum
    leaky_relu var softplus minimum neg"""
OPERATORS = frozenset(f"aten.{name}" for name in _NAMES.split())


@pytest.mark.filterwarnings("ignore")
def test_no_claim_about_a_root_is_refuted() -> None:
    told = 0
    for entry in (entry for seed in range(400) for entry in tried_entries(seed, OPERATORS)):
        if not entry.claims & ROOT_CONVEX:
            continue
        parts = entry.fx, entry.fy, entry.fm
        assert all((part >= 0).all() for part in parts), entry.where
        fx, fy, fm = map(np.sqrt, parts)
        gap = fm - (entry.weight * fx + (1 - entry.weight) * fy)
        assert (gap < 1e-7 * (1 + fx + fy)).all(), entry.where
        told += entry.varies
    assert told > 500
