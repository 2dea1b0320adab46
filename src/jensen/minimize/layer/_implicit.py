"""Gradients through an argmin, by the implicit function theorem.

At a minimiser of f(theta, y) + r(y) the optimality conditions determine y as a function of theta. Where f is
smooth they are grad f + r' = 0 in the free coordinates. Where f is piecewise affine with pieces c_k that meet
at y they are sum_k w_k grad c_k + r' = 0, c_k(y) = c_l(y), sum_k w_k = 1. For a cotangent of y the adjoint
system of each gives p (and q for the pieces), and the gradient is that of -<p, grad f>, or of
-sum_k (w_k <p, grad c_k> + q_k c_k(y)).
Coordinates at a bound, with a multiplier, do not move.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from jensen.minimize.batched._newton import second_order, solver_on
from jensen.minimize.bundle._meeting import Meeting
from jensen.minimize.tensors._problem import TorchProblem, weights_at_rest
from jensen.minimize.tensors._separable import Separable

Adjoint = Callable[[Tensor], tuple[Tensor, Callable[[Tensor | None], Tensor]]]
"""From the cotangent (batch, n) to p, and to a function of x whose gradient is the one wanted."""


def smooth_adjoint(problem: TorchProblem, term: Separable, y: Tensor, inner: bool) -> Adjoint:
    """Make the adjoint for a smooth f.

    Parameters
    ----------
    problem : TorchProblem
    term : Separable
    y : (batch, n) tensor
        The minimisers.
    inner : bool
        Whether r keeps minimisers inside the box, so that no bound is active.
    """

    def adjoint(cotangent: Tensor) -> tuple[Tensor, Callable[[Tensor | None], Tensor]]:
        _, slope, hessian = second_order(problem, y)
        first, second = term.derivatives(y)
        free = problem.lo < problem.hi
        if not inner:
            gradient = slope + first
            free &= ~((y <= problem.lo) & (gradient > 0)) & ~((y >= problem.hi) & (gradient < 0))
        hessian.diagonal(dim1=1, dim2=2).add_(second)
        p = solver_on(hessian, free, torch.zeros_like(y[:, 0]))(cotangent)

        def scalar(x: Tensor | None) -> Tensor:
            return -directional(problem, x, y, torch.zeros_like(y[:, 0]), p)

        return p, scalar

    return adjoint


def piecewise_adjoint(problem: TorchProblem, term: Separable, y: Tensor, meeting: Meeting) -> Adjoint:
    """Make the adjoint for a piecewise affine f from what meets at the minimisers y."""

    def adjoint(cotangent: Tensor) -> tuple[Tensor, Callable[[Tensor | None], Tensor]]:
        _, curvature = meeting.minimiser(term)
        p, q = meeting.adjoint(curvature, cotangent)
        w = meeting.weights[:, : meeting.pieces]
        sample, piece = torch.nonzero(w > 0, as_tuple=True)
        point = meeting.points[sample, piece]
        factor = q[sample, piece]
        direction = w[sample, piece, None] * p[sample] + factor[:, None] * (y[sample] - point)

        def scalar(x: Tensor | None) -> Tensor:
            there = None if x is None else x[sample]
            return -directional(problem, there, point, factor, direction)

        return p, scalar

    return adjoint


def on_pieces(problem: TorchProblem, x: Tensor | None, y: Tensor, meeting: Meeting) -> Tensor:
    """Values of f at minimisers y, (batch,), whose gradients are those of the minimum.

    On a kink f(theta, y) has a gradient in theta for every piece. The minimum's is their combination with the
    weights that also combine the pieces' slopes to 0 (the envelope theorem).
    """
    there = replace(problem, linear=None)
    w = meeting.weights[:, : meeting.pieces]
    sample, piece = torch.nonzero(w > 0, as_tuple=True)
    part = replace(there, x=None if x is None else x[sample])
    with torch.enable_grad():
        point = meeting.points[sample, piece].detach().requires_grad_(True)
        value, slope = _with_slope(part, point)
        # Of the point's own share in the values nothing must be left but what stands here.
        combined = w[sample, piece] * (value + (slope * (y[sample] - point.detach())).sum(1))
        total = torch.zeros_like(y[:, 0]).index_add(0, sample, combined)
    with torch.no_grad():
        exact = replace(there, x=None if x is None else x.detach()).values(y)
    return exact + (total - total.detach())


def attach(
    y: Tensor, problem: TorchProblem, adjoint: Adjoint, parameters: Sequence[Tensor], *tied: Tensor | None
) -> Tensor:
    """Give minimisers their gradients.

    Parameters
    ----------
    y : (batch, n) tensor
    problem : TorchProblem
    adjoint : callable
    parameters : sequence of tensors
        What f depends on besides x and y.
    *tied : x, linear and centre
        x, with which f was called; (batch, n) slopes added to f, whose gradient is -p; and (batch, n)
        tensors of which r' depends as -z, whose gradient is p.
    """
    x, linear, centre = tied
    apply: Callable[..., Tensor] = _Implicit.apply
    return apply(problem, adjoint, y, x, linear, centre, *parameters)


class _Implicit(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        problem: TorchProblem,
        adjoint: Adjoint,
        y: Tensor,
        x: Tensor | None,
        linear: Tensor | None,
        centre: Tensor | None,
        *parameters: Tensor,
    ) -> Tensor:
        ctx.problem, ctx.adjoint, ctx.x, ctx.parameters = problem, adjoint, x, parameters
        return y.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        (cotangent,) = cotangents
        needs = ctx.needs_input_grad
        with weights_at_rest(ctx.problem.f):
            p, scalar = ctx.adjoint(cotangent)
            wanted = [t for t, need in zip(ctx.parameters, needs[6:], strict=True) if need]
            x = ctx.x
            if x is not None and needs[3]:
                x = x.detach().requires_grad_(True)
                wanted.insert(0, x)
            found: list[Tensor | None] = []
            if wanted:
                # Retained, because a caller's own cache may hold constrained weights that share this graph.
                with torch.enable_grad():
                    total = scalar(x)
                found = [None] * len(wanted)
                if total.requires_grad:
                    found = list(torch.autograd.grad(total, wanted, retain_graph=True, allow_unused=True))
        from_x = found.pop(0) if x is not None and needs[3] else None
        rest = iter(found)
        to_parameters = [next(rest) if need else None for need in needs[6:]]
        return (None, None, None, from_x, -p if needs[4] else None, p if needs[5] else None, *to_parameters)


def directional(
    problem: TorchProblem, x: Tensor | None, y: Tensor, factor: Tensor, direction: Tensor
) -> Tensor:
    """Sum of factor * f(x, y) + <grad_y f(x, y), direction>, differentiable in x and the weights."""
    there = replace(problem, x=x, linear=None)
    value, slope = _with_slope(there, y.detach().requires_grad_(True))
    return (factor * value).sum() + (slope * direction).sum()


def _with_slope(problem: TorchProblem, point: Tensor) -> tuple[Tensor, Tensor]:
    """Values and gradients at points, both differentiable."""
    value, slope = problem.values(point), torch.zeros_like(point)
    if value.requires_grad:
        (slope,) = torch.autograd.grad(
            value.sum(), point, create_graph=True, allow_unused=True, materialize_grads=True
        )
    return value, slope
