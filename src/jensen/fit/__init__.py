"""Two-layer ReLU networks trained to global optimality, with a gap that proves it.

Names are imported from their files when they are first asked for, so that only the estimators need
scikit-learn, and only modules torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jensen.fit._arrangement import all_gates, count_gates, count_gates_bound
    from jensen.fit._classifiers import ConvexReLUClassifier, GatedReLUClassifier
    from jensen.fit._fixed import solve_gated, solve_relu
    from jensen.fit._generate import fit_network
    from jensen.fit._lambda_path import RegularisationPath
    from jensen.fit._losses import Hinge, Huber, Logistic, Loss, Multinomial, Squared
    from jensen.fit._network import (
        merge_neurons,
        neurons_of,
        read_network,
        split_coefficient,
        to_torch,
        ungate,
    )
    from jensen.fit._path import critical_regularisation, regularisation_path
    from jensen.fit._patterns import convolutional_gates, data_gates, gaussian_gates, network_gates
    from jensen.fit._price_bound import PriceBound, bound_price
    from jensen.fit._problem import Problem, make_problem
    from jensen.fit._regressors import ConvexReLURegressor, GatedReLURegressor
    from jensen.fit._result import Fit, Round
    from jensen.fit._solution import FixedSolution, Groups

_HOMES = {
    "_arrangement": ("all_gates", "count_gates", "count_gates_bound"),
    "_classifiers": ("ConvexReLUClassifier", "GatedReLUClassifier"),
    "_fixed": ("solve_gated", "solve_relu"),
    "_generate": ("fit_network",),
    "_lambda_path": ("RegularisationPath",),
    "_losses": ("Hinge", "Huber", "Logistic", "Loss", "Multinomial", "Squared"),
    "_network": ("merge_neurons", "neurons_of", "read_network", "split_coefficient", "to_torch", "ungate"),
    "_path": ("critical_regularisation", "regularisation_path"),
    "_patterns": ("convolutional_gates", "data_gates", "gaussian_gates", "network_gates"),
    "_price_bound": ("PriceBound", "bound_price"),
    "_problem": ("Problem", "make_problem"),
    "_regressors": ("ConvexReLURegressor", "GatedReLURegressor"),
    "_result": ("Fit", "Round"),
    "_solution": ("FixedSolution", "Groups"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "ConvexReLUClassifier",
    "ConvexReLURegressor",
    "Fit",
    "FixedSolution",
    "GatedReLUClassifier",
    "GatedReLURegressor",
    "Groups",
    "Hinge",
    "Huber",
    "Logistic",
    "Loss",
    "Multinomial",
    "PriceBound",
    "Problem",
    "RegularisationPath",
    "Round",
    "Squared",
    "all_gates",
    "bound_price",
    "convolutional_gates",
    "count_gates",
    "count_gates_bound",
    "critical_regularisation",
    "data_gates",
    "fit_network",
    "gaussian_gates",
    "make_problem",
    "merge_neurons",
    "network_gates",
    "neurons_of",
    "read_network",
    "regularisation_path",
    "solve_gated",
    "solve_relu",
    "split_coefficient",
    "to_torch",
    "ungate",
]


def __getattr__(name: str) -> Any:
    """Import a public name from its file."""
    if name in _HOME_OF:
        return getattr(import_module(f"jensen.fit.{_HOME_OF[name]}"), name)
    raise AttributeError(f"module 'jensen.fit' has no attribute {name!r}")


def __dir__() -> list[str]:
    """List the public names."""
    return __all__
