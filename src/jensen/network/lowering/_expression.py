"""Affine expressions over the input and the hidden neurons: what every symbolic tensor is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from jensen.network._relu_network import FloatArray, Matrix
from jensen.network.lowering import _matrix
from jensen.network.lowering._matrix import IntVector
from jensen.network.lowering._rounding import (
    entries,
    matrix_product_is_exact,
    product_is_exact,
    sum_is_exact,
)


@dataclass(frozen=True, eq=False)
class Expression:
    """The vector ``sum_k terms[k] @ block_k + constant``.

    Attributes
    ----------
    terms : mapping of int to (n, n_k) matrix
        Keyed by the block they read: 0 is the network's input, others are blocks of neurons.
    constant : (n,) array
    exact : bool
        Whether the operation that made this expression was free of rounding.
    origin : (Expression, (n,) array) or None
        The expression that this one is a multiple of, row by row, and the factors, if it was made so.
    """

    terms: Mapping[int, Matrix]
    constant: FloatArray
    exact: bool = True
    origin: tuple[Expression, FloatArray] | None = None

    @property
    def root(self) -> tuple[Expression, FloatArray]:
        """The expression that this one is a known multiple of, and the factors; itself and 1 if none."""
        return (self, np.ones(self.size)) if self.origin is None else self.origin

    def equals(self, other: Expression) -> bool:
        """Whether both are the same affine functions, written in the same way."""
        return self is other or (
            self.terms.keys() == other.terms.keys()
            and np.array_equal(self.constant, other.constant)
            and all(_matrix.same(m, other.terms[k]) for k, m in self.terms.items())
        )

    @property
    def size(self) -> int:
        """Number of rows."""
        return len(self.constant)

    @property
    def is_constant(self) -> bool:
        """Whether no term is left."""
        return not self.terms

    @property
    def is_sparse(self) -> bool:
        """Whether no row reads more than one source entry on average; composing such forms is cheap."""
        return sum(int(np.count_nonzero(entries(m))) for m in self.terms.values()) <= self.size

    def take(self, index: IntVector) -> Expression:
        """Rows by index; -1 gives a row that is zero."""
        if len(index) == self.size and np.array_equal(index, np.arange(self.size)):
            return Expression(self.terms, self.constant, True, self.origin)
        constant = np.where(index < 0, 0.0, self.constant[index]) if self.size else np.zeros(len(index))
        origin = None if self.origin is None else (self.origin[0].take(index), self.origin[1][index])
        return Expression({k: _matrix.take(m, index) for k, m in self.terms.items()}, constant, True, origin)

    def __add__(self, other: Expression) -> Expression:
        terms = dict(self.terms)
        exact = True
        for k, m in other.terms.items():
            if k in terms:
                terms[k], fine = _matrix.add(terms[k], m)
                exact &= fine
            else:
                terms[k] = m
        constant = self.constant + other.constant
        exact &= sum_is_exact(self.constant, other.constant, constant)
        return Expression(_without_zeros(terms), constant, exact)

    def scale(self, factors: FloatArray) -> Expression:
        """Every row times its own factor."""
        terms = {}
        constant = self.constant * factors
        exact = product_is_exact(self.constant, factors, constant)
        for k, m in self.terms.items():
            terms[k], fine = _matrix.scale(m, factors)
            exact &= fine
        root, known = self.root
        total = known * factors
        origin = (root, total) if product_is_exact(known, factors, total) else (self, factors)
        return Expression(_without_zeros(terms), constant, exact, origin)

    def __neg__(self) -> Expression:
        return self.scale(np.full(self.size, -1.0))

    def __sub__(self, other: Expression) -> Expression:
        return self + (-other)

    def apply(self, matrix: Matrix, bias: FloatArray | None = None) -> Expression:
        """Apply an affine map: matrix @ self + bias."""
        terms = {}
        exact = True
        for k, m in self.terms.items():
            terms[k], fine = _matrix.compose(matrix, m)
            exact &= fine
        if self.constant.any():
            column = self.constant[:, None]
            constant = np.asarray(matrix @ self.constant)
            exact &= matrix_product_is_exact(matrix, column, constant[:, None])
        else:
            constant = np.zeros(matrix.shape[0])
        if bias is not None:
            total = constant + bias
            exact &= sum_is_exact(constant, bias, total)
            constant = total
        return Expression(terms, constant, exact)


def constant_expression(values: FloatArray) -> Expression:
    """Wrap numbers that do not depend on the input."""
    return Expression({}, np.ravel(values).astype(np.float64, copy=False))


def stack(expressions: Sequence[Expression]) -> Expression:
    """Rows of several expressions below one another."""
    if len(expressions) == 1:
        return expressions[0]
    widths = {k: m.shape[1] for e in expressions for k, m in e.terms.items()}
    terms: dict[int, Matrix] = {}
    for k, width in widths.items():
        rows = [e.terms[k] if k in e.terms else sparse.csr_array((e.size, width)) for e in expressions]
        terms[k] = _matrix.stack_rows(rows)
    return Expression(terms, np.concatenate([e.constant for e in expressions]))


def _without_zeros(terms: dict[int, Matrix]) -> dict[int, Matrix]:
    return {k: m for k, m in terms.items() if entries(m).any()}
