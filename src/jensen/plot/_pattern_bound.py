"""How many activation patterns n points of rank r have, and the bound that is quoted for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.ticker import LogFormatterMathtext, LogLocator

from jensen.errors import ArgumentError
from jensen.network._numbers import as_count
from jensen.plot._style import FAINT, INK, NEGATIVE, POSITIVE, dress, new_figure, root_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLOURS = (POSITIVE, "#b7791f", "#0b7a5b", "#7b3294", NEGATIVE, "#1d3f72")


def plot_pattern_bound(
    ranks: Sequence[int] = (2, 3, 5, 10),
    most: int = 1000,
    *,
    counted: Mapping[tuple[int, int], int] | None = None,
    ax: Axes | None = None,
) -> Figure:
    """Draw the number of activation patterns and its bound against the number of points.

    In general position n points of rank r have 2 sum_{k < r} C(n - 1, k) patterns, fewer in special position.
    The bound 2 r (e (n - 1) / r)^r is stated, and drawn, for n - 1 >= r.

    Parameters
    ----------
    ranks : sequence of int
        Ranks of the data, a bias column included.
    most : int, default 1000
        Largest number of points.
    counted : mapping from (n, rank) to int, optional
        Numbers of patterns that were enumerated; drawn as circles.
    ax : matplotlib.axes.Axes, optional
        Draw here rather than in a new figure.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ArgumentError
        If a rank is no positive integer, or there are fewer than rank + 2 points.
    """
    # The arrangement's room compiles kernels, which no other picture needs.
    from jensen.fit._arrangement import count_gates, count_gates_bound

    highest = max((as_count(rank, "a rank") for rank in ranks), default=0)
    if not highest:
        raise ArgumentError("ranks must name at least one rank")
    largest = as_count(most, "most", highest + 2)
    axes = new_figure(5.6, 3.8).add_subplot() if ax is None else ax
    for rank, colour in zip(ranks, _cycle(len(ranks)), strict=True):
        sizes = np.unique(np.geomspace(rank + 1, largest, 120).astype(int)).tolist()
        axes.plot(sizes, [count_gates_bound(n, rank) for n in sizes], "--", color=colour, linewidth=1.3)
        counts = [count_gates(n, rank) for n in sizes]
        axes.plot(sizes, [float(count) for count in counts], color=colour, linewidth=1.8)
        axes.annotate(
            f"rank {rank}",
            (largest, counts[-1]),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            fontsize=8.5,
            color=colour,
            annotation_clip=False,
        )
        marks = [(n, count) for (n, r), count in (counted or {}).items() if r == rank]
        if marks:
            axes.plot(
                *zip(*marks, strict=True),
                "o",
                color="white",
                markeredgecolor=colour,
                markersize=5,
                linestyle="none",
                zorder=4,
            )
    dress(axes, "", "points", "activation patterns")
    axes.set_xscale("log")
    axes.set_yscale("log")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(numticks=9))
        axis.set_major_formatter(LogFormatterMathtext())
    handles = [
        Line2D([], [], color=FAINT, linewidth=1.3, linestyle="--", label="bound"),
        Line2D([], [], color=FAINT, linewidth=1.8, label="general position"),
    ]
    if counted:
        handles.append(
            Line2D([], [], color="white", marker="o", markeredgecolor=FAINT, markersize=5, label="enumerated")
        )
    axes.legend(handles=handles, fontsize=8, frameon=False, loc="upper left", labelcolor=INK)
    return root_figure(axes)


def _cycle(count: int) -> list[str]:
    return [_COLOURS[place % len(_COLOURS)] for place in range(count)]
