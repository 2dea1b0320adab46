"""Minimisation over one block: Newton's method, L-BFGS, linear programmes for what is piecewise linear."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from jensen.blocks._convex import Solution
from jensen.blocks._lowering import lower_block
from jensen.blocks._objective import Objective
from jensen.errors import ArgumentError
from jensen.minimize import argmin

NEWTON_SIZE = 600
"""Blocks with more entries are left to L-BFGS."""
_NEWTON_STEPS = 50
_LBFGS_STEPS = 200
_HALVINGS = 30
_ARMIJO = 1e-4

Function = Callable[[torch.Tensor], torch.Tensor]


class SmoothProblem:
    """A smooth convex function to be minimised near where a block stands, with any pull towards that point.

    Parameters
    ----------
    function : callable
    start : (n,) tensor
    """

    def __init__(self, function: Function, start: torch.Tensor) -> None:
        self.function, self.start = function, start
        self._first: torch.Tensor | None = None

    def size(self) -> float:
        """Mean second derivative at the start, along the entries: the scale of a pull; 1 of large blocks."""
        if self.start.numel() > NEWTON_SIZE:
            return 1.0
        return float(self._second(self.start).diagonal().mean()) or 1.0

    def minimum(self, tolerance: float, pull: float = 0.0) -> Solution:
        """Minimise the function plus `pull / 2` times the squared distance from the start."""

        def whole(x: torch.Tensor) -> torch.Tensor:
            return self.function(x) + pull / 2 * (x - self.start).square().sum()

        if self.start.numel() > NEWTON_SIZE:
            return quasi_newton(whole, self.start, _LBFGS_STEPS)
        x, solve = self.start, self._solver(self.start, pull)
        fresh, gap = True, np.inf
        for _ in range(_NEWTON_STEPS):
            value, gradient = _with_gradient(whole, x)
            step = -solve(gradient)
            slope = float(gradient @ step)
            gap = max(-slope, 0.0) / 2
            # The second derivatives of the last point tell whether new ones are worth their cost.
            if not np.isfinite(slope) or gap <= tolerance * (1 + abs(value)):
                break
            if not fresh:
                solve, fresh = self._solver(x, pull), True
                continue
            share = line_search(whole, x, step, value, slope)
            if share == 0:
                break
            x, fresh = x + share * step, False
        return Solution(x, float(gap))

    def _second(self, x: torch.Tensor) -> torch.Tensor:
        """Compute second derivatives; those at the start are kept."""
        if x is self.start and self._first is not None:
            return self._first
        second: torch.Tensor = torch.autograd.functional.hessian(  # type: ignore[no-untyped-call]
            self.function, x, vectorize=True
        )
        if x is self.start:
            self._first = second
        return second

    def _solver(self, x: torch.Tensor, pull: float) -> Function:
        """Factorise the second derivatives at a point."""
        second = self._second(x)
        size = float(second.diagonal().abs().max())
        # A little of the identity, because the layers of a network rarely determine every weight.
        ridge = pull + 1e-10 * size + 1e-300
        factor = torch.linalg.lu_factor(second + ridge * torch.eye(len(x), dtype=x.dtype))
        return lambda right: torch.linalg.lu_solve(*factor, right[:, None])[:, 0]


def _with_gradient(function: Function, x: torch.Tensor) -> tuple[float, torch.Tensor]:
    moving = x.detach().clone().requires_grad_(True)
    value = function(moving)
    (gradient,) = torch.autograd.grad(value, moving)
    return value.item(), gradient


def line_search(
    function: Function, x: torch.Tensor, step: torch.Tensor, value: float, slope: float = 0.0
) -> float:
    """Halve a step until the function falls enough; 0 if it never does."""
    share = 1.0
    with torch.no_grad():
        for _ in range(_HALVINGS):
            found = float(function(x + share * step))
            if found < value + _ARMIJO * share * min(slope, 0.0):
                return share
            share /= 2
    return 0.0


def quasi_newton(function: Function, start: torch.Tensor, steps: int) -> Solution:
    """Go down by L-BFGS, which also serves functions that are not convex."""
    x = start.detach().clone().requires_grad_(True)
    optimiser = torch.optim.LBFGS(
        [x], max_iter=steps, tolerance_grad=1e-10, tolerance_change=1e-14, history_size=20,
        line_search_fn="strong_wolfe",
    )  # fmt: skip

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        value = function(x)
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    return Solution(x.detach(), float("nan"))


def linear_minimum(objective: Objective, block: Sequence[str]) -> Solution | None:
    """Minimise a loss that is convex and piecewise linear in a block, as a linear programme.

    None where the loss has no minimum that the solver reaches.
    """
    lowered = lower_block(objective, block)
    try:
        minimum = argmin(lowered.network, method="lp", assume_convex=True)
    except ArgumentError:
        # Not by the signs of its weights: an absolute value of what is never negative, for instance.
        minimum = argmin(lowered.network, method="cuts", assume_convex=True)
    if not np.isfinite(minimum.point).all():
        return None
    return Solution(torch.from_numpy(np.array(minimum.point)), minimum.gap * float(lowered.scale))
