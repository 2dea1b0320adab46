"""Matrices of dyadic rationals: integers over a common power of two, so that nothing is ever reduced."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from flint import fmpq, fmpq_mat, fmpz, fmpz_mat
from numpy.typing import NDArray


@dataclass(frozen=True)
class Dyadic:
    """The matrix integers * 2 ** -exponent."""

    integers: fmpz_mat
    exponent: int

    @classmethod
    def of(cls, matrix: fmpq_mat) -> Dyadic:
        """Take over a matrix whose denominators are powers of two.

        Raises
        ------
        ValueError
            If one is not.
        """
        integers, denominator = matrix.numer_denom()
        exponent = int(denominator).bit_length() - 1
        if denominator != 1 << exponent:
            raise ValueError("a denominator is no power of two")
        return cls(integers, exponent)

    @classmethod
    def column(cls, values: Sequence[fmpq]) -> Dyadic:
        """Build a column."""
        return cls.of(fmpq_mat(len(values), 1, list(values)))

    @classmethod
    def diagonal(cls, values: Sequence[fmpq]) -> Dyadic:
        """Build a diagonal matrix."""
        n = len(values)
        return cls.of(
            fmpq_mat(n, n, [v if i == j else fmpq(0) for i, v in enumerate(values) for j in range(n)])
        )

    def __mul__(self, other: Dyadic) -> Dyadic:
        return Dyadic(self.integers * other.integers, self.exponent + other.exponent)

    def __neg__(self) -> Dyadic:
        return Dyadic(-self.integers, self.exponent)

    def __add__(self, other: Dyadic) -> Dyadic:
        low, high = sorted((self, other), key=lambda part: part.exponent)
        shifted = low.integers * fmpz(1 << (high.exponent - low.exponent))
        return Dyadic(shifted + high.integers, high.exponent)

    def __sub__(self, other: Dyadic) -> Dyadic:
        return self + -other

    @property
    def transposed(self) -> Dyadic:
        """The transposed matrix."""
        return Dyadic(self.integers.transpose(), self.exponent)

    @cached_property
    def parts(self) -> tuple[Dyadic, Dyadic]:
        """Positive and negative part, both nonnegative: the matrix is their difference."""
        entries, shape = self.integers.entries(), (self.integers.nrows(), self.integers.ncols())
        plus = fmpz_mat(*shape, [v if v > 0 else 0 for v in entries])
        return Dyadic(plus, self.exponent), Dyadic(plus - self.integers, self.exponent)

    @cached_property
    def entries(self) -> list[fmpq]:
        """All entries, row by row."""
        scale = fmpz(1 << self.exponent)
        return [fmpq(v, scale) for v in self.integers.entries()]

    @cached_property
    def rough(self) -> NDArray[np.float64]:
        """The matrix in floating point, up to some positive factor: good enough to choose by."""
        entries = self.integers.entries()
        largest = max(max(entries, default=fmpz(0)), -min(entries, default=fmpz(0)))
        shift = max(int(largest).bit_length() - 64, 0)
        rounded = [float(v >> shift) for v in entries]
        return np.array(rounded).reshape(self.integers.nrows(), self.integers.ncols())
