"""The convex energy, the quadratic one that it starts from, and a feed-forward network."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

import jensen
from jensen.minimize import ArgminLayer, BatchedMinimum, minimize_batch
from jensen.nn import FICNN

TOLERANCE, TRAINING_TOLERANCE = 1e-8, 1e-3
"""Gaps relative to max(1, |value|); in training two more Newton steps follow."""
START = 0.02
"""Weight of what is added to the quadratic energy at first."""


def precision_of(rows: Tensor, ridge: float) -> Tensor:
    """Invert the covariance matrix of standardised rows, of which `ridge` times the identity is a part."""
    precision: Tensor = torch.linalg.inv(
        (1 - ridge) * torch.cov(rows.T) + ridge * torch.eye(rows.shape[1]).to(rows)
    )
    return precision


def conditional_mean(precision: Tensor, given: Tensor) -> Tensor:
    """Minimise <y, precision y> over the missing entries: a Gaussian's mean given the others.

    Parameters
    ----------
    precision : (columns, columns) tensor
    given : (batch, columns) tensor
        NaN where an entry is missing.
    """
    missing, known = given.isnan(), given.nan_to_num(0.0)
    chosen = missing.to(known)
    matrix = precision * chosen[:, :, None] * chosen[:, None, :] + torch.diag_embed(1 - chosen)
    return torch.where(missing, torch.linalg.solve(matrix, -(known @ precision) * chosen), known)


class Energy(nn.Module):
    """argmin over the missing entries of f(y), convex in all entries, within the range of the training rows.

    f is a `FICNN` with one layer of squared ReLUs, so piecewise quadratic: the minimiser is piecewise affine
    in what is known. relu(v)^2 + relu(-v)^2 = v^2, so 2 n of the neurons hold any quadratic function
    exactly. Training starts at that of the Gaussian, and further neurons with small weights.

    Parameters
    ----------
    precision : (columns, columns) tensor
    lo, hi : (columns,) tensors
    neurons : int
        Further ones.
    """

    precision: Tensor
    lo: Tensor
    hi: Tensor

    def __init__(self, precision: Tensor, lo: Tensor, hi: Tensor, neurons: int) -> None:
        super().__init__()
        for name, value in (("precision", precision), ("lo", lo), ("hi", hi)):
            self.register_buffer(name, value)
        n = len(precision)
        self.f = FICNN(n, (2 * n + neurons,), "squared_relu")
        root = torch.linalg.cholesky(precision).T
        directions = nn.functional.normalize(torch.randn(neurons, n))
        with torch.no_grad():
            self.f.first.weight.copy_(torch.cat([root, -root, directions]))
            self.f.first.bias.copy_(torch.cat([torch.zeros(2 * n), torch.randn(neurons)]))
            last, skip = (cast(nn.Linear, part[0]) for part in (self.f.hidden, self.f.skips))
            last.weight = torch.cat([torch.full((2 * n,), 0.5), torch.full((neurons,), START / 2)])[None]
            skip.weight.zero_()

    def _boxes(self, given: Tensor) -> tuple[Tensor, Tensor]:
        """Give each row its box: what is known has one value."""
        missing = given.isnan()
        return torch.where(missing, self.lo, given), torch.where(missing, self.hi, given)

    def minimise(self, given: Tensor) -> BatchedMinimum:
        """Minimise to a gap, from the minimiser of the quadratic energy on."""
        lo, hi = self._boxes(given)
        start = conditional_mean(self.precision, given).clamp(lo, hi)
        return minimize_batch(
            self.f, (lo, hi), start=start, method="newton", tolerance=TOLERANCE, max_iterations=200
        )

    def forward(self, given: Tensor) -> Tensor:
        """Complete rows (batch, columns) with NaN where an entry is missing; with gradients in training."""
        if not self.training:
            return self.minimise(given).point
        layer = ArgminLayer(self.f, self._boxes(given), None, tolerance=TRAINING_TOLERANCE)
        completed: Tensor = layer(batch=len(given))
        return completed

    def verdict(self) -> str:
        """Say whether f is convex."""
        return jensen.check(self.f).kind


class Denoiser(nn.Module):
    """Two hidden layers of ReLUs from entries, 0 where missing, and what is missing to all entries.

    Parameters
    ----------
    columns, width : int
    dropout : float
    precision : (columns, columns) tensor, optional
        With it missing entries are the Gaussian's conditional mean, and the network's output is added to it.
    """

    precision: Tensor | None

    def __init__(self, columns: int, width: int, dropout: float, precision: Tensor | None = None) -> None:
        super().__init__()
        self.register_buffer("precision", precision)
        last = nn.Linear(width, columns)
        self.net = nn.Sequential(
            *(nn.Linear(2 * columns, width), nn.ReLU(), nn.Dropout(dropout)),
            *(nn.Linear(width, width), nn.ReLU(), nn.Dropout(dropout), last),
        )
        if precision is not None:
            with torch.no_grad():
                last.weight.mul_(START)
                last.bias.zero_()

    def forward(self, given: Tensor) -> Tensor:
        """Complete rows (batch, columns) that have NaN where an entry is missing."""
        missing = given.isnan()
        start = given.nan_to_num(0.0) if self.precision is None else conditional_mean(self.precision, given)
        found = self.net(torch.cat([start, missing.to(start)], 1))
        return torch.where(missing, found if self.precision is None else start + found, start)
