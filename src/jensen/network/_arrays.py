"""Networks from plain arrays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from jensen.errors import NetworkError
from jensen.network._numbers import as_floats
from jensen.network._relu_network import Layer, ReLUNetwork


def from_arrays(
    weights: Sequence[ArrayLike],
    biases: Sequence[ArrayLike] | None = None,
    skips: Sequence[ArrayLike | None] | None = None,
) -> ReLUNetwork:
    """Build a multilayer perceptron with ReLU between its layers from a list of arrays.

    Parameters
    ----------
    weights : sequence of (n_l, n_{l-1}) arrays
        The last one is the output's, of shape (1, n_L) or (n_L,).
    biases : sequence of (n_l,) arrays, optional
        Zero by default.
    skips : sequence of (n_l, d) arrays or None, optional
        Weights from the input straight into each layer (the first layer's must be None).

    Returns
    -------
    ReLUNetwork

    Raises
    ------
    NetworkError
        If shapes do not fit or an entry is not finite.
    """
    matrices = [np.atleast_2d(as_floats(w, f"weight {i}")) for i, w in enumerate(weights, 1)]
    if not matrices:
        raise NetworkError("a network needs at least one weight matrix")
    vectors = (
        [np.zeros(len(w)) for w in matrices]
        if biases is None
        else [np.atleast_1d(as_floats(b, f"bias {i}")) for i, b in enumerate(biases, 1)]
    )
    extra = [None] * len(matrices) if skips is None else list(skips)
    if not len(matrices) == len(vectors) == len(extra):
        raise NetworkError(
            f"got {len(matrices)} weights, {len(vectors)} biases and {len(extra)} skips; their numbers "
            "must agree"
        )
    if extra[0] is not None:
        raise NetworkError("the first layer reads the input already: its skip must be None")
    layers = []
    for position, (w, b, skip) in enumerate(zip(matrices, vectors, extra, strict=True)):
        sources = {position: w}
        if skip is not None:
            sources[0] = np.atleast_2d(as_floats(skip, f"skip {position + 1}"))
        layers.append((sources, b))
    sources, bias = layers.pop()
    if bias.size != 1:
        raise NetworkError(f"the last bias must be a single number, got {bias.size}")
    if matrices[0].ndim != 2:
        raise NetworkError(f"weight 1 must be a matrix, got an array of shape {matrices[0].shape}")
    return ReLUNetwork(matrices[0].shape[1], [Layer(w, b) for w, b in layers], sources, float(bias[0]))
