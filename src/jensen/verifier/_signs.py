"""Neurons that signs of weights alone settle, on a domain of any size: no arithmetic, so nothing rounds.

A neuron has no negative jump if it never switches, if the moving inputs do not reach it, or if no sign
pattern makes its jump negative. Whether a sum can be positive or negative is read off the signs of its
terms; products with 0 and 1 only tell whether any term is there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from jensen.network import Domain, Matrix, ReLUNetwork
from jensen.verifier._twins import Twins

Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Signs:
    """What signs tell: lists over hidden layers of (n_l,) bool arrays.

    Attributes
    ----------
    positive, negative : can the pre-activation be positive, or negative, somewhere in the domain
    settled : neurons that have no negative jump
    """

    positive: list[Flags]
    negative: list[Flags]
    settled: list[Flags]


def sign_analysis(network: ReLUNetwork, domain: Domain, wrt: tuple[int, ...] | None, twins: Twins) -> Signs:
    """Settle what signs can settle."""
    lo, hi = domain.bounds(network.input_size)
    above, below = [hi > 0], [lo < 0]
    moving = lo < hi
    if wrt is not None:
        moving &= np.isin(np.arange(lo.size), wrt)
    moved = [moving]
    positive, negative = [], []
    for layer in network.layers:
        a = layer.negative_slope
        up, down, moves = layer.bias > 0, layer.bias < 0, np.zeros(layer.size, dtype=bool)
        for k, w in layer.weights.items():
            up, down = up | _can(w, above[k], below[k]), down | _can(w, below[k], above[k])
            moves = moves | _can(w, moved[k], moved[k])
        positive.append(up)
        negative.append(down)
        above.append(up | (down & (a < 0)))
        below.append(down & (a > 0))
        moved.append(moves)
    settled = _settled(network, positive, negative, twins)
    return Signs(positive, negative, [s | ~m for s, m in zip(settled, moved[1:], strict=True)])


def unsettled(signs: Signs) -> list[tuple[int, int]]:
    """List the neurons that signs do not settle, as (layer, index)."""
    return [
        (layer, int(i))
        for layer, settled in enumerate(signs.settled, start=1)
        for i in np.flatnonzero(~settled)
    ]


def _settled(network: ReLUNetwork, positive: list[Flags], negative: list[Flags], twins: Twins) -> list[Flags]:
    """Propagate signs of derivatives backwards."""
    one = np.ones(1, dtype=bool)
    # Can the derivative by a layer's pre-activations be positive, or negative; the output's is 1.
    rises, falls = {network.depth + 1: one}, {network.depth + 1: ~one}
    settled: list[Flags] = []
    for source in range(network.depth, 0, -1):
        layer = network.layers[source - 1]
        a = layer.negative_slope
        up, down = np.zeros(layer.size, dtype=bool), np.zeros(layer.size, dtype=bool)
        for target in network.readers[source]:
            w = network.weight(target, source).T
            up = up | _can(w, rises[target], falls[target])
            down = down | _can(w, falls[target], rises[target])
        jump = np.where(a < 1, down, up & (a > 1))
        for leader, *others in twins.groups.get(source, []):
            jump[leader] = any(
                (falls if v > 0 else rises)[target][u]
                for target, column in twins.columns(network, source, leader).items()
                for u, v in column.items()
            )
            jump[others] = False
        on, off = positive[source - 1], negative[source - 1]
        settled.append(~(on & off) | ~jump)
        # Both slopes count wherever the neuron can be zero, unless it never has the other sign.
        on, off = on | ~off, off | ~on
        rises[source] = (on & up) | (off & ((a > 0) & up | (a < 0) & down))
        falls[source] = (on & down) | (off & ((a > 0) & down | (a < 0) & up))
    return settled[::-1]


def _can(w: Matrix | sparse.csc_array, plus: Flags, minus: Flags) -> Flags:
    """Tell in which rows some positive entry meets `plus` or some negative entry meets `minus`."""
    found = np.zeros(w.shape[0])
    for entries, flags in ((w > 0, plus), (w < 0, minus)):
        if flags.any():
            found += np.asarray(entries.astype(np.float64) @ flags.astype(np.float64))
    return np.asarray(found > 0)
