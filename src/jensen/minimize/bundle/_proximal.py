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

from jensen.minimize.bundle._bundle import merge
from jensen.minimize.bundle._quadratic_master import Model, Solution, minimise_model
from jensen.minimize.bundle._simplex_newton import DualPoint, maximise_over_simplex
from jensen.minimize.polytopes._rows import Rows
from jensen.minimize.tensors._problem import TorchProblem
from jensen.minimize.tensors._record import Record, noise_of, rounding
from jensen.minimize.tensors._result import BatchedMinimum
from jensen.minimize.tensors._separable import Nothing, Proximity, Separable

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
    rows: Rows | None = None,
    start: Tensor | None = None,
    curvature: float = 0.0,
    max_cuts: int = 32,
) -> BatchedMinimum:
    """Minimise f + (curvature / 2) |y|^2 until the gap is at most tolerance * max(1, |value|), or rounding.

    Parameters
    ----------
    problem : TorchProblem
        With a bounded box, unless there is a curvature.
    tolerance : float
    max_iterations : int
        Largest number of evaluations of f.
    rows : Rows, optional
        Constraints; the problem's box encloses them.
    start : (batch, n) tensor, optional
        Where to begin without rows, on no kink; the middle of the box by default.
    curvature : float, default 0.0
    max_cuts : int, default 32
        With as many cuts those of least weight give way to the combined one.
    """
    y = Nothing(problem.lo, problem.hi).middle() if start is None else start
    y = problem.beside(y) if rows is None else rows.inner
    record, batch = Record(y), problem.batch
    diagonal = (problem.hi - problem.lo).square().sum(1)
    alive = torch.arange(batch, device=y.device)
    slopes, offsets = y.new_empty(batch, 0, problem.size), y.new_empty(batch, 0)
    weights = offsets
    factor, promised = y.new_full((batch,), _FIRST), y.new_full((batch,), torch.inf)
    centre, term = y, _own_term(problem, curvature)
    for step in range(1, max_iterations + 1):
        if len(alive) == 0:
            break
        value, slope = problem.evaluate(y)
        offset, total = value - (slope * y).sum(1), value + curvature / 2 * y.square().sum(1)
        gain = (record.value[alive] - total) / promised
        factor = torch.where(gain > _FULL, factor * 0.7, torch.where(gain > 0, factor, factor * 1.05))
        factor = factor.clamp(_LEAST, _MOST)
        better = total < record.value[alive]
        centre = torch.where(better[:, None], y, centre)
        record.meet(alive, y, total, step)
        record.rise(alive, offset + term.minimum(slope) - rounding(offset, value - offset, total))
        missing = record.value[alive] - record.lower[alive]
        noise = noise_of(problem, y, value, offset, total)
        wanted = torch.maximum(tolerance * record.value[alive].abs().clamp_min(1.0), noise)
        open_ = ~(missing <= wanted)
        record.close(alive[~open_])
        rest = torch.nonzero(open_)[:, 0]
        if len(rest) == 0:
            break
        if len(rest) <= _REST * len(alive):
            alive, slope, offset, missing, total, centre, factor, diagonal = (
                t[rest] for t in (alive, slope, offset, missing, total, centre, factor, diagonal)
            )
            slopes, offsets, weights = slopes[rest], offsets[rest], weights[rest]
            wanted = wanted[rest]
            problem, term = problem.take(rest), term.take(rest)
            rows = None if rows is None else rows.take(rest)
        if offsets.shape[1] == max_cuts:
            slopes, offsets, weights = merge(slopes, offsets, weights, max_cuts // 2)
        slopes = torch.cat([slopes, slope[:, None]], 1)
        offsets = torch.cat([offsets, offset[:, None]], 1)
        weights = torch.cat([weights, torch.full_like(offset, 1.0 / offsets.shape[1])[:, None]], 1)
        # Before there is a bound, any scale will do.
        size = 1 + total.abs()
        scale = torch.where(torch.isfinite(missing), torch.maximum(missing, _FLOOR * size), size)
        reach = diagonal.clamp_min(torch.finfo(y.dtype).tiny)
        if curvature > 0:  # so near is the minimiser
            reach = torch.minimum(reach, 2 * scale / curvature)
        modulus = (factor * scale / reach)[:, None]
        whole = modulus + curvature
        near = Proximity(problem.lo, problem.hi, centre * (modulus / whole), whole)
        close = torch.maximum(_INNER * missing, 0.02 * wanted).nan_to_num(posinf=1e-3).minimum(_INNER * scale)
        found: Solution | DualPoint
        if rows is None:
            found = maximise_over_simplex(slopes, offsets, near, weights, close)
        else:
            found = minimise_model(
                Model(slopes, offsets, rows.A, rows.b, near.lo, near.hi, near.centre, whole),
                close,
                rows.inner,
            )
        y, weights = found.y, found.weights
        linear = (found.slope * y).sum(1)
        low = found.offset + term.minimum(found.slope)
        record.rise(alive, low - rounding(found.offset, linear, low))
        model = found.offset + linear + curvature / 2 * y.square().sum(1)
        promised = (record.value[alive] - model).clamp_min(torch.finfo(y.dtype).tiny)
        y = problem.beside(y) if rows is None else problem.beside(rows.pulled_inside(y), rows.inner)
    return record.result(problem.shape)


def _own_term(problem: TorchProblem, curvature: float) -> Separable:
    """Give the quadratic term of the objective on the box."""
    if curvature == 0:
        return Nothing(problem.lo, problem.hi)
    return Proximity(
        problem.lo, problem.hi, torch.zeros_like(problem.lo), torch.full_like(problem.lo[:, :1], curvature)
    )
