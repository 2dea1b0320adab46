"""The loss of a training run, with the part where only directions change told from the part that fits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import LogFormatterMathtext, LogLocator, MaxNLocator, NullLocator
from numpy.typing import ArrayLike

from jensen.errors import ArgumentError
from jensen.network import FloatArray
from jensen.plot._checked import finite
from jensen.plot._style import CURVE, GRID, INK, dress, new_figure, root_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def fitting_starts(losses: ArrayLike, share: float = 0.01) -> int | None:
    """First step at which the loss has fallen by a share of what it falls altogether; None if it never does.

    Raises
    ------
    ArgumentError
        If losses are not finite, or the share is not between 0 and 1.
    """
    values = finite(losses, "losses", (None,))
    if not 0 < share < 1:
        raise ArgumentError(f"share must lie between 0 and 1, got {share}")
    if not values.min() < values[0]:
        return None
    return int(np.argmax(values < values[0] - share * (values[0] - values.min())))


def plot_regimes(losses: ArrayLike, *, share: float = 0.01, ax: Axes | None = None) -> Figure:
    """Draw the loss of a training run in its two regimes: neurons align first, then they fit.

    Parameters
    ----------
    losses : (T,) array
        Positive.
    share : float, default 0.01
        Fitting starts when the loss has fallen by this share of what it falls altogether.
    ax : matplotlib.axes.Axes, optional
        Draw here rather than in a new figure.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ArgumentError
        If a loss is not positive and finite, or the share is not between 0 and 1.
    """
    values = finite(losses, "losses", (None,))
    start = fitting_starts(values, share)
    axes = new_figure(5.2, 3.0).add_subplot() if ax is None else ax
    draw_loss(axes, values)
    if start is not None:
        last = len(values) - 1
        axes.axvspan(0, start, color=GRID, alpha=0.7, linewidth=0, zorder=0)
        for place, words in ((start / 2, "alignment"), ((start + last) / 2, "fitting")):
            axes.annotate(
                words,
                (place, 1.0),
                xycoords=("data", "axes fraction"),
                xytext=(0, 3),
                textcoords="offset points",
                ha="center",
                va="bottom",
                fontsize=8.5,
                color=INK,
            )
    return root_figure(axes)


def draw_loss(axes: Axes, losses: FloatArray) -> None:
    """Draw losses on a scale of logarithms."""
    if (losses <= 0).any():
        raise ArgumentError("losses must be positive, they are drawn on a scale of logarithms")
    axes.plot(losses, color=CURVE, linewidth=1.8)
    dress(axes, "", "step", "loss")
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(numticks=8))
    axes.yaxis.set_major_formatter(LogFormatterMathtext())
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_xlim(0, max(len(losses) - 1, 1))
    axes.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
