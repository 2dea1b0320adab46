"""Exact evaluation: every float64 weight is a dyadic rational, so the network is a rational function.

Products are taken by splitting weights and activations into short integer limbs, so that float64 matrix
products (dense or sparse) of limbs are exact; carries are resolved in Python integers. A network with
10^7 weights is evaluated exactly in about the time of a few dozen float passes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from math import lcm
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

if TYPE_CHECKING:
    from jensen.network._relu_network import Matrix, ReLUNetwork

Rational: TypeAlias = Fraction | int
IntArray: TypeAlias = NDArray[Any]
"""An object array of Python integers."""

_MANTISSA = 53


class ExactMatrix:
    """A float64 matrix as an integer matrix times a power of two, held as limbs.

    Parameters
    ----------
    matrix : (m, n) array or sparse array
        Finite float64 entries.
    """

    def __init__(self, matrix: Matrix) -> None:
        self.shape = matrix.shape
        data = matrix.data if sparse.issparse(matrix) else matrix
        if sparse.issparse(matrix):
            fan_in = int(np.diff(matrix.indptr).max(initial=1))
        else:
            fan_in = max(matrix.shape[1], 1)
        self.bits = (_MANTISSA - max(fan_in, 2).bit_length()) // 2
        self.limbs: list[Matrix] = []
        remainder = np.array(data, dtype=np.float64)
        _, exponents = np.frexp(np.abs(remainder).max(initial=0.0))
        top = int(exponents)
        shift = -top
        while remainder.any():
            shift += self.bits
            limb = np.trunc(np.ldexp(remainder, shift))
            remainder -= np.ldexp(limb, -shift)
            if sparse.issparse(matrix):
                self.limbs.append(sparse.csr_array((limb, matrix.indices, matrix.indptr), shape=matrix.shape))
            else:
                self.limbs.append(limb)
        self.exponent = len(self.limbs) * self.bits - top
        """The matrix is its integer matrix times 2 ** -exponent."""

    def __matmul__(self, right: IntArray) -> IntArray:
        """Multiply the integer matrix by integer columns, exactly."""
        n, columns = right.shape
        total = np.zeros((self.shape[0], columns), dtype=object)
        if not self.limbs or n == 0 or columns == 0:
            return total
        longest = max((int(v).bit_length() for v in right.flat), default=0)
        count = -(-longest // self.bits)
        if count == 0:
            return total
        stacked = np.concatenate(_split(right, self.bits, count), axis=1)
        parts = len(self.limbs)
        diagonals: list[NDArray[np.int64] | None] = [None] * (parts + count - 1)
        for j, limb in enumerate(self.limbs):
            product = np.asarray(limb @ stacked).astype(np.int64)
            for i in range(count):
                place = (parts - 1 - j) + i
                block = product[:, i * columns : (i + 1) * columns]
                known = diagonals[place]
                diagonals[place] = block if known is None else known + block
        for place, diagonal in enumerate(diagonals):
            if diagonal is not None:
                total = total + diagonal.astype(object) * (1 << (place * self.bits))
        return total


def _split(values: IntArray, bits: int, count: int) -> list[NDArray[np.float64]]:
    """Split integers into `count` limbs, least first, each carrying its integer's sign."""
    mask = (1 << bits) - 1
    signs = np.where(values < 0, -1.0, 1.0).astype(np.float64)
    magnitudes = np.abs(values)
    limbs = []
    for _ in range(count):
        limbs.append((magnitudes & mask).astype(np.float64) * signs)
        magnitudes = magnitudes >> bits
    return limbs


def integer_columns(columns: Sequence[Sequence[Rational]]) -> tuple[IntArray, list[int]]:
    """Bring each column of rationals onto its own common denominator.

    Returns
    -------
    integers : (n, C) object array
    denominators : list of C int
    """
    denominators = [lcm(*(Fraction(v).denominator for v in column)) for column in columns]
    size = len(columns[0]) if columns else 0
    integers = np.empty((size, len(columns)), dtype=object)
    for c, (column, denominator) in enumerate(zip(columns, denominators, strict=True)):
        for r, v in enumerate(column):
            fraction = Fraction(v)
            integers[r, c] = fraction.numerator * (denominator // fraction.denominator)
    return integers, denominators


class ExactNetwork:
    """A `ReLUNetwork` evaluated in exact rational arithmetic.

    Parameters
    ----------
    network : ReLUNetwork
    """

    def __init__(self, network: ReLUNetwork) -> None:
        self.input_size = network.input_size
        self._layers = [
            (
                {k: ExactMatrix(w) for k, w in layer.weights.items()},
                ExactMatrix(layer.bias[:, None]),
                [Fraction(float(s)) for s in layer.negative_slope] if layer.negative_slope.any() else None,
            )
            for layer in network.layers
        ]
        self._output = {k: ExactMatrix(w) for k, w in network.output_weights.items()}
        self._output_bias = ExactMatrix(np.array([[network.output_bias]]))

    @staticmethod
    def _affine(
        weights: Mapping[int, ExactMatrix],
        bias: ExactMatrix,
        values: Sequence[tuple[IntArray, int]],
        unit: IntArray,
    ) -> tuple[IntArray, int]:
        """Sum weights[k] @ h_k + bias * unit over a common power of two."""
        terms = [(weights[k] @ values[k][0], weights[k].exponent + values[k][1]) for k in weights]
        terms.append((bias @ unit, bias.exponent))
        exponent = max(e for _, e in terms)
        total = terms[-1][0] * (1 << (exponent - terms[-1][1]))
        for term, e in terms[:-1]:
            total = total + term * (1 << (exponent - e))
        return total, exponent

    def _propagate(self, inputs: IntArray, unit: IntArray, active: Any) -> list[tuple[IntArray, int]]:
        """Push homogeneous columns through the network; `active(l, z)` says which neurons are on.

        `inputs` (d, C) and `unit` (C,) together are homogeneous coordinates: column c stands for the
        point inputs[:, c] / unit[c], or for a direction where unit[c] is 0.
        Returns z_1..z_L and the output, each as (integers, exponent).
        """
        unit = unit[None, :]
        values: list[tuple[IntArray, int]] = [(inputs, 0)]
        results: list[tuple[IntArray, int]] = []
        for position, (weights, bias, slopes) in enumerate(self._layers, start=1):
            z, exponent = self._affine(weights, bias, values, unit)
            results.append((z, exponent))
            on = active(position, z)
            if slopes is None:
                values.append((np.where(on, z, 0), exponent))
            else:
                scale = lcm(*(s.denominator for s in slopes))  # a power of two: slopes are floats
                off = np.array([s.numerator * (scale // s.denominator) for s in slopes], dtype=object)
                values.append((np.where(on, z * scale, z * off[:, None]), exponent + scale.bit_length() - 1))
        results.append(self._affine(self._output, self._output_bias, values, unit))
        return results

    def evaluate(self, points: Sequence[Sequence[Rational]]) -> list[Fraction]:
        """Evaluate the network exactly.

        Parameters
        ----------
        points : sequence of points, each a sequence of d rationals

        Returns
        -------
        list of Fraction
        """
        integers, denominators = integer_columns(points)
        unit = np.array(denominators, dtype=object)
        out, exponent = self._propagate(integers, unit, lambda _, z: z > 0)[-1]
        return [_fraction(out[0, c], exponent, denominators[c]) for c in range(len(points))]

    def one_sided_slopes(
        self, point: Sequence[Rational], direction: Sequence[Rational]
    ) -> tuple[Fraction, Fraction]:
        """One-sided directional derivatives f'(x; n) and f'(x; -n).

        Their sum is negative iff f is strictly concave at x along n; on a facet with normal n it is the
        jump of the gradient times ``n . n``, whichever and however many neurons switch there.
        """
        integers, denominators = integer_columns([point, direction])
        slopes = []
        for sign in (1, -1):
            columns = np.stack([integers[:, 0], sign * integers[:, 1]], axis=1)
            unit = np.array([denominators[0], 0], dtype=object)

            def active(_: int, z: IntArray) -> NDArray[np.bool_]:
                on = (z[:, 0] > 0) | ((z[:, 0] == 0) & (z[:, 1] > 0))
                return np.stack([on, on], axis=1)

            out, exponent = self._propagate(columns, unit, active)[-1]
            slopes.append(_fraction(out[0, 1], exponent, denominators[1]))
        return slopes[0], slopes[1]

    def affine_forms(self, pattern: Sequence[NDArray[np.bool_]]) -> list[tuple[IntArray, int]]:
        """Affine forms of every pre-activation, and of the output, under a fixed activation pattern.

        Parameters
        ----------
        pattern : sequence of (n_l,) bool arrays
            Which neurons are active.

        Returns
        -------
        list of ((n_l, d + 1) integer array, exponent)
            For hidden layers 1..L and the output (one row): coefficients of x, then the constant, each an
            integer times 2 ** -exponent.
        """
        d = self.input_size
        columns = np.zeros((d, d + 1), dtype=object)
        columns[np.arange(d), np.arange(d)] = 1
        unit = np.zeros(d + 1, dtype=object)
        unit[d] = 1
        return self._propagate(columns, unit, lambda position, _: pattern[position - 1][:, None])

    def signs(self, point: Sequence[Rational]) -> list[NDArray[np.int8]]:
        """Exact signs (-1, 0, 1) of every pre-activation at a point."""
        integers, denominators = integer_columns([point])
        results = self._propagate(integers, np.array(denominators, dtype=object), lambda _, z: z > 0)
        return [((z > 0).astype(np.int8) - (z < 0).astype(np.int8))[:, 0] for z, _ in results[:-1]]


def _fraction(integer: int, exponent: int, denominator: int) -> Fraction:
    if exponent >= 0:
        return Fraction(int(integer), denominator << exponent)
    return Fraction(int(integer) << -exponent, denominator)
