"""A network as the enumeration reads it: neurons in order, which of them can split a region."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from jensen.network import FloatArray, Matrix, ReLUNetwork

SPLIT, FOLLOW, FIXED = 0, 1, 2
INACTIVE, ACTIVE, ZERO = 0, 1, 2
"""State of a neuron on a region; ZERO where its pre-activation vanishes on the whole region."""


def dense(matrix: Matrix) -> FloatArray:
    """Give a weight matrix as a dense array."""
    return np.asarray(matrix.toarray() if sparse.issparse(matrix) else matrix, dtype=np.float64)


@dataclass(frozen=True)
class Kinds:
    """Which neurons can split a region.

    A neuron whose row is proportional to an earlier one's of its layer follows that one; a neuron with no
    weights, or with slope 1 on both sides, is fixed. The others split.

    Attributes
    ----------
    kind : (K,) int8 array of SPLIT, FOLLOW, FIXED
    leader : (K,) int array
        The neuron that a follower follows; its own index for the others.
    ratio : list of Fraction
        Row of the neuron divided by the row of its leader.
    state : (K,) int8 array
        State of the fixed neurons.
    """

    kind: NDArray[np.int8]
    leader: NDArray[np.int64]
    ratio: list[Fraction]
    state: NDArray[np.int8]


def _proportion(row: FloatArray, leader: FloatArray) -> Fraction | None:
    """Return row / leader where the two are exactly proportional."""
    at = int(np.flatnonzero(leader)[0])
    ratio = Fraction(float(row[at])) / Fraction(float(leader[at]))
    pairs = [(float(a), float(b)) for a, b in zip(row, leader, strict=True) if a or b]
    return ratio if all(Fraction(a) == ratio * Fraction(b) for a, b in pairs) else None


def classify(rows: Sequence[FloatArray], slopes: Sequence[FloatArray]) -> Kinds:
    """Sort neurons into those that split, follow and stay fixed.

    Parameters
    ----------
    rows : sequence of (n_l, m_l) arrays
        All weights of every layer side by side, the bias last.
    slopes : sequence of (n_l,) arrays
    """
    total = sum(len(layer) for layer in rows)
    kind, leader = np.full(total, SPLIT, dtype=np.int8), np.arange(total)
    state, ratio = np.zeros(total, dtype=np.int8), [Fraction(1)] * total
    start = 0
    for layer, slope in zip(rows, slopes, strict=True):
        leaders: dict[bytes, list[int]] = {}
        for i, row in enumerate(layer):
            index = start + i
            if slope[i] == 1 or not row[:-1].any():
                kind[index] = FIXED
                bias = row[-1]
                state[index] = ACTIVE if slope[i] == 1 or bias > 0 else INACTIVE
                continue
            # Division rounds correctly, so proportional rows have equal quotients.
            with np.errstate(over="ignore", under="ignore"):
                key = (row / row[np.flatnonzero(row)[0]] + 0.0).tobytes()
            for candidate in leaders.setdefault(key, []):
                proportion = _proportion(row, layer[candidate - start])
                if proportion is not None:
                    kind[index], leader[index], ratio[index] = FOLLOW, candidate, proportion
                    break
            else:
                leaders[key].append(index)
        start += len(layer)
    return Kinds(kind, leader, ratio, state)


class Program:
    """A network prepared for enumeration.

    Neurons are numbered 0..K-1 through the layers. Integer weights are the float64 weights times
    ``2 ** exponent``.

    Parameters
    ----------
    network : ReLUNetwork
    """

    def __init__(self, network: ReLUNetwork) -> None:
        self.network = network
        self.d = network.input_size
        self.starts = [0, *np.cumsum(network.widths).tolist()] if network.depth else [0]
        self.n_neurons = network.n_neurons
        self.weights = [{k: dense(w) for k, w in lay.weights.items()} for lay in network.layers]
        self.output = {k: dense(w)[0] for k, w in network.output_weights.items()}
        self.slopes = [np.asarray(lay.negative_slope) for lay in network.layers]
        rows = [
            np.concatenate([*(w for w in ws.values()), lay.bias[:, None]], axis=1)
            for ws, lay in zip(self.weights, network.layers, strict=True)
        ]
        self.kinds = classify(rows, self.slopes)
        self.layer_of = np.repeat(np.arange(network.depth), network.widths)
        self.members: list[list[int]] = [[] for _ in range(self.n_neurons)]
        for v in range(self.n_neurons):
            if self.kinds.kind[v] != FIXED:
                self.members[int(self.kinds.leader[v])].append(v)

    def input_rows(self) -> Iterator[FloatArray]:
        """Yield the weight rows by which hidden neurons read the input directly."""
        for weights in self.weights:
            if 0 in weights:
                yield from weights[0]
