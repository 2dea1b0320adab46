"""The loss of gradient descent beside the convex optimum with the activation patterns of every step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import LogFormatterMathtext, LogLocator
from numpy.typing import ArrayLike

from jensen.errors import ArgumentError
from jensen.plot._checked import finite
from jensen.plot._style import CURVE, FAINT, INK, NEGATIVE, dress, new_figure, root_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def overtaken(losses: ArrayLike, optimum: float) -> int | None:
    """First step whose loss is below a value; None if there is none."""
    below = np.flatnonzero(finite(losses, "losses", (None,)) < optimum)
    return int(below[0]) if len(below) else None


def plot_convex_versus_descent(
    losses: ArrayLike, steps: ArrayLike, optima: ArrayLike, *, ax: Axes | None = None
) -> Figure:
    """Draw losses of descent, and the best loss that the patterns of each step allow.

    The first optimum is drawn on as a line, and the step marked at which descent passes below it.

    Parameters
    ----------
    losses : (T,) array
        Positive; the loss at steps 0 to T - 1.
    steps : (k,) array
        Steps at which the convex programme was solved; increasing, the first one 0.
    optima : (k,) array
        Its optima, positive.
    ax : matplotlib.axes.Axes, optional
        Draw here rather than in a new figure.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ArgumentError
        If shapes do not fit, a value is not positive and finite, or steps do not increase from 0.
    """
    descent = finite(losses, "losses", (None,))
    places = finite(steps, "steps", (None,))
    best = finite(optima, "optima", (len(places),))
    if (descent <= 0).any() or (best <= 0).any():
        raise ArgumentError("losses and optima must be positive, they are drawn on a scale of logarithms")
    if places[0] != 0 or (np.diff(places) <= 0).any() or places[-1] >= len(descent):
        raise ArgumentError("steps must increase from 0 and be steps of the losses")
    axes = new_figure(5.4, 3.4).add_subplot() if ax is None else ax
    axes.plot(descent, color=CURVE, linewidth=2.0, label="gradient descent")
    axes.plot(places, best, color=NEGATIVE, linewidth=1.5, label="convex optimum, patterns of this step")
    axes.axhline(
        best[0], color=FAINT, linewidth=1.1, linestyle="--", label="convex optimum, patterns of step 0"
    )
    step = overtaken(descent, float(best[0]))
    if step is not None:
        axes.plot(step, best[0], "o", color="white", markeredgecolor=INK, markersize=6, zorder=5)
        axes.annotate(
            f"step {step}",
            (step, float(best[0])),
            xytext=(6, 6),
            textcoords="offset points",
            fontsize=8.5,
            color=INK,
        )
    dress(axes, "", "step", "loss")
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator())
    axes.yaxis.set_major_formatter(LogFormatterMathtext())
    axes.set_xlim(0.0, max(len(descent) - 1.0, 1.0))
    axes.legend(fontsize=8, frameon=False, loc="lower left", labelcolor=INK)
    return root_figure(axes)
