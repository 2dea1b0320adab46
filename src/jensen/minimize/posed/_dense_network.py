"""Fully connected networks of `jensen.nn` as `ReLUNetwork`s, read off their layers without tracing."""

from __future__ import annotations

import copy
from typing import Any

from jensen.network import FloatArray, Layer, ReLUNetwork


def dense_network(f: Any) -> ReLUNetwork | None:
    """Read a piecewise-linear FICNN, less its quadratic term; None for other modules.

    The same network as `as_network` finds, in a hundredth of the time; for problems that come in sequences.
    """
    from jensen.nn import FICNN

    if type(f) is not FICNN or not f.activation.piecewise_linear:
        return None
    return skeleton(f, float(getattr(f.activation, "slope", 0.0)))


def asymptote(f: Any) -> ReLUNetwork | None:
    """Give a network from which a smooth FICNN differs by a bounded amount; None if none is known."""
    from jensen.nn import FICNN
    from jensen.nn._activation import CELU, ELU, Softplus

    if type(f) is not FICNN or f.strong_convexity or type(f.activation) not in (Softplus, ELU, CELU):
        return None
    return skeleton(copy.deepcopy(f).double())


def skeleton(f: Any, slope: float = 0.0) -> ReLUNetwork:
    """Read the weights of a FICNN into a network with ReLUs (or leaky ones), whatever its activation is."""
    layers = [Layer({0: _array(f.first.weight)}, _array(f.first.bias), slope)]
    skips: list[Any] = list(f.skips) or [None] * len(f.hidden)
    for i, (hidden, skip) in enumerate(zip(f.hidden, skips, strict=True), 1):
        weights = {i: _array(hidden.weight)}
        if skip is not None:
            weights[0] = _array(skip.weight)
        layers.append(Layer(weights, _array(hidden.bias), slope))
    last = layers.pop()
    return ReLUNetwork(f.in_features, layers, dict(last.weights), float(last.bias[0]))


def _array(parameter: Any) -> FloatArray:
    values: FloatArray = parameter.detach().cpu().double().numpy()
    return values
