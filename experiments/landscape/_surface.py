"""Two one-dimensional neurons: their loss surface, and where descent ends."""

from __future__ import annotations

from collections import Counter

import numpy as np
from matplotlib.figure import Figure

from experiments.landscape._descent import Floats, descend
from jensen.plot import plot_loss_surface

X, Y = np.array([-1.0, 1.0]), np.array([1.0, 2.0])
STARTS = ((1.5, 2.5), (0.4, 0.2), (-2.6, -1.9), (-0.3, -0.15), (2.6, -2.2), (-0.4, 0.9), (0.2, -2.0))
RATE, STEPS = 0.05, 400


def path(start: tuple[float, float] | Floats) -> Floats:
    """(k, 2) weights that descent passes through; the output weights stay 1."""
    hidden = np.array(start)[:, None]
    run = descend(X[:, None], Y, hidden, np.ones(2), rate=RATE, steps=STEPS, hidden_only=True)
    return run.hidden[:, :, 0]


def loss(weights: Floats) -> float:
    """Sum of squared errors, as published."""
    outputs = np.maximum(0.0, np.outer(X, weights)).sum(1)
    return float(((outputs - Y) ** 2).sum())


def endings(count: int, seed: int = 0, side: float = 3.0) -> Counter[float]:
    """Count where descents from uniform points of the square end: their losses, to three decimals."""
    starts = np.random.default_rng(seed).uniform(-side, side, size=(count, 2))
    return Counter(round(loss(path(start)[-1]), 3) for start in starts)


def picture() -> Figure:
    """Draw the surface with some descents."""
    return plot_loss_surface(X, Y, paths=[path(start) for start in STARTS])
