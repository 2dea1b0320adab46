"""Activations that are convex and non-decreasing, and the refusal of those that are not."""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Real
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from jensen.errors import ArgumentError


class ConvexActivation(nn.Module):
    """Base class of the activations: elementwise, convex and non-decreasing on the whole line.

    Networks of `jensen.nn` are convex because every activation is; derive from this class to use one of
    your own, and with it take over the responsibility that it is convex and non-decreasing.

    Attributes
    ----------
    piecewise_linear : bool
        Whether a network with this activation is a `ReLUNetwork`.
    """

    piecewise_linear: bool = False


class ReLU(ConvexActivation):
    """max(x, 0)."""

    piecewise_linear = True

    def forward(self, x: Tensor) -> Tensor:
        """Apply the activation elementwise."""
        return torch.relu(x)


class LeakyReLU(ConvexActivation):
    """x above zero, slope * x below, with a slope in [0, 1]."""

    piecewise_linear = True

    def __init__(self, slope: float = 0.01) -> None:
        super().__init__()
        self.slope = _parameter("the slope of a leaky ReLU", slope, 0.0, 1.0)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the activation elementwise."""
        return functional.leaky_relu(x, self.slope)

    def extra_repr(self) -> str:
        """Describe the activation."""
        return f"slope={self.slope}"


class Softplus(ConvexActivation):
    """log(1 + exp(beta x)) / beta."""

    # torch's own default threshold, 20, makes the function fall by 2e-9 where it switches to the identity:
    # enough to break convexity in float64. At 40 both branches are the same float64.
    _THRESHOLD = 40.0

    def __init__(self, beta: float = 1.0) -> None:
        super().__init__()
        self.beta = _parameter("the beta of a softplus", beta, 0.0, math.inf, open_below=True)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the activation elementwise."""
        return functional.softplus(x, self.beta, self._THRESHOLD)

    def extra_repr(self) -> str:
        """Describe the activation."""
        return f"beta={self.beta}"


class ELU(ConvexActivation):
    """x above zero, alpha (exp(x) - 1) below; convex for alpha in [0, 1], since the slope jumps to 1."""

    def __init__(self, alpha: float = 1.0) -> None:
        super().__init__()
        self.alpha = _parameter("the alpha of an ELU", alpha, 0.0, 1.0)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the activation elementwise."""
        return functional.elu(x, self.alpha)

    def extra_repr(self) -> str:
        """Describe the activation."""
        return f"alpha={self.alpha}"


class CELU(ConvexActivation):
    """x above zero, alpha (exp(x / alpha) - 1) below; convex for every alpha > 0."""

    def __init__(self, alpha: float = 1.0) -> None:
        super().__init__()
        self.alpha = _parameter("the alpha of a CELU", alpha, 0.0, math.inf, open_below=True)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the activation elementwise."""
        return functional.celu(x, self.alpha)

    def extra_repr(self) -> str:
        """Describe the activation."""
        return f"alpha={self.alpha}"


class SquaredReLU(ConvexActivation):
    """max(x, 0)^2."""

    def forward(self, x: Tensor) -> Tensor:
        """Apply the activation elementwise."""
        return torch.relu(x).square()


_BY_NAME: dict[str, Callable[[], ConvexActivation]] = {
    "relu": ReLU,
    "leaky_relu": LeakyReLU,
    "softplus": Softplus,
    "elu": ELU,
    "celu": CELU,
    "squared_relu": SquaredReLU,
}
ACTIVATIONS = tuple(_BY_NAME)
"""Names that `as_activation` knows."""

_FROM_TORCH: dict[type[nn.Module], Callable[[Any], ConvexActivation]] = {
    nn.ReLU: lambda module: ReLU(),
    nn.LeakyReLU: lambda module: LeakyReLU(module.negative_slope),
    nn.Softplus: lambda module: Softplus(module.beta),
    nn.ELU: lambda module: ELU(module.alpha),
    nn.CELU: lambda module: CELU(module.alpha),
}
_REASONS: dict[type[nn.Module], str] = {
    nn.SELU: "its slope falls from 1.76 to 1.05 at zero; use 'elu' or 'celu'",
    nn.GELU: "it decreases below zero; use 'softplus'",
    nn.SiLU: "it decreases below zero; use 'softplus'",
    nn.Mish: "it decreases below zero; use 'softplus'",
    nn.Tanh: "it flattens out above zero; use 'softplus' or 'elu'",
    nn.Sigmoid: "it flattens out above zero; use 'softplus' or 'elu'",
    nn.LogSigmoid: "it is concave; use 'softplus'",
    nn.ReLU6: "it flattens out at 6; use 'relu'",
    nn.Hardtanh: "it flattens out at its ends; use 'relu'",
    nn.PReLU: "its slope is learnt and may leave [0, 1]; use 'leaky_relu'",
}


def as_activation(activation: str | nn.Module) -> ConvexActivation:
    """Turn a name, or a module of torch, into a convex non-decreasing activation.

    Parameters
    ----------
    activation : str or torch.nn.Module
        One of `ACTIVATIONS`; a `ReLU`, `LeakyReLU`, `Softplus`, `ELU` or `CELU` of torch (its numbers are
        read once); or a `ConvexActivation`, which is taken as it is.

    Returns
    -------
    ConvexActivation

    Raises
    ------
    ArgumentError
        If the activation is not convex and non-decreasing, or not known to be.
    """
    if isinstance(activation, ConvexActivation):
        return activation
    if isinstance(activation, str):
        if activation in _BY_NAME:
            return _BY_NAME[activation]()
        raise ArgumentError(
            f"no convex non-decreasing activation is called {activation!r:.80}: choose one of "
            f"{', '.join(ACTIVATIONS)}"
        )
    if (convert := _FROM_TORCH.get(type(activation))) is not None:
        return convert(activation)
    reason = _REASONS.get(type(activation), "derive from jensen.nn.ConvexActivation if it is")
    raise ArgumentError(
        f"a {type(activation).__name__} is not known to be convex and non-decreasing: {reason}"
    )


def _parameter(what: str, value: Any, low: float, high: float, open_below: bool = False) -> float:
    number = as_number(value)
    if number is None or not low <= number <= high or (open_below and number == low):
        within = f"in [{low:g}, {high:g}]" if high < math.inf else f"a finite number above {low:g}"
        raise ArgumentError(f"{what} must be {within} for it to be convex, got {value!r:.80}")
    return number


def as_number(value: Any) -> float | None:
    """Read a finite real number; None if it is none."""
    if type(value) is bool or not isinstance(value, Real):
        return None
    number = float(cast(float, value))
    return number if math.isfinite(number) else None
