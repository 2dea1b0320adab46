"""The best constant prediction, from which networks with an intercept start."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

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
    slopes = partial(_slope, y=y, weights=weights, loss=loss)
    low = _zero(kinks, slopes, lambda slope: slope < 0)
    high = _zero(kinks, slopes, lambda slope: slope <= 0)
    return (low + high) / 2


def _slope(constant: float, y: Floats, weights: Floats, loss: Huber) -> float:
    """Slope of the average loss over the width, 0 where it is rounding."""
    slope = float(np.average(loss.slope(np.full_like(y, constant), y), weights=weights)) / loss.width
    return 0.0 if abs(slope) <= _FLAT else slope


def _zero(kinks: Floats, slopes: Callable[[float], float], before: Callable[[float], bool]) -> float:
    """Return where the slope, linear between kinks, is zero: next to the last kink before it."""
    at, after = 0, len(kinks) - 1
    while after - at > 1:
        middle = (at + after) // 2
        at, after = (middle, after) if before(slopes(kinks[middle])) else (at, middle)
    one, two = slopes(kinks[at]), slopes(kinks[after])
    share = 0.0 if one == two else np.clip(-one / (two - one), 0.0, 1.0)
    return float(kinks[at] + share * (kinks[after] - kinks[at]))
