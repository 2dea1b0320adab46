"""Compiled work on a finished region: count its frontiers and decide the signs of their jumps."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from jensen.geometry._arrays import Flags, Ints, Words
from jensen.geometry._bits import trailing_zeros
from jensen.geometry._kernel_forms import FLOOR, ROOM, adjoint_of, u64
from jensen.geometry._program import ACTIVE
from jensen.network import FloatArray


@njit(cache=True, nogil=True)
def closure(bits: Words, bit_off: int, rays: int, words: int, bit: int, result: Words) -> None:
    """Collect the constraints that hold on all rays with a bit (on all rays if it is negative)."""
    for w in range(words):
        result[w] = ~u64(0)
    for r in range(rays):
        at = bit_off + r * words
        if bit < 0 or (bits[at + (bit >> 6)] >> u64(bit & 63)) & u64(1):
            for w in range(words):
                result[w] &= bits[at + w]


@njit(cache=True, nogil=True)
def lowest(words: Words, other: Words, base: int) -> int:
    """Neuron of the lowest bit of words that is not in other; -1 if that is no neuron's or there is none."""
    for w in range(len(words)):
        left = words[w] & ~other[w]
        if left:
            found: int = 64 * w + trailing_zeros(left) - base
            return max(found, -1)
    return -1


@njit(cache=True, nogil=True)
def facet_neurons(
    bits: Words,
    bit_off: int,
    rays: int,
    simple: bool,
    bit: int,
    fresh: int,
    base: int,
    result: Words,
    always: Words,
) -> int:
    """Find the constraints on one facet of a cone, and its first neuron.

    Parameters
    ----------
    bit : int
        Names the facet.
    fresh : int
        Bit of a neuron that splits the cone; its facet holds what holds everywhere, and itself.

    Returns
    -------
    int
        The first neuron that vanishes on the facet but not on the region; -1 on the boundary.
    """
    words = len(result)
    if simple:
        result[:] = u64(0)
        always[:] = u64(0)
    else:
        closure(bits, bit_off, rays, words, -1, always)
        if bit == fresh:
            result[:] = always
        else:
            closure(bits, bit_off, rays, words, bit, result)
    result[bit >> 6] |= u64(1) << u64(bit & 63)
    return lowest(result, always, base)


@njit(cache=True, nogil=True)
def count_simple(count: Ints, mask: Words, state: NDArray[np.int8], base: int) -> None:
    """Count the frontiers of a region on whose facets one neuron vanishes each."""
    for w in range(len(mask)):
        left = mask[w]
        while left:
            v = 64 * w + trailing_zeros(left) - base
            left &= left - u64(1)
            if v >= 0 and state[v] == ACTIVE:
                count[v] += 1


@njit(cache=True, nogil=True)
def crossed(moving: Flags, forms: FloatArray, error: float, v: int) -> int:
    """Whether the moving inputs can cross the kink of v here: 1 yes, 0 no, -1 floats cannot tell."""
    answer = 0
    for c in range(len(moving)):
        if moving[c]:
            if abs(forms[c, v]) > error:
                return 1
            if forms[c, v] != 0.0:
                answer = -1
    return answer


@njit(cache=True, nogil=True)
def certain_jump(
    weights: FloatArray,
    slope: FloatArray,
    out: FloatArray,
    starts: Ints,
    readers_ptr: Ints,
    readers: Ints,
    layer_of: Ints,
    class_ptr: Ints,
    members: Ints,
    factor: FloatArray,
    gamma: float,
    state: NDArray[np.int8],
    adjoint: FloatArray,
    v: int,
    ready: int,
) -> tuple[float, bool, int]:
    """Jump across a facet where only v and its followers switch.

    `ready` is the lowest layer whose adjoints are there.

    Returns
    -------
    jump : float
    sure : bool
        Whether its sign is certain.
    ready : int
    """
    layer = layer_of[v]
    for later in range(ready - 1, layer, -1):
        for j in range(starts[later], starts[later + 1]):
            value, spread = adjoint_of(
                weights, slope, out, readers_ptr, readers, later, gamma, state, adjoint, j
            )
            adjoint[0, j] = value
            adjoint[1, j] = spread
    ready = min(ready, layer + 1)
    total, mass, error = 0.0, 0.0, 0.0
    for at in range(class_ptr[v], class_ptr[v + 1]):
        m = members[at]
        value, spread = adjoint_of(weights, slope, out, readers_ptr, readers, layer, gamma, state, adjoint, m)
        total += factor[at] * value
        mass += abs(factor[at] * value)
        error += abs(factor[at]) * spread
    if mass == 0.0 and error == 0.0:
        return 0.0, True, ready
    return total, abs(total) > (error + gamma * mass) * ROOM + FLOOR, ready
