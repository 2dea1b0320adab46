"""The function along a segment against its chord: the picture of Jensen's inequality, in any dimension."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from jensen.certify import Verdict, Witness
from jensen.certify._render import to_float
from jensen.certify._report import number
from jensen.network import FloatArray, ReLUNetwork
from jensen.plot._file import PlotError
from jensen.plot._lines import random_segments
from jensen.plot._slice import clip_line
from jensen.plot._style import ACCENT, CURVE, FAINT, INK, NEGATIVE, POSITIVE, dress, new_figure, root_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SAMPLES = 801
_EXACT_SAMPLES = 41
_CANDIDATES = 32
_SHARE_SEEN = 0.06
"""A violation below this share of the curve's range is drawn relative to the chord."""


def plot_witness(
    verdict: Verdict,
    *,
    segment: tuple[ArrayLike, ArrayLike] | None = None,
    seed: int = 0,
    ax: Axes | None = None,
) -> Figure:
    """Draw f along a segment against its chord, with the violation marked.

    Where the violation is too small to be seen, f minus its chord is drawn instead, and where it is small
    against float64's rounding, f is evaluated exactly.

    Parameters
    ----------
    verdict : Verdict
    segment : pair of (d,) arrays, optional
        End points, for verdicts without a witness; by default the random segment through the domain on
        which f bends most.
    seed : int, default 0
        Seed of the random segments.
    ax : matplotlib.axes.Axes, optional
        Draw here rather than in a new figure.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    PlotError
        If the segment's end points do not fit the network.
    """
    axes = new_figure(5.6, 3.6).add_subplot() if ax is None else ax
    if verdict.witness is not None and segment is None:
        _draw_violation(axes, verdict, verdict.witness)
    else:
        start, end = (
            _bent_segment(verdict, seed) if segment is None else _read_segment(verdict.network, segment)
        )
        _draw_convexity(axes, verdict.network, start, end)
    return root_figure(axes)


def _draw_violation(axes: Axes, verdict: Verdict, witness: Witness) -> None:
    network, domain = verdict.network, verdict.domain
    x, y = _rounded(witness)
    t, violation = to_float(witness.t), to_float(witness.violation)
    length = float(np.linalg.norm(y - x))
    low, high = clip_line(domain, x, y - x)
    # A witness from exact arithmetic may round to a point just outside.
    ends = np.array([min(0.0, max(low, -0.3)), max(1.0, min(high, 1.3))])
    scale = max(abs(to_float(v)) for v in (witness.fx, witness.fy, witness.fm))
    places, bends = _profile(network, witness, ends, violation < 1e-9 * scale)
    middle = 1.0 - t
    chord_ends = np.array([to_float(witness.fx), to_float(witness.fy)])
    chord = chord_ends[0] + places * (chord_ends[1] - chord_ends[0])
    relative = violation < _SHARE_SEEN * float(np.ptp(bends + chord))
    base = np.zeros_like(chord) if relative else chord
    marks = np.zeros(2) if relative else chord_ends
    foot = 0.0 if relative else float(marks[0] + middle * (marks[1] - marks[0]))
    at = places * length
    axes.plot(at, base + bends, color=CURVE, linewidth=1.8, zorder=3, label="f")
    axes.plot([0.0, length], marks, "--", color=FAINT, linewidth=1.3, zorder=2, label="chord from x to y")
    inside = (places >= 0) & (places <= 1)
    above = bends[inside] > 0
    axes.fill_between(
        at[inside],
        base[inside],
        (base + bends)[inside],
        where=above.tolist(),
        color=NEGATIVE,
        alpha=0.13,
        linewidth=0,
    )
    axes.plot([middle * length] * 2, [foot, foot + violation], color=NEGATIVE, linewidth=2.4, zorder=4)
    axes.plot([0.0, length], marks, "o", markersize=6, markerfacecolor="white", markeredgecolor=INK, zorder=5)
    axes.plot(
        middle * length, foot + violation, "D", markersize=6, color=ACCENT, markeredgecolor=INK, zorder=6
    )
    for name, place, height in (("x", 0.0, marks[0]), ("m", middle, foot + violation), ("y", 1.0, marks[1])):
        below = name != "m"
        axes.annotate(
            name,
            (place * length, height),
            xytext=(0, -13 if below else 11),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=9.5,
            fontweight="bold",
            color=INK,
        )
    axes.margins(x=0.03, y=0.18)
    axes.legend(fontsize=8, frameon=False, loc="best", labelcolor=INK)
    title = f"f at m exceeds the chord by {number(witness.violation)}"
    dress(axes, title, "distance from x along the segment", "f minus chord" if relative else "f")


def _rounded(witness: Witness) -> tuple[FloatArray, FloatArray]:
    return np.array([to_float(v) for v in witness.x]), np.array([to_float(v) for v in witness.y])


def _profile(
    network: ReLUNetwork, witness: Witness, ends: FloatArray, exactly: bool
) -> tuple[FloatArray, FloatArray]:
    """Places along the segment (0 at x, 1 at y) and how far f exceeds the chord's line at them."""
    middle = 1.0 - to_float(witness.t)
    count = _EXACT_SAMPLES if exactly else _SAMPLES
    places = np.unique(np.concatenate([np.linspace(ends[0], ends[1], count), [0.0, middle, 1.0]]))
    if not exactly:
        x, y = _rounded(witness)
        values = network(x + places[:, None] * (y - x))
        fx, fy = to_float(witness.fx), to_float(witness.fy)
        return places, values - (fx + places * (fy - fx))
    shares = [Fraction(float(s)) for s in places]
    points = [[a + s * (b - a) for a, b in zip(witness.x, witness.y, strict=True)] for s in shares]
    exact = network.exact.evaluate(points)
    bends = [
        value - (witness.fx + s * (witness.fy - witness.fx)) for value, s in zip(exact, shares, strict=True)
    ]
    return places, np.array([to_float(v) for v in bends])


def _draw_convexity(axes: Axes, network: ReLUNetwork, start: FloatArray, end: FloatArray) -> None:
    places = np.linspace(0.0, 1.0, _SAMPLES)
    values = network(start + places[:, None] * (end - start))
    chord = values[0] + places * (values[-1] - values[0])
    at = places * float(np.linalg.norm(end - start))
    axes.plot(at, values, color=CURVE, linewidth=1.8, zorder=3, label="f")
    axes.plot(at[[0, -1]], values[[0, -1]], "--", color=FAINT, linewidth=1.3, zorder=2, label="chord")
    for sign, colour in ((1, NEGATIVE), (-1, POSITIVE)):
        where = (sign * (values - chord) > 0).tolist()
        axes.fill_between(at, chord, values, where=where, color=colour, alpha=0.12, linewidth=0)
    axes.plot(
        at[[0, -1]],
        values[[0, -1]],
        "o",
        markersize=6,
        markerfacecolor="white",
        markeredgecolor=INK,
        zorder=5,
    )
    axes.margins(x=0.03, y=0.12)
    axes.legend(fontsize=8, frameon=False, loc="best", labelcolor=INK)
    dress(axes, "f against its chord along a segment", "distance along the segment", "f")


def _bent_segment(verdict: Verdict, seed: int) -> tuple[FloatArray, FloatArray]:
    """Among random segments, the one with the largest gap between f and its chord relative to f's range."""
    network = verdict.network
    rng = np.random.default_rng(seed)
    starts, ends = random_segments(verdict.domain, network.input_size, _CANDIDATES, rng, verdict.wrt)
    places = np.linspace(0.0, 1.0, 33)
    scores = []
    for start, end in zip(starts, ends, strict=True):
        values = network(start + places[:, None] * (end - start))
        chord = values[0] + places * (values[-1] - values[0])
        scores.append(float(np.abs(chord - values).max() / (np.ptp(values) or 1.0)))
    best = int(np.argmax(scores))
    return starts[best], ends[best]


def _read_segment(
    network: ReLUNetwork, segment: tuple[ArrayLike, ArrayLike]
) -> tuple[FloatArray, FloatArray]:
    start, end = (np.asarray(point, dtype=np.float64) for point in segment)
    for point in (start, end):
        if point.shape != (network.input_size,) or not np.isfinite(point).all():
            raise PlotError(f"a segment's end points need {network.input_size} finite numbers each")
    if (start == end).all():
        raise PlotError("the segment's end points are the same")
    return start, end
