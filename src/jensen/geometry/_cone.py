"""Polyhedral cones by their generators, in exact integer arithmetic (double description with lines)."""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd

import numpy as np

from jensen.errors import DomainError
from jensen.geometry._exact_weights import Row
from jensen.network import Domain


def dot(a: Row, b: Row) -> int:
    """Inner product."""
    return sum(x * y for x, y in zip(a, b, strict=True))


def primitive(vector: list[int]) -> Row:
    """Divide an integer vector by the greatest common divisor of its entries."""
    divisor = gcd(*vector)
    return tuple(v // divisor for v in vector) if divisor > 1 else tuple(vector)


def _combine(a: int, p: Row, b: int, q: Row) -> Row:
    return primitive([a * x + b * y for x, y in zip(p, q, strict=True)])


def rank(vectors: list[Row]) -> int:
    """Rank of integer vectors, by elimination without fractions."""
    rows = [list(v) for v in vectors if any(v)]
    found = 0
    while rows:
        pivot = rows.pop()
        at = next(i for i, v in enumerate(pivot) if v)
        found += 1
        reduced = []
        for row in rows:
            if row[at]:
                rest = list(primitive([pivot[at] * x - row[at] * y for x, y in zip(row, pivot, strict=True)]))
                if any(rest):
                    reduced.append(rest)
            else:
                reduced.append(row)
        rows = reduced
    return found


@dataclass(frozen=True)
class Cone:
    """A cone in homogeneous coordinates: the closure of one region, with its part at infinity.

    Attributes
    ----------
    lines : tuple of rows
        A basis of the lineality space.
    rays : tuple of rows
        Extreme rays modulo the lines: vertices (last entry positive) and directions (zero).
    tight : tuple of int
        For every ray the constraints that hold with equality on it, as bits.
    rank : int
        Dimension modulo the lines.
    seen : int
        All constraints met so far, as bits: each of them vanishes on every line.
    """

    lines: tuple[Row, ...]
    rays: tuple[Row, ...]
    tight: tuple[int, ...]
    rank: int
    seen: int = 0

    def split(self, row: Row, bit: int) -> tuple[Cone | None, Cone | None]:
        """Cut by a hyperplane: the sides row >= 0 and row <= 0, None for a side without interior.

        Where the row vanishes on the whole cone both sides are None; `touch` then marks it.
        """
        for at, line in enumerate(self.lines):
            value = dot(row, line)
            if value:
                return self._split_line(at, line if value > 0 else tuple(-v for v in line), row, bit)
        values = [dot(row, ray) for ray in self.rays]
        positive = [i for i, v in enumerate(values) if v > 0]
        negative = [i for i, v in enumerate(values) if v < 0]
        seen = self.seen | bit
        if not positive or not negative:
            tight = tuple(t if v else t | bit for t, v in zip(self.tight, values, strict=True))
            cone = Cone(self.lines, self.rays, tight, self.rank, seen)
            return (cone if positive else None), (cone if negative else None)
        middle: list[tuple[Row, int]] = [
            (self.rays[i], self.tight[i] | bit) for i, v in enumerate(values) if not v
        ]
        for p in positive:
            for q in negative:
                common = self.tight[p] & self.tight[q]
                if common.bit_count() >= self.rank - 2 and self._adjacent(p, q, common):
                    middle.append((_combine(-values[q], self.rays[p], values[p], self.rays[q]), common | bit))
        sides = []
        for part in (positive, negative):
            rays = [(self.rays[i], self.tight[i]) for i in part] + middle
            sides.append(
                Cone(self.lines, tuple(r for r, _ in rays), tuple(t for _, t in rays), self.rank, seen)
            )
        return sides[0], sides[1]

    def _adjacent(self, p: int, q: int, common: int) -> bool:
        return not any(common & t == common and i not in (p, q) for i, t in enumerate(self.tight))

    def _split_line(self, at: int, line: Row, row: Row, bit: int) -> tuple[Cone, Cone]:
        value = dot(row, line)
        lines = tuple(
            _combine(value, other, -dot(row, other), line) for i, other in enumerate(self.lines) if i != at
        )
        rays = tuple(_combine(value, ray, -dot(row, ray), line) for ray in self.rays)
        tight = (*(t | bit for t in self.tight), self.seen)
        seen = self.seen | bit
        opposite = tuple(-v for v in line)
        return (
            Cone(lines, (*rays, line), tight, self.rank + 1, seen),
            Cone(lines, (*rays, opposite), tight, self.rank + 1, seen),
        )

    def touch(self, bit: int) -> Cone:
        """Mark a constraint that holds with equality on the whole cone."""
        return Cone(self.lines, self.rays, tuple(t | bit for t in self.tight), self.rank, self.seen | bit)

    def keep(self, row: Row, bit: int) -> Cone:
        """Cut down to row >= 0; where only a face is left the cone is flat."""
        plus, minus = self.split(row, bit)
        if plus is not None:
            return plus
        if minus is None:
            return self.touch(bit)
        face = [(r, t) for r, t in zip(minus.rays, minus.tight, strict=True) if t & bit]
        rays = tuple(r for r, _ in face)
        dimension = rank([*rays, *minus.lines]) - len(minus.lines)
        return Cone(minus.lines, rays, tuple(t for _, t in face), dimension, minus.seen)

    @property
    def always(self) -> int:
        """Constraints that hold with equality on the whole cone."""
        common = self.seen
        for t in self.tight:
            common &= t
        return common

    def facets(self) -> list[tuple[int, int]]:
        """Facets: for each its rays, and the constraints that hold with equality on it, both as bits."""
        sets: dict[int, int] = {}
        remaining, full = self.seen, (1 << len(self.rays)) - 1
        while remaining:
            bit = remaining & -remaining
            remaining ^= bit
            members = sum(1 << i for i, t in enumerate(self.tight) if t & bit)
            if members and members != full:
                sets[members] = sets.get(members, 0) | bit
        always = self.always
        found = []
        for members, bits in sets.items():
            if not any(members & other == members and members != other for other in sets):
                found.append((members, bits | always))
        return found


def integer_row(values: list[float]) -> Row:
    """Scale a row of floats to integers without common divisor, exactly."""
    ratios = [v.as_integer_ratio() for v in values]
    common = max(q for _, q in ratios)
    return primitive([p * (common // q) for p, q in ratios])


def domain_rows(domain: Domain, d: int) -> list[Row]:
    """Rows (a, a0) of the domain's inequalities a.x + a0 >= 0, exactly."""
    rows = []
    lo, hi = domain.bounds(d)
    for i in range(d):
        for bound, sign in ((lo[i], 1.0), (hi[i], -1.0)):
            if np.isfinite(bound):
                values = [0.0] * (d + 1)
                values[i], values[d] = sign, -sign * float(bound)
                rows.append(integer_row(values))
    A, b = domain.inequalities(d)
    rows += [integer_row([-float(v) for v in a] + [float(right)]) for a, right in zip(A, b, strict=True)]
    return [row for row in rows if row[-1] < 0 or any(row[:-1])]


def domain_cone(domain: Domain, d: int) -> tuple[Cone, list[Row]]:
    """Build the domain's cone, and list the constraints that take its first bits.

    Bit 0 is the constraint x0 >= 0, whose facet lies at infinity. Equalities that the inequalities imply
    leave a flat cone; all dimensions are then relative to it.

    Raises
    ------
    DomainError
        If the domain is empty.
    """
    unit = [tuple(int(i == j) for j in range(d + 1)) for i in range(d + 1)]
    cone = Cone(tuple(unit[:d]), (unit[d],), (0,), 1, 1)
    rows = domain_rows(domain, d)
    for position, row in enumerate(rows, start=1):
        cone = cone.keep(row, 1 << position)
        if not any(ray[d] for ray in cone.rays):
            raise DomainError("the domain is empty: no point satisfies all its inequalities")
    # What holds everywhere bounds nothing.
    always = cone.always
    cone = Cone(cone.lines, cone.rays, tuple(t & ~always for t in cone.tight), cone.rank, cone.seen & ~always)
    return cone, [unit[d], *rows]
