"""What an importer returns: the network, and how faithful it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from jensen.errors import NetworkError
from jensen.network._relu_network import FloatArray, ReLUNetwork

SAMPLES = 256
"""Number of seeded samples on which a rounded lowering is compared with its model; fewer for large ones."""
FEWEST = 16
_WORK = 1 << 29
_TOLERANCE = 1e-5


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
    """Compare a network with its model on samples and build the result.

    `model` maps (batch, d) inputs to (batch,) outputs in float64. A lowering that did not round is compared
    on a few samples only, as a guard: float arithmetic in another order is all that may differ.

    Raises
    ------
    NetworkError
        If network and model differ by more than rounding can explain.
    """
    count = max(FEWEST, min(SAMPLES, _WORK // network.n_weights)) if notes else FEWEST
    points = np.random.default_rng(0).standard_normal((count, network.input_size))
    expected = model(points)
    deviation = float(np.abs(expected - network(points)).max())
    if not deviation <= _TOLERANCE * (1.0 + float(np.abs(expected).max())):
        raise NetworkError(
            f"the lowered network deviates from the model by {deviation:.3g} on samples; the model is badly "
            "scaled, or treats entries of a batch together, or jensen is wrong: please report it"
        )
    return Lowered(network, True) if not notes else Lowered(network, False, deviation, notes)
