"""Exact bounds on pre-activations over a piece, or over the part of it where a first-layer neuron is zero.

Every activation is enclosed between two lines; substituting them backwards leaves an affine function of the
input, whose maximum over a box is plain. Lines may have any slopes: the intercepts make them enclose. So
floats may choose slopes, and the multiplier of a cut, without entering any conclusion.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain

import numpy as np
from flint import fmpq, fmpq_mat

from jensen.verifier._pieces import Piece
from jensen.verifier._rational import RationalNetwork, Vector, applied, matrix, outward

Line = tuple[fmpq, fmpq]
"""(slope, intercept)."""

ZERO, ONE = fmpq(0), fmpq(1)
CHORD_BITS = 36
"""Significant bits of the slopes of chords."""


@dataclass(frozen=True)
class Ranges:
    """Bounds lo <= z <= hi of every pre-activation: lists over hidden layers."""

    lo: list[Vector]
    hi: list[Vector]

    @property
    def empty(self) -> bool:
        """Whether some bounds contradict each other: then the set is empty."""
        ends = zip(chain(*self.lo), chain(*self.hi), strict=True)
        return any(lo > hi for lo, hi in ends)


def over_piece(net: RationalNetwork, piece: Piece) -> Ranges:
    """Bound all pre-activations over a piece."""
    return _ranges(net, piece, None, None)


def over_kink(net: RationalNetwork, piece: Piece, known: Ranges, layer: int, i: int) -> Ranges:
    """Bound all pre-activations where neuron i of a layer is zero; `known` holds on all of the piece."""
    cut = None
    if not net.weights[layer - 1]:  # only then does the kink cut the piece by a hyperplane
        width = piece.inputs[layer - 1].ncols()
        entries = piece.inputs[layer - 1].entries()
        cut = entries[i * width : (i + 1) * width], piece.biases[layer - 1][i]
    ranges = _ranges(net, piece, known, cut) if cut else Ranges(list(known.lo), list(known.hi))
    lo, hi = list(ranges.lo[layer - 1]), list(ranges.hi[layer - 1])
    lo[i], hi[i] = max(lo[i], ZERO), min(hi[i], ZERO)
    ranges.lo[layer - 1], ranges.hi[layer - 1] = lo, hi
    return ranges


def _ranges(
    net: RationalNetwork, piece: Piece, known: Ranges | None, cut: tuple[Vector, fmpq] | None
) -> Ranges:
    lows: list[Vector] = []
    highs: list[Vector] = []
    lines: list[tuple[list[Line], list[Line]]] = []
    levels: list[tuple[list[Line], list[Line]]] = []
    for layer in range(1, net.depth + 1):
        ends = []
        for sign in (1, -1):
            rows = {k: sign * w for k, w in net.weights[layer - 1].items()}
            rows[0], constant = sign * piece.inputs[layer - 1], [sign * b for b in piece.biases[layer - 1]]
            bounds = _above(net, piece, rows, constant, lines, cut)
            if known is None and layer > 1:  # intervals are lines without slope
                flat = _above(net, piece, rows, constant, levels, None)
                bounds = [min(a, b) for a, b in zip(bounds, flat, strict=True)]
            if known is not None:
                old = known.hi[layer - 1] if sign > 0 else [-v for v in known.lo[layer - 1]]
                bounds = [min(a, b) for a, b in zip(bounds, old, strict=True)]
            ends.append([outward(b, up=True) for b in bounds])
        highs.append(ends[0])
        lows.append([-b for b in ends[1]])
        spans = list(zip(lows[-1], highs[-1], net.slopes[layer - 1], strict=True))
        lines.append(([_line(*s, True) for s in spans], [_line(*s, False) for s in spans]))
        levels.append(([_level(*s, True) for s in spans], [_level(*s, False) for s in spans]))
    return Ranges(lows, highs)


def _above(
    net: RationalNetwork,
    piece: Piece,
    rows: dict[int, fmpq_mat],
    constant: Vector,
    lines: list[tuple[list[Line], list[Line]]],
    cut: tuple[Vector, fmpq] | None,
) -> Vector:
    """Bound rows @ activations + constant from above; lines (above, below) enclose the activations."""
    rows, constant = dict(rows), list(constant)
    for k in range(len(lines), 0, -1):
        if k not in rows:
            continue
        above, below = lines[k - 1]
        slopes = []
        for r, row in enumerate(rows.pop(k).tolist()):
            picked = [up if v.p > 0 else down for v, up, down in zip(row, above, below, strict=True)]
            slopes.append([v * line[0] for v, line in zip(row, picked, strict=True)])
            constant[r] += sum((v * line[1] for v, line in zip(row, picked, strict=True)), ZERO)
        through = matrix(slopes, net.widths[k - 1])
        if not any(through.entries()):
            continue
        shift = applied(through, piece.biases[k - 1])
        constant = [a + b for a, b in zip(constant, shift, strict=True)]
        for source, w in {**net.weights[k - 1], 0: piece.inputs[k - 1]}.items():
            rows[source] = rows[source] + through * w if source in rows else through * w
    return _box_maximum(piece, rows[0], constant, cut)


def _box_maximum(piece: Piece, rows: fmpq_mat, constant: Vector, cut: tuple[Vector, fmpq] | None) -> Vector:
    """Maximise affine functions over the piece's box, or bound the maximum over a cut through it."""
    table = rows.tolist()
    if cut is not None:
        for r, factor in enumerate(_multipliers(piece, table, cut)):
            if factor:
                table[r] = [v - factor * c for v, c in zip(table[r], cut[0], strict=True)]
                constant = [*constant[:r], constant[r] - factor * cut[1], *constant[r + 1 :]]
    return [
        sum((v * (b if v.p > 0 else a) for v, a, b in zip(row, piece.lo, piece.hi, strict=True) if v), c)
        for row, c in zip(table, constant, strict=True)
    ]


def _multipliers(piece: Piece, table: list[Vector], cut: tuple[Vector, fmpq]) -> Vector:
    """Choose, in floating point, how much of the cut to subtract from each row; any choice is sound.

    The bound is convex and piecewise linear in the multiplier, with breakpoints where a coefficient vanishes.
    """
    support = [j for j, v in enumerate(cut[0]) if v]
    if not support or not table:
        return [ZERO] * len(table)
    c = _floats([[row[j] for j in support] for row in table])
    r = _floats([[cut[0][j] for j in support]])[0]
    lo, hi = _floats([[side[j] for j in support] for side in (piece.lo, piece.hi)])
    centre = float(_floats([[cut[1]]])[0, 0] + r @ (lo + hi) / 2)
    with np.errstate(all="ignore"):
        breaks = c / r
        order = np.argsort(breaks, axis=1)
        weights = (np.abs(r) * (hi - lo) / 2)[order]
        slopes = 2 * np.cumsum(weights, axis=1) - weights.sum(axis=1, keepdims=True) - centre
    first = np.where((slopes >= 0).any(axis=1), (slopes >= 0).argmax(axis=1), len(support) - 1)
    best = breaks[np.arange(len(table)), order[np.arange(len(table)), first]]
    return [fmpq(*float(v).as_integer_ratio()) if np.isfinite(v) else ZERO for v in best]


def _floats(rows: list[Vector]) -> np.ndarray:
    """Round to floats, good enough to choose by; beyond their range, NaN."""

    def rounded(v: fmpq) -> float:
        try:
            return int(v.p) / int(v.q)
        except OverflowError:
            return float("nan")

    return np.array([[rounded(v) for v in row] for row in rows])


def _line(lo: fmpq, hi: fmpq, a: fmpq, above: bool) -> Line:
    """Enclose z -> (z if z > 0 else a z) over [lo, hi] from above or below by one line."""
    if lo >= 0 or hi <= 0:
        return (ONE if lo >= 0 else a), ZERO
    if above == (a <= 1):
        slope = outward((hi - a * lo) / (hi - lo), up=True, bits=CHORD_BITS)
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
