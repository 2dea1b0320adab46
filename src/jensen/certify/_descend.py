"""Local search for negative jumps: descent on a smoothed adjoint along each neuron's kink, batched.

On the kink of v the jump is a step function of the position, through the activation pattern of the later
layers. With slopes replaced by logistic ones of width tau it becomes smooth, and its gradient is one more
backward pass: d g_v / dx = sum_u (dz_u / dh_v) g_u s_u'(z_u) dz_u/dx. Every row of the batch follows its own
neuron; tau shrinks as the search goes on.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jensen.certify._twins import JumpWeights
from jensen.network import FloatArray, ReLUNetwork, times, times_transpose


@dataclass
class Found:
    """Smallest jump met by every row of a batch, with the point and the direction across the kink."""

    jump: FloatArray
    point: FloatArray
    direction: FloatArray


class Descent:
    """Descends the jumps of many neurons at once.

    Parameters
    ----------
    network : ReLUNetwork
    jumps : JumpWeights
    layers, indices : (batch,) int arrays
        The neuron of every row; layers count from 1.
    lo, hi : (d,) arrays
        Box that the points stay in; may be infinite.
    mask : (d,) array
        1 for inputs that may move.
    """

    def __init__(
        self,
        network: ReLUNetwork,
        jumps: JumpWeights,
        layers: NDArray[np.intp],
        indices: NDArray[np.intp],
        lo: FloatArray,
        hi: FloatArray,
        mask: FloatArray,
    ) -> None:
        self.network, self.jumps, self.layers, self.indices = network, jumps, layers, indices
        self.lo, self.hi, self.mask = lo, hi, mask
        self.rows = np.arange(len(layers))
        self.gain = np.empty(len(layers))
        for position, layer in enumerate(network.layers, start=1):
            mine = layers == position
            self.gain[mine] = 1.0 - layer.negative_slope[indices[mine]]

    def run(self, points: FloatArray, steps: int, scale: FloatArray) -> Found:
        """Follow the smoothed gradient for some steps, or until a jump is negative.

        Parameters
        ----------
        points : (batch, d) array
            Where to start, near the kinks.
        steps : int
        scale : (batch,) array
            Length of the first step.
        """
        best = Found(np.full(len(points), np.inf), points.copy(), np.zeros_like(points))
        spread: list[FloatArray] | None = None
        for step in range(steps):
            points, across, z, off = self._to_kink(points)
            jump = np.where(off, np.inf, self._jump(z))
            better = jump < best.jump
            best.jump = np.where(better, jump, best.jump)
            best.point[better], best.direction[better] = points[better], across[better]
            if step % 5 == 4 and best.jump.min() < 0:
                break
            if spread is None:
                spread = [np.maximum(np.abs(v).mean(axis=0), 1e-12) for v in z]
            share = step / max(steps - 1, 1)
            gradient = self._gradient(z, [0.3 * s * 0.1**share for s in spread])
            square = np.maximum((across * across).sum(axis=1, keepdims=True), 1e-300)
            gradient -= (gradient * across).sum(axis=1, keepdims=True) / square * across
            norm = np.maximum(np.linalg.norm(gradient, axis=1, keepdims=True), 1e-300)
            length = scale * (0.05 ** (step % 10 / 10.0)) * (1 - 0.9 * share)
            points = np.clip(points - length[:, None] * gradient / norm, self.lo, self.hi)
        return best

    def _to_kink(
        self, points: FloatArray
    ) -> tuple[FloatArray, FloatArray, list[FloatArray], NDArray[np.bool_]]:
        """Move every row towards the kink of its neuron.

        Returns the points, the gradients of their z, all pre-activations, and which rows are off the kink.
        """
        z = self.network.preactivations(points)
        own = self._own(z)
        seeds = [np.zeros_like(v) for v in z]
        for position, seed in enumerate(seeds, start=1):
            mine = self.layers == position
            seed[mine, self.indices[mine]] = 1.0
        across = self._pull(z, seeds) * self.mask
        square = np.maximum((across * across).sum(axis=1), 1e-300)
        points = np.clip(points - (own / square)[:, None] * across, self.lo, self.hi)
        z = self.network.preactivations(points)
        # Clipping or a bent kink may leave a row off its kink: what it sees there is no jump.
        off = np.abs(self._own(z)) > 1e-6 * (1e-12 + np.abs(across).sum(axis=1))
        return points, across, z, off

    def _jump(self, z: list[FloatArray]) -> FloatArray:
        return self._own(self.jumps.at(self.network.slopes(z)))

    def _own(self, values: list[FloatArray]) -> FloatArray:
        """Pick every row's own neuron."""
        result = np.empty(len(self.rows))
        for position, v in enumerate(values, start=1):
            mine = self.layers == position
            result[mine] = v[mine, self.indices[mine]]
        return result

    def _pull(self, z: list[FloatArray], cotangents: list[FloatArray]) -> FloatArray:
        """Gradient by x of sum_u c_u z_u with the pattern at hand."""
        network = self.network
        into = [np.zeros((len(self.rows), network.input_size)), *(np.zeros_like(v) for v in z)]
        for position in range(network.depth, 0, -1):
            layer = network.layers[position - 1]
            dz = cotangents[position - 1] + into[position] * np.where(
                z[position - 1] > 0, 1.0, layer.negative_slope
            )
            if dz.any():
                for k, w in layer.weights.items():
                    into[k] += times(dz, w)
        return into[0]

    def _gradient(self, z: list[FloatArray], widths: list[FloatArray]) -> FloatArray:
        network = self.network
        soft, rate = [], []
        for v, width, layer in zip(z, widths, network.layers, strict=True):
            s = 1.0 / (1.0 + np.exp(-np.clip(v / width, -40.0, 40.0)))
            span = 1.0 - layer.negative_slope
            soft.append(layer.negative_slope + span * s)
            rate.append(span * s * (1.0 - s) / width)
        adjoint = network.backward(soft)[1:]
        tangent: list[FloatArray] = []
        reach: list[FloatArray] = [np.zeros((len(self.rows), network.input_size))]
        cotangents = []
        for position, layer in enumerate(network.layers, start=1):
            t = np.zeros_like(z[position - 1])
            for k, w in layer.weights.items():
                if k and reach[k].any():
                    t += times_transpose(reach[k], w)
            tangent.append(t)
            out = t * soft[position - 1]
            mine = self.layers == position
            out[mine, self.indices[mine]] = 1.0
            reach.append(out)
            cotangents.append(self.gain[:, None] * t * adjoint[position - 1] * rate[position - 1])
        return self._pull(z, cotangents) * self.mask
