"""Units in which a problem's data are about 1: powers of two, so that nothing is rounded on the way.

With X = 2^a X', y = 2^b y' and lambda = 2^(a + b) lambda' a network of the one problem is one of the other,
with outputs times 2^b, |w| |a| times 2^(b - a), and objectives times 2^(2 b). For losses of classes b = 0 and
lambda = 2^a lambda', which is the same with other units of slopes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from jensen.fit._binary import scaled, times
from jensen.fit._losses import Floats, Huber, Squared
from jensen.fit._problem import Problem

_RANGE = 200
"""lambda' is between 2^-200 and 2^200: beyond, networks interpolate as far as floats can tell, or vanish."""


@dataclass(frozen=True)
class Units:
    """Exponents a of X, b of y and outputs; those of losses of classes have b = 0."""

    of_x: int
    of_y: int

    @classmethod
    def of(cls, problem: Problem) -> Units:
        """Units of the largest entries; 1 where others would lose digits of the smallest ones."""
        of_x = _exponent(problem.x)
        of_y = _exponent(problem.y) if isinstance(problem.loss, (Squared, Huber)) else 0
        exact = all(
            (scaled(scaled(array, -unit), unit) == array).all()
            for array, unit in ((problem.x, of_x), (problem.y, of_y))
        )
        return cls(of_x, of_y) if exact else cls(0, 0)

    def reduced(self, problem: Problem) -> Problem:
        """Return the same problem in these units."""
        loss = problem.loss
        if isinstance(loss, Huber):
            loss = Huber(float(np.clip(times(loss.width, -self.of_y), 2.0**-_RANGE, 2.0**_RANGE)))
        strength = times(problem.regularisation, -self.of_x - self.of_y)
        return replace(
            problem,
            x=scaled(problem.x, -self.of_x),
            y=scaled(problem.y, -self.of_y),
            loss=loss,
            regularisation=float(np.clip(strength, 2.0**-_RANGE, 2.0**_RANGE)),
        )

    def values(self, value: float) -> float:
        """Objectives and bounds in the units of the data."""
        return times(value, 2 * self.of_y)

    def prices(self, price: float) -> float:
        """Prices in the units of the data."""
        return times(price, self.of_x + self.of_y)

    def slopes(self, slopes: Floats, back: bool = False) -> Floats:
        """Slopes or outputs in the units of the data, or back in these units."""
        return scaled(slopes, -self.of_y if back else self.of_y)

    def coefficients(self, u: Floats, back: bool = False) -> Floats:
        """Coefficients, of the size |w| |a|, in the units of the data, or back in these units."""
        return scaled(u, self.of_x - self.of_y if back else self.of_y - self.of_x)

    def neurons(self, weights: Floats, outputs: Floats, back: bool = False) -> tuple[Floats, Floats]:
        """Balanced neurons in the units of the data, or back in these units."""
        exponent = self.of_x - self.of_y if back else self.of_y - self.of_x
        half = exponent // 2
        # Exact where the exponent is even.
        root = math.sqrt(2.0) if exponent % 2 else 1.0
        return scaled(weights * root, half), scaled(outputs * root, half)


def _exponent(array: Floats) -> int:
    return math.frexp(float(np.abs(array).max(initial=0.0)))[1]
