"""What energies are compared with, fitted to rows for training; validation rows choose between settings."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import torch
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.experimental import enable_iterative_imputer  # noqa: F401  (makes the next import possible)
from sklearn.impute import IterativeImputer, KNNImputer
from torch import Tensor

from experiments.imputing._data import Split, hide_some
from experiments.imputing._models import conditional_mean, precision_of

Imputer: TypeAlias = Callable[[Tensor], Tensor]
"""From rows with NaN to complete ones."""
Judge: TypeAlias = Callable[[Imputer], float]
"""The error on validation rows."""

NEIGHBOURS = (5, 10, 20, 40)
RIDGES = (1e-4, 1e-3, 1e-2, 1e-1)
TREES, ROUNDS = 30, 4


def means(given: Tensor) -> Tensor:
    """Columns' means, which are 0."""
    return given.nan_to_num(0.0)


def best_precision(parts: Split, judge: Judge) -> Tensor:
    """Precision matrix of the Gaussian, with the best ridge."""
    found = [precision_of(parts.training, ridge) for ridge in RIDGES]
    return min(found, key=lambda precision: judge(partial(conditional_mean, precision)))


def neighbours(parts: Split, judge: Judge) -> Imputer:
    """Means of the nearest rows, weighted by distance; the best number of them."""
    found = [_fitted(KNNImputer(n_neighbors=k, weights="distance"), parts.training) for k in NEIGHBOURS]
    return min(found, key=judge)


def chained_linear(parts: Split, seed: int) -> Imputer:
    """Linear regressions of each column on the others, in turn."""
    return _fitted(IterativeImputer(random_state=seed), _partly_hidden(parts, seed))


def chained_trees(parts: Split, seed: int) -> Imputer:
    """Random trees for each column given the others, in turn, as in missForest."""
    trees = ExtraTreesRegressor(TREES, random_state=seed)
    imputer = IterativeImputer(trees, max_iter=ROUNDS, tol=0.0, random_state=seed)
    return _fitted(imputer, _partly_hidden(parts, seed))


def _partly_hidden(parts: Split, seed: int) -> Tensor:
    """Rows for training twice, complete and with entries hidden: on validation rows better than either."""
    return torch.cat([parts.training, hide_some(parts.training, torch.Generator().manual_seed(seed))])


def _fitted(imputer: Any, rows: Tensor) -> Imputer:
    """Fit one of scikit-learn's imputers."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a fixed number of rounds is meant
        imputer.fit(rows.numpy())
    return lambda given: torch.from_numpy(np.asarray(imputer.transform(given.numpy())))
