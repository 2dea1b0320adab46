"""Networks from plain arrays, and the portable file format that holds them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from jensen.errors import NetworkError
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
    matrices = [np.atleast_2d(np.asarray(w, dtype=np.float64)) for w in weights]
    if not matrices:
        raise NetworkError("a network needs at least one weight matrix")
    vectors = (
        [np.zeros(len(w)) for w in matrices]
        if biases is None
        else [np.atleast_1d(np.asarray(b, dtype=np.float64)) for b in biases]
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
            sources[0] = np.atleast_2d(np.asarray(skip, dtype=np.float64))
        layers.append((sources, b))
    sources, bias = layers.pop()
    if bias.size != 1:
        raise NetworkError(f"the last bias must be a single number, got {bias.size}")
    return ReLUNetwork(matrices[0].shape[1], [Layer(w, b) for w, b in layers], sources, float(bias[0]))
