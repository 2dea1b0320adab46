"""A network's weights as rational matrices, and rounding outwards to short rationals."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property

import numpy as np
from flint import fmpq, fmpq_mat
from scipy import sparse

from jensen.network import Matrix, ReLUNetwork
from jensen.verifier._dyadic import Dyadic

Vector = list[fmpq]
Neuron = tuple[int, int]
"""(layer, index): layers count from 1, neurons from 0."""


class RationalNetwork:
    """The weights of a `ReLUNetwork` as the rationals that they are.

    Attributes
    ----------
    weights : list over hidden layers 1..L of {source: (n_l, n_k) fmpq_mat}
        Source 0, the input, is left out: a piece brings its own coordinates.
    inputs, biases, slopes : lists over hidden layers
        Rows of the input's weights, biases, slopes below zero.
    outputs : {source: list of n_k fmpq}
    """

    def __init__(self, network: ReLUNetwork) -> None:
        self.network = network
        self.depth, self.widths, self.input_size = network.depth, network.widths, network.input_size
        self.weights = [
            {k: matrix(_rows(w), w.shape[1]) for k, w in layer.weights.items() if k}
            for layer in network.layers
        ]
        self.inputs = [
            _rows(layer.weights[0]) if 0 in layer.weights else [[fmpq(0)] * self.input_size] * layer.size
            for layer in network.layers
        ]
        self.biases = [rationals(layer.bias) for layer in network.layers]
        self.slopes = [rationals(layer.negative_slope) for layer in network.layers]
        self._dyadic: dict[tuple[int, int], Dyadic] = {}
        self.outputs = {k: _rows(w)[0] for k, w in network.output_weights.items() if k}

    def dyadic(self, target: int, source: int) -> Dyadic:
        """Weights from hidden layer `source` into hidden layer `target`."""
        if (target, source) not in self._dyadic:
            self._dyadic[target, source] = Dyadic.of(self.weights[target - 1][source])
        return self._dyadic[target, source]

    @cached_property
    def signed(self) -> list[dict[int, tuple[fmpq_mat, fmpq_mat]]]:
        """Positive and negative parts (both >= 0), transposed, of every entry of `weights`."""
        zero = fmpq(0)
        parts = []
        for weights in self.weights:
            split = {}
            for k, w in weights.items():
                entries, shape = w.entries(), (w.nrows(), w.ncols())
                plus = fmpq_mat(*shape, [v if v.p > 0 else zero for v in entries])
                minus = fmpq_mat(*shape, [-v if v.p < 0 else zero for v in entries])
                split[k] = (plus.transpose(), minus.transpose())
            parts.append(split)
        return parts


def rational(value: float) -> fmpq:
    """Return the rational number that a float is."""
    return fmpq(*float(value).as_integer_ratio())


def rationals(values: Iterable[float]) -> Vector:
    """Return the rational numbers that floats are."""
    return [fmpq(*v.as_integer_ratio()) for v in np.asarray(values, dtype=np.float64).tolist()]


def matrix(rows: Sequence[Vector], columns: int) -> fmpq_mat:
    """Build a matrix from rows; there may be none."""
    return fmpq_mat(len(rows), columns, [v for row in rows for v in row])


def times(rows: Vector, w: fmpq_mat) -> Vector:
    """Compute the row vector rows @ w."""
    if not rows or not w.ncols():
        return [fmpq(0)] * w.ncols()
    return list((fmpq_mat(1, len(rows), rows) * w).entries())


def applied(w: fmpq_mat, column: Vector) -> Vector:
    """Compute w @ column."""
    if not column or not w.nrows():
        return [fmpq(0)] * w.nrows()
    return list((w * fmpq_mat(len(column), 1, column)).entries())


def outward(value: fmpq, up: bool, bits: int = 60) -> fmpq:
    """Round to a dyadic rational of so many significant bits, upwards or downwards."""
    p, q = int(value.p), int(value.q)
    if not p or (q & (q - 1) == 0 and abs(p).bit_length() <= bits):
        return value
    shift = bits - abs(p).bit_length() + q.bit_length()
    scaled = (p << shift, q) if shift >= 0 else (p, q << -shift)
    whole = -((-scaled[0]) // scaled[1]) if up else scaled[0] // scaled[1]
    return fmpq(whole) / fmpq(1 << shift) if shift >= 0 else fmpq(whole << -shift)


def _rows(w: Matrix) -> list[Vector]:
    dense = w.toarray() if sparse.issparse(w) else w
    return [rationals(row) for row in dense]
