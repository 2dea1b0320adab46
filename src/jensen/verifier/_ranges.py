"""Exact bounds on pre-activations over a piece, or over the part of it where a first-layer neuron is zero.

Every activation is enclosed between two lines; substituting them backwards leaves an affine function of the
input, whose maximum over a box is plain. Lines may have any slopes: the intercepts make them enclose. So
floats may choose slopes, and the multiplier of a cut, without entering any conclusion.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

import numpy as np
from flint import fmpq

from jensen.verifier._dyadic import Dyadic
from jensen.verifier._pieces import Piece
from jensen.verifier._rational import RationalNetwork, Vector, outward

Line = tuple[fmpq, fmpq]
"""(slope, intercept)."""

ZERO, ONE = fmpq(0), fmpq(1)
SLOPE_BITS = 36
"""Significant bits of the slopes of chords, and of multipliers of cuts."""


@dataclass(frozen=True)
class Ranges:
    """Bounds lo <= z <= hi of every pre-activation: lists over hidden layers."""

    lo: list[Vector]
    hi: list[Vector]

    @cached_property
    def empty(self) -> bool:
        """Whether some bounds contradict each other: then the set is empty."""
        ends = zip(chain(*self.lo), chain(*self.hi), strict=True)
        return any(lo > hi for lo, hi in ends)


@dataclass(frozen=True)
class Affine:
    """rows[0] @ x + sum of rows[k] @ h_k + constant, a column of functions."""

    rows: Mapping[int, Dyadic]
    constant: Dyadic


@dataclass(frozen=True)
class Cut:
    """The hyperplane row @ x + offset = 0 through a piece."""

    row: Dyadic
    offset: Dyadic


def over_piece(net: RationalNetwork, piece: Piece) -> Ranges:
    """Bound all pre-activations over a piece."""
    return _ranges(net, piece, None, None)


def over_kink(net: RationalNetwork, piece: Piece, known: Ranges, layer: int, i: int) -> Ranges:
    """Bound all pre-activations where neuron i of a layer is zero; `known` holds on all of the piece."""
    ranges = Ranges(list(known.lo), list(known.hi))
    if not net.weights[layer - 1]:  # only then does the kink cut the piece by a hyperplane
        inputs = piece.inputs[layer - 1]
        width = inputs.ncols()
        row = Dyadic.column(inputs.entries()[i * width : (i + 1) * width])
        cut = Cut(row.transposed, Dyadic.column([piece.biases[layer - 1][i]]))
        ranges = _ranges(net, piece, known, cut)
    lo, hi = list(ranges.lo[layer - 1]), list(ranges.hi[layer - 1])
    lo[i], hi[i] = max(lo[i], ZERO), min(hi[i], ZERO)
    ranges.lo[layer - 1], ranges.hi[layer - 1] = lo, hi
    return ranges


def _ranges(net: RationalNetwork, piece: Piece, known: Ranges | None, cut: Cut | None) -> Ranges:
    lows: list[Vector] = []
    highs: list[Vector] = []
    lines: list[tuple[Affine, Affine]] = []
    levels: list[tuple[Affine, Affine]] = []
    for layer in range(1, net.depth + 1):
        z = _preactivations(net, piece, layer)
        ends = []
        for sign in (1, -1):
            form = z if sign > 0 else Affine({k: -w for k, w in z.rows.items()}, -z.constant)
            bounds = _above(piece, form, lines, cut)
            if known is None and layer > 1:  # intervals are lines without slope
                bounds = list(map(min, bounds, _above(piece, form, levels, None)))
            if known is not None:
                old = known.hi[layer - 1] if sign > 0 else [-v for v in known.lo[layer - 1]]
                bounds = list(map(min, bounds, old))
            ends.append([outward(b, up=True) for b in bounds])
        highs.append(ends[0])
        lows.append([-b for b in ends[1]])
        if layer < net.depth:
            spans = list(zip(lows[-1], highs[-1], net.slopes[layer - 1], strict=True))
            up, down = ([_line(*span, above) for span in spans] for above in (True, False))
            lines.append((_through(z, up), _through(z, down)))
            if known is None:
                top, bottom = ([_level(*span, above) for span in spans] for above in (True, False))
                levels.append((_through(z, top), _through(z, bottom)))
    return Ranges(lows, highs)


def _preactivations(net: RationalNetwork, piece: Piece, layer: int) -> Affine:
    rows = {k: net.dyadic(layer, k) for k in net.weights[layer - 1]}
    return Affine({0: piece.dyadic_inputs[layer - 1], **rows}, piece.dyadic_biases[layer - 1])


def _through(z: Affine, lines: list[Line]) -> Affine:
    """Put pre-activations through lines."""
    shift = Dyadic.column([intercept for _, intercept in lines])
    if not any(slope for slope, _ in lines):
        return Affine({}, shift)
    slopes = Dyadic.diagonal([slope for slope, _ in lines])
    return Affine({k: slopes * w for k, w in z.rows.items()}, slopes * z.constant + shift)


def _above(piece: Piece, form: Affine, lines: list[tuple[Affine, Affine]], cut: Cut | None) -> Vector:
    """Bound functions of the input and of activations, which lines (above, below) enclose, from above."""
    rows, constant = dict(form.rows), form.constant
    for k in range(len(lines), 0, -1):
        if k not in rows:
            continue
        plus, minus = rows.pop(k).parts
        above, below = lines[k - 1]
        constant = constant + plus * above.constant - minus * below.constant
        for part, line in ((plus, above), (-minus, below)):
            for source, w in line.rows.items():
                term = part * w
                rows[source] = rows[source] + term if source in rows else term
    rest = rows[0]
    if cut is not None:
        factors = Dyadic.column(_multipliers(piece, rest, cut))
        rest, constant = rest - factors * cut.row, constant - factors * cut.offset
    plus, minus = rest.parts
    return (constant + plus * piece.dyadic_hi - minus * piece.dyadic_lo).entries


def _multipliers(piece: Piece, rows: Dyadic, cut: Cut) -> Vector:
    """Choose, in floating point, how much of the cut to subtract from each row; any choice is sound.

    The bound is convex and piecewise linear in the multiplier, with breakpoints where a coefficient vanishes.
    """
    support = [j for j, v in enumerate(cut.row.entries) if v]
    m, n = rows.integers.nrows(), rows.integers.ncols()
    if not support:
        return [ZERO] * m
    lo, hi, r = (np.array([_rounded(v[j]) for j in support]) for v in (piece.lo, piece.hi, cut.row.entries))
    centre = r @ (lo + hi) / 2 + _rounded(cut.offset.entries[0])
    with np.errstate(all="ignore"):
        order = np.argsort(rows.rough[:, support] / r, axis=1)
        weights = (np.abs(r) * (hi - lo) / 2)[order]
        slopes = 2 * np.cumsum(weights, axis=1) - weights.sum(axis=1, keepdims=True) - centre
    first = np.where((slopes >= 0).any(axis=1), (slopes >= 0).argmax(axis=1), len(support) - 1)
    chosen = [support[j] for j in order[np.arange(m), first]]
    scale, entries = 1 << rows.exponent, rows.integers.entries()
    ratios = [fmpq(entries[i * n + j], scale) / cut.row.entries[j] for i, j in enumerate(chosen)]
    return [outward(v, up=True, bits=SLOPE_BITS) for v in ratios]


def _rounded(value: fmpq) -> float:
    """Round to a float, NaN beyond their range: good enough to choose by."""
    try:
        return int(value.p) / int(value.q)
    except OverflowError:
        return float("nan")


def _line(lo: fmpq, hi: fmpq, a: fmpq, above: bool) -> Line:
    """Enclose z -> (z if z > 0 else a z) over [lo, hi] from above or below by one line."""
    if lo >= 0 or hi <= 0:
        return (ONE if lo >= 0 else a), ZERO
    if above == (a <= 1):
        slope = outward((hi - a * lo) / (hi - lo), up=True, bits=SLOPE_BITS)
    else:
        slope = ONE if hi >= -lo else a
    gaps = [ZERO, (a - slope) * lo, (1 - slope) * hi]
    return slope, (max(gaps) if above else min(gaps))


def _level(lo: fmpq, hi: fmpq, a: fmpq, above: bool) -> Line:
    """Enclose it by a constant."""
    values = [v if v > 0 else a * v for v in (lo, hi)]
    if lo < 0 < hi:
        values.append(ZERO)
    return ZERO, (max(values) if above else min(values))
