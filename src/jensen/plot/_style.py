"""Colours and the dress of axes, the same in every picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, ScalarFormatter

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure

INK = "#1f2933"
FAINT = "#7b8794"
GRID = "#e4e7eb"
NEGATIVE = "#c81d25"
POSITIVE = "#2b6cb0"
CURVE = "#1d3f72"
ACCENT = "#f2b705"
VERDICTS = {
    "convex": "#1e7d4f",
    "convex_float": "#1f7a8c",
    "not_convex": NEGATIVE,
    "unknown": "#b7791f",
}

# Even the smallest negative jump is a saturated orange, so that no bend downwards hides among the rest.
JUMPS = LinearSegmentedColormap.from_list(
    "jensen_jumps",
    [
        (0.0, "#7a0012"),
        (0.25, "#c81d25"),
        (0.4999, "#ff7a3d"),
        (0.5, "#cbd5df"),
        (0.65, "#8fb3d6"),
        (0.85, "#3f78b5"),
        (1.0, "#153a66"),
    ],
)
HEIGHTS = LinearSegmentedColormap.from_list("jensen_heights", ["#e6edf5", "#f7f7f4", "#fbeed5"])


def new_figure(width: float, height: float) -> Figure:
    """Make an empty figure that belongs to no window and no pyplot state."""
    return Figure(figsize=(width, height), layout="constrained", facecolor="white")


def root_figure(axes: Axes) -> Figure:
    """Return the figure that axes stand in, however deep."""
    figure: Figure | SubFigure | None = axes.figure
    while figure is not None and not isinstance(figure, Figure):
        figure = figure.figure
    if figure is None:
        raise ValueError("these axes belong to no figure")
    return figure


def dress(axes: Axes, title: str = "", xlabel: str = "", ylabel: str = "") -> None:
    """Give axes the house's fonts, colours and spines."""
    axes.set_title(title, fontsize=10.5, color=INK, loc="left", pad=8)
    axes.set_xlabel(xlabel, fontsize=9, color=INK)
    axes.set_ylabel(ylabel, fontsize=9, color=INK)
    axes.tick_params(labelsize=8, colors=FAINT, labelcolor=INK, length=3)
    for axis in (axes.xaxis, axes.yaxis):
        formatter = ScalarFormatter(useMathText=True)
        formatter.set_powerlimits((-3, 4))
        axis.set_major_formatter(formatter)
        axis.get_offset_text().set_fontsize(7.5)
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(FAINT)
        spine.set_linewidth(0.8)
