"""Bounded pieces that cover a domain, each with its own coordinates for the network's input.

A domain inside a box is one piece. Any other is covered through the perspective of f (biases times an
extra variable x_0 >= 0), which is positively homogeneous: every sign pattern of the domain is met with the
largest of |x_i| and R x_0 equal to 1: in the near piece |x| <= R or in a far one, x_i = +-1 and x_0 <= 1 / R.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from flint import fmpq, fmpq_mat

from jensen.errors import CertificateError
from jensen.network import Domain
from jensen.verifier._dyadic import Dyadic
from jensen.verifier._rational import RationalNetwork, Vector, matrix, rational, rationals

Implied = tuple[int, int, float, list[tuple[int, fmpq]]]
"""(coordinate j, sign, bound, [(row, multiplier)]): sign x_j <= bound follows from these rows of A x <= b."""


@dataclass(frozen=True)
class Cover:
    """How a domain is cut into pieces.

    Attributes
    ----------
    radius : float
        R, a power of two; only used where the domain is not bounded.
    row_space : bool
        Work in the space of what the weights see of the input, y = W x, with every y allowed.
    implied : list of Implied
        Bounds on coordinates that follow from a polytope's rows.
    """

    radius: float = 1.0
    row_space: bool = False
    implied: tuple[Implied, ...] = ()


@dataclass(frozen=True)
class Piece:
    """{lo <= c <= hi, rows @ c <= right}, and the network's input weights and biases in the coordinates c."""

    index: int
    alone: bool
    inputs: list[fmpq_mat]
    biases: list[Vector]
    lo: Vector
    hi: Vector
    rows: fmpq_mat
    right: Vector

    @cached_property
    def dyadic_inputs(self) -> list[Dyadic]:
        """The same as `inputs`."""
        return [Dyadic.of(w) for w in self.inputs]

    @cached_property
    def dyadic_biases(self) -> list[Dyadic]:
        """The same as `biases`."""
        return [Dyadic.column(b) for b in self.biases]

    @cached_property
    def dyadic_lo(self) -> Dyadic:
        """The same as `lo`."""
        return Dyadic.column(self.lo)

    @cached_property
    def dyadic_hi(self) -> Dyadic:
        """The same as `hi`."""
        return Dyadic.column(self.hi)


class Layout:
    """The pieces of a domain: itself, or the near piece (0) and the far ones (2 i + 1: x_i = -1, 2 i + 2: 1).

    Parameters
    ----------
    net : RationalNetwork
    domain : Domain
    cover : Cover

    Attributes
    ----------
    indices : list of int
        The pieces that make up the domain.

    Raises
    ------
    CertificateError
        If the cover does not fit the domain.
    """

    def __init__(self, net: RationalNetwork, domain: Domain, cover: Cover) -> None:
        self._net, self._inputs, d = net, net.inputs, net.input_size
        lo, hi = domain.bounds(d)
        A, b = domain.inequalities(d)
        low, high = _implied_box(lo, hi, A, b, cover.implied)
        if cover.row_space:
            if len(b) or np.isfinite(lo).any() or np.isfinite(hi).any():
                raise CertificateError("only the whole space can be seen through the network's first weights")
            self._inputs, d = _row_space(net)
            lo, hi, A = np.full(d, -np.inf), np.full(d, np.inf), np.zeros((0, d))
            low, high = lo, hi
        self._d, self._box, self._outer = d, (low, high), (lo, hi)
        self._cuts, self._right = [rationals(row) for row in A], rationals(b)
        self._alone = bool(np.isfinite(low).all() and np.isfinite(high).all())
        self._radius = float(cover.radius)
        self.indices = [0]
        if not self._alone:
            if not (0 < self._radius < np.inf and np.frexp(self._radius)[0] == 0.5):
                raise CertificateError(f"the radius {self._radius} is no power of two")
            near = (np.maximum(low, -self._radius) <= np.minimum(high, self._radius)).all()
            far = np.stack([-low > self._radius, high > self._radius], axis=1).ravel()
            self.indices = [0] * int(near) + [1 + int(i) for i in np.flatnonzero(far)]

    def piece(self, index: int) -> Piece:
        """Build one of the pieces."""
        d, biases = self._d, self._net.biases
        low, high = self._box
        if index == 0:
            if not self._alone:
                low, high = np.maximum(low, -self._radius), np.minimum(high, self._radius)
            blocks = [matrix(rows, d) for rows in self._inputs]
            ends = rationals(low), rationals(high)
            return Piece(0, self._alone, blocks, biases, *ends, matrix(self._cuts, d), self._right)
        cuts, right = list(self._cuts), list(self._right)
        for j in range(d):
            for sign, end in ((1, self._outer[1][j]), (-1, self._outer[0][j])):
                if np.isfinite(end):
                    cuts.append([fmpq(sign * int(j == k)) for k in range(d)])
                    right.append(sign * rational(end))
        i, positive = divmod(index - 1, 2)
        return _far(index, d, self._inputs, biases, cuts, right, i, 1 if positive else -1, self._radius)


def _far(
    index: int,
    d: int,
    inputs: list[list[Vector]],
    biases: list[Vector],
    cuts: list[Vector],
    right: Vector,
    i: int,
    sign: int,
    radius: float,
) -> Piece:
    """x_i = sign; the other inputs in [-1, 1]; the last coordinate x_0 in [0, 1 / R] multiplies constants."""

    def moved(rows: list[Vector], constants: Vector) -> fmpq_mat:
        return matrix([row[:i] + row[i + 1 :] + [c] for row, c in zip(rows, constants, strict=True)], d)

    one = fmpq(1)
    return Piece(
        index,
        False,
        [moved(rows, constants) for rows, constants in zip(inputs, biases, strict=True)],
        [[sign * row[i] for row in rows] for rows in inputs],
        [-one] * (d - 1) + [fmpq(0)],
        [one] * (d - 1) + [1 / rational(radius)],
        moved(cuts, [-r for r in right]),
        [-sign * row[i] for row in cuts],
    )


def _row_space(net: RationalNetwork) -> tuple[list[list[Vector]], int]:
    """Replace W x by y, the numbers that the first weights see, free to take any value."""
    reading = [0 in layer.weights for layer in net.network.layers]
    d = sum(n for n, reads in zip(net.widths, reading, strict=True) if reads)
    if d > net.input_size:
        raise CertificateError(f"the weights see {d} numbers of the input, which has fewer itself")
    inputs, start = [], 0
    for n, reads in zip(net.widths, reading, strict=True):
        inputs.append([[fmpq(int(reads and j == start + i)) for j in range(d)] for i in range(n)])
        start += n * reads
    return inputs, d


def _implied_box(
    lo: np.ndarray, hi: np.ndarray, A: np.ndarray, b: np.ndarray, implied: tuple[Implied, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Tighten a box by bounds that nonnegative combinations of rows prove."""
    lo, hi = lo.copy(), hi.copy()
    for j, sign, bound, combination in implied:
        if not (0 <= j < lo.size and all(0 <= row < len(b) for row, _ in combination) and np.isfinite(bound)):
            raise CertificateError(f"the bound {bound} on coordinate {j} does not fit the domain")
        total, right = [fmpq(0)] * lo.size, fmpq(0)
        for row, m in combination:
            if m < 0:
                raise CertificateError(
                    f"the bound on coordinate {j} takes row {row} a negative number of times"
                )
            total = [t + m * v for t, v in zip(total, rationals(A[row]), strict=True)]
            right += m * rational(b[row])
        if total != [fmpq(sign if k == j else 0) for k in range(lo.size)] or right > rational(bound):
            raise CertificateError(f"the bound {bound} on coordinate {j} does not follow from its rows")
        if sign > 0:
            hi[j] = min(hi[j], bound)
        else:
            lo[j] = max(lo[j], -bound)
    return lo, hi
