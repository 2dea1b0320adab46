"""A verdict in one picture: where the network bends, the witness, and the jumps layer by layer."""

from __future__ import annotations

import re
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np

from jensen.certify import Verdict
from jensen.certify._exact_domain import ExactDomain
from jensen.certify._render import to_float
from jensen.certify._report import HEADLINES, describe_network, describe_question
from jensen.network import FloatArray, ReLUNetwork
from jensen.plot._file import check_suffix, save_figure
from jensen.plot._jumps import plot_jumps
from jensen.plot._lines import directions
from jensen.plot._regions import plot_regions
from jensen.plot._slice import Slice
from jensen.plot._style import FAINT, VERDICTS, new_figure
from jensen.plot._witness import plot_witness

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_HEADER = 0.62
_PROBES = 41
_DOUBLINGS = 40
_ENOUGH = 24


def plot_verdict(verdict: Verdict, file: str | PathLike[str] | None = None, *, seed: int = 0) -> Figure:
    """Compose the picture that `jensen check --plot FILE` writes.

    Parameters
    ----------
    verdict : Verdict
    file : path, optional
        Where to write it; the suffix chooses PNG, SVG or PDF.
    seed : int, default 0
        Seed of the random lines and slices.

    Returns
    -------
    matplotlib.figure.Figure
        On the left the regions (beyond two inputs, on a plane through the witness), on the right f along a
        segment against its chord and the jumps of every hidden layer.

    Raises
    ------
    PlotError
        If the suffix is unknown or the file cannot be written.
    """
    if file is not None:
        check_suffix(file)
    network = verdict.network
    view = _choose_plane(verdict, seed)
    planar = view is not None
    height = 6.9 if planar else 4.6
    figure = new_figure(12.0, height)
    rows = (
        [_HEADER, (height - _HEADER) / 2, (height - _HEADER) / 2] if planar else [_HEADER, height - _HEADER]
    )
    grid = figure.add_gridspec(len(rows), 2, height_ratios=rows, width_ratios=(1.15, 1.0))
    _write_header(figure.add_subplot(grid[0, :]), verdict)
    if view is not None:
        plane, radius = view
        regions = figure.add_subplot(grid[1:, 0])
        plot_regions(network, verdict.domain, slice=plane, witness=verdict.witness, radius=radius, ax=regions)
    curve = figure.add_subplot(grid[1, 1] if planar else grid[1, 0])
    plot_witness(verdict, seed=seed, ax=curve)
    plot_jumps(network, verdict=verdict, seed=seed, ax=figure.add_subplot(grid[2 if planar else 1, 1]))
    if file is not None:
        save_figure(figure, file)
    return figure


def _write_header(axes: Axes, verdict: Verdict) -> None:
    """Write the verdict, large, and below it what was asked of which network."""
    axes.set_axis_off()
    asked = describe_question(verdict.domain, verdict.wrt, verdict.network.input_size)
    if verdict.reason:
        asked += f" ({verdict.reason})"
    words = f"{asked}  \N{MIDDLE DOT}  {describe_network(verdict.network)}"
    words = re.sub(r"\^(\d+)", r"$^{\1}$", words)
    headline: dict[str, Any] = {"fontsize": 19, "fontweight": "bold", "color": VERDICTS[verdict.kind]}
    for text, depth, look in (
        (HEADLINES[verdict.kind], 2, headline),
        (words, 28, {"fontsize": 9.5, "color": FAINT}),
    ):
        axes.annotate(
            text,
            (0.0, 1.0),
            xycoords="axes fraction",
            xytext=(0, -depth),
            textcoords="offset points",
            va="top",
            **look,
        )


def _choose_plane(verdict: Verdict, seed: int) -> tuple[Slice, float | None] | None:
    """Choose the plane to draw and, around a witness, how far to look; None on a line.

    Beyond two inputs the plane holds the witness's segment, and else the domain's middle; its other
    direction follows the gradient, so that level lines have something to show.
    """
    network, witness = verdict.network, verdict.witness
    d = network.input_size
    hull = ExactDomain(verdict.domain, d)
    free = directions(hull)
    if free.shape[0] < 2:
        return None
    if d == 2:
        return Slice.of_inputs(2), None
    asked = directions(ExactDomain(verdict.domain, d, verdict.wrt))
    moves = asked if asked.shape[0] > 1 else free
    rng = np.random.default_rng(seed)
    first, second = rng.normal(size=(2, moves.shape[0])) @ moves
    if witness is None:
        names = ("a random direction", "another random direction")
        return Slice(hull.interior_point, _orthonormal(first, second), names), None
    x, middle, y = (np.array([to_float(v) for v in p]) for p in (witness.x, witness.middle, witness.y))
    downhill = moves.T @ (moves @ network.gradient(np.stack([x, y])).sum(axis=0))
    downhill = downhill / (np.linalg.norm(downhill) or 1.0) + 1e-3 * second / np.linalg.norm(second)
    plane = Slice(middle, _orthonormal(y - x, downhill), ("along the witness", "across the witness"))
    return plane, _radius(network, plane, float(np.linalg.norm(y - x)))


def _orthonormal(first: FloatArray, second: FloatArray) -> FloatArray:
    """Two orthonormal directions (2, d) that span the same plane, the first one along `first`."""
    columns, _ = np.linalg.qr(np.stack([first, second], axis=1))
    signs = np.where((columns * np.stack([first, second], axis=1)).sum(axis=0) < 0, -1.0, 1.0)
    return np.asarray((columns * signs).T)


def _radius(network: ReLUNetwork, plane: Slice, length: float) -> float:
    """Choose how far to look: all of the witness, unless it is much smaller or larger than the bends nearby.

    A witness in the whole space may be very long, and one from a narrow corner very short.
    """
    steps = np.linspace(-1.0, 1.0, _PROBES)
    cross = np.concatenate([np.outer(steps, direction) for direction in plane.directions])
    wanted = min(_ENOUGH, max(1, network.n_neurons // 2))

    def switching(radius: float) -> int:
        signs = [z > 0 for z in network.preactivations(plane.origin + radius * cross)]
        return sum(int((on.any(axis=0) & ~on.all(axis=0)).sum()) for on in signs)

    radius = 0.75 * length
    factor = 0.5 if switching(radius) >= wanted else 2.0
    for _ in range(_DOUBLINGS):
        following = factor * radius
        if (switching(following) >= wanted) != (factor < 1):
            break
        radius = following
    bends = radius if factor < 1 else factor * radius
    return float(np.clip(0.75 * length, bends, 4.0 * bends))
