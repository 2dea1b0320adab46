"""Which part of a plane to show: the domain where it is bounded, else where the network bends."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from jensen.network import FloatArray, ReLUNetwork
from jensen.plot._file import PlotError
from jensen.plot._planar import Planar, subdivide
from jensen.plot._slice import clip_polygon

Window: TypeAlias = tuple[tuple[float, float], tuple[float, float]]
"""Limits of the two coordinates: ((low, high), (low, high))."""

_FAR = 1e7
"""A domain that reaches this far counts as unbounded for a picture."""

_PAIRS = 4000
_DETAIL = 12_000
_PATIENCE = 4e9
"""Multiplications that the regions of one picture may cost."""
_PROBES = 9
_STRETCH = 5.0
"""How many times larger than the network's bends a window may become for a witness's sake."""


def check_window(window: ArrayLike) -> Window:
    """Read a window's limits.

    Raises
    ------
    PlotError
        If they are not ((low, high), (low, high)) with finite low < high.
    """
    limits = np.asarray(window, dtype=np.float64)
    if limits.shape != (2, 2) or not np.isfinite(limits).all() or not (limits[:, 0] < limits[:, 1]).all():
        raise PlotError(f"a window is ((low, high), (low, high)) with low < high, got {window!r}")
    (a, b), (c, d) = limits.tolist()
    return (a, b), (c, d)


def rectangle(window: Window) -> FloatArray:
    """Corners of a window, counterclockwise."""
    (a, b), (c, d) = window
    return np.array([[a, c], [b, c], [b, d], [a, d]])


def visible_part(window: Window, rows: FloatArray, right: FloatArray) -> FloatArray:
    """Polygon of the window that lies in the domain ``rows @ x <= right``.

    Raises
    ------
    PlotError
        If nothing with an area is left.
    """
    polygon = clip_polygon(rectangle(window), rows, right)
    if len(polygon) < 3 or _area(polygon) <= 0:
        raise PlotError("the window does not meet the domain in a set with an area; choose another window")
    return polygon


def view(
    network: ReLUNetwork, rows: FloatArray, right: FloatArray, focus: FloatArray, radius: float | None = None
) -> tuple[Window, FloatArray, Planar]:
    """Choose a window and cut what it shows of the domain into regions.

    Parameters
    ----------
    network : ReLUNetwork
        With two inputs.
    rows, right : (m, 2) and (m,) arrays
        The domain ``rows @ x <= right``.
    focus : (k, 2) array
        Points that the picture must hold, such as a witness; may be empty.
    radius : float, optional
        Show a square of about this half-width around the focus rather than everything.

    Returns
    -------
    window : Window
    polygon : (k, 2) array
        What the window shows of the domain.
    planar : Planar
        The regions. The window shrinks towards the focus, or else its middle, until they can be drawn.
    """
    if radius is None:
        window = _whole_view(network, rows, right, focus)
    else:
        square = _around(focus.mean(axis=0), np.full(2, radius))
        window = _bounding_box(visible_part(square, rows, right))
    budget = int(np.clip(_PATIENCE / (network.n_weights * max(network.depth, 1)), 60, _DETAIL))
    centre = focus.mean(axis=0) if len(focus) else np.array(window).mean(axis=1)
    window = _shrink_to(network, window, centre, budget)
    while True:
        polygon = visible_part(window, rows, right)
        planar = subdivide(network, polygon, budget)
        if planar is not None:
            return window, polygon, planar
        window = _scaled(window, centre, 0.7)


def _shrink_to(network: ReLUNetwork, window: Window, centre: FloatArray, budget: int) -> Window:
    """Shrink a window until about as few neurons switch in it as the budget allows.

    c neurons that switch meet in about c^2 / 2 points. The estimate costs a few evaluations, where cutting
    the window in vain would cost many.
    """
    affordable = 1.5 * np.sqrt(2.0 * budget)
    while True:
        (a, b), (c, d) = window
        across = np.stack([np.linspace(a, b, _PROBES), np.full(_PROBES, centre[1])], axis=1)
        upwards = np.stack([np.full(_PROBES, centre[0]), np.linspace(c, d, _PROBES)], axis=1)
        switching = 0
        for z in network.preactivations(np.concatenate([across, upwards])):
            switching += int(((z > 0).any(axis=0) & (z <= 0).any(axis=0)).sum())
        if switching <= affordable:
            return window
        window = _scaled(window, centre, min(0.9, 1.2 * affordable / switching))


def _scaled(window: Window, centre: FloatArray, factor: float) -> Window:
    return check_window(centre[:, None] + factor * (np.array(window) - centre[:, None]))


def _whole_view(network: ReLUNetwork, rows: FloatArray, right: FloatArray, focus: FloatArray) -> Window:
    """Window of a bounded domain, or of most of the points where the network's bends meet."""
    everything = clip_polygon(rectangle(((-_FAR, _FAR), (-_FAR, _FAR))), rows, right)
    if len(everything) < 3:
        raise PlotError("the domain has no area in this plane; choose another slice")
    if np.abs(everything).max() < _FAR:
        return _bounding_box(everything)
    meetings = _first_layer_meetings(network)
    meetings = _inside(meetings, rows, right)
    window = _spread(meetings if len(meetings) else everything.mean(axis=0)[None] * 0.0, focus, 3.0)
    # Deeper layers bend elsewhere than the first; look at what a generous window shows and tighten it.
    polygon = clip_polygon(rectangle(window), rows, right)
    if len(polygon) < 3:
        return window
    if network.n_weights * network.depth * _DETAIL > _PATIENCE:
        return _spread(meetings, focus, 1.2)
    rough = subdivide(network, polygon, _DETAIL)
    if rough is None:
        return _spread(meetings, focus, 1.2)
    corners = rough.vertices[len(polygon) :]
    on_edge = np.zeros(len(corners), dtype=bool)
    for axis in range(2):
        for limit in window[axis]:
            on_edge |= np.abs(corners[:, axis] - limit) < 1e-9 * max(1.0, abs(limit))
    inner = corners[~on_edge]
    return _spread(inner, focus, 1.1) if len(inner) >= 3 else window


def _first_layer_meetings(network: ReLUNetwork) -> FloatArray:
    """Points where two lines on which a first neuron switches meet, or else those lines' feet."""
    if not network.depth or 0 not in network.layers[0].weights:
        return np.zeros((0, 2))
    matrix = network.layers[0].weights[0]
    w = np.asarray(matrix.toarray() if hasattr(matrix, "toarray") else matrix)
    b = network.layers[0].bias
    norms = np.linalg.norm(w, axis=1)
    w, b = w[norms > 0], b[norms > 0]
    i, j = np.triu_indices(len(w), 1)
    if len(i) > _PAIRS:
        chosen = np.random.default_rng(0).choice(len(i), _PAIRS, replace=False)
        i, j = i[chosen], j[chosen]
    determinant = w[i, 0] * w[j, 1] - w[i, 1] * w[j, 0]
    good = np.abs(determinant) > 1e-6 * np.linalg.norm(w[i], axis=1) * np.linalg.norm(w[j], axis=1)
    i, j, determinant = i[good], j[good], determinant[good]
    if not len(i):
        feet: FloatArray = -(b / (w * w).sum(axis=1))[:, None] * w
        return feet
    x = (-b[i] * w[j, 1] + b[j] * w[i, 1]) / determinant
    y = (-w[i, 0] * b[j] + w[j, 0] * b[i]) / determinant
    return np.stack([x, y], axis=1)


def _inside(points: FloatArray, rows: FloatArray, right: FloatArray) -> FloatArray:
    inside = (points @ rows.T <= right).all(axis=1)
    return np.asarray(points[inside])


def _spread(points: FloatArray, focus: FloatArray, factor: float) -> Window:
    """Square window around most of the points, and the focus unless it reaches out far beyond them."""
    if not len(points):
        points = focus if len(focus) else np.zeros((1, 2))
    centre = np.median(points, axis=0)
    distance = np.abs(points - centre).max(axis=1)
    radius = factor * float(np.quantile(distance, 0.8))
    reach = np.abs(focus - centre).max(axis=1)
    near = reach[reach <= _STRETCH * radius] if radius > 0 else reach
    radius = max(radius, 1.15 * float(near.max(initial=0.0)))
    if radius <= 1e-9 * max(1.0, float(np.abs(centre).max())):
        radius = max(1.0, float(np.abs(centre).max()))
    return _around(centre, np.full(2, radius))


def _around(centre: FloatArray, radii: FloatArray) -> Window:
    low, high = centre - radii, centre + radii
    return check_window(np.stack([low, high], axis=1))


def _bounding_box(polygon: FloatArray) -> Window:
    return check_window(np.stack([polygon.min(axis=0), polygon.max(axis=0)], axis=1))


def _area(polygon: FloatArray) -> float:
    x, y = polygon.T
    return float(abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2)
