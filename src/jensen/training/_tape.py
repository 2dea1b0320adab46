"""A torch module as the tensors of a `ReLUNetwork`: penalties differentiate through them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from jensen.errors import NetworkError
from jensen.network import FloatArray, Layer, ReLUNetwork, as_network
from jensen.nn import FICNN, SkipMLP
from jensen.nn._activation import LeakyReLU, ReLU

_SILENT = (nn.Identity, nn.Flatten)
"""Modules that pass on a batch of vectors, or of single numbers, as it is."""


@dataclass(frozen=True, eq=False)
class Affine:
    """sum_k weights[k] @ h_k + bias, as in `jensen.network.Layer`."""

    weights: Mapping[int, Tensor]
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
        for layer, a in zip(self.hidden, self.negative_slopes, strict=True):
            z = layer.bias
            for k, w in layer.weights.items():
                z = z + values[k] @ w.T
            result.append(z)
            values.append(torch.relu(z) if a == 0 else torch.where(z > 0, z, a * z))
        return result

    def slopes(self, preactivations: Sequence[Tensor]) -> list[Tensor]:
        """Slope of every activation; a neuron at zero counts as inactive."""
        pairs = zip(preactivations, self.negative_slopes, strict=True)
        return [(z > 0).to(z.dtype) if a == 0 else a + (1.0 - a) * (z > 0) for z, a in pairs]

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
        into: dict[int, Tensor] = {k: w for k, w in self.output.weights.items()}
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


def _arrays(layer: Affine) -> dict[int, FloatArray]:
    return {k: _array(w) for k, w in layer.weights.items()}


def _flat(module: nn.Sequential) -> list[nn.Module]:
    parts: list[nn.Module] = []
    for part in module:
        parts += _flat(part) if type(part) is nn.Sequential else [part]
    return [part for part in parts if not isinstance(part, _SILENT)]


@dataclass(frozen=True)
class _Place:
    """The torch layers of one affine map: the one with the bias, and the weight of each source."""

    biased: nn.Linear
    sources: Mapping[int, nn.Linear]


def _places(module: nn.Module) -> tuple[list[_Place], list[float]] | None:
    """Find the torch layers behind every affine map, the output's last; None if the module has no tape."""
    if isinstance(module, (SkipMLP, FICNN)):
        activation = module.activation
        if not module.piecewise_linear or type(activation) not in (ReLU, LeakyReLU):
            return None
        slope = activation.slope if isinstance(activation, LeakyReLU) else 0.0
        places = [_Place(module.first, {0: module.first})]
        for i, part in enumerate(module.hidden):
            layer = cast(nn.Linear, part)
            skips = {0: cast(nn.Linear, module.skips[i])} if len(module.skips) > 0 else {}
            places.append(_Place(layer, {**skips, i + 1: layer}))
        return places, [slope] * (len(places) - 1)
    if type(module) is not nn.Sequential:
        return None
    parts = _flat(module)
    linear, between = parts[::2], parts[1::2]
    if len(parts) % 2 == 0 or any(type(part) is not nn.Linear for part in linear):
        return None
    if any(type(part) not in (nn.ReLU, nn.LeakyReLU) for part in between):
        return None
    places = [_Place(cast(nn.Linear, part), {i: cast(nn.Linear, part)}) for i, part in enumerate(linear)]
    if places[-1].biased.out_features != 1:
        return None
    return places, [float(p.negative_slope) if isinstance(p, nn.LeakyReLU) else 0.0 for p in between]


def has_tape(module: nn.Module) -> bool:
    """Whether `tape` can read a module.

    It can read a piecewise-linear `SkipMLP` or `FICNN`, and an `nn.Sequential` of `Linear` and `ReLU` or
    `LeakyReLU` in turn with one output.
    """
    return _places(module) is not None


def tape(module: nn.Module) -> Tape:
    """Read the weights of a module as they are now, with gradients to its parameters.

    Parameters
    ----------
    module : torch.nn.Module

    Returns
    -------
    Tape

    Raises
    ------
    NetworkError
        If the module is none that `has_tape` knows.
    """
    places, slopes = _known(module)
    maps = []
    for place in places:
        bias = place.biased.bias
        zero = torch.zeros(place.biased.out_features, dtype=place.biased.weight.dtype)
        weights = {k: part.weight for k, part in place.sources.items()}
        maps.append(Affine(weights, zero.to(place.biased.weight.device) if bias is None else bias))
    return Tape(tuple(maps[:-1]), tuple(slopes), maps[-1])


def is_free(module: nn.Module) -> bool:
    """Whether the weights of a module with a tape are parameters themselves, not computed from others."""
    places, _ = _known(module)
    return all("weight" in part._parameters for place in places for part in place.sources.values())


@torch.no_grad()
def write(module: nn.Module, network: ReLUNetwork) -> None:
    """Copy the weights of a network of a module's own structure into the module, in the module's dtype.

    Raises
    ------
    NetworkError
        If the module has no tape or computes weights from other parameters, or the network has another
        structure.
    """
    places, _ = _known(module)
    if not is_free(module):
        raise NetworkError(f"the weights of a {type(module).__name__} are computed and cannot be set")
    own = tape(module).network()
    if own.widths != network.widths or own.readers != network.readers or own.input_size != network.input_size:
        raise NetworkError(f"{network!r} does not have the structure of the module, {own!r}")
    for position, place in enumerate(places, start=1):
        for k, part in place.sources.items():
            part.weight.copy_(torch.from_numpy(np.array(network.weight(position, k))))
        if place.biased.bias is not None:
            last = position > network.depth
            bias = np.array([network.output_bias]) if last else network.layers[position - 1].bias
            place.biased.bias.copy_(torch.from_numpy(np.array(bias)))


def _known(module: nn.Module) -> tuple[list[_Place], list[float]]:
    found = _places(module)
    if found is None:
        raise NetworkError(
            f"cannot look inside a {type(module).__name__}: this needs a piecewise-linear SkipMLP or FICNN, "
            "or an nn.Sequential of Linear and ReLU or LeakyReLU with one output"
        )
    return found


def network_of(module: nn.Module, input_shape: Sequence[int] | None = None) -> ReLUNetwork:
    """Lower a module: quickly where it has a tape, by tracing it elsewhere."""
    if has_tape(module):
        return tape(module).network()
    return as_network(module, input_shape=input_shape).network
