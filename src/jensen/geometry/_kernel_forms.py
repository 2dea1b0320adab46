"""Compiled arithmetic with error bounds: affine forms of a layer, their signs on rays, adjoints.

Every number comes with a bound on its absolute error, and 0.0 is written only for what is exactly zero: a sum
that happens to vanish in floats is replaced by `TINY`, far below its error bound.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from jensen.geometry._arrays import Ints, Words
from jensen.geometry._program import ACTIVE
from jensen.network import FloatArray

u64 = np.uint64

TINY = 1e-290
FLOOR = 1e-250
ROOM = 1.0 + 1e-10
UNIT = 2.0**-53


@njit(cache=True, nogil=True)
def layer_forms(
    starts: Ints,
    weights: FloatArray,
    bias: FloatArray,
    slope: FloatArray,
    reads_ptr: Ints,
    reads: Ints,
    gamma: float,
    state: NDArray[np.int8],
    forms: FloatArray,
    size: FloatArray,
    error: FloatArray,
    layer: int,
) -> None:
    """Compute the affine forms of a layer's pre-activations under the states of the path."""
    n = forms.shape[0]
    d = n - 1
    lo, hi = starts[layer], starts[layer + 1]
    for i in range(lo, hi):
        total = abs(bias[i])
        forms[d, i] = bias[i]
        for c in range(d):
            forms[c, i] = weights[c, i]
            total += abs(weights[c, i])
        size[i] = total * ROOM
        error[i] = 0.0
    if reads_ptr[layer] == reads_ptr[layer + 1]:
        return
    sources = reads[reads_ptr[layer] : reads_ptr[layer + 1]]
    for i in range(lo, hi):
        error[i] = gamma * size[i]
    first, last = u64(lo), u64(hi)
    for at in range(len(sources)):
        for j in range(sources[at, 0], sources[at, 1]):
            t = 1.0 if state[j] == ACTIVE else slope[j]
            if t == 0.0:
                continue
            row = u64(d + j)
            for c in range(n):
                f = t * forms[c, j]
                if f != 0.0:
                    for i in range(first, last):
                        forms[u64(c), i] += weights[row, i] * f
            spread = abs(t) * (error[j] + gamma * size[j])
            for i in range(first, last):
                error[i] += abs(weights[row, i]) * spread
    for i in range(lo, hi):
        total = 0.0
        for c in range(n):
            if forms[c, i] == 0.0 and not _empty_sum(weights, bias, slope, sources, state, forms, c, i):
                forms[c, i] = TINY
            total += abs(forms[c, i])
        size[i] = total * ROOM
        error[i] = error[i] * ROOM + FLOOR


@njit(cache=True, nogil=True)
def _empty_sum(
    weights: FloatArray,
    bias: FloatArray,
    slope: FloatArray,
    reads: Ints,
    state: NDArray[np.int8],
    forms: FloatArray,
    c: int,
    i: int,
) -> bool:
    """Whether every term of a form's coefficient is exactly zero."""
    d = forms.shape[0] - 1
    if (bias[i] if c == d else weights[c, i]) != 0.0:
        return False
    for at in range(len(reads)):
        for j in range(reads[at, 0], reads[at, 1]):
            t = 1.0 if state[j] == ACTIVE else slope[j]
            if t != 0.0 and forms[c, j] != 0.0 and weights[d + j, i] != 0.0:
                return False
    return True


@njit(cache=True, nogil=True)
def signs(
    reals: FloatArray,
    z: FloatArray,
    forms: FloatArray,
    k: int,
    size: float,
    error: float,
    real_off: int,
    n_rays: int,
) -> tuple[int, int]:
    """Evaluate a neuron's form on the rays of a cone; returns how many are surely positive and negative.

    Unsigned indices keep the loops free of wraparound, so that they are vectorised.
    """
    n, rays, off = u64(forms.shape[0]), u64(n_rays), u64(real_off)
    a = forms[0, k]
    for r in range(rays):
        z[r] = a * reals[off + r]
    for c in range(u64(1), n):
        b = forms[c, k]
        plane = off + c * rays
        for r in range(rays):
            z[r] += b * reals[plane + r]
    fixed = 1.2 * error + size * (forms.shape[0] + 3) * (1.1 * UNIT)
    plane = off + n * rays
    positive, negative = 0, 0
    for r in range(rays):
        bound = size * reals[plane + r] + fixed
        positive += z[r] > bound
        negative += z[r] < -bound
    return positive, negative


@njit(cache=True, nogil=True)
def mixed_signs(
    reals: FloatArray,
    bits: Words,
    z: FloatArray,
    sign: NDArray[np.int8],
    forms: FloatArray,
    k: int,
    size: float,
    error: float,
    real_off: int,
    bit_off: int,
    n_rays: int,
    words: int,
    bit: int,
) -> bool:
    """Write down the signs that `signs` found; False if floats cannot decide one.

    A value within its error bound is zero for sure where the ray has the neuron's bit already, or where
    every product in it is zero.
    """
    n, rays, off = u64(forms.shape[0]), u64(n_rays), u64(real_off)
    fixed = 1.2 * error + size * (forms.shape[0] + 3) * (1.1 * UNIT)
    for r in range(rays):
        bound = size * reals[off + n * rays + r] + fixed
        sign[r] = (z[r] > bound) - (z[r] < -bound)
        if sign[r] == 0:
            word = bits[u64(bit_off) + r * u64(words) + u64(bit >> 6)]
            if (word >> u64(bit & 63)) & u64(1):
                continue
            for c in range(n):
                if forms[c, k] != 0.0 and reals[off + c * rays + r] != 0.0:
                    return False
    return True


@njit(cache=True, nogil=True)
def mark_zeros(bits: Words, sign: NDArray[np.int8], bit: int, bit_off: int, rays: int, words: int) -> None:
    """Set a neuron's bit on the rays where its form vanishes."""
    for r in range(rays):
        if sign[r] == 0:
            bits[bit_off + r * words + (bit >> 6)] |= u64(1) << u64(bit & 63)


@njit(cache=True, nogil=True)
def adjoint_of(
    weights: FloatArray,
    slope: FloatArray,
    out: FloatArray,
    readers_ptr: Ints,
    readers: Ints,
    layer: int,
    gamma: float,
    state: NDArray[np.int8],
    adjoint: FloatArray,
    v: int,
) -> tuple[float, float]:
    """Differentiate the output by one activation, given the layers that read it; with an error bound."""
    d = len(out) - len(slope)
    total = out[d + v]
    mass = abs(total)
    spread = 0.0
    for at in range(readers_ptr[layer], readers_ptr[layer + 1]):
        for j in range(readers[at, 0], readers[at, 1]):
            w = weights[d + v, j] * (1.0 if state[j] == ACTIVE else slope[j])
            total += w * adjoint[0, j]
            mass += abs(w * adjoint[0, j])
            spread += abs(w) * adjoint[1, j]
    if mass == 0.0 and spread == 0.0:
        return 0.0, 0.0
    return total, (spread + gamma * mass) * ROOM + FLOOR
