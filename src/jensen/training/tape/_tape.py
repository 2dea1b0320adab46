"""A torch module as the tensors of a `ReLUNetwork`: penalties differentiate through them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from jensen.errors import NetworkError
from jensen.network import FloatArray, Layer, Matrix, ReLUNetwork
from jensen.training.tape._operator import Operator
from jensen.training.tape._places import places_of


@dataclass(frozen=True, eq=False)
class Affine:
    """sum_k weights[k] @ h_k + bias, as in `jensen.network.Layer`."""

    weights: Mapping[int, Tensor | Operator]
    bias: Tensor


@dataclass(frozen=True, eq=False)
class Tape:
    """Hidden layers, slopes below zero, and output of a piecewise-linear module, with gradients attached.

    Attributes
    ----------
    hidden : tuple of Affine
    negative_slopes : tuple of float
        One for each hidden layer: 0 is ReLU.
    output : Affine
    """

    hidden: tuple[Affine, ...]
    negative_slopes: tuple[float, ...]
    output: Affine

    @property
    def widths(self) -> tuple[int, ...]:
        """Numbers of neurons of the hidden layers."""
        return tuple(len(layer.bias) for layer in self.hidden)

    def preactivations(self, x: Tensor) -> list[Tensor]:
        """z_l of every hidden layer, as (batch, n_l) tensors, for a (batch, d) tensor."""
        values, result = [x], []
        for position, (layer, a) in enumerate(zip(self.hidden, self.negative_slopes, strict=True), start=1):
            z = layer.bias
            for k, w in layer.weights.items():
                z = torch.addmm(z, values[k], w.T) if isinstance(w, Tensor) else z + w.apply(values[k])
            result.append(z)
            if position < len(self.hidden):
                values.append(torch.relu(z) if a == 0 else torch.where(z > 0, z, a * z))
        return result

    def slopes(self, preactivations: Sequence[Tensor]) -> list[Tensor]:
        """Slope of every activation; a neuron at zero counts as inactive."""
        pairs = zip(preactivations, self.negative_slopes, strict=True)
        return [(z > 0).to(z.dtype) if a == 0 else a + (1.0 - a) * (z > 0).to(z.dtype) for z, a in pairs]

    def backward(self, slopes: Sequence[Tensor]) -> list[Tensor]:
        """Differentiate the output by every source, for given slopes, as `ReLUNetwork.backward` does.

        Parameters
        ----------
        slopes : sequence of (batch, n_l) tensors

        Returns
        -------
        list of (batch, n_k) tensors
            For k = 0 (the gradient by the input) to L (the adjoints of hidden layer k).
        """
        one = torch.ones_like(self.output.bias)[None]
        into: dict[int, Tensor] = {
            k: w if isinstance(w, Tensor) else one @ w for k, w in self.output.weights.items()
        }
        for position in range(len(self.hidden), 0, -1):
            if position not in into:
                continue
            dz = into[position] * slopes[position - 1]
            for k, w in self.hidden[position - 1].weights.items():
                into[k] = into[k] + dz @ w if k in into else dz @ w
        like, batch = self.output.bias, len(slopes[0]) if slopes else 1
        # A source that nothing reads, such as the input of a network with biases only, has derivative zero.
        sizes = [self._inputs, *self.widths]
        return [
            into[k].expand(batch, -1)
            if k in into
            else torch.zeros(batch, n, dtype=like.dtype, device=like.device)
            for k, n in enumerate(sizes)
        ]

    def jumps(self, slopes: Sequence[Tensor], neurons: Tensor) -> Tensor:
        """Compute (1 - a_v) g_v, the change of slope per unit of pre-activation, of a neuron per pattern.

        Parameters
        ----------
        slopes : sequence of (batch, n_l) tensors
        neurons : (batch,) tensor of int64
            Counted through all hidden layers.

        Returns
        -------
        (batch,) tensor
        """
        if not self.hidden:
            return self.output.bias.new_zeros(len(neurons))
        adjoints = self.backward(slopes)[1:]
        scaled = [g if a == 0 else (1.0 - a) * g for g, a in zip(adjoints, self.negative_slopes, strict=True)]
        return torch.cat(scaled, dim=1).gather(1, neurons[:, None]).squeeze(1)

    @property
    def _inputs(self) -> int:
        first = self.hidden[0] if self.hidden else self.output
        return int(first.weights[0].shape[1])

    def network(self) -> ReLUNetwork:
        """Read the weights off as a `ReLUNetwork`: the one that `jensen.as_network` makes of the module."""
        layers = [
            Layer(_arrays(layer), _array(layer.bias), a)
            for layer, a in zip(self.hidden, self.negative_slopes, strict=True)
        ]
        return ReLUNetwork(self._inputs, layers, _arrays(self.output), float(self.output.bias.detach()))


def _array(tensor: Tensor) -> FloatArray:
    return tensor.detach().cpu().to(torch.float64).numpy().astype(np.float64)


def _arrays(layer: Affine) -> dict[int, Matrix]:
    return {k: _array(w) if isinstance(w, Tensor) else w.matrix() for k, w in layer.weights.items()}


def has_tape(module: nn.Module) -> bool:
    """Whether `tape` can read a module.

    It can read a piecewise-linear `SkipMLP` or `FICNN`, and an `nn.Sequential` of linear layers,
    convolutions, batch normalisations, average poolings and changes of shape, with `ReLU` or `LeakyReLU`
    between. It takes vectors: one of images starts with ``nn.Unflatten(1, shape)``, also in front of a
    `ConvICNN`.
    """
    try:
        places_of(module)
    except NetworkError:
        return False
    return True


def tape(module: nn.Module) -> Tape:
    """Read the weights of a module as they are now, with gradients to its parameters, as in eval mode.

    Parameters
    ----------
    module : torch.nn.Module

    Returns
    -------
    Tape

    Raises
    ------
    NetworkError
        If the module is none that `has_tape` knows; it names the layer.
    """
    places = places_of(module)
    maps = [Affine(place.weights(), place.bias()) for place in places.maps]
    return Tape(tuple(maps[:-1]), places.slopes, maps[-1])


def is_plain(module: nn.Module) -> bool:
    """Whether a module with a tape has one matrix of weights, a parameter, behind each of the tape's."""
    maps = places_of(module).maps
    return all(place.is_plain and all(p.is_free for p in place.sources.values()) for place in maps)


@torch.no_grad()
def write(module: nn.Module, network: ReLUNetwork) -> None:
    """Copy the weights of a network of a module's own structure into the module, in the module's dtype.

    Raises
    ------
    NetworkError
        If the module has no tape, shares weights or computes them from other parameters, or the network has
        another structure.
    """
    if not is_plain(module):
        raise NetworkError(
            f"the weights of a {type(module).__name__} are shared, or computed, and cannot be set one by one"
        )
    own = tape(module).network()
    if own.widths != network.widths or own.readers != network.readers or own.input_size != network.input_size:
        raise NetworkError(f"{network!r} does not have the structure of the module, {own!r}")
    for position, place in enumerate(places_of(module).maps, start=1):
        bias = (
            np.array([network.output_bias]) if position > network.depth else network.layers[position - 1].bias
        )
        for k, path in place.sources.items():
            path.weight.copy_(torch.from_numpy(np.array(network.weight(position, k))))
            if isinstance(path.layer.bias, Tensor):
                path.layer.bias.copy_(torch.from_numpy(np.array(bias)))
