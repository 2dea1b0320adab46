"""From a point of the relaxation to an actual violation: the frontier that the point suggests, made sure of.

Solutions of linear programmes are vertices, where many pre-activations vanish and a pattern is a matter of
choice. So patterns are read off (from the signs at the point, and from the indicators), and where one
has a negative jump another small linear programme looks for a point in the middle of its frontier.
"""

from __future__ import annotations

import highspy
import numpy as np
from numpy.typing import NDArray

from jensen.certify._exact_domain import ExactDomain
from jensen.certify._highs import quiet_highs
from jensen.certify._pieces import Piece
from jensen.certify._twins import JumpWeights
from jensen.certify._verdict import Witness
from jensen.certify._witness import Neuron, confirm
from jensen.network import Domain, FloatArray, ReLUNetwork

Pattern = list[NDArray[np.bool_]]

AMBIGUOUS = 1e-7
"""Pre-activations below this, relative to their neuron's size, may have either sign at a vertex."""


class Probe:
    """Looks for a violation near the points that linear programmes return.

    Parameters
    ----------
    network : ReLUNetwork
    domain : Domain
    exact : ExactDomain
    jumps : JumpWeights
    piece : Piece
    neuron : (layer, index)

    Attributes
    ----------
    witness : Witness or None
        What was found.
    """

    def __init__(
        self,
        network: ReLUNetwork,
        domain: Domain,
        exact: ExactDomain,
        jumps: JumpWeights,
        piece: Piece,
        neuron: Neuron,
    ) -> None:
        self.network, self.domain, self.jumps = network, domain, jumps
        self.piece, self.neuron = piece, neuron
        self.witness: Witness | None = None
        self._tried: set[bytes] = set()
        self._directions = np.zeros((len(exact.directions), network.input_size))
        for row, step in zip(self._directions, exact.directions, strict=True):
            for j, v in step.items():
                row[j] = int(v.p) / int(v.q)

    def __call__(self, point: FloatArray, indicated: Pattern) -> bool:
        """Whether a witness was found; it is then in `witness`.

        Parameters
        ----------
        point : (d,) array
            A point of the piece.
        indicated : list of (n_l,) bool arrays
            Which neurons the linear programme takes to be active.
        """
        x = self.piece.to_input(point)
        if x is None:
            return False
        z = self.network.preactivations(x)
        patterns = [
            [
                np.where(np.abs(v[0]) <= AMBIGUOUS * (1.0 + np.abs(v[0]).mean()), on, v[0] > 0)
                for v, on in zip(z, indicated, strict=True)
            ],
            indicated,
        ]
        return any(self._try(pattern) for pattern in patterns)

    def _try(self, pattern: Pattern) -> bool:
        key = b"".join(np.packbits(on).tobytes() for on in pattern)
        if key in self._tried:
            return False
        self._tried.add(key)
        layer, i = self.neuron
        slopes = [
            np.where(on, 1.0, hidden.negative_slope)[None, :]
            for on, hidden in zip(pattern, self.network.layers, strict=True)
        ]
        if not self.jumps.at(slopes)[layer - 1][0, i] < 0:
            return False
        forms = affine_forms(self.network, slopes)
        normal = forms[layer - 1][i, :-1]
        direction = self._directions.T @ (self._directions @ normal)
        if not direction.any():
            return False
        middle = self._middle(pattern, forms)
        if middle is not None:
            self.witness = confirm(self.network, self.domain, middle, direction, self.neuron)
        return self.witness is not None

    def _middle(self, pattern: Pattern, forms: list[FloatArray]) -> FloatArray | None:
        """Find the point of a frontier with the largest least slack, in floating point."""
        d = self.network.input_size
        layer, i = self.neuron
        kink = forms[layer - 1][i]
        rows = np.vstack([np.where(on[:, None], f, -f) for on, f in zip(pattern, forms, strict=True)])
        own = sum(f.shape[0] for f in forms[: layer - 1]) + i
        rows = np.delete(rows, own, axis=0)
        norms = np.linalg.norm(rows[:, :-1], axis=1)
        along = np.abs(rows[:, :-1] @ kink[:-1]) / np.maximum(norms * np.linalg.norm(kink[:-1]), 1e-300)
        rows, norms = rows[along < 1 - 1e-12], norms[along < 1 - 1e-12]  # twins of the kink have no slack
        A, b = self.domain.inequalities(d)
        rows = np.vstack([rows, np.column_stack([-A, b])])
        norms = np.concatenate([norms, np.linalg.norm(A, axis=1)])
        lo, hi = self.domain.bounds(d)
        for sign, bound in ((1.0, lo), (-1.0, hi)):
            sides = np.flatnonzero(np.isfinite(bound) & (lo < hi))
            side = np.zeros((sides.size, d + 1))
            side[np.arange(sides.size), sides] = sign
            side[:, d] = -sign * bound[sides]
            rows, norms = np.vstack([rows, side]), np.concatenate([norms, np.ones(sides.size)])
        solution = _largest_slack(rows, norms, kink, lo, hi)
        return None if solution is None or solution[-1] <= 1e-9 else solution[:-1]


def affine_forms(network: ReLUNetwork, slopes: list[FloatArray]) -> list[FloatArray]:
    """Pre-activations as affine functions of x for given slopes: (n_l, d + 1) arrays, constants last."""
    d = network.input_size
    sources: list[FloatArray] = [np.eye(d, d + 1)]
    forms = []
    for layer, slope in zip(network.layers, slopes, strict=True):
        form = np.zeros((layer.size, d + 1))
        form[:, d] = layer.bias
        for k, w in layer.weights.items():
            form += w @ sources[k]
        forms.append(form)
        sources.append(slope[0][:, None] * form)
    return forms


def _largest_slack(
    rows: FloatArray, norms: FloatArray, kink: FloatArray, lo: FloatArray, hi: FloatArray
) -> FloatArray | None:
    """Maximise t <= 1 subject to rows(x) >= t norms, kink(x) = 0 and the box; returns (x, t)."""
    m, n = rows.shape
    lp = highspy.HighsLp()
    lp.num_col_, lp.num_row_ = n, m + 1
    lp.sense_ = highspy.ObjSense.kMaximize
    lp.col_cost_ = np.append(np.zeros(n - 1), 1.0)
    lp.col_lower_, lp.col_upper_ = np.append(lo, -1.0), np.append(hi, 1.0)
    lp.row_lower_ = np.append(-rows[:, -1], -kink[-1])
    lp.row_upper_ = np.append(np.full(m, np.inf), -kink[-1])
    lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    lp.a_matrix_.start_ = np.arange(m + 2, dtype=np.int32) * n
    lp.a_matrix_.index_ = np.tile(np.arange(n, dtype=np.int32), m + 1)
    lp.a_matrix_.value_ = np.vstack(
        [np.column_stack([rows[:, :-1], -norms]), np.append(kink[:-1], 0.0)]
    ).ravel()
    highs = quiet_highs()
    highs.passModel(lp)
    highs.run()
    if highs.getModelStatus() != highspy.HighsModelStatus.kOptimal:
        return None
    return np.asarray(highs.getSolution().col_value)
