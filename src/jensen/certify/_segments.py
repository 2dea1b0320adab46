"""Search for three points at which a smooth program violates Jensen's inequality, proved by enclosures."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import inf, prod
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from jensen.certify._verdict import Witness
from jensen.errors import CertificateError, NetworkError
from jensen.network import Domain
from jensen.program import Name, Program
from jensen.verifier import enclosure

_SECONDS = 1.0
_ROUNDS = 400
_TRIED = 3
_MOST_PRODUCTS = 1 << 21
"""Products of numbers beyond which enclosing a value takes longer than a user waits."""


def find_violation(
    program: Program,
    arguments: Sequence[int],
    domain: Domain,
    wrt: Sequence[int] | None,
    output: int,
    seed: int,
    seconds: float = _SECONDS,
) -> Witness | None:
    """Look at midpoints of random segments, and prove the worst.

    Returns
    -------
    Witness or None
        Its points hold the entries of all inputs, one input after the other; fx and fy are upper bounds
        and fm is a lower bound of the real function.

    Raises
    ------
    NetworkError
        If values depend on other samples of a batch.
    """
    sizes = [leaf.size for leaf in program.inputs]
    ends = np.cumsum([0, *sizes])
    asked = np.concatenate([np.arange(ends[i], ends[i + 1]) for i in arguments])
    moving = asked if wrt is None else asked[list(wrt)]
    lo, hi = (np.full(ends[-1], sign * inf) for sign in (-1, 1))
    lo[asked], hi[asked] = domain.bounds(asked.size)
    if _products(program) > _MOST_PRODUCTS or len(domain.inequalities(asked.size)[0]):
        return None
    deadline = perf_counter() + min(seconds, _SECONDS)
    rng = np.random.default_rng(seed)
    _refuse_mixing(program, rng.standard_normal((2, ends[-1])), output)
    found: list[tuple[float, NDArray[np.float64], NDArray[np.float64]]] = []
    for _ in range(_ROUNDS):
        x = rng.standard_normal(ends[-1]) * rng.choice([0.3, 1.0, 3.0])
        step = np.zeros_like(x)
        step[moving] = rng.standard_normal(moving.size) * rng.choice([0.1, 0.5, 2.0])
        if rng.random() < 0.3:  # along one entry
            step[moving[rng.permutation(moving.size)[1:]]] = 0.0
        bounded = np.isfinite(lo) & np.isfinite(hi)
        x[bounded] = rng.uniform(lo[bounded], hi[bounded])
        x, y = np.clip(x, lo, hi), np.clip(x + step, lo, hi)
        held = np.ones(x.size, dtype=bool)
        held[moving] = False
        y[held] = x[held]
        fx, fy, fm = _values(program, [x, y, (x + y) / 2], output)
        gap = fm - (fx + fy) / 2
        if gap > 1e-12 * (abs(fx) + abs(fy) + abs(fm)):
            found.append((gap / (1.0 + abs(fx) + abs(fy)), x, y))
        if perf_counter() > deadline:
            break
    for _, x, y in sorted(found, key=lambda entry: -entry[0])[:_TRIED]:
        try:
            return enclosed_witness(
                program, [Fraction(v) for v in x.tolist()], [Fraction(v) for v in y.tolist()], output
            )
        except (ValueError, CertificateError):
            continue
    return None


def _products(program: Program) -> int:
    """Count the multiplications of linear layers and convolutions."""
    total = 0
    for node in program.nodes:
        weight = node.args.get("weight")
        if isinstance(weight, Name):
            total += prod(program.shapes[node.name]) * prod(program.shapes[weight.name][1:])
    return total


def _refuse_mixing(program: Program, points: NDArray[np.float64], output: int) -> None:
    x, y = points
    alone, beside = _values(program, [x, x], output)[0], _values(program, [x, y], output)[0]
    if abs(alone - beside) > 1e-9 * (abs(alone) + abs(beside)):
        raise NetworkError("the model mixes the samples of a batch, so that it is no function of one")


def enclosed_witness(program: Program, x: Sequence[Fraction], y: Sequence[Fraction], output: int) -> Witness:
    """Enclose the values at two points and their middle.

    Raises
    ------
    ValueError
        If the enclosures do not prove a violation.
    CertificateError
        If the program cannot be enclosed.
    """
    half = Fraction(1, 2)
    middle = [half * (a + b) for a, b in zip(x, y, strict=True)]
    fx, fy = enclosure(program, x, output)[1], enclosure(program, y, output)[1]
    return Witness(tuple(x), tuple(y), half, fx, fy, enclosure(program, middle, output)[0])


def _values(program: Program, points: Sequence[NDArray[np.float64]], output: int) -> list[float]:
    """Evaluate a program at points, as many at a time as its batch holds."""
    leaves = program.inputs
    batch = max((leaf.shape[0] for leaf in leaves if leaf.batched), default=1)
    ends = np.cumsum([0, *(leaf.size for leaf in leaves)])
    results: list[float] = []
    for start in range(0, len(points), batch):
        chunk = [*points[start : start + batch]]
        rows = np.stack([*chunk, *[chunk[-1]] * (batch - len(chunk))])
        given = [
            rows[:, a:b].reshape(leaf.shape) if leaf.batched else rows[0, a:b].reshape(leaf.shape)
            for leaf, a, b in zip(leaves, ends[:-1], ends[1:], strict=True)
        ]
        outputs = [part.reshape(batch, -1) for part in program.evaluate(*given)]
        results += np.concatenate(outputs, axis=1)[: len(chunk), output].tolist()
    return results
