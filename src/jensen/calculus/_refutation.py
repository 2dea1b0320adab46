"""Search for three points at which a program violates Jensen's inequality, proved by enclosures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from time import perf_counter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from jensen.calculus._curvature import Curvature
from jensen.errors import ArgumentError, CertificateError
from jensen.network import FloatArray
from jensen.program import Program, substituted
from jensen.program._evaluate import applied
from jensen.verifier import enclosure

_ROUNDS = 400
_TRIED = 5
_MOST_CURVED = 32
"""Variables at a time of which a matrix of second derivatives is computed."""
_DIGITS = (1, 2, 4, 8, 16)
"""Binary digits after the point to which a witness is rounded, fewest first."""


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

    Midpoints of random segments, and of segments along the direction of the most negative curvature (the last
    eigenvector of the matrix of second derivatives), are compared in float64. The worst violations are
    rounded to few digits, and count only if enclosures of the values, by interval arithmetic, prove them.

    Parameters
    ----------
    found : Curvature
        Of `jensen.curvature`; its variables and declared domains are kept to.
    output : int
        Which entry of the flattened outputs.
    seed : int
    seconds : float
        After which the search ends.

    Returns
    -------
    Counterexample or None
        None where no violation was found, which proves nothing.

    Raises
    ------
    ArgumentError
        If there is no such output.
    CertificateError
        If there is a violation in float64, and an operator that cannot be enclosed.

    Examples
    --------
    >>> import jensen, torch
    >>> found = jensen.curvature(lambda x: (x.square() - 1).square().sum(), torch.ones(1))
    >>> jensen.refute(found).violation > 0
    True
    """
    search = _Search(found, output)
    rng = np.random.default_rng(seed)
    deadline = perf_counter() + seconds
    seen: list[tuple[float, FloatArray, FloatArray]] = []
    for number in range(_ROUNDS):
        x = search.point(rng)
        steps = [search.step(rng)]
        if number % 8 == 0:
            steps += search.curved(x, rng)
        for step in steps:
            for ends in ((x, x + step), (x - step, x + step)):
                a, b = (search.inside(end, x) for end in ends)
                if (gap := search.gap(a, b)) > 0:
                    seen.append((gap, a, b))
        if perf_counter() > deadline:
            break
    failed: CertificateError | None = None
    for _, a, b in sorted(seen, key=lambda entry: -entry[0])[:_TRIED]:
        for x, y in search.rounded(a, b):
            try:
                if (witness := search.proved(x, y)) is not None:
                    return witness
            except CertificateError as error:
                failed = error
                break
    if failed is not None:
        raise failed
    return None


class _Search:
    def __init__(self, found: Curvature, output: int) -> None:
        self.program: Program = found.program
        self.output, self.domains = output, found.domains
        if not 0 <= output < sum(names.size for names in found.outputs):
            raise ArgumentError(f"the program has no output {output!r:.40}")
        self.leaves = self.program.leaves
        self.ends = np.cumsum([0, *(leaf.size for leaf in self.leaves)])
        size = int(self.ends[-1])
        self.lo, self.hi = np.full(size, -np.inf), np.full(size, np.inf)
        self.moves = np.zeros(size, dtype=bool)
        for leaf, a, b in zip(self.leaves, self.ends[:-1], self.ends[1:], strict=True):
            self.moves[a:b] = leaf.label in found.wrt
            for domain in self.domains.get(leaf.label, ()):
                lo, hi = domain.bounds(leaf.size)
                self.lo[a:b], self.hi[a:b] = np.maximum(self.lo[a:b], lo), np.minimum(self.hi[a:b], hi)

    def point(self, rng: np.random.Generator) -> FloatArray:
        x = rng.standard_normal(self.lo.size) * rng.choice([0.3, 1.0, 3.0])
        low, high = np.isfinite(self.lo), np.isfinite(self.hi)
        x = np.where(low & ~high, self.lo + np.abs(x), np.where(high & ~low, self.hi - np.abs(x), x))
        both = low & high
        x[both] = rng.uniform(self.lo[both], self.hi[both])
        return np.asarray(x)

    def step(self, rng: np.random.Generator) -> FloatArray:
        step = np.where(self.moves, rng.standard_normal(self.lo.size), 0.0) * rng.choice([0.1, 0.5, 2.0])
        if rng.random() < 0.3:  # along one entry
            moving = np.flatnonzero(self.moves)
            step[np.setdiff1d(moving, rng.choice(moving, 1))] = 0.0
        return np.asarray(step)

    def curved(self, x: FloatArray, rng: np.random.Generator) -> list[FloatArray]:
        """Find steps along the direction in which a program bends down most, if it does."""
        moving = np.flatnonzero(self.moves)
        if moving.size > _MOST_CURVED:
            moving = np.sort(rng.choice(moving, _MOST_CURVED, replace=False))

        def function(part: torch.Tensor) -> torch.Tensor:
            whole = torch.from_numpy(x.copy())
            whole = whole.index_put((torch.from_numpy(moving),), part)
            return self.value(whole)

        with torch.enable_grad():
            second = torch.autograd.functional.hessian(  # type: ignore[no-untyped-call]
                function, torch.from_numpy(x[moving])
            )
        matrix = second.numpy() if isinstance(second, torch.Tensor) else np.zeros((0, 0))
        if not matrix.size or not np.isfinite(matrix).all():
            return []
        values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
        if not values[0] < 0:
            return []
        steps = []
        for size in (0.03, 0.3, 1.0):
            step = np.zeros_like(x)
            step[moving] = size * vectors[:, 0]
            steps.append(step)
        return steps

    def inside(self, point: FloatArray, centre: FloatArray) -> FloatArray:
        clipped = np.clip(point, self.lo, self.hi)
        return np.asarray(np.where(self.moves, clipped, centre))

    def value(self, whole: torch.Tensor) -> torch.Tensor:
        """Evaluate by torch, in float64, so that derivatives can be taken."""
        env: dict[str, Any] = {name: torch.tensor(v) for name, v in self.program.constants.items()}
        for leaf, a, b in zip(self.leaves, self.ends[:-1], self.ends[1:], strict=True):
            env[leaf.name] = whole[int(a) : int(b)].reshape(leaf.shape)
        for node in self.program.nodes:
            env[node.name] = applied(node, substituted(node.args, env))
        flat = torch.cat([env[name].double().reshape(-1) for name in self.program.outputs])
        return flat[self.output]

    def gap(self, x: FloatArray, y: FloatArray) -> float:
        """Return how far the middle lies above, by the values' size; zero where it may be rounding."""
        with torch.no_grad():
            fx, fy, fm = (float(self.value(torch.from_numpy(v))) for v in (x, y, (x + y) / 2))
        gap, size = fm - (fx + fy) / 2, abs(fm) + abs(fx) + abs(fy)
        return gap / (1.0 + size) if np.isfinite(gap) and gap > 1e-11 * size else 0.0

    def rounded(self, x: FloatArray, y: FloatArray) -> list[tuple[FloatArray, FloatArray]]:
        """Return points near a violation with as few digits as keep it, and the violation itself."""
        found = []
        for digits in _DIGITS:
            a, b = (np.round(v * 2.0**digits) / 2.0**digits for v in (x, y))
            a = np.clip(a, self.lo, self.hi)
            b = np.where(self.moves, np.clip(b, self.lo, self.hi), a)
            if self.gap(a, b) > 0:
                found.append((a, b))
                break
        return [*found, (x, y)]

    def proved(self, x: FloatArray, y: FloatArray) -> Counterexample | None:
        exact = [[Fraction(v) for v in point.tolist()] for point in (x, y)]
        if not all(self.allowed(point) for point in exact):
            return None
        middle = [(a + b) / 2 for a, b in zip(*exact, strict=True)]
        fm = enclosure(self.program, middle, self.output)[0]
        fx, fy = (enclosure(self.program, point, self.output)[1] for point in exact)
        if not fm > (fx + fy) / 2:
            return None
        return Counterexample(self.named(x), self.named(y), self.output, fx, fy, fm)

    def allowed(self, point: Sequence[Fraction]) -> bool:
        """Whether a point lies in all domains, decided exactly."""
        return all(
            domain.contains(point[a:b])
            for leaf, a, b in zip(self.leaves, self.ends[:-1], self.ends[1:], strict=True)
            for domain in self.domains.get(leaf.label, ())
        )

    def named(self, point: NDArray[np.float64]) -> dict[str, FloatArray]:
        return {
            leaf.label: point[a:b].reshape(leaf.shape)
            for leaf, a, b in zip(self.leaves, self.ends[:-1], self.ends[1:], strict=True)
        }
