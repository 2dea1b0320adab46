"""Inference by a fixed number of differentiable steps of a first-order method."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.utils import parametrize

from jensen.minimize.layer._regularised import Term
from jensen.minimize.tensors._problem import TorchProblem, require_finite
from jensen.minimize.tensors._separable import Entropy, Nothing


def unrolled_argmin(
    problem: TorchProblem, term: Term, steps: int, step: float, x: Tensor | None, linear: Tensor | None
) -> Tensor:
    """Approximate argmin of f + linear + r after some steps, flat; gradients go through all of them.

    With an entropy a step is one of mirror descent, u <- (u - step * width * grad f) / (1 + step * weight)
    for the logits u of y in its box, of which the minimiser is the fixed point. Otherwise it is one of the
    proximal gradient method: y <- clip((y - step * grad f + step * weight * centre) / (1 + step * weight)).
    """
    with parametrize.cached():
        return _steps(replace(problem, x=x, linear=linear).frozen(), term, steps, step)


def _steps(tied: TorchProblem, term: Term, steps: int, step: float) -> Tensor:
    weight = term.weight if term.kind is not None else 0.0
    shrink = 1 / (1 + step * weight)
    if term.kind == "entropy":
        entropy = Entropy.of(tied, term.weight)
        logits = torch.zeros_like(tied.lo)
        for _ in range(steps):
            y = entropy.lo + entropy.width * torch.sigmoid(logits)
            logits = (logits - step * entropy.width * _gradient(tied, y)) * shrink
        return entropy.lo + entropy.width * torch.sigmoid(logits)
    y = Nothing(tied.lo, tied.hi).middle()
    for _ in range(steps):
        moved = y - step * _gradient(tied, y)
        if term.centre is not None:
            moved = moved + (step * weight) * term.centre
        y = torch.minimum(torch.maximum(moved * shrink, tied.lo), tied.hi)
    return y


def _gradient(problem: TorchProblem, y: Tensor) -> Tensor:
    recorded = torch.is_grad_enabled()
    with torch.enable_grad():
        point = y if y.requires_grad else y.detach().requires_grad_(True)
        value = problem.values(point)
        if not value.requires_grad:
            return torch.zeros_like(y)
        (slope,) = torch.autograd.grad(
            value.sum(), point, create_graph=recorded, allow_unused=True, materialize_grads=True
        )
    require_finite(value.detach(), slope.detach())
    return slope
