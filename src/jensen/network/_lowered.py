"""What an importer returns: the network, and how faithful it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from jensen.network._relu_network import FloatArray, ReLUNetwork

SAMPLES = 256
"""Number of seeded samples on which a rounded lowering is compared with its model; fewer for large ones."""
_WORK = 1 << 29


@dataclass(frozen=True, eq=False)
class Lowered:
    """A network lowered from a model.

    Attributes
    ----------
    network : ReLUNetwork
    exact : bool
        Whether the network computes exactly the function that the model's weights define. False where
        lowering rounded: folding a batch normalisation, composing two linear maps, summing biases.
    deviation : float
        Largest ``|f_model - f_network|`` on a few hundred seeded standard normal samples, in float64 (on
        fewer, but at least 16, for large networks); 0.0 if exact.
    notes : tuple of str
        Which operations rounded, and what else is worth knowing.
    """

    network: ReLUNetwork
    exact: bool
    deviation: float = 0.0
    notes: tuple[str, ...] = ()


def measured(
    network: ReLUNetwork, notes: tuple[str, ...], model: Callable[[FloatArray], FloatArray]
) -> Lowered:
    """Build the result; a lowering that rounded is compared with the model on samples.

    `model` maps (batch, d) inputs to (batch,) outputs.
    """
    if not notes:
        return Lowered(network, True)
    count = max(16, min(SAMPLES, _WORK // network.n_weights))
    points = np.random.default_rng(0).standard_normal((count, network.input_size))
    deviation = float(np.abs(model(points) - network(points)).max())
    return Lowered(network, False, deviation, notes)
