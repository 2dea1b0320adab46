"""The cuts of f and the rows of a polytope that a bundle has found to meet at a minimiser of f + r."""

from __future__ import annotations

import torch
from torch import Tensor

from jensen.minimize.bundle._meeting import Meeting
from jensen.minimize.polytopes._rows import Rows
from jensen.minimize.tensors._separable import Separable


class PieceRecord:
    """Cuts of a batch, and the weights with which they and the rows combine to -r'(y*) at the minimiser.

    Attributes
    ----------
    points, slopes : (batch, cuts, n) tensors
        Where each cut was made, and its slope.
    offsets, weights : (batch, cuts) tensors
        0 beyond the cuts that a sample has.
    prices : (batch, rows) tensor
        Multipliers of the rows, in the order of `Rows.with_bounds`.
    """

    def __init__(self, like: Tensor, rows: Rows | None = None) -> None:
        self.points = self.slopes = like.new_zeros(len(like), 0, like.shape[1])
        self.offsets = self.weights = like.new_zeros(len(like), 0)
        self.G, self.h = like.new_zeros(0, like.shape[1]), self.offsets
        if rows is not None:
            self.G, self.h = rows.with_bounds()
        self.prices = torch.zeros_like(self.h)

    def add(self, index: Tensor, place: int, point: Tensor, slope: Tensor, offset: Tensor) -> None:
        """Take note of a cut of some samples."""
        if place >= self.offsets.shape[1]:
            more = max(8, place)
            wide = self.points.new_zeros(len(self.points), more, self.points.shape[2])
            self.points, self.slopes = torch.cat([self.points, wide], 1), torch.cat([self.slopes, wide], 1)
            self.offsets, self.weights = (
                torch.cat([t, wide[..., 0]], 1) for t in (self.offsets, self.weights)
            )
        self.points[index, place], self.slopes[index, place] = point, slope
        self.offsets[index, place] = offset

    def end(self, index: Tensor, weights: Tensor, prices: Tensor) -> None:
        """Take note of the weights and multipliers of some samples."""
        if weights.shape[1] == 0:  # after a single evaluation, with a single cut
            weights = torch.ones_like(self.weights[index, :1])
        self.weights[index, : weights.shape[1]] = weights
        self.prices[index] = prices

    def meeting(self, term: Separable, eps: float) -> Meeting:
        """Keep the cuts that carry weight and the rows that hold the minimisers.

        Parameters
        ----------
        term : Separable
        eps : float
            The unit roundoff of f's gradients.
        """
        tiny = torch.finfo(self.weights.dtype).eps ** 0.5
        weights = torch.where(self.weights > tiny * self.weights.amax(1, keepdim=True), self.weights, 0.0)
        slope = (weights[:, None] @ self.slopes)[:, 0] + self.prices @ self.G
        weights, points, slopes, offsets = _heaviest(weights, self.points, self.slopes, self.offsets)
        # Samples with fewer cuts than others repeat their first one, with no weight.
        weights, own = weights / weights.sum(1, keepdim=True), weights > 0
        slopes = torch.where(own[..., None], slopes, slopes[:, :1])
        offsets = torch.where(own, offsets, offsets[:, :1])
        if not len(self.G):
            return Meeting(points, slopes, offsets, weights, eps)
        # Multiplier and room: of a pair one is 0, and what is left of it small beside the other.
        y, _ = term.minimiser(slope)
        room = (self.h - y @ self.G.mT).abs()
        most, wide = self.prices.amax(1, keepdim=True), 1 + y.abs().amax(1, keepdim=True)
        holds = (self.prices > tiny * most) & (self.prices * wide > room * most)
        prices, normals, ends = _heaviest(
            torch.where(holds, self.prices, 0.0), self.G.expand(len(y), -1, -1), -self.h
        )
        return Meeting(
            points,
            torch.cat([slopes, normals], 1),
            torch.cat([offsets, ends], 1),
            torch.cat([weights, prices], 1),
            eps,
        )


def _heaviest(weights: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
    """Keep as many columns as the sample with most positive weights has, and what stands beside them."""
    count = (weights > 0).sum(1)
    order = weights.topk(int(count.max()) if len(count) else 0, dim=1).indices
    kept = [weights.gather(1, order)]
    for other in others:
        index = order if other.ndim == 2 else order[..., None].expand(-1, -1, other.shape[2])
        kept.append(other.gather(1, index))
    return tuple(kept)
