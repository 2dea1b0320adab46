"""The bundle method for f(y) + r(y), r separable and strongly convex: every sample has its own cuts.

Each step evaluates f at a point, adds the cut f(y_k) + <g_k, y - y_k> <= f(y), and goes to the minimiser of
the highest cut plus r, whose value is a lower bound. For r the negative entropy this is the bundle entropy
method of Amos, Xu and Kolter, "Input Convex Neural Networks", ICML 2017. All samples that are not finished
have made as many steps, so they have as many cuts, and the batch needs no padding; finished ones leave it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from jensen.minimize._pieces import PieceRecord
from jensen.minimize._rows import Rows
from jensen.minimize._separable import Separable
from jensen.minimize._simplex_newton import maximise_over_simplex
from jensen.minimize._torch_problem import TorchProblem
from jensen.minimize._torch_result import BatchedMinimum

_INNER = 0.1
"""The dual problem is solved to this share of what is missing to optimality."""
_MAX_CUTS = 64
"""With as many cuts those of least weight give way to the combined one, which keeps the lower bound."""
_REST = 0.8
"""The batch is gathered anew when fewer than this share of it is unfinished."""
_NOISY = 20.0
"""f's rounding may be so many times what its value lets expect, where large terms cancel inside f."""
_PATIENCE = 10
"""Steps without progress, at gaps of such a size, after which a sample has met rounding."""


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
        Constraints. They join the dual problem as cuts whose weights, the multipliers, need not add up
        to anything.
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
        noise = noise_of(problem, value, offset, total)
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
        point = maximise_over_simplex(
            torch.cat([slopes, G.expand(len(alive), -1, -1)], 1),
            torch.cat([offsets, -h], 1),
            term,
            torch.cat([weights, prices], 1),
            _INNER * torch.minimum(missing, wanted * 1e6).maximum(wanted),
            len(G),
        )
        weights, prices = point.weights.tensor_split([offsets.shape[1]], 1)
        y = (
            problem.beside(point.y)
            if rows is None
            else problem.beside(rows.pulled_inside(point.y), rows.inner)
        )
        linear = (point.slope * y).sum(1)
        low = point.offset + term.minimum(point.slope)
        record.rise(alive, low - rounding(point.offset, linear, low))
    return record.result(problem.shape if problem.plane is None else (problem.size,))


class Record:
    """Best points and lower bounds of a batch, while a method runs."""

    def __init__(self, start: Tensor) -> None:
        batch = len(start)
        self.point = start.clone()
        self.value = start.new_full((batch,), torch.inf)
        self.lower = start.new_full((batch,), -torch.inf)
        self.iterations = torch.zeros(batch, dtype=torch.int64, device=start.device)
        self.converged = torch.zeros(batch, dtype=torch.bool, device=start.device)

    def meet(self, index: Tensor, point: Tensor, value: Tensor, step: int) -> None:
        """Take note of points of some samples, and keep them where they are the best."""
        better = value < self.value[index]
        which = index[better]
        self.point[which], self.value[which] = point[better], value[better]
        self.iterations[index[~self.converged[index]]] = step

    def rise(self, index: Tensor, lower: Tensor) -> None:
        """Take note of lower bounds."""
        self.lower[index] = torch.fmax(self.lower[index], lower)

    def close(self, index: Tensor) -> None:
        """Mark samples as finished."""
        self.converged[index] = True

    def result(self, shape: tuple[int, ...]) -> BatchedMinimum:
        """Hand out what was found."""
        point = self.point.reshape(len(self.point), *shape)
        return BatchedMinimum(point, self.value, self.lower, self.iterations, self.converged)


class Stall:
    """Tells when gaps near rounding fall no more."""

    def __init__(self, like: Tensor) -> None:
        self._least = torch.full_like(like[:, 0], torch.inf) if like.shape[1] else like.sum(1) + torch.inf
        self._idle = torch.zeros_like(self._least)

    def ends(self, index: Tensor, missing: Tensor, noise: Tensor) -> Tensor:
        """Take note of the gaps of some samples, and tell which have met rounding."""
        falls = missing < 0.9 * self._least[index]
        self._idle[index] = torch.where(falls, 0.0, self._idle[index] + 1)
        self._least[index] = torch.where(falls, missing, self._least[index])
        return (self._idle[index] >= _PATIENCE) & (missing <= _NOISY * noise)


def noise_of(problem: TorchProblem, value: Tensor, offset: Tensor, total: Tensor) -> Tensor:
    """How small a gap can be told from 0: f's values have their rounding, and the methods' sums theirs."""
    noise = rounding(offset, value - offset, total) * 4
    if problem.dtype is None:
        return noise
    return torch.maximum(noise, (1 + value.abs() + offset.abs()) * (2 * problem.eps))


def rounding(*terms: Tensor) -> Tensor:
    """By how much a sum of terms, each itself a sum, may be off: some units in the last place of each."""
    total = terms[0].abs()
    for term in terms[1:]:
        total = total + term.abs()
    return (total + 1) * (16 * torch.finfo(total.dtype).eps)


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
