"""Random trials of Jensen's inequality on one program, in both directions, and their proof in arb's balls.

Two points, and a third between them, are compared in float64 in large batches. What looks like a violation
counts only if enclosures of the three values prove it. Where nothing is found, second derivatives at random
points tell along which segments else to try.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import flint
import numpy as np
import torch
from flint import arb, fmpq
from numpy.typing import NDArray

from benchmarks.curvature_expression import SIGNS, WIDTH, Expression
from jensen.calculus import Analysis, analyse
from jensen.calculus._value import AFFINE, ANY_SIGN, NONNEGATIVE, NONPOSITIVE, POSITIVE, Value
from jensen.program import Program
from jensen.program._evaluate import compute

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

_BITS = {"any": ANY_SIGN, "nonnegative": NONNEGATIVE, "positive": POSITIVE}
_FIRST, _BATCH = 1_000, 20_000
_LARGEST = 1e12
"""Values beyond are compared no more: what they leave of smaller terms is rounding."""
_SLACK = 1e-10
_TRIED = 6
"""So many suspects of a batch, the worst and others, are looked at in exact arithmetic."""
_CURVED = 64
PRECISION = 400


def is_below(value: Value) -> bool:
    """Whether a divisor is proved to be negative, where it is not zero."""
    return bool(((value.sign | NONPOSITIVE) == NONPOSITIVE).all())


def analysed(expression: Expression) -> Analysis:
    """Ask the calculus about a program."""
    program, _ = expression.program(1)
    leaves = {
        name: Value(np.full((1, WIDTH), _BITS[sign], np.int8), np.full((1, WIDTH), AFFINE, np.int8))
        for name, sign in SIGNS.items()
    }
    return analyse(program, leaves)


@dataclass
class Trials:
    """What came of the trials of one program.

    Attributes
    ----------
    used : int
        Trials whose three points lie where the program is defined.
    drawn : int
    convex, concave : bool
        Whether it survived as such.
    dismissed : int
        Violations in float64 that exact arithmetic does not confirm.
    varies : bool
        Whether two values were ever different.
    witness : dict of str to text
        Of a refutation, by what it refutes.
    """

    used: int = 0
    drawn: int = 0
    convex: bool = True
    concave: bool = True
    dismissed: int = 0
    varies: bool = False
    witness: dict[str, str] = field(default_factory=dict)


class Tester:
    """Tries one program."""

    def __init__(self, expression: Expression, analysis: Analysis, seed: Sequence[int]) -> None:
        self.expression, self.analysis = expression, analysis
        self.rng = np.random.default_rng(seed)
        self.names = sorted(expression.variables())
        self.slack = {"convex": _SLACK, "concave": _SLACK}
        self.found = Trials()

    def run(self, trials: int) -> Trials:
        """Try until both directions are refuted or so many trials are used, of at most four times as many."""
        found = self.found
        while (found.convex or found.concave) and found.used < trials and found.drawn < 4 * trials:
            count = _FIRST if found.drawn == 0 else min(_BATCH, 4 * trials - found.drawn)
            ends = self._ends(count)
            weight = self.rng.choice([0.5, 0.5, 0.25, 0.875], (count, 1))
            found.used += self._try(*ends, weight)
            found.drawn += count
            if found.drawn == _FIRST and (found.convex or found.concave):
                self._along_curvature()
        return found

    def _point(self, count: int) -> dict[str, Floats]:
        scale = self.rng.choice([0.1, 0.5, 1.0, 3.0], (count, 1))
        points = {}
        for name in SIGNS:
            if name not in self.names:
                points[name] = np.ones((count, WIDTH))
                continue
            x = self.rng.standard_normal((count, WIDTH)) * scale
            points[name] = x if SIGNS[name] == "any" else np.abs(x)
        return points

    def _ends(self, count: int) -> tuple[dict[str, Floats], dict[str, Floats]]:
        """Draw two points: far from each other, near, or different in one variable or one entry only."""
        a, far = self._point(count), self._point(count)
        kind = self.rng.integers(4, size=(count, 1))
        size = self.rng.choice([0.02, 0.2, 1.0], (count, 1))
        moved = np.array(self.names)[self.rng.integers(len(self.names), size=(count, 1))]
        entry = self.rng.integers(WIDTH, size=(count, 1)) == np.arange(WIDTH)
        b = {}
        for name, x in a.items():
            if name not in self.names:
                b[name] = x
                continue
            near = x + size * self.rng.standard_normal(x.shape) * (1 if SIGNS[name] == "any" else x)
            near = near if SIGNS[name] == "any" else np.abs(near)
            one = np.where(moved == name, far[name], x)
            single = np.where((moved == name) & entry, far[name], x)
            b[name] = np.choose(kind, [far[name], near, one, single])
        return a, b

    def _try(self, a: Mapping[str, Floats], b: Mapping[str, Floats], weight: Floats) -> int:
        """Try a batch; return how many trials lie where the program is defined."""
        count = len(weight)
        points = {
            name: np.concatenate([a[name], b[name], weight * a[name] + (1 - weight) * b[name]]) for name in a
        }
        values, usable, size = self._values(points)
        ok = usable.reshape(3, count).all(axis=0)
        fa, fb, fm = values.reshape(3, count)
        t = weight[:, 0]
        with np.errstate(all="ignore"):
            gap = fm - (t * fa + (1 - t) * fb)
            relative = np.where(ok, gap / (1e-3 + size.reshape(3, count).max(axis=0)), 0.0)
        self.found.varies |= bool(np.any(ok & (fa != fb)))
        for word, sign in (("convex", 1.0), ("concave", -1.0)):
            if getattr(self.found, word):
                self._judge(word, sign * relative, a, b, t)
        return int(ok.sum())

    def _judge(
        self, word: str, gaps: Floats, a: Mapping[str, Floats], b: Mapping[str, Floats], t: Floats
    ) -> None:
        suspects = np.flatnonzero(gaps > self.slack[word])
        if not len(suspects):
            return
        worst = suspects[np.argsort(-gaps[suspects])][:_TRIED]
        for i in dict.fromkeys([*worst, *self.rng.choice(suspects, _TRIED)]):
            first, last = ({name: v[i] for name, v in end.items()} for end in (a, b))
            if (witness := self._proved(word, first, last, float(t[i]))) is not None:
                setattr(self.found, word, False)
                self.found.witness[word] = witness
                return
            self.found.dismissed += 1
        self.slack[word] *= 10

    def _values(self, points: Mapping[str, Floats]) -> tuple[Floats, Flags, Floats]:
        """Evaluate in float64: values, where they are defined, and how large a number stood in between."""
        program, required = self.expression.program(len(points["x"]))
        with np.errstate(all="ignore"):
            found = program.evaluate(*points.values())
        named = {**points, **dict(zip(program.outputs, found, strict=True))}
        size = np.zeros(len(found[-1]))
        for values in found:
            for column in values.T:  # a maximum along a short axis is slow
                np.maximum(size, np.abs(column), out=size)
        ok = size < _LARGEST  # which NaN is not
        for name, sign in required:
            argument = named[name]
            known = self.analysis.values[name]
            assert isinstance(known, Value)
            if sign == "nonnegative":
                ok &= (argument >= 0).all(axis=1)
            elif sign == "divisor" and is_below(known):
                ok &= (argument < 0).all(axis=1)
            else:
                ok &= (argument > 0).all(axis=1)
        return found[-1][:, 0], ok, size

    def _proved(self, word: str, a: Mapping[str, Floats], b: Mapping[str, Floats], t: float) -> str | None:
        """Prove a violation by enclosures of the values at the two points and exactly between them."""
        weight = Fraction(t)
        ends = [{name: [Fraction(v) for v in end[name].tolist()] for name in end} for end in (a, b)]
        middle = {
            name: [weight * u + (1 - weight) * v for u, v in zip(ends[0][name], ends[1][name], strict=True)]
            for name in ends[0]
        }
        with flint.ctx.workprec(PRECISION):
            fa, fb, fm = (
                self.expression.ball(
                    {
                        name: [arb(fmpq(v.numerator, v.denominator)) for v in row]
                        for name, row in point.items()
                    }
                )
                for point in (*ends, middle)
            )
            share = arb(fmpq(weight.numerator, weight.denominator))
            gap = fm - (share * fa + (1 - share) * fb)
            if not (gap > 0 if word == "convex" else gap < 0):
                return None
            text = f"a = {_plain(a, self.names)}, b = {_plain(b, self.names)}, t = {t}"
            return f"{text}: {fa.str(6)}, {fb.str(6)}, between {fm.str(6)}"

    def _along_curvature(self) -> None:
        """Try segments along the eigenvectors of the matrices of second derivatives at random points."""
        points = {name: torch.from_numpy(x) for name, x in self._point(_CURVED).items()}
        second = _hessians(self.expression, points, self.names)
        if second is None:
            return
        usable = np.isfinite(second).all(axis=(1, 2), keepdims=True)
        _, vectors = np.linalg.eigh(np.where(usable, second, 0.0))
        for which in (0, -1):
            for step in (1e-3, 1e-2, 0.1, 0.5):
                a, b = {}, {}
                for i, name in enumerate(self.names):
                    x = points[name].detach().numpy()
                    move = step * vectors[:, i * WIDTH : (i + 1) * WIDTH, which]
                    if SIGNS[name] != "any":
                        move = np.clip(move, -x, x)  # both ends keep their signs
                    a[name], b[name] = x - move, x + move
                whole = {name: points[name].detach().numpy() for name in points}
                self._try({**whole, **a}, {**whole, **b}, np.full((_CURVED, 1), 0.5))


def _plain(point: Mapping[str, Floats], names: Sequence[str]) -> str:
    return ", ".join(f"{name} {point[name].tolist()}" for name in names)


def _hessians(
    expression: Expression, points: Mapping[str, torch.Tensor], names: Sequence[str]
) -> Floats | None:
    """Second derivatives in some variables at every point, one matrix for each; None where torch has none."""
    program, _ = expression.program(_CURVED)
    together = torch.cat([points[name] for name in names], dim=1).requires_grad_()
    parts = dict(zip(names, torch.split(together, WIDTH, dim=1), strict=True))
    value = _value(program, {**points, **parts})
    if not value.requires_grad:
        return None
    (first,) = torch.autograd.grad(value.sum(), together, create_graph=True, materialize_grads=True)
    if not first.requires_grad:
        return None
    rows = []
    try:
        for i in range(together.shape[1]):
            (row,) = torch.autograd.grad(
                first[:, i].sum(), together, retain_graph=True, materialize_grads=True
            )  # fmt: skip
            rows.append(row)
    except (RuntimeError, NotImplementedError):
        return None  # torch has no second derivative of some operators
    matrix = torch.stack(rows, dim=1).detach().numpy()
    return np.asarray((matrix + matrix.transpose(0, 2, 1)) / 2)


def _value(program: Program, leaves: Mapping[str, torch.Tensor]) -> torch.Tensor:
    env: dict[str, Any] = {name: torch.tensor(v) for name, v in program.constants.items()}
    env.update(leaves)
    compute(program.nodes, env)
    found: torch.Tensor = env[program.outputs[-1]]
    return found
