"""Two-dimensional affine slices through input space, and networks and domains restricted to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from jensen.network import Domain, FloatArray, Layer, Matrix, ReLUNetwork
from jensen.plot._file import PlotError

_ROUNDING = 1e-10
"""A direction that leaves a constraint this slowly stays on it."""


@dataclass(frozen=True, eq=False)
class Slice:
    """The plane ``{origin + s directions[0] + t directions[1]}``, with coordinates (s, t).

    Parameters
    ----------
    origin : (d,) array
    directions : (2, d) array
        Two independent directions; they are used as they are, neither normalised nor made orthogonal.
    names : pair of str, optional
        Labels of the axes.

    Raises
    ------
    PlotError
        If shapes do not fit, an entry is not finite, or the directions are parallel.
    """

    origin: FloatArray
    directions: FloatArray
    names: tuple[str, str]

    def __init__(
        self, origin: ArrayLike, directions: ArrayLike, names: tuple[str, str] = ("$s$", "$t$")
    ) -> None:
        point, plane = np.array(origin, dtype=np.float64), np.array(directions, dtype=np.float64)
        if point.ndim != 1 or plane.shape != (2, point.size):
            raise PlotError(
                f"a slice takes an origin (d,) and directions (2, d), got {point.shape} and {plane.shape}"
            )
        if not (np.isfinite(point).all() and np.isfinite(plane).all()):
            raise PlotError("the slice's origin or directions hold NaN or infinity")
        if np.linalg.matrix_rank(plane) < 2:
            raise PlotError("the slice's two directions are parallel")
        object.__setattr__(self, "origin", point)
        object.__setattr__(self, "directions", plane)
        object.__setattr__(self, "names", names)

    @classmethod
    def of_inputs(cls, d: int, first: int = 0, second: int = 1, origin: ArrayLike | None = None) -> Slice:
        """Move two inputs and hold the others at the origin's values (zero by default)."""
        directions = np.zeros((2, d))
        directions[0, first] = directions[1, second] = 1.0
        point = np.zeros(d) if origin is None else origin
        return cls(point, directions, (f"$x_{{{first}}}$", f"$x_{{{second}}}$"))

    def project(self, points: ArrayLike) -> FloatArray:
        """Coordinates (batch, 2) of the points of the plane nearest to points (batch, d)."""
        offsets = np.atleast_2d(np.asarray(points, dtype=np.float64)) - self.origin
        return np.asarray(np.linalg.lstsq(self.directions.T, offsets.T, rcond=None)[0].T)

    def restrict(self, network: ReLUNetwork) -> ReLUNetwork:
        """Write the network as a function of the plane's two coordinates (rounded to float64).

        Raises
        ------
        PlotError
            If the network has another number of inputs than the slice.
        """
        if network.input_size != self.origin.size:
            raise PlotError(
                f"the slice lies in R^{self.origin.size}, the network has {network.input_size} inputs"
            )
        layers = []
        for layer in network.layers:
            weights, shift = self._substitute(layer.weights)
            layers.append(Layer(weights, layer.bias + shift, layer.negative_slope))
        weights, shift = self._substitute(network.output_weights)
        return ReLUNetwork(2, layers, weights, network.output_bias + float(np.sum(shift)))

    def half_planes(self, domain: Domain) -> tuple[FloatArray, FloatArray]:
        """Rows (m, 2) and right-hand sides (m,) of the domain's inequalities in the plane's coordinates."""
        return _half_spaces(domain, self.origin, self.directions)

    def _substitute(self, weights: Any) -> tuple[dict[int, Matrix], FloatArray | float]:
        """Replace the input's weights W by W @ directions.T, and give W @ origin to the bias."""
        replaced: dict[int, Matrix] = dict(weights)
        if 0 not in replaced:
            return replaced, 0.0
        matrix = replaced[0]
        replaced[0] = np.asarray(matrix @ self.directions.T)
        return replaced, np.asarray(matrix @ self.origin)


def _half_spaces(domain: Domain, origin: FloatArray, directions: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Inequalities of the coordinates c for which origin + c @ directions lies in the domain.

    Those that hold everywhere are left out, up to rounding: a flat domain's equations do, along the domain.
    """
    d = origin.size
    lo, hi = domain.bounds(d)
    A, b = domain.inequalities(d)
    above, below = np.isfinite(lo), np.isfinite(hi)
    rows = np.concatenate([-directions.T[above], directions.T[below], A @ directions.T])
    right = np.concatenate([(origin - lo)[above], (hi - origin)[below], b - A @ origin])
    steepness = np.concatenate([np.ones(int(above.sum() + below.sum())), np.linalg.norm(A, axis=1)])
    size = np.linalg.norm(directions, axis=1).max(initial=0.0)
    rows[np.linalg.norm(rows, axis=1) <= _ROUNDING * steepness * size] = 0.0
    slack = _ROUNDING * steepness * max(1.0, float(np.abs(origin).max()))
    needed = rows.any(axis=1) | (right < -slack)
    return rows[needed], right[needed]


def clip_line(domain: Domain, origin: FloatArray, direction: FloatArray) -> tuple[float, float]:
    """Interval of s for which origin + s direction lies in the domain; (inf, -inf) if there is none."""
    rows, right = _half_spaces(domain, origin, direction[None, :])
    slopes = rows[:, 0]
    upper, lower = slopes > 0, slopes < 0
    if not (upper | lower).all():
        return np.inf, -np.inf
    return (
        float((right[lower] / slopes[lower]).max(initial=-np.inf)),
        float((right[upper] / slopes[upper]).min(initial=np.inf)),
    )


def clip_polygon(polygon: FloatArray, rows: FloatArray, right: FloatArray) -> FloatArray:
    """Cut a convex polygon by half-planes ``rows @ x <= right``.

    Parameters
    ----------
    polygon : (k, 2) array
        Vertices in order.
    rows : (m, 2) array
    right : (m,) array

    Returns
    -------
    (k', 2) array
        Vertices in order; none if nothing is left.
    """
    for row, limit in zip(rows, right, strict=True):
        excess = polygon @ row - limit
        if not (excess > 0).any():
            continue
        kept: list[FloatArray] = []
        for i, j in _edges(len(polygon)):
            if excess[i] <= 0:
                kept.append(polygon[i])
            if excess[i] * excess[j] < 0:
                share = excess[i] / (excess[i] - excess[j])
                kept.append(polygon[i] + share * (polygon[j] - polygon[i]))
        polygon = np.array(kept).reshape(-1, 2)
    return polygon


def _edges(n: int) -> Sequence[tuple[int, int]]:
    return [(i, (i + 1) % n) for i in range(n)]
