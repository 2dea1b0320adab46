"""How many distinct activation patterns a network's neurons have, step by step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from jensen.errors import ArgumentError
from jensen.plot._checked import finite
from jensen.plot._style import ACCENT, CURVE, INK, POSITIVE, dress, new_figure, root_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def plot_pattern_counts(
    counts: ArrayLike, *, published: tuple[int, int] | None = None, ax: Axes | None = None
) -> Figure:
    """Draw numbers of distinct activation patterns against steps of training: all runs and their median.

    Parameters
    ----------
    counts : (runs, steps) array
        Positive integers, from step 0 on.
    published : (step, count), optional
        A published value to mark.
    ax : matplotlib.axes.Axes, optional
        Draw here rather than in a new figure.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ArgumentError
        If `counts` is no matrix of positive integers.
    """
    runs = finite(counts, "counts", (None, None))
    if (runs < 1).any() or (runs != np.round(runs)).any():
        raise ArgumentError("counts must be positive integers")
    axes = new_figure(5.2, 3.2).add_subplot() if ax is None else ax
    steps = np.arange(runs.shape[1])
    for place, run in enumerate(runs):
        axes.plot(
            steps,
            run,
            color=POSITIVE,
            alpha=0.28,
            linewidth=0.9,
            drawstyle="steps-post",
            label="one run" if place == 0 else None,
        )
    if len(runs) > 1:
        axes.plot(
            steps, np.median(runs, axis=0), color=CURVE, linewidth=2.2, label="median", drawstyle="steps-post"
        )
    if published is not None:
        step, count = finite(published, "published", (2,))
        axes.plot(
            step,
            count,
            "D",
            color=ACCENT,
            markeredgecolor=INK,
            markersize=7,
            zorder=5,
            linestyle="none",
            label=f"published: {count:.0f} at step {step:.0f}",
            clip_on=False,
        )
    axes.set_ylim(0.0, float(runs.max()) * 1.06)
    axes.set_xlim(0.0, max(float(steps[-1]), 1.0))
    axes.legend(fontsize=8, frameon=False, loc="lower left", labelcolor=INK)
    dress(axes, "", "step", "distinct activation patterns")
    axes.yaxis.set_major_locator(MaxNLocator(6, integer=True))
    return root_figure(axes)
