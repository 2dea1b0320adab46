"""The oracle's own reading of a network and of a domain: integers and fractions, nothing of jensen's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import gcd, lcm

import numpy as np
from scipy import sparse

from jensen.network import Domain, FloatArray, Matrix, ReLUNetwork
from oracle._lp import Polyhedron, polyhedron

Term = tuple[int, int, Fraction]
"""Source layer (0 is the input), index in it, weight."""


@dataclass(frozen=True)
class Neuron:
    """Pre-activation sum of terms plus bias; activation slope left of the kink. The output is one, too."""

    terms: tuple[Term, ...]
    bias: Fraction
    slope: Fraction


@dataclass(frozen=True)
class Weights:
    """A network as nested tuples of fractions."""

    inputs: int
    layers: tuple[tuple[Neuron, ...], ...]
    output: Neuron

    def __call__(self, point: Sequence[Fraction | int]) -> Fraction:
        """Evaluate the network exactly."""
        values = [[Fraction(v) for v in point]]
        for layer in self.layers:
            row = []
            for neuron in layer:
                z = _affine(neuron, values)
                row.append(z if z > 0 else neuron.slope * z)
            values.append(row)
        return _affine(self.output, values)


def _affine(neuron: Neuron, values: list[list[Fraction]]) -> Fraction:
    return neuron.bias + sum((w * values[k][i] for k, i, w in neuron.terms), Fraction(0))


def read_network(network: ReLUNetwork) -> Weights:
    """Read the weights of a `ReLUNetwork`, each float as the rational that it is."""

    def neurons(
        weights: dict[int, FloatArray], bias: Iterable[float], slope: Iterable[float]
    ) -> list[Neuron]:
        result = []
        for r, (b, s) in enumerate(zip(bias, slope, strict=True)):
            terms = tuple(
                (k, int(i), Fraction(float(w[r, i])))
                for k, w in weights.items()
                for i in np.flatnonzero(w[r])
            )
            result.append(Neuron(terms, Fraction(float(b)), Fraction(float(s))))
        return result

    layers = [
        tuple(neurons({k: _dense(w) for k, w in lay.weights.items()}, lay.bias, lay.negative_slope))
        for lay in network.layers
    ]
    output = neurons({k: _dense(w) for k, w in network.output_weights.items()}, [network.output_bias], [0.0])
    return Weights(network.input_size, tuple(layers), output[0])


def _dense(matrix: Matrix) -> FloatArray:
    return np.asarray(matrix.toarray() if isinstance(matrix, sparse.csr_array) else matrix)


def is_icnn(weights: Weights) -> bool:
    """Whether signs alone show convexity: no negative weight after the first layer, monotone activations."""
    for position, layer in enumerate(weights.layers, 1):
        for neuron in layer:
            if any(k > 0 and w < 0 for k, _, w in neuron.terms) or neuron.slope > 1:
                return False
            if position > 1 and neuron.slope < 0:
                return False
    return all(k == 0 or w >= 0 for k, _, w in weights.output.terms)


@dataclass(frozen=True)
class Hull:
    """A domain seen from inside its affine hull: x = (forms . (1, u)) / scale, rows >= 0 with interior.

    Attributes
    ----------
    size : int
        Dimension of the hull.
    forms : list of d rows of size + 1 integers
    scale : int
    polyhedron : Polyhedron
        The domain in the coordinates u; full-dimensional.
    rows : list of rows of size + 1 integers
    """

    size: int
    forms: list[list[int]]
    scale: int
    polyhedron: Polyhedron
    rows: list[list[int]]

    def point(self, u: Sequence[Fraction]) -> tuple[Fraction, ...]:
        """Map a point of the hull's coordinates to the inputs."""
        return tuple(
            (row[0] + sum((c * v for c, v in zip(row[1:], u, strict=True)), Fraction(0))) / self.scale
            for row in self.forms
        )

    def moving(self, wrt: Sequence[int] | None) -> list[list[Fraction]]:
        """Basis of the directions u in which only the inputs `wrt` move."""
        frozen = [] if wrt is None else [i for i in range(len(self.forms)) if i not in set(wrt)]
        _, basis = solve([[Fraction(0), *map(Fraction, self.forms[i][1:])] for i in frozen], self.size)
        return basis


def integers(row: Sequence[Fraction]) -> list[int]:
    """Scale a row by a positive number to coprime integers."""
    scale = lcm(*(v.denominator for v in row))
    whole = [int(v * scale) for v in row]
    common = gcd(*whole)
    return [v // common for v in whole] if common > 1 else whole


def solve(rows: Sequence[Sequence[Fraction]], size: int) -> tuple[list[Fraction], list[list[Fraction]]]:
    """Solve rows . (1, x) = 0: a particular solution and a basis of the directions.

    Raises
    ------
    ValueError
        If there is no solution.
    """
    work = [list(row) for row in rows]
    pivots: list[int] = []
    for column in range(1, size + 1):
        found = next((r for r in range(len(pivots), len(work)) if work[r][column]), None)
        if found is None:
            continue
        here = len(pivots)
        work[here], work[found] = work[found], work[here]
        lead = work[here][column]
        work[here] = [v / lead for v in work[here]]
        for r, row in enumerate(work):
            if r != here and row[column]:
                factor = row[column]
                work[r] = [a - factor * b for a, b in zip(row, work[here], strict=True)]
        pivots.append(column)
    if any(row[0] for row in work[len(pivots) :]):
        raise ValueError("the equations contradict each other")
    particular = [Fraction(0)] * size
    for r, column in enumerate(pivots):
        particular[column - 1] = -work[r][0]
    basis = []
    for free in (c for c in range(1, size + 1) if c not in pivots):
        direction = [Fraction(0)] * size
        direction[free - 1] = Fraction(1)
        for r, column in enumerate(pivots):
            direction[column - 1] = -work[r][free]
        basis.append(direction)
    return particular, basis


def domain_rows(domain: Domain | None, d: int) -> list[list[int]]:
    """Write a domain as integer rows with row . (1, x) >= 0."""
    rows: list[list[int]] = []
    if domain is None:
        return rows
    lo, hi = domain.bounds(d)
    for i in range(d):
        unit = [Fraction(int(i == k)) for k in range(d)]
        if np.isfinite(lo[i]):
            rows.append(integers([-Fraction(float(lo[i])), *unit]))
        if np.isfinite(hi[i]):
            rows.append(integers([Fraction(float(hi[i])), *(-v for v in unit)]))
    A, b = domain.inequalities(d)
    for a, right in zip(A, b, strict=True):
        rows.append(integers([Fraction(float(right)), *(-Fraction(float(v)) for v in a)]))
    return rows


def value(row: Sequence[int], point: Sequence[Fraction]) -> Fraction:
    """Value of an affine form at a point."""
    return row[0] + sum((c * v for c, v in zip(row[1:], point, strict=True)), Fraction(0))


def read_domain(domain: Domain | None, d: int) -> Hull:
    """Write a domain as integer rows and move into its affine hull.

    Raises
    ------
    ValueError
        If the domain is empty.
    """
    rows = domain_rows(domain, d)
    start = polyhedron(d, rows)
    if start is None:
        raise ValueError("the domain is empty")
    tight = [row for row in rows if not start.exceeds_zero(row)]
    origin, basis = solve([[Fraction(v) for v in row] for row in tight], d)
    frame = [[origin[i], *(direction[i] for direction in basis)] for i in range(d)]
    scale = lcm(*(v.denominator for row in frame for v in row))
    forms = [[int(v * scale) for v in row] for row in frame]
    inside = []
    for row in rows:
        if row not in tight:
            inside.append(
                [
                    row[0] * scale * (j == 0) + sum(c * forms[i][j] for i, c in enumerate(row[1:]))
                    for j in range(len(basis) + 1)
                ]
            )
    region = polyhedron(len(basis), inside, strict=True)
    if region is None:
        raise ValueError("a polyhedron has interior points in its affine hull")
    return Hull(len(basis), forms, scale, region, inside)
