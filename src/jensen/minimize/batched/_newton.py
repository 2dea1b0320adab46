"""Batched projected Newton method for smooth f(y) + r(y) on boxes.

Coordinates that stand at a bound and are pushed against it rest; the others take a Newton step, whose length
is found on the projected arc (Bertsekas, "Projected Newton methods for optimization problems with simple
constraints", 1982). Where that takes many halvings, as where curvature jumps or steps are clipped a lot, the
next step is one of a projected gradient method, whose descent is certain. The linearisation of f at every
iterate gives a valid lower bound.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from jensen.minimize.tensors._problem import TorchProblem, require_finite
from jensen.minimize.tensors._record import Record, Stall, noise_of, rounding
from jensen.minimize.tensors._result import BatchedMinimum
from jensen.minimize.tensors._separable import Entropy, Nothing, Proximity, Separable

_ARMIJO = 1e-4
_HALVINGS, _ON_NEWTON = 50, 8
"""How often a step is halved in all; so often on Newton's, before the diagonal takes the Hessian's place."""
_FAR = 1e3
"""A careful step is at most so many times as long as the point."""
_STEEP = 1e-4
"""A gradient that is larger than this share of the linear term is not that of a minimiser."""
_INSIDE = 0.95
"""Share of the way to the border that a step may take where the entropy keeps iterates inside."""


def minimise_by_newton(
    problem: TorchProblem,
    term: Separable,
    tolerance: float,
    max_iterations: int,
    start: Tensor | None = None,
    modulus: float = 0.0,
) -> BatchedMinimum:
    """Minimise f + r until the gap is at most tolerance * max(1, |value|), or steps are lost in rounding.

    Parameters
    ----------
    problem : TorchProblem
        With a twice differentiable f; kinks slow the method down and do not make bounds wrong.
    term : Separable
    tolerance : float
    max_iterations : int
    start : (batch, n) tensor, optional
    modulus : float, default 0.0
        A number with which f is strongly convex; on an unbounded domain without r there are no lower
        bounds otherwise, and steps end where the gradient is as small as rounding.
    """
    y = problem.beside(term.middle() if start is None else start)
    record, stall = Record(y), Stall(y)
    alive = torch.arange(problem.batch, device=y.device)
    inside = isinstance(term, Entropy)
    for step in range(1, max_iterations + 1):
        if len(alive) == 0:
            break
        value, slope, hessian = second_order(problem, y)
        first, second = term.derivatives(y)
        gradient, total = slope + first, value + term.value(y)
        record.meet(alive, y, total, step)
        offset = value - (slope * y).sum(1)
        low = lower_bound(problem, term, y, value, slope, modulus)
        record.rise(alive, low - rounding(offset, value - offset, low.nan_to_num(neginf=0.0)))
        missing = record.value[alive] - record.lower[alive]
        noise = noise_of(problem, y, value, offset, total)
        done = stall.ends(alive, missing, noise) | (
            missing <= torch.maximum(tolerance * total.abs().clamp_min(1.0), noise)
        )
        hessian.diagonal(dim1=1, dim2=2).add_(second)
        direction = newton_direction(hessian, gradient, y, problem.lo, problem.hi, inside)
        # Sums of absolute rows on a diagonal are nowhere below the Hessian: along this step, however it is
        # clipped, f descends unless its curvature jumps, and shortened it always does.
        above = hessian.abs().sum(2)
        above = torch.maximum(above, 1e-8 * above.amax(1, keepdim=True))
        careful = -gradient / torch.where(above > 0, above, gradient.abs().clamp_min(1.0))
        # Where f is flat steps are longer than the box; halved they would end at the same corner for long.
        width = problem.hi - problem.lo
        direction = torch.minimum(torch.maximum(direction, -width), width)
        width = torch.minimum(width, _FAR * (1 + y.abs()))
        careful = torch.minimum(torch.maximum(careful, -width), width)
        y_next, moved = _search(problem, term, y, total, gradient, direction, careful, inside, noise)
        record.close(alive[done])
        rest = torch.nonzero(~done & moved)[:, 0]
        alive, y = alive[rest], problem.beside(y_next)[rest]
        if len(rest) < len(done):
            problem, term = problem.take(rest), term.take(rest)
    return record.result(problem.shape)


def polish(problem: TorchProblem, term: Separable, y: Tensor, steps: int = 2) -> Tensor:
    """Full Newton steps from near a minimiser, judged by gradients, which rounding blurs less than values."""
    least = torch.full_like(y[:, 0], torch.inf)
    best, inside = y, isinstance(term, Entropy)
    for step in range(steps + 1):
        _, slope, hessian = second_order(problem, y)
        first, second = term.derivatives(y)
        gradient = slope + first
        hessian.diagonal(dim1=1, dim2=2).add_(second)
        # How far the gradient, in units of the diagonal, would carry.
        unit = hessian.diagonal(dim1=1, dim2=2).clamp_min(torch.finfo(y.dtype).tiny)
        back = torch.minimum(torch.maximum(y - gradient / unit, problem.lo), problem.hi)
        error = ((back - y).square() * unit).sum(1)
        better = error < least
        best, least = torch.where(better[:, None], y, best), torch.where(better, error, least)
        if step < steps:
            direction = newton_direction(hessian, gradient, y, problem.lo, problem.hi, inside)
            low, high = _reach(problem, y, inside)
            y = torch.minimum(torch.maximum(y + direction, low), high)
    return best


def newton_gain(problem: TorchProblem, term: Separable, y: Tensor, inside: bool) -> Tensor:
    """How much Newton's method expects to gain from y, (batch,), where there is no lower bound.

    Infinite where the gradient is large: far out on a function without minimum f is flat enough to mislead.
    """
    _, slope, hessian = second_order(problem, y)
    first, second = term.derivatives(y)
    gradient = slope + first
    hessian.diagonal(dim1=1, dim2=2).add_(second)
    step = newton_direction(hessian, gradient, y, problem.lo, problem.hi, inside)
    low, high = _reach(problem, y, inside)
    step = torch.minimum(torch.maximum(y + step, low), high) - y
    size = 1 + (problem.linear.abs().amax(1) if problem.linear is not None else torch.zeros_like(y[:, 0]))
    rests = ((y <= problem.lo) & (gradient > 0)) | ((y >= problem.hi) & (gradient < 0))
    steep = gradient.masked_fill(rests, 0.0).abs().amax(1) > _STEEP * size
    return (-(gradient * step).sum(1) / 2).masked_fill(steep, torch.inf)


def _reach(problem: TorchProblem, y: Tensor, inside: bool) -> tuple[Tensor, Tensor]:
    """Give the box that a step may reach: the problem's, or most of the way to its border."""
    if not inside:
        return problem.lo, problem.hi
    return y - _INSIDE * (y - problem.lo), y + _INSIDE * (problem.hi - y)


def second_order(problem: TorchProblem, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Values (batch,), gradients (batch, n) and Hessians (batch, n, n) of f."""
    batch, n = y.shape
    with torch.enable_grad():
        point = y.detach().requires_grad_(True)
        value = problem.values(point)
        if not value.requires_grad:
            return value, torch.zeros_like(y), y.new_zeros(batch, n, n)
        (slope,) = torch.autograd.grad(
            value.sum(), point, create_graph=True, allow_unused=True, materialize_grads=True
        )
        require_finite(value, slope)
        if not slope.requires_grad:
            return value.detach(), slope.detach(), y.new_zeros(batch, n, n)
        rows = torch.eye(n, dtype=y.dtype, device=y.device)[:, None].expand(n, batch, n)
        # A slope that happens not to depend on y has the Hessian 0.
        (hessian,) = torch.autograd.grad(
            slope, point, rows, is_grads_batched=True, allow_unused=True, materialize_grads=True
        )
    hessian = hessian.transpose(0, 1)
    return value.detach(), slope.detach(), (hessian + hessian.mT) / 2


def lower_bound(
    problem: TorchProblem, term: Separable, y: Tensor, value: Tensor, slope: Tensor, modulus: float
) -> Tensor:
    """Bound the minimum of f + r by f's linearisation at y, plus (modulus / 2) |. - y|^2."""
    if modulus > 0 and isinstance(term, Nothing):
        near = Proximity(problem.lo, problem.hi, y, torch.full_like(y[:, :1], modulus))
        return value - (slope * y).sum(1) + near.minimum(slope)
    return value - (slope * y).sum(1) + term.minimum(slope)


def newton_direction(
    hessian: Tensor, gradient: Tensor, y: Tensor, lo: Tensor, hi: Tensor, inside: bool
) -> Tensor:
    """Newton's step in the free coordinates, and the negative gradient in those that rest."""
    if inside:
        rests = lo == hi
    else:
        edge = torch.minimum(1e-6 * (hi - lo).clamp_max(1.0), gradient.abs())
        rests = ((y - lo <= edge) & (gradient > 0)) | ((hi - y <= edge) & (gradient < 0)) | (lo == hi)
    solve = solver_on(hessian, ~rests, 1e-8 * gradient.abs().masked_fill(rests, 0.0).amax(1))
    step = solve(-gradient)
    return torch.where(rests | ~torch.isfinite(step), -gradient, step)


def solver_on(hessian: Tensor, free: Tensor, shift: Tensor) -> Callable[[Tensor], Tensor]:
    """Solve with a convex function's Hessians restricted to the free coordinates; 0 in the others.

    Right-hand sides are (batch, n) or (batch, n, k).

    Parameters
    ----------
    hessian : (batch, n, n) tensor
    free : (batch, n) boolean tensor
    shift : (batch,) tensor
        At least what is added to the diagonal, relative to itself: a convex function may be flat.
    """
    mask = free.to(hessian)
    # Barriers make the diagonal range over many orders of magnitude: scaled to 1 it loses nothing.
    diagonal = hessian.diagonal(dim1=1, dim2=2)
    scale = torch.where(free & (diagonal > 0), diagonal, 1.0).rsqrt() * mask
    matrix = hessian * scale[:, None] * scale[:, :, None]
    least = 8 * torch.finfo(hessian.dtype).eps
    shift = shift.clamp_min(least)
    rests = 1 - mask
    for _ in range(12):
        factor, info = torch.linalg.cholesky_ex(matrix + torch.diag_embed(rests + shift[:, None]))
        failed = info > 0
        if not bool(failed.any()):
            break
        shift = torch.where(failed, shift * 100, shift)

    def solve(right: Tensor) -> Tensor:
        if right.ndim == 3:
            found: Tensor = torch.cholesky_solve(right * scale[..., None], factor) * scale[..., None]
            return found
        return solve(right[..., None])[..., 0]

    return solve


def _search(
    problem: TorchProblem,
    term: Separable,
    y: Tensor,
    total: Tensor,
    gradient: Tensor,
    direction: Tensor,
    careful: Tensor,
    inside: bool,
    noise: Tensor,
) -> tuple[Tensor, Tensor]:
    """Halve the step of each sample until it pays, then a more careful one; tell where it does."""
    best, moved = y.clone(), torch.zeros_like(total, dtype=torch.bool)
    left = torch.arange(len(y), device=y.device)
    for halving in range(_HALVINGS):
        if halving == _ON_NEWTON:
            direction = careful
        length = 0.5 ** (halving if halving < _ON_NEWTON else halving - _ON_NEWTON)
        here, at, slope = problem.take(left), y[left], gradient[left]
        low, high = _reach(here, at, inside)
        trial = torch.minimum(torch.maximum(at + length * direction[left], low), high)
        change = ((trial - at) * slope).sum(1)
        value, tilt = here.evaluate(trial)
        ours = term.take(left)
        drop = total[left] - value - ours.value(trial)
        # Near the minimum values drown in rounding: there the slope tells whether the step pays.
        after = ((trial - at) * (tilt + ours.derivatives(trial)[0])).sum(1)
        calm = (drop.abs() <= noise[left]) & (after.abs() <= 0.9 * change.abs())
        pays = (change < 0) & ((drop >= -_ARMIJO * change) | calm)
        best[left[pays]], moved[left[pays]] = trial[pays], True
        # Clipped, a long step may ascend where a shorter one descends.
        left = left[~pays]
        if len(left) == 0:
            break
    return best, moved
