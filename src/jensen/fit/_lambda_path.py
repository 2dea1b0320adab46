"""Paths of estimators over lambda, and the choice of lambda by cross-validation."""

from __future__ import annotations

import copy
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray

from jensen.errors import ArgumentError
from jensen.fit._losses import Floats
from jensen.fit._scikit import ConvergenceWarning, check_cv, check_scoring, clone, is_classifier
from jensen.fit._showing import shown
from jensen.network._numbers import as_floats

if TYPE_CHECKING:
    from jensen.fit._estimator import Task, TwoLayer

_LARGEST, _SMALLEST, _COUNT = 0.5, 0.01, 8
"""The default values, as parts of the lambda at which the network vanishes."""


@dataclass(frozen=True)
class RegularisationPath:
    """Estimators for falling lambda, their scores on data that they have not seen, and the best.

    Attributes
    ----------
    regularisation : (L,) float64 array
        Values of the estimators' parameter, largest first.
    lambdas : (L,) float64 array, or (L, k) for k outputs
        What they are as lambda: the same, or with `relative` that part of the critical lambda.
    scores : (folds, L) float64 array
        Of the folds that were left out.
    mean_scores : (L,) float64 array
    objective, lower_bound, gap : (L,) float64 arrays
        On all data.
    n_neurons : (L,) int array
    best_index : int
        Of the largest mean score; among equals of the largest lambda.
    estimators : tuple of estimators
        Fitted to all data, one for each value.
    """

    regularisation: Floats
    lambdas: Floats
    scores: Floats
    objective: Floats
    lower_bound: Floats
    gap: Floats
    n_neurons: NDArray[np.int64]
    best_index: int
    estimators: tuple[Any, ...] = field(repr=False)

    @property
    def mean_scores(self) -> Floats:
        """Averages over the folds."""
        return np.asarray(self.scores.mean(0))

    @property
    def best(self) -> Any:
        """The estimator with the best mean score, fitted to all data."""
        return self.estimators[self.best_index]

    @property
    def best_regularisation(self) -> float:
        """The value of its parameter."""
        return float(self.regularisation[self.best_index])


def follow(
    estimator: TwoLayer,
    X: Any,
    y: Any,
    sample_weight: Any,
    regularisation: object,
    cv: Any,
    scoring: Any,
    n_jobs: int | None,
) -> RegularisationPath:
    """Fit the path on all data and on every fold; see `TwoLayer.path`."""
    model = clone(estimator)
    tasks = model._tasks(X, y, sample_weight)
    values = _default(tasks, bool(model.relative)) if regularisation is None else _falling(regularisation)
    fitted = _walk(model, tasks, values)
    scorer = check_scoring(model, scoring=scoring)
    X, y = np.asarray(X), np.asarray(y)
    weights = None if sample_weight is None else np.asarray(sample_weight)
    folds = list(check_cv(cv, y, classifier=is_classifier(model)).split(X, y))
    inner = clone(estimator).set_params(verbose=False)
    if hasattr(inner, "certify"):
        # Proofs say nothing about data left out.
        inner.set_params(certify=False)
    scores = []
    with shown(model.verbose) as show:
        show(f"{len(folds)} folds")
        jobs = (delayed(_fold)(inner, X, y, weights, values, *fold, scorer) for fold in folds)
        for scored in Parallel(n_jobs=n_jobs, return_as="generator")(jobs):
            scores.append(scored)
            show(f"{len(scores)} of {len(folds)} folds")
    table = np.array(scores)
    return RegularisationPath(
        regularisation=values,
        lambdas=np.array([one.regularisation_ for one in fitted]),
        scores=table,
        objective=np.array([one.objective_ for one in fitted]),
        lower_bound=np.array([one.lower_bound_ for one in fitted]),
        gap=np.array([one.gap_ for one in fitted]),
        n_neurons=np.array([one.n_neurons_ for one in fitted]),
        best_index=int(np.argmax(table.mean(0))),
        estimators=tuple(fitted),
    )


def _default(tasks: list[Task], relative: bool) -> Floats:
    values = np.geomspace(_LARGEST, _SMALLEST, _COUNT)
    return values if relative else values * max(task.programme.critical() for task in tasks)


def _falling(regularisation: object) -> Floats:
    values = as_floats(regularisation, "regularisation", ArgumentError)
    if values.ndim != 1 or not len(values) or not (np.isfinite(values) & (values > 0)).all():
        raise ArgumentError("regularisation must be a sequence of positive numbers")
    return np.unique(values)[::-1]


def _walk(model: TwoLayer, tasks: list[Task], values: Floats) -> list[TwoLayer]:
    """Fit for every value, each from the one before it."""
    fitted: list[TwoLayer] = []
    starts = None
    for value in values.tolist():
        solved = model._solve(tasks, value, starts)
        if any(one.status == "interrupted" for one in solved):
            raise KeyboardInterrupt
        starts = [one.start for one in solved]
        fitted.append(copy.copy(model).set_params(regularisation=value))
        fitted[-1]._keep(tasks, solved, value)
    early = {one.status_ for one in fitted} - {"optimal", "uncertified"}
    if early:
        warnings.warn(
            f"not all networks of the path are optimal ({', '.join(sorted(early))}); see their status_",
            ConvergenceWarning,
            stacklevel=4,
        )
    return fitted


def _fold(
    estimator: TwoLayer,
    X: Any,
    y: Any,
    weights: Any,
    values: Floats,
    train: NDArray[np.int64],
    test: NDArray[np.int64],
    scorer: Any,
) -> list[float]:
    """Fit the path on one part of the data and score it on the other."""
    model = clone(estimator)
    fitted = _walk(
        model, model._tasks(X[train], y[train], None if weights is None else weights[train]), values
    )
    more = {} if weights is None else {"sample_weight": weights[test]}
    return [float(scorer(one, X[test], y[test], **more)) for one in fitted]
