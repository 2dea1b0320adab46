"""A plane that a flat polytope lies in, and coordinates on it."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Plane:
    """{origin + basis z}: what is minimised over a flat polytope is a function of z.

    Attributes
    ----------
    origin : (n,) tensor
    basis : (n, k) tensor
        Orthonormal columns.
    """

    origin: Tensor
    basis: Tensor

    def to(self, like: Tensor) -> Plane:
        """Give the same plane in the dtype of a tensor and on its device."""
        return Plane(self.origin.to(like), self.basis.to(like))

    def points(self, z: Tensor) -> Tensor:
        """Points (batch, n) with these coordinates."""
        return self.origin + z @ self.basis.mT

    def coordinates(self, y: Tensor) -> Tensor:
        """Coordinates (batch, k) of the points of the plane that are nearest to these."""
        return (y - self.origin) @ self.basis

    def slopes(self, slope: Tensor) -> Tensor:
        """Slopes (batch, k) along the coordinates."""
        return slope @ self.basis
