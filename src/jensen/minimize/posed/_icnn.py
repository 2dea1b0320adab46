"""Which ReLU networks are input convex by the signs of their weights: those with an exact epigraph."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from jensen.network import FloatArray, Matrix, ReLUNetwork

LARGEST = 1 << 25
"""Networks with more weights than this, zeros included, are not written out as dense matrices."""
EPS = float(np.finfo(np.float64).eps)


def why_not_icnn(network: ReLUNetwork) -> str:
    """Tell why h >= z, h >= slope z describes the network's epigraph no more; empty if it does.

    It does if all weights on hidden neurons are nonnegative, and no slope left of a kink exceeds 1 or, behind
    the neurons that are affine in the input, is negative.
    """
    for position, layer in enumerate(network.layers, 1):
        if (layer.negative_slope > 1).any():
            return f"hidden layer {position} has a slope above 1 left of its kinks"
        hidden = [k for k in layer.weights if k > 0]
        if hidden and (layer.negative_slope < 0).any():
            return f"hidden layer {position} has a negative slope left of its kinks"
        for k in hidden:
            if (least := _least(layer.weights[k])) < 0:
                return f"hidden layer {position} has negative weights on layer {k} (down to {least:g})"
    for k, w in network.output_weights.items():
        if k > 0 and (least := _least(w)) < 0:
            return f"the output has negative weights on layer {k} (down to {least:g})"
    return ""


def rounding_factor(network: ReLUNetwork) -> float:
    """Relative error that covers any chain of sums and products along the network in float64.

    A sum of k products is off by less than (k + 1) EPS / 2 of its terms' absolute values, and errors of
    layers add up; twice that covers what else is done to the result.
    """
    chain = 16
    for weights in [*(layer.weights for layer in network.layers), network.output_weights]:
        chain += sum(w.shape[1] for w in weights.values()) + 4
    return chain * EPS


def packed_size(network: ReLUNetwork) -> int:
    """Count the entries of all weight matrices, zeros included."""
    matrices = [w for layer in network.layers for w in layer.weights.values()]
    return sum(int(np.prod(w.shape)) for w in matrices)


def dense(w: Matrix) -> FloatArray:
    """Return a weight matrix as an array."""
    return np.asarray(w.toarray() if sparse.issparse(w) else w)


def _least(w: Matrix) -> float:
    data = w.data if sparse.issparse(w) else w
    return float(data.min()) if data.size else 0.0
