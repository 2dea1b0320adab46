"""How a network's jumps are distributed over its hidden layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from jensen.certify import Verdict
from jensen.network import Domain, FloatArray, ReLUNetwork, WholeSpace
from jensen.plot._lines import kinks_along, random_segments
from jensen.plot._style import FAINT, GRID, INK, NEGATIVE, POSITIVE, dress, new_figure, root_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BINS = 40


def plot_jumps(
    network: ReLUNetwork,
    domain: Domain | None = None,
    verdict: Verdict | None = None,
    *,
    lines: int = 200,
    seed: int = 0,
    ax: Axes | None = None,
) -> Figure:
    """Draw the distribution of jumps of slope at frontiers, one row for each hidden layer.

    Frontiers are sampled: all kinks along random lines through the domain. A row without red proves
    nothing; the verdict's bounds, drawn as ticks below it, do.

    Parameters
    ----------
    network : ReLUNetwork
    domain : Domain, optional
        The whole space by default, or else the verdict's domain.
    verdict : Verdict, optional
        Its neurons' lower bounds (proved) are drawn as upright ticks and its worst jumps seen as crosses.
    lines : int, default 200
        Random lines; large networks get fewer.
    seed : int, default 0
    ax : matplotlib.axes.Axes, optional
        Draw here rather than in a new figure.

    Returns
    -------
    matplotlib.figure.Figure
    """
    if domain is None:
        domain = WholeSpace() if verdict is None else verdict.domain
    wrt = None if verdict is None else verdict.wrt
    segments = random_segments(domain, network.input_size, lines, np.random.default_rng(seed), wrt)
    kinks = kinks_along(network, *segments)
    rows = list(range(1, network.depth + 1))
    axes = new_figure(5.6, 1.6 + 0.8 * max(len(rows), 1)).add_subplot() if ax is None else ax
    edges = _edges(kinks.jumps, verdict)
    for layer in rows:
        _draw_row(axes, layer, kinks.jumps[kinks.layers == layer], edges)
    if verdict is not None:
        _draw_reports(axes, verdict, edges)
    negative = int((kinks.jumps < -_noise(kinks.jumps)).sum())
    share = f"{100 * negative / len(kinks.jumps):.1f} %" if len(kinks.jumps) else "none"
    dress(axes, f"Jumps at {len(kinks.jumps):,} sampled frontiers, {share} negative", "jump of slope")
    axes.axvline(0.0, color=INK, linewidth=1.0, zorder=2)
    axes.set_yticks(rows, [f"layer {layer}" for layer in rows])
    # Room below the last row for its ticks and the legend.
    axes.set_ylim(network.depth + 0.35 + 0.12 * network.depth, 0.15)
    axes.set_xlim(edges[0], edges[-1])
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    return root_figure(axes)


def _noise(jumps: FloatArray) -> float:
    """Jumps below this are rounding."""
    return 1e-12 * float(np.abs(jumps).max(initial=0.0))


def _edges(jumps: FloatArray, verdict: Verdict | None) -> FloatArray:
    """Edges of the bins: zero is one of them, and the rarest extremes do not stretch the axis."""
    low, high = np.quantile(jumps, [0.002, 0.998]) if len(jumps) else (0.0, 1.0)
    if verdict is not None:
        reported = [n.worst_jump for n in verdict.neurons if n.worst_jump is not None]
        low, high = min([low, *reported]), max([high, *reported])
    extent = max(high, -low, 1e-300)
    low, high = min(low, -0.08 * extent), max(high, 0.08 * extent)
    width = (high - low) / _BINS
    return width * np.arange(np.floor(low / width), np.ceil(high / width) + 1)


def _draw_row(axes: Axes, layer: int, jumps: FloatArray, edges: FloatArray) -> None:
    axes.axhline(layer, color=GRID, linewidth=1.0, zorder=1)
    noise = _noise(jumps)
    clipped = np.clip(np.where(np.abs(jumps) <= noise, 0.0, jumps), edges[0], edges[-1])
    counts, _ = np.histogram(clipped, edges)
    # Square roots keep rare jumps visible beside frequent ones.
    heights = 0.72 * np.sqrt(counts / max(counts.max(), 1))
    colours = [NEGATIVE if right <= 1e-12 * abs(edges[-1]) else POSITIVE for right in edges[1:]]
    axes.bar(
        edges[:-1],
        -heights,
        width=np.diff(edges),
        bottom=layer,
        align="edge",
        color=colours,
        alpha=0.75,
        zorder=3,
    )
    negative = int((jumps < -noise).sum())
    words = f"{100 * negative / len(jumps):.1f} %\nnegative" if len(jumps) else "no frontier"
    axes.annotate(
        words,
        (1.0, layer),
        xycoords=("axes fraction", "data"),
        xytext=(6, 0),
        textcoords="offset points",
        ha="left",
        va="center",
        fontsize=8,
        color=NEGATIVE if negative else FAINT,
        annotation_clip=False,
    )


def _draw_reports(axes: Axes, verdict: Verdict, edges: FloatArray) -> None:
    """Mark what the verdict knows of every neuron, below its layer's row."""
    bounds = [(n.lower_bound, n.layer) for n in verdict.neurons if np.isfinite(n.lower_bound)]
    seen = [(n.worst_jump, n.layer) for n in verdict.neurons if n.worst_jump is not None and n.worst_jump < 0]
    if bounds:
        x, rows = np.array(bounds).T
        axes.plot(
            np.clip(x, edges[0], edges[-1]),
            rows + 0.1,
            "|",
            markersize=7,
            color=INK,
            alpha=0.7,
            zorder=4,
            label="lower bound of a neuron",
            clip_on=False,
        )
    if seen:
        x, rows = np.array(seen).T
        axes.plot(
            np.clip(x, edges[0], edges[-1]),
            rows + 0.1,
            "x",
            markersize=5,
            color=NEGATIVE,
            zorder=5,
            label="worst jump seen at a neuron",
            clip_on=False,
        )
    if bounds or seen:
        axes.legend(fontsize=7.5, frameon=False, loc="lower left", ncols=2, labelcolor=INK, borderpad=0.1)
