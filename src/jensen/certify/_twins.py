"""Neurons of one layer whose kinks lie on one hyperplane, merged exactly.

Where row_v = lam_v * row (weights and bias alike), h_v = linear part + |lam_v| (1 - a_v) relu(z), so that all
such neurons switch together with one jump, sum_v |lam_v| (1 - a_v) g_v. That sum is what convexity asks
about: relu(l) - relu(2 l) / 2 has none. Bundling the outgoing weights, in rational arithmetic and rounded
once, keeps an exact cancellation exact.
"""

from __future__ import annotations

from collections import defaultdict
from fractions import Fraction
from typing import Any

import numpy as np
from scipy import sparse

from jensen.network import FloatArray, Layer, Matrix, ReLUNetwork, times

SMALLEST = float(np.finfo(np.float64).tiny)

LARGEST_LAYER = 1 << 16
"""Wider layers are not searched for twins: whatever they hide is left to the exact stages."""


class JumpWeights:
    """Outgoing weights that turn adjoints of later layers into jumps: those of `network`, twins merged.

    The column of a twin group's first neuron holds the group's jump per unit of that neuron's
    pre-activation; the columns of the others are zero, for they have no jump of their own left.

    Parameters
    ----------
    network : ReLUNetwork
    merge : bool, default True
        Look for twins. Without, every neuron stands for itself: bounds from the two kinds must not be mixed.
    """

    def __init__(self, network: ReLUNetwork, merge: bool = True) -> None:
        self._network = network
        self.groups = [twin_groups(layer) if merge else [] for layer in network.layers]
        self._changed: dict[tuple[int, int], Matrix] = {}
        for source, (layer, groups) in enumerate(zip(network.layers, self.groups, strict=True), start=1):
            if not groups and not layer.negative_slope.any():
                continue
            for target in network.readers[source]:
                w = network.weight(target, source)
                self._changed[target, source] = _merged(w, layer, groups)

    def weight(self, target: int, source: int) -> Matrix:
        """Weights from the jumps of layer `source` into layer `target`."""
        changed = self._changed.get((target, source))
        return self._network.weight(target, source) if changed is None else changed

    def changes(self, source: int) -> bool:
        """Whether a layer's jumps differ from its adjoints."""
        return any(key[1] == source for key in self._changed)

    def at(self, slopes: list[FloatArray]) -> list[FloatArray]:
        """Jumps of every hidden neuron for given activation slopes, as (batch, n_l) arrays.

        Parameters
        ----------
        slopes : list of (batch, n_l) arrays
            As in `ReLUNetwork.backward`.
        """
        network = self._network
        adjoints = network.backward(slopes)
        result = adjoints[1:]
        for source in range(1, network.depth + 1):
            if self.changes(source):
                jump = np.zeros_like(adjoints[source])
                for target in network.readers[source]:
                    dz = (
                        np.ones((len(jump), 1))
                        if target == network.depth + 1
                        else adjoints[target] * slopes[target - 1]
                    )
                    jump += times(dz, self.weight(target, source))
                result[source - 1] = jump
        return result


def twin_groups(layer: Layer) -> list[list[tuple[int, Fraction]]]:
    """Find groups of two or more neurons with exactly proportional weights and biases.

    Returns
    -------
    list of groups; a group lists (index, factor): the neuron's row is factor times the first one's
    """
    if layer.size > LARGEST_LAYER:
        return []
    blocks = [sparse.csr_array(w) for w in layer.weights.values()]
    rows = sparse.hstack([*blocks, sparse.csr_array(layer.bias[:, None])], format="csr")
    rows.eliminate_zeros()
    rows.sort_indices()
    buckets: dict[bytes, list[int]] = defaultdict(list)
    inputs = rows.shape[1] - 1
    for i in range(layer.size):
        span = slice(rows.indptr[i], rows.indptr[i + 1])
        indices, data = rows.indices[span], rows.data[span]
        # A row without weights has no kink, and neither has a neuron that is linear.
        if indices.size and indices[0] < inputs and layer.negative_slope[i] != 1:
            with np.errstate(over="ignore", invalid="ignore"):
                shape = np.round(data / data[0], 9)
            buckets[indices.tobytes() + shape.tobytes()].append(i)
    groups = []
    for alike in buckets.values():
        bucket = alike
        while len(bucket) > 1:
            first, rest = bucket[0], []
            group = [(first, Fraction(1))]
            for i in bucket[1:]:
                factor = _factor(_row(rows, first), _row(rows, i))
                if factor is None:
                    rest.append(i)
                else:
                    group.append((i, factor))
            if len(group) > 1:
                groups.append(group)
            bucket = rest
    return groups


def _row(rows: sparse.csr_array, i: int) -> FloatArray:
    return rows.data[rows.indptr[i] : rows.indptr[i + 1]]


def _factor(first: FloatArray, other: FloatArray) -> Fraction | None:
    """Return the exact factor between two rows with the same support, or None."""
    factor = Fraction(float(other[0])) / Fraction(float(first[0]))
    if all(Fraction(float(b)) == factor * Fraction(float(a)) for a, b in zip(first, other, strict=True)):
        return factor
    return None


def _merged(w: Matrix, layer: Layer, groups: list[list[tuple[int, Fraction]]]) -> Matrix:
    gain = 1.0 - layer.negative_slope
    if sparse.issparse(w):
        data = _times(w.data, gain[w.indices])
        scaled: Any = sparse.csr_array((data, w.indices, w.indptr), shape=w.shape).tolil()
    else:
        scaled = _times(w, gain)
    for group in groups:
        total: dict[int, Fraction] = defaultdict(Fraction)
        for i, factor in group:
            share = abs(factor) * (1 - Fraction(float(layer.negative_slope[i])))
            column = w[:, [i]].toarray()[:, 0] if sparse.issparse(w) else w[:, i]
            for u in np.flatnonzero(column).tolist():
                total[u] += share * Fraction(float(column[u]))
            scaled[:, [i]] = 0.0
        for u, value in total.items():
            scaled[u, group[0][0]] = _nearest(value)
    return sparse.csr_array(scaled) if sparse.issparse(w) else np.asarray(scaled)


def _nearest(value: Fraction) -> float:
    """Round to the nearest float, but never to zero; infinite where no float is near."""
    sign = 1.0 if value > 0 else -1.0
    try:
        rounded = float(value)
    except OverflowError:
        return sign * np.inf
    return rounded if rounded or not value else sign * SMALLEST


def _times(w: FloatArray, gain: FloatArray) -> FloatArray:
    """Multiply, keeping the sign of what underflows."""
    with np.errstate(over="ignore"):
        product = w * gain
    lost = (np.abs(product) < SMALLEST) & (w != 0) & (gain != 0)
    return np.where(lost, np.sign(w) * np.sign(gain) * SMALLEST, product)
