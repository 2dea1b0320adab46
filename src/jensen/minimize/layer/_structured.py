"""Losses for training networks whose prediction is an argmin over y: for any f(x, y) convex in y."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from jensen.errors import ArgumentError
from jensen.minimize._arguments import as_tolerance
from jensen.minimize.bundle._bundle import minimise_by_bundle
from jensen.minimize.bundle._pieces import PieceRecord
from jensen.minimize.layer._accuracy import warn_of
from jensen.minimize.layer._implicit import on_pieces
from jensen.minimize.layer._layer import ArgminLayer
from jensen.minimize.tensors._convex import Function
from jensen.minimize.tensors._problem import torch_problem, weights_at_rest
from jensen.minimize.tensors._separable import Entropy
from jensen.network._numbers import as_count, as_positive

Loss = Callable[[Tensor, Tensor], Tensor]


class MaxMarginLoss(nn.Module):
    """Structured hinge loss with loss-augmented inference, for labels in the unit box.

    For the energy E(x, y) = f(x, y) - weight * H(y) and the Hamming loss D(y, t) = sum_j |y_j - t_j|, which
    is linear in y for labels t of 0 and 1, a sample's loss is

        max over y in [0, 1]^n of  margin * D(y, t) - E(x, y) + E(x, t)  >= 0,

    whose inner problem is the minimisation of a convex function. The gradient in the weights is that of
    f(x, t) - f(x, y*) at the maximiser y* (Danskin); where y* lies on a kink, that of the pieces
    that meet there, combined with their multipliers.

    Parameters
    ----------
    f : torch.nn.Module
        f(x, y), convex in y.
    margin : float, default 1.0
    weight : float, default 1.0
        Of the entropy; the bundle entropy method solves the inner problems.
    tolerance : float, default 1e-6
        Gap of the inner problems, relative to max(1, |value|): a loss is too small by as much at most.
    max_iterations : int, default 50
    reduction : {"mean", "sum", "none"}
    assume_convex : bool, default False

    Raises
    ------
    ArgumentError
        If an argument makes no sense; when called, if f is not known to be convex in y.

    Warns
    -----
    jensen.errors.ConvergenceWarning
        When called, if inner problems missed the tolerance: their losses are too small by up to the gap.

    Notes
    -----
    Max-margin structured prediction with convex networks: Amos, Xu and Kolter, "Input Convex Neural
    Networks", ICML 2017.
    """

    def __init__(
        self,
        f: nn.Module,
        *,
        margin: float = 1.0,
        weight: float = 1.0,
        tolerance: float = 1e-6,
        max_iterations: int = 50,
        reduction: Literal["mean", "sum", "none"] = "mean",
        assume_convex: bool = False,
    ) -> None:
        super().__init__()
        if reduction not in ("mean", "sum", "none"):
            raise ArgumentError(f"reduction must be 'mean', 'sum' or 'none', got {reduction!r:.80}")
        self.f, self.reduction, self.assume_convex = f, reduction, assume_convex
        self.margin, self.weight = as_tolerance(margin, "margin"), as_positive(weight, "weight")
        self.tolerance = as_tolerance(tolerance)
        self.max_iterations = as_count(max_iterations, "max_iterations")

    def forward(self, x: Tensor, target: Tensor) -> Tensor:
        """Compute the loss.

        Parameters
        ----------
        x : (batch, ...) tensor
        target : (batch, *shape) tensor
            Entries 0 and 1.

        Returns
        -------
        Scalar tensor, or (batch,) without reduction

        Raises
        ------
        ArgumentError
            If the target has other entries.
        """
        if not bool(((target == 0) | (target == 1)).all()):
            raise ArgumentError("the targets of a max-margin loss must be 0 or 1")
        f: Function = self.f
        # |y - t| = t + (1 - 2 t) y for t of 0 and 1
        tilt = self.margin * (2 * target - 1)
        problem = torch_problem(f, (0.0, 1.0), x, linear=tilt, like=target, assume_convex=self.assume_convex)
        with torch.no_grad(), weights_at_rest(f):
            wide = problem.widened()
            term, pieces = Entropy.of(wide, self.weight), PieceRecord(wide.lo)
            found = minimise_by_bundle(
                wide.frozen(), term, self.tolerance, self.max_iterations, pieces=pieces
            )
            warn_of(~found.converged, found.gap)
            meeting = pieces.meeting(term, wide.eps)
            y, _ = meeting.minimiser(term)
        with weights_at_rest(f):
            least = on_pieces(wide, x, y, meeting) + (tilt.reshape(y.shape) * y).sum(1) + term.value(y)
        fixed = self.margin * target.reshape(y.shape).sum(1)
        # The target itself is feasible in the inner problem, and H is 0 there.
        loss = (fixed + f(x, target) - least.to(problem.lo.dtype)).clamp_min(0)
        if self.reduction == "none":
            return loss
        return loss.mean() if self.reduction == "mean" and len(loss) else loss.sum()


class ArgminLoss(nn.Module):
    """A loss of the minimiser itself: loss(argmin over y of f(x, y) + r(y), target).

    Parameters
    ----------
    layer : ArgminLayer
        Differentiates through the conditions of optimality or, with ``unrolled``, through a fixed number of
        steps.
    loss : callable, default torch.nn.functional.mse_loss
        Of (prediction, target).
    """

    def __init__(self, layer: ArgminLayer, loss: Loss = nn.functional.mse_loss) -> None:
        super().__init__()
        if not isinstance(layer, ArgminLayer):
            raise ArgumentError(f"an ArgminLoss takes an ArgminLayer, not a {type(layer).__name__}")
        self.layer, self.loss = layer, loss

    def forward(self, x: Tensor, target: Tensor) -> Tensor:
        """Predict by the layer and compare with the target."""
        return self.loss(self.layer(x), target)
