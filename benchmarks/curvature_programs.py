"""Random programs composed of all that the calculus knows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.curvature_elementwise import COMMON, EXP, RARE
from benchmarks.curvature_expression import SIGNS, WIDTH, Expression, Operator
from benchmarks.curvature_several import BINARY, CONSTANTS, MIXING, REDUCTIONS, WRITTEN

GEOMETRIC = 0.15
"""Share of programs that keep what is positive positive, of exponentials of the variables."""
DEEPEST = 4


def random_program(seed: int, index: int) -> tuple[Expression, bool]:
    """Draw a program, one number, and tell whether it may be a geometric one."""
    rng = np.random.default_rng([seed, index])
    geometric = bool(rng.random() < GEOMETRIC)
    grower = _Grower(rng, geometric)
    found = grower.grown(int(rng.integers(1, DEEPEST + 1)))
    if found.width > 1:
        found = grower.applied(grower.one(grower.kept(REDUCTIONS)), [found])
    return found, geometric


class _Grower:
    def __init__(self, rng: np.random.Generator, geometric: bool) -> None:
        self.rng, self.geometric = rng, geometric
        names = list(SIGNS)
        few = int(rng.integers(1, len(names) + 1))
        self.names = [str(name) for name in rng.choice(names, few, replace=False)]
        self.made: list[Expression] = []

    def grown(self, depth: int) -> Expression:
        """Grow an expression of at most this depth."""
        rng = self.rng
        if self.made and rng.random() < 0.12:
            return self.made[int(rng.integers(len(self.made)))]
        if depth == 0:
            return self._variable()
        kind = rng.random()
        groups: list[tuple[float, Sequence[Operator]]] = [
            (0.26, COMMON), (0.38, RARE), (0.43, WRITTEN), (0.56, CONSTANTS), (0.8, BINARY),
            (0.94, REDUCTIONS), (1.0, MIXING),
        ]  # fmt: skip
        operators = self.kept(next(group for limit, group in groups if kind <= limit))
        if not operators:
            return self.grown(depth)
        operator = self.one(operators)
        parts = [self.grown(depth - 1)]
        if operator.arity == 2:
            parts.append(self.grown(int(rng.integers(depth))))
        if operator.needs_vector and parts[0].width == 1:
            return parts[0]
        return self.applied(operator, parts)

    def _variable(self) -> Expression:
        leaf = Expression(WIDTH, variable=self.names[int(self.rng.integers(len(self.names)))])
        return self.applied(EXP, [leaf]) if self.geometric else leaf

    def kept(self, operators: Sequence[Operator]) -> Sequence[Operator]:
        """Keep those that a geometric program may use, where this is one."""
        return [o for o in operators if o.posy] if self.geometric else operators

    def one(self, operators: Sequence[Operator]) -> Operator:
        """Choose one."""
        return operators[int(self.rng.integers(len(operators)))]

    def applied(self, operator: Operator, parts: Sequence[Expression]) -> Expression:
        """Apply an operator, with parameters that are drawn."""
        width = 1 if operator.reduces else max(part.width for part in parts)
        parameters: tuple[Any, ...] = operator.draw(self.rng, width)
        found = Expression(width, operator, tuple(parts), parameters)
        self.made.append(found)
        return found
