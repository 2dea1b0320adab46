"""Search for three points at which a program violates Jensen's inequality, proved by enclosures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from jensen.calculus._curvature import Curvature
from jensen.errors import ArgumentError
from jensen.network import FloatArray
from jensen.program import Program
from jensen.search import Region, interior, search


@dataclass(frozen=True, eq=False)
class Counterexample:
    """Three points that prove that a program is not convex in its variables.

    Attributes
    ----------
    x, y : mapping of str to array
        Exact float64 values of every leaf, by label; what is not a variable is the same in both.
    output : int
        The entry of the flattened outputs that bends down between x and y.
    fx, fy : Fraction
        Upper bounds at x and y.
    fm : Fraction
        Lower bound at the middle of x and y; greater than (fx + fy) / 2.
    """

    x: Mapping[str, FloatArray]
    y: Mapping[str, FloatArray]
    output: int
    fx: Fraction
    fy: Fraction
    fm: Fraction

    @property
    def violation(self) -> Fraction:
        """By how much the value at the middle exceeds the mean of the other two, at least."""
        return self.fm - (self.fx + self.fy) / 2

    def __str__(self) -> str:
        """Write the points that differ, and the three values."""
        lines = []
        for label, x in self.x.items():
            y = self.y[label]
            same = np.array_equal(x, y)
            lines.append(
                f"  {label} = {x.tolist()}" if same else f"  {label}: x = {x.tolist()}, y = {y.tolist()}"
            )
        values = ", ".join(
            f"{name} {float(v):.6g}"
            for name, v in (("f(x) <=", self.fx), ("f(y) <=", self.fy), ("f((x + y) / 2) >=", self.fm))
        )
        return "\n".join([*lines, f"  {values}"])


def refute(found: Curvature, output: int = 0, seed: int = 0, seconds: float = 1.0) -> Counterexample | None:
    """Look for a proof that one entry of the output is not convex in the variables.

    Midpoints of random segments, and of segments along the direction of the most negative second derivative,
    are compared in float64, and the worst are improved by ascent. Violations are rounded to few digits, and
    count only if enclosures of the values, by interval arithmetic, prove them.

    Parameters
    ----------
    found : Curvature
        Of `jensen.curvature`; its variables and declared domains are kept to.
    output : int
        Which entry of the flattened outputs.
    seed : int
    seconds : float
        After which the search ends, unless it is about to prove what it found; a few segments are always
        looked at.

    Returns
    -------
    Counterexample or None
        None where no violation was found, which proves nothing.

    Raises
    ------
    ArgumentError
        If there is no such output.
    DomainError
        If no point satisfies what was declared.
    CertificateError
        If there is a violation in float64, and an operator that cannot be enclosed.

    Examples
    --------
    >>> import jensen, torch
    >>> found = jensen.curvature(lambda x: (x.square() - 1).square().sum(), torch.ones(1))
    >>> jensen.refute(found).violation > 0
    True
    """
    if not 0 <= output < sum(names.size for names in found.outputs):
        raise ArgumentError(f"the program has no output {output!r:.40}")
    ended = search(found.program, output, _region(found), seed, seconds, floats=True)
    if ended.proved is None:
        if ended.failed is not None:
            raise ended.failed
        return None
    x, y = (_named(found.program, point) for point in (ended.proved.x, ended.proved.y))
    return Counterexample(x, y, output, ended.proved.fx, ended.proved.fy, ended.proved.fm)


def _region(found: Curvature) -> Region:
    """Put together what was declared of the leaves."""
    leaves = found.program.leaves
    ends = np.cumsum([0, *(leaf.size for leaf in leaves)])
    size = int(ends[-1])
    lo, hi, moves = np.full(size, -np.inf), np.full(size, np.inf), np.zeros(size, dtype=bool)
    rows, right = [np.zeros((0, size))], [np.zeros(0)]
    for leaf, a, b in zip(leaves, ends[:-1], ends[1:], strict=True):
        moves[a:b] = leaf.label in found.wrt
        for domain in found.domains.get(leaf.label, ()):
            low, high = domain.bounds(leaf.size)
            lo[a:b], hi[a:b] = np.maximum(lo[a:b], low), np.minimum(hi[a:b], high)
            part, limits = domain.inequalities(leaf.size)
            rows.append(np.zeros((len(part), size)))
            rows[-1][:, a:b] = part
            right.append(limits)
    A, limit = np.vstack(rows), np.concatenate(right)
    hull = interior(lo, hi, moves, A, limit) if len(A) else None
    return Region(lo, hi, moves, A, limit, hull)


def _named(program: Program, point: Sequence[Fraction]) -> dict[str, FloatArray]:
    values, start = {}, 0
    for leaf in program.leaves:
        part = [float(v) for v in point[start : start + leaf.size]]
        values[leaf.label] = np.array(part).reshape(leaf.shape)
        start += leaf.size
    return values
