"""Compiled help where error bounds do not decide a sign: exact zeros, and refined rays."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from jensen.geometry._arrays import Ints, Net, Stack, Words
from jensen.geometry._kernel_forms import UNIT, u64
from jensen.geometry._kernel_refine import gather_rows, refine
from jensen.geometry._kernel_split import BIT, RAYS, REAL
from jensen.geometry._program import ACTIVE
from jensen.network import FloatArray

COARSE = 1e-4
"""Error bound from which on a new ray is worth solving for anew; the others wait until a sign is open."""


@njit(cache=True, nogil=True)
def sharpen_new(net: Net, stack: Stack, base: int, rays: int, edges: int, bit: int) -> None:
    """Refine the new rays whose error bound has grown too much."""
    n, words, source = stack.forms.shape[0], stack.facets.shape[1], stack.scratch
    first = rays * (n + 1)
    tight = stack.work[2]
    for e in range(edges):
        if source[first + n * edges + e] < COARSE:
            continue
        p, q = stack.pairs[e, 0] * words, stack.pairs[e, 1] * words
        for w in range(words):
            tight[w] = stack.scratch_bits[p + w] & stack.scratch_bits[q + w]
        tight[bit >> 6] |= u64(1) << u64(bit & 63)
        count = gather_rows(
            tight, 0, words, base, net.boundary, net.boundary_error,
            stack.forms, stack.size, stack.error, stack.rows,
        )  # fmt: skip
        if count >= n - 1:
            finite = tight[0] & u64(1) == 0
            refine(source, first + e, edges, stack.rows, count, stack.chosen, stack.space, finite)


@njit(cache=True, nogil=True)
def mark_vanishing(
    reals: FloatArray,
    bits: Words,
    z: FloatArray,
    forms: FloatArray,
    weights: FloatArray,
    bias: FloatArray,
    slope: FloatArray,
    sources: Ints,
    leader: Ints,
    state: NDArray[np.int8],
    k: int,
    bound: float,
    off: int,
    bit_off: int,
    n_rays: int,
    words: int,
    base: int,
) -> bool:
    """Mark the rays on which a neuron is zero since all that it reads is: what floats cannot see in a sum.

    Looks only at values below a bound, beyond which nothing exact can hide; True if a ray was marked.
    """
    rays, first, d = u64(n_rays), u64(off), forms.shape[0] - 1
    mark, word = u64(1) << u64((base + k) & 63), (base + k) >> 6
    found = False
    for r in range(rays):
        at = bit_off + np.int64(r) * words
        if abs(z[r]) > bound or bits[at + word] & mark:
            continue
        zero = bias[k] == 0.0 or reals[first + u64(d) * rays + r] == 0.0
        for c in range(d):
            zero = zero and (weights[c, k] == 0.0 or reals[first + u64(c) * rays + r] == 0.0)
        for source in range(len(sources)):
            for j in range(sources[source, 0], sources[source, 1]):
                if not zero:
                    break
                if weights[d + j, k] == 0.0 or (state[j] != ACTIVE and slope[j] == 0.0):
                    continue
                bit = base + leader[j]
                if (bits[at + (bit >> 6)] >> u64(bit & 63)) & u64(1):
                    continue
                for c in range(d + 1):
                    zero = zero and (forms[c, j] == 0.0 or reals[first + u64(c) * rays + r] == 0.0)
        if zero:
            bits[at + word] |= mark
            found = True
    return found


@njit(cache=True, nogil=True)
def sharpen(net: Net, stack: Stack, base: int, rank: int, top: int, k: int) -> bool:
    """Refine the rays on top whose sign is open; True if an error bound became smaller."""
    if rank != stack.forms.shape[0]:
        return False
    n, words, rays = stack.forms.shape[0], stack.facets.shape[1], stack.frame[top, RAYS]
    bit = base + k
    off, bit_off, better = stack.frame[top, REAL], stack.frame[top, BIT], False
    fixed = 1.2 * stack.error[k] + stack.size[k] * (n + 3) * (1.1 * UNIT)
    for r in range(rays):
        eps = stack.reals[off + n * rays + r]
        here = bit_off + r * words
        if abs(stack.z[r]) <= stack.size[k] * eps + fixed:
            if (stack.bits[here + (bit >> 6)] >> u64(bit & 63)) & u64(1):
                continue
            count = gather_rows(
                stack.bits, here, words, base, net.boundary, net.boundary_error,
                stack.forms, stack.size, stack.error, stack.rows,
            )  # fmt: skip
            finite = stack.bits[here] & u64(1) == 0
            if count >= n - 1:
                better |= refine(
                    stack.reals, off + r, rays, stack.rows, count, stack.chosen, stack.space, finite
                )
    return better
