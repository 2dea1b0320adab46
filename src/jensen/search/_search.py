"""The one search for segments whose middle lies above its ends, proved by enclosures."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import prod
from time import perf_counter
from typing import Any

import numpy as np

from jensen.errors import CertificateError
from jensen.program import Name, Program
from jensen.search._many_points import ManyPoints
from jensen.search._region import Exact, Region
from jensen.search._segments import Finder, Segments
from jensen.verifier.enclosures import enclosures

_SIGNIFICANT = 1e3 * 2.0**-52
"""Part of the values' size above which a violation is worth a proof: some hundred units of rounding."""
_DIGITS = (0, 1, 2, 4, 8, 16)
"""Binary digits after the point to which a witness is rounded, fewest first."""
_REFUSALS = 3
"""Points that cannot be enclosed, after which no more are tried."""
_PRODUCT_SECONDS, _ENTRY_SECONDS, _WEIGHT_SECONDS = 2.5e-8, 5e-7, 3.5e-7
"""What an enclosure takes for a product of two numbers, an entry of a value and a weight; measured."""


@dataclass(frozen=True)
class Violation:
    """Two points, upper bounds of the values there, and a lower bound in their middle that lies above."""

    x: Exact
    y: Exact
    fx: Fraction
    fy: Fraction
    fm: Fraction


@dataclass(frozen=True)
class Search:
    """What a search found.

    Attributes
    ----------
    proved : Violation or None
    seen : float
        The largest violation in float64 that was worth a proof, as a part of the values' size; else 0.
    failed : CertificateError or None
        Why what was seen could not be enclosed.
    unaffordable : bool
        Whether something was seen, and enclosing it would have taken longer than allowed.
    """

    proved: Violation | None
    seen: float
    failed: CertificateError | None
    unaffordable: bool


def search(
    program: Program,
    output: int,
    region: Region,
    seed: int,
    seconds: float,
    proof_seconds: float = np.inf,
    floats: bool = False,
) -> Search:
    """Look for a segment whose middle lies above the mean of its ends, and prove it.

    Random segments; segments along the direction of the most negative second derivative (all of them in few
    variables, Lanczos's method on differences of gradients in many); and ascent from the best of both, on
    the second difference while it is negative and on the violation once there is one. The clearest are
    rounded to few digits and enclosed.

    Parameters
    ----------
    program : Program
    output : int
        Which entry of the flattened outputs of one sample.
    region : Region
        Of points that hold one sample of every leaf, one after the other.
    seed : int
    seconds : float
        After which the search ends; a few segments are always looked at.
    proof_seconds : float
        What a proof may take, by `proof_cost`.
    floats : bool
        Whether the witness's entries must be float64 numbers.

    Notes
    -----
    Lanczos, "An iteration method for the solution of the eigenvalue problem", 1950.
    """
    prover = _Prover(program, output, region, proof_cost(program) <= proof_seconds, floats)
    if region.dimension:
        deadline = perf_counter() + seconds
        finder = Finder(prover.function, region, np.random.default_rng(seed), deadline)
        while not finder.round(prover) and perf_counter() < deadline:
            pass
    return Search(prover.proved, prover.seen, prover.failed, prover.seen > 0 and not prover.affordable)


def proof_cost(program: Program) -> float:
    """Estimate the seconds that three enclosures take; of a batch only one sample is multiplied."""
    products, entries = 0, 0
    samples = max((leaf.shape[0] for leaf in program.leaves if leaf.batched), default=1)
    for node in program.nodes:
        for shape in _shapes(node.shape):
            entries += prod(shape)
            weight = node.args.get("weight")
            if isinstance(weight, Name):
                products += prod(shape) * prod(program.shapes[weight.name][1:]) // samples
    return 3 * (_PRODUCT_SECONDS * products + _ENTRY_SECONDS * entries) + _WEIGHT_SECONDS * program.n_weights


def _shapes(shape: Any) -> list[tuple[int, ...]]:
    """Shapes of a node's results."""
    several = any(not isinstance(part, int) for part in shape)
    return [part for part in shape if part is not None] if several else [shape]


class _Prover:
    """Proves the clearest of the segments that it is given, until nothing more can come of it."""

    def __init__(self, program: Program, output: int, region: Region, affordable: bool, floats: bool) -> None:
        self.function = ManyPoints(program, output)
        self.region, self.affordable, self.floats = region, affordable, floats
        self.proved: Violation | None = None
        self.failed: CertificateError | None = None
        self.seen = 0.0
        self.bar = _SIGNIFICANT
        self.refusals = 0

    def __call__(self, segments: Segments) -> bool:
        """Try a proof where it is worth it; say whether the search is over."""
        if not len(segments):
            return False
        best = int(np.argmax(segments.part))
        part = float(segments.part[best])
        if not part > self.bar:
            return False
        self.seen = max(self.seen, part)
        if not self.affordable:
            return True
        for x, y in self.ends(segments, best):
            try:
                self.proved = self.enclosed(x, y)
            except CertificateError as error:
                self.failed = error
                self.refusals += 1
                return self.refusals == _REFUSALS
            if self.proved is not None:
                return True
        # What is not clearer than what could not be proved is not tried again.
        self.bar = 4 * part
        return False

    def ends(self, segments: Segments, best: int) -> list[tuple[Exact, Exact]]:
        """Round to as few digits as keep half of a violation, and not at all."""
        m, s, part = segments.m[best], segments.s[best], float(segments.part[best])
        found = []
        for digits in _DIGITS:
            ends = self.region.rounded(m, s, digits)
            if ends is not None and self.part(*ends) > part / 2:
                found.append(ends)
                break
        exact = self.region.rounded(m, s, None)
        found += [] if exact is None else [exact]
        return [ends for ends in found if not self.floats or all(map(_is_float, (*ends[0], *ends[1])))]

    def part(self, x: Exact, y: Exact) -> float:
        """By what part of the values' size the middle lies above."""
        points = np.array([[float(v) for v in point] for point in (x, y)])
        return float(Segments.of(self.function, points.mean(0)[None], (points[1:] - points[:1]) / 2).part[0])

    def enclosed(self, x: Exact, y: Exact) -> Violation | None:
        """Prove a violation, or return None."""
        middle = [(a + b) / 2 for a, b in zip(x, y, strict=True)]
        program, output = self.function.program, self.function.output
        (fm, _), (_, fx), (_, fy) = enclosures(program, [middle, x, y], output)
        return Violation(x, y, fx, fy, fm) if fm > (fx + fy) / 2 else None


def _is_float(value: Fraction) -> bool:
    return Fraction(float(value)) == value
