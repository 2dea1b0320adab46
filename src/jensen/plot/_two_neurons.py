"""Two one-dimensional ReLU neurons without bias: their loss, and where its gradient vanishes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jensen.errors import ArgumentError
from jensen.network import FloatArray
from jensen.plot._checked import finite


@dataclass(frozen=True)
class CriticalLine:
    """Points of one quadrant with the same loss and gradient zero: those with weights . |w| = total.

    Attributes
    ----------
    side : int
        1 where both neurons' weights are positive, -1 where both are negative.
    weights : (2,) array
        The output weights.
    total, loss : float
    """

    side: int
    weights: FloatArray
    total: float
    loss: float

    def ends(self, limit: float) -> FloatArray | None:
        """(2, 2) ends of the part in the square of half-width `limit`, or None if there is none."""
        first, second = self.weights
        # |w_1| in [0, limit] such that |w_2| = (total - first |w_1|) / second is in [0, limit].
        crossings = np.array([self.total, self.total - second * limit]) / first
        low, high = max(0.0, crossings.min()), min(limit, crossings.max())
        if not low < high:
            return None
        at = np.array([low, high])
        points = np.stack([at, np.clip((self.total - first * at) / second, 0.0, limit)], axis=1)
        return np.asarray(self.side * points)


@dataclass(frozen=True)
class TwoNeurons:
    """The loss sum_j (a_1 relu(x_j w_1) + a_2 relu(x_j w_2) - y_j)^2 as a function of (w_1, w_2).

    Parameters
    ----------
    x, y : (n,) arrays
        With a negative and a positive x.
    weights : (2,) array
        Output weights a, not zero.

    Raises
    ------
    ArgumentError
        If shapes do not fit, a number is not finite, or one side of 0 has no data.
    """

    x: FloatArray
    y: FloatArray
    weights: FloatArray

    @classmethod
    def checked(cls, x: object, y: object, weights: object) -> TwoNeurons:
        """Check data and weights."""
        data = finite(x, "x", (None,))
        targets = finite(y, "y", (len(data),))
        output = finite(weights, "output_weights", (2,))
        if not ((data < 0).any() and (data > 0).any()):
            raise ArgumentError("x must hold a negative and a positive number")
        if not output.all():
            raise ArgumentError("output_weights must not be zero")
        return cls(data, targets, output)

    def loss(self, w: FloatArray) -> FloatArray:
        """(...) losses at (..., 2) weights."""
        outputs = np.maximum(0.0, w[..., None, :] * self.x[:, None]) @ self.weights
        return np.asarray(((outputs - self.y) ** 2).sum(-1))

    def gradient(self, w: FloatArray) -> FloatArray:
        """(..., 2) gradients, with slope 0 of a ReLU at 0."""
        before = w[..., None, :] * self.x[:, None]
        residuals = np.maximum(0.0, before) @ self.weights - self.y
        slopes = (before > 0) * self.x[:, None] * self.weights
        return np.asarray(2 * (residuals[..., None] * slopes).sum(-2))

    def best(self, side: int) -> float:
        """Slope of the line through 0 that fits the data of one side best."""
        on = self.side(side)
        return float(np.abs(self.x[on]) @ self.y[on] / (self.x[on] @ self.x[on]))

    def side(self, side: int) -> NDArray[np.bool_]:
        """Mask of the data that are positive, or negative."""
        return np.asarray(side * self.x > 0)

    def critical_lines(self) -> list[CriticalLine]:
        """Lines on which both neurons serve one side as well as can be and leave the other to the loss."""
        lines = []
        for side in (1, -1):
            total, on = self.best(side), self.side(side)
            left = (total * np.abs(self.x[on]) - self.y[on]) @ (total * np.abs(self.x[on]) - self.y[on])
            loss = float(left + (self.y[~on] ** 2).sum())
            lines.append(CriticalLine(side, self.weights, total, loss))
        return lines

    def minima(self) -> FloatArray:
        """(k, 2) isolated minima: one neuron serves each side, where its output weight has the right sign."""
        found = []
        for sides in ((1, -1), (-1, 1)):
            sizes = np.array([self.best(side) for side in sides]) / self.weights
            if (sizes > 0).all():
                found.append(np.array(sides) * sizes)
        return np.array(found).reshape(-1, 2)
