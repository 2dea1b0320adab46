"""Batched primal-dual interior point method for smooth f(y) on polytopes.

Iterates stay strictly inside. With slacks s = b - A y and multipliers p > 0 a Newton step aims at
grad f + A'p = 0 and s p = mu, predictor and corrector as Mehrotra's ("On the implementation of a primal-dual
interior point method", 1992); f's Hessian takes the place of a quadratic programme's. For any p >= 0 the
linearisation of f at the iterate plus p (A y - b) lies below f on the polytope, and its minimum over a box
around it is a valid lower bound.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from jensen.minimize.batched._newton import second_order, solver_on
from jensen.minimize.polytopes._rows import Rows
from jensen.minimize.tensors._problem import TorchProblem
from jensen.minimize.tensors._record import Record, rounding
from jensen.minimize.tensors._result import BatchedMinimum
from jensen.minimize.tensors._separable import Nothing, Proximity

_TO_BORDER = 0.99
_HALVINGS = 12
_SHORT = 1e-8
"""A step that the border or f's curvature cuts down to this is the last."""
_PATIENCE = 10
"""Steps without a better bound, where multipliers say that there is one, after which rounding is met."""


def minimise_by_interior_points(
    problem: TorchProblem,
    rows: Rows,
    tolerance: float,
    max_iterations: int,
    modulus: float = 0.0,
    coarse: tuple[Tensor, float] | None = None,
) -> BatchedMinimum:
    """Minimise f until the gap is at most tolerance * max(1, |value|), or steps are lost in rounding.

    Parameters
    ----------
    problem : TorchProblem
        With a twice differentiable f. Its box encloses the polytope and serves the bounds alone; where it is
        infinite they need the modulus.
    rows : Rows
    tolerance : float
    max_iterations : int
    modulus : float, default 0.0
        A number with which f is strongly convex.
    coarse : (batch,) tensor and float, optional
        Rounding of f at the inner points, and its unit, where they are more than those of the vectors' dtype.
    """
    walls, y = _Walls(rows), rows.inner
    record, alive = Record(y), torch.arange(problem.batch, device=y.device)
    blur, unit = (torch.zeros_like(y[:, 0]), 0.0) if coarse is None else coarse
    least, idle = torch.full_like(y[:, 0], torch.inf), torch.zeros_like(y[:, 0])
    value, slope, hessian = second_order(problem, y)
    slack = walls.slack(y)
    push = slope.square().sum(1).sqrt() * (slack * walls.real).sum(1) / walls.real.sum(1).clamp_min(1)
    price = (0.1 * push.clamp_min(1e-8))[:, None] / slack * walls.real
    for step in range(1, max_iterations + 1):
        record.meet(alive, y, value, step)
        offset = value - (slope * y).sum(1)
        inner = price[:, : walls.rows.A.shape[0]]
        paid = (inner * walls.rows.b).sum(1)
        slope_left = slope + inner @ walls.rows.A
        if modulus > 0:
            low = Proximity(problem.lo, problem.hi, y, torch.full_like(y[:, :1], modulus)).minimum(slope_left)
        else:
            low = Nothing(problem.lo, problem.hi).minimum(slope_left)
        low = offset - paid + low
        record.rise(alive, low - rounding(offset, value - offset, paid, low.nan_to_num(neginf=0.0)))
        missing = record.value[alive] - record.lower[alive]
        # Far from the start f may be much smaller; or most of the value may be a term that is not blurred.
        blurred = torch.minimum(blur[alive], (1 + value.abs() + offset.abs()) * (2 * unit))
        noise = torch.maximum(rounding(offset, value - offset, paid) * 4, blurred)
        done = missing <= torch.maximum(tolerance * value.abs().clamp_min(1.0), noise)
        record.close(alive[done])
        gap = (price * slack).sum(1)
        falls = missing < 0.9 * least[alive]
        idle[alive] = torch.where(falls | (gap > missing), 0.0, idle[alive] + 1)
        least[alive] = torch.where(falls, missing, least[alive])
        open_ = ~done & (gap > 1e-3 * noise) & (idle[alive] < _PATIENCE)
        if not bool(open_.any()):
            break
        # Multipliers that run ahead of the gradient leave bounds that no more steps improve.
        floor = torch.where(torch.isfinite(missing), torch.minimum(gap, 0.05 * missing), 0.0)
        state = _State(y, value, slack, price, gap, floor)
        state, moved = _step(problem, walls, state, slope, hessian)
        rest = torch.nonzero(open_ & moved)[:, 0]
        if len(rest) == 0:
            break
        y, slack, price = state.y[rest], state.slack[rest], state.price[rest]
        if len(rest) < len(alive):
            alive, problem, walls = alive[rest], problem.take(rest), walls.take(rest)
        value, slope, hessian = second_order(problem, y)
    return record.result(problem.shape)


class _Walls:
    """All constraints side by side: rows, lower bounds, upper bounds; what is infinite counts for nothing."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows
        finite = [torch.isfinite(rows.b), torch.isfinite(rows.lo), torch.isfinite(rows.hi)]
        self.real = torch.cat(finite, 1).to(rows.b)

    def take(self, index: Tensor) -> _Walls:
        """Restrict to some of the samples."""
        return _Walls(self.rows.take(index))

    def slack(self, y: Tensor) -> Tensor:
        """Room before each wall; 1 where there is none."""
        room = torch.cat([self.rows.b - y @ self.rows.A.mT, y - self.rows.lo, self.rows.hi - y], 1)
        return torch.where(self.real > 0, room, 1.0)

    def change(self, dy: Tensor) -> Tensor:
        """How slacks change along a step."""
        return torch.cat([-dy @ self.rows.A.mT, dy, -dy], 1) * self.real

    def pull(self, price: Tensor) -> Tensor:
        """Sum up the walls' gradients with these multipliers."""
        m, n = self.rows.A.shape
        return price[:, :m] @ self.rows.A - price[:, m : m + n] + price[:, m + n :]

    def stiffness(self, weight: Tensor) -> Tensor:
        """Sum up the outer products of the walls' gradients, (batch, n, n)."""
        m, n = self.rows.A.shape
        whole = (self.rows.A.mT * weight[:, None, :m]) @ self.rows.A
        whole.diagonal(dim1=1, dim2=2).add_(weight[:, m : m + n] + weight[:, m + n :])
        return whole


@dataclass(frozen=True)
class _State:
    """Point, value, slacks, multipliers, sum of slacks times multipliers, and what it should be at least."""

    y: Tensor
    value: Tensor
    slack: Tensor
    price: Tensor
    gap: Tensor
    floor: Tensor


def _step(
    problem: TorchProblem, walls: _Walls, at: _State, slope: Tensor, hessian: Tensor
) -> tuple[_State, Tensor]:
    """Take one step with each sample; tell where it went anywhere."""
    real = walls.real
    ratio = at.price / at.slack
    everything = torch.ones_like(at.y, dtype=torch.bool)
    solve = solver_on(hessian + walls.stiffness(ratio), everything, torch.zeros_like(at.gap))

    def direction(target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        wanted = target / at.slack * real
        dy = solve(-(slope + walls.pull(wanted)))
        ds = walls.change(dy)
        return dy, ds, wanted - (at.price + ratio * ds) * real

    def reach(ds: Tensor, dp: Tensor) -> Tensor:
        return torch.minimum(_to_border(at.slack, ds), _to_border(at.price, dp))

    dy, ds, dp = direction(torch.zeros_like(at.price))
    length = reach(ds, dp).clamp_max(1.0)[:, None]
    after = ((at.price + length * dp) * (at.slack + length * ds) * real).sum(1)
    centring = (after / at.gap).clamp(0.0, 1.0) ** 3
    total = torch.maximum(centring * at.gap, at.floor)
    mu = (total / real.sum(1).clamp_min(1.0))[:, None]
    steep = slope + walls.pull(mu / at.slack * real)
    corrected, plain = direction(mu - ds * dp), direction(mu)
    # Without the corrector it is Newton's direction for the barrier function, which always falls.
    falls = ((corrected[0] * steep).sum(1) < 0)[:, None]
    dy, ds, dp = (torch.where(falls, yes, no) for yes, no in zip(corrected, plain, strict=True))
    length = (_TO_BORDER * reach(ds, dp)).clamp_max(1.0)
    length = torch.where(torch.isfinite(dy).all(1) & torch.isfinite(dp).all(1), length, 0.0)
    dy, dp = dy.nan_to_num(0.0, 0.0, 0.0), dp.nan_to_num(0.0, 0.0, 0.0)
    ds = walls.change(dy)
    down = (dy * steep).sum(1)
    before = at.value - _barrier(mu, at.slack)
    for _ in range(_HALVINGS):
        slack = at.slack + length[:, None] * ds
        value, there = problem.evaluate(at.y + length[:, None] * dy)
        drop = value - _barrier(mu, slack) - before
        beyond = ((there + walls.pull(mu / slack * real)) * dy).sum(1)
        # Values drown in rounding in the end; there slopes tell.
        good = (drop <= 1e-4 * length * down) | (beyond.abs() <= 0.5 * down.abs()) | (length <= _SHORT)
        if bool(good.all()):
            break
        length = torch.where(good, length, length / 2)
    move = length[:, None]
    state = replace(at, y=at.y + move * dy, slack=at.slack + move * ds, price=at.price + move * dp)
    return state, length > _SHORT


def _barrier(mu: Tensor, slack: Tensor) -> Tensor:
    """Sum up mu log(slack); walls that are missing have slack 1."""
    return mu[:, 0] * slack.log().sum(1)


def _to_border(value: Tensor, step: Tensor) -> Tensor:
    """Largest length that keeps every value at least 0."""
    return torch.where(step < 0, -value / step, torch.inf).amin(1)
