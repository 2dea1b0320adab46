"""Three points at which a program violates Jensen's inequality, as `check` asks for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import inf, isinf

import numpy as np
from numpy.typing import NDArray

from jensen.certify._exact_domain import ExactDomain
from jensen.certify._verdict import Witness
from jensen.errors import NetworkError
from jensen.network import Domain
from jensen.program import Program

_SECONDS = 1.0
"""What a search takes where the user set no limit."""
_PROOF_SECONDS = 60.0
"""What a proof of a violation that was seen may take where the user set no limit."""


@dataclass(frozen=True)
class Found:
    """What a search for a violation ended with.

    Attributes
    ----------
    witness : Witness or None
        Its points hold the entries of all inputs, one input after the other; fx and fy are upper bounds and
        fm is a lower bound of the real function.
    evidence : str
        What was seen in float64 and could not be proved; empty if nothing was.
    """

    witness: Witness | None
    evidence: str = ""


def find_violation(
    program: Program,
    arguments: Sequence[int],
    domain: Domain,
    wrt: Sequence[int] | None,
    output: int,
    seed: int,
    seconds: float,
) -> Found:
    """Search as `jensen.refute` does, in the chosen inputs of one sample.

    Parameters
    ----------
    program : Program
    arguments, domain, wrt, output
        The question, as of `jensen.check`.
    seed : int
    seconds : float
        That are left, infinite if the user set no limit.

    Raises
    ------
    NetworkError
        If values depend on other samples of a batch.
    DomainError
        If the domain is empty.
    """
    from jensen.search import Hull, Region, proof_cost, search

    sizes = [leaf.size for leaf in program.inputs]
    ends = np.cumsum([0, *sizes])
    asked = np.concatenate([np.arange(ends[i], ends[i + 1]) for i in arguments])
    size = int(ends[-1])
    _refuse_mixing(program, np.random.default_rng(seed).standard_normal((2, size)), output)
    moves = np.zeros(size, dtype=bool)
    moves[asked if wrt is None else asked[list(wrt)]] = True
    lo, hi = (np.full(size, sign * inf) for sign in (-1, 1))
    lo[asked], hi[asked] = domain.bounds(asked.size)
    part, right = domain.inequalities(asked.size)
    rows = np.zeros((len(part), size))
    rows[:, asked] = part
    hull = None
    if len(part):
        start, strides, steps = _hull(domain, asked, size, wrt)
        hull = Hull(start, strides, steps)
    region = Region(lo, hi, moves, rows, right, hull)
    cost = proof_cost(program)
    allowed = _PROOF_SECONDS if isinf(seconds) else seconds / 2
    limit = _SECONDS if isinf(seconds) else seconds - cost if cost <= allowed else seconds
    ended = search(program, output, region, seed, limit, allowed)
    if ended.proved is not None:
        points = (tuple(ended.proved.x), tuple(ended.proved.y))
        values = (ended.proved.fx, ended.proved.fy, ended.proved.fm)
        return Found(Witness(*points, Fraction(1, 2), *values))
    if not ended.seen:
        return Found(None)
    seen = f"in float64 a middle lies above its chord by {ended.seen:.2g} of the values' size"
    if ended.failed is not None:
        return Found(None, f"{seen}, which could not be proved: {ended.failed}")
    if ended.unaffordable:
        return Found(
            None, f"{seen}; to prove that takes about {cost:.0f} s: set a time_limit of {3 * cost:.0f}"
        )
    return Found(None, f"{seen}, which enclosures did not confirm: it may be rounding")


def _hull(
    domain: Domain, asked: NDArray[np.intp], size: int, wrt: Sequence[int] | None
) -> tuple[list[Fraction], list[dict[int, Fraction]], list[dict[int, Fraction]]]:
    """Find a point in a polyhedron, and bases of the directions that it and the question leave."""
    exact = ExactDomain(domain, asked.size)
    start = [Fraction(0)] * size
    assert exact.hull is not None  # there are inequalities
    for j, v in zip(asked.tolist(), exact.hull.interior, strict=True):
        start[j] = Fraction(int(v.p), int(v.q))
    others = [{j: Fraction(1)} for j in np.setdiff1d(np.arange(size), asked).tolist()]
    moves = exact if wrt is None else ExactDomain(domain, asked.size, tuple(wrt))
    bases = [
        [{int(asked[j]): Fraction(int(v.p), int(v.q)) for j, v in step.items()} for step in of.directions]
        for of in (exact, moves)
    ]
    return start, [*others, *bases[0]], bases[1]


def _refuse_mixing(program: Program, points: NDArray[np.float64], output: int) -> None:
    """Evaluate one point beside itself, and beside another."""
    x, y = points
    alone, beside = _first(program, [x, x], output), _first(program, [x, y], output)
    if abs(alone - beside) > 1e-9 * (abs(alone) + abs(beside)):
        raise NetworkError("the model mixes the samples of a batch, so that it is no function of one")


def _first(program: Program, points: Sequence[NDArray[np.float64]], output: int) -> float:
    """Evaluate the first point of a batch, of which the second is the rest."""
    first, second = points
    batch = max((leaf.shape[0] for leaf in program.inputs if leaf.batched), default=1)
    rows = np.stack([first, *[second] * (batch - 1)])
    ends = np.cumsum([0, *(leaf.size for leaf in program.inputs)])
    given = [
        (rows[:, a:b] if leaf.batched else rows[0, a:b]).reshape(leaf.shape)
        for leaf, a, b in zip(program.inputs, ends[:-1], ends[1:], strict=True)
    ]
    parts = [part.reshape(batch, -1)[0] for part in program.evaluate(*given)]
    return float(np.concatenate(parts)[output])
