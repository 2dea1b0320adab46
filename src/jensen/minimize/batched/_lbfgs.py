"""Batched projected L-BFGS for smooth f(y) on boxes, of any size: no Hessian is ever formed.

Coordinates that stand at a bound and are pushed against it rest. In the others the two-loop recursion, with
differences of points and gradients restricted to them, gives a direction, and the step's length is found on
the projected arc. The linearisation of f at every iterate gives a valid lower bound.
"""

from __future__ import annotations

import torch
from torch import Tensor

from jensen.minimize.batched._newton import lower_bound
from jensen.minimize.tensors._problem import TorchProblem
from jensen.minimize.tensors._record import Record, rounding
from jensen.minimize.tensors._result import BatchedMinimum
from jensen.minimize.tensors._separable import Nothing

_ARMIJO = 1e-4
_TRIALS = 30
_REST = 0.8
"""The batch is gathered anew when fewer than this share of it is unfinished."""


def minimise_by_lbfgs(
    problem: TorchProblem,
    tolerance: float | Tensor,
    max_iterations: int,
    start: Tensor | None = None,
    modulus: float = 0.0,
    memory: int = 12,
) -> BatchedMinimum:
    """Minimise f until the gap is at most tolerance * max(1, |value|), or steps are lost in rounding.

    Parameters
    ----------
    problem : TorchProblem
        With a continuously differentiable f; kinks slow the method down and do not make bounds wrong.
    tolerance : float or (batch,) tensor
    max_iterations : int
        Largest number of evaluations of f.
    start : (batch, n) tensor, optional
    modulus : float, default 0.0
        A number with which f is strongly convex; on an unbounded domain there are no lower bounds otherwise,
        and steps end where the gradient is as small as rounding.
    memory : int, default 12
        How many past steps approximate the Hessian.
    """
    nothing = Nothing(problem.lo, problem.hi)
    y = problem.beside(nothing.middle() if start is None else start)
    record = Record(y)
    alive = torch.arange(problem.batch, device=y.device)
    wanted = torch.as_tensor(tolerance, dtype=y.dtype, device=y.device).expand(problem.batch)
    past = _Past(memory)
    value, slope = problem.evaluate(y)
    open_ = torch.ones_like(value, dtype=torch.bool)
    evaluations = 1
    while len(alive):
        record.meet(alive, y, value, evaluations)
        offset = value - (slope * y).sum(1)
        low = lower_bound(problem, nothing, y, value, slope, modulus)
        record.rise(alive, low - rounding(offset, value - offset, low.nan_to_num(neginf=0.0)))
        missing = record.value[alive] - record.lower[alive]
        noise = rounding(offset, value - offset) * 4
        done = missing <= torch.maximum(wanted * value.abs().clamp_min(1.0), noise)
        record.close(alive[done])
        open_ = open_ & ~done
        rest = torch.nonzero(open_)[:, 0]
        if len(rest) == 0 or evaluations >= max_iterations:
            break
        if len(rest) <= _REST * len(alive):
            alive, y, value, slope, noise, open_, wanted = (
                t[rest] for t in (alive, y, value, slope, noise, open_, wanted)
            )
            past.take(rest)
            problem, nothing = problem.take(rest), nothing.take(rest)
        rests = ((y <= problem.lo) & (slope > 0)) | ((y >= problem.hi) & (slope < 0))
        direction = past.direction(slope, (~rests).to(y))
        found, tried = _search(problem, y, value, slope, direction, noise, open_)
        evaluations += tried
        y_next, value_next, slope_next, moved = found
        # A direction that does not pay may be the past's fault; the gradient's failing is the end.
        open_ = open_ & (moved | past.known(moved))
        past.forget(~moved)
        y_next = torch.where(moved[:, None], problem.beside(y_next), y)
        past.add(y_next - y, slope_next - slope)
        y, value, slope = y_next, value_next, slope_next
    return record.result(problem.shape)


class _Past:
    """The last steps and the changes of the gradient along them, (batch, n) each."""

    def __init__(self, memory: int) -> None:
        self.memory = memory
        self.steps: list[Tensor] = []
        self.turns: list[Tensor] = []

    def add(self, step: Tensor, turn: Tensor) -> None:
        """Take note of a step."""
        self.steps.append(step)
        self.turns.append(turn)
        if len(self.steps) > self.memory:
            del self.steps[0], self.turns[0]

    def take(self, index: Tensor) -> None:
        """Restrict to some of the problems."""
        self.steps, self.turns = [s[index] for s in self.steps], [t[index] for t in self.turns]

    def forget(self, which: Tensor) -> None:
        """Forget all about some of the problems."""
        if bool(which.any()):
            self.steps = [s.masked_fill(which[:, None], 0.0) for s in self.steps]

    def known(self, like: Tensor) -> Tensor:
        """Tell for which problems anything is known; a boolean tensor like another."""
        return (self.steps[-1] != 0).any(1) if self.steps else torch.zeros_like(like)

    def direction(self, slope: Tensor, free: Tensor) -> Tensor:
        """Give the negative inverse Hessian times the gradient, in the free coordinates; 0 in the others."""
        tiny, eps = torch.finfo(slope.dtype).tiny, torch.finfo(slope.dtype).eps
        gradient = slope * free
        left, pairs = gradient, []
        size = gradient.square().sum(1).sqrt().clamp_min(tiny)
        # Before anything is known, a step of length one.
        unit = 1 / size
        for newest, (step, turn) in enumerate(zip(reversed(self.steps), reversed(self.turns), strict=True)):
            s, t = step * free, turn * free
            along, bend = (s * t).sum(1), t.square().sum(1)
            good = along > eps * (bend * s.square().sum(1)).sqrt().clamp_min(tiny)
            inverse = torch.where(good, 1 / along, 0.0)
            if newest == 0:
                unit = torch.where(good, along / bend, unit)
            share = inverse * (s * left).sum(1)
            left = left - share[:, None] * t
            pairs.append((s, t, inverse, share))
        left = left * unit[:, None]
        for s, t, inverse, share in reversed(pairs):
            left = left + (share - inverse * (t * left).sum(1))[:, None] * s
        falls = (left * gradient).sum(1) > 0
        usable = falls & torch.isfinite(left).all(1)
        return -torch.where(usable[:, None], left * free, gradient * unit[:, None])


def _search(
    problem: TorchProblem,
    y: Tensor,
    value: Tensor,
    slope: Tensor,
    direction: Tensor,
    noise: Tensor,
    open_: Tensor,
) -> tuple[tuple[Tensor, Tensor, Tensor, Tensor], int]:
    """Shorten each sample's step until it pays; give points, values, slopes, whether; and evaluations."""
    y_next, value_next, slope_next = y.clone(), value.clone(), slope.clone()
    moved = torch.zeros_like(open_)
    left = torch.nonzero(open_)[:, 0]
    length = torch.ones_like(value)[left]
    here = problem if len(left) == len(y) else problem.take(left)
    tried = 0
    while tried < _TRIALS:
        tried += 1
        at, told = y[left], slope[left]
        point = torch.minimum(torch.maximum(at + length[:, None] * direction[left], here.lo), here.hi)
        change = ((point - at) * told).sum(1)
        there, tilt = here.evaluate(point)
        drop = value[left] - there
        # Near the minimum values drown in rounding: there the slope tells whether the step pays.
        after = ((point - at) * tilt).sum(1)
        calm = (drop.abs() <= noise[left]) & (after.abs() <= 0.9 * change.abs())
        pays = (change < 0) & ((drop >= -_ARMIJO * change) | calm)
        taken = left[pays]
        y_next[taken], value_next[taken], slope_next[taken] = point[pays], there[pays], tilt[pays]
        moved[taken] = True
        again = torch.nonzero(~pays & (change < 0))[:, 0]
        if len(again) == 0:
            break
        # Where a parabola through what is known ends, but not too far from a half.
        bend = 2 * (change + drop)[again]
        shorter = torch.where(bend < 0, change[again] / bend, 0.5).clamp(0.1, 0.5)
        left, length = left[again], length[again] * shorter
        here = problem.take(left)
    return (y_next, value_next, slope_next, moved), tried
