"""How much a model file may compute before its input comes in: in proportion to what it stores."""

from __future__ import annotations

from jensen.errors import ModelFileError
from jensen.network.lowering._tape import MAX_ELEMENTS

FREE_ELEMENTS = 1 << 24
COPIES = 8
"""Constants may add up to this many times the stored weights, and to `FREE_ELEMENTS` beyond."""
MAX_PRODUCTS = 1 << 36
"""Multiplications that the constant matrix products of one file may take: seconds, not hours."""


class FoldingBudget:
    """Numbers and multiplications that a file may still spend on constants.

    Parameters
    ----------
    stored : int
        Numbers that the file holds.
    """

    def __init__(self, stored: int) -> None:
        self._elements = float(FREE_ELEMENTS + COPIES * stored)
        self._products = float(MAX_PRODUCTS)

    def earn(self, elements: int) -> None:
        """Count numbers that the file stores elsewhere than among its weights."""
        self._elements += COPIES * elements

    def spend(self, place: str, elements: float, products: float = 0.0) -> None:
        """Take the cost of one constant, before it is computed.

        Raises
        ------
        ModelFileError
            If the file asks for more than its own size justifies.
        """
        self._elements -= elements
        self._products -= products
        if elements > MAX_ELEMENTS or min(self._elements, self._products) < 0:
            raise ModelFileError(
                f"{place} makes a constant of {elements:.0f} numbers, which is too large beside what the "
                "file stores; fold the model's constants before storing it"
            )
