"""Sound interval bounds on pre-activations and adjoints, in float64 with rounding errors accounted for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from jensen.certify._twins import JumpWeights
from jensen.network import FloatArray, Matrix, ReLUNetwork

EPS = float(np.finfo(np.float64).eps)
SMALLEST = float(np.finfo(np.float64).tiny)
"""The smallest normal float: what underflows is off by far less."""
TINY = 1e-300
"""Covers all that underflows in one sum of products."""


def rounding_factor(network: ReLUNetwork) -> float:
    """Relative error that covers any chain of sums and products along the network in float64."""
    terms = network.input_size + network.n_neurons + 16
    return 4.0 * (network.depth + 2) * terms * EPS


@dataclass(frozen=True)
class Intervals:
    """Bounds on every pre-activation: lists over layers of (n_l,) arrays; infinite where unknown."""

    lo: list[FloatArray]
    hi: list[FloatArray]

    def slopes(self, network: ReLUNetwork) -> tuple[list[FloatArray], list[FloatArray]]:
        """Least and largest slope that every neuron's activation takes where it has a slope."""
        low, high = [], []
        for lo, hi, layer in zip(self.lo, self.hi, network.layers, strict=True):
            on, off, a = lo >= 0, hi <= 0, layer.negative_slope
            low.append(np.where(on, 1.0, np.where(off, a, np.minimum(a, 1.0))))
            high.append(np.where(on, 1.0, np.where(off, a, np.maximum(a, 1.0))))
        return low, high

    def switching(self, network: ReLUNetwork) -> list[NDArray[np.bool_]]:
        """Boolean arrays: which neurons may have a kink (both signs possible, slopes that differ)."""
        return [
            ~((lo >= 0) | (hi <= 0)) & (layer.negative_slope != 1)
            for lo, hi, layer in zip(self.lo, self.hi, network.layers, strict=True)
        ]


def _is_nonnegative(w: Matrix) -> bool:
    data = w.data if sparse.issparse(w) else w
    return bool(data.size == 0 or data.min() >= 0)


def magnitudes(w: Matrix) -> Matrix:
    """Absolute values of a matrix's entries."""
    if sparse.issparse(w):
        return sparse.csr_array((np.abs(w.data), w.indices, w.indptr), shape=w.shape)
    return np.abs(w)


def split_signs(w: Matrix) -> tuple[Matrix, Matrix | None]:
    """Positive and negative parts of a matrix, w = plus - minus; minus is None where w >= 0."""
    if _is_nonnegative(w):
        return w, None
    if sparse.issparse(w):
        parts = np.maximum(w.data, 0.0), np.maximum(-w.data, 0.0)
        plus, minus = (sparse.csr_array((part, w.indices, w.indptr), shape=w.shape) for part in parts)
        return plus, minus
    return np.maximum(w, 0.0), np.maximum(-w, 0.0)


def _meets(w: Matrix | sparse.csc_array | None, nonzero: NDArray[np.bool_]) -> NDArray[np.bool_] | bool:
    """Which rows of w >= 0 have a positive entry where `nonzero` holds; nothing can underflow here."""
    if w is None or not nonzero.any():
        return False
    return np.asarray(w @ nonzero.astype(np.float64)) > 0


def _product(w: Matrix | None, v: FloatArray) -> FloatArray | float:
    """Compute w @ v where 0 * inf counts as 0, for w >= 0 and v without NaN."""
    if w is None:
        return 0.0
    finite = np.isfinite(v)
    if finite.all():
        return np.asarray(w @ v)
    total = np.asarray(w @ np.where(finite, v, 0.0))
    for value in (np.inf, -np.inf):
        reached = np.asarray(w @ (v == value).astype(np.float64)) > 0
        total = np.where(reached, value, total)  # infinities of both signs never meet in one bound
    return total


def activation_range(
    lo: FloatArray, hi: FloatArray, negative_slope: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Range of z -> (z if z > 0 else a z) over [lo, hi]."""
    ends = []
    pad = np.zeros_like(lo)
    for z in (lo, hi):
        with np.errstate(invalid="ignore", over="ignore"):
            below = np.where(negative_slope == 0, 0.0, negative_slope * z)
        faint = (np.abs(below) < SMALLEST) & (negative_slope != 0) & (z < 0)
        pad = np.where(faint, SMALLEST, pad)
        ends.append(np.where(z > 0, z, below))
    low, high = np.minimum(*ends) - pad, np.maximum(*ends) + pad
    straddles = (lo < 0) & (hi > 0)
    low = np.where(straddles, np.minimum(low, 0.0), low)
    return low, np.where(straddles, np.maximum(high, 0.0), high)


def interval_bounds(network: ReLUNetwork, lo: FloatArray, hi: FloatArray) -> Intervals:
    """Interval arithmetic through the network, rounded outwards.

    Parameters
    ----------
    network : ReLUNetwork
    lo, hi : (d,) arrays
        Bounds on the inputs; may be infinite.
    """
    factor = rounding_factor(network)
    ranges = [(lo, hi)]
    lows, highs = [], []
    for layer in network.layers:
        ends = []
        for side, outward in ((0, -np.inf), (1, np.inf)):
            end, size = layer.bias.copy(), np.abs(layer.bias)
            inexact = np.zeros(layer.size, dtype=bool)
            with np.errstate(over="ignore", invalid="ignore"):
                for k, w in layer.weights.items():
                    plus, minus = split_signs(w)
                    same, other = ranges[k][side], ranges[k][1 - side]
                    end = end + _product(plus, same) - _product(minus, other)
                    # A finite end is a sum of finite terms; only those carry rounding error.
                    size = size + _product(plus, np.abs(np.where(np.isfinite(same), same, 0.0)))
                    size = size + _product(minus, np.abs(np.where(np.isfinite(other), other, 0.0)))
                    inexact |= _meets(plus, same != 0) | _meets(minus, other != 0)
                widened = end + np.where(inexact, factor * size + TINY, 0.0) * np.sign(outward)
            # What overflowed may have met an infinity of the other sign: nothing is known then.
            sound = np.isfinite(size) & ~np.isnan(end) & (end != -outward)
            ends.append(np.where(sound, widened, outward))
        lows.append(ends[0])
        highs.append(ends[1])
        ranges.append(activation_range(ends[0], ends[1], layer.negative_slope))
    return Intervals(lows, highs)


@dataclass(frozen=True)
class AdjointBounds:
    """Bounds on every adjoint g_v = df/dh_v, and lower bounds on every jump: lists over hidden layers."""

    low: list[FloatArray]
    high: list[FloatArray]
    jump: list[FloatArray]


def adjoint_bounds(
    network: ReLUNetwork, slopes: tuple[list[FloatArray], list[FloatArray]], jumps: JumpWeights
) -> AdjointBounds:
    """Bound adjoints and jumps over all patterns that the slopes allow.

    Parameters
    ----------
    network : ReLUNetwork
    slopes : two lists of (n_l,) arrays
        Least and largest slope of every neuron, as `Intervals.slopes` gives them.
    jumps : JumpWeights

    Notes
    -----
    Where only nonnegative terms enter, a lower bound of zero is exact and not widened.
    """
    depth = network.depth
    factor = rounding_factor(network)
    # Ranges of df/dz of every layer; the output's is exactly 1.
    derivatives: dict[int, tuple[FloatArray, FloatArray]] = {depth + 1: (np.ones(1), np.ones(1))}
    low: list[FloatArray] = [np.empty(0)] * depth
    high: list[FloatArray] = [np.empty(0)] * depth
    jump: list[FloatArray] = [np.empty(0)] * depth
    for source in range(depth, 0, -1):
        targets = network.readers[source]
        n = network.layers[source - 1].size
        terms = [(network.weight(t, source), *derivatives[t]) for t in targets]
        lo, hi = _sum_bounds(terms, n, factor)
        low[source - 1], high[source - 1], jump[source - 1] = lo, hi, lo
        if jumps.changes(source):
            terms = [(jumps.weight(t, source), *derivatives[t]) for t in targets]
            jump[source - 1], _ = _sum_bounds(terms, n, factor)
        derivatives[source] = _scaled(lo, hi, slopes[0][source - 1], slopes[1][source - 1])
    return AdjointBounds(low, high, jump)


def _sum_bounds(
    terms: list[tuple[Matrix, FloatArray, FloatArray]], n: int, factor: float
) -> tuple[FloatArray, FloatArray]:
    """Bounds of sum_t w_t' d_t for d_t in given intervals."""
    lo, hi, size, faint = np.zeros(n), np.zeros(n), np.zeros(n), TINY
    lo_signed, hi_signed = np.zeros(n, dtype=bool), np.zeros(n, dtype=bool)
    for w, dlo, dhi in terms:
        plus, minus = split_signs(w)
        largest = np.maximum(np.abs(dlo), np.abs(dhi))
        faint += SMALLEST * float(largest.sum())  # weights that underflowed to SMALLEST keep only their sign
        for part, first, second, sign in ((plus, dlo, dhi, 1.0), (minus, dhi, dlo, -1.0)):
            if part is None:
                continue
            with np.errstate(over="ignore", invalid="ignore"):
                lo = lo + sign * (part.T @ first)
                hi = hi + sign * (part.T @ second)
                size = size + part.T @ largest
            # Signs are read off the support, where nothing underflows; NaN counts as either sign.
            lo_signed |= _meets(part.T, ~(sign * first >= 0))
            hi_signed |= _meets(part.T, ~(sign * second <= 0))
    # Sums of terms of one sign keep that sign in floating point.
    with np.errstate(over="ignore", invalid="ignore"):
        lo, hi = lo - factor * size - faint, hi + factor * size + faint
    lo, hi = np.where(np.isnan(lo), -np.inf, lo), np.where(np.isnan(hi), np.inf, hi)
    return np.where(lo_signed, lo, np.maximum(lo, 0.0)), np.where(hi_signed, hi, np.minimum(hi, 0.0))


def _scaled(
    low: FloatArray, high: FloatArray, slope_low: FloatArray, slope_high: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Range of the product of two intervals; but for underflow, the sum that it enters covers rounding."""
    pairs = [(end, slope) for end in (low, high) for slope in (slope_low, slope_high)]
    with np.errstate(over="ignore"):
        products = [np.where((end == 0) | (slope == 0), 0.0, end * slope) for end, slope in pairs]
    signs = [np.sign(end) * np.sign(slope) for end, slope in pairs]
    least, largest = np.minimum.reduce(products), np.maximum.reduce(products)
    below = np.where(np.minimum.reduce(signs) < 0, -SMALLEST, 0.0)
    above = np.where(np.maximum.reduce(signs) > 0, SMALLEST, 0.0)
    return (
        np.where(np.abs(least) < SMALLEST, below, least),
        np.where(np.abs(largest) < SMALLEST, above, largest),
    )
