"""Estimators of numbers: targets, offsets and predictions."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np

from jensen.fit._distinct import as_weights
from jensen.fit._estimator import TwoLayer
from jensen.fit._losses import Floats, Loss
from jensen.fit._offset import best_constant
from jensen.fit._scikit import RegressorMixin, validate_data


class Regression(RegressorMixin, TwoLayer):  # type: ignore[misc]
    """What regressors share."""

    _losses: ClassVar[tuple[str, ...]] = ("squared", "huber")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def _offset(self, y: Floats, weights: Floats, loss: Loss) -> float:
        return best_constant(y, weights, loss) if self.fit_intercept else 0.0

    def _targets(self, X: Any, y: Any, sample_weight: Any) -> tuple[Floats, Floats, Floats]:
        x, y = validate_data(self, X, y, dtype=np.float64, y_numeric=True, multi_output=True)
        return x, np.asarray(y, dtype=np.float64), as_weights(sample_weight, len(x))

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train to global optimality.

        Ctrl-C keeps the best network so far, with a warning and `status_` "interrupted"; where there are
        outputs for which training has not begun it is passed on.

        Parameters
        ----------
        X : (n, d) array
        y : (n,) or (n, k) array
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

    def predict(self, X: Any) -> Floats:
        """Evaluate the network.

        Parameters
        ----------
        X : (n, d) array

        Returns
        -------
        (n,) or (n, k) float64 array
        """
        return self._outputs(X)
