"""Linear relaxation: bounds by backward substitution, on a box or on a box cut by one neuron's kink.

Each undecided activation is replaced by its chord on one side and a line through the origin on the other
(as in CROWN, Zhang et al. 2018), which leaves a linear function of the input. On the kink of a
first-layer neuron v the domain is the box cut by z_v = 0; for any multiplier lam,
max z_u <= max (z_u - lam z_v) over the box, so the best of the d ratios of coefficients is taken and
soundness does not hang on an optimiser's accuracy.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from jensen.certify._bounds import TINY, Intervals, magnitudes, rounding_factor
from jensen.network import FloatArray, Matrix, ReLUNetwork

CELLS = 25_000_000
"""Numbers that the rows of one layer may hold, since they are dense; beyond that intervals must do."""


@dataclass(frozen=True)
class Cut:
    """The hyperplane row @ x + offset = 0, on which a first-layer neuron switches."""

    row: FloatArray
    offset: float


def linear_maximum(
    coefficients: FloatArray, lo: FloatArray, hi: FloatArray, cut: Cut | None
) -> tuple[FloatArray, FloatArray]:
    """Upper bounds of m linear functions over a box, or over the box cut by a hyperplane.

    Parameters
    ----------
    coefficients : (m, d) array
    lo, hi : (d,) arrays, finite

    Returns
    -------
    bound : (m,) array
        Upper bounds in floating point.
    size : (m,) array
        Sum of the magnitudes that entered, by which the caller widens.
    """
    centre, radius = (lo + hi) / 2, (hi - lo) / 2
    best = coefficients @ centre + np.abs(coefficients) @ radius
    magnitude = np.abs(centre) + radius
    size = (np.abs(coefficients) + TINY) @ (magnitude + TINY)  # what underflowed counts as TINY
    if cut is None:
        return best, size
    middle = float(cut.row @ centre + cut.offset)
    cut_size = float(np.abs(cut.row) @ magnitude) + abs(cut.offset)
    support = np.flatnonzero(cut.row)
    lam = _best_multipliers(coefficients[:, support], cut.row[support], radius[support], middle)
    value = coefficients @ centre - lam * middle + np.abs(coefficients - lam[:, None] * cut.row) @ radius
    better = value < best
    size = np.where(better, size + (np.abs(lam) + TINY) * (cut_size + TINY), size)
    return np.where(better, value, best), size


def _best_multipliers(
    coefficients: FloatArray, row: FloatArray, radius: FloatArray, middle: float
) -> FloatArray:
    """Minimise sum_j |c_j - lam r_j| radius_j - lam middle by lam, per row of coefficients.

    The function is convex and piecewise linear with breakpoints c_j / r_j; its slope there is a sorted
    cumulative sum. Where the cut misses the box it has no minimum, and an end breakpoint is returned.
    """
    breakpoints = coefficients / row
    order = np.argsort(breakpoints, axis=1)
    weights = (np.abs(row) * radius)[order]
    slopes = 2.0 * np.cumsum(weights, axis=1) - weights.sum(axis=1, keepdims=True) - middle
    rises = slopes >= 0
    first = np.where(rises.any(axis=1), rises.argmax(axis=1), len(row) - 1)
    rows = np.arange(len(coefficients))
    lam = breakpoints[rows, order[rows, first]] if len(row) else np.zeros(len(coefficients))
    return np.where(np.isfinite(lam), lam, 0.0)


def _transposed(w: Matrix) -> Matrix:
    return w.T.tocsr() if sparse.issparse(w) else w.T


@np.errstate(over="ignore", invalid="ignore")  # what overflows bounds nothing
def relaxed_bounds(
    network: ReLUNetwork, lo: FloatArray, hi: FloatArray, known: Intervals, cut: Cut | None = None
) -> Intervals:
    """Tighten bounds on pre-activations over a finite box by linear relaxation.

    Parameters
    ----------
    network : ReLUNetwork
    lo, hi : (d,) arrays, finite
    known : Intervals
        Sound bounds over the box, for instance from interval arithmetic. Where arithmetic overflows, they
        are kept.
    cut : Cut, optional
        Restrict to the part of the box where this holds.

    Returns
    -------
    Intervals
        Never looser than `known`, and the same for layers too wide for dense rows. Where lo > hi
        results, the cut misses the box.
    """
    factor = rounding_factor(network)
    lows, highs = list(known.lo), list(known.hi)
    sizes = [network.input_size, *network.widths]
    for position in range(1, network.depth + 1):
        layer = network.layers[position - 1]
        if layer.size * max(sizes[:position]) > CELLS:
            continue
        for side in (1.0, -1.0):
            # Bound side * z from above.
            rows: dict[int, FloatArray] = {
                k: side * (w.toarray() if sparse.issparse(w) else w) for k, w in layer.weights.items()
            }
            constant = side * layer.bias
            size = np.abs(layer.bias)
            for k in range(position - 1, 0, -1):
                if k not in rows:
                    continue
                current = rows.pop(k)
                slope, intercept, reach = _substitution(
                    current, lows[k - 1], highs[k - 1], network.layers[k - 1].negative_slope
                )
                through = current * slope
                offset = (current * intercept).sum(axis=1)
                constant = constant + offset + through @ network.layers[k - 1].bias
                weight = np.abs(through) + TINY  # what underflowed counts as TINY
                size = size + (np.abs(current) + TINY) @ reach + weight @ np.abs(network.layers[k - 1].bias)
                for source, w in network.layers[k - 1].weights.items():
                    term = np.asarray(_transposed(w) @ through.T).T if sparse.issparse(w) else through @ w
                    rows[source] = rows[source] + term if source in rows else term
                    size = size + weight @ _row_magnitudes(w, source, lows, highs, lo, hi, network)
            if 0 in rows:
                bound, extra = linear_maximum(rows[0], lo, hi, cut)
            else:
                bound, extra = np.zeros(layer.size), np.zeros(layer.size)
            size = size + extra
            bound = np.where(np.isfinite(size), bound + constant + factor * size + TINY, np.inf)
            if side > 0:
                highs[position - 1] = np.fmin(highs[position - 1], bound)  # NaN bounds nothing
            else:
                lows[position - 1] = np.fmax(lows[position - 1], -bound)
    return Intervals(lows, highs)


def _row_magnitudes(
    w: Matrix,
    source: int,
    lows: list[FloatArray],
    highs: list[FloatArray],
    lo: FloatArray,
    hi: FloatArray,
    network: ReLUNetwork,
) -> FloatArray:
    """Sum over each row of |w| times the largest magnitude of its source."""
    if source == 0:
        reach = np.maximum(np.abs(lo), np.abs(hi)) + TINY
    else:
        slope = np.maximum(1.0, np.abs(network.layers[source - 1].negative_slope))
        reach = slope * np.maximum(np.abs(lows[source - 1]), np.abs(highs[source - 1])) + TINY
    return np.asarray(magnitudes(w) @ reach)


def _substitution(
    coefficients: FloatArray, lo: FloatArray, hi: FloatArray, a: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Lines slope * z + intercept above coefficient * activation(z), chosen per entry by its sign."""
    on, off = lo >= 0, hi <= 0
    decided = on | off
    width = np.where(decided, 1.0, hi - lo)
    chord = np.where(decided, np.where(on, 1.0, a), (hi - a * lo) / width)
    # activation(lo) - chord * lo = (a - chord) lo
    chord_at_zero = np.where(decided, 0.0, (a - chord) * lo)
    tangent = np.where(decided, chord, np.where(hi >= -lo, 1.0, a))
    convex = a <= 1.0
    above = np.where(convex, chord, tangent), np.where(convex, chord_at_zero, 0.0)
    below = np.where(convex, tangent, chord), np.where(convex, 0.0, chord_at_zero)
    positive = coefficients > 0
    reach = (1.0 + np.abs(a) + np.abs(chord)) * np.maximum(np.abs(lo), np.abs(hi)) + TINY
    slope = np.where(positive, above[0], below[0])
    intercept = np.where(positive, above[1], below[1])
    return slope, intercept, reach
