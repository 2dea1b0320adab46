"""Linear and convolutional layers whose weight is nonnegative by construction."""

from __future__ import annotations

import copy
from collections.abc import MutableMapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from jensen.nn._initialisation import nonnegative_, samples
from jensen.nn._nonnegative import NonnegativeMap, nonnegative

_ORIGINAL = "parametrizations.weight.original"


class NonnegativeLayer(nn.Module):
    """What layers with a nonnegative weight share: copies, pickles, and loading of plain weights.

    torch gives every parametrised module a class of its own, which cannot be pickled and which copies would
    share, so that removing the parametrisation from one would break the other. Here each copy gets its own.
    """

    weight: Tensor

    def _load_from_state_dict(
        self, state_dict: MutableMapping[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        """Accept a plain ``weight`` where the state has no free parameter; negative entries are an error."""
        plain, original = prefix + "weight", prefix + _ORIGINAL
        if plain in state_dict and original not in state_dict and parametrize.is_parametrized(self, "weight"):
            value = state_dict.pop(plain)
            for mapping in reversed(list(self.get_submodule("parametrizations.weight").children())):
                value = cast(NonnegativeMap, mapping).right_inverse(value)
            state_dict[original] = value
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def register_parameter(self, name: str, param: nn.Parameter | None) -> None:
        """Accept a `Parameter` where torch accepts a tensor only: ``layer.weight = Parameter(w)``."""
        if param is not None and parametrize.is_parametrized(self, name):
            setattr(self, name, param.detach())
        else:
            super().register_parameter(name, param)

    def _recipe(self) -> tuple[type[nn.Module], list[str]]:
        parametrised = self.get_submodule("parametrizations") if parametrize.is_parametrized(self) else None
        names = [] if parametrised is None else [name for name, _ in parametrised.named_children()]
        return parametrize.type_before_parametrizations(self), names

    def __deepcopy__(self, memo: dict[int, Any]) -> nn.Module:
        replica = _rebuild(*self._recipe())
        memo[id(self)] = replica
        replica.__setstate__(copy.deepcopy(self.__dict__, memo))  # type: ignore[no-untyped-call]
        return replica

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return _rebuild, self._recipe(), self.__dict__.copy()


def _rebuild(kind: type[nn.Module], names: list[str]) -> nn.Module:
    """Make an empty module of a class, ready to take over the state of one with these parametrisations."""
    module = kind.__new__(kind)
    nn.Module.__init__(module)
    for name in names:
        # What stands here is overwritten with the state; only the class that torch makes is wanted.
        module.register_parameter(name, nn.Parameter(torch.empty(0, device="cpu")))
        parametrize.register_parametrization(module, name, nn.Identity())
    return module


class NonnegativeLinear(NonnegativeLayer, nn.Linear):
    """A linear layer with a nonnegative weight.

    Parameters
    ----------
    in_features, out_features : int
    bias : bool, default True
        Its entries are free.
    constraint : str or type of NonnegativeMap, default "abs"
        The map from the free parameter to the weight, see `nonnegative`.
    device, dtype
        As in torch.
    initialise : bool, default True
        False where a network initialises its layers together: the weight is torch's, without its negative
        entries.

    Notes
    -----
    ``layer.weight = w`` assigns a weight, of the same shape and dtype and nonnegative. In-place functions
    such as ``torch.nn.init.uniform_(layer.weight)`` have no effect, as on every parametrised module of
    torch: assign their result instead. Loading a state dict with a plain ``weight`` works.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        constraint: str | type[NonnegativeMap] = "abs",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        initialise: bool = True,
    ) -> None:
        super().__init__(in_features, out_features, bias, device, dtype)
        nonnegative(self, "weight", constraint)
        if initialise:
            self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Initialise weight and bias, for inputs that are rectified independent normal numbers."""
        if parametrize.is_parametrized(self, "weight"):
            nonnegative_(self, samples(self, (self.in_features,)).relu(), 1.0)
        else:
            super().reset_parameters()


class NonnegativeConv2d(NonnegativeLayer, nn.Conv2d):
    """A two-dimensional convolution with a nonnegative kernel.

    Parameters
    ----------
    in_channels, out_channels, kernel_size : int
    stride : int, default 1
    padding : int, default 0
    bias : bool, default True
        Its entries are free.
    constraint : str or type of NonnegativeMap, default "abs"
        The map from the free parameter to the weight, see `nonnegative`.
    device, dtype
        As in torch.
    initialise : bool, default True
        False where a network initialises its layers together: the weight is torch's, without its negative
        entries.

    Notes
    -----
    See `NonnegativeLinear` for how to assign and load its weight.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        padding: int = 0,
        bias: bool = True,
        constraint: str | type[NonnegativeMap] = "abs",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        initialise: bool = True,
    ) -> None:
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, bias=bias, device=device, dtype=dtype
        )
        nonnegative(self, "weight", constraint)
        if initialise:
            self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Initialise kernel and bias, for inputs that are rectified independent normal numbers."""
        if parametrize.is_parametrized(self, "weight"):
            image = (self.in_channels, *(8 * size for size in self.kernel_size))
            nonnegative_(self, samples(self, image).relu(), 1.0)
        else:
            super().reset_parameters()
