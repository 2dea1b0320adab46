"""Polytopes for batches: shared rows, right-hand sides and bounds of each sample, a point inside each."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

_ACROSS = 4
"""How often a point is moved across the row that it breaks most."""


@dataclass(frozen=True)
class Rows:
    """``{y : lo_i <= y <= hi_i, A y <= b_i}`` for every sample i, with a point strictly inside.

    Attributes
    ----------
    A : (m, n) tensor
        Rows of length 1.
    b : (batch, m) tensor
    lo, hi : (batch, n) tensors
        Bounds that the polytope itself has; infinite where there is none.
    inner : (batch, n) tensor
        Obeys everything with room to spare, and lies on no particular hyperplane.
    """

    A: Tensor
    b: Tensor
    lo: Tensor
    hi: Tensor
    inner: Tensor

    def take(self, index: Tensor) -> Rows:
        """Restrict to some of the samples."""
        return replace(self, b=self.b[index], lo=self.lo[index], hi=self.hi[index], inner=self.inner[index])

    def with_bounds(self) -> tuple[Tensor, Tensor]:
        """Write all constraints as rows G y <= h: A's, then lower and upper bounds that some sample has."""
        eye = torch.eye(self.A.shape[1], dtype=self.A.dtype, device=self.A.device)
        below, above = (torch.isfinite(side).any(0) for side in (self.lo, self.hi))
        G = torch.cat([self.A, -eye[below], eye[above]])
        return G, torch.cat([self.b, -self.lo[:, below], self.hi[:, above]], 1)

    def pulled_inside(self, y: Tensor) -> Tensor:
        """Move points to where they obey the constraints: across rows, then towards the inner points.

        Where a polytope is thin, or the inner point is close to a row, the way towards it would be long.
        """
        for _ in range(_ACROSS if len(self.A) else 0):
            y = torch.minimum(torch.maximum(y, self.lo), self.hi)
            most, row = (y @ self.A.mT - self.b).max(1)
            y = y - most.clamp_min(0.0)[:, None] * self.A[row]
        excess = torch.cat([y @ self.A.mT - self.b, self.lo - y, y - self.hi], 1)
        room = torch.cat([self.b - self.inner @ self.A.mT, self.inner - self.lo, self.hi - self.inner], 1)
        share = torch.where(excess > 0, excess / (excess + room), 0.0).amax(1, keepdim=True)
        slack = 8 * torch.finfo(y.dtype).eps
        share = torch.where(share > 0, share * (1 + 1e-6) + slack, 0.0).clamp_max(1.0)
        return y + share * (self.inner - y)
