"""The rules stage: signs propagated backwards decide every ICNN at the cost of reading its weights.

If every hidden neuron's adjoint is nonnegative for all activation patterns, f is convex, with no
genericity assumed (section 3 of the design): nonnegative weights after the first layer are the classical
case, and a neuron whose signs disagree only where the later weights are zero is another.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from jensen.certify._bounds import Intervals, adjoint_bounds, magnitudes
from jensen.certify._twins import JumpWeights
from jensen.network import FloatArray, ReLUNetwork


def jump_lower_bounds(network: ReLUNetwork, intervals: Intervals, jumps: JumpWeights) -> list[FloatArray]:
    """Lower bounds on the jump of every neuron; +inf where it cannot switch.

    Parameters
    ----------
    network : ReLUNetwork
    intervals : Intervals
        Bounds on the pre-activations over the domain; infinite ones make this a pure rule on signs.
    jumps : JumpWeights
    """
    bounds = adjoint_bounds(network, intervals.slopes(network), jumps)
    switching = intervals.switching(network)
    return [np.where(moves, jump, np.inf) for moves, jump in zip(switching, bounds.jump, strict=True)]


def unbounded(network: ReLUNetwork) -> Intervals:
    """Intervals that know nothing."""
    return Intervals(
        [np.full(n, -np.inf) for n in network.widths], [np.full(n, np.inf) for n in network.widths]
    )


def moved_by(network: ReLUNetwork, moving: set[int]) -> list[NDArray[np.bool_]]:
    """Tell which neurons depend on the moving inputs at all, as (n_l,) bool arrays."""
    start = np.zeros(network.input_size)
    start[list(moving)] = 1.0
    moved: list[FloatArray] = [start]
    for layer in network.layers:
        total = np.zeros(layer.size)
        for k, w in layer.weights.items():
            if moved[k].any():
                total += magnitudes(w) @ moved[k]
        moved.append((total > 0).astype(np.float64))
    return [m > 0 for m in moved[1:]]
