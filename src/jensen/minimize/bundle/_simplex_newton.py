"""The bundle's dual problem over the simplex, for a batch at once, by a primal-dual interior point method.

For cuts a_k.y + b_k and a separable term r the smallest value of max_k (a_k.y + b_k) + r(y) equals the
largest of D(w) = b.w + m(A'w) over weights w of the simplex, with m as in `Separable`. D is concave and
smooth; its gradient at w is the cuts' values at the minimiser y(w), and its Hessian -A diag(curvature) A'.
Every w of the simplex gives a valid lower bound, so the method may stop anywhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from jensen.minimize.tensors._separable import Separable

_MAX_STEPS = 40
_PATIENCE = 3
"""Steps in a row without progress after which a sample has met rounding."""
_TO_BORDER = 0.995
"""Share of the way to the border of the cone that a step may take."""


@dataclass(frozen=True)
class DualPoint:
    """Weights of the cuts and what follows from them.

    Attributes
    ----------
    weights : (batch, cuts) tensor
    slope : (batch, n) tensor
        Of the combined cut.
    offset : (batch,) tensor
        Of the combined cut.
    y : (batch, n) tensor
        Minimiser of the combined cut plus the term.
    """

    weights: Tensor
    slope: Tensor
    offset: Tensor
    y: Tensor


def maximise_over_simplex(
    slopes: Tensor, offsets: Tensor, term: Separable, weights: Tensor, tolerance: Tensor
) -> DualPoint:
    """Maximise D until it is known up to a tolerance, or floating-point numbers give no more.

    Parameters
    ----------
    slopes : (batch, cuts, n) tensor
    offsets : (batch, cuts) tensor
    term : Separable
    weights : (batch, cuts) tensor
        Where to begin; nonnegative, at least one of each row positive.
    tolerance : (batch,) tensor
        How far D may stay below its maximum.
    """
    count = offsets.shape[1]
    if count == 1:
        return _point(slopes, offsets, term, torch.ones_like(offsets))[0]
    w = weights / weights.sum(1, keepdim=True)
    w = w * 0.97 + 0.03 / count
    point, curvature = _point(slopes, offsets, term, w)
    cuts = _cuts(slopes, offsets, point.y)
    best, least = point, _gap(cuts, w)
    eps = torch.finfo(w.dtype).eps
    # The slack of a cut is the multiplier of w >= 0; at the optimum it is how far the cut lies below the
    # highest one. It begins at least as large as the gap, as far from the border as the weights.
    scale = least.clamp_min(torch.finfo(w.dtype).tiny / eps)[:, None]
    high = cuts.amax(1, keepdim=True)
    slack = torch.maximum(high + scale - cuts, scale)
    right = torch.ones_like(cuts)[..., None].repeat(1, 1, 2)
    centring = torch.full_like(least, 0.2)
    idle = torch.zeros_like(least)
    for _ in range(_MAX_STEPS):
        if not bool(((least > tolerance) & (idle <= _PATIENCE)).any()):
            break
        target = ((w * slack).mean(1) * centring)[:, None] / w
        ratio = slack / w
        gram = (slopes * curvature[:, None]) @ slopes.mT
        diagonal = gram.diagonal(dim1=1, dim2=2)
        diagonal += ratio + diagonal * (16 * eps)
        # Relative to the highest cut: the common height only moves `top`, and would drown the rest.
        right[..., 0] = cuts - high + target
        # A batch may hold a finished sample whose matrix is singular by now: it stays where it is.
        factor, info = torch.linalg.cholesky_ex(gram)
        both = torch.cholesky_solve(right, factor)
        top = both[..., 0].sum(1, keepdim=True) / both[..., 1].sum(1, keepdim=True)
        dw = both[..., 0] - top * both[..., 1]
        ds = target - slack - ratio * dw
        usable = torch.isfinite(dw).all(1) & torch.isfinite(ds).all(1) & (info == 0)
        length = torch.minimum(_to_border(w, dw), _to_border(slack, ds)).where(usable, 0.0)
        step = length[:, None]
        w = torch.where(step > 0, w + step * dw, w)
        slack = torch.where(step > 0, slack + step * ds, slack)
        centring = (1 - length).square().clamp_(0.01, 0.5)
        w = w / w.sum(1, keepdim=True)
        point, curvature = _point(slopes, offsets, term, w)
        cuts = _cuts(slopes, offsets, point.y)
        gap, high = _gap(cuts, w), cuts.amax(1, keepdim=True)
        better = gap < least
        best = _choose(better, point, best)
        least = torch.where(better, gap, least)
        idle = torch.where(better, 0, idle + 1)
    return best


def _point(slopes: Tensor, offsets: Tensor, term: Separable, weights: Tensor) -> tuple[DualPoint, Tensor]:
    slope = (weights[:, None] @ slopes)[:, 0]
    y, curvature = term.minimiser(slope)
    return DualPoint(weights, slope, (weights * offsets).sum(1), y), curvature


def _cuts(slopes: Tensor, offsets: Tensor, y: Tensor) -> Tensor:
    return torch.baddbmm(offsets[..., None], slopes, y[..., None])[..., 0]


def _gap(cuts: Tensor, weights: Tensor) -> Tensor:
    """Model's value at y(w) less D(w)."""
    return cuts.amax(1) - (cuts * weights).sum(1)


def _to_border(value: Tensor, step: Tensor) -> Tensor:
    """Largest length of at most 1 that keeps every value positive."""
    reach = torch.where(step < 0, -value / step, torch.inf).amin(1)
    return (reach * _TO_BORDER).clamp_max(1.0)


def _choose(mask: Tensor, yes: DualPoint, no: DualPoint) -> DualPoint:
    column = mask[:, None]
    return DualPoint(
        torch.where(column, yes.weights, no.weights),
        torch.where(column, yes.slope, no.slope),
        torch.where(mask, yes.offset, no.offset),
        torch.where(column, yes.y, no.y),
    )
