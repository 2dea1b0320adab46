"""Proximal maps of losses, for the proximal point method on the outputs of a network."""

from __future__ import annotations

import numpy as np
from numba import njit
from scipy.special import logit

from jensen.errors import ArgumentError
from jensen.fit._losses import Floats, Huber, Logistic, Loss, Squared
from jensen.fit._soft_hinge import SoftHinge


def proximal(loss: Loss, points: Floats, reach: float, y: Floats) -> tuple[Floats, Floats]:
    """Minimise l(o, y_j) + (o - z_j)^2 / (2 reach) for every sample.

    Parameters
    ----------
    loss : Loss
        Squared, Huber, Logistic or SoftHinge.
    points : (n,) array
        z.
    reach : float
    y : (n,) array

    Returns
    -------
    o : (n,) array
        Minimisers.
    curvature : (n,) array
        Second derivatives of the loss there.

    Raises
    ------
    ArgumentError
        If the loss is another one.
    """
    if isinstance(loss, Squared):
        return (points + reach * y) / (1 + reach), np.ones_like(y)
    if isinstance(loss, Huber):
        away = points - y
        near = np.abs(away) <= loss.width * (1 + reach)
        moved = np.where(near, away / (1 + reach), away - reach * np.copysign(loss.width, away))
        return y + moved, near.astype(np.float64)
    if isinstance(loss, SoftHinge):
        margin = _logistic(loss.margins(points, y), reach / loss.width)
        e = np.exp(-np.abs(margin))
        return y * (1 + loss.width * (margin + logit(loss.centre))), e / (1 + e) ** 2 / loss.width
    if isinstance(loss, Logistic):
        margin = _logistic(y * points, reach)
        e = np.exp(-np.abs(margin))
        return y * margin, e / (1 + e) ** 2
    raise ArgumentError(
        f"there are proximal maps of the losses squared, huber, logistic and soft hinge; got {loss.name}"
    )


@njit(cache=True, nogil=True)
def _logistic(points: Floats, reach: float) -> Floats:
    """Solve m = z + reach / (1 + exp(m)) by Newton's method within a bracket."""
    out = np.empty_like(points)
    for j in range(len(points)):
        z = points[j]
        low, high = z, z + reach
        # Between the ends the logit of the slope is a good guess.
        share = min(max(-z / reach, 0.0), 1.0)
        m = low if share <= 0.0 else high
        if 0.0 < share < 1.0:
            m = min(max(np.log((1.0 - share) / share), low), high)
        for _ in range(100):
            e = np.exp(-abs(m))
            p = e / (1.0 + e) if m > 0 else 1.0 / (1.0 + e)
            value = m - z - reach * p
            if value > 0:
                high = m
            else:
                low = m
            new = m - value / (1.0 + reach * e / (1.0 + e) ** 2)
            if not low < new < high:
                new = 0.5 * (low + high)
            if abs(new - m) <= 4e-16 * (1.0 + abs(m)):
                m = new
                break
            m = new
        out[j] = m
    return out
