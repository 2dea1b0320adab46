"""Compiled output of a finished region: its affine piece and the keys of its rays.

A face of the complex of regions is known by the signs of all neurons in its relative interior, so vertices
and facets of neighbouring regions are matched by a key: the constraints that hold with equality, and the
neurons that are active beside them.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from jensen.geometry._arrays import Words
from jensen.geometry._kernel_forms import u64
from jensen.geometry._program import ACTIVE, SPLIT
from jensen.network import FloatArray


@njit(cache=True, nogil=True)
def write_piece(
    out: FloatArray,
    out_bias: float,
    slope: FloatArray,
    state: NDArray[np.int8],
    forms: FloatArray,
    piece: FloatArray,
) -> None:
    """Write the affine function that the network is on a region: gradient, then offset."""
    n = forms.shape[0]
    d = n - 1
    for c in range(d):
        piece[c] = out[c]
    piece[d] = out_bias
    for j in range(forms.shape[1]):
        weight = out[d + j] * (1.0 if state[j] == ACTIVE else slope[j])
        if weight != 0.0:
            for c in range(n):
                piece[c] += weight * forms[c, j]


@njit(cache=True, nogil=True)
def active_bits(kind: NDArray[np.int8], state: NDArray[np.int8], base: int, active: Words) -> None:
    """Collect the splitting neurons that are active."""
    active[:] = u64(0)
    for v in range(len(kind)):
        if kind[v] == SPLIT and state[v] == ACTIVE:
            active[(base + v) >> 6] |= u64(1) << u64((base + v) & 63)


@njit(cache=True, nogil=True)
def write_rays(
    reals: FloatArray,
    bits: Words,
    real_off: int,
    bit_off: int,
    rays: int,
    n: int,
    active: Words,
    row: int,
    ray: FloatArray,
    ray_key: Words,
) -> None:
    """Write the rays of a region with their keys."""
    words = len(active)
    for r in range(rays):
        for c in range(n):
            ray[row + r, c] = reals[real_off + c * rays + r]
        for w in range(words):
            tight = bits[bit_off + r * words + w]
            ray_key[row + r, w] = tight
            ray_key[row + r, words + w] = active[w] & ~tight
