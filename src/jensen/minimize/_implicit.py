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
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from jensen.minimize._newton import second_order, solver_on
from jensen.minimize._pieces import PieceRecord, level
from jensen.minimize._separable import Separable
from jensen.minimize._torch_problem import TorchProblem, weights_at_rest

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
            return -_directional(problem, x, y, torch.zeros_like(y[:, 0]), p)

        return p, scalar

    return adjoint


def piecewise_adjoint(problem: TorchProblem, term: Separable, y: Tensor, pieces: PieceRecord) -> Adjoint:
    """Make the adjoint for a piecewise affine f; the pieces are polished."""

    def adjoint(cotangent: Tensor) -> tuple[Tensor, Callable[[Tensor | None], Tensor]]:
        slopes, w = pieces.slopes, pieces.weights
        active = w > 0
        _, curvature = term.minimiser((w[:, None] @ slopes)[:, 0])
        right = (slopes @ (curvature * cotangent)[..., None])[..., 0]
        q = level(slopes, curvature, active, right)
        p = curvature * (cotangent - (q[:, None] @ slopes)[:, 0])
        sample, piece = torch.nonzero(active, as_tuple=True)
        point = pieces.points[sample, piece]
        factor = q[sample, piece]
        direction = w[sample, piece, None] * p[sample] + factor[:, None] * (y[sample] - point)

        def scalar(x: Tensor | None) -> Tensor:
            there = None if x is None else x[sample]
            return -_directional(problem, there, point, factor, direction)

        return p, scalar

    return adjoint


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
                    found = list(torch.autograd.grad(scalar(x), wanted, retain_graph=True, allow_unused=True))
        from_x = found.pop(0) if x is not None and needs[3] else None
        rest = iter(found)
        to_parameters = [next(rest) if need else None for need in needs[6:]]
        return (None, None, None, from_x, -p if needs[4] else None, p if needs[5] else None, *to_parameters)


def _directional(
    problem: TorchProblem, x: Tensor | None, y: Tensor, factor: Tensor, direction: Tensor
) -> Tensor:
    """Sum of factor * f(x, y) + <grad_y f(x, y), direction>, differentiable in x and the weights."""
    there = TorchProblem(problem.f, x, None, problem.lo, problem.hi, problem.shape)
    point = y.detach().requires_grad_(True)
    value = there.values(point)
    (slope,) = torch.autograd.grad(value.sum(), point, create_graph=True)
    return (factor * value).sum() + (slope * direction).sum()
