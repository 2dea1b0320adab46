"""Separable strongly convex terms r(y) on a box, through which a bundle's dual problem becomes smooth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from jensen.errors import DomainError
from jensen.minimize.tensors._problem import TorchProblem


class Separable(Protocol):
    """r(y) = sum_j r_j(y_j) on a box, with m(g) = min_y <g, y> + r(y)."""

    def take(self, index: Tensor) -> Separable:
        """Restrict the terms to some of the problems."""

    def value(self, y: Tensor) -> Tensor:
        """r(y), (batch,)."""

    def minimiser(self, slope: Tensor) -> tuple[Tensor, Tensor]:
        """Give the y of m(slope), and the curvatures -dy/dslope >= 0; all (batch, n)."""

    def minimum(self, slope: Tensor) -> Tensor:
        """m(slope), (batch,)."""

    def middle(self) -> Tensor:
        """Where r is least, (batch, n)."""

    def derivatives(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """R' and r'' at points inside the box, (batch, n)."""


@dataclass(frozen=True)
class Entropy:
    """-weight * sum of the entropies -t log t - (1-t) log(1-t) of t = (y - lo) / (hi - lo).

    Coordinates with lo = hi are fixed and have no entropy.

    Attributes
    ----------
    lo, width : (batch, n) tensors
    weight : float
    """

    lo: Tensor
    width: Tensor
    weight: float
    _free: Tensor

    @classmethod
    def of(cls, problem: TorchProblem, weight: float) -> Entropy:
        """Make the entropy of a problem's boxes.

        Raises
        ------
        DomainError
            If a box is unbounded.
        """
        width = problem.hi - problem.lo
        if not bool(torch.isfinite(width).all()):
            raise DomainError("an entropy needs a bounded box: give finite lower and upper bounds")
        return cls(problem.lo, width, weight, (width > 0).to(width))

    def take(self, index: Tensor) -> Entropy:
        """Restrict the terms to some of the problems."""
        return Entropy(self.lo[index], self.width[index], self.weight, self._free[index])

    def value(self, y: Tensor) -> Tensor:
        """r(y), (batch,)."""
        # Where width is 0 this is 0/0; such entries are not counted.
        t = ((y - self.lo) / self.width).nan_to_num_(0.0).clamp_(0.0, 1.0)
        negative: Tensor = torch.xlogy(t, t) + torch.special.xlog1py(1 - t, -t)
        return negative.sum(1) * self.weight

    def minimiser(self, slope: Tensor) -> tuple[Tensor, Tensor]:
        """Give the y of m(slope), and the curvatures -dy/dslope."""
        t = torch.sigmoid(slope * self.width * (-1 / self.weight))
        step = t * self.width
        return torch.add(self.lo, step), step.mul_(1 - t).mul_(self.width).mul_(1 / self.weight)

    def minimum(self, slope: Tensor) -> Tensor:
        """m(slope), (batch,)."""
        scaled = slope * self.width * (-1 / self.weight)
        soft = torch.clamp_min(scaled, 0) + torch.log1p(torch.exp(-scaled.abs()))
        return (slope * self.lo).sum(1) - (soft * self._free).sum(1) * self.weight

    def middle(self) -> Tensor:
        """Where r is least."""
        return self.lo + self.width / 2

    def derivatives(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """R' and r'' at points inside the box; 0 in fixed coordinates."""
        # A t that rounds to 0 or 1 stands for one that does not.
        info = torch.finfo(y.dtype)
        t = ((y - self.lo) / self.width).nan_to_num_(0.5).clamp_(info.tiny, 1 - info.eps / 2)
        scale = (self.weight / self.width).where(self._free > 0, 0.0)
        first = torch.log(t) - torch.log1p(-t)
        return first * scale, (scale / self.width).where(self._free > 0, 0.0) / (t * (1 - t))


@dataclass(frozen=True)
class Proximity:
    """(modulus / 2) |y - centre|^2 on the box.

    Attributes
    ----------
    lo, hi, centre : (batch, n) tensors
    modulus : (batch, 1) tensor
    """

    lo: Tensor
    hi: Tensor
    centre: Tensor
    modulus: Tensor

    def take(self, index: Tensor) -> Proximity:
        """Restrict the terms to some of the problems."""
        return Proximity(self.lo[index], self.hi[index], self.centre[index], self.modulus[index])

    def value(self, y: Tensor) -> Tensor:
        """r(y), (batch,)."""
        return (y - self.centre).square().sum(1) * (self.modulus[:, 0] / 2)

    def minimiser(self, slope: Tensor) -> tuple[Tensor, Tensor]:
        """Give the y of m(slope), and the curvatures -dy/dslope."""
        free = self.centre - slope / self.modulus
        y = torch.minimum(torch.maximum(free, self.lo), self.hi)
        return y, (y == free).to(y) / self.modulus

    def minimum(self, slope: Tensor) -> Tensor:
        """m(slope), (batch,)."""
        y, _ = self.minimiser(slope)
        return (slope * y).sum(1) + self.value(y)

    def middle(self) -> Tensor:
        """Where r is least."""
        return torch.minimum(torch.maximum(self.centre, self.lo), self.hi)

    def derivatives(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """R' and r''."""
        return self.modulus * (y - self.centre), self.modulus.expand_as(y)


@dataclass(frozen=True)
class Nothing:
    """r = 0 on the box.

    Attributes
    ----------
    lo, hi : (batch, n) tensors
    """

    lo: Tensor
    hi: Tensor

    def take(self, index: Tensor) -> Nothing:
        """Restrict the terms to some of the problems."""
        return Nothing(self.lo[index], self.hi[index])

    def value(self, y: Tensor) -> Tensor:
        """0."""
        return y.new_zeros(len(y))

    def minimiser(self, slope: Tensor) -> tuple[Tensor, Tensor]:
        """Give a corner of the box, and no curvature."""
        corner = torch.where(slope > 0, self.lo, self.hi).where(slope != 0, self.middle())
        return corner, torch.zeros_like(slope)

    def minimum(self, slope: Tensor) -> Tensor:
        """Least value of <slope, y> on the box; -inf where the box has no end in its direction."""
        return (slope * self.minimiser(slope)[0]).sum(1)

    def middle(self) -> Tensor:
        """Give the centre of the box; of a half-line its end, of a line 0."""
        zero = torch.zeros_like(self.lo)
        low, high = torch.isfinite(self.lo), torch.isfinite(self.hi)
        one = torch.where(low, self.lo, torch.where(high, self.hi, zero))
        return torch.where(low & high, self.lo + (self.hi - self.lo) / 2, one)

    def derivatives(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """0 and 0."""
        return torch.zeros_like(y), torch.zeros_like(y)
