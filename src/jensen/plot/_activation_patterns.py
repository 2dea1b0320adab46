"""All activation patterns of points on a line: the neurons that realise them, side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jensen.network import FloatArray
from jensen.plot._checked import distinct
from jensen.plot._style import FAINT, GRID, INK, NEGATIVE, POSITIVE, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ACTIVE = "#0b7a5b"


def neurons_on_a_line(points: FloatArray) -> FloatArray:
    """One neuron for every place among sorted points and every direction.

    Parameters
    ----------
    points : (n,) array
        Sorted.

    Returns
    -------
    (2 (n + 1), 2) array
        Rows (slope, bias) of slope 1 and -1: first those that are active to the right of their activation
        point, from left to right, then the others. The first of either kind that faces all points or none has
        the pattern of another one, so they have 2n patterns.
    """
    step = float(np.diff(points).mean()) if len(points) > 1 else 1.0
    edges = np.concatenate([[points[0] - step], points, [points[-1] + step]])
    places = (edges[1:] + edges[:-1]) / 2
    return np.concatenate(
        [np.stack([np.ones_like(places), -places], 1), np.stack([-np.ones_like(places), places], 1)]
    )


def patterns_of(neurons: FloatArray, points: FloatArray) -> NDArray[np.bool_]:
    """(m, n) mask of the points that neurons (slope, bias) activate."""
    return np.asarray(neurons[:, :1] * points + neurons[:, 1:] > 0)


def plot_activation_patterns(x: ArrayLike = (0.0, 1.0, 2.0, 3.0)) -> Figure:
    """Draw, for points on a line, a neuron for every place of the activation point and every direction.

    With a bias there are 2 (n + 1) of them; ten for four points. Two of these pairs activate the same points
    (all of them, or none), so the number of distinct patterns is 2n. Repetitions are drawn in grey.

    Parameters
    ----------
    x : (n,) array
        Distinct points.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ArgumentError
        If x is no vector of distinct finite numbers.
    """
    points = distinct(x, "x")
    neurons = neurons_on_a_line(points)
    patterns = patterns_of(neurons, points)
    across = len(points) + 1
    figure = new_figure(1.75 * across + 0.3, 3.6)
    panels = figure.subplots(2, across, sharex=True, sharey=True, squeeze=False)
    seen: set[bytes] = set()
    for axes, neuron, pattern in zip(panels.flat, neurons, patterns, strict=True):
        _draw_neuron(axes, points, neuron, pattern, pattern.tobytes() in seen)
        seen.add(pattern.tobytes())
    for axes, words in zip(panels[:, 0], ("active to the right", "active to the left"), strict=True):
        axes.set_ylabel(words, fontsize=9, color=INK)
    return figure


def _draw_neuron(
    axes: Axes, points: FloatArray, neuron: FloatArray, pattern: NDArray[np.bool_], again: bool
) -> None:
    slope, bias = neuron
    place = -bias / slope
    margin = 0.35 * float(np.ptp(points) if len(points) > 1 else 2.0)
    line = np.array([points[0] - margin, place, points[-1] + margin])
    axes.axhline(0.0, color=GRID, linewidth=1.0, zorder=0)
    axes.plot(
        line,
        np.maximum(0.0, slope * line + bias),
        color=FAINT if again else POSITIVE,
        linewidth=2.0,
        zorder=2,
    )
    axes.plot(points[pattern], 0 * points[pattern], "o", color=NEGATIVE, markersize=6, zorder=3)
    axes.plot(
        points[~pattern],
        0 * points[~pattern],
        "o",
        markerfacecolor="white",
        markeredgecolor=NEGATIVE,
        markersize=6,
        zorder=3,
    )
    axes.plot(
        place,
        0.0,
        ">" if slope > 0 else "<",
        color=FAINT if again else ACTIVE,
        markersize=9,
        markeredgecolor="white",
        zorder=4,
    )
    bits = "".join("1" if active else "0" for active in pattern)
    axes.set_title(f"{bits}, again" if again else bits, fontsize=9.5, color=FAINT if again else INK)
    axes.set_xlim(line[0], line[-1])
    axes.set_xticks([])
    axes.set_yticks([])
    for side, spine in axes.spines.items():
        spine.set_visible(side == "left")
        spine.set_color(GRID)
