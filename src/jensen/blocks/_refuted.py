"""Looks for a violation of a loss that is not piecewise linear in a block."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jensen.blocks._objective import Objective
from jensen.blocks._verdict import BlockVerdict, BlockWitness, Exact
from jensen.network import Domain
from jensen.search import Region, interior, search

_SEARCHES = (0.2, 2.0)
"""Seconds that searches for a violation take, one after the other."""


def with_witness(base: BlockVerdict, witness: BlockWitness) -> BlockVerdict:
    """Turn a verdict into "not_convex"."""
    return replace(base, kind="not_convex", proof="witness", witness=witness)


def refuted(
    base: BlockVerdict,
    posed: Objective,
    where: Domain,
    time_limit: float | None,
    seed: int,
    refusal: Exception,
) -> BlockVerdict:
    """Look for a violation of a loss that is not piecewise linear in the block."""
    broken = base.curvature.broken
    reason = f"the rules break at {broken}" if broken is not None else str(refusal)
    region = _region(posed, base.block, where)
    proved = None
    for seconds in _SEARCHES:
        allowed = seconds if time_limit is None else min(time_limit, seconds)
        ended = search(posed.elementary, 0, region, seed, allowed)
        if ended.failed is not None:
            return replace(
                base, reason=f"{reason}; a violation in float64 could not be proved: {ended.failed}"
            )
        if (proved := ended.proved) is not None:
            break
    if proved is None:
        return replace(base, reason=reason)
    x, y = (_of_block(posed, base.block, point) for point in (proved.x, proved.y))
    return with_witness(base, BlockWitness(x, y, Fraction(1, 2), proved.fx, proved.fy, proved.fm))


def _of_block(posed: Objective, block: Sequence[str], point: Sequence[Fraction]) -> Exact:
    """Take the parameters of a block out of a point that holds all."""
    found: dict[str, NDArray[Any]] = {}
    start = 0
    for leaf in posed.elementary.leaves:
        part: NDArray[Any] = np.empty(leaf.size, dtype=object)
        part[:] = list(point[start : start + leaf.size])
        start += leaf.size
        if leaf.label in block:
            found[leaf.label] = part.reshape(leaf.shape)
    return {name: found[name] for name in block}


def _region(posed: Objective, block: Sequence[str], where: Domain) -> Region:
    """Let a search move the entries of a block in its domain, and keep all others at their values."""
    size = posed.size(block)
    lo, hi = (posed.split(block, ends) for ends in where.bounds(size))
    # Where the entries of the block, one parameter after the other, lie among all.
    places = posed.split(block, np.arange(size))
    A, b = where.inequalities(size)
    low, high, moves, order = [], [], [], []
    for leaf in posed.elementary.leaves:
        own = leaf.label in block
        value = np.ravel(posed.values[leaf.label])
        low.append(np.ravel(lo[leaf.label]) if own else value)
        high.append(np.ravel(hi[leaf.label]) if own else value)
        moves.append(np.full(value.size, own))
        order.append(np.ravel(places[leaf.label]) if own else np.full(value.size, -1))
    ends, mask, column = (
        (np.concatenate(low), np.concatenate(high)),
        np.concatenate(moves),
        np.concatenate(order),
    )
    rows = np.zeros((len(A), mask.size))
    rows[:, mask] = A[:, column[mask].astype(int)]
    hull = interior(*ends, mask, rows, b) if len(A) else None
    return Region(*ends, mask, rows, b, hull)
