"""What the estimators take from scikit-learn, which nothing else here needs."""

from __future__ import annotations

from jensen.errors import JensenError

try:
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, clone, is_classifier
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.metrics import check_scoring
    from sklearn.model_selection import check_cv
    from sklearn.utils import check_random_state
    from sklearn.utils.metaestimators import available_if
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data
except ImportError as error:
    raise JensenError(
        "the estimators of jensen.fit need the package scikit-learn, 1.6 or later: pip install 'jensen[fit]'"
    ) from error

__all__ = [
    "BaseEstimator",
    "ClassifierMixin",
    "ConvergenceWarning",
    "RegressorMixin",
    "available_if",
    "check_classification_targets",
    "check_cv",
    "check_is_fitted",
    "check_random_state",
    "check_scoring",
    "clone",
    "column_or_1d",
    "is_classifier",
    "validate_data",
]
