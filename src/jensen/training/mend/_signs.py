"""Which parameters of a module must not be negative for it to be an input convex network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from jensen.errors import NetworkError
from jensen.training.mend._graph import parameters_after_activations
from jensen.training.tape._places import Places, flattened, places_of


@dataclass(frozen=True, eq=False)
class Signs:
    """Parameters that feed what comes after an activation.

    Attributes
    ----------
    signs : mapping of str to tensor
        By the parameter's dotted name: what its entries times these are, must not be negative. Zero is no
        constraint.
    fixed : frozenset of str
        Parameters that decide about those signs, and must stay as they are.
    """

    signs: Mapping[str, Tensor]
    fixed: frozenset[str]

    @torch.no_grad()
    def negative_parts(self, module: nn.Module) -> dict[str, Tensor]:
        """Return the parts of a module's parameters that have the wrong sign, as numbers of at most zero."""
        return {name: (module.get_parameter(name) * s).clamp_max(0.0) for name, s in self.signs.items()}

    @torch.no_grad()
    def raise_to(self, module: nn.Module, least: Mapping[str, Tensor], factor: float) -> None:
        """Bring parameters, times their signs, up to `factor` times some lower bounds."""
        for name, s in self.signs.items():
            parameter = module.get_parameter(name)
            raised = s * torch.maximum(parameter * s, factor * least[name])
            parameter.copy_(torch.where(s == 0, parameter, raised))


def signs_of(module: nn.Module, shape: tuple[int, ...]) -> Signs:
    """Find out which parameters must have which sign, from a module's structure.

    Parameters
    ----------
    module : torch.nn.Module
    shape : tuple of int
        Of one input.

    Raises
    ------
    NetworkError
        If that cannot be told, or if no signs make the module convex.
    """
    try:
        places = places_of(flattened(module, shape))
    except NetworkError as error:
        names, _ = _names(module)
        signs = {
            name: torch.ones_like(module.get_parameter(name))
            for name in parameters_after_activations(module, shape, str(error))
        }
        return Signs({names[id(module.get_parameter(n))]: s for n, s in signs.items()}, frozenset())
    return _signs(module, places)


def _names(module: nn.Module) -> tuple[dict[int, str], dict[str, nn.Parameter]]:
    parameters = dict(module.named_parameters())
    return {id(p): name for name, p in parameters.items()}, parameters


def _signs(module: nn.Module, places: Places) -> Signs:
    bad = [a for a in places.slopes if not 0 <= a <= 1]
    if bad:
        raise NetworkError(
            f"no signs of weights make the module convex: an activation has slope {bad[0]:g} below zero, and "
            "only slopes between 0 and 1 are convex and non-decreasing"
        )
    names, _ = _names(module)
    signs: dict[str, Tensor] = {}
    fixed: set[str] = set()
    for place in places.maps:
        for path in (path for k, path in place.sources.items() if k > 0):
            with torch.no_grad():
                scale, weight = path.scale(), path.weight
                sign = torch.ones_like(weight) if scale is None else torch.sign(scale).expand_as(weight)
            fixed |= {names[id(norm.weight)] for norm in path.norms if norm.weight is not None}
            if not path.is_free:
                if bool((weight * sign < 0).any()):
                    raise NetworkError(
                        f"the weights of layer {path.main.name!r} are computed from other parameters, and "
                        "some are negative: use jensen.nn.nonnegative, or make them parameters"
                    )
                continue
            name = names[id(weight)]
            if name in signs and not torch.equal(signs[name], sign):
                raise NetworkError(
                    f"the weights {name!r} are used in two places that need them to have different signs"
                )
            signs[name] = sign
    return Signs(signs, frozenset(fixed))
