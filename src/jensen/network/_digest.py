"""A fingerprint of a network's exact weights and structure."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

if TYPE_CHECKING:
    from jensen.network._relu_network import Matrix, ReLUNetwork


def digest(network: ReLUNetwork) -> str:
    """Hash the function that a network's weights spell out.

    Two networks share a digest iff they have the same layers of neurons with the same nonzero weights,
    biases and slopes as rational numbers; how matrices are stored, the sign of a zero and `input_shape`
    do not matter.

    Returns
    -------
    str
        "sha256:" and 64 hexadecimal digits.
    """
    state = sha256(b"jensen.network 1")

    def feed(values: np.ndarray, dtype: str) -> None:
        # Adding zero turns -0.0 into 0.0.
        data = np.ascontiguousarray(values + 0 if dtype == "<f8" else values, dtype=dtype)
        state.update(len(data).to_bytes(8, "little"))
        state.update(data.tobytes())

    def feed_weights(weights: dict[int, Matrix]) -> None:
        stored = {k: _canonical(w) for k, w in sorted(weights.items())}
        stored = {k: w for k, w in stored.items() if w.nnz}
        feed(np.array(list(stored)), "<u8")
        for w in stored.values():
            feed(w.indptr, "<u8")
            feed(w.indices, "<u8")
            feed(w.data, "<f8")

    feed(np.array([network.input_size, *network.widths]), "<u8")
    for layer in network.layers:
        feed_weights(dict(layer.weights))
        feed(layer.bias, "<f8")
        feed(layer.negative_slope, "<f8")
    feed_weights(dict(network.output_weights))
    feed(np.array([network.output_bias]), "<f8")
    return f"sha256:{state.hexdigest()}"


def _canonical(w: Matrix) -> sparse.csr_array:
    """Return the nonzero entries, row by row in the order of columns."""
    result = sparse.csr_array(w, copy=True)
    result.sum_duplicates()
    result.eliminate_zeros()
    result.sort_indices()
    return result
