"""Inference by optimisation: global minima of convex networks over their inputs, and what follows from them.

Names are imported from their files when they are first asked for, so that exact minimisation of a
`ReLUNetwork` needs no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jensen.minimize._argmin import argmin
    from jensen.minimize._batched import minimize_batch
    from jensen.minimize._conjugate import conjugate, gradient_map, prox
    from jensen.minimize._entropy import minimize_entropy
    from jensen.minimize._exact_maps import Batch, ExactConjugate, ExactProx, exact_conjugate, exact_prox
    from jensen.minimize._export import is_tight, write_lp
    from jensen.minimize._export_cvxpy import CvxpyNetwork, to_cvxpy
    from jensen.minimize._layer import ArgminLayer
    from jensen.minimize._result import Minimum
    from jensen.minimize._structured import ArgminLoss, MaxMarginLoss
    from jensen.minimize._torch_result import BatchedMinimum

_HOMES = {
    "_argmin": ("argmin",),
    "_batched": ("minimize_batch",),
    "_conjugate": (
        "conjugate",
        "gradient_map",
        "prox",
    ),
    "_entropy": ("minimize_entropy",),
    "_exact_maps": (
        "Batch",
        "ExactConjugate",
        "ExactProx",
        "exact_conjugate",
        "exact_prox",
    ),
    "_export": (
        "is_tight",
        "write_lp",
    ),
    "_export_cvxpy": (
        "CvxpyNetwork",
        "to_cvxpy",
    ),
    "_layer": ("ArgminLayer",),
    "_result": ("Minimum",),
    "_structured": (
        "ArgminLoss",
        "MaxMarginLoss",
    ),
    "_torch_result": ("BatchedMinimum",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "ArgminLayer",
    "ArgminLoss",
    "Batch",
    "BatchedMinimum",
    "CvxpyNetwork",
    "ExactConjugate",
    "ExactProx",
    "MaxMarginLoss",
    "Minimum",
    "argmin",
    "conjugate",
    "exact_conjugate",
    "exact_prox",
    "gradient_map",
    "is_tight",
    "minimize_batch",
    "minimize_entropy",
    "prox",
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
