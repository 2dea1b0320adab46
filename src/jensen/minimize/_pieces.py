"""The affine pieces of f that meet at a minimiser of f + r, as a bundle has found them."""

from __future__ import annotations

import torch
from torch import Tensor

from jensen.minimize._separable import Separable


class PieceRecord:
    """Cuts of a batch, and the weights with which they combine to -r'(y*) at the minimiser.

    Attributes
    ----------
    points, slopes : (batch, cuts, n) tensors
        Where each cut was made, and its slope.
    offsets, weights : (batch, cuts) tensors
        0 beyond the cuts that a sample has.
    """

    def __init__(self, like: Tensor) -> None:
        self._like = like
        self.points = self.slopes = like.new_zeros(len(like), 0, like.shape[1])
        self.offsets = self.weights = like.new_zeros(len(like), 0)

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

    def end(self, index: Tensor, weights: Tensor) -> None:
        """Take note of the weights of some samples."""
        self.weights[index, : weights.shape[1]] = weights

    def polish(self, term: Separable, steps: int = 4) -> Tensor:
        """Drop cuts without weight and solve for the weights of the others by Newton's method.

        Returns
        -------
        (batch, n) tensor
            The minimisers, to the precision of the dtype where the pieces were identified.
        """
        if self.weights.shape[1] == 0:
            return self._like
        floor = torch.finfo(self.weights.dtype).eps ** 0.5 * self.weights.amax(1, keepdim=True)
        w = torch.where(self.weights > floor, self.weights, 0.0)
        keep = int((w > 0).sum(1).max())
        order = w.topk(max(keep, 1), dim=1).indices
        wide = order[..., None].expand(-1, -1, self.points.shape[2])
        self.points, self.slopes = self.points.gather(1, wide), self.slopes.gather(1, wide)
        self.offsets, w = self.offsets.gather(1, order), w.gather(1, order)
        active = w > 0
        w = w / w.sum(1, keepdim=True)
        best, least = w, torch.full_like(w[:, 0], torch.inf)
        for step in range(steps + 1):
            y, curvature = term.minimiser((w[:, None] @ self.slopes)[:, 0])
            cuts = torch.baddbmm(self.offsets[..., None], self.slopes, y[..., None])[..., 0]
            # All cuts that carry weight must be equally high.
            middle = (cuts * active).sum(1, keepdim=True) / active.sum(1, keepdim=True)
            uneven = torch.where(active, cuts - middle, 0.0)
            error = uneven.abs().amax(1)
            better = (error < least) & (w >= 0).all(1)
            best, least = torch.where(better[:, None], w, best), torch.where(better, error, least)
            if step < steps:
                w = w + level(self.slopes, curvature, active, uneven)
        self.weights = best
        return term.minimiser((best[:, None] @ self.slopes)[:, 0])[0]


def level(slopes: Tensor, curvature: Tensor, active: Tensor, right: Tensor) -> Tensor:
    """Solve (A diag(curvature) A' q)_k + s = right_k for the active k with sum q = 0; q = 0 elsewhere.

    Where pieces depend on one another q is not unique; all solutions give the same A'q.
    """
    mask = active.to(slopes)
    count = mask.sum(1)[:, None]
    # Slopes and right sides relative to their mean over the active pieces: that takes s away.
    mean = (mask[:, None] @ slopes) / count[..., None]
    centred = (slopes - mean) * mask[..., None]
    right = (right - (right * mask).sum(1, keepdim=True) / count) * mask
    # Several cuts may be one piece, and pieces that meet in a corner depend on one another; what rounding
    # leaves of such differences must not count as a direction.
    values, vectors = torch.linalg.eigh((centred * curvature[:, None]) @ centred.mT)
    eps = torch.finfo(slopes.dtype).eps
    whole = (slopes.square() @ curvature[..., None])[..., 0].amax(1, keepdim=True)
    least = torch.maximum(64 * eps * values[:, -1:], (64 * eps) ** 2 * whole)
    inverse = torch.where(values > least, 1 / values, 0.0)
    along = (right[:, None] @ vectors)[:, 0] * inverse
    solution: Tensor = (vectors @ along[..., None])[..., 0]
    return solution * mask
