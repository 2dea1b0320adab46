"""States of constrained modules without their constraints."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.utils import parametrize


def plain_state_dict(module: nn.Module) -> dict[str, Tensor]:
    """Return the state of a module with the weights themselves in place of the free parameters behind them.

    A `SkipMLP` loads the plain state of a `FICNN` of its shape, and a `FICNN` that of a `SkipMLP` whose
    inner weights are nonnegative; so does any network of ordinary layers with the same names.

    Parameters
    ----------
    module : torch.nn.Module

    Returns
    -------
    dict of str to tensor
        Detached copies.
    """
    state = {name: value.detach().clone() for name, value in module.state_dict().items()}
    for path, part in module.named_modules():
        if not parametrize.is_parametrized(part):
            continue
        prefix = f"{path}." if path else ""
        for name, chain in part.get_submodule("parametrizations").named_children():
            for key in chain.state_dict(prefix=f"{prefix}parametrizations.{name}."):
                del state[key]
            state[prefix + name] = getattr(part, name).detach().clone()
    return state
