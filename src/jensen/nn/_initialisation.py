"""Initial weights that keep the statistics of signals through the depth of a convex network.

A nonnegative weight cannot have mean zero: it shifts the mean of what it sums, and couples the neurons that
it feeds, since all see the same common part. Hoedt and Klambauer ("Principled Weight Initialisation for
Input-Convex Neural Networks", NeurIPS 2023) draw log-normal weights whose mean and variance keep variance and
correlation of pre-activations at a fixed point of ReLU layers, and let the bias take the mean away. With
the covariance matrix K of a layer's activations, weights of mean m and standard deviation s, independent,
give pre-activations of covariance m^2 1'K1 and of variance s^2 tr K more than that; so both can be chosen.

Their K is that of jointly normal signals at the fixed point, which real networks leave within a few layers
(the fixed point repels, and with few inputs neurons are correlated from the start). Here K is measured, on
standard normal samples that are sent through the layers as they are initialised; and every neuron's scale
and bias are set by its own response. That holds for any activation, for convolutions, and for inputs that
skip layers.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrize

from jensen.errors import ArgumentError

Initialisation = Literal["principled", "torch"]
Layer = nn.Linear | nn.Conv2d

COMMON = 0.5
"""Share of the variance behind a nonnegative weight that neurons have in common, as Hoedt and Klambauer."""
SKIPPED = 0.5
"""Share of a layer's variance that comes straight from the input, where it skips to the layer."""
SAMPLES, FEWEST = 1024, 64
_TINY = 1e-12


def as_initialisation(value: Initialisation) -> Initialisation:
    """Read the argument `initialisation`.

    Raises
    ------
    ArgumentError
        If it is unknown.
    """
    if value not in ("principled", "torch"):
        raise ArgumentError(f"initialisation must be 'principled' or 'torch', got {value!r:.80}")
    return value


def samples(layer: Layer, shape: tuple[int, ...]) -> Tensor:
    """Draw standard normal inputs for a layer, on its device and at least in single precision.

    Parameters
    ----------
    layer : torch.nn.Linear or torch.nn.Conv2d
    shape : tuple of int
        Of one input; the more positions an image has the fewer samples are needed.

    Returns
    -------
    (batch, *shape) tensor
    """
    weight = layer.weight
    batch = max(FEWEST, SAMPLES // math.prod(shape[1:]))
    dtype = torch.promote_types(weight.dtype, torch.float32)
    return torch.randn(batch, *shape, device=weight.device, dtype=dtype)


def first_(layer: Layer, x: Tensor) -> Tensor:
    """Initialise a layer of free weights on the input, as if the input had one more entry, always 1.

    So the kinks of a network of few inputs do not all meet in the origin.

    Parameters
    ----------
    layer : torch.nn.Linear or torch.nn.Conv2d
    x : (batch, ...) tensor
        Samples.

    Returns
    -------
    (batch, ...) tensor
        The layer's output.
    """
    size = layer.weight[0].numel()
    assert layer.bias is not None
    bias = torch.empty_like(layer.bias, dtype=x.dtype).normal_(0.0, math.sqrt(1 / (size + 1)))
    return normal_(layer, x, size / (size + 1)) + _set_bias(layer, bias)


def normal_(layer: Layer, x: Tensor, variance: float) -> Tensor:
    """Initialise free weights: inputs of unit variance and without correlation give `variance`.

    The bias is left alone; parameters and results as for `first_`, without the bias.
    """
    weight = torch.empty_like(layer.weight, dtype=x.dtype)
    weight.normal_(0.0, math.sqrt(variance / weight[0].numel()))
    return _set_weight(layer, x, weight)


def free_(layer: Layer, h: Tensor, variance: float) -> Tensor:
    """Initialise free weights behind an activation, and let the bias be zero.

    The second moment of the outputs over all neurons becomes `variance` (He et al., 2015, for any
    activation).

    Parameters
    ----------
    layer : torch.nn.Linear or torch.nn.Conv2d
    h : (batch, ...) tensor
        Samples of the layer's input.
    variance : float

    Returns
    -------
    (batch, ...) tensor
        The layer's output.
    """
    weight = torch.empty_like(layer.weight, dtype=h.dtype).normal_()
    weight *= (variance / _response(layer, h, weight).square().mean().clamp_min(_TINY)).sqrt()
    if layer.bias is not None:
        _set_bias(layer, torch.zeros_like(layer.bias, dtype=h.dtype))
    return _set_weight(layer, h, weight)


def nonnegative_(layer: Layer, h: Tensor, variance: float) -> Tensor:
    """Initialise a nonnegative weight behind an activation, and its bias.

    Every neuron's output gets mean 0 and `variance`.

    Parameters
    ----------
    layer : NonnegativeLinear or NonnegativeConv2d
    h : (batch, ...) tensor
        Samples of the layer's input.
    variance : float

    Returns
    -------
    (batch, ...) tensor
        The layer's output.
    """
    weight = torch.empty_like(layer.weight, dtype=h.dtype)
    positions = weight[0, 0].numel()
    trace = positions * _by_neuron(h).var(1).sum().clamp_min(_TINY)
    together = _by_neuron(_response(layer, h, torch.ones_like(weight[:1]))).var().clamp_min(_TINY)
    # log-normal weights of this mean and this standard deviation
    mean, deviation = (COMMON / together).sqrt(), ((1 - COMMON) / trace).sqrt()
    scale = torch.log1p((deviation / mean).square())
    weight.normal_().mul_(scale.sqrt()).add_(mean.log() - scale / 2).exp_()
    drawn = _by_neuron(_response(layer, h, weight)).var(1).clamp_min(_TINY)
    weight *= (variance / drawn).sqrt().reshape(-1, *[1] * (weight.ndim - 1))
    out = _set_weight(layer, h, weight)
    return out if layer.bias is None else out + _set_bias(layer, -_by_neuron(out).mean(1))


def unit_(layers: tuple[Layer, ...], z: Tensor) -> Tensor:
    """Scale the neurons of layers whose outputs are added, weights and biases, to unit variance.

    Parameters
    ----------
    layers : tuple of torch.nn.Linear or torch.nn.Conv2d
    z : (batch, ...) tensor
        Samples of the sum of their outputs.

    Returns
    -------
    (batch, ...) tensor
        The scaled sum.
    """
    factor = _by_neuron(z).var(1).clamp_min(_TINY).rsqrt()
    for layer in layers:
        scaled = layer.weight * factor.reshape(-1, *[1] * (layer.weight.ndim - 1))
        _assign(layer, scaled)
        if layer.bias is not None:
            _set_bias(layer, layer.bias * factor)
    return z * factor.reshape(-1, *[1] * (z.ndim - 2))


def torch_(layer: Layer) -> None:
    """Draw the parameters of a layer as torch does; of a constrained weight, the free parameter."""
    weight = layer.weight
    if parametrize.is_parametrized(layer, "weight"):
        weight = layer.get_parameter("parametrizations.weight.original")
    nn.init.kaiming_uniform_(weight, a=math.sqrt(5))
    if layer.bias is not None:
        bound = 1 / math.sqrt(weight[0].numel())
        nn.init.uniform_(layer.bias, -bound, bound)


def _by_neuron(values: Tensor) -> Tensor:
    """Turn (batch, n, ...) into (n, samples)."""
    return values.transpose(0, 1).flatten(1)


def _response(layer: Layer, h: Tensor, weight: Tensor) -> Tensor:
    if isinstance(layer, nn.Conv2d):
        return functional.conv2d(h, weight, None, layer.stride, layer.padding)
    return functional.linear(h, weight)


def _set_weight(layer: Layer, h: Tensor, weight: Tensor) -> Tensor:
    _assign(layer, weight)
    return _response(layer, h, weight)


def _assign(layer: Layer, weight: Tensor) -> None:
    if parametrize.is_parametrized(layer, "weight"):
        layer.weight = weight.to(layer.weight.dtype)
    else:
        layer.weight.copy_(weight)


def _set_bias(layer: Layer, bias: Tensor) -> Tensor:
    assert layer.bias is not None
    layer.bias.copy_(bias)
    return bias.reshape(-1, *[1] * (layer.weight.ndim - 2))
