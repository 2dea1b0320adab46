"""Bounded pieces of a domain: branch and bound works on boxes, and nothing silently assumes one.

A bounded domain is one piece. An unbounded one is covered through the perspective of f: with biases
multiplied by an extra variable x_0 >= 0 the network becomes positively homogeneous, so that every sign
pattern of R^d shows up where the largest coordinate of (x, x_0) is 1. That surface consists of one chart
per coordinate and sign, |x_i| = 1 and x_0 <= 1 / R (the far pieces), and the near piece |x| <= R. On each
chart the network is again a ReLU network, in d inputs, on a box.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import highspy
import numpy as np
from flint import fmpq
from numpy.typing import NDArray
from scipy import sparse

from jensen.certify._bounds import magnitudes
from jensen.certify._exact_domain import Elimination, rational, to_float
from jensen.certify._highs import quiet_highs
from jensen.network import Domain, FloatArray, Layer, Matrix, ReLUNetwork, WholeSpace
from jensen.verifier import Cover, Implied

LARGEST_RADIUS = 2.0**64
"""Of the near piece; what lies beyond is left to the far ones."""


@dataclass(frozen=True, eq=False)
class Piece:
    """A bounded polyhedron {lo <= x <= hi, A x <= b} and the network on it.

    The hidden neurons are those of the original network, in the same order, with the same activation
    patterns and adjoints; only the inputs are other coordinates.
    """

    name: str
    network: ReLUNetwork
    lo: FloatArray
    hi: FloatArray
    A: FloatArray
    b: FloatArray
    chart: tuple[int, int] | None = None
    """(coordinate, sign) of a far piece: x = (c_1, .., sign, .., c_d) / c_0, with c_0 the last coordinate."""
    rows: FloatArray | None = None
    """Where the piece lies in the space of rows @ x instead of that of x."""

    @property
    def index(self) -> int:
        """Number of the piece in certificates."""
        return 0 if self.chart is None else 2 * self.chart[0] + 1 + (self.chart[1] > 0)

    def to_input(self, point: FloatArray) -> FloatArray | None:
        """Map a point of the piece to the network's own input space; None at infinity."""
        if self.chart is not None:
            i, sign = self.chart
            if point[-1] <= 0:
                return None
            point = np.insert(point[:-1], i, float(sign)) / point[-1]
        if self.rows is not None:
            point = np.asarray(np.linalg.lstsq(self.rows, point, rcond=None)[0], dtype=np.float64)
        return point


def pieces(network: ReLUNetwork, domain: Domain) -> tuple[list[Piece], Cover]:
    """Cover a domain by bounded pieces: itself, or the near piece and 2 d far ones.

    Parameters
    ----------
    network : ReLUNetwork
    domain : Domain
        Known to be nonempty.

    Returns
    -------
    pieces : list of Piece
    cover : Cover
        From which a certificate's reader builds the same pieces, exactly.
    """
    d = network.input_size
    lo, hi = domain.bounds(d)
    A, b = domain.inequalities(d)
    rows = None
    if not len(b) and np.isinf(lo).all() and np.isinf(hi).all():
        rows = _input_rows(network)
        if rows is not None:
            network, d = _in_row_space(network, len(rows)), len(rows)
            (lo, hi), A = WholeSpace().bounds(d), np.zeros((0, d))
    implied = _implied_bounds(lo, hi, A, b) if len(b) else []
    low, high = lo.copy(), hi.copy()
    for j, sign, bound, _ in implied:
        (high if sign > 0 else low)[j] = sign * bound
    if np.isfinite(low).all() and np.isfinite(high).all():
        return [Piece("domain", network, low, high, A, b, rows=rows)], Cover(1.0, False, tuple(implied))
    radius = _radius(network, low, high)
    result = []
    near = np.maximum(low, -radius), np.minimum(high, radius)
    if (near[0] <= near[1]).all():
        result.append(Piece("near", network, *near, A, b))
    for i in range(d):
        for sign in (-1, 1):
            if sign * (low if sign < 0 else high)[i] > radius:
                result.append(_far(network, lo, hi, A, b, i, sign, radius))
    return [replace(piece, rows=rows) for piece in result], Cover(radius, rows is not None, tuple(implied))


def _input_rows(network: ReLUNetwork) -> FloatArray | None:
    """All weights that read the input, one under the other; None if they are more than the inputs."""
    blocks = [layer.weights[0] for layer in network.layers if 0 in layer.weights]
    if not 0 < sum(w.shape[0] for w in blocks) <= network.input_size:
        return None
    return np.vstack([w.toarray() if sparse.issparse(w) else w for w in blocks])


def _in_row_space(network: ReLUNetwork, n: int) -> ReLUNetwork:
    """Return the network as a function of what its weights see of the input.

    On the whole space only those n numbers matter. They are let range over all of R^n, which
    loses nothing where the rows are independent and is sound where they are not. The output's own
    linear part has no kink and is left out.
    """
    layers, start = [], 0
    for layer in network.layers:
        weights = dict(layer.weights)
        if 0 in weights:
            size = layer.size
            weights[0] = np.eye(size, n, start)
            start += size
        layers.append(Layer(weights, layer.bias, layer.negative_slope))
    output = {k: w for k, w in network.output_weights.items() if k}
    return ReLUNetwork(n, layers, output, network.output_bias)


def _radius(network: ReLUNetwork, lo: FloatArray, hi: FloatArray) -> float:
    """Radius of the near piece: a power of two beyond the finite bounds and most first-layer kinks."""
    reach = [1.0]
    for layer in network.layers:
        if 0 in layer.weights and len(layer.weights) == 1:
            w = layer.weights[0]
            norms = np.asarray(magnitudes(w).sum(axis=1)).ravel()
            with np.errstate(over="ignore"):
                ratios = np.abs(layer.bias[norms > 0]) / norms[norms > 0]
            ratios = ratios[np.isfinite(ratios)]
            reach.append(float(np.quantile(ratios, 0.9)) if ratios.size else 1.0)
    ends = np.abs(np.concatenate([lo, hi]))
    reach.append(float(ends[np.isfinite(ends)].max(initial=0.0)) / 2)
    return float(2.0 ** np.ceil(np.log2(min(2 * max(reach), LARGEST_RADIUS))))


def _far(
    network: ReLUNetwork,
    lo: FloatArray,
    hi: FloatArray,
    A: FloatArray,
    b: FloatArray,
    i: int,
    sign: int,
    radius: float,
) -> Piece:
    """Build the chart x_i / x_0 = sign / x_0, |x_j| <= 1, 0 <= x_0 <= 1 / radius."""
    d = network.input_size
    layers = [
        Layer(*_chart_weights(layer.weights, layer.bias, d, i, sign), layer.negative_slope)
        for layer in network.layers
    ]
    output, constant = _chart_weights(network.output_weights, np.array([network.output_bias]), d, i, sign)
    box_lo, box_hi = np.append(-np.ones(d - 1), 0.0), np.append(np.ones(d - 1), 1.0 / radius)
    others = [j for j in range(d) if j != i]
    rows, right = [], []
    # A x <= b becomes A_others c - b c_0 <= -A_i sign; bounds become rows likewise.
    constraints = [(row, float(r)) for row, r in zip(A, b, strict=True)]
    for j in range(d):
        unit = np.zeros(d)
        unit[j] = 1.0
        if np.isfinite(hi[j]):
            constraints.append((unit, float(hi[j])))
        if np.isfinite(lo[j]):
            constraints.append((-unit, -float(lo[j])))
    for row, r in constraints:
        rows.append(np.append(row[others], -r))
        right.append(-row[i] * sign)
    return Piece(
        f"far x{i}{'+' if sign > 0 else '-'}",
        ReLUNetwork(d, layers, output, float(constant[0])),
        box_lo,
        box_hi,
        np.array(rows).reshape(len(rows), d),
        np.array(right),
        (i, sign),
    )


def _chart_weights(
    weights: Mapping[int, Matrix], bias: FloatArray, d: int, i: int, sign: int
) -> tuple[dict[int, Matrix], FloatArray]:
    """Replace input i by the constant `sign`, and the constant 1 by a new last input."""
    result = dict(weights)
    own = result.get(0, sparse.csr_array((bias.size, d)))
    if sparse.issparse(own):
        column = own[:, [i]].toarray()[:, 0]
        parts = [own[:, :i], own[:, i + 1 :], sparse.csr_array(bias[:, None])]
        result[0] = sparse.hstack(parts, format="csr")
    else:
        column = own[:, i]
        result[0] = np.column_stack([np.delete(own, i, axis=1), bias])
    return result, sign * column


def _implied_bounds(lo: FloatArray, hi: FloatArray, A: FloatArray, b: FloatArray) -> list[Implied]:
    """Sound bounds of a nonempty polyhedron's coordinates, where there are any, with their proofs.

    HiGHS proposes which constraints are tight; their multipliers are solved for exactly, so that the
    bound is a proof and not a tolerance.
    """
    d = lo.size
    rows = np.vstack([A, np.eye(d)[np.isfinite(hi)], -np.eye(d)[np.isfinite(lo)]])
    right = np.concatenate([b, hi[np.isfinite(hi)], -lo[np.isfinite(lo)]])
    exact_rows = [[rational(a) for a in row] for row in rows]
    exact_right = [rational(r) for r in right]
    highs = quiet_highs()
    lp = highspy.HighsLp()
    lp.num_col_, lp.num_row_ = d, len(right)
    lp.sense_ = highspy.ObjSense.kMaximize
    lp.col_cost_ = np.zeros(d)
    lp.col_lower_, lp.col_upper_ = np.full(d, -np.inf), np.full(d, np.inf)
    lp.row_lower_, lp.row_upper_ = np.full(len(right), -np.inf), right
    lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    lp.a_matrix_.start_ = np.arange(len(right) + 1, dtype=np.int32) * d
    lp.a_matrix_.index_ = np.tile(np.arange(d, dtype=np.int32), len(right))
    lp.a_matrix_.value_ = rows.ravel()
    highs.passModel(lp)
    found: list[Implied] = []
    for j in range(d):
        for sign in (1, -1):
            highs.changeColCost(j, float(sign))
            highs.run()
            if highs.getModelStatus() == highspy.HighsModelStatus.kOptimal:
                tight = np.flatnonzero(np.asarray(highs.getSolution().row_dual))
                found += _implied_bound(exact_rows, exact_right, tight, j, sign)
            highs.changeColCost(j, 0.0)
    return found


def _implied_bound(
    rows: list[list[fmpq]], right: list[fmpq], tight: NDArray[np.intp], j: int, sign: int
) -> list[Implied]:
    """Bound sign * x_j from above by exact multipliers of the tight rows; nothing if they prove nothing."""
    d = len(rows[0])
    equations = [[rows[i][k] for i in tight] + [fmpq(-sign if k == j else 0)] for k in range(d)]
    solution = Elimination.of(equations, len(tight))
    if solution is None:
        return []  # the piece is then treated as unbounded in this direction, which is sound
    multipliers = solution.lift([fmpq(0)] * len(solution.free))
    if any(m < 0 for m in multipliers):
        return []
    bound = sum((m * right[i] for m, i in zip(multipliers, tight, strict=True)), fmpq(0))
    nearest = to_float(bound)
    if np.isinf(nearest):
        return []
    above = nearest if rational(nearest) >= bound else float(np.nextafter(nearest, np.inf))
    used = [(int(i), m) for i, m in zip(tight, multipliers, strict=True) if m]
    return [(j, sign, above, used)] if np.isfinite(above) else []
