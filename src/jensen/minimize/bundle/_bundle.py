"""The bundle method for f(y) + r(y), r separable and strongly convex: every sample has its own cuts.

Each step evaluates f at a point, adds the cut f(y_k) + <g_k, y - y_k> <= f(y), and goes to the minimiser of
the highest cut plus r, whose value is a lower bound. For r the negative entropy this is the bundle entropy
method of Amos, Xu and Kolter, "Input Convex Neural Networks", ICML 2017. All samples that are not finished
have made as many steps, so they have as many cuts, and the batch needs no padding; finished ones leave it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from jensen.minimize.bundle._pieces import PieceRecord
from jensen.minimize.bundle._quadratic_master import Model, Solution, minimise_model
from jensen.minimize.bundle._simplex_newton import DualPoint, maximise_over_simplex
from jensen.minimize.polytopes._rows import Rows
from jensen.minimize.tensors._problem import TorchProblem
from jensen.minimize.tensors._record import Record, Stall, noise_of, rounding
from jensen.minimize.tensors._result import BatchedMinimum
from jensen.minimize.tensors._separable import Proximity, Separable

_INNER = 0.1
"""The dual problem is solved to this share of what is missing to optimality."""
_MAX_CUTS = 64
"""With as many cuts those of least weight give way to the combined one, which keeps the lower bound."""
_REST = 0.8
"""The batch is gathered anew when fewer than this share of it is unfinished."""


def minimise_by_bundle(
    problem: TorchProblem,
    term: Separable,
    tolerance: float,
    max_iterations: int,
    start: Tensor | None = None,
    pieces: PieceRecord | None = None,
    rows: Rows | None = None,
) -> BatchedMinimum:
    """Minimise f + r until the gap is at most tolerance * max(1, |value|), or as small as rounding.

    Parameters
    ----------
    problem : TorchProblem
    term : Separable
        Its box is the problem's, or with rows the whole space.
    tolerance : float
    max_iterations : int
        Largest number of evaluations of f.
    start : (batch, n) tensor, optional
        Where the first cut is made; where r is least by default.
    pieces : PieceRecord, optional
        Takes note of all cuts, and of the weights in the end; none are merged then.
    rows : Rows, optional
        Constraints of the model as well, whose multipliers the model's solution tells. The term must be a
        quadratic one then.
    """
    y = term.middle() if start is None else start
    y = problem.beside(y) if rows is None else problem.beside(rows.pulled_inside(y), rows.inner)
    record, stall = Record(y), Stall(y)
    G, h = (
        (y.new_zeros(0, problem.size), y.new_zeros(problem.batch, 0)) if rows is None else rows.with_bounds()
    )
    prices = torch.full_like(h, 0.1)
    alive = torch.arange(problem.batch, device=y.device)
    slopes, offsets = y.new_empty(problem.batch, 0, problem.size), y.new_empty(problem.batch, 0)
    weights = offsets
    for step in range(1, max_iterations + 1):
        value, slope = problem.evaluate(y)
        offset, total = value - (slope * y).sum(1), value + term.value(y)
        record.meet(alive, y, total, step)
        missing = record.value[alive] - record.lower[alive]
        noise = noise_of(problem, y, value, offset, total)
        wanted = torch.maximum(tolerance * total.abs().clamp_min(1.0), noise)
        open_ = (missing > wanted) & ~stall.ends(alive, missing, noise)
        record.close(alive[~open_])
        if pieces is not None:
            pieces.add(alive, step - 1, y, slope, offset)
            pieces.end(alive, weights, prices)
        rest = torch.nonzero(open_)[:, 0]
        if len(rest) == 0 or step == max_iterations:
            break
        if len(rest) <= _REST * len(alive):
            alive, slope, offset, wanted, missing = (t[rest] for t in (alive, slope, offset, wanted, missing))
            slopes, offsets, weights = slopes[rest], offsets[rest], weights[rest]
            problem, term, h, prices = problem.take(rest), term.take(rest), h[rest], prices[rest]
            rows = None if rows is None else rows.take(rest)
        if offsets.shape[1] == _MAX_CUTS and pieces is None:
            slopes, offsets, weights = merge(slopes, offsets, weights, _MAX_CUTS // 2)
        slopes = torch.cat([slopes, slope[:, None]], 1)
        offsets = torch.cat([offsets, offset[:, None]], 1)
        # The last cut is the only one that is violated, so it will have weight.
        weights = torch.cat([weights, torch.full_like(offset, 1.0 / offsets.shape[1])[:, None]], 1)
        close = _INNER * torch.minimum(missing, wanted * 1e6).maximum(wanted)
        point: DualPoint | Solution
        if rows is None:
            point = maximise_over_simplex(slopes, offsets, term, weights, close)
            y = problem.beside(point.y)
        else:
            assert isinstance(term, Proximity)
            model = Model(slopes, offsets, G, h, term.lo, term.hi, term.centre, term.modulus)
            point = minimise_model(model, close, rows.inner)
            prices = point.prices
            y = problem.beside(rows.pulled_inside(point.y), rows.inner)
        weights = point.weights
        linear = (point.slope * y).sum(1)
        low = point.offset + term.minimum(point.slope)
        record.rise(alive, low - rounding(point.offset, linear, low))
    return record.result(problem.shape if problem.plane is None else (problem.size,))


def merge(slopes: Tensor, offsets: Tensor, weights: Tensor, keep: int) -> tuple[Tensor, Tensor, Tensor]:
    """Keep so many cuts of most weight, and the combination of all for the others."""
    kept = weights.topk(keep, dim=1).indices
    combined = (weights[:, None] @ slopes, (weights * offsets).sum(1, keepdim=True))
    slopes = slopes.gather(1, kept[..., None].expand(-1, -1, slopes.shape[2]))
    lighter = torch.full_like(offsets[:, :1], 0.1)
    return (
        torch.cat([slopes, combined[0]], 1),
        torch.cat([offsets.gather(1, kept), combined[1]], 1),
        torch.cat([weights.gather(1, kept), lighter], 1),
    )
