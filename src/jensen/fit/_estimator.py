"""What all estimators share: from data to programmes, from their solutions to attributes."""

from __future__ import annotations

import time
import warnings
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from jensen.errors import ArgumentError
from jensen.fit._distinct import distinct_samples
from jensen.fit._lambda_path import RegularisationPath, follow
from jensen.fit._losses import Floats, Loss, as_loss
from jensen.fit._problem import Problem, make_problem
from jensen.fit._programmes import Limits, Programme, Solved
from jensen.fit._scikit import (
    BaseEstimator,
    ConvergenceWarning,
    check_is_fitted,
    check_random_state,
    validate_data,
)
from jensen.fit._showing import shown
from jensen.network._numbers import as_count, as_floats

_PART = 0.25
"""Part of the time limit for the critical lambdas."""
_WORST_FIRST = (
    "interrupted",
    "time_limit",
    "iteration_limit",
    "stalled",
    "inaccurate",
    "uncertified",
    "optimal",
)
_WARNED = {
    "interrupted": "training was interrupted; the estimator holds the best network so far",
    "time_limit": "training ran out of time before the gap was closed; raise time_limit or tolerance",
    "iteration_limit": "training ended after max_iter steps, before the gap was closed; raise max_iter",
    "stalled": "training could not close the gap any further; raise tolerance",
    "inaccurate": "rounding kept the solver from closing the gap; raise tolerance, or scale the features",
}


@dataclass(frozen=True)
class Task:
    """One output to be trained.

    Attributes
    ----------
    programme : Programme
    offset : float
        Was taken from y.
    unit : float
        lambda is this times the parameter `regularisation`.
    """

    programme: Programme
    offset: float
    unit: float


@dataclass(frozen=True)
class _Named:
    """Shows texts with the name of what they are about."""

    show: Callable[[str], None]
    name: str

    def __call__(self, text: str) -> None:
        self.show(self.name + text)


class TwoLayer(BaseEstimator):  # type: ignore[misc]
    """Base of the estimators: two-layer networks whose neurons feed one output each."""

    loss: Any
    regularisation: Any
    relative: Any
    fit_intercept: Any
    tolerance: Any
    max_iter: Any
    time_limit: Any
    random_state: Any
    verbose: Any

    _losses: ClassVar[tuple[str, ...]]

    @abstractmethod
    def _pose(self, problem: Problem, seed: int) -> Programme:
        """Decide everything but lambda."""

    @abstractmethod
    def _offset(self, y: Floats, weights: Floats, loss: Loss) -> float:
        """Return what is taken from the targets before, and added to the outputs after."""

    @abstractmethod
    def _targets(self, X: Any, y: Any, sample_weight: Any) -> tuple[Floats, Floats, Floats]:
        """Check data; X, targets (n,) or (n, k), weights."""

    def _chosen_loss(self) -> Loss:
        loss = as_loss(self.loss)
        if loss.name not in self._losses:
            raise ArgumentError(
                f"loss must be one of {list(self._losses)} for {type(self).__name__}, got {loss.name!r}"
            )
        return loss

    def _limits(self) -> Limits:
        tolerance = _positive(self.tolerance, "tolerance")
        if tolerance >= 1:
            raise ArgumentError(f"tolerance must be below 1, got {self.tolerance!r:.80}")
        seconds = None if self.time_limit is None else _positive(self.time_limit, "time_limit", np.inf)
        return Limits(tolerance, as_count(self.max_iter, "max_iter"), seconds)

    def _tasks(self, X: Any, y: Any, sample_weight: Any) -> list[Task]:
        """Check data and parameters; one task for each output.

        The search for critical lambdas takes at most a part `_PART` of the time limit.
        """
        begin, loss, seconds = time.perf_counter(), self._chosen_loss(), self._limits().seconds
        for name in ("relative", "fit_intercept"):
            if not isinstance(getattr(self, name), (bool, np.bool_)):
                raise ArgumentError(f"{name} must be True or False, got {getattr(self, name)!r:.80}")
        seed = int(check_random_state(self.random_state).randint(np.iinfo(np.int32).max))
        x, targets, weights = self._targets(X, y, sample_weight)
        self._scalar = targets.ndim == 1
        tasks = list[Task]()
        columns = np.atleast_2d(targets.T)
        for target in columns:
            rows, values, sums = distinct_samples(x, target, weights)
            if self.fit_intercept:
                rows = np.column_stack([rows, np.ones(len(rows))])
            offset = self._offset(values, sums, loss)
            programme = self._pose(make_problem(rows, values - offset, 1.0, loss, sums), seed)
            share = (len(tasks) + 1) / len(columns)
            deadline = np.inf if seconds is None else begin + _PART * seconds * share
            tasks.append(Task(programme, offset, programme.critical(deadline) if self.relative else 1.0))
        return tasks

    def _solve(
        self,
        tasks: list[Task],
        regularisation: object,
        starts: Sequence[object] | None = None,
        begin: float | None = None,
    ) -> list[Solved]:
        """Solve every task for one lambda, within the time limit from `begin` on, or from now on.

        Raises
        ------
        KeyboardInterrupt
            If training is interrupted while there are outputs for which it has not begun.
        """
        strength, limits = _positive(regularisation, "regularisation"), self._limits()
        begin, found = time.perf_counter() if begin is None else begin, list[Solved]()
        with shown(self.verbose) as show:
            for at, task in enumerate(tasks):
                which = f"output {at + 1} of {len(tasks)}: " if len(tasks) > 1 else ""
                seconds = limits.shared(time.perf_counter() - begin, len(tasks) - at)
                start = None if starts is None else starts[at]
                found.append(
                    task.programme.solve(strength * task.unit, start, limits, seconds, _Named(show, which))
                )
                if found[-1].status == "interrupted" and at + 1 < len(tasks):
                    raise KeyboardInterrupt
        return found

    def _keep(self, tasks: list[Task], solved: list[Solved], regularisation: float) -> None:
        """Set the attributes that a fitted estimator has."""
        scalar = self._scalar
        d = self.n_features_in_
        self.hidden_weights_ = np.concatenate([one.weights[:, :d] for one in solved])
        self.hidden_biases_ = _biases([one.weights for one in solved], d)
        if all(one.directions is not None for one in solved):
            directions = [one.directions for one in solved if one.directions is not None]
            self.gate_weights_ = np.concatenate([one[:, :d] for one in directions])
            self.gate_biases_ = _biases(directions, d)
        strengths = np.array([regularisation * task.unit for task in tasks])
        offsets = np.array([task.offset for task in tasks])
        self.regularisation_: float | Floats
        self.offset_: float | Floats
        if scalar:
            self.output_weights_ = solved[0].outputs
            self.regularisation_, self.offset_ = float(strengths[0]), float(offsets[0])
        else:
            # Every neuron feeds one output.
            feeds = np.repeat(np.arange(len(solved)), [len(one.outputs) for one in solved])
            self.output_weights_ = (
                np.concatenate([one.outputs for one in solved])[:, None] * np.eye(len(solved))[feeds]
            )
            self.regularisation_, self.offset_ = strengths, offsets
        self.n_neurons_ = len(self.output_weights_)
        self.objective_ = float(sum(one.objective for one in solved))
        self.lower_bound_ = float(sum(one.lower_bound for one in solved))
        most = self.objective_ - self.lower_bound_
        self.gap_ = most / self.objective_ if most > 0 else 0.0
        self.n_iter_ = max(1, sum(one.iterations for one in solved))
        self.status_ = min((one.status for one in solved), key=_WORST_FIRST.index)

    def _train(self, X: Any, y: Any, sample_weight: Any) -> None:
        begin = time.perf_counter()
        tasks = self._tasks(X, y, sample_weight)
        solved = self._solve(tasks, self.regularisation, begin=begin)
        self._keep(tasks, solved, float(self.regularisation))
        if self.status_ in _WARNED:
            warnings.warn(_WARNED[self.status_], ConvergenceWarning, stacklevel=3)

    def _outputs(self, X: Any) -> Floats:
        """Evaluate the network: (n,), or (n, k)."""
        check_is_fitted(self)
        x = validate_data(self, X, dtype=np.float64, reset=False)
        hidden = x @ self.hidden_weights_.T + self.hidden_biases_
        if hasattr(self, "gate_weights_"):
            hidden = np.where(x @ self.gate_weights_.T + self.gate_biases_ > 0, hidden, 0.0)
        else:
            hidden = np.maximum(hidden, 0.0)
        return np.asarray(hidden @ self.output_weights_ + self.offset_)

    def path(
        self,
        X: Any,
        y: Any,
        *,
        sample_weight: Any = None,
        regularisation: Any = None,
        cv: Any = 5,
        scoring: Any = None,
        n_jobs: int | None = None,
    ) -> RegularisationPath:
        """Fit for falling lambda, each network from the one before it, and choose lambda by cross-validation.

        Scores are those that a grid search over the parameter `regularisation` finds, up to the tolerance.
        The estimator itself stays as it is; Ctrl-C ends the path without a result.

        Parameters
        ----------
        X : (n, d) array
        y : (n,) or (n, k) array
        sample_weight : (n,) array, optional
            Weighs the scores, too.
        regularisation : sequence of float, optional
            Values of that parameter. By default eight, from 0.5 to 0.01 of the critical lambda.
        cv : int, splitter or iterable of index pairs, default 5
            Folds, as in scikit-learn.
        scoring : str or callable, optional
            As in scikit-learn; by default R^2 or the accuracy.
        n_jobs : int, optional
            Folds at the same time, by joblib.

        Returns
        -------
        RegularisationPath

        Raises
        ------
        ValueError
            If data or parameters make no sense.

        Examples
        --------
        >>> import numpy as np
        >>> from jensen.fit import GatedReLURegressor
        >>> X = np.random.default_rng(0).standard_normal((40, 2))
        >>> found = GatedReLURegressor(random_state=0).path(X, abs(X[:, 0]), cv=4)
        >>> found.scores.shape, found.best.gap_ < 1e-3
        ((4, 8), True)
        """
        return follow(self, X, y, sample_weight, regularisation, cv, scoring, n_jobs)


def _biases(weights: list[Floats], d: int) -> Floats:
    """Return the last column where there is one more than features; zeros otherwise."""
    return np.concatenate([one[:, d] if one.shape[1] > d else np.zeros(len(one)) for one in weights])


def _positive(value: object, what: str, most: float = float(np.finfo(np.float64).max)) -> float:
    number = as_floats(value, what, ArgumentError)
    if isinstance(value, bool) or number.ndim or not 0 < number <= most:
        raise ArgumentError(f"{what} must be a positive number, got {value!r:.80}")
    return float(number)
