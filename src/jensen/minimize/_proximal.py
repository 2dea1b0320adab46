"""A proximal bundle method for min f(y) over boxes and polytopes, f with kinks or without, of any size.

The next point minimises the highest cut plus (modulus / 2) |y - centre|^2, where the centre is the best point
so far. The same weights of the cuts give a lower bound without the quadratic term: the combined cut is
affine, and its minimum over the box known in closed form. Rows of a polytope take part like cuts, with
weights outside the simplex (their multipliers); the bound holds for any nonnegative ones. The modulus
follows the gap, so that steps stay comparable with the box while the gap falls, down to where a proximal
point step of a piecewise affine function ends at its minimiser (Lemarechal, Nemirovskii and Nesterov, "New
variants of bundle methods", 1995, keep a level instead).
"""

from __future__ import annotations

import torch
from torch import Tensor

from jensen.minimize._bundle import Record, merge, rounding
from jensen.minimize._separable import Nothing, Proximity
from jensen.minimize._simplex_newton import maximise_over_simplex
from jensen.minimize._torch_problem import TorchProblem
from jensen.minimize._torch_result import BatchedMinimum

_INNER = 1e-3
_REST = 0.8
_LEAST, _FIRST, _MOST = 8.0, 400.0, 1000.0
"""Moduli, in units of the gap over the squared diagonal of the box."""
_FLOOR = 1e-4
"""The gap that the modulus follows is at least this share of the value; rounding drowns longer steps."""
_FULL = 0.3
"""A step that gains this share of what the model promised was rather too short."""


def minimise_by_proximal_bundle(
    problem: TorchProblem,
    tolerance: float,
    max_iterations: int,
    rows: tuple[Tensor, Tensor] | None = None,
    start: Tensor | None = None,
    max_cuts: int = 32,
) -> BatchedMinimum:
    """Minimise f until the gap is at most tolerance * max(1, |value|), or as small as rounding.

    Parameters
    ----------
    problem : TorchProblem
        With a bounded box.
    tolerance : float
    max_iterations : int
        Largest number of evaluations of f.
    rows : (m, n) and (m,) tensors, optional
        Constraints A y <= b of all samples.
    start : (batch, n) tensor, optional
        Where to begin, strictly inside the rows and on no kink; the middle of the box by default.
    max_cuts : int, default 32
        With as many cuts those of least weight give way to the combined one.
    """
    nothing = Nothing(problem.lo, problem.hi)
    y = nothing.middle() if start is None else start
    y = problem.beside(y) if rows is None else y
    record, batch = Record(y), problem.batch
    count = 0 if rows is None else len(rows[1])
    A = y.new_zeros(0, problem.size) if rows is None else rows[0]
    b = y.new_zeros(0) if rows is None else rows[1]
    diagonal = (problem.hi - problem.lo).square().sum(1)
    alive = torch.arange(batch, device=y.device)
    slopes, offsets = y.new_empty(batch, 0, problem.size), y.new_empty(batch, 0)
    weights, prices = offsets, y.new_full((batch, count), 0.1)
    factor, promised = y.new_full((batch,), _FIRST), y.new_full((batch,), torch.inf)
    centre, inner = y, y
    for step in range(1, max_iterations + 1):
        if len(alive) == 0:
            break
        value, slope = problem.evaluate(y)
        offset = value - (slope * y).sum(1)
        gain = (record.value[alive] - value) / promised
        factor = torch.where(gain > _FULL, factor * 0.7, torch.where(gain > 0, factor, factor * 1.05))
        factor = factor.clamp(_LEAST, _MOST)
        better = value < record.value[alive]
        centre = torch.where(better[:, None], y, centre)
        record.meet(alive, y, value, step)
        if count == 0:
            record.rise(alive, offset + nothing.minimum(slope) - rounding(offset, value - offset))
        missing = record.value[alive] - record.lower[alive]
        noise = rounding(offset, value - offset) * 4
        wanted = torch.maximum(tolerance * record.value[alive].abs().clamp_min(1.0), noise)
        open_ = ~(missing <= wanted)
        record.close(alive[~open_])
        rest = torch.nonzero(open_)[:, 0]
        if len(rest) == 0:
            break
        if len(rest) <= _REST * len(alive):
            alive, slope, offset, missing, value, centre, factor, diagonal = (
                t[rest] for t in (alive, slope, offset, missing, value, centre, factor, diagonal)
            )
            slopes, offsets, weights, prices = (t[rest] for t in (slopes, offsets, weights, prices))
            wanted, inner = wanted[rest], inner[rest]
            problem, nothing = problem.take(rest), nothing.take(rest)
        if offsets.shape[1] == max_cuts:
            slopes, offsets, weights = merge(slopes, offsets, weights, max_cuts // 2)
        slopes = torch.cat([slopes, slope[:, None]], 1)
        offsets = torch.cat([offsets, offset[:, None]], 1)
        weights = torch.cat([weights, torch.full_like(offset, 1.0 / offsets.shape[1])[:, None]], 1)
        # Before there is a bound, any scale will do.
        size = 1 + value.abs()
        scale = torch.where(torch.isfinite(missing), torch.maximum(missing, _FLOOR * size), size)
        modulus = (factor * scale / diagonal.clamp_min(torch.finfo(y.dtype).tiny))[:, None]
        # Rows that bound the polytope make the box superfluous here; without it the dual is quadratic.
        far = torch.full_like(centre, torch.inf)
        low, high = (-far, far) if count else (nothing.lo, nothing.hi)
        near = Proximity(low, high, centre, modulus)
        point = maximise_over_simplex(
            torch.cat([slopes, A.expand(len(alive), -1, -1)], 1),
            torch.cat([offsets, -b.expand(len(alive), -1)], 1),
            near,
            torch.cat([weights, prices], 1),
            torch.maximum(_INNER * missing, 0.02 * wanted).nan_to_num(posinf=1e-3).minimum(_INNER * scale),
            count,
        )
        y = point.y
        cuts = offsets.shape[1]
        weights, prices = point.weights[:, :cuts], point.weights[:, cuts:]
        linear = (point.slope * y).sum(1)
        low = point.offset + nothing.minimum(point.slope)
        record.rise(alive, low - rounding(point.offset, linear, low))
        promised = (record.value[alive] - point.offset - linear).clamp_min(torch.finfo(y.dtype).tiny)
        y = problem.beside(_pulled_inside(y, inner, A, b), inner) if count else problem.beside(y)
    return record.result(problem.shape)


def _pulled_inside(y: Tensor, inner: Tensor, A: Tensor, b: Tensor) -> Tensor:
    """Move points towards strictly feasible ones as far as A y <= b demands."""
    excess, room = y @ A.mT - b, b - inner @ A.mT
    share = torch.where(excess > 0, excess / (excess + room), 0.0).amax(1, keepdim=True)
    share = torch.where(share > 0, share * (1 + 1e-6) + 8 * torch.finfo(y.dtype).eps, 0.0).clamp_max(1.0)
    return y + share * (inner - y)
