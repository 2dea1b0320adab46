"""Estimators of classes: one-against-the-rest problems, decisions and probabilities."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from jensen.errors import ArgumentError
from jensen.fit._distinct import as_weights
from jensen.fit._estimator import TwoLayer
from jensen.fit._losses import Floats, Loss, as_loss
from jensen.fit._scikit import (
    ClassifierMixin,
    available_if,
    check_classification_targets,
    column_or_1d,
    validate_data,
)


def _has_probabilities(estimator: Classification) -> bool:
    if as_loss(estimator.loss).name != "logistic":
        raise AttributeError("probabilities come with loss='logistic' only")
    return True


class Classification(ClassifierMixin, TwoLayer):  # type: ignore[misc]
    """What classifiers share."""

    _losses: ClassVar[tuple[str, ...]] = ("logistic", "hinge", "squared", "huber")

    def _offset(self, y: Floats, weights: Floats, loss: Loss) -> float:
        return 0.0

    def _targets(self, X: Any, y: Any, sample_weight: Any) -> tuple[Floats, Floats, Floats]:
        x, y = validate_data(self, X, y, dtype=np.float64)
        y = column_or_1d(y, warn=True)
        check_classification_targets(y)
        weights = as_weights(sample_weight, len(x))
        self.classes_ = np.unique(y[weights > 0])
        if len(self.classes_) < 2:
            raise ArgumentError(
                f"y holds one class only, {self.classes_[0]!r:.80}, among the samples of positive weight; "
                "at least two classes are needed"
            )
        if len(self.classes_) == 2:
            return x, np.where(y == self.classes_[1], 1.0, -1.0), weights
        return x, np.where(y[:, None] == self.classes_, 1.0, -1.0), weights

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train to global optimality.

        Ctrl-C keeps the best network so far, with a warning and `status_` "interrupted"; where there are
        classes for which training has not begun it is passed on.

        Parameters
        ----------
        X : (n, d) array
        y : (n,) array
            Labels of at least two classes.
        sample_weight : (n,) array, optional
            Nonnegative; only ratios matter. Whole weights do what repeating rows does.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If data or parameters make no sense; `ArgumentError`, which is one, for the latter.
        """
        self._train(X, y, sample_weight)
        return self

    def decision_function(self, X: Any) -> Floats:
        """Evaluate the network: positive where the second of two classes is likely.

        Parameters
        ----------
        X : (n, d) array

        Returns
        -------
        (n,) float64 array, or (n, k) for k > 2 classes
        """
        return self._outputs(X)

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the likeliest class of each row.

        Parameters
        ----------
        X : (n, d) array

        Returns
        -------
        (n,) array of labels
        """
        outputs = self._outputs(X)
        chosen = (outputs > 0).astype(np.intp) if outputs.ndim == 1 else outputs.argmax(1)
        return np.asarray(self.classes_[chosen])

    @available_if(_has_probabilities)  # type: ignore[untyped-decorator]
    def predict_proba(self, X: Any) -> Floats:
        """Return probabilities of classes; with the logistic loss only.

        For more than two classes those of the problems of one class against the rest, scaled to sum 1.

        Parameters
        ----------
        X : (n, d) array

        Returns
        -------
        (n, k) float64 array
        """
        outputs = self._outputs(X)
        if outputs.ndim == 1:
            return np.column_stack([expit(-outputs), expit(outputs)])
        # Divided by the largest first, so that none underflows to 0 / 0.
        logs = -np.logaddexp(0.0, -outputs)
        shares = np.exp(logs - logs.max(1, keepdims=True))
        return np.asarray(shares / shares.sum(1, keepdims=True))
