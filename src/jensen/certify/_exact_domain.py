"""A domain in rational arithmetic: its affine hull, its strict inequalities, the directions that count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import numpy as np
from flint import fmpq, fmpq_mat
from numpy.typing import NDArray

from jensen.certify._simplex import Refutation, Row, decide, solve
from jensen.certify._strict import strict_solution
from jensen.errors import DomainError
from jensen.network import Domain
from jensen.verifier import Hull

LARGEST = float(np.finfo(np.float64).max)


@dataclass(frozen=True)
class Elimination:
    """Affine equations solved for some of the variables, exactly.

    Attributes
    ----------
    pivots : columns that were solved for
    free : the other columns
    solved : for each pivot, its affine function of the free variables
    """

    pivots: list[int]
    free: list[int]
    solved: list[Row]

    @classmethod
    def of(cls, rows: Sequence[Row], n: int) -> Elimination | None:
        """Solve row(x) = 0 for every row; None if the equations contradict each other."""
        if not rows:
            return cls([], list(range(n)), [])
        reduced, rank = fmpq_mat(len(rows), n + 1, [v for row in rows for v in row]).rref()
        pivots = []
        for i in range(rank):
            pivots.append(next(j for j in range(n + 1) if reduced[i, j]))
        if pivots and pivots[-1] == n:
            return None
        free = [j for j in range(n) if j not in set(pivots)]
        solved = [[-reduced[i, j] for j in [*free, n]] for i in range(rank)]
        return cls(pivots, free, solved)

    def reduce(self, row: Row) -> Row:
        """Restrict an affine function to the solutions, as a function of the free variables."""
        result = [*(row[j] for j in self.free), row[-1]]
        for pivot, line in zip(self.pivots, self.solved, strict=True):
            factor = row[pivot]
            if factor:
                result = [a + factor * b for a, b in zip(result, line, strict=True)]
        return result

    def lift(self, y: Sequence[fmpq]) -> list[fmpq]:
        """Return the full point for given free variables."""
        point = [fmpq(0)] * (len(self.pivots) + len(self.free))
        for j, v in zip(self.free, y, strict=True):
            point[j] = v
        for pivot, line in zip(self.pivots, self.solved, strict=True):
            point[pivot] = sum((a * v for a, v in zip(line[:-1], y, strict=True)), line[-1])
        return point


class ExactDomain:
    """A nonempty domain in rational arithmetic, with the directions in which convexity is asked.

    Parameters
    ----------
    domain : Domain
    d : int
        Number of inputs.
    wrt : tuple of int, optional
        The inputs that move; all by default.

    Attributes
    ----------
    equalities : rows that vanish on the domain; together they define its affine hull
    inequalities : rows that are positive in the relative interior
    labels : their names in certificates
    hull : for domains with general inequalities, the proof of this split
    directions : basis, as {input: coefficient}, of the moves along the hull that change only the inputs
        in `wrt`

    Raises
    ------
    DomainError
        If the domain is empty.
    """

    def __init__(self, domain: Domain, d: int, wrt: tuple[int, ...] | None = None) -> None:
        self.d = d
        self._lo, self._hi = domain.bounds(d)
        A, b = domain.inequalities(d)
        self._cuts = [[*(-rational(a) for a in row), rational(r)] for row, r in zip(A, b, strict=True)]
        moving = range(d) if wrt is None else sorted(set(wrt))
        self.coordinates = [j for j in moving if self._lo[j] < self._hi[j]]
        self._split: tuple[list[Row], dict[int, Row]] | None = None
        self.hull: Hull | None = None
        if self._cuts:
            named = {-1 - k: row for k, row in enumerate(self._sides().values())}
            rows = named | dict(enumerate(self._cuts))
            self._split, self.hull = _split_implicit(self._fixed(), rows, d)

    def _row(self, j: int, sign: int, bound: float) -> Row:
        row = [fmpq(0)] * (self.d + 1)
        row[j], row[self.d] = fmpq(sign), -sign * rational(bound)
        return row

    def _fixed(self) -> list[Row]:
        flat = np.flatnonzero(self._lo == self._hi)
        return [self._row(int(j), 1, self._lo[j]) for j in flat]

    def _sides(self) -> dict[int, Row]:
        rows = {}
        for j in np.flatnonzero(self._lo < self._hi).tolist():
            for side, (sign, bound) in enumerate(((1, self._lo[j]), (-1, self._hi[j]))):
                if np.isfinite(bound):
                    rows[2 * j + side] = self._row(j, sign, bound)
        return rows

    @cached_property
    def equalities(self) -> list[Row]:
        """Rows that vanish on the domain."""
        return self._fixed() if self._split is None else self._split[0]

    @cached_property
    def _named(self) -> dict[int, Row]:
        return self._sides() if self._split is None else self._split[1]

    @property
    def inequalities(self) -> list[Row]:
        """Rows that are positive in the relative interior."""
        return list(self._named.values())

    @property
    def labels(self) -> list[int]:
        """How certificates name these rows: 2 j or 2 j + 1 for x_j's bounds, else the row of A x <= b."""
        return list(self._named)

    @cached_property
    def directions(self) -> list[dict[int, fmpq]]:
        """Basis of the directions in which convexity is asked."""
        general = [] if self._split is None else self._split[0]
        if not any(len([a for a in row[:-1] if a]) > 1 for row in general):
            return [{j: fmpq(1)} for j in self.coordinates if not any(row[j] for row in general)]
        moving = set(self.coordinates)
        still = [[fmpq(int(j == k)) for k in range(self.d + 1)] for j in range(self.d) if j not in moving]
        flat = [[*row[:-1], fmpq(0)] for row in general]
        elimination = Elimination.of(flat + still, self.d)
        assert elimination is not None  # homogeneous equations always have a solution
        n = len(elimination.free)
        basis = [elimination.lift([fmpq(int(i == k)) for k in range(n)]) for i in range(n)]
        return [{j: v for j, v in enumerate(step) if v} for step in basis]

    @cached_property
    def interior_point(self) -> NDArray[np.float64]:
        """A point of the relative interior, rounded to float64."""
        if self.hull is None:
            lo = np.where(np.isfinite(self._lo), self._lo, np.where(np.isfinite(self._hi), self._hi - 2, -1))
            hi = np.where(np.isfinite(self._hi), self._hi, np.where(np.isfinite(self._lo), self._lo + 2, 1))
            return np.asarray(lo / 2 + hi / 2)
        point = np.array([to_float(v) for v in self.hull.interior], dtype=np.float64)
        return np.clip(point, -LARGEST, LARGEST)


def rational(value: float) -> fmpq:
    """Return the rational number that a float is."""
    return fmpq(*float(value).as_integer_ratio())


def to_float(value: fmpq | Fraction) -> float:
    """Return the nearest float, infinite beyond the largest one."""
    fraction = Fraction(int(value.p), int(value.q)) if isinstance(value, fmpq) else value
    try:
        return float(fraction)
    except OverflowError:
        return float("inf") if fraction > 0 else float("-inf")


def _split_implicit(
    equalities: list[Row], rows: dict[int, Row], d: int
) -> tuple[tuple[list[Row], dict[int, Row]], Hull]:
    """Move inequalities that hold with equality on the whole polyhedron to its equalities, with proof."""
    elimination = Elimination.of(equalities, d)
    if elimination is None:
        raise DomainError("the domain is empty: its equations contradict each other")
    reduced = {name: elimination.reduce(row) for name, row in rows.items()}
    n = len(elimination.free)
    inside = strict_solution(list(reduced.values()), n)
    if inside is not None:
        return (equalities, rows), Hull(interior=elimination.lift(inside))
    if solve(list(reduced.values()), [], n) is None:
        raise DomainError("the domain is empty: its inequalities have no common solution")
    multipliers: dict[int, fmpq] = {}
    for name in rows:
        others = [other for other in rows if other != name]
        found = decide([reduced[other] for other in others], [reduced[name]], n)
        if isinstance(found, Refutation):
            for other, y in zip([*others, name], [*found.closed, *found.strict], strict=True):
                if y:
                    multipliers[other] = multipliers.get(other, fmpq(0)) + y
    flat = Elimination.of([*equalities, *(rows[name] for name in multipliers)], d)
    assert flat is not None  # the domain is not empty
    loose = {name: row for name, row in rows.items() if name not in multipliers}
    inside = strict_solution([flat.reduce(row) for row in loose.values()], len(flat.free))
    assert inside is not None  # every row that vanishes everywhere was found
    return (
        ([*equalities, *(rows[name] for name in multipliers)], loose),
        Hull(multipliers, flat.lift(inside)),
    )
