"""The loss of two one-dimensional neurons: level lines, critical lines, and where descent goes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from numpy.typing import ArrayLike

from jensen.errors import ArgumentError
from jensen.network import FloatArray
from jensen.plot._checked import finite
from jensen.plot._style import CURVE, FAINT, INK, NEGATIVE, dress, new_figure, root_figure
from jensen.plot._two_neurons import TwoNeurons

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from mpl_toolkits.mplot3d.axes3d import Axes3D  # type: ignore[import-untyped]

_DEPTHS = LinearSegmentedColormap.from_list("jensen_depths", ["#4f7fb0", "#a9c4de", "#e9eef4", "#fbf6e9"])
_GRID = 241
_LEVELS = 18
_ENDS = ("#0b7a5b", "#b7791f", "#7b3294")
"""Colours of the values that descent reaches, from the lowest."""


def plot_loss_surface(
    x: ArrayLike = (-1.0, 1.0),
    y: ArrayLike = (1.0, 2.0),
    output_weights: ArrayLike = (1.0, 1.0),
    *,
    paths: Sequence[ArrayLike] = (),
    limit: float = 3.0,
    ax: Axes | None = None,
) -> Figure:
    """Draw the loss sum_j (a_1 relu(x_j w_1) + a_2 relu(x_j w_2) - y_j)^2 over the plane of (w_1, w_2).

    On the red lines the gradient is zero and the loss constant: both neurons fit the data on one side of 0
    and leave out the other side. Stars are the minima where each neuron fits a side. The defaults are those
    of Mercklé, Iutzeler and Redko, "The hidden convex optimization landscape of two-layer ReLU networks"
    (ICLR blog posts, 2024).

    Parameters
    ----------
    x, y : (n,) arrays
        Data, with a negative and a positive x.
    output_weights : (2,) array
        The fixed second layer a; no zeros.
    paths : sequence of (k, 2) arrays
        Paths of descent; coloured by the loss at their ends.
    limit : float, default 3.0
        Half-width of the square that is drawn.
    ax : matplotlib.axes.Axes, optional
        Draw the map here; without it a new figure holds the surface in perspective as well.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ArgumentError
        If shapes do not fit, a number is not finite, or x lies on one side of 0.
    """
    problem = TwoNeurons.checked(x, y, output_weights)
    half = float(finite(limit, "limit", ()))
    if not half > 0:
        raise ArgumentError(f"limit must be positive, got {half}")
    walks = [finite(path, "a path", (None, 2)) for path in paths]
    if ax is None:
        figure = new_figure(8.6, 4.7)
        grid = figure.add_gridspec(1, 2, width_ratios=(1.15, 1.0))
        _draw_surface(figure.add_subplot(grid[0], projection="3d"), problem, half)
        axes = figure.add_subplot(grid[1])
    else:
        figure, axes = root_figure(ax), ax
    _draw_map(axes, problem, half)
    _draw_paths(axes, problem, walks)
    dress(axes, "", "$w_1$", "$w_2$")
    axes.set_xlim(-half, half)
    axes.set_ylim(-half, half)
    axes.set_aspect("equal")
    handles, labels = axes.get_legend_handles_labels()
    if ax is None:
        figure.legend(
            handles, labels, loc="outside lower center", ncols=3, fontsize=8, frameon=False, labelcolor=INK
        )
    else:
        axes.legend(
            handles,
            labels,
            loc="upper center",
            bbox_to_anchor=(0.5, -0.13),
            ncols=2,
            fontsize=7.5,
            frameon=False,
        )
    return figure


def _grid(half: float, count: int) -> tuple[FloatArray, FloatArray]:
    axis = np.linspace(-half, half, count)
    return axis, np.stack(np.meshgrid(axis, axis, indexing="xy"), axis=-1)


def _levels(low: float, high: float) -> FloatArray:
    """Levels that are denser near the bottom."""
    return low + (high - low) * np.linspace(0.0, 1.0, _LEVELS) ** 2


def _draw_map(axes: Axes, problem: TwoNeurons, half: float) -> None:
    axis, points = _grid(half, _GRID)
    losses = problem.loss(points)
    levels = _levels(0.0, float(losses.max()))
    axes.contourf(axis, axis, losses, levels=levels, cmap=_DEPTHS, norm="asinh", zorder=0)
    axes.contour(axis, axis, losses, levels=levels, colors=INK, linewidths=0.4, alpha=0.3, zorder=1)
    axes.axhline(0.0, color=INK, linewidth=1.1, zorder=2, label="one neuron is off")
    axes.axvline(0.0, color=INK, linewidth=1.1, zorder=2)
    label: str | None = "gradient zero"
    for line in problem.critical_lines():
        ends = line.ends(half)
        if ends is None:
            continue
        axes.plot(*ends.T, color=NEGATIVE, linewidth=2.6, zorder=4, label=label, solid_capstyle="round")
        label = None
        lower = int(ends[:, 1].argmin())
        # Beside the line's lower end, on the side away from the origin.
        axes.annotate(
            f"loss {line.loss:.3g}",
            0.7 * ends[lower] + 0.3 * ends[1 - lower],
            xytext=tuple(9 * line.side * np.sign(line.weights)),
            textcoords="offset points",
            ha="left" if line.side * line.weights[0] > 0 else "right",
            va="center",
            color=NEGATIVE,
            fontsize=9,
            fontweight="bold",
        )
    minima = problem.minima()
    inside = minima[(np.abs(minima) <= half).all(1)]
    if len(inside):
        axes.plot(
            *inside.T,
            "*",
            markersize=13,
            color="white",
            markeredgecolor=INK,
            zorder=6,
            linestyle="none",
            label="minimum, a neuron for each side",
        )


def _draw_paths(axes: Axes, problem: TwoNeurons, walks: Sequence[FloatArray]) -> None:
    ends = np.array([problem.loss(walk[-1]) for walk in walks])
    values = _values(ends)
    for place, value in enumerate(values):
        label: str | None = f"descent to loss {value:.3g}"
        for walk, end in zip(walks, ends, strict=True):
            if np.abs(values - end).argmin() != place:
                continue
            colour = _ENDS[place % len(_ENDS)]
            axes.plot(*walk.T, color=colour, linewidth=1.5, zorder=5, label=label)
            axes.plot(*walk[0], "o", color="white", markeredgecolor=colour, markersize=4.5, zorder=5)
            axes.plot(*walk[-1], "o", color=colour, markersize=4.5, zorder=7)
            label = None


def _values(ends: FloatArray) -> FloatArray:
    """Distinct values, with those that differ by a hundredth of their range or less taken as one."""
    kept: list[float] = []
    room = 1e-2 * max(float(np.ptp(ends)) if len(ends) else 0.0, 1e-12)
    for end in np.sort(ends):
        if not kept or end - kept[-1] > room:
            kept.append(float(end))
    return np.array([0.0 if abs(value) < 1e-3 else value for value in kept])


def _draw_surface(axes: Axes3D, problem: TwoNeurons, half: float) -> None:
    axis, points = _grid(half, 121)
    # Cut off high up, where the picture would be all wall.
    top = float(np.quantile(problem.loss(points), 0.93))
    losses = np.minimum(problem.loss(points), top)
    axes.computed_zorder = False
    axes.plot_surface(
        *np.moveaxis(points, -1, 0),
        losses,
        cmap=_DEPTHS,
        norm="asinh",
        rcount=61,
        ccount=61,
        linewidth=0.15,
        edgecolor="#5b6b7b",
        alpha=0.9,
        zorder=1,
    )
    zeros = np.zeros_like(axis)
    for along in (np.stack([axis, zeros], 1), np.stack([zeros, axis], 1)):
        heights = problem.loss(along)
        shown = np.where(heights <= top, heights, np.nan)
        axes.plot(*along.T, shown, color=INK, linewidth=1.3, zorder=3)
    for line in problem.critical_lines():
        ends = line.ends(half)
        if ends is not None:
            axes.plot(*ends.T, np.full(2, line.loss), color=NEGATIVE, linewidth=2.8, zorder=4)
    for minimum in problem.minima():
        axes.plot(*minimum[:, None], problem.loss(minimum), "*", color=CURVE, markersize=9, zorder=5)
    axes.set_xlabel("$w_1$", fontsize=9, color=INK, labelpad=-6)
    axes.set_ylabel("$w_2$", fontsize=9, color=INK, labelpad=-6)
    axes.set_zlabel("loss", fontsize=9, color=INK, labelpad=-8)
    axes.tick_params(labelsize=7.5, colors=FAINT, labelcolor=INK, pad=-2)
    for pane in (axes.xaxis, axes.yaxis, axes.zaxis):
        pane.set_pane_color((1.0, 1.0, 1.0, 0.0))
        pane.line.set_color(FAINT)
    axes.grid(False)
    axes.view_init(elev=42, azim=-118)
    axes.set_box_aspect((1.0, 1.0, 0.75), zoom=1.05)
