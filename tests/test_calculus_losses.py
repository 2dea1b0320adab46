"""Losses of PyTorch: what the calculus says of them, beside random trials and proofs of the contrary."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

import jensen

X = torch.linspace(-1, 1, 12).reshape(4, 3)
CLASSES = torch.tensor([0, 1, 2, 1])
SHARES = torch.tensor(
    [[0.2, 0.3, 0.5], [1.0, 0.0, 0.0], [0.1, 0.8, 0.3], [0.5, 0.5, 0.0]], dtype=torch.float64
)
SIGNED = torch.tensor([1.0, -1.0, 1.0], dtype=torch.float64)
RATES = torch.tensor([1.0, 0.0, 2.0], dtype=torch.float64)

LOSSES: list[tuple[str, Callable[[Tensor], Tensor], str]] = [
    ("classes", lambda x: functional.cross_entropy(x, CLASSES), "convex"),
    ("classes, some left out", lambda x: functional.cross_entropy(x, CLASSES, ignore_index=1), "convex"),
    ("weighted classes", lambda x: functional.cross_entropy(x, CLASSES, weight=RATES), "convex"),
    (
        "classes of negative weight",
        lambda x: functional.cross_entropy(x, CLASSES, SIGNED, reduction="sum"),
        "unknown",
    ),
    ("smoothed", lambda x: functional.cross_entropy(x, CLASSES, label_smoothing=0.1), "convex"),
    (
        "smoothed of convex",
        lambda x: functional.cross_entropy(x.abs(), CLASSES, label_smoothing=0.1),
        "unknown",
    ),
    ("probabilities", lambda x: functional.cross_entropy(x, SHARES), "convex"),
    ("probabilities, each", lambda x: functional.cross_entropy(x, SHARES, reduction="none"), "convex"),
    ("weighted probabilities", lambda x: functional.cross_entropy(x, SHARES, weight=RATES), "convex"),
    ("one vector", lambda x: functional.cross_entropy(x[0], SHARES[0]), "convex"),
    ("negative shares", lambda x: functional.cross_entropy(x, -SHARES), "unknown"),
    ("logistic", lambda x: functional.binary_cross_entropy_with_logits(x, SHARES), "convex"),
    (
        "logistic, targets beyond 1",
        lambda x: functional.binary_cross_entropy_with_logits(x, 3 * SHARES),
        "convex",
    ),
    (
        "weighted positive",
        lambda x: functional.binary_cross_entropy_with_logits(x, SHARES, pos_weight=RATES),
        "convex",
    ),
    (
        "negative weight",
        lambda x: functional.binary_cross_entropy_with_logits(x, SHARES, pos_weight=SIGNED),
        "unknown",
    ),
    (
        "beyond 1, weighted",
        lambda x: functional.binary_cross_entropy_with_logits(x, 3 * SHARES, pos_weight=RATES),
        "unknown",
    ),
    ("logistic of convex", lambda x: functional.binary_cross_entropy_with_logits(x.abs(), SHARES), "unknown"),
    ("likelihood of log soft max", lambda x: functional.nll_loss(x.log_softmax(-1), CLASSES), "convex"),
    (
        "likelihood, weighted",
        lambda x: functional.nll_loss(x.log_softmax(-1), CLASSES, weight=RATES),
        "convex",
    ),
    (
        "likelihood, negative weight",
        lambda x: functional.nll_loss(x.log_softmax(-1), CLASSES, SIGNED, reduction="sum"),
        "unknown",
    ),
    ("likelihood of scores", lambda x: functional.nll_loss(x, CLASSES), "affine"),
    (
        "likelihood, some left out",
        lambda x: functional.nll_loss(x.log_softmax(-1), CLASSES, ignore_index=1),
        "convex",
    ),
    ("divergence", lambda x: functional.kl_div(x.log_softmax(-1), SHARES, reduction="batchmean"), "convex"),
    (
        "divergence, logarithms",
        lambda x: functional.kl_div(x.log_softmax(-1), SHARES.log1p(), log_target=True, reduction="sum"),
        "convex",
    ),
    ("divergence of scores", lambda x: functional.kl_div(x, SHARES, reduction="none"), "affine"),
    ("squared", lambda x: functional.mse_loss(x, SHARES), "convex"),
    ("squared, of convex above the targets", lambda x: functional.mse_loss(x.relu(), -SHARES), "convex"),
    ("squared, of convex", lambda x: functional.mse_loss(x.relu(), SHARES), "unknown"),
    ("counts", lambda x: functional.poisson_nll_loss(x, SHARES), "convex"),
    ("margins", lambda x: functional.multi_margin_loss(x, CLASSES), "convex"),
]


@pytest.mark.parametrize(("name", "loss", "kind"), LOSSES, ids=[entry[0] for entry in LOSSES])
def test_losses(name: str, loss: Callable[[Tensor], Tensor], kind: str) -> None:
    found = jensen.curvature(loss, X)
    assert found.kind == kind, str(found)
    generator = torch.Generator().manual_seed(0)
    bends = []
    for _ in range(400):
        a, b = torch.randn(2, 4, 3, dtype=torch.float64, generator=generator) * 3
        if torch.rand(1, generator=generator) < 0.5:
            b = a + (b * (torch.rand(4, 3, generator=generator) < 0.2)) / 3
        fx, fy, fm = (loss(v).ravel() for v in (a, b, (a + b) / 2))
        bends.append((fm - (fx + fy) / 2).max().item() / (1 + fx.abs().max().item()))
    if kind == "unknown":
        assert max(bends) > 1e-6, name  # it is indeed not convex
    else:
        assert max(bends) < 1e-12, name
        assert kind != "affine" or min(bends) > -1e-12


def written(x: Tensor) -> Tensor:
    y = torch.zeros(4, 3, dtype=x.dtype)
    y[torch.tensor([0, 1])] = x[:2].abs()
    y[2] = -x[2].abs()
    return y


def twice(x: Tensor) -> Tensor:
    y = torch.zeros(4, 3, dtype=x.dtype)
    y[torch.tensor([0, 0])] = torch.stack([x[0].abs(), -x[1].abs()])
    return y


def truncated(x: Tensor) -> Tensor:
    y = torch.zeros(4, 3, dtype=torch.int64)
    y[0] = x[0].abs()
    return y.to(x.dtype)


INDEX = CLASSES[:, None].expand(4, 3)

MOVES: list[tuple[str, Callable[[Tensor], Tensor], list[str]]] = [
    ("written", written, ["convex"] * 6 + ["concave"] * 3 + ["constant"] * 3),
    ("written twice", twice, ["unknown"] * 12),
    ("written among integers", truncated, ["unknown"] * 12),
    ("added up", lambda x: torch.zeros(3, 3, dtype=x.dtype).scatter_add(0, INDEX, x.abs()), ["convex"] * 9),
    (
        "taken off",
        lambda x: torch.ones(4, 3, dtype=x.dtype).index_add(0, CLASSES, x.abs(), alpha=-2),
        ["concave"] * 9 + ["constant"] * 3,
    ),
    (
        "embedded",
        lambda x: functional.embedding(CLASSES, torch.stack([x[0], x[1].abs(), -x[2].abs()])),
        ["affine"] * 3 + ["convex"] * 3 + ["concave"] * 3 + ["convex"] * 3,
    ),
    ("nearest", lambda x: functional.interpolate(x[None, None].abs(), scale_factor=2), ["convex"] * 48),
    (
        "between",
        lambda x: functional.interpolate(x[None, None].abs(), size=(3, 3), mode="bilinear"),
        ["convex"] * 9,
    ),
    (
        "cubic",
        lambda x: functional.interpolate(x[None, None].abs(), size=(3, 3), mode="bicubic"),
        ["unknown"] * 9,
    ),
    ("patches", lambda x: functional.unfold(x[None, None].abs(), 2).sum(1), ["convex"] * 6),
    ("windows", lambda x: x.abs().unfold(0, 2, 1).sum(-1), ["convex"] * 9),
    ("running", lambda x: x.cummax(0)[0], ["convex"] * 12),
    ("running smallest", lambda x: x.cummin(0)[0][3], ["concave"] * 3),
    ("distance", lambda x: torch.dist(x, SHARES.to(x), 3), ["convex"]),
    ("no distance", lambda x: torch.dist(x, SHARES.to(x), 0.5), ["unknown"]),
]


@pytest.mark.parametrize(("name", "function", "kinds"), MOVES, ids=[entry[0] for entry in MOVES])
def test_moves(name: str, function: Callable[[Tensor], Tensor], kinds: list[str]) -> None:
    del name
    found = jensen.curvature(function, X)
    assert np.concatenate([np.ravel(part) for part in found.outputs]).tolist() == kinds, str(found)
