"""What a batched minimisation found: points, values, lower bounds, gaps."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class BatchedMinimum:
    """Minimisers of a batch of convex problems and how far they are known to be from optimal.

    Attributes
    ----------
    point : (batch, *shape) tensor
    value : (batch,) tensor
        The objective at the points: f, linear term and regulariser.
    lower_bound : (batch,) tensor
        A number that no feasible point's value is below, up to the rounding stated by the method; -inf
        where none is known.
    iterations : (batch,) integer tensor
    converged : (batch,) boolean tensor
        Whether the tolerance was met, or rounding allows no more.
    """

    point: Tensor
    value: Tensor
    lower_bound: Tensor
    iterations: Tensor
    converged: Tensor

    @property
    def gap(self) -> Tensor:
        """Value less lower bound; at least 0, (batch,)."""
        return (self.value - self.lower_bound).clamp_min(0)

    def to(self, dtype: torch.dtype) -> BatchedMinimum:
        """Give the same in another dtype; lower bounds are rounded downwards."""
        if dtype == self.lower_bound.dtype:
            return self
        lower = self.lower_bound.to(dtype)
        below = torch.nextafter(lower, torch.full_like(lower, -torch.inf))
        lower = torch.where(lower.to(self.lower_bound) > self.lower_bound, below, lower)
        return replace(self, point=self.point.to(dtype), value=self.value.to(dtype), lower_bound=lower)
