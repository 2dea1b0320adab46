"""Compiled branch and bound over cones: proves that f = F - G stays below a target, or finds where not."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from jensen.fit._price_cone import Work, bound_cone, proven
from jensen.fit._price_frontier import Frontier, keep, reopen
from jensen.fit._price_rows import Floats, Rows
from jensen.fit._price_tree import Ints, Stack, set_root, split

TOP, NEXT, NODES, FOUND = range(4)
"""What the counters count: topmost slot, next cone to start from, cones bounded, neurons found."""

_NEGLIGIBLE = 1e-12
_SETTLED = 1e-9
_PROGRESS = 0.95
_ROUNDING = 1e-11
_DEEP, _NARROW = 40, 1e-14
"""So many cones on the stack raise the suspicion that floats end here, and so narrow a cone confirms it."""


class Walk(NamedTuple):
    """State of a search that can be interrupted between any two cones."""

    counters: Ints
    most: Floats  # (1,): largest proven bound of a cone that is closed for good
    gap: Floats  # (slots,): the relaxation's error in the parent, at its maximiser
    found: Floats  # (k, d): unit vectors whose value exceeds the goal
    values: Floats  # (k,)
    point: Floats
    fresh_raised: Floats
    fresh_lowered: Floats


def make_walk(slots: int, raised: int, lowered: int, d: int, room: int) -> Walk:
    """Start a search, with room for so many neurons."""
    return Walk(
        np.array([-1, 0, 0, 0], dtype=np.int64),
        np.zeros(1),
        np.empty(slots),
        np.empty((room, d)),
        np.empty(room),
        np.empty(d),
        np.empty(raised),
        np.empty(lowered),
    )


@njit(cache=True, nogil=True, error_model="numpy")
def excess(s: Stack, k: Work, slot: int) -> float:
    """By how much the relaxation exceeds f at w = sum_i t_i v_i."""
    value, t, total = s.raised.value, k.t, 0.0
    for m in range(s.raised.size[slot]):
        above, below = 0.0, 0.0
        for i in range(len(t)):
            z = t[i] * value[slot, m, i]
            above += max(z, 0.0)
            below -= min(z, 0.0)
        total += min(above, below)
    return total


@njit(cache=True, nogil=True, error_model="numpy")
def longest(s: Stack, slot: int) -> tuple[int, int]:
    """Return the generators that are farthest from each other."""
    v = s.generators
    d = v.shape[1]
    least, first, second = np.inf, 0, min(1, d - 1)
    for a in range(d):
        for b in range(a + 1, d):
            along = 0.0
            for c in range(d):
                along += v[slot, a, c] * v[slot, b, c]
            if along < least:
                least, first, second = along, a, b
    return first, second


@njit(cache=True, nogil=True, error_model="numpy")
def width(s: Stack, slot: int) -> float:
    """Square of a cone's largest distance between generators."""
    a, b = longest(s, slot)
    total = 0.0
    for c in range(s.peak.shape[1]):
        total += (s.generators[slot, a, c] - s.generators[slot, b, c]) ** 2
    return total


@njit(cache=True, nogil=True, error_model="numpy")
def close(s: Stack, walk: Walk, later: Frontier, bound: float, goal: float) -> None:
    """Take the topmost cone off the stack; it is kept for later if a harder target may need it."""
    slot = walk.counters[TOP]
    if bound > goal and later.size[0] < len(later.bound):
        keep(later, s.generators[slot], s.error[slot], bound)
    else:
        walk.most[0] = max(walk.most[0], bound)
    walk.counters[TOP] -= 1


@njit(cache=True, nogil=True, error_model="numpy")
def start(
    s: Stack,
    walk: Walk,
    raised: Rows,
    lowered: Rows,
    first: Frontier,
    later: Frontier,
    aims: tuple[float, float],
) -> bool:
    """Put the next cone to start from on the empty stack; whether there is one."""
    c, d = walk.counters, s.peak.shape[1]
    if len(first.bound) == 0:
        if c[NEXT] == 1 << d:
            return False
        set_root(s, raised, lowered, c[NEXT])
    else:
        while c[NEXT] < first.size[0] and first.bound[c[NEXT]] <= aims[0]:
            number = c[NEXT]
            if first.bound[number] <= aims[1]:
                walk.most[0] = max(walk.most[0], first.bound[number])
            elif later.size[0] < len(later.bound):
                keep(later, first.generators[number], first.error[number], first.bound[number])
            else:
                break
            c[NEXT] += 1
        if c[NEXT] == first.size[0]:
            return False
        reopen(first, c[NEXT], s, raised, lowered)
    c[NEXT] += 1
    c[TOP] = 0
    walk.gap[0] = np.inf
    return True


@njit(cache=True, nogil=True, error_model="numpy")
def choose(s: Stack, k: Work, slot: int, stalled: bool) -> tuple[int, int, float, float]:
    """Edge to split and weights of its ends.

    The edge is the one along which raised rows bend most, as seen from w; the point is the crossing of the
    row that comes closest to the middle. So rows get decided, and cones keep their shape. Where splitting the
    parent so has not helped, the longest edge is split instead: without that, w may commute between two edges
    for ever.
    """
    value, t, free = s.raised.value, k.t, k.free
    d, count = len(t), 0
    for i in range(d):
        if t[i] > 0.0:
            free[count] = i
            count += 1
    best, first, second = 0.0, 0, 0
    for x in range(count):
        for y in range(x + 1, count):
            a, b, score = free[x], free[y], 0.0
            for m in range(s.raised.size[slot]):
                at_a, at_b = t[a] * value[slot, m, a], t[b] * value[slot, m, b]
                # the smaller of two numbers of different signs, 0 for equal signs
                score += max(0.0, min(at_a, -at_b), min(-at_a, at_b))
            if score > best:
                best, first, second = score, a, b
    if best == 0.0 or stalled:
        first, second = longest(s, slot)
    central, part = -1.0, 0.5
    for m in range(s.raised.size[slot]):
        za, zb = value[slot, m, first], value[slot, m, second]
        if za * zb < 0:
            share = abs(zb) / (abs(za) + abs(zb))
            if min(share, 1 - share) > central:
                central, part = min(share, 1 - share), share
    return first, second, part, 1 - part


@njit(cache=True, nogil=True, error_model="numpy")
def explore(
    s: Stack,
    k: Work,
    walk: Walk,
    raised: Rows,
    lowered: Rows,
    first: Frontier,
    later: Frontier,
    aims: tuple[float, float],
    total: float,
    nodes: int,
) -> bool:
    """Go on for at most so many cones; whether all of them are closed.

    Stops early when there is no room for another neuron.

    Parameters
    ----------
    first : Frontier
        Cones to start from; the orthants, if it has no room for any.
    later : Frontier
        Takes the cones that are closed with a bound above the goal. If it is full, the goal becomes the
        target.
    aims : two floats
        Target: what a closed cone's bound has to fall to now; and goal, at most the target: what it has to
        fall to in the end.
    total : float
        Sum of the lengths of all rows, or more.
    """
    count = raised.rows.shape[0] + lowered.rows.shape[0]
    c, goal = walk.counters, aims[1]
    for _ in range(nodes):
        if c[TOP] < 0 and not start(s, walk, raised, lowered, first, later, aims):
            return True
        slot = c[TOP]
        c[NODES] += 1
        target = aims[0] if later.size[0] < len(later.bound) else goal
        bound, value = bound_cone(s, k, lowered, slot, target)
        if bound <= target:
            sure = proven(s, k, lowered, slot, total, count)
            # smaller cones have the same rounding errors
            if sure <= target or sure - bound <= _ROUNDING * total:
                close(s, walk, later, sure, goal)
                continue
            bound = sure
        gap = excess(s, k, slot)
        if value - gap > goal and c[FOUND] < len(walk.values):
            walk.found[c[FOUND]] = k.w
            walk.values[c[FOUND]] = value - gap
            c[FOUND] += 1
        if value > target and gap <= _NEGLIGIBLE * value:
            # nothing is relaxed at w: f really exceeds the target, and the cone is left with what it is worth
            above = value * (1 + _SETTLED)
            if bound > above:
                bound, value = bound_cone(s, k, lowered, slot, above)
            if bound <= above:
                close(s, walk, later, proven(s, k, lowered, slot, total, count), goal)
                continue
        if slot + 2 >= len(walk.gap) or not bound < np.inf or (slot > _DEEP and width(s, slot) < _NARROW):
            close(s, walk, later, proven(s, k, lowered, slot, total, count), goal)
            continue
        a, b, at_a, at_b = choose(s, k, slot, gap > _PROGRESS * walk.gap[slot])
        fresh = (walk.fresh_raised, walk.fresh_lowered)
        split(s, raised, lowered, slot, (a, b), (at_a, at_b), walk.point, fresh)
        c[TOP] += 1
        walk.gap[slot] = gap
        walk.gap[slot + 1] = gap
        if c[FOUND] == len(walk.values):
            return False
    return False
