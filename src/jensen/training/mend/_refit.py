"""Least squares for the output's weights under the linear constraints that convexity puts on them.

With the hidden layers fixed, frontiers and patterns are fixed, and every jump is linear in the output's
weights: the convex networks among them form a polyhedral cone.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy import sparse
from scipy.linalg import qr, solve_triangular
from scipy.optimize import nnls

from jensen.certify._verdict import Witness
from jensen.network import FloatArray, Layer, Matrix, ReLUNetwork, times, times_transpose
from jensen.training._attack import features
from jensen.training._cases import Cases
from jensen.training.mend._head import Head

RIDGE = 1e-8
"""Weight of the distance to the old output weights, relative to the features' squares."""


class Refit:
    """The cone of output weights, cut by cut, and the best fit in it.

    Parameters
    ----------
    network : ReLUNetwork
        Its hidden layers stay as they are.
    x, y : (batch, d) and (batch,) arrays
        What is to be fitted.
    single : bool
        Whether weights are float32 numbers.
    head : Head, optional
        Which weights the output's are made of; by default they are free, and so is the bias.

    Attributes
    ----------
    weights : dict of int to array
        By source: the head's weights as `solve` left them.
    """

    def __init__(
        self, network: ReLUNetwork, x: FloatArray, y: FloatArray, single: bool, head: Head | None = None
    ) -> None:
        self.network, self.single = network, single
        self._sources = sorted(network.output_weights)
        if head is None:
            direct = {k: dense(network.output_weights[k])[0] for k in self._sources}
            head = Head(direct, dict.fromkeys(self._sources), True)
        self._head = head
        self.weights = dict(head.weights)
        self._sizes = [len(self.weights[k]) for k in self._sources]
        self._old = np.concatenate([*(self.weights[k] for k in self._sources), [network.output_bias]])
        values = self._through(features(network, x))
        constant = np.full((len(x), 1), float(head.biased))
        matrix = np.concatenate([*(values[k] for k in self._sources), constant], axis=1)
        size = np.sqrt((matrix**2).mean(axis=0))
        self._scale = np.maximum(size, 1e-6 * size.max())
        # Columns are scaled to one, and held to the old weights just enough to have one solution.
        ridge = np.sqrt(RIDGE) * np.eye(len(size))
        stacked = np.concatenate([matrix / self._scale / np.sqrt(len(x)), ridge])
        right = np.concatenate([y / np.sqrt(len(x)), ridge @ (self._old * self._scale)])
        q, self._r = qr(stacked, mode="economic")
        self._f = q.T @ right
        self._rows = np.zeros((0, len(size)))
        self._margins = np.zeros(0)

    def _through(self, values: Mapping[int, FloatArray]) -> dict[int, FloatArray]:
        """Turn values of sources into what the head's weights see."""
        before = self._head.before
        return {
            k: v if (part := before.get(k)) is None else times_transpose(v, part) for k, v in values.items()
        }

    @property
    def cuts(self) -> int:
        """Number of constraints."""
        return len(self._rows)

    def cut(self, cases: Cases) -> None:
        """Ask for nonnegative jumps at some cases."""
        rates = cases.sensitivities(self.network)
        gain = np.ones(len(cases))
        for position, layer in enumerate(self.network.layers, start=1):
            mine = cases.layers == position
            gain[mine] = 1.0 - layer.negative_slope[cases.indices[mine]]
        blocks = {k: rates[k - 1] * gain[:, None] for k in self._sources if k > 0}
        self._add(self._through(blocks), len(cases))

    def cut_witness(self, witness: Witness) -> None:
        """Ask that three points do not violate Jensen's inequality."""
        ends = np.array([[float(v) for v in p] for p in (witness.x, witness.y, witness.middle)])
        values, t = self._through(features(self.network, ends)), float(witness.t)
        self._add({k: (t * v[:1] + (1 - t) * v[1:2] - v[2:]) for k, v in values.items() if k > 0}, 1)

    def cut_signs(self) -> None:
        """Ask for nonnegative weights of all hidden neurons: all that is needed above nonnegative layers."""
        for k, n in zip(self._sources, self._sizes, strict=True):
            if k > 0:
                self._add({k: np.eye(n)}, n)

    def _add(self, blocks: Mapping[int, FloatArray], count: int) -> None:
        parts = [
            blocks[k] if k in blocks else np.zeros((count, n))
            for k, n in zip(self._sources, self._sizes, strict=True)
        ]
        rows = np.concatenate([*parts, np.zeros((count, 1))], axis=1)
        size = np.abs(rows).sum(axis=1)
        rows = rows[size > 0] / size[size > 0, None]
        if not len(rows):
            return
        self._rows = np.unique(np.concatenate([self._rows, rows]), axis=0)
        # The margin outweighs the rounding of the weights.
        unit = 4 * float(np.finfo(np.float32 if self.single else np.float64).eps)
        largest = float(np.abs(self._old[:-1]).max(initial=1e-12))
        self._margins = np.full(len(self._rows), largest * max(unit, 1e-12))

    def solve(self) -> ReLUNetwork | None:
        """Fit the weights under all cuts; None if the cuts leave no weights."""
        f, r = self._f, self._r
        u = f
        if len(self._rows):
            # Least distance programming by nonnegative least squares (Lawson and Hanson, chapter 23).
            rows = solve_triangular(r, (self._rows / self._scale).T, trans="T").T
            need = self._margins - rows @ f
            if (need > 0).any():
                size = np.linalg.norm(rows, axis=1)
                system = np.concatenate([rows.T / size, (need / size)[None]])
                goal = np.zeros(len(system))
                goal[-1] = 1.0
                try:
                    multipliers, _ = nnls(system, goal, maxiter=20 * system.shape[1])
                except RuntimeError:  # too many iterations
                    return None
                rest = system @ multipliers - goal
                if rest[-1] > -1e-14:  # the squared residual: zero where no weights meet all cuts
                    return None
                u = f - rest[:-1] / rest[-1]
        c = solve_triangular(r, u) / self._scale
        return self._with(c) if np.isfinite(c).all() else None

    def _with(self, c: FloatArray) -> ReLUNetwork:
        parts = np.split(c[:-1], np.cumsum(self._sizes)[:-1])
        self.weights = dict(zip(self._sources, parts, strict=True))
        before = self._head.before
        outputs = {
            k: w if (part := before[k]) is None else times(w[None], part) for k, w in self.weights.items()
        }
        network = self.network
        changed = ReLUNetwork(network.input_size, network.layers, outputs, float(c[-1]), network.input_shape)
        return rounded(changed, self.single)


def dense(matrix: Matrix) -> FloatArray:
    """Return a weight matrix as a dense array."""
    return np.asarray(matrix.toarray()) if sparse.issparse(matrix) else np.asarray(matrix)


def rounded(network: ReLUNetwork, single: bool) -> ReLUNetwork:
    """Round all weights to float32, if asked."""
    if not single:
        return network

    def near(w: Matrix) -> Matrix:
        return w.astype(np.float32).astype(np.float64)

    layers = [
        Layer(
            {k: near(w) for k, w in lay.weights.items()},
            lay.bias.astype(np.float32).astype(np.float64),
            lay.negative_slope,
        )
        for lay in network.layers
    ]
    outputs = {k: near(w) for k, w in network.output_weights.items()}
    bias = float(np.float32(network.output_bias))
    return ReLUNetwork(network.input_size, layers, outputs, bias, network.input_shape)
