"""Method of multipliers: L-BFGS on boxes inside, for rows A y <= b, for networks of ReLUs, or for both.

*Rows*: the augmented Lagrangian f(y) + (|max(0, u + r (A y - b))|^2 - |u|^2) / (2 r) is smooth where f is,
and for u >= 0 and A y <= b nowhere above f. *ReLUs*: see `Relaxed`. So lower bounds of what L-BFGS minimises
hold for f on the polytope at every stage. Each round minimises a little better than the one before, moves u
to max(0, u + r (A y - b)) and the known slopes to the maximising ones, and raises r, or narrows the
smoothing, where the gap falls slowly (Hestenes and Powell's method, 1969; Rockafellar, 1973, for
inequalities).
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from jensen.minimize.batched._lbfgs import minimise_by_lbfgs
from jensen.minimize.batched._newton import lower_bound
from jensen.minimize.batched._relaxed import Relaxed, can_relax
from jensen.minimize.polytopes._rows import Rows
from jensen.minimize.tensors._problem import TorchProblem
from jensen.minimize.tensors._record import Record, rounding
from jensen.minimize.tensors._result import BatchedMinimum
from jensen.minimize.tensors._separable import Nothing

_ROUNDS = 200
_PATIENCE = 8
"""Rounds without a better gap after which a sample has met rounding."""
_INNER, _FINER, _FINEST = 0.3, 0.5, 0.01
"""A round may leave this share of what the last one left; a smaller one where that brings the gap nowhere."""
_LONGEST = 400
"""Evaluations of one round."""
_PENALTY, _GROWTH = 30.0, 5.0
_SLOW = 0.25
"""Violations should shrink to this share in a round."""
_NARROWER, _NARROW, _NARROWEST = 0.3, 0.1, 1e-6
"""By how much smoothing is narrowed: to a share of a layer's pre-activations, further where nothing helps."""


def minimise_by_multipliers(
    problem: TorchProblem,
    tolerance: float,
    max_iterations: int,
    rows: Rows | None = None,
    start: Tensor | None = None,
    modulus: float = 0.0,
) -> BatchedMinimum:
    """Minimise f until the gap is at most tolerance * max(1, |value|), or rounds bring nothing more.

    Parameters
    ----------
    problem : TorchProblem
        Not frozen. Its f is continuously differentiable, or `can_relax` says that its kinks can be smoothed.
        With rows its box encloses the polytope. Where the box is infinite lower bounds need the modulus.
    tolerance : float
    max_iterations : int
        Largest number of evaluations of f.
    rows : Rows, optional
    start : (batch, n) tensor, optional
        Where to begin without rows; the middle of the box by default.
    modulus : float, default 0.0
        A number with which f is strongly convex.
    """
    nothing = Nothing(problem.lo, problem.hi)
    y = rows.inner if rows is not None else nothing.middle() if start is None else start
    relaxed = Relaxed(problem, y) if can_relax(problem) else None
    problem = problem.frozen()
    record, alive = Record(y), torch.arange(problem.batch, device=y.device)
    value, slope = problem.evaluate(y)
    record.meet(alive, y, value, 1)
    record.rise(alive, lower_bound(problem, nothing, y, value, slope, modulus) - rounding(value))
    missing, last_missing = record.value - record.lower, torch.full_like(value, torch.inf)
    least, idle, inner = missing, torch.zeros_like(value), torch.full_like(value, _INNER)
    price, penalty = _first_prices(problem, rows, slope)
    last_wrong, used = torch.full_like(value, torch.inf), torch.ones_like(record.iterations)
    for _ in range(_ROUNDS):
        left = max_iterations - int(used.max()) if len(alive) else 0
        if left <= 0:
            break
        size = record.value[alive].abs().clamp_min(1.0)
        # Relative to the value of what L-BFGS minimises, close to f's. Without bounds, as far as it goes.
        share = torch.where(torch.isfinite(missing), inner * missing / size, 0.0).clamp_min(tolerance / 40)
        inside = problem if relaxed is None else relaxed.problem()
        if rows is not None:
            inside = _augmented(inside, rows, price, penalty)
        found = minimise_by_lbfgs(inside, share, min(left, _LONGEST), y, modulus)
        y = found.point.reshape(len(alive), problem.size)
        used[alive] += found.iterations + 2
        value, slope = problem.evaluate(y) if relaxed is None else relaxed.minorant(y)
        if rows is not None:
            excess = y @ rows.A.mT - rows.b
            wrong = torch.maximum(excess, -price / penalty).abs().amax(1) if len(rows.A) else value * 0
            price = (price + penalty * excess).clamp_min(0.0)
            penalty = torch.where((wrong > _SLOW * last_wrong)[:, None], penalty * _GROWTH, penalty)
            last_wrong = wrong
            value, slope = value + (price * excess).sum(1), slope + price @ rows.A
        low = lower_bound(problem, nothing, y, value, slope, modulus)
        record.rise(alive, low - rounding(value, (slope * y).sum(1), low.nan_to_num(neginf=0.0)))
        record.rise(alive, found.lower_bound)
        point = y if rows is None else rows.pulled_inside(y)
        value = problem.evaluate(point)[0]
        record.meet(alive, point, value, 1)
        record.iterations[alive] = used[alive]
        missing = record.value[alive] - record.lower[alive]
        noise = rounding(value, (slope * y).sum(1)) * 4
        done = missing <= torch.maximum(tolerance * record.value[alive].abs().clamp_min(1.0), noise)
        record.close(alive[done])
        falls = missing < 0.7 * last_missing
        inner = torch.where(falls, _INNER, inner * _FINER).clamp_min(_FINEST)
        idle = torch.where(missing < 0.99 * least, 0, idle + 1)
        if relaxed is not None:
            slow = (missing > 0.3 * last_missing) & (relaxed.width > _NARROW) | (idle > 1)
            relaxed.width = torch.where(slow, relaxed.width * _NARROWER, relaxed.width).clamp_min(_NARROWEST)
        least, last_missing = torch.minimum(least, missing), missing
        rest = torch.nonzero(~done & (idle < _PATIENCE))[:, 0]
        if len(rest) < len(alive):
            alive, y, missing, last_missing, least, idle, inner, price, penalty, last_wrong = (
                t[rest]
                for t in (
                    alive, y, missing, last_missing, least, idle, inner, price, penalty, last_wrong
                )
            )  # fmt: skip
            problem, nothing = problem.take(rest), nothing.take(rest)
            rows = None if rows is None else rows.take(rest)
            if relaxed is not None:
                relaxed.take(rest)
    return record.result(problem.shape)


def _first_prices(problem: TorchProblem, rows: Rows | None, slope: Tensor) -> tuple[Tensor, Tensor]:
    """Give multipliers of rows and penalties to begin with."""
    if rows is None:
        return slope.new_zeros(len(slope), 0), slope.new_ones(len(slope), 1)
    spread = (problem.hi - problem.lo).square().sum(1).sqrt()
    spread = torch.where(torch.isfinite(spread), spread, 1.0).clamp_min(torch.finfo(slope.dtype).tiny ** 0.5)
    penalty = (_PENALTY * slope.square().sum(1).sqrt() / spread).clamp_min(torch.finfo(slope.dtype).eps)
    return torch.zeros_like(rows.b), penalty[:, None]


def _augmented(problem: TorchProblem, rows: Rows, price: Tensor, penalty: Tensor) -> TorchProblem:
    """Add what violated rows cost."""

    def f(index: Tensor, y: Tensor) -> Tensor:
        u, r = price[index], penalty[index]
        push = (u + r * (y @ rows.A.mT - rows.b[index])).clamp_min(0.0)
        return problem.take(index).values(y) + ((push.square() - u.square()) / (2 * r)).sum(1)

    everyone = torch.arange(problem.batch, device=price.device)
    return replace(problem, f=f, x=everyone, linear=None, shape=(problem.size,))
