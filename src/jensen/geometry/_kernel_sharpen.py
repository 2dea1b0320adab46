"""Compiled help where error bounds do not decide a sign: exact zeros, and refined rays."""

from __future__ import annotations

from numba import njit

from jensen.geometry._arrays import Net, Stack
from jensen.geometry._kernel_forms import UNIT, u64
from jensen.geometry._kernel_refine import gather_rows, refine
from jensen.geometry._kernel_split import BIT, RAYS, REAL
from jensen.geometry._program import ACTIVE

COARSE = 1e-3
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
            refine(source, first + e, edges, stack.rows, count, stack.chosen, stack.space)


@njit(cache=True, nogil=True)
def _vanishes(net: Net, stack: Stack, base: int, k: int, off: int, step: int, at: int) -> bool:
    """Whether a neuron is zero on a ray since all that it reads is: what floats cannot see in a sum."""
    d = stack.forms.shape[0] - 1
    if net.bias[k] != 0.0 and stack.reals[off + d * step] != 0.0:
        return False
    for c in range(d):
        if net.weights[c, k] != 0.0 and stack.reals[off + c * step] != 0.0:
            return False
    layer = net.layer_of[k]
    for source in range(net.reads_ptr[layer], net.reads_ptr[layer + 1]):
        for j in range(net.reads[source, 0], net.reads[source, 1]):
            slope = 1.0 if stack.state[j] == ACTIVE else net.slope[j]
            if slope == 0.0 or net.weights[d + j, k] == 0.0:
                continue
            bit = base + net.leader[j]
            if (stack.bits[at + (bit >> 6)] >> u64(bit & 63)) & u64(1):
                continue
            for c in range(d + 1):
                if stack.forms[c, j] != 0.0 and stack.reals[off + c * step] != 0.0:
                    return False
    return True


@njit(cache=True, nogil=True)
def sharpen(net: Net, stack: Stack, base: int, rank: int, top: int, k: int) -> bool:
    """Settle what rays have an open sign on top: mark exact zeros, refine the others; True if that helped."""
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
            if _vanishes(net, stack, base, k, off + r, rays, here):
                stack.bits[here + (bit >> 6)] |= u64(1) << u64(bit & 63)
                better = True
                continue
            if rank != n:
                continue
            count = gather_rows(
                stack.bits, here, words, base, net.boundary, net.boundary_error,
                stack.forms, stack.size, stack.error, stack.rows,
            )  # fmt: skip
            if count >= n - 1 and refine(
                stack.reals, off + r, rays, stack.rows, count, stack.chosen, stack.space
            ):
                better = True
    return better
