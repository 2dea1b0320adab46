"""The problem: data, loss and regularisation of a two-layer ReLU network, and its dual."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jensen.errors import ArgumentError
from jensen.fit._losses import Floats, Loss, as_loss
from jensen.network._numbers import as_floats


@dataclass(frozen=True)
class Problem:
    """Train a two-layer network: minimise sum_j omega_j l(o_j, y_j) + lambda sum_i |w_i| |a_i|.

    The outputs are o_j = sum_i relu(x_j . w_i) a_i, over any number of neurons (w_i, a_i). Norms
    are Euclidean. Neurons may be rescaled to |w_i| = |a_i|, so this is training with weight decay
    (lambda / 2) sum_i (|w_i|^2 + |a_i|^2) (Pilanci and Ergen, "Neural networks are convex regularizers",
    ICML 2020). A bias of the neurons is a column of ones in X. With uniform weights omega_j = 1 / n.

    The dual has slopes s_j of the losses: maximise -sum_j omega_j l*(s_j, y_j) subject to
    |sum_j omega_j s_j relu(x_j . w)| <= lambda for every |w| <= 1.

    Attributes
    ----------
    x : (n, d) float64 array
    y : (n,) or (n, c) float64 array
    loss : Loss
    regularisation : float
        lambda > 0.
    weights : (n,) float64 array
        omega: nonnegative, with sum 1.
    """

    x: Floats
    y: Floats
    loss: Loss
    regularisation: float
    weights: Floats

    @property
    def outputs(self) -> tuple[int, ...]:
        """Shape of one output: () for scalars, (c,) for vectors."""
        return self.y.shape[1:]

    def primal(self, fitted: Floats, norm: float) -> float:
        """Objective at given outputs (n, ...) and sum of |w_i| |a_i|."""
        return float(self.weights @ self.loss.value(fitted, self.y) + self.regularisation * norm)

    def pull(self, slopes: Floats) -> Floats:
        """omega_j s_j: the signal r whose correlation with neurons, |r' relu(X w)| <= lambda, is priced."""
        return self.weights[:, None] * slopes if slopes.ndim == 2 else self.weights * slopes

    def dual(self, slopes: Floats) -> float:
        """Value of the dual objective, in plain float64; a bound only if `slopes` are feasible."""
        return -float(self.weights @ self.loss.conjugate(slopes, self.y))

    def scaled_dual(self, slopes: Floats, price: float) -> tuple[float, float]:
        """Best lower bound among multiples of `slopes`, given that max |r' relu(X w)| <= price for them.

        Parameters
        ----------
        slopes : array of y's shape
            In the conjugate's domain.
        price : float
            An upper bound on the maximum over |w| <= 1, for the patterns that are considered.

        Returns
        -------
        bound, scale : floats
            The value of `dual` at scale * slopes; 0 <= scale <= min(1, lambda / price), except for the
            squared loss, whose domain is everything and whose best scale is known.
        """
        most = np.inf if price <= 0 else self.regularisation / price
        if self.loss.name == "squared":
            square = float(self.weights @ (slopes**2 if slopes.ndim == 1 else (slopes**2).sum(1)))
            along = float(self.weights @ (slopes * self.y if slopes.ndim == 1 else (slopes * self.y).sum(1)))
            scale = 0.0 if square == 0 else float(np.clip(-along / square, 0.0, most))
        else:
            scale = min(1.0, most)
        return self.dual(scale * slopes), scale


def make_problem(
    x: object,
    y: object,
    regularisation: float,
    loss: str | Loss = "squared",
    sample_weight: object = None,
) -> Problem:
    """Check data and make a `Problem`.

    Parameters
    ----------
    x : (n, d) array
    y : (n,) or (n, c) array
        -1 and 1 for logistic and hinge loss, one-hot rows for the multinomial one.
    regularisation : float
        lambda > 0.
    loss : str or Loss, default "squared"
        One of "squared", "huber", "logistic", "hinge", "multinomial".
    sample_weight : (n,) array, optional
        Nonnegative; only ratios matter.

    Raises
    ------
    ArgumentError
        If shapes do not fit, numbers are not finite, or lambda or weights make no sense.
    """
    loss = as_loss(loss)
    data = np.ascontiguousarray(as_floats(x, "X", ArgumentError))
    if data.ndim != 2 or 0 in data.shape:
        raise ArgumentError(f"X must be a matrix with a row for each sample, got shape {data.shape}")
    if not np.isfinite(data).all():
        raise ArgumentError("X holds NaN or infinite values; impute or remove them")
    target = np.ascontiguousarray(loss.targets(y))
    if len(target) != len(data):
        raise ArgumentError(f"X has {len(data)} rows and y {len(target)}; they must agree")
    if isinstance(regularisation, bool) or not np.isscalar(regularisation):
        raise ArgumentError(f"regularisation must be a number, got {regularisation!r:.80}")
    strength = float(as_floats(regularisation, "regularisation", ArgumentError))
    if not 0 < strength < np.inf:
        raise ArgumentError(f"regularisation must be positive and finite, got {strength!r}")
    problem = Problem(data, target, loss, strength, _normalised(sample_weight, len(data)))
    with np.errstate(over="ignore"):
        if not np.isfinite(problem.primal(np.zeros_like(target), 0.0)):
            raise ArgumentError(
                f"losses of targets as large as {np.abs(target).max():.1e} overflow; divide y"
            )
    return problem


def _normalised(sample_weight: object, n: int) -> NDArray[np.float64]:
    if sample_weight is None:
        return np.full(n, 1.0 / n)
    weights = as_floats(sample_weight, "sample_weight", ArgumentError)
    if weights.shape != (n,):
        raise ArgumentError(f"sample_weight has shape {weights.shape}; expected ({n},)")
    if not np.isfinite(weights).all() or (weights < 0).any() or not weights.any():
        raise ArgumentError("sample_weight must hold finite nonnegative numbers, not all zero")
    # Divided by the largest first: the sum of finite numbers may overflow.
    weights = weights / weights.max()
    return np.asarray(weights / weights.sum())
