"""Exact minimisation of input convex ReLU networks by walking along their kinks: the fast way."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from jensen.certify._progress import Clock
from jensen.errors import ArgumentError, JensenError
from jensen.minimize.posed._affine import RADIUS
from jensen.minimize.posed._feasible import moved_inside
from jensen.minimize.posed._icnn import EPS, LARGEST, dense, packed_size, rounding_factor, why_not_icnn
from jensen.minimize.posed._polyhedron import Polyhedron, feasible_point
from jensen.minimize.posed._recession import falling_ray
from jensen.minimize.posed._result import Minimum, Status, empty_domain
from jensen.minimize.walk._active import begin, count_wrong
from jensen.minimize.walk._bound import dual_slopes, least, linear_value
from jensen.minimize.walk._kernel import MORE, OPTIMAL, STUCK, UNBOUNDED, walk
from jensen.minimize.walk._passes import Packed
from jensen.minimize.walk._state import COUNT, ROUNDS, Goal, new_walk
from jensen.network import FloatArray, ReLUNetwork

_MANY = 30
"""Boxes with this many variables are approached by gradient steps first."""
_ARCS = 10
_PARTED = 1e-11
_TOO_WRONG = 0.4
"""Share of wrong multipliers at the last solution from which on the next begins afresh."""
_SLICE = 64
"""Rounds between two looks at the clock."""


class Walker:
    """Minimises net(y) + slope . y + (curvature / 2) |y|^2 for many slopes; each solution begins at the last.

    Parameters
    ----------
    network : ReLUNetwork
        With nonnegative weights on hidden neurons.
    inside : Polyhedron
    scout : bool, default False
        Take any network: points may be good ones, and lower bounds mean nothing unless it is an ICNN.

    Raises
    ------
    ArgumentError
        If the network is no ICNN, or too large to be stored as dense matrices.
    """

    method = "walk"

    def __init__(self, network: ReLUNetwork, inside: Polyhedron, scout: bool = False) -> None:
        if not scout and (reason := why_not_icnn(network)):
            raise ArgumentError(f'method "walk" needs an input convex network, and {reason}; use "cuts"')
        if packed_size(network) > LARGEST:
            raise ArgumentError('the network is too large for method "walk"; use "lp" or "cuts"')
        self.network, self.inside = network, inside
        self._net = _pack(network)
        net = self._net
        steep = np.maximum(1.0, np.abs(net.slope))
        self._sizes = net._replace(weights=np.abs(net.weights), bias=np.abs(net.bias), out=np.abs(net.out))
        value = np.zeros(len(net.out))
        value[: net.inputs] = 1.0
        linear_value(self._sizes._replace(bias=np.zeros(len(steep))), steep, value)
        net.reach[:] = value[net.inputs :] / steep
        self._walk = new_walk(net, len(inside.right))
        self._reach = np.abs(inside.rows).sum(axis=1)
        self._factor = rounding_factor(network) + 4.0 * EPS * (network.input_size + len(inside.right))
        self._warm = False
        self._sigma, self._price = np.zeros(len(net.bias)), np.zeros(len(inside.right))

    def solve(
        self,
        slope: FloatArray | None = None,
        curvature: float = 0.0,
        start: FloatArray | None = None,
        gap: float = 1e-6,
        clock: Clock | None = None,
        progress: Callable[[Minimum], None] | None = None,
    ) -> Minimum:
        """Minimise with this slope and curvature added.

        Parameters
        ----------
        slope : (n,) array, optional
        curvature : float, default 0.0
        start : (n,) array, optional
            Where to begin; by default where the last solution was, kinks included, unless that is far.
        gap : float
            Relative to max(1, |value|): a larger one is reported as "inaccurate".
        clock : Clock, optional
        progress : callable, optional
            Called with the best so far.

        Returns
        -------
        Minimum
        """
        clock = clock or Clock(None)
        began, n, w = clock.elapsed, self._net.inputs, self._walk
        tilt = np.zeros(n) if slope is None else np.ascontiguousarray(slope, dtype=np.float64)
        inside = self.inside
        goal = Goal(tilt, inside.lo, inside.hi, inside.rows, inside.right, self._reach, float(curvature))
        if start is not None or not self._warm or self._is_far(goal):
            near = _middle(inside) if start is None else np.asarray(start, dtype=np.float64)
            point = feasible_point(inside, near)
            if point is None:
                return empty_domain(n, self.method, clock.elapsed - began)
            w.y[:] = self._approached(goal, point) if n >= _MANY and inside.is_bounded_box else point
            begin(self._net, goal, w)
        self._warm = False
        first, status = int(w.counts[ROUNDS]), "optimal"
        limit = 1000 + 50 * (n + len(self._net.bias) + len(inside.right))
        outcome, net, last = MORE, self._net, first + limit
        try:
            while True:
                if outcome == MORE and w.counts[ROUNDS] < last:
                    outcome = walk(net, goal, w, _SLICE)
                elif outcome in (MORE, STUCK) and net is self._net:
                    # In circles on the spot, where many kinks meet: there are none where kinks are apart.
                    net, outcome, last = self._parted(w.y), MORE, int(w.counts[ROUNDS]) + limit
                    begin(net, goal, w)
                else:
                    break
                if clock.over and outcome == MORE:
                    status = "time_limit"
                    break
                if progress is not None and outcome == MORE:
                    progress(self._answer(goal, "time_limit", first, clock.elapsed - began, gap))
        except KeyboardInterrupt:
            status = "interrupted"
        ray = falling_ray(self.network, inside, tilt, w.step) if outcome == UNBOUNDED else None
        if ray is not None:
            return Minimum(
                w.y.copy(), -np.inf, -np.inf, int(w.counts[ROUNDS]) - first, self.method, "unbounded",
                clock.elapsed - began, ray,
            )  # fmt: skip
        self._warm = outcome == OPTIMAL and net is self._net
        return self._answer(goal, status, first, clock.elapsed - began, gap)

    def _parted(self, y: FloatArray) -> Packed:
        """Return the network with its kinks moved at random, by far less than a gap shows."""
        span = _PARTED * (np.abs(self._net.bias) + self._net.reach * max(1.0, float(np.abs(y).max())))
        noise = np.random.default_rng(0).uniform(-1.0, 1.0, len(span))
        return self._net._replace(bias=self._net.bias + span * noise)

    def _is_far(self, goal: Goal) -> bool:
        """Whether so much of what is held would be let go that it is better to begin afresh."""
        holding = int(self._walk.counts[COUNT]) + int(np.count_nonzero(self._walk.bound))
        return bool(count_wrong(self._net, goal, self._walk) > _TOO_WRONG * holding)

    def _approached(self, goal: Goal, y: FloatArray) -> FloatArray:
        """Descend along a few projected gradients, which finds many bounds at once."""

        def values(points: FloatArray) -> FloatArray:
            bent = 0.5 * goal.curvature * (points * points).sum(axis=1)
            total: FloatArray = self.network(points) + points @ goal.tilt + bent
            return total

        least = float(values(y[None])[0])
        lengths = (goal.hi - goal.lo).max() * 2.0 ** -np.arange(10.0)
        for _ in range(_ARCS):
            gradient = self.network.gradient(y[None])[0] + goal.tilt + goal.curvature * y
            steepest = float(np.abs(gradient).max())
            if steepest == 0.0:
                break
            points = np.clip(y - lengths[:, None] * (gradient / steepest), goal.lo, goal.hi)
            found = values(points)
            best = int(found.argmin())
            if not found[best] < least:
                break
            y, least = points[best], float(found[best])
        return y

    def multipliers(self) -> tuple[FloatArray, FloatArray]:
        """Slopes of all activations and multipliers of the domain's rows that prove the last lower bound."""
        return self._sigma.copy(), self._price.copy()

    def _answer(self, goal: Goal, status: str, first: int, seconds: float, gap: float) -> Minimum:
        w, net = self._walk, self._net
        sigma, price = self._sigma, self._price
        dual_slopes(net, goal, w, sigma, price)
        y = w.y.copy()
        if not self.inside.is_box and not self.inside.holds(y):
            near = moved_inside(self.inside, y)
            if near is None:
                near = feasible_point(self.inside, y)
            if near is None:
                raise JensenError("no point of the domain is found in float64: rescale it")
            y = near
        radius = RADIUS * max(1.0, float(np.abs(y).max()))
        shift = self.network.output_bias
        low = least(net, self._sizes, goal, y, sigma, price, radius, self._factor)
        low += shift - self._factor * abs(shift)
        value = float(self.network(y)[0]) + float(goal.tilt @ y) + 0.5 * goal.curvature * float(y @ y)
        if not np.isfinite(value):
            raise JensenError("values are beyond floating-point numbers: rescale the network or the domain")
        if status == "optimal" and not value - low <= gap * max(1.0, abs(value)):
            status = "inaccurate"
        known: Status = status  # type: ignore[assignment]
        return Minimum(y, value, low, int(w.counts[ROUNDS]) - first, self.method, known, seconds)


def _middle(inside: Polyhedron) -> FloatArray:
    """Return the middle of the bounds, or 0, where a variable has not both."""
    both = np.isfinite(inside.lo) & np.isfinite(inside.hi)
    return np.where(both, np.where(both, inside.lo, 0.0) / 2 + np.where(both, inside.hi, 0.0) / 2, 0.0)


def _pack(network: ReLUNetwork) -> Packed:
    n = network.input_size
    starts = np.concatenate([[0], np.cumsum([n, *network.widths])]).astype(np.int64)
    blocks, flat, at = [], [], 0
    for position, layer in enumerate(network.layers, 1):
        for k, w in layer.weights.items():
            blocks.append((position, starts[position] - n, layer.size, starts[k], w.shape[1], at))
            flat.append(dense(w).ravel())
            at += flat[-1].size
    out = np.zeros(starts[-1])
    for k, w in network.output_weights.items():
        out[starts[k] : starts[k + 1]] += dense(w)[0]
    return Packed(
        n,
        starts,
        np.array(blocks, dtype=np.int64).reshape(-1, 6),
        np.concatenate([*flat, np.zeros(0)]),
        np.concatenate([layer.bias for layer in network.layers] + [np.zeros(0)]),
        np.concatenate([layer.negative_slope for layer in network.layers] + [np.zeros(0)]),
        out,
        np.zeros(starts[-1] - n),
    )
