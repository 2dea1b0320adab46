"""Very large or small numbers: the same problem in other units, which are powers of two and do not round.

HiGHS and the trust region of the cuts have tolerances that mean something near 1. With y = 2^c y', f = 2^e f'
and h_v = 2^(e_v) h'_v for every neuron v all numbers of a problem come near 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse

from jensen.certify._progress import Clock
from jensen.errors import JensenError
from jensen.minimize.exact._engine import Engine
from jensen.minimize.posed._affine import Affine
from jensen.minimize.posed._oracle import Oracle
from jensen.minimize.posed._polyhedron import Polyhedron, feasible_point
from jensen.minimize.posed._result import Minimum
from jensen.network import FloatArray, Layer, Matrix, ReLUNetwork

_ORDINARY = 24
"""Exponents up to this are left alone."""
_LARGEST = 1e300


@dataclass(frozen=True)
class Units:
    """Exponents of the units of points and of values: y = 2^point y', f = 2^value f'."""

    point: int
    value: int

    def inside(self, inside: Polyhedron) -> Polyhedron:
        """Give a domain of y'."""
        return inside.in_units(self.point)


def scaled_network(network: ReLUNetwork, inside: Polyhedron) -> tuple[ReLUNetwork, Units] | None:
    """Give a network of y' for f', and their units; None if all numbers are ordinary."""
    units = [_point_exponent(network, inside)]
    exponents: list[FloatArray] = [np.full(network.input_size, units[0])]
    layers, ordinary = [], abs(units[0]) <= _ORDINARY
    for layer in network.layers:
        reach = _exponent(layer.bias)
        for k, w in layer.weights.items():
            reach = np.maximum(reach, _row_exponents(w, exponents[k]))
        reach = np.where(np.isfinite(reach), reach, 0.0)
        ordinary = ordinary and bool((np.abs(reach) <= _ORDINARY).all())
        weights = {k: _shifted(w, exponents[k], -reach) for k, w in layer.weights.items()}
        layers.append(Layer(weights, np.ldexp(layer.bias, -reach.astype(int)), layer.negative_slope))
        exponents.append(reach)
    top = max(
        (float(_row_exponents(w, exponents[k]).max()) for k, w in network.output_weights.items()),
        default=-np.inf,
    )
    whole = int(top) if np.isfinite(top) else 0
    if (near := feasible_point(inside, np.zeros(network.input_size))) is not None:
        steepest = float(np.abs(network.gradient(near[None])).max(initial=0.0))
        if 0 < steepest < np.inf:  # neurons that are off in all of the domain do not count
            whole = min(whole, int(np.floor(np.log2(steepest))) + units[0])
    if ordinary and abs(whole) <= _ORDINARY:
        return None
    out = {k: _shifted(w, exponents[k], np.full(1, -whole)) for k, w in network.output_weights.items()}
    shape = network.input_shape
    bias = float(np.ldexp(network.output_bias, -whole))
    return ReLUNetwork(network.input_size, layers, out, bias, input_shape=shape), Units(units[0], whole)


def scaled_oracle(oracle: Oracle, inside: Polyhedron) -> tuple[Oracle, Units] | None:
    """Give an oracle of y' for f', and their units; None if all numbers are ordinary."""
    known = _bounds_exponents(inside)
    point = int(np.median(known)) if known.size else 0
    near = feasible_point(inside, np.zeros(oracle.size))
    if near is None:
        return None
    _, affine, _ = oracle.support(near)
    size = float(np.abs(affine.slope).max(initial=0.0))
    whole = int(_exponent(np.array([size]))[0]) + point if size > 0 else 0
    if abs(point) <= _ORDINARY and abs(whole) <= _ORDINARY:
        return None
    units = Units(point, whole)
    return _ScaledOracle(oracle, units), units


class Scaled:
    """An engine for f' of y', as one for f of y."""

    def __init__(self, engine: Engine, units: Units) -> None:
        self._engine, self._units = engine, units

    def solve(
        self,
        slope: FloatArray | None = None,
        curvature: float = 0.0,
        start: FloatArray | None = None,
        gap: float = 1e-6,
        clock: Clock | None = None,
        progress: Callable[[Minimum], None] | None = None,
    ) -> Minimum:
        """Minimise with this slope and curvature added; see `Engine`.

        Raises
        ------
        JensenError
            If the minimum, or what is added, is beyond floating-point numbers.
        """
        c, e = self._units.point, self._units.value
        with np.errstate(over="ignore"):
            tilt = None if slope is None else np.ldexp(slope, c - e)
            bent = float(np.ldexp(curvature, 2 * c - e))
        if not (np.isfinite(bent) and (tilt is None or np.isfinite(tilt).all())):
            raise JensenError(
                "the slope or the quadratic term is beyond all other numbers of the problem: rescale it"
            )
        near = None if start is None else np.ldexp(start, -c)
        told = None if progress is None else lambda found: progress(self._back(found, gap))
        clock = clock or Clock(None)
        close = gap * min(2.0 ** min(max(-e, 0), 900), _LARGEST)
        found = self._engine.solve(tilt, bent, near, close, clock, told)
        answer = self._back(found, gap)
        if found.status == "optimal" and answer.status == "inaccurate" and found.value != 0:
            finer = max(gap * abs(found.value), float(np.finfo(np.float64).tiny))
            found = self._engine.solve(tilt, bent, found.point, finer, clock, told)
            answer = self._back(found, gap)
        return answer

    def _back(self, found: Minimum, gap: float) -> Minimum:
        with np.errstate(over="ignore"):
            point = np.ldexp(found.point, self._units.point)
            value, low = (float(np.ldexp(v, self._units.value)) for v in (found.value, found.lower_bound))
        if (np.isfinite(found.value) and not np.isfinite(value)) or np.isinf(point).any():
            raise JensenError(
                "the minimum is beyond floating-point numbers: rescale the network or the domain"
            )
        answer = replace(found, point=point, value=value, lower_bound=low)
        if found.status in ("optimal", "inaccurate"):
            answer = replace(answer, status="optimal" if answer.relative_gap <= gap else "inaccurate")
        return answer


class _ScaledOracle(Oracle):
    """f' of y'."""

    def __init__(self, oracle: Oracle, units: Units) -> None:
        self._oracle, self._units, self.size = oracle, units, oracle.size
        self.asymptote = None
        if (far := oracle.asymptote) is not None:
            slopes = {k: w * 2.0 ** (units.point - units.value) for k, w in far.output_weights.items()}
            self.asymptote = ReLUNetwork(far.input_size, far.layers, slopes, 0.0)

    def support(self, y: FloatArray, anchor: FloatArray | None = None) -> tuple[float, Affine, FloatArray]:
        c, e = self._units.point, self._units.value
        away = None if anchor is None else np.ldexp(anchor, c)
        value, affine, point = self._oracle.support(np.ldexp(y, c), away)
        scaled = Affine(
            float(np.ldexp(affine.value, -e)),
            np.ldexp(affine.slope, c - e),
            float(np.ldexp(affine.error, -e)),
            np.ldexp(affine.slope_error, c - e),
        )
        return float(np.ldexp(value, -e)), scaled, np.ldexp(point, -c)


def _exponent(numbers: FloatArray) -> FloatArray:
    """Floor of the binary logarithm of absolute values; -inf for 0."""
    with np.errstate(divide="ignore"):
        return np.floor(np.log2(np.abs(numbers)))


def _row_exponents(w: Matrix, columns: FloatArray) -> FloatArray:
    """Exponent of the largest entry of each row, with columns in these units."""
    if sparse.issparse(w):
        logs = w.tocsr(copy=True)
        logs.data = _exponent(logs.data) + columns[logs.indices]
        starts, found = logs.indptr, np.full(logs.shape[0], -np.inf)
        for i in np.flatnonzero(np.diff(starts)):
            found[i] = logs.data[starts[i] : starts[i + 1]].max()
        return found
    largest: FloatArray = (_exponent(np.asarray(w)) + columns).max(axis=1, initial=-np.inf)
    return largest


def _shifted(w: Matrix, columns: FloatArray, rows: FloatArray) -> Matrix:
    """Multiply by powers of two."""
    across, down = columns.astype(int), rows.astype(int)
    if sparse.issparse(w):
        moved = w.tocoo(copy=True)
        moved.data = np.ldexp(moved.data, across[moved.col] + down[moved.row])
        return sparse.csr_array(moved)
    shifted: FloatArray = np.ldexp(np.asarray(w), across[None, :] + down[:, None])
    return shifted


def _point_exponent(network: ReLUNetwork, inside: Polyhedron) -> int:
    """Exponent of how far kinks are from 0, but not beyond the domain's size; of that if there are none."""
    known = _bounds_exponents(inside)
    if network.layers and 0 in network.layers[0].weights:
        first = network.layers[0]
        with np.errstate(invalid="ignore"):
            far = _exponent(first.bias) - _row_exponents(first.weights[0], np.zeros(network.input_size))
        if (kinks := far[np.isfinite(far)]).size:
            return int(min(np.median(kinks), np.median(known) if known.size else np.inf))
    return int(np.median(known)) if known.size else 0


def _bounds_exponents(inside: Polyhedron) -> FloatArray:
    """Exponents of finite bounds and right-hand sides other than 0."""
    ends = np.concatenate([inside.lo, inside.hi, inside.right])
    known = _exponent(ends[np.isfinite(ends)])
    return known[np.isfinite(known)]
