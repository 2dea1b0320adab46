"""Models made of cuts, plus a quadratic term, over boxes and rows: batched, by an interior point method.

The programme of a sample is min t + (modulus / 2) |y - centre|^2 subject to t >= a_k.y + b_k, A y <= b and
lo <= y <= hi. Bounds and the quadratic term are diagonal, so that a step costs one Cholesky factor of the
size of cuts and rows, however many variables there are. (A Newton method on the dual alone, into which bounds
enter by clipping, meets kinks and cycles where rows and bounds hold.)
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_MAX_STEPS = 60
_PATIENCE = 6
"""Steps in a row without progress after which a sample has met rounding."""
_TO_BORDER = 0.995


@dataclass(frozen=True)
class Model:
    """A batch of models.

    Attributes
    ----------
    slopes, offsets : (batch, cuts, n) and (batch, cuts) tensors
    A, b : (m, n) and (batch, m) tensors
        Rows A y <= b.
    lo, hi, centre : (batch, n) tensors
    modulus : (batch, 1) tensor
    """

    slopes: Tensor
    offsets: Tensor
    A: Tensor
    b: Tensor
    lo: Tensor
    hi: Tensor
    centre: Tensor
    modulus: Tensor

    def minimiser(self, slope: Tensor) -> Tensor:
        """Where <slope, y> plus the quadratic term is least in the box."""
        return torch.minimum(torch.maximum(self.centre - slope / self.modulus, self.lo), self.hi)

    def bent(self, y: Tensor) -> Tensor:
        """Evaluate the quadratic term."""
        return (y - self.centre).square().sum(1) * (self.modulus[:, 0] / 2)


@dataclass(frozen=True)
class Solution:
    """What a model's minimum looks like.

    Attributes
    ----------
    weights : (batch, cuts) tensor
        Of the cuts; they add up to 1.
    prices : (batch, m) tensor
        Of the rows; at least 0.
    slope, offset : (batch, n) and (batch,) tensors
        Of the combination of cuts and rows, which lies below f in the polytope.
    y : (batch, n) tensor
        The minimiser.
    """

    weights: Tensor
    prices: Tensor
    slope: Tensor
    offset: Tensor
    y: Tensor


def minimise_model(model: Model, tolerance: Tensor, start: Tensor | None = None) -> Solution:
    """Minimise until the value is known up to a tolerance (batch,), or rounding allows no more.

    Parameters
    ----------
    model : Model
    tolerance : (batch,) tensor
    start : (batch, n) tensor, optional
        A point that obeys the rows; the last cut's minimiser, moved into the box, by default.
    """
    walls = _Walls(model)
    y, slack, price = walls.start(start)
    top = slack.new_zeros(len(y), 1)
    best, least = _solution(model, y, price)
    idle, smallest = torch.zeros_like(least), torch.full_like(least, torch.inf)
    for _ in range(_MAX_STEPS):
        if not bool(((least > tolerance) & (idle <= _PATIENCE)).any()):
            break
        total = (price * slack).sum(1)
        system = _System(walls, y, top, slack, price)
        _, _, ds, dp = system.direction(-slack * price)
        length = _reach(slack, ds, price, dp).clamp_max(1.0)[:, None]
        after = ((slack + length * ds) * (price + length * dp)).sum(1)
        aim = ((after / total).clamp(0, 1) ** 3).clamp_min(1e-6) * total / walls.sides
        dy, dt, ds, dp = system.direction((aim[:, None] - slack * price - ds * dp) * walls.real)
        length = (_TO_BORDER * _reach(slack, ds, price, dp)).clamp_max(1.0)
        good = torch.isfinite(dy).all(1) & torch.isfinite(dp).all(1) & system.solved
        step = torch.where(good, length, 0.0)[:, None]
        moves = ((y, dy), (top, dt), (slack, ds), (price, dp))
        y, top, slack, price = (torch.where(step > 0, v + step * dv, v) for v, dv in moves)
        found, missing = _solution(model, y, price)
        better = missing < least
        best = _choose(better, found, best)
        least = torch.where(better, missing, least)
        idle = torch.where(better | (total < 0.9 * smallest), 0, idle + 1)
        smallest = torch.minimum(smallest, total)
    return best


class _System:
    """Newton's equations at a point, factored."""

    def __init__(self, walls: _Walls, y: Tensor, top: Tensor, slack: Tensor, price: Tensor) -> None:
        self.walls, self.slack, self.price, self.ratio = walls, slack, price, price / slack
        model, size = walls.model, walls.size
        # What is missing in the programme's equations.
        self.dual = model.modulus * (y - model.centre) + walls.pull(price)
        self.whole = 1 - (price[:, :size] * walls.cut).sum(1, keepdim=True)
        self.primal = walls.height(y, top) + slack[:, :size]
        self.inverse = (model.modulus + walls.stiffness(self.ratio)).reciprocal() * walls.free
        gram = (walls.G * self.inverse[:, None]) @ walls.G.mT
        diagonal = gram.diagonal(dim1=1, dim2=2)
        diagonal += self.ratio[:, :size].reciprocal() + diagonal * (16 * torch.finfo(y.dtype).eps)
        self.factor, info = torch.linalg.cholesky_ex(gram)
        self.solved = info == 0
        self.border = self._inner(walls.cut.expand_as(self.primal))

    def direction(self, wanted: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Step of point, top, slacks and multipliers that changes the products of the last two by so much."""
        walls, size = self.walls, self.walls.size
        shares, cut = wanted / self.slack, walls.cut
        left = -self.dual - walls.side_pull(shares)
        apart = torch.where(self.price > 0, wanted / self.price, 0.0)[:, :size]
        first = self._inner(self.primal + _times(walls.G, self.inverse * left) + apart)
        missing = (first * cut).sum(1, keepdim=True) - self.whole
        dt = missing / (self.border * cut).sum(1, keepdim=True)
        dp = first - dt * self.border
        dy = self.inverse * (left - _times(walls.G.mT, dp))
        ds = torch.cat([apart - dp / self.ratio[:, :size], dy, -dy], 1) * walls.real
        return dy, dt, ds, torch.cat([dp, (shares - self.ratio * ds)[:, size:]], 1) * walls.real

    def _inner(self, right: Tensor) -> Tensor:
        return torch.cholesky_solve(right[..., None], self.factor)[..., 0]


class _Walls:
    """All constraints side by side: cuts, rows, lower bounds, upper bounds; missing bounds count for nothing.

    Heights of cuts are relative to that of the highest one at the start.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self.count, n = model.offsets.shape[1], model.lo.shape[1]
        self.size = self.count + len(model.A)
        self.n = n
        self.G = torch.cat([model.slopes, model.A.expand(len(model.b), -1, -1)], 1)
        self.cut = model.offsets.new_zeros(self.size)
        self.cut[: self.count] = 1.0
        free = model.lo < model.hi
        self.below, self.above = torch.isfinite(model.lo) & free, torch.isfinite(model.hi) & free
        self.free = free.to(model.lo)
        self.real = torch.cat(
            [torch.ones_like(model.offsets), torch.ones_like(model.b), self.below, self.above], 1
        )
        self.sides = self.real.sum(1)
        self.base = torch.cat([model.offsets, -model.b], 1)

    def start(self, y: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Give a point strictly inside the box, slacks and multipliers."""
        model, count = self.model, self.count
        both = self.below & self.above
        width = torch.where(both, model.hi - model.lo, 1.0).clamp_max(1.0)
        y = model.minimiser(model.slopes[:, -1]) if y is None else y
        y = torch.minimum(torch.maximum(y, model.lo + 0.05 * width), model.hi - 0.05 * width)
        y = torch.where(self.free > 0, y, model.lo)
        height = _times(self.G, y) + self.base
        high, low = height[:, :count].amax(1, keepdim=True), height[:, :count].amin(1, keepdim=True)
        unit = high - low + (model.modulus * width.square()).sum(1, keepdim=True)
        unit = unit.clamp_min(torch.finfo(y.dtype).eps * (1 + high.abs()))
        self.base = self.base - (high + unit) * self.cut
        apart = torch.where(self.cut > 0, high + unit - height, -height)
        apart = torch.maximum(apart, torch.where(self.cut > 0, unit, 0.1 * width.mean(1, keepdim=True)))
        down, up = torch.where(self.below, y - model.lo, 1.0), torch.where(self.above, model.hi - y, 1.0)
        price = torch.where(self.cut > 0, 1.0 / count, (unit / count / apart).clamp_max(1.0))
        # Bounds that hold against what pushes towards them.
        push = model.modulus * (y - model.centre) + _times(self.G.mT, price)
        some = 0.1 * push.abs().mean(1, keepdim=True) + torch.finfo(y.dtype).tiny
        sides = torch.cat([push.clamp_min(0.0) + some, (-push).clamp_min(0.0) + some], 1)
        slack = torch.cat([apart, down, up], 1)
        return y, slack, torch.cat([price, sides], 1) * self.real

    def height(self, y: Tensor, top: Tensor) -> Tensor:
        """Cuts less their common bound, and rows less their right-hand sides."""
        return _times(self.G, y) + self.base - self.cut * top

    def side_pull(self, price: Tensor) -> Tensor:
        """Sum up the gradients of bounds."""
        return price[:, self.size + self.n :] - price[:, self.size : self.size + self.n]

    def pull(self, price: Tensor) -> Tensor:
        """Sum up all gradients."""
        return _times(self.G.mT, price[:, : self.size]) + self.side_pull(price)

    def stiffness(self, weight: Tensor) -> Tensor:
        """Sum up the squares of the gradients of bounds."""
        return weight[:, self.size + self.n :] + weight[:, self.size : self.size + self.n]


def _times(matrix: Tensor, vector: Tensor) -> Tensor:
    return (matrix @ vector[..., None])[..., 0]


def _reach(slack: Tensor, ds: Tensor, price: Tensor, dp: Tensor) -> Tensor:
    """Largest length of a step that keeps slacks and multipliers at least 0."""
    ratio = torch.cat([ds / slack, torch.where(price > 0, dp / price, 0.0)], 1)
    return -1 / ratio.amin(1).clamp_max(-1e-30)


def _solution(model: Model, y: Tensor, price: Tensor) -> tuple[Solution, Tensor]:
    """Read off a solution, and by how much its value may be wrong."""
    count = model.offsets.shape[1]
    weights, prices = price[:, :count], price[:, count : count + len(model.A)]
    weights = weights / weights.sum(1, keepdim=True)
    slope = _times(model.slopes.mT, weights) + prices @ model.A
    offset = (weights * model.offsets).sum(1) - (prices * model.b).sum(1)
    other = model.minimiser(slope)
    low = offset + (slope * other).sum(1) + model.bent(other)
    gap = (_times(model.slopes, y) + model.offsets).amax(1) + model.bent(y) - low
    if len(model.A):  # a violation is worth at least as much as its multiplier says
        excess = (y @ model.A.mT - model.b).clamp_min(0).amax(1)
        gap = gap.abs() + excess * (1 + prices.sum(1))
    return Solution(weights, prices, slope, offset, y), gap


def _choose(mask: Tensor, yes: Solution, no: Solution) -> Solution:
    column = mask[:, None]
    return Solution(
        torch.where(column, yes.weights, no.weights),
        torch.where(column, yes.prices, no.prices),
        torch.where(column, yes.slope, no.slope),
        torch.where(mask, yes.offset, no.offset),
        torch.where(column, yes.y, no.y),
    )
