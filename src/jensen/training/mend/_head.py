"""The weights of a module's last layer: what the output is linear in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from scipy import sparse
from torch import Tensor, nn

from jensen.network import FloatArray
from jensen.training.tape._places import places_of
from jensen.training.tape._shapes import LINEAR, is_kind

LARGEST = 1500
"""Weights of a last layer that are refitted at once, at most."""


@dataclass(frozen=True, eq=False)
class Head:
    """Weights of the output, by the source that they read.

    Attributes
    ----------
    weights : mapping of int to (m_k,) array
    before : mapping of int to (m_k, n_k) sparse array or None
        What stands between the source and the weights, such as an average over an image.
    biased : bool
        Whether a bias is added.
    """

    weights: Mapping[int, FloatArray]
    before: Mapping[int, sparse.csr_array | None]
    biased: bool


def head_of(module: nn.Module) -> Head | None:
    """Find the last layer of a module with a tape; None where it cannot be fitted alone.

    Its weights must be those of linear layers, parameters themselves, not normalised, and not too many.
    """
    paths = places_of(module).maps[-1].sources
    for path in paths.values():
        reshaped = all(step.outputs == (1,) for step in path.after)
        if not (path.is_free and is_kind(path.layer, LINEAR) and reshaped and not path.norms):
            return None
    weights = {
        k: path.weight.detach().cpu().to(torch.float64).numpy()[0].astype(np.float64)
        for k, path in paths.items()
    }
    if sum(len(w) for w in weights.values()) > LARGEST:
        return None
    biased = any(isinstance(path.layer.bias, Tensor) for path in paths.values())
    return Head(weights, {k: path.readout() for k, path in paths.items()}, biased)


@torch.no_grad()
def write_head(module: nn.Module, weights: Mapping[int, FloatArray], bias: float) -> None:
    """Copy weights, as in `Head`, and a bias into the last layer of a module, in its dtype."""
    for k, path in places_of(module).maps[-1].sources.items():
        path.weight.copy_(torch.from_numpy(weights[k][None].copy()))
        if isinstance(path.layer.bias, Tensor):
            path.layer.bias.fill_(bias)
            bias = 0.0
