"""Compiled double description: cut a cone by a hyperplane on which it has rays on both sides."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from jensen.geometry._arrays import Ints, Words
from jensen.geometry._bits import popcount
from jensen.geometry._kernel_forms import ROOM, TINY, UNIT, u64
from jensen.network import FloatArray

NEURON, SPLITTER, SIDE, RAYS, REAL, BIT, SIMPLE = 0, 1, 2, 3, 4, 5, 6
"""Columns of a frame on the stack."""


@njit(cache=True, nogil=True)
def find_edges(
    bits: Words,
    sign: NDArray[np.int8],
    pairs: Ints,
    gathered: Words,
    bit_off: int,
    n_rays: int,
    rank: int,
    words: int,
) -> int:
    """List the pairs of adjacent rays on different sides; -1 if there is no room for them.

    Two rays are adjacent iff no third one satisfies with equality all that both do. Where one of them
    satisfies only rank - 1 constraints with equality, these are independent, and counting the common ones
    is enough.
    """
    rays, off, room = u64(n_rays), u64(bit_off), len(pairs)
    found, count = 0, 0
    for r in range(rays):
        if sign[r] == -1:
            if count == room:
                return -1
            # Pairs are filled from the front in columns 0 and 1, this list stands in column 2.
            pairs[count, 2] = np.int64(r)
            if words == 1:
                gathered[count] = bits[off + r]
            count += 1
    negatives = u64(count)
    for p in range(rays):
        if sign[p] != 1:
            continue
        if words == 1:
            tight = bits[off + p]
            simple = popcount(tight) == rank - 1
            for i in range(negatives):
                if popcount(tight & gathered[i]) < rank - 2:
                    continue
                q = pairs[i, 2]
                if not simple and not _alone(bits, bit_off, n_rays, 1, np.int64(p), q):
                    continue
                if found == room:
                    return -1
                pairs[found, 0] = np.int64(p)
                pairs[found, 1] = q
                found += 1
            continue
        at_p = off + p * u64(words)
        number = 0
        for w in range(u64(words)):
            number += popcount(bits[at_p + w])
        for i in range(negatives):
            q = pairs[i, 2]
            at_q = off + u64(q) * u64(words)
            common = 0
            for w in range(u64(words)):
                common += popcount(bits[at_p + w] & bits[at_q + w])
            if common < rank - 2:
                continue
            if number != rank - 1 and not _alone(bits, bit_off, n_rays, words, np.int64(p), q):
                continue
            if found == room:
                return -1
            pairs[found, 0] = np.int64(p)
            pairs[found, 1] = q
            found += 1
    return found


@njit(cache=True, nogil=True)
def _alone(bits: Words, bit_off: int, rays: int, words: int, p: np.int64, q: np.int64) -> bool:
    """Whether no third ray lies on all constraints that two rays have in common."""
    at_p, at_q = bit_off + p * words, bit_off + q * words
    for r in range(rays):
        if r in (p, q):
            continue
        inside = True
        for w in range(words):
            common = bits[at_p + w] & bits[at_q + w]
            if common & bits[bit_off + r * words + w] != common:
                inside = False
                break
        if inside:
            return False
    return True


@njit(cache=True, nogil=True)
def new_rays(
    source: FloatArray,
    z: FloatArray,
    pairs: Ints,
    n_edges: int,
    n_rays: int,
    n: int,
    size: float,
    error: float,
) -> float:
    """Write the rays where edges meet the hyperplane behind the parent's, scaled to largest entry 1.

    Returns the largest error bound.

    Convex combinations: no cancellation but between entries of opposite signs, which the bound sees.
    """
    rays, edges = u64(n_rays), u64(n_edges)
    base = rays * u64(n + 1)
    fixed = 1.2 * error + size * (n + 3) * (1.1 * UNIT)
    last = rays * u64(n)
    worst = 0.0
    for e in range(edges):
        p, q = u64(pairs[e, 0]), u64(pairs[e, 1])
        eps_p, eps_q = source[last + p], source[last + q]
        bound_p, bound_q = size * eps_p + fixed, size * eps_q + fixed
        z_p, z_q = abs(z[p]), abs(z[q])
        total = z_p + z_q
        a, b = z_q / total, z_p / total
        largest, apart = 0.0, 0.0
        for c in range(u64(n)):
            x, y = source[c * rays + p], source[c * rays + q]
            value = a * x + b * y
            if value == 0.0 and (x != 0.0 or y != 0.0):
                value = TINY
            source[base + c * edges + e] = value
            apart = max(apart, abs(x - y))
            largest = max(largest, abs(value))
        inverse = 1.0 / largest
        for c in range(u64(n)):
            source[base + c * edges + e] *= inverse
        shift = (b * bound_q + a * bound_p) / (total - bound_p - bound_q)
        spread = a * eps_p + b * eps_q + shift * (apart * ROOM + eps_p + eps_q) + 6.0 * UNIT
        spread = spread * inverse * ROOM + 4.0 * UNIT
        source[base + u64(n) * edges + e] = spread if spread < 0.1 else np.inf
        worst = max(worst, source[base + u64(n) * edges + e])
    return worst


@njit(cache=True, nogil=True)
def draw_sides(
    reals: FloatArray,
    bits: Words,
    frame: Ints,
    facets: Words,
    sign: NDArray[np.int8],
    source: FloatArray,
    old: Words,
    pairs: Ints,
    n_edges: int,
    top: int,
    n: int,
    k: int,
    bit: int,
    words: int,
    lower: int,
    upper: int,
) -> None:
    """Replace the cone on top of the stack by its two sides, the positive one above.

    `source` and `old` hold the parent's rays and, behind them, the new ones.
    """
    rays, edges = u64(frame[top, RAYS]), u64(n_edges)
    off, bit_off = frame[top, REAL], frame[top, BIT]
    simple = frame[top, SIMPLE] == 1 and lower + upper == frame[top, RAYS] + 2 * n_edges
    word, mark = u64(bit >> 6), u64(1) << u64(bit & 63)
    for side in range(2):
        other = -1 if side else 1
        count = u64(upper if side else lower)
        base = u64(off + lower * (n + 1) if side else off)
        bit_base = u64(bit_off + lower * words if side else bit_off)
        i = u64(0)
        for r in range(rays):
            if sign[r] != other:
                for c in range(u64(n + 1)):
                    reals[base + c * count + i] = source[c * rays + r]
                for w in range(u64(words)):
                    bits[bit_base + i * u64(words) + w] = old[r * u64(words) + w]
                if sign[r] == 0:
                    bits[bit_base + i * u64(words) + word] |= mark
                i += u64(1)
        fresh = rays * u64(n + 1)
        for c in range(u64(n + 1)):
            for e in range(edges):
                reals[base + c * count + i + e] = source[fresh + c * edges + e]
        start = bit_base + i * u64(words)
        for e in range(edges):
            p, q = u64(pairs[e, 0]) * u64(words), u64(pairs[e, 1]) * u64(words)
            for w in range(u64(words)):
                bits[start + e * u64(words) + w] = old[p + w] & old[q + w]
            bits[start + e * u64(words) + word] |= mark
        here = top + side
        frame[here, NEURON], frame[here, SPLITTER], frame[here, SIDE] = k + 1, k, side
        frame[here, RAYS], frame[here, REAL] = np.int64(count), np.int64(base)
        frame[here, BIT] = np.int64(bit_base)
        frame[here, SIMPLE] = simple
    for w in range(u64(words)):
        # A facet of the parent is one of a side's iff it has a ray strictly on that side.
        parent, below, above = facets[top, w], u64(0), u64(0)
        for r in range(rays):
            if sign[r] == 1:
                above |= old[r * u64(words) + w]
            elif sign[r] == -1:
                below |= old[r * u64(words) + w]
        facets[top, w] = parent & below
        facets[top + 1, w] = parent & above
    facets[top, word] |= mark
    facets[top + 1, word] |= mark


@njit(cache=True, nogil=True)
def fork_facets(
    bits: Words,
    bit_off: int,
    sign: NDArray[np.int8],
    n_rays: int,
    facets: Words,
    top: int,
    bit: int,
    sides: Words,
) -> None:
    """Write the facets of the two sides of the cone on top, the negative one first."""
    rays, words, off = u64(n_rays), u64(facets.shape[1]), u64(bit_off)
    for w in range(words):
        below, above = u64(0), u64(0)
        for r in range(rays):
            tight = bits[off + r * words + w]
            if sign[r] == 1:
                above |= tight
            elif sign[r] == -1:
                below |= tight
        sides[0, w] = below & facets[top, w]
        sides[1, w] = above & facets[top, w]
    for side in range(2):
        sides[side, bit >> 6] |= u64(1) << u64(bit & 63)


@njit(cache=True, nogil=True)
def side_sizes(sign: NDArray[np.int8], rays: int, edges: int) -> tuple[int, int]:
    """Numbers of rays of the negative and of the positive side."""
    lower, upper = edges, edges
    for r in range(u64(rays)):
        lower += sign[r] <= 0
        upper += sign[r] >= 0
    return lower, upper


@njit(cache=True, nogil=True)
def move_parent(
    reals: FloatArray,
    bits: Words,
    off: int,
    bit_off: int,
    rays: int,
    n: int,
    words: int,
    source: FloatArray,
    old: Words,
) -> None:
    """Copy a cone to the scratch arena, from where both its sides are drawn."""
    for i in range(u64(rays * (n + 1))):
        source[i] = reals[u64(off) + i]
    for i in range(u64(rays * words)):
        old[i] = bits[u64(bit_off) + i]


@njit(cache=True, nogil=True)
def drop_zeros(
    bits: Words,
    sign: NDArray[np.int8],
    bit: int,
    bit_off: int,
    n_rays: int,
    n_words: int,
    facets: Words,
    top: int,
) -> bool:
    """Forget where a neuron that does not split a cone vanishes on it, unless it does on a whole facet.

    Such a neuron bounds nothing, here or below, so that cones stay simple; True if it could be forgotten.
    """
    rays, words, off = u64(n_rays), u64(n_words), u64(bit_off)
    for w in range(words):
        others = u64(0)
        for r in range(rays):
            if sign[r] != 0:
                others |= bits[off + r * words + w]
        if facets[top, w] & ~others:
            return False
    keep = ~(u64(1) << u64(bit & 63))
    for r in range(rays):
        bits[off + r * words + u64(bit >> 6)] &= keep
    return True
