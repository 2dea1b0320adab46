"""Rows of a polytope that hold the minimiser of a smooth function, and gradients of a minimiser so held.

With H the Hessian of f + r and B the rows that hold y, a change of theta moves y by dy with
H dy + B' du = -d(grad f) and B dy = 0; the adjoint system for a cotangent of y has the same matrix.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from jensen.minimize.batched._newton import second_order, solver_on
from jensen.minimize.bundle._meeting import PseudoInverse, times
from jensen.minimize.layer._implicit import Adjoint, directional
from jensen.minimize.polytopes._rows import Rows
from jensen.minimize.tensors._problem import TorchProblem
from jensen.minimize.tensors._separable import Separable

_STEPS = 5
_NEAR = 1e-5
"""Rows with so little room, relative to the point, may hold it."""


@dataclass(frozen=True)
class Held:
    """Minimisers, the rows that can hold some of them, and which hold which.

    Attributes
    ----------
    y : (batch, n) tensor
    B : (rows, n) tensor
    holds : (batch, rows) boolean tensor
    price : (batch, rows) tensor
        Multipliers, at least 0.
    right : (batch, rows) tensor
        Right-hand sides of B.
    """

    y: Tensor
    B: Tensor
    holds: Tensor
    price: Tensor
    right: Tensor


def held_by_rows(problem: TorchProblem, term: Separable, rows: Rows, y: Tensor) -> Held:
    """Find the rows that hold minimisers, and take full Newton steps within them.

    Parameters
    ----------
    problem : TorchProblem
    term : Separable
    rows : Rows
    y : (batch, n) tensor
        Near the minimisers, as an interior point method leaves them.
    """
    G, h = rows.with_bounds()
    all_rows, ends = G, h
    y = y.reshape(problem.batch, problem.size)
    holds = h - y @ G.mT <= _NEAR * (1 + y.abs().amax(1, keepdim=True))
    few = holds.any(0)
    G, h, holds = G[few], h[:, few], holds[:, few]
    least, tight = torch.full_like(y[:, 0], torch.inf), 64 * torch.finfo(y.dtype).eps
    best, best_holds, best_price = y, holds, torch.zeros_like(h)
    for step in range(_STEPS + 1):
        gradient, hessian, size = _derivatives(problem, term, y)
        room = h - y @ G.mT
        solve = _Solver(hessian, G, holds)
        move, price = solve(-gradient, room)
        # In one unit: what is left of the gradient, multipliers of the wrong sign, and rows that are missed.
        wide = 1 + y.abs().amax(1)
        left = (gradient + price @ G).abs().amax(1) + (-price).clamp_min(0).sum(1)
        off = torch.where(holds, room.abs(), (-room).clamp_min(0.0)).sum(1)
        error = left / size + off / wide
        # Where the method before was not done, steps from active rows guessed too soon may lead outside.
        inside = ((y @ all_rows.mT - ends).amax(1) if len(all_rows) else -wide) <= tight * wide
        better = (error < least) & (inside | (step == 0))
        column = better[:, None]
        best, best_holds = torch.where(column, y, best), torch.where(column, holds, best_holds)
        best_price = torch.where(column, price, best_price)
        least = torch.where(better, error, least)
        if step == _STEPS or bool((error <= tight).all()):
            break
        y = y + move
        holds = (holds & (price > -tight * size[:, None])) | (h - y @ G.mT < -tight * wide[:, None])
    return Held(best, G, best_holds, best_price.clamp_min(0.0), h)


def held_adjoint(problem: TorchProblem, term: Separable, held: Held) -> Adjoint:
    """Make the adjoint for minimisers that rows hold."""

    def adjoint(cotangent: Tensor) -> tuple[Tensor, Callable[[Tensor | None], Tensor]]:
        _, hessian, _ = _derivatives(problem, term, held.y)
        p, _ = _Solver(hessian, held.B, held.holds)(cotangent, torch.zeros_like(held.holds).to(cotangent))

        def scalar(x: Tensor | None) -> Tensor:
            return -directional(problem, x, held.y, torch.zeros_like(held.y[:, 0]), p)

        return p, scalar

    return adjoint


def _derivatives(problem: TorchProblem, term: Separable, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Gradient and Hessian of f + r, and the size of what the gradient is summed from."""
    _, slope, hessian = second_order(problem, y)
    first, second = term.derivatives(y)
    hessian.diagonal(dim1=1, dim2=2).add_(second)
    size = slope.abs().amax(1) + first.abs().amax(1) + torch.finfo(y.dtype).tiny
    return slope + first, hessian, size


class _Solver:
    """Solves H d + B'u = a, B d = b for the rows that hold; u = 0 for the others."""

    def __init__(self, hessian: Tensor, B: Tensor, holds: Tensor) -> None:
        self._rows = B * holds.to(B)[..., None]
        # Multiples of B'B change nothing where B d = b, and make up for directions in which f is flat.
        size = hessian.diagonal(dim1=1, dim2=2).amax(1)
        self._stiffness = torch.where(size > 0, size, 1.0)[:, None]
        stiff = hessian + (self._rows.mT * self._stiffness[..., None]) @ self._rows
        free = torch.ones_like(hessian[..., 0], dtype=torch.bool)
        self._solve = solver_on(stiff, free, torch.zeros_like(size))
        self._across = self._solve(self._rows.mT)
        self._inverse = PseudoInverse(self._rows @ self._across, torch.zeros_like(self._stiffness))

    def __call__(self, right: Tensor, ends: Tensor) -> tuple[Tensor, Tensor]:
        ends = torch.where(self._rows.any(2), ends, 0.0)
        first = self._solve(right + times(self._rows.mT, ends * self._stiffness))
        price = self._inverse((times(self._rows, first) - ends)[..., None])[..., 0]
        return first - times(self._across, price), price
