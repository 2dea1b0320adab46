"""Regions of a network in two inputs or on a slice, with frontiers coloured by their jumps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import Normalize
from matplotlib.patheffects import withStroke
from matplotlib.tri import Triangulation
from numpy.typing import ArrayLike

from jensen.certify import Witness
from jensen.certify._render import to_float
from jensen.certify._report import number
from jensen.network import Domain, FloatArray, ReLUNetwork, WholeSpace
from jensen.plot._file import PlotError
from jensen.plot._planar import Planar, subdivide
from jensen.plot._slice import Slice
from jensen.plot._style import ACCENT, FAINT, HEIGHTS, INK, JUMPS, dress, new_figure, root_figure
from jensen.plot._window import Window, check_window, view, visible_part

if TYPE_CHECKING:
    from fractions import Fraction

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LEVELS = 14


def plot_regions(
    network: ReLUNetwork,
    domain: Domain | None = None,
    *,
    window: ArrayLike | None = None,
    slice: Slice | None = None,
    witness: Witness | None = None,
    radius: float | None = None,
    ax: Axes | None = None,
) -> Figure:
    """Draw the regions, level lines and frontiers of a network in a plane.

    Frontiers are coloured by the change of slope across them, per unit length: blue where the network
    bends upwards, red where it bends downwards, and the wider the larger.

    Parameters
    ----------
    network : ReLUNetwork
    domain : Domain, optional
        The whole space by default. Only what lies in it is drawn.
    window : ((low, high), (low, high)), optional
        Limits of the two coordinates; by default the domain where it is bounded, else the part where most
        of the network's bends meet.
    slice : Slice, optional
        The plane to draw; needed unless the network has two inputs.
    witness : Witness, optional
        Three points to mark; they are projected onto the slice.
    radius : float, optional
        Without a window: show a square of this half-width around the witness or the slice's origin.
    ax : matplotlib.axes.Axes, optional
        Draw here rather than in a new figure.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    PlotError
        If the network does not have two inputs and no slice is given, or nothing of the domain is in the
        window.
    """
    if slice is None:
        if network.input_size != 2:
            raise PlotError(
                f"the network has {network.input_size} inputs: choose a plane with slice=Slice(...)"
            )
        slice = Slice.of_inputs(2)
    planar_network = slice.restrict(network)
    rows, right = slice.half_planes(WholeSpace() if domain is None else domain)
    marks = (
        np.zeros((0, 2)) if witness is None else slice.project(_floats(witness.x, witness.middle, witness.y))
    )
    if window is None:
        focus = marks if len(marks) or radius is None else np.zeros((1, 2))
        shown, polygon, planar = view(planar_network, rows, right, focus, radius)
    else:
        shown = check_window(window)
        polygon = visible_part(shown, rows, right)
        cut = subdivide(planar_network, polygon)
        assert cut is not None  # no budget was set
        planar = cut
    axes = new_figure(6.4, 5.4).add_subplot() if ax is None else ax
    figure = root_figure(axes)
    _draw_heights(axes, planar)
    _draw_frontiers(axes, planar)
    _draw_boundary(axes, polygon, rows, right)
    if len(marks):
        _draw_witness(axes, marks, shown)
    _frame(axes, shown)
    bends = f"{int((planar.jumps < 0).sum()):,} of {len(planar.jumps):,} frontiers bend downwards"
    dress(axes, f"{len(planar.polygons):,} regions, {bends}", *slice.names)
    return figure


def _floats(*points: Sequence[Fraction]) -> FloatArray:
    return np.array([[to_float(v) for v in point] for point in points])


def _draw_heights(axes: Axes, planar: Planar) -> None:
    """Tint every region by the function's mean height, and draw level lines."""
    heights = np.array([planar.values[p].mean() for p in planar.polygons])
    low, high = np.quantile(planar.values, [0.02, 0.98])
    norm = Normalize(low, high if high > low else low + 1.0)
    tints = HEIGHTS(norm(heights))
    # Neighbours of nearly the same height stay distinguishable by a slight change of lightness.
    tints[:, :3] *= np.random.default_rng(0).uniform(0.955, 1.0, size=(len(tints), 1))
    outlines = [planar.vertices[p] for p in planar.polygons]
    axes.add_collection(
        PolyCollection(outlines, facecolors=tints, edgecolors=tints, linewidths=0.4, zorder=1)
    )
    if np.ptp(planar.values) > 1e-12 * max(1.0, float(np.abs(planar.values).max())):
        levels = np.linspace(planar.values.min(), planar.values.max(), _LEVELS + 2)[1:-1]
        mesh = Triangulation(planar.vertices[:, 0], planar.vertices[:, 1], planar.triangles)
        axes.tricontour(
            mesh,
            planar.values,
            levels=levels,
            colors=INK,
            linewidths=0.5,
            linestyles="solid",
            alpha=0.35,
            zorder=2,
        )


def _draw_frontiers(axes: Axes, planar: Planar) -> None:
    jumps = planar.jumps
    largest = float(np.quantile(np.abs(jumps), 0.98)) if len(jumps) else 1.0
    norm = Normalize(-largest, largest)
    share = np.minimum(np.abs(jumps) / largest, 1.0)
    # Many frontiers leave room for thin lines only.
    base = float(np.clip(30.0 / np.sqrt(len(jumps) + 1.0), 0.35, 1.0))
    widths = base * np.where(jumps < 0, 1.3 + 2.2 * np.sqrt(share), 0.4 + 1.9 * np.sqrt(share))
    order = np.argsort(-jumps)
    lines = LineCollection(
        list(planar.segments[order]),
        cmap=JUMPS,
        norm=norm,
        linewidths=widths[order],
        capstyle="round",
        zorder=3,
    )
    lines.set_array(jumps[order])
    axes.add_collection(lines)
    bar = root_figure(axes).colorbar(lines, ax=axes, shrink=0.75, aspect=28, pad=0.02, extend="both")
    bar.set_label("jump of slope across the frontier", fontsize=8.5, color=INK)
    bar.ax.tick_params(labelsize=7.5, colors=FAINT, labelcolor=INK, length=2)
    bar.outline.set_visible(False)


def _draw_boundary(axes: Axes, polygon: FloatArray, rows: FloatArray, right: FloatArray) -> None:
    """Draw the edges of what is shown at which the domain ends, rather than the window."""
    edges = np.stack([polygon, np.roll(polygon, -1, axis=0)], axis=1)
    gap = np.abs(edges.mean(axis=1) @ rows.T - right)
    tolerance = 1e-9 * (np.abs(right) + np.linalg.norm(rows, axis=1) * np.abs(polygon).max())
    ends = edges[(gap <= tolerance).any(axis=1)]
    axes.add_collection(
        LineCollection(list(ends), colors=INK, linewidths=1.6, capstyle="projecting", zorder=4)
    )


def _draw_witness(axes: Axes, marks: FloatArray, window: Window) -> None:
    """Mark x, the middle and y; where the segment is short, one label has to do."""
    halo = [withStroke(linewidth=4.0, foreground="white")]
    axes.plot(*marks.T, color=INK, linewidth=1.6, zorder=6, path_effects=halo)
    ends = marks[[0, 2]]
    axes.plot(*ends.T, "o", markersize=6, markerfacecolor="white", markeredgecolor=INK, zorder=7)
    axes.plot(*marks[1], "D", markersize=6.5, markerfacecolor=ACCENT, markeredgecolor=INK, zorder=8)
    (left, right), (bottom, top) = window
    x, y = marks[1]
    if not (left <= x <= right and bottom <= y <= top):
        axes.annotate(
            f"witness outside, at ({number(x)}, {number(y)})",
            (0.02, 0.02),
            xycoords="axes fraction",
            fontsize=8.5,
            fontweight="bold",
            color=INK,
            zorder=9,
            path_effects=[withStroke(linewidth=3.0, foreground="white")],
        )
        return
    along = marks[2] - marks[0]
    extent = np.ptp(np.array(window), axis=1)
    relative = along / extent
    if np.linalg.norm(relative) < 0.12:
        named = [(marks[1], "witness", np.array([0.0, 1.0]))]
    else:
        outwards = relative / np.linalg.norm(relative)
        across = np.array([-outwards[1], outwards[0]])
        across = across if across[1] >= 0 else -across
        named = [(marks[0], "x", -outwards), (marks[1], "m", across), (marks[2], "y", outwards)]
    for point, name, towards in named:
        axes.annotate(
            name,
            point,
            xytext=(13 * towards[0], 13 * towards[1]),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=10,
            fontweight="bold",
            color=INK,
            zorder=9,
            path_effects=[withStroke(linewidth=3.0, foreground="white")],
        )


def _frame(axes: Axes, window: Window) -> None:
    (left, right), (bottom, top) = window
    width, height = right - left, top - bottom
    axes.set_xlim(left - 0.015 * width, right + 0.015 * width)
    axes.set_ylim(bottom - 0.015 * height, top + 0.015 * height)
    axes.set_aspect("equal" if 1 / 3 < width / height < 3 else "auto")
