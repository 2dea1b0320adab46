"""Inference by optimisation: global minima of convex networks over their inputs, and what follows from them.

Names are imported from their files when they are first asked for, so that exact minimisation of a
`ReLUNetwork` needs no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jensen.minimize.batched._minimize_batch import minimize_batch
    from jensen.minimize.batched._minimize_entropy import minimize_entropy
    from jensen.minimize.exact._argmin import argmin
    from jensen.minimize.exact._maps import Batch, ExactConjugate, ExactProx, exact_conjugate, exact_prox
    from jensen.minimize.export._cvxpy import CvxpyNetwork, to_cvxpy
    from jensen.minimize.export._files import is_tight, write_lp
    from jensen.minimize.layer._conjugate import conjugate, gradient_map, prox
    from jensen.minimize.layer._layer import ArgminLayer
    from jensen.minimize.layer._structured import ArgminLoss, MaxMarginLoss
    from jensen.minimize.posed._result import Minimum
    from jensen.minimize.tensors._result import BatchedMinimum

_HOMES = {
    "exact._argmin": ("argmin",),
    "batched._minimize_batch": ("minimize_batch",),
    "layer._conjugate": (
        "conjugate",
        "gradient_map",
        "prox",
    ),
    "batched._minimize_entropy": ("minimize_entropy",),
    "exact._maps": (
        "Batch",
        "ExactConjugate",
        "ExactProx",
        "exact_conjugate",
        "exact_prox",
    ),
    "export._files": (
        "is_tight",
        "write_lp",
    ),
    "export._cvxpy": (
        "CvxpyNetwork",
        "to_cvxpy",
    ),
    "layer._layer": ("ArgminLayer",),
    "posed._result": ("Minimum",),
    "layer._structured": (
        "ArgminLoss",
        "MaxMarginLoss",
    ),
    "tensors._result": ("BatchedMinimum",),
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
