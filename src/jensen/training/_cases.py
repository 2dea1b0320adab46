"""Cases: neurons with activation patterns of the others, and their jumps as functions of the weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jensen.network import FloatArray, ReLUNetwork, times_transpose
from jensen.training.tape import Tape


@dataclass(frozen=True, eq=False)
class Cases:
    """Neurons on their kinks: which one, and the slopes of all activations there.

    Attributes
    ----------
    layers, indices : (k,) int arrays
        Layers count from 1.
    slopes : list of (k, n_l) arrays
    """

    layers: NDArray[np.intp]
    indices: NDArray[np.intp]
    slopes: list[FloatArray]

    @classmethod
    def none(cls, widths: Sequence[int]) -> Cases:
        """No cases of a network with these widths."""
        empty = np.zeros(0, dtype=np.intp)
        return cls(empty, empty, [np.zeros((0, n)) for n in widths])

    @classmethod
    def at(
        cls, network: ReLUNetwork, layers: NDArray[np.intp], indices: NDArray[np.intp], points: FloatArray
    ) -> Cases:
        """Read the patterns off at one point for each neuron."""
        return cls(layers, indices, network.slopes(network.preactivations(points)))

    def __len__(self) -> int:
        return len(self.layers)

    def __getitem__(self, chosen: NDArray[np.bool_] | NDArray[np.intp] | slice) -> Cases:
        return Cases(self.layers[chosen], self.indices[chosen], [s[chosen] for s in self.slopes])

    def __add__(self, other: Cases) -> Cases:
        return Cases(
            np.concatenate([self.layers, other.layers]),
            np.concatenate([self.indices, other.indices]),
            [np.concatenate(pair) for pair in zip(self.slopes, other.slopes, strict=True)],
        )

    def distinct(self) -> Cases:
        """Keep one case of each neuron and pattern of later layers, which is all that its jump depends on."""
        if not len(self):
            return self
        columns = [self.layers[:, None], self.indices[:, None]]
        # What comes before a neuron, or stands beside it, does not enter.
        columns += [
            np.where(self.layers[:, None] < position, s, 0.0) for position, s in enumerate(self.slopes, 1)
        ]
        _, first = np.unique(np.concatenate(columns, axis=1), axis=0, return_index=True)
        return self[np.sort(first)]

    def jumps(self, network: ReLUNetwork) -> FloatArray:
        """Slope changes per unit of pre-activation, (1 - a_v) g_v, as a (k,) array."""
        adjoints = network.backward(self.slopes)[1:]
        result = np.zeros(len(self))
        for position, (g, layer) in enumerate(zip(adjoints, network.layers, strict=True), start=1):
            mine = np.flatnonzero(self.layers == position)
            i = self.indices[mine]
            result[mine] = (1.0 - layer.negative_slope[i]) * g[mine, i]
        return result

    def sensitivities(self, network: ReLUNetwork) -> list[FloatArray]:
        """Rates of every activation by that of the case's neuron: (k, n_l) arrays.

        The jump of a case is the sum of their products with the output's weights, times 1 - a_v.
        """
        rates: list[FloatArray] = [np.zeros((len(self), network.input_size))]
        for position, layer in enumerate(network.layers, start=1):
            dz = np.zeros((len(self), layer.size))
            for k, w in layer.weights.items():
                if k and rates[k].any():
                    dz += times_transpose(rates[k], w)
            rate = dz * self.slopes[position - 1]
            mine = np.flatnonzero(self.layers == position)
            rate[mine, self.indices[mine]] = 1.0
            rates.append(rate)
        return rates[1:]


def jumps_of(weights: Tape, cases: Cases) -> Tensor:
    """Jumps of cases as a (k,) tensor, differentiable in the weights."""
    like = weights.output.bias
    starts = np.cumsum([0, *weights.widths])
    return weights.jumps(
        [torch.as_tensor(s).to(like) for s in cases.slopes],
        torch.as_tensor(starts[cases.layers - 1] + cases.indices, device=like.device),
    )
