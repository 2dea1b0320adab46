"""A rational simplex for small systems of closed and strict linear inequalities.

Only reached where floating point cannot decide: boundaries that are touched exactly, facets of lower
dimension, polyhedra without interior.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from flint import fmpq

Row: TypeAlias = list[fmpq]
"""Coefficients and, last, the constant of an affine function."""


@dataclass(frozen=True)
class Refutation:
    """Why a system has no solution: nonnegative multiples of its rows add up to a constant <= 0.

    The constant is negative, or some strict row has a positive multiplier.

    Attributes
    ----------
    closed, strict : multipliers of the closed and of the strict rows
    """

    closed: list[fmpq]
    strict: list[fmpq]


def solve(closed: Sequence[Row], strict: Sequence[Row], n: int) -> list[fmpq] | None:
    """Find y in R^n with closed(y) >= 0 and strict(y) > 0; None if there is none (`decide` tells why)."""
    found = decide(closed, strict, n)
    return None if isinstance(found, Refutation) else found


def decide(closed: Sequence[Row], strict: Sequence[Row], n: int) -> list[fmpq] | Refutation:
    """Find y in R^n with closed(y) >= 0 and strict(y) > 0, or prove that there is none.

    Maximises t subject to closed(y) >= 0, strict(y) >= t and t <= 1 until t > 0, by Bland's rule; a first
    phase raises u to 0 in closed(y) >= u. Where a phase ends early, its objective's row is the proof.

    Parameters
    ----------
    closed, strict : sequences of rows of n + 1 rationals
    n : int
        Number of variables.

    Returns
    -------
    list of n rationals, or Refutation
    """
    zero, one = fmpq(0), fmpq(1)
    lines = [[*row[:-1], zero, fmpq(-1), row[-1]] for row in closed]
    lines.append([*([zero] * n), zero, fmpq(-1), zero])
    lines += [[*row[:-1], fmpq(-1), zero, row[-1]] for row in strict]
    lines.append([*([zero] * n), fmpq(-1), zero, one])
    tableau = _Tableau(lines, n + 2)
    first = set(range(n + 2, n + 2 + len(closed) + 1))
    feasible = tableau.climb(n + 1, first, lambda value: value >= 0)
    if feasible:
        tableau.remove(n + 1)
    if not feasible or (strict and not tableau.climb(n, set(tableau.slacks), lambda value: value > 0)):
        multipliers = tableau.multipliers(n if feasible else n + 1)
        start = n + 2 + len(closed) + 1
        return Refutation(
            [multipliers.get(n + 2 + i, zero) for i in range(len(closed))],
            [multipliers.get(start + i, zero) if feasible else zero for i in range(len(strict))],
        )
    values = [zero] * n
    for variable, line in zip(tableau.basic, tableau.lines, strict=True):
        if variable < n:
            values[variable] = line[-1]
    return values


class _Tableau:
    """Basic variables as affine functions of the nonbasic ones, which are all at zero.

    Variables below `n_free` are free; the others are slacks and must stay nonnegative. A free variable
    that has become basic never leaves the basis.
    """

    def __init__(self, lines: list[Row], n_free: int) -> None:
        self.lines = lines
        self.n_free = n_free
        self.nonbasic = list(range(n_free))
        self.basic = list(range(n_free, n_free + len(lines)))
        self.slacks = list(self.basic)

    def climb(self, goal: int, held: set[int], done: Callable[[fmpq], bool]) -> bool:
        """Raise a nonbasic free variable, keeping the `held` slacks nonnegative, until `done`.

        Every held slack that involves `goal` does so with coefficient -1 at the start.
        """
        column = self.nonbasic.index(goal)
        tight = [i for i, v in enumerate(self.basic) if v in held and self.lines[i][column]]
        self._pivot(min(tight, key=lambda i: (self.lines[i][-1], self.basic[i])), column)
        while True:
            objective = self.lines[self.basic.index(goal)]
            if done(objective[-1]):
                return True
            improving = [
                (variable, j)
                for j, variable in enumerate(self.nonbasic)
                if objective[j] > 0 or (variable < self.n_free and objective[j] != 0)
            ]
            if not improving:
                return False
            enter = min(improving)[1]
            self._pivot(self._leaving(enter, objective[enter] > 0, held), enter)

    def multipliers(self, goal: int) -> dict[int, fmpq]:
        """Return what bounds a basic variable that cannot be raised: the multipliers of the slacks."""
        line = self.lines[self.basic.index(goal)]
        return {variable: -line[j] for j, variable in enumerate(self.nonbasic) if line[j]}

    def _leaving(self, enter: int, up: bool, held: set[int]) -> int:
        best: tuple[fmpq, int, int] | None = None
        for i, (variable, line) in enumerate(zip(self.basic, self.lines, strict=True)):
            rate = line[enter] if up else -line[enter]
            if variable in held and rate < 0:
                step = (line[-1] / -rate, variable, i)
                if best is None or step[:2] < best[:2]:
                    best = step
        if best is None:
            raise AssertionError("the climbed variable is capped, so that no direction is unbounded")
        return best[2]

    def remove(self, variable: int) -> None:
        """Fix a basic free variable whose value is zero at zero for good."""
        leave = self.basic.index(variable)
        column = next((j for j, v in enumerate(self.lines[leave][:-1]) if v), None)
        if column is None:
            del self.lines[leave], self.basic[leave]
            return
        self._pivot(leave, column)
        del self.nonbasic[column]
        for line in self.lines:
            del line[column]

    def _pivot(self, leave: int, enter: int) -> None:
        line = self.lines[leave]
        inverse = 1 / line[enter]
        solved = [-v * inverse if v else v for v in line]
        solved[enter] = inverse
        support = [j for j, v in enumerate(solved) if v and j != enter]
        for i, other in enumerate(self.lines):
            rate = other[enter]
            if i != leave and rate:
                for j in support:
                    other[j] += rate * solved[j]
                other[enter] = rate * inverse
        self.lines[leave] = solved
        self.basic[leave], self.nonbasic[enter] = self.nonbasic[enter], self.basic[leave]
