"""Affine pieces and rows that meet at a minimiser: Newton's method for their weights, and the adjoint system.

With normals a_k (slopes of pieces, then of rows), heights a_k.y + b_k and weights w_k a minimiser of
max_k (piece k) + r on the rows is y = argmin <sum w_k a_k, y> + r(y), where the weights of the pieces add up
to 1, pieces with weight are equally high, and rows with weight are at 0.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from jensen.errors import ArgumentError
from jensen.minimize.tensors._record import rounding
from jensen.minimize.tensors._separable import Separable

_STEPS = 10
_NOISE = 16
"""Slopes that differ by so many units of f's rounding may be the same."""


@dataclass(frozen=True)
class Meeting:
    """The pieces and rows of a batch.

    Attributes
    ----------
    points : (batch, pieces, n) tensor
        Where the pieces were found.
    normals : (batch, pieces + rows, n) tensor
    offsets, weights : (batch, pieces + rows) tensors
        Of weight 0 is what does not count.
    eps : float
        The unit roundoff of f's gradients.
    """

    points: Tensor
    normals: Tensor
    offsets: Tensor
    weights: Tensor
    eps: float

    @property
    def pieces(self) -> int:
        """Number of pieces; the rows stand behind them."""
        return self.points.shape[1]

    def minimiser(self, term: Separable) -> tuple[Tensor, Tensor]:
        """Give y and the curvatures -dy/dslope of the term there."""
        return term.minimiser((self.weights[:, None] @ self.normals)[:, 0])

    def bound(self, term: Separable) -> Tensor:
        """Give the lower bound on max_k (piece k) + r on the rows that the weights prove, (batch,)."""
        slope = (self.weights[:, None] @ self.normals)[:, 0]
        paid, least = (self.weights * self.offsets).sum(1), term.minimum(slope)
        return paid + least - rounding(paid, least)

    def polished(self, term: Separable) -> Meeting:
        """Solve for the weights by Newton's method, without those that turn out negative.

        The best weights on the way are kept: those with the smallest gap between the pieces' maximum and what
        the weights prove. So nothing is lost where Newton's method strays.
        """
        at, best = self, self.weights
        least = torch.full_like(best[:, 0], torch.inf)
        for step in range(_STEPS + 1):
            y, curvature = at.minimiser(term)
            heights = torch.baddbmm(self.offsets[..., None], self.normals, y[..., None])[..., 0]
            gap = at._gap(heights)
            better = gap < least
            best, least = torch.where(better[:, None], at.weights, best), torch.where(better, gap, least)
            if step == _STEPS or not bool(at._strays(heights).any()):
                break
            at = at._newton_step(heights, curvature)
        return replace(self, weights=best)

    def adjoint(self, curvature: Tensor, cotangent: Tensor) -> tuple[Tensor, Tensor]:
        """Solve for p (batch, n) and q (batch, pieces + rows) with p = C (cotangent - A'q) and A p level."""
        scaled, _ = _scaled(curvature)
        right = (self.normals @ (scaled * cotangent)[..., None])[..., 0]
        q = self.level(scaled, right)
        return curvature * (cotangent - (q[:, None] @ self.normals)[:, 0]), q

    def level(self, curvature: Tensor, right: Tensor) -> Tensor:
        """Solve (A diag(curvature) A' q)_k + s_k = right_k for those with weight; q = 0 elsewhere.

        s_k is the same number s for all pieces, whose q add up to 0, and 0 for rows. Where normals depend on
        one another q is not unique; all solutions give the same A'q.
        """
        size = self.normals.abs().amax((1, 2)).clamp_min(1e-100)[:, None]
        slopes, rows = (self.normals / size[..., None]).tensor_split([self.pieces], 1)
        mask = (self.weights > 0).to(right)
        inner, outer = mask.tensor_split([self.pieces], 1)
        ours, theirs = (right * mask).tensor_split([self.pieces], 1)
        # Slopes and right sides of pieces relative to their mean: that takes s away.
        count = inner.sum(1, keepdim=True)
        steep = ((slopes.square() @ curvature[..., None])[..., 0] * inner).amax(1, keepdim=True)
        slopes = (slopes - (inner[:, None] @ slopes) / count[..., None]) * inner[..., None]
        ours = (ours - ours.sum(1, keepdim=True) / count) * inner
        rows = rows * outer[..., None]
        # Rows first, for what they are is known to rounding; slopes are only known to that of f.
        bent = slopes * curvature[:, None]
        gram, cross = bent @ slopes.mT, bent @ rows.mT
        across = PseudoInverse((rows * curvature[:, None]) @ rows.mT, torch.zeros_like(steep))
        left = gram.diagonal(dim1=1, dim2=2).amax(1, keepdim=True) * _few(right)
        along = PseudoInverse(
            gram - cross @ across(cross.mT), torch.maximum(left, (_NOISE * self.eps) ** 2 * steep)
        )
        q = along((ours - times(cross, across(theirs[..., None])[..., 0]))[..., None])[..., 0] * inner
        prices = across((theirs - times(cross.mT, q))[..., None])[..., 0] * outer
        return torch.cat([q, prices], 1) / size**2

    def _gap(self, heights: Tensor) -> Tensor:
        """How far the pieces' maximum is above what the weights prove, and rows from where they should be."""
        pieces, rows = heights.tensor_split([self.pieces], 1)
        w, prices = self.weights.tensor_split([self.pieces], 1)
        wrong = torch.where(prices > 0, rows.abs(), rows.clamp_min(0.0))
        return pieces.amax(1) - (w * pieces).sum(1) + (wrong * (1 + prices)).sum(1)

    def _strays(self, heights: Tensor) -> Tensor:
        """Whether pieces with weight are not level, or rows with weight not at 0, beyond rounding."""
        pieces, rows = heights.tensor_split([self.pieces], 1)
        w, prices = self.weights.tensor_split([self.pieces], 1)
        high = torch.where(w > 0, pieces, -torch.inf).amax(1)
        spread = high - torch.where(w > 0, pieces, torch.inf).amin(1)
        off = torch.where(prices > 0, rows.abs(), 0.0).sum(1)
        size = 1 + self.offsets.abs().amax(1) + high.abs()
        return torch.maximum(spread, off) > size * (4 * torch.finfo(heights.dtype).eps)

    def _newton_step(self, heights: Tensor, curvature: Tensor) -> Meeting:
        """Step as far as weights stay nonnegative; those that reach 0 are out."""
        scaled, most = _scaled(curvature)
        step = self.level(scaled, heights) / most
        # Where r' is as good as infinite weights of any size make no difference: stay.
        step = torch.where(torch.isfinite(step).all(1, keepdim=True), step, 0.0)
        reach = torch.where(step < 0, -self.weights / step, torch.inf)
        length = reach.amin(1, keepdim=True).clamp_max(1.0)
        weights = torch.where(reach <= length, 0.0, self.weights + length * step).clamp_min(0.0)
        return replace(self, weights=weights)


class PseudoInverse:
    """The pseudoinverse of symmetric matrices; eigenvalues up to `least`, or to rounding, count as 0.

    Raises
    ------
    ArgumentError
        If an entry is not finite.
    """

    def __init__(self, matrix: Tensor, least: Tensor) -> None:
        if not bool(torch.isfinite(matrix).all()):
            raise ArgumentError("f's slopes are too large for floating-point numbers: scale f down")
        # Several cuts may be one piece, and pieces that meet in a corner depend on one another.
        values, self._vectors = torch.linalg.eigh(matrix)
        if values.shape[1]:
            least = torch.maximum(values[:, -1:] * _few(values), least)
        self._values = torch.where(values > least, 1 / values, 0.0)[..., None]

    def __call__(self, right: Tensor) -> Tensor:
        inverse: Tensor = self._vectors @ (self._values * (self._vectors.mT @ right))
        return inverse


def _few(like: Tensor) -> float:
    return 64 * torch.finfo(like.dtype).eps


def times(matrix: Tensor, vector: Tensor) -> Tensor:
    product: Tensor = (matrix @ vector[..., None])[..., 0]
    return product


def _scaled(curvature: Tensor) -> tuple[Tensor, Tensor]:
    """Divide curvatures by the largest of each sample; saturated entropies have some below 1e-300."""
    most = curvature.amax(1, keepdim=True)
    return torch.where(most > 0, curvature / most, 0.0), torch.where(most > 0, most, 1.0)
