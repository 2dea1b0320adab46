"""An exact linear-programming solver: Bland's rule on an integer-preserving dictionary.

A `Polyhedron` is {u in R^k : row . (1, u) >= 0 for every row}, held together with a feasible basis, so that
adding a row or asking for the largest value of a form starts where the last question ended. All numbers are
Python integers over one common denominator: pivots divide exactly, as in Bareiss' elimination.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Literal, TypeAlias

Row: TypeAlias = Sequence[int]
"""An affine form with integer coefficients: the constant first, then one coefficient per variable."""

Outcome: TypeAlias = Literal["positive", "unbounded", "optimal"]


class Polyhedron:
    """A polyhedron in k variables with a feasible basis.

    Variable k' (negative key) is u_k'; slack i (key i >= 0) is the value of the i-th row. Free variables that
    have entered the basis never leave it, so the basis is a vertex as soon as the polyhedron has one.
    """

    __slots__ = ("basic", "denominator", "nonbasic", "size", "slacks", "table")

    def __init__(self, size: int) -> None:
        self.size = size
        self.denominator = 1
        self.slacks = 0
        self.nonbasic: list[int] = [-1 - k for k in range(size)]
        self.basic: list[int] = []
        self.table: list[list[int]] = []

    def copy(self) -> Polyhedron:
        """Return an independent copy."""
        twin = Polyhedron.__new__(Polyhedron)
        twin.size, twin.denominator, twin.slacks = self.size, self.denominator, self.slacks
        twin.nonbasic, twin.basic = self.nonbasic[:], self.basic[:]
        twin.table = [row[:] for row in self.table]
        return twin

    def point(self) -> list[Fraction]:
        """Return the basic solution: a point of the polyhedron."""
        values = [Fraction(0)] * self.size
        for key, row in zip(self.basic, self.table, strict=True):
            if key < 0:
                values[-1 - key] = Fraction(row[0], self.denominator)
        return values

    def value(self, form: Row) -> int:
        """Value of a form at the basic solution, times the (positive) denominator: its sign is right."""
        total = form[0] * self.denominator
        for key, row in zip(self.basic, self.table, strict=True):
            if key < 0:
                total += form[-key] * row[0]
        return total

    def _express(self, form: Row) -> list[int]:
        """Write a form in the nonbasic variables, over the common denominator."""
        out = [0] * (self.size + 1)
        out[0] = form[0] * self.denominator
        for key, row in zip(self.basic, self.table, strict=True):
            if key < 0 and (c := form[-key]):
                for j, v in enumerate(row):
                    out[j] += c * v
        for j, key in enumerate(self.nonbasic, 1):
            if key < 0 and (c := form[-key]):
                out[j] += c * self.denominator
        return out

    def _pivot(self, r: int, s: int) -> None:
        """Exchange the basic variable of row r and the nonbasic variable of column s."""
        pivot_row = self.table[r]
        p, d = pivot_row[s], self.denominator
        for i, row in enumerate(self.table):
            if i == r:
                continue
            q = row[s]
            if q:
                new = [(v * p - q * w) // d for v, w in zip(row, pivot_row, strict=True)]
                new[s] = q
            elif p == d:
                continue
            else:
                new = [v * p // d for v in row]
            self.table[i] = new
        exchanged = [-v for v in pivot_row]
        exchanged[s] = d
        self.table[r] = exchanged
        if p < 0:
            self.table = [[-v for v in row] for row in self.table]
        self.denominator = abs(p)
        self.basic[r], self.nonbasic[s - 1] = self.nonbasic[s - 1], self.basic[r]

    def _ascend(self, form: Row, stop: bool) -> tuple[Outcome, int]:
        """Maximise a form; its row is the last of the table while this runs and when it returns.

        With `stop` the search ends at the first basis where the form is positive. An unbounded form comes
        with the column along which it grows.
        """
        self.table.append(self._express(form))
        self.basic.append(self.slacks)
        last = len(self.table) - 1
        while True:
            objective = self.table[last]
            if stop and objective[0] > 0:
                return "positive", 0
            entering, up = 0, True
            best = None
            for j, key in enumerate(self.nonbasic, 1):
                c = objective[j]
                if (c > 0 or (c < 0 and key < 0)) and (best is None or key < best):
                    best, entering, up = key, j, c > 0
            if not entering:
                return "optimal", 0
            leaving, numerator, divisor = -1, 0, 1
            for i in range(last):
                if self.basic[i] < 0:
                    continue
                row = self.table[i]
                fall = -row[entering] if up else row[entering]
                if fall <= 0:
                    continue
                left, right = row[0] * divisor, numerator * fall
                if leaving < 0 or left < right or (left == right and self.basic[i] < self.basic[leaving]):
                    leaving, numerator, divisor = i, row[0], fall
            if leaving < 0:
                return "unbounded", entering
            self._pivot(leaving, entering)

    def _drop_last(self) -> None:
        self.basic.pop()
        self.table.pop()

    def exceeds_zero(self, form: Row) -> bool:
        """Whether the form is positive somewhere on the polyhedron."""
        outcome, _ = self._ascend(form, stop=True)
        self._drop_last()
        return outcome != "optimal"

    def maximum(self, form: Row) -> Fraction | None:
        """Largest value of a form; None if it is unbounded. `point` then is a maximiser, if there is one."""
        outcome, _ = self._ascend(form, stop=False)
        value = Fraction(self.table[-1][0], self.denominator)
        self._drop_last()
        return None if outcome == "unbounded" else value

    def cut(self, form: Row, strict: bool) -> bool:
        """Add the row `form >= 0`; answer False, and leave the polyhedron useless, if that empties it.

        With `strict` it counts as emptied unless the form is positive somewhere, so that a polyhedron with
        interior points keeps some.
        """
        outcome, column = self._ascend(form, stop=True)
        value = self.table[-1][0]
        if value < 0 or (value == 0 and strict):
            if outcome != "unbounded":
                return False
            if value < 0:
                self._pivot(len(self.table) - 1, column)
        self.slacks += 1
        return True


def polyhedron(size: int, rows: Sequence[Row], strict: bool = False) -> Polyhedron | None:
    """Build {u : rows >= 0}; None if it is empty, or (with `strict`) if it has no interior point."""
    result = Polyhedron(size)
    for row in rows:
        if not result.cut(row, strict):
            return None
    return result


def interior_point(size: int, rows: Sequence[Row]) -> list[Fraction]:
    """A point at which every row is positive: the centre of a largest slack, capped at 1.

    Raises
    ------
    ValueError
        If there is no such point.
    """
    lifted = polyhedron(size + 1, [[*row, -1] for row in rows])
    cap = [1, *[0] * size, -1]
    if lifted is None or not lifted.cut(cap, strict=False):
        raise ValueError("lifting a polyhedron by a free slack cannot empty it")
    slack = lifted.maximum([0] * (size + 1) + [1])
    if slack is None or slack <= 0:
        raise ValueError("the polyhedron has no interior point")
    return lifted.point()[:size]
