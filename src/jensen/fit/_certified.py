"""Bounds of the objective that rounding cannot break.

X, y, the sample weights and lambda are the rationals that the floats are. Sums are enclosed by arb balls; a
network's outputs by floats with a bound on the rounding errors of their sums, which arb takes over.
"""

from __future__ import annotations

from fractions import Fraction

import flint
import numpy as np
from flint import arb
from scipy.optimize import minimize_scalar

from jensen.errors import ArgumentError
from jensen.fit._losses import Floats, Hinge, Huber, Logistic, Loss, Squared
from jensen.fit._problem import Problem

_PRECISION = 192
"""Bits of the balls' centres: products of three floats are exact."""
_UNIT = 2.0**-53


def _downwards(ball: arb) -> float:
    """Return a float that is not above any number in the ball."""
    if ball.is_nan():
        return -np.inf
    low = ball.lower()
    value = float(low)
    while not arb(value) <= low:
        value = float(np.nextafter(value, -np.inf))
    return value


def require_scalar(problem: Problem) -> None:
    """Refuse problems that the bounds of this file do not cover.

    Raises
    ------
    ArgumentError
        If outputs are vectors, or the loss is not one of squared, huber, logistic and hinge.
    """
    if problem.outputs or not isinstance(problem.loss, (Squared, Huber, Logistic, Hinge)):
        raise ArgumentError(
            "certified bounds need a scalar output and one of the losses squared, huber, logistic and hinge; "
            f"got {problem.loss.name} with outputs of shape {problem.outputs}"
        )


def clip_slopes(problem: Problem, slopes: Floats) -> Floats:
    """Move slopes that rounding put outside the conjugate's domain back to its border."""
    if isinstance(problem.loss, Huber):
        return np.clip(slopes, -problem.loss.width, problem.loss.width)
    if isinstance(problem.loss, (Logistic, Hinge)):
        return -problem.y * np.clip(-problem.y * slopes, 0.0, 1.0)
    return slopes


def certified_dual(problem: Problem, slopes: Floats, price: float) -> float:
    """Return a lower bound of the optimum over all networks: the dual objective, rounded down.

    The dual point is a multiple of r = `problem.pull(slopes)`, taken as floats: its slopes are exactly
    theta r_j / omega_j, with theta in [0, lambda / price].

    Parameters
    ----------
    problem : Problem
        With scalar outputs.
    slopes : (n,) float64 array
        In the conjugate's domain up to rounding of r; see `clip_slopes`.
    price : float
        An upper bound of max |r' relu(X w)| over |w| <= 1. The result is a bound iff this is one.

    Returns
    -------
    float
        At least 0, which bounds every loss; 0 where the slopes are outside the domain.

    Raises
    ------
    ArgumentError
        If the loss is not one of squared, huber, logistic, hinge.
    """
    require_scalar(problem)
    if not np.isfinite(price) or not np.isfinite(slopes).all():
        return 0.0
    signal = problem.pull(slopes)
    scale = _best_scale(problem, slopes, price)
    used = np.flatnonzero(problem.weights > 0)
    if (signal[problem.weights == 0] != 0).any() or not np.isfinite(scale):
        return 0.0
    with flint.ctx.workprec(_PRECISION):
        scale = _feasible(problem, signal[used], problem.weights[used], price, scale)
        theta, total = arb(scale), arb(0)
        for r, weight, y in zip(
            signal[used].tolist(), problem.weights[used].tolist(), problem.y[used].tolist(), strict=True
        ):
            term = _weighted_conjugate(problem.loss, theta * arb(r), arb(weight), y)
            if term is None:
                return 0.0
            total += term
        return max(0.0, _downwards(-total))


def _best_scale(problem: Problem, slopes: Floats, price: float) -> float:
    """Return roughly the best of the multiples that are feasible, which may exceed 1."""
    if isinstance(problem.loss, Squared):
        return problem.scaled_dual(slopes, price)[1]
    width = problem.loss.width if isinstance(problem.loss, Huber) else 1.0
    largest = float(np.abs(slopes).max(initial=0.0))
    most = min(
        problem.regularisation / price if price > 0 else np.inf, width / largest if largest > 0 else np.inf
    )
    if not np.isfinite(most):
        return 1.0
    # Concave, and often largest at the end.
    found = minimize_scalar(
        lambda theta: -problem.dual(theta * slopes),
        bounds=(0.0, most),
        method="bounded",
        options={"xatol": 1e-9 * most},
    )
    inside = float(found.x)
    end = most * (1 - 2.0**-50)
    return end if problem.dual(end * slopes) >= problem.dual(inside * slopes) else inside


def _feasible(problem: Problem, signal: Floats, weights: Floats, price: float, scale: float) -> float:
    """Round the scale down until scale * price <= lambda and the slopes are within their bounds, exactly."""
    if price > 0:
        most = Fraction(problem.regularisation)
        while Fraction(scale) * Fraction(price) > most:
            scale = float(np.nextafter(scale, 0.0))
    width = problem.loss.width if isinstance(problem.loss, Huber) else 1.0
    if not isinstance(problem.loss, Squared):
        # Division rounds by one part in 2^53; subnormal quotients are far from the border.
        largest = float((np.abs(signal) / weights).max(initial=0.0))
        while largest * scale > width * (1 - 2.0**-51):
            scale = min(width / largest * (1 - 2.0**-50), float(np.nextafter(scale, 0.0)))
    return scale


def _weighted_conjugate(loss: Loss, r: arb, weight: arb, y: float) -> arb | None:
    """Enclose omega l*(r / omega, y), or an upper bound of it; None outside the domain."""
    if isinstance(loss, (Squared, Huber)):
        if isinstance(loss, Huber) and not abs(r) <= weight * arb(loss.width):
            return None
        return r * (r / (2 * weight) + arb(y))
    p = r * arb(-y) / weight
    if not (p >= 0 and p <= 1):
        return None
    if isinstance(loss, Hinge):
        return -weight * p
    # p log p is below 0 on [0, 1], so that 0 bounds it where the ball touches an end.
    entropy = arb(0)
    for q in (p, 1 - p):
        if q > 0:
            entropy += q * q.log()
    return weight * entropy


def _fitted(x: Floats, weights: Floats, outputs: Floats) -> tuple[Floats, Floats]:
    """Evaluate a network on X, with a bound on the outputs' rounding errors."""
    d, m = x.shape[1], len(outputs)
    hidden = x @ weights.T
    error = (d + 2) * _UNIT * 1.01 * (np.abs(x) @ np.abs(weights).T) + d * 1e-320
    fitted = np.maximum(hidden, 0) @ outputs
    amounts = np.abs(outputs)
    spread = (error @ amounts) * 1.01
    spread += (m + 2) * _UNIT * 1.01 * ((np.abs(hidden) + error) @ amounts) + m * 2e-320
    return fitted, spread


def certified_objective(problem: Problem, weights: Floats, outputs: Floats) -> float:
    """Return an upper bound of a network's objective, no further above it than rounding errors reach.

    Parameters
    ----------
    problem : Problem
        With scalar outputs.
    weights : (m, d) float64 array
    outputs : (m,) float64 array

    Returns
    -------
    float

    Raises
    ------
    ArgumentError
        If the loss is not one of squared, huber, logistic, hinge.
    """
    require_scalar(problem)
    with np.errstate(over="ignore", invalid="ignore"):
        fitted, spread = _fitted(problem.x, weights, outputs)
    if not (np.isfinite(fitted).all() and np.isfinite(spread).all()):
        return np.inf
    with flint.ctx.workprec(_PRECISION):
        total = arb(0)
        for o, e, y, weight in zip(
            fitted.tolist(), spread.tolist(), problem.y.tolist(), problem.weights.tolist(), strict=True
        ):
            if weight:
                total += arb(weight) * _largest_loss(problem.loss, arb(o, e), y)
        norm = arb(0)
        for w, a in zip(weights.tolist(), outputs.tolist(), strict=True):
            norm += sum((arb(v) * arb(v) for v in w), arb(0)).sqrt() * abs(arb(a))
        # Subtracted from 0, so that there is no -0.
        return 0.0 - _downwards(-(total + arb(problem.regularisation) * norm))


def _largest_loss(loss: Loss, output: arb, y: float) -> arb:
    """Bound a loss from above over a ball of outputs."""
    if isinstance(loss, (Squared, Huber)):
        far = (output - arb(y)).abs_upper()
        if isinstance(loss, Huber) and not far <= arb(loss.width):
            return arb(loss.width) * (far - arb(loss.width) / 2)
        return far * far / 2
    lost = (output * arb(-y)).upper()
    if isinstance(loss, Hinge):
        return arb(0) if 1 + lost <= 0 else (1 + lost).upper()
    return lost.exp().log1p() if lost < 0 else lost + (-lost).exp().log1p()
