"""The best constant prediction, from which networks with an intercept start."""

from __future__ import annotations

import numpy as np

from jensen.fit._losses import Floats, Huber, Loss

_FLAT = 1e-12
"""Slopes this small, in units of the largest, count as zero."""


def best_constant(y: Floats, weights: Floats, loss: Loss) -> float:
    """Return the number with the least average loss: for the squared loss the mean.

    Where the Huber loss has several, the one in their middle.

    Parameters
    ----------
    y : (n,) array
    weights : (n,) array
    loss : Squared or Huber
    """
    if not isinstance(loss, Huber):
        return float(np.average(y, weights=weights))
    # The slope of the average is piecewise linear in the constant, with kinks at y -+ width.
    kinks = np.unique(np.concatenate([y - loss.width, y + loss.width]))
    at, reach = 0, len(kinks) - 1
    while reach - at > 1:
        middle = (at + reach) // 2
        at, reach = (middle, reach) if _slope(kinks[middle], y, weights, loss) < 0 else (at, middle)
    low = _zero(kinks[at], kinks[reach], y, weights, loss)
    at, reach = 0, len(kinks) - 1
    while reach - at > 1:
        middle = (at + reach) // 2
        at, reach = (middle, reach) if _slope(kinks[middle], y, weights, loss) <= 0 else (at, middle)
    high = _zero(kinks[at], kinks[reach], y, weights, loss)
    return (low + high) / 2


def _slope(constant: float, y: Floats, weights: Floats, loss: Huber) -> float:
    """Slope of the average loss over the width, 0 where it is rounding."""
    slope = float(np.average(loss.slope(np.full_like(y, constant), y), weights=weights)) / loss.width
    return 0.0 if abs(slope) <= _FLAT else slope


def _zero(left: float, right: float, y: Floats, weights: Floats, loss: Huber) -> float:
    """Return where the slope, linear between two kinks, is zero."""
    one, two = _slope(left, y, weights, loss), _slope(right, y, weights, loss)
    if one == two:
        return float(left)
    return float(left + (right - left) * np.clip(-one / (two - one), 0.0, 1.0))
