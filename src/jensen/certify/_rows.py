"""Sparse rows and affine expressions, the parts that a linear programme is built from."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy import sparse

from jensen.network import Matrix


@dataclass
class Rows:
    """Sparse rows under construction."""

    row: list[int] = field(default_factory=list)
    column: list[int] = field(default_factory=list)
    value: list[float] = field(default_factory=list)
    low: list[float] = field(default_factory=list)
    high: list[float] = field(default_factory=list)

    def add(self, entries: dict[int, float], low: float, high: float) -> int | None:
        """Append low <= sum of entries <= high and return its index; None if its coefficients overflowed."""
        if not (np.isfinite(list(entries.values())).all() and low < np.inf and high > -np.inf):
            return None
        i = len(self.low)
        for j, v in entries.items():
            if v != 0.0:
                self.row.append(i)
                self.column.append(j)
                self.value.append(v)
        self.low.append(low)
        self.high.append(high)
        return i


@dataclass
class Expression:
    """An affine function of the columns, with a bound on the rounding error of its coefficients."""

    entries: dict[int, float]
    constant: float
    error: float
    faint: float = 0.0
    """Bound on what underflow has lost."""
    reach: float = 0.0
    """Sum of the largest magnitudes of the columns."""


def nonzeros(w: Matrix, i: int) -> list[tuple[int, float]]:
    """List the nonzero entries of a row as (column, value)."""
    if sparse.issparse(w):
        span = slice(w.indptr[i], w.indptr[i + 1])
        return list(zip(w.indices[span].tolist(), w.data[span].tolist(), strict=True))
    columns = np.flatnonzero(w[i])
    return list(zip(columns.tolist(), w[i, columns].tolist(), strict=True))


def nonzeros_of_column(w: Matrix, j: int) -> list[tuple[int, float]]:
    """List the nonzero entries of a column as (row, value)."""
    column = w[:, [j]].toarray()[:, 0] if sparse.issparse(w) else w[:, j]
    rows = np.flatnonzero(column)
    return list(zip(rows.tolist(), column[rows].tolist(), strict=True))
