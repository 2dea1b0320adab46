"""Functions written as several operators: entropies, sums of the k largest, quadratic forms."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import jensen
from jensen.calculus._definite import is_semidefinite

X = torch.ones(3)
ROWS = torch.ones(4, 3)
P = torch.tensor([[2.0, -1.0, 0.0], [-1.0, 2.0, -1.0], [0.0, -1.0, 2.0]])
INDEFINITE = torch.tensor([[1.0, 2.0, 0.0], [2.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
SKEW = torch.tensor([[1.0, 5.0, 0.0], [-5.0, 1.0, 0.0], [0.0, 0.0, 0.0]])

KINDS: list[tuple[str, Callable[..., Tensor], Tensor, str]] = [
    ("entropy", lambda x: (x * x.log()).sum(), X, "convex"),
    ("entropy, other order", lambda x: -(x.log2() * x).sum(), X, "concave"),
    ("entropy by xlogy", lambda x: torch.xlogy(x, x).sum(), X, "convex"),
    ("entropy of an affine function", lambda x: ((2 * x + 1) * (2 * x + 1).log()).sum(), X, "convex"),
    ("weighted logarithms", lambda x: torch.xlogy(ROWS[0], x).sum(), X, "concave"),
    ("other logarithms", lambda x: x[0] * x[1].log(), X, "unknown"),
    ("cross terms of an entropy", lambda x: (x * x.flip(0).log()).sum(), X, "unknown"),
    ("two largest", lambda x: x.exp().topk(2).values.sum(), X, "convex"),
    ("two largest of concave", lambda x: x.sigmoid().topk(2).values.sum(), X, "unknown"),
    ("two smallest", lambda x: x.topk(2, largest=False)[0].mean(), X, "concave"),
    ("largest of every row", lambda x: x.topk(2, -1).values.sum(-1), ROWS, "convex"),
    ("largest of all rows", lambda x: x.topk(2, 0).values.sum(), ROWS, "convex"),
    ("sum along another axis", lambda x: x.topk(2, 1).values.sum(0), ROWS, "unknown"),
    ("one of the largest", lambda x: x.topk(2).values[1], X, "unknown"),
    ("quadratic form", lambda x: x @ P @ x, X, "convex"),
    ("quadratic form, other order", lambda x: x @ (P @ x), X, "convex"),
    ("quadratic form, negative", lambda x: x @ -P @ x, X, "concave"),
    ("quadratic form, indefinite", lambda x: x @ INDEFINITE @ x, X, "unknown"),
    ("quadratic form, not symmetric", lambda x: x @ SKEW @ x, X, "convex"),
    ("quadratic forms of rows", lambda x: (x @ P * x).sum(-1), ROWS, "convex"),
    ("quadratic forms by linear", lambda x: (x * torch.nn.functional.linear(x, P)).sum(1), ROWS, "convex"),
    ("sum over all rows", lambda x: (x @ P * x).sum(0), ROWS, "unknown"),
    ("of a convex function", lambda x: x.square() @ P @ x.square(), X, "unknown"),
    ("of two vectors", lambda x: x @ P @ x.flip(0), X, "unknown"),
    ("cumulative", lambda x: (2 * x).logcumsumexp(0).sum(), X, "convex"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "function", "example", "kind"), KINDS, ids=[k[0] for k in KINDS])
def test_kinds(name: str, function: Callable[..., Tensor], example: Tensor, kind: str) -> None:
    found = jensen.curvature(function, example)
    assert found.kind == kind, (name, str(found))
    # What is claimed holds at random points, on the positive orthant where logarithms need it.
    generator = torch.Generator().manual_seed(0)
    for _ in range(200):
        x, y = (torch.rand(example.shape, generator=generator, dtype=torch.float64) * 3 + 1e-3 for _ in "xy")
        if not found.conditions:
            x, y = x - 1.5, y - 1.5
        fx, fy, fm = (function(v.float()).double().reshape(-1) for v in (x, y, (x + y) / 2))
        gap = fm - (fx + fy) / 2
        for value, word in zip(gap.tolist(), found.outputs[0].ravel(), strict=True):
            assert word not in ("convex", "affine") or value < 1e-4
            assert word not in ("concave", "affine") or value > -1e-4


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 5), st.integers(0, 5), st.integers(0, 2**32 - 1))
def test_semidefinite_matrices_are_recognised_exactly(n: int, rank: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    factor = rng.integers(-3, 4, (n, rank)).astype(float)
    skew = rng.integers(-3, 4, (n, n)).astype(float)
    form = factor @ factor.T + skew - skew.T
    assert is_semidefinite(form)
    v = rng.integers(-3, 4, n).astype(float)
    # Just below zero along v, however little: with v' v a whole number nothing here rounds.
    tiny = 2.0**-40
    values = np.linalg.eigvalsh((form + form.T) / 2 - tiny * np.outer(v, v))
    if values[0] < -1e-10 or not v.any():
        assert is_semidefinite(form - tiny * np.outer(v, v)) == (not v.any())
    indefinite = form - (np.trace(form) + 1) * np.eye(n)
    assert not is_semidefinite(indefinite)


def test_a_singular_form_a_hair_below_zero_is_not_semidefinite() -> None:
    flat = np.array([[1.0, 1.0], [1.0, 1.0]])
    assert is_semidefinite(flat)
    assert not is_semidefinite(flat - np.array([[0.0, 0.0], [0.0, 2.0**-52]]))
    assert not is_semidefinite(np.array([[0.0, 5e-324], [5e-324, 1.0]]))
