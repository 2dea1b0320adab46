"""Inference by optimisation: global minima of convex networks over their inputs, and what follows from them.

Names are imported from their files when they are first asked for, so that exact minimisation of a
`ReLUNetwork` needs no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jensen.minimize._argmin import argmin
    from jensen.minimize._exact_maps import Batch, ExactConjugate, ExactProx, exact_conjugate, exact_prox
    from jensen.minimize._export import is_tight, write_lp
    from jensen.minimize._export_cvxpy import CvxpyNetwork, to_cvxpy
    from jensen.minimize._result import Minimum

_HOMES = {
    "_argmin": ("argmin",),
    "_exact_maps": ("Batch", "ExactConjugate", "ExactProx", "exact_conjugate", "exact_prox"),
    "_export": ("is_tight", "write_lp"),
    "_export_cvxpy": ("CvxpyNetwork", "to_cvxpy"),
    "_result": ("Minimum",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Batch",
    "CvxpyNetwork",
    "ExactConjugate",
    "ExactProx",
    "Minimum",
    "argmin",
    "exact_conjugate",
    "exact_prox",
    "is_tight",
    "to_cvxpy",
    "write_lp",
]


def __getattr__(name: str) -> Any:
    """Import a public name from its file."""
    if name in _HOME_OF:
        return getattr(import_module(f"jensen.minimize.{_HOME_OF[name]}"), name)
    raise AttributeError(f"module 'jensen.minimize' has no attribute {name!r}")


def __dir__() -> list[str]:
    """List the public names."""
    return __all__
