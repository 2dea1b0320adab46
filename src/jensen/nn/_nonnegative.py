"""Weights that are nonnegative at every moment: maps from free parameters, through parametrize."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrize

from jensen.errors import ArgumentError, NetworkError


class NonnegativeMap(nn.Module):
    """Base class of the maps from a free parameter to a nonnegative weight, elementwise.

    `forward` takes the free parameter and `right_inverse` finds one for a given weight; the latter is what
    makes assignment (``layer.weight = w``), initialisation and loading of plain weights work. Derive from
    this class, and define `forward` and `invert`, to use a map of your own.

    Attributes
    ----------
    shape : tuple of int or None
        Shape of the weight, once the map is registered on one.
    """

    shape: tuple[int, ...] | None = None

    def forward(self, raw: Tensor) -> Tensor:
        """Map the free parameter to the weight; the result is nonnegative for every finite `raw`."""
        raise NotImplementedError

    def invert(self, weight: Tensor) -> Tensor:
        """Find a new, finite tensor that `forward` maps to a finite nonnegative weight, up to rounding."""
        raise NotImplementedError

    def right_inverse(self, weight: Tensor) -> Tensor:
        """Find the free parameter of a weight.

        Parameters
        ----------
        weight : tensor
            Nonnegative and finite.

        Returns
        -------
        tensor of the same shape and dtype

        Raises
        ------
        NetworkError
            If the weight has negative entries, NaN or infinity, or another shape than the present one.
        """
        if self.shape is not None and tuple(weight.shape) != self.shape:
            raise NetworkError(f"a weight of shape {self.shape} cannot become one of {tuple(weight.shape)}")
        # A tensor on the meta device has no numbers that could be looked at.
        if not weight.is_meta and not bool(((weight >= 0) & (weight < math.inf)).all()):
            raise NetworkError(
                "this weight is nonnegative by construction and cannot take negative entries, NaN or "
                "infinity; clamp them, or load the weights into a jensen.nn.SkipMLP, which is free"
            )
        return self.invert(weight.detach())


class Clamp(NonnegativeMap):
    """max(raw, 0): exact zeros are easy to reach, and have no gradient from below."""

    def forward(self, raw: Tensor) -> Tensor:
        """Map the free parameter to the weight."""
        return torch.relu(raw)

    def invert(self, weight: Tensor) -> Tensor:
        """Return the weight itself, exactly."""
        # parametrize adopts the storage of what it gets; the caller keeps his tensor for himself.
        return weight.clone()


class Abs(NonnegativeMap):
    """|raw|."""

    def forward(self, raw: Tensor) -> Tensor:
        """Map the free parameter to the weight."""
        return raw.abs()

    def invert(self, weight: Tensor) -> Tensor:
        """Return the weight itself, exactly."""
        return weight.clone()


class Square(NonnegativeMap):
    """raw^2."""

    def forward(self, raw: Tensor) -> Tensor:
        """Map the free parameter to the weight."""
        return raw.square()

    def invert(self, weight: Tensor) -> Tensor:
        """Return the square root."""
        return weight.sqrt()


class Exp(NonnegativeMap):
    """exp(raw): never reaches zero until it underflows; training changes weights by factors."""

    def forward(self, raw: Tensor) -> Tensor:
        """Map the free parameter to the weight."""
        return raw.exp()

    def invert(self, weight: Tensor) -> Tensor:
        """Return the logarithm; of zero, a number whose exponential underflows to zero."""
        return weight.log().clamp_min(_log_of_zero(weight.dtype))


class Softplus(NonnegativeMap):
    """log(1 + exp(raw)): smooth, like exp for small weights and like the identity for large ones."""

    def forward(self, raw: Tensor) -> Tensor:
        """Map the free parameter to the weight."""
        return functional.softplus(raw, 1.0, 40.0)

    def invert(self, weight: Tensor) -> Tensor:
        """Return w + log(1 - exp(-w)), which neither overflows nor cancels."""
        return (weight + torch.log(-torch.expm1(-weight))).clamp_min(_log_of_zero(weight.dtype))


class PseudoHuber(NonnegativeMap):
    """sqrt(1 + raw^2) - 1: a smooth absolute value, with exact zeros within reach of a gradient."""

    def forward(self, raw: Tensor) -> Tensor:
        """Map the free parameter to the weight."""
        # raw^2 / (1 + sqrt(1 + raw^2)), which does not cancel; large values, whose squares would
        # overflow, go through |raw| / ((1 / |raw|) + sqrt(1 / raw^2 + 1)).
        size = raw.abs()
        small, large = size.clamp_max(1.0), size.clamp_min(1.0)
        below = small.square() / (1.0 + torch.sqrt(1.0 + small.square()))
        above = large / (1.0 / large + torch.sqrt(1.0 + (1.0 / large).square()))
        return torch.where(size < 1.0, below, above)

    def invert(self, weight: Tensor) -> Tensor:
        """Return sqrt(w (w + 2))."""
        return weight.sqrt() * (weight + 2.0).sqrt()


def _log_of_zero(dtype: torch.dtype) -> float:
    """Return a finite number whose exponential rounds to zero: e times below the least subnormal number."""
    numbers = torch.finfo(dtype)
    return math.log(numbers.tiny) + math.log(numbers.eps) - 1.0


_MAPS: dict[str, Callable[[], NonnegativeMap]] = {
    "clamp": Clamp,
    "abs": Abs,
    "square": Square,
    "exp": Exp,
    "softplus": Softplus,
    "pseudo_huber": PseudoHuber,
}
CONSTRAINTS = tuple(_MAPS)
"""Names of the maps."""


def as_map(constraint: str | type[NonnegativeMap]) -> NonnegativeMap:
    """Make a new map, from its name or its class.

    Raises
    ------
    ArgumentError
        If there is none of this name.
    """
    if isinstance(constraint, str) and constraint in _MAPS:
        return _MAPS[constraint]()
    if isinstance(constraint, type) and issubclass(constraint, NonnegativeMap):
        return constraint()
    raise ArgumentError(
        f"constraint must be one of {', '.join(CONSTRAINTS)}, or a class derived from "
        f"jensen.nn.NonnegativeMap, got {constraint!r:.80}"
    )


def nonnegative(
    module: nn.Module, name: str = "weight", constraint: str | type[NonnegativeMap] = "abs"
) -> nn.Module:
    """Make a parameter of a module nonnegative from now on.

    The module computes its weight from a free parameter, ``module.parametrizations.<name>.original``, which
    is what an optimiser sees. Negative entries become zero at once.

    Parameters
    ----------
    module : torch.nn.Module
    name : str, default "weight"
        A parameter of the module.
    constraint : str or type of NonnegativeMap
        The map: "clamp", "abs", "square", "exp", "softplus", "pseudo_huber", or a class of your own.

    Returns
    -------
    torch.nn.Module
        The same module.

    Raises
    ------
    ArgumentError
        If the module has no parameter of that name, or there is no such map.
    """
    parameter = module._parameters.get(name)
    if parameter is None:
        raise ArgumentError(f"the {type(module).__name__} has no parameter called {name!r}")
    mapping = as_map(constraint)
    mapping.shape = tuple(parameter.shape)
    with torch.no_grad():
        parameter.clamp_(min=0)
    parametrize.register_parametrization(module, name, mapping)
    return module


def is_nonnegative(module: nn.Module, name: str = "weight") -> bool:
    """Whether a parameter is nonnegative by construction: the last map that makes it is one of ours."""
    if not parametrize.is_parametrized(module, name):
        return False
    maps = module.parametrizations
    assert isinstance(maps, nn.ModuleDict)
    chain = list(maps[name].children())
    return isinstance(chain[-1], NonnegativeMap)
