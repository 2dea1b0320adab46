"""Ordinary networks as `RelayICNN`s: convex at every step of training, without penalties."""

from __future__ import annotations

import torch
from torch import nn

from jensen.nn import RelayICNN, SkipMLP
from jensen.training.tape import Tape, has_tape, is_plain, tape, write


def relay_of(module: nn.Module) -> RelayICNN | None:
    """Build the convex network of a module's shape that begins with its weights as free parameters.

    Parameters
    ----------
    module : torch.nn.Module

    Returns
    -------
    RelayICNN or None
        None where a module has no such counterpart: it is convex by construction itself, has one hidden layer
        or shared weights, or other activations than ReLU.
    """
    if not has_tape(module) or not is_plain(module):
        return None
    weights = tape(module)
    widths = weights.widths
    depth = len(widths)
    sources = [set(layer.weights) for layer in (*weights.hidden[1:], weights.output)]
    with_skips = [{0, k} for k in range(1, depth + 1)]
    if depth < 2 or any(weights.negative_slopes) or min(widths[1:]) < 2:
        return None
    if sources != with_skips and sources != [{k} for k in range(1, depth + 1)]:
        return None
    return RelayICNN.from_skip_mlp(_skip_mlp(weights, skips=sources == with_skips))


@torch.no_grad()
def _skip_mlp(weights: Tape, skips: bool) -> SkipMLP:
    like = weights.output.bias
    inputs = weights.network().input_size
    net = SkipMLP(inputs, weights.widths, skips=skips, device=like.device, dtype=like.dtype)
    write(net, weights.network())
    return net


def write_relay(module: nn.Module, relay: RelayICNN) -> None:
    """Give a module of the same shape the weights of a convex network."""
    write(module, tape(relay.skip_mlp()).network())
