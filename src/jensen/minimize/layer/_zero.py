"""The function 0, of which a linear programme is the argmin with slopes added."""

from __future__ import annotations

from torch import Tensor

from jensen.nn import Architecture
from jensen.nn._activation import as_activation


class Zero(Architecture):
    """f(y) = 0 for each entry of a batch."""

    def __init__(self) -> None:
        super().__init__()
        self.activation, self.quadratic = as_activation("relu"), None

    @property
    def convex_arguments(self) -> tuple[int, ...]:
        """(0,)."""
        return (0,)

    def forward(self, y: Tensor) -> Tensor:
        """Give zeros (batch,)."""
        return y.new_zeros(len(y))
