"""The hinge loss with its kink rounded off around given slopes: one step of a proximal method in the dual."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.special import expit, logit, rel_entr

from jensen.fit._losses import Floats, Hinge, Loss


@dataclass(frozen=True)
class SoftHinge(Loss):
    """max over p in [0, 1] of p (1 - y o) - (width / 2) (p - centre)^2.

    It is below the hinge, and touches it where the maximiser is the centre. With centres at the last step's
    maximisers its minimisers converge to those of the hinge.

    Parameters
    ----------
    width : float
        Range of margins over which p goes from 0 to 1.
    centre : (n,) array
        In [0, 1].
    """

    width: float
    centre: Floats
    name: ClassVar[str] = "hinge"

    def targets(self, y: object) -> Floats:
        """Check targets: -1 and 1."""
        return Hinge().targets(y)

    def margins(self, o: Floats, y: Floats) -> Floats:
        """Arguments of the logistic function: p = 1 / (1 + exp(margin))."""
        return np.asarray((y * o - 1) / self.width - logit(self.centre))

    def value(self, o: Floats, y: Floats) -> Floats:
        """Return the maximum."""
        return np.asarray(self.width * (np.logaddexp(0.0, -self.margins(o, y)) + np.log1p(-self.centre)))

    def slope(self, o: Floats, y: Floats) -> Floats:
        """-y times the maximiser."""
        return np.asarray(-y * expit(-self.margins(o, y)))

    def curvature(self, o: Floats, y: Floats) -> Floats:
        """Return p (1 - p) / width."""
        m = self.margins(o, y)
        return np.asarray(expit(m) * expit(-m) / self.width)

    def conjugate(self, slope: Floats, y: Floats) -> Floats:
        """Slope times y, plus the divergence from the centre, for -y slope in [0, 1]."""
        p = -y * slope
        inside = (p >= 0) & (p <= 1)
        p = np.where(inside, p, 0.0)
        away = rel_entr(p, self.centre) + rel_entr(1 - p, 1 - self.centre)
        return np.where(inside, self.width * away - p, np.inf)

    @property
    def most_curved(self) -> float:
        """A quarter of 1 / width."""
        return 0.25 / self.width
