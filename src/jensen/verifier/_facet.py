"""One facet of a kink, decided exactly in the network's own input space.

A pattern of signs turns the kink into a hyperplane and every other neuron into an affine function on it.
The facet needs no bound on the jump if no allowed direction crosses it, or if it has no point where all that
can be strict is strict: then it is no frontier. Otherwise the slopes on both sides of one point where it is
(in the domain or not: they are the same at all of these) tell the jump, however many neurons switch there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
from flint import fmpq, fmpq_mat

from jensen.errors import CertificateError
from jensen.network import Domain, ReLUNetwork
from jensen.verifier._rational import Neuron, Vector, rational, rationals

Pattern = Sequence[Sequence[bool | None]]
"""By hidden layer: is the neuron active; None where that is open."""


@dataclass(frozen=True)
class Uncrossed:
    """No direction in which convexity is asked crosses the kink."""


@dataclass(frozen=True)
class Thin:
    """The facet has a lower dimension: on the kink, nonnegative multiples of rows sum to a constant <= 0."""

    signs: Mapping[Neuron, fmpq] = field(default_factory=dict)
    rows: Mapping[int, fmpq] = field(default_factory=dict)


@dataclass(frozen=True)
class Bends:
    """A point where what the facet keeps strict is strict, and a direction across: there f bends upwards."""

    point: Vector
    direction: Vector


@dataclass(frozen=True)
class Hull:
    """Why a polytope lies in some of its rows' hyperplanes, and in no other's.

    Attributes
    ----------
    multipliers : {row: positive rational}
        The multiples of the rows b - A x add up to zero, so that each of them vanishes on the polytope.
    interior : list of d fmpq
        A point where all other rows are positive.
    """

    multipliers: Mapping[int, fmpq] = field(default_factory=dict)
    interior: Vector = field(default_factory=list)


class Frame:
    """The domain as exact affine rows [coefficients, constant]: zero on it, or positive inside it.

    Raises
    ------
    CertificateError
        If a polytope's hull is not proved.
    """

    def __init__(self, domain: Domain, d: int, wrt: tuple[int, ...] | None, hull: Hull | None) -> None:
        self.d, self.equalities, self.positive = d, [], {}
        still = set() if wrt is None else set(range(d)) - set(wrt)
        units = [[fmpq(int(j == k)) for k in range(d + 1)] for j in range(d)]
        lo, hi = domain.bounds(d)
        for j in range(d):
            for side, (sign, end) in enumerate(((1, lo[j]), (-1, hi[j]))):
                if np.isfinite(end):
                    row = [sign * v for v in units[j]]
                    row[d] = -sign * rational(end)
                    if lo[j] < hi[j]:
                        self.positive[2 * j + side] = row
                    elif side:
                        self.equalities.append(row)
        A, b = domain.inequalities(d)
        if len(b):
            rows = [[*(-v for v in rationals(row)), rational(r)] for row, r in zip(A, b, strict=True)]
            self._add(rows, hull)
        self.level = Flat([[*row[:d], fmpq(0)] for row in [*self.equalities, *(units[j] for j in still)]], d)

    def _add(self, rows: list[Vector], hull: Hull | None) -> None:
        if hull is None or len(hull.interior) != self.d:
            raise CertificateError("the certificate does not say which rows of the polytope are strict")
        if self.positive or self.equalities:
            raise CertificateError("a domain with rows and bounds has no certified hull")
        if not hull.multipliers.keys() <= set(range(len(rows))):
            raise CertificateError("the polytope's hull names a row that the polytope does not have")
        if any(m <= 0 for m in hull.multipliers.values()):
            raise CertificateError("the polytope's hull takes a row with a multiplier that is not positive")
        if any(_sum_of([(m, rows[k]) for k, m in hull.multipliers.items()], self.d)):
            raise CertificateError("the polytope's hull is not proved: its rows do not add up to zero")
        for k, row in enumerate(rows):
            value = _value(row, hull.interior)
            # A point outside the hull would say nothing about the rows that are strict in it.
            if value < 0 or (value == 0) != (k in hull.multipliers):
                raise CertificateError(
                    f"the interior point is not strictly inside row {k}, or not in its hull"
                )
            if value:
                self.positive[k] = row
            else:
                self.equalities.append(row)


class Flat:
    """{x : row(x) = 0 for some affine rows}, and affine functions restricted to it."""

    def __init__(self, rows: Sequence[Vector], d: int) -> None:
        table = fmpq_mat(len(rows), d + 1, [v for row in rows for v in row])
        reduced, rank = table.rref() if rows else (table, 0)
        self._rows = reduced.tolist()[:rank]
        self._pivots = [next(j for j, v in enumerate(row) if v) for row in self._rows]
        self.empty = d in self._pivots

    def reduce(self, row: Vector) -> Vector:
        """Return the function without the pivots' variables; all zeros iff it vanishes on the flat."""
        result = list(row)
        for pivot, line in zip(self._pivots, self._rows, strict=True):
            factor = result[pivot]
            if factor:
                result = [a - factor * b for a, b in zip(result, line, strict=True)]
        return result


def facet_holds(
    network: ReLUNetwork,
    frame: Frame,
    neuron: Neuron,
    pattern: Pattern,
    claim: Uncrossed | Thin | Bends,
) -> bool:
    """Whether a claim about a facet is true for all patterns that agree with what is decided."""
    d, (layer, index) = network.input_size, neuron
    active = [np.array([bool(on) for on in row], dtype=bool) for row in pattern]
    forms = network.exact.affine_forms(active)
    # Forms are those of the pattern up to the first layer behind one that is not decided.
    known = 1 + next((k for k, row in enumerate(pattern) if None in row), network.depth)
    if layer > known:
        return False
    kink = [fmpq(int(v)) for v in forms[layer - 1][0][index]]
    if isinstance(claim, Uncrossed):
        return not any(frame.level.reduce([*kink[:d], fmpq(0)]))
    flat = Flat([*frame.equalities, kink], d)
    if flat.empty:
        return True

    def row(u: Neuron) -> Vector:
        on = pattern[u[0] - 1][u[1]]
        return [fmpq(int(v) if on else -int(v)) for v in forms[u[0] - 1][0][u[1]]]

    def bends(u: Neuron) -> bool:
        return bool(network.layers[u[0] - 1].negative_slope[u[1]] != 1) and u != neuron

    if isinstance(claim, Thin):
        usable = all(
            u[0] <= known and pattern[u[0] - 1][u[1]] is not None and bends(u) for u in claim.signs
        ) and all(k in frame.positive for k in claim.rows)
        if not usable or any(y < 0 for y in (*claim.signs.values(), *claim.rows.values())):
            return False
        rows = {u: row(u) for u in claim.signs}
        terms = [(y, rows[u]) for u, y in claim.signs.items()]
        terms += [(y, frame.positive[k]) for k, y in claim.rows.items()]
        total = flat.reduce(_sum_of(terms, d))
        if any(total[:d]) or total[d] > 0:
            return False
        # A frontier's inner points are inner points of the domain, and a function that does not vanish on the
        # whole hyperplane is not zero at most of them.
        moves = any(any(flat.reduce(rows[u])) for u, y in claim.signs.items() if y)
        return bool(total[d] < 0 or moves or any(claim.rows.values()))

    everyone = [(k, i) for k, n in enumerate(network.widths, start=1) for i in range(n) if bends((k, i))]
    inside = (
        known > network.depth
        and len(claim.point) == len(claim.direction) == d
        and not any(_value(e, claim.point) for e in [*frame.equalities, kink])
        and all(_value(row(u), claim.point) > 0 or not any(flat.reduce(row(u))) for u in everyone)
    )
    if not inside:
        return False
    step = [*claim.direction, fmpq(0)]
    if any(_dot(e, step) for e in frame.equalities) or not _dot(kink, step):
        return False
    forward, backward = network.exact.one_sided_slopes(_fractions(claim.point), _fractions(claim.direction))
    return forward + backward >= 0


def _sum_of(terms: Sequence[tuple[fmpq, Vector]], d: int) -> Vector:
    total = [fmpq(0)] * (d + 1)
    for y, row in terms:
        total = [a + y * b for a, b in zip(total, row, strict=True)]
    return total


def _dot(a: Vector, b: Vector) -> fmpq:
    return sum((x * y for x, y in zip(a, b, strict=True) if x and y), fmpq(0))


def _value(row: Vector, point: Vector) -> fmpq:
    return _dot(row, [*point, fmpq(1)])


def _fractions(values: Vector) -> list[Fraction]:
    return [Fraction(int(v.p), int(v.q)) for v in values]
