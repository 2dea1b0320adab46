"""What every network of `jensen.nn` says about itself, and how it looks at its input."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any

from torch import Tensor, nn

from jensen.errors import ArgumentError, NetworkError
from jensen.nn._activation import ConvexActivation, as_number
from jensen.nn._layers import NonnegativeLayer
from jensen.nn._nonnegative import is_nonnegative


class Architecture(nn.Module):
    """Base class of the architectures.

    Attributes
    ----------
    activation : ConvexActivation
    quadratic : Quadratic or None
        The strongly convex term.
    """

    activation: ConvexActivation
    quadratic: Quadratic | None

    def reset_parameters(self) -> None:
        """Initialise all weights anew."""
        raise NotImplementedError

    @property
    def convex_arguments(self) -> tuple[int, ...]:
        """Positions of the arguments of `forward` in which the network is convex by construction.

        Empty where it is not: for a `SkipMLP`, and where the constraints of a convex network have been
        removed (`torch.nn.utils.parametrize.remove_parametrizations`) or overlaid with another map.
        """
        return ()

    @property
    def piecewise_linear(self) -> bool:
        """Whether the network is piecewise linear in the arguments in which it may be convex."""
        return self.activation.piecewise_linear and self.quadratic is None

    @property
    def strong_convexity(self) -> float:
        """The modulus mu of the quadratic term, with which a convex network is strongly convex."""
        return 0.0 if self.quadratic is None else self.quadratic.modulus

    def _is_constrained(self) -> bool:
        layers = [m for m in self.modules() if isinstance(m, NonnegativeLayer)]
        return all(is_nonnegative(layer) for layer in layers)


class Quadratic(nn.Module):
    """(modulus / 2) |y|^2 for each entry of a batch."""

    def __init__(self, modulus: float) -> None:
        super().__init__()
        self.modulus = modulus

    def forward(self, y: Tensor) -> Tensor:
        """Map (batch, ...) to (batch,)."""
        return y.flatten(1).square().sum(1) * (self.modulus / 2)

    def extra_repr(self) -> str:
        """Describe the term."""
        return f"modulus={self.modulus}"


def as_quadratic(modulus: Any) -> Quadratic | None:
    """Read the argument `quadratic`: the modulus of the strongly convex term, 0 for none.

    Raises
    ------
    ArgumentError
        If it is not a finite number of at least 0.
    """
    number = as_number(modulus)
    if number is None or number < 0:
        raise ArgumentError(f"quadratic must be a finite number of at least 0, got {modulus!r:.80}")
    return Quadratic(number) if number > 0 else None


def as_size(value: Any, what: str) -> int:
    """Read a positive integer.

    Raises
    ------
    ArgumentError
        If it is none.
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
        raise ArgumentError(f"{what} must be a positive integer, got {value!r:.80}")
    return int(value)


def as_sizes(values: Sequence[int], what: str) -> tuple[int, ...]:
    """Read a sequence of positive integers.

    Raises
    ------
    ArgumentError
        If it is none.
    """
    if isinstance(values, (str, bytes)) or not hasattr(values, "__iter__"):
        raise ArgumentError(f"{what} must be a sequence of positive integers, got {values!r:.80}")
    return tuple(as_size(value, f"each of {what}") for value in values)


def check_input(value: Any, shape: tuple[int, ...], name: str) -> None:
    """Refuse an input that is not a batch of arrays of a shape.

    Raises
    ------
    NetworkError
        If it is no tensor, or not of shape (batch, *shape).
    """
    if not isinstance(value, Tensor):
        raise NetworkError(f"{name} must be a tensor, not a {type(value).__name__}")
    if tuple(value.shape[1:]) != shape or value.ndim == 0:
        wanted = ", ".join(["batch", *map(str, shape)])
        hint = f"; pass {name}.unsqueeze(0) for a single one" if tuple(value.shape) == shape else ""
        raise NetworkError(f"{name} must have shape ({wanted}), got {tuple(value.shape)}{hint}")
