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
    from jensen.fit.ancestors._frank_wolfe import fit_frank_wolfe
    from jensen.fit.ancestors._incremental import fit_incremental
    from jensen.fit.ancestors._line import AncestorFit, Line
    from jensen.fit.extensions._after_norm import BatchNormAfterFit, fit_batch_norm_after
    from jensen.fit.extensions._batch_norm import BatchNormFit, Whitening, batch_norm_problem, fit_batch_norm
    from jensen.fit.extensions._cone_lasso import ConeSolution, solve_cone_lasso
    from jensen.fit.extensions._degree_two import PolynomialFit, fit_polynomial_network
    from jensen.fit.extensions._gated_nuclear import GatedVectors, solve_gated_vectors
    from jensen.fit.extensions._mixture_game import MixtureFit, fit_mixture
    from jensen.fit.extensions._parallel_fit import ParallelFit, fit_parallel_network
    from jensen.fit.extensions._parallel_network import ParallelNetwork, random_parallel_network
    from jensen.fit.extensions._parallel_patterns import (
        ParallelPatterns,
        all_parallel_patterns,
        join_parallel_patterns,
        network_parallel_patterns,
    )
    from jensen.fit.extensions._vector_fit import VectorFit, fit_vector_network
    from jensen.fit.extensions._wasserstein import Critic, GeneratorFit, evaluate_critic, fit_generator

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
    "ancestors._frank_wolfe": ("fit_frank_wolfe",),
    "ancestors._incremental": ("fit_incremental",),
    "ancestors._line": ("AncestorFit", "Line"),
    "extensions._after_norm": ("BatchNormAfterFit", "fit_batch_norm_after"),
    "extensions._batch_norm": ("BatchNormFit", "Whitening", "batch_norm_problem", "fit_batch_norm"),
    "extensions._cone_lasso": ("ConeSolution", "solve_cone_lasso"),
    "extensions._degree_two": ("PolynomialFit", "fit_polynomial_network"),
    "extensions._gated_nuclear": ("GatedVectors", "solve_gated_vectors"),
    "extensions._mixture_game": ("MixtureFit", "fit_mixture"),
    "extensions._parallel_fit": ("ParallelFit", "fit_parallel_network"),
    "extensions._parallel_network": ("ParallelNetwork", "random_parallel_network"),
    "extensions._parallel_patterns": (
        "ParallelPatterns",
        "all_parallel_patterns",
        "join_parallel_patterns",
        "network_parallel_patterns",
    ),
    "extensions._vector_fit": ("VectorFit", "fit_vector_network"),
    "extensions._wasserstein": ("Critic", "GeneratorFit", "evaluate_critic", "fit_generator"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "AncestorFit",
    "BatchNormAfterFit",
    "BatchNormFit",
    "ConeSolution",
    "ConvexReLUClassifier",
    "ConvexReLURegressor",
    "Critic",
    "Fit",
    "FixedSolution",
    "GatedReLUClassifier",
    "GatedReLURegressor",
    "GatedVectors",
    "GeneratorFit",
    "Groups",
    "Hinge",
    "Huber",
    "Line",
    "Logistic",
    "Loss",
    "MixtureFit",
    "Multinomial",
    "ParallelFit",
    "ParallelNetwork",
    "ParallelPatterns",
    "PolynomialFit",
    "PriceBound",
    "Problem",
    "RegularisationPath",
    "Round",
    "Squared",
    "VectorFit",
    "Whitening",
    "all_gates",
    "all_parallel_patterns",
    "batch_norm_problem",
    "bound_price",
    "convolutional_gates",
    "count_gates",
    "count_gates_bound",
    "critical_regularisation",
    "data_gates",
    "evaluate_critic",
    "fit_batch_norm",
    "fit_batch_norm_after",
    "fit_frank_wolfe",
    "fit_generator",
    "fit_incremental",
    "fit_mixture",
    "fit_network",
    "fit_parallel_network",
    "fit_polynomial_network",
    "fit_vector_network",
    "gaussian_gates",
    "join_parallel_patterns",
    "make_problem",
    "merge_neurons",
    "network_gates",
    "network_parallel_patterns",
    "neurons_of",
    "random_parallel_network",
    "read_network",
    "regularisation_path",
    "solve_cone_lasso",
    "solve_gated",
    "solve_gated_vectors",
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
