"""Independent referees for `benchmarks.minimise_agreement`: status and least value of a problem."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
import torch
from scipy import optimize

import jensen
from benchmarks.minimise_epigraph import limits, linprog, solved
from jensen.network import Domain, FloatArray, ReLUNetwork

cp: Any = import_module("cvxpy")  # has no types
minimize: Any = optimize.minimize

_SLACK = 1e-8


def feasible(domain: Domain, point: FloatArray) -> bool:
    """Whether a point lies in the domain, up to 1e-8."""
    lo, hi = domain.bounds(len(point))
    A, b = domain.inequalities(len(point))
    slack = _SLACK * max(1.0, float(np.abs(point).max()))
    inside = (point >= lo - slack).all() and (point <= hi + slack).all()
    return bool(inside and (A @ point <= b + slack * np.maximum(1.0, np.abs(A).sum(axis=1))).all())


def maximum(slopes: FloatArray, offsets: FloatArray, domain: Domain) -> tuple[str, float, FloatArray]:
    """Minimise a maximum of affine functions."""
    n = slopes.shape[1]
    A, b = domain.inequalities(n)
    rows = np.vstack(
        [np.column_stack([slopes, -np.ones(len(slopes))]), np.column_stack([A, np.zeros(len(A))])]
    )
    cost = np.append(np.zeros(n), 1.0)
    return solved(cost, rows, np.concatenate([-offsets, b]), [*limits(domain, n), (None, None)])


def convex_pieces(net: ReLUNetwork, domain: Domain) -> tuple[str, float]:
    """Minimise a network that is convex on the whole space: the maximum of all its pieces."""
    pieces = jensen.regions(net)
    return maximum(pieces.gradients, pieces.offsets, domain)[:2]


def kelley(net: ReLUNetwork, domain: Domain) -> tuple[str, float]:
    """Minimise over a bounded domain by cutting planes, from cuts at random points."""
    n = net.input_size
    lo, hi = domain.bounds(n)
    points = np.random.default_rng(0).uniform(lo, hi, (4 * n + 4, n))
    best = np.inf
    slopes, offsets = np.zeros((0, n)), np.zeros(0)
    for _ in range(500):
        values, gradients = net(points), net.gradient(points)
        best = min(best, float(values.min()))
        slopes = np.vstack([slopes, gradients])
        offsets = np.append(offsets, values - (gradients * points).sum(axis=1))
        status, low, y = maximum(slopes, offsets, domain)
        if status != "optimal":
            return status, np.nan
        if best - low <= 1e-9 * max(1.0, abs(best)):
            return "optimal", best
        points = np.clip(y[None, :n], lo, hi)
    raise RuntimeError(f"cutting planes leave a gap of {best - low:g}")


def smooth(f: torch.nn.Module, domain: Domain, n: int, modulus: float) -> tuple[str, float]:
    """Minimise a smooth convex function, and prove by its gradient that nothing is 1e-7 lower."""
    A, b = domain.inequalities(n)
    if len(A) and linprog(np.zeros(n), A, b, bounds=[(None, None)] * n).status == 2:
        return "infeasible", np.nan

    def both(y: FloatArray) -> tuple[float, FloatArray]:
        point = torch.tensor(y)[None].requires_grad_(True)
        value = f(point)[0]
        (gradient,) = torch.autograd.grad(value, point)
        return value.item(), gradient[0].numpy()

    lo, hi = domain.bounds(n)
    y = np.clip(np.zeros(n), lo, hi)
    if len(A):
        extra = [optimize.LinearConstraint(A, -np.inf, b)]
        y = minimize(
            both, y, jac=True, method="SLSQP", constraints=extra, tol=1e-15, options={"maxiter": 500}
        ).x
    else:
        options: dict[str, Any] = {"ftol": 0.0, "gtol": 1e-11, "maxiter": 5000}
        y = minimize(both, y, jac=True, method="L-BFGS-B", bounds=limits(domain, n), options=options).x
    value, gradient = both(y)
    if modulus > 0:  # f(w) >= f(y) + g . (w - y) + (modulus / 2) |w - y|^2, a projection when minimised
        w = cp.Variable(n)
        walls = [w[j] >= lo[j] for j in range(n) if np.isfinite(lo[j])]
        walls += [w[j] <= hi[j] for j in range(n) if np.isfinite(hi[j])]
        walls += [A @ w <= b] if len(A) else []
        model = cp.Problem(cp.Minimize(gradient @ w + modulus / 2 * cp.sum_squares(w - y)), walls)
        fall = float(model.solve(solver=cp.CLARABEL)) - float(gradient @ y)
    else:
        rows, right = (A, b) if len(A) else (np.zeros((0, n)), b)
        status, least, _ = solved(gradient, rows, right, limits(domain, n))
        if status == "unbounded":
            raise RuntimeError("this referee needs a bounded domain or a quadratic term")
        fall = least - float(gradient @ y)
    if fall < -1e-7 * max(1.0, abs(value)):
        raise RuntimeError(f"the referee's own gap is {-fall:g}")
    return "optimal", value


def entropic(net: ReLUNetwork) -> tuple[str, float]:
    """Minimise net(y) - H(y) over the unit box by Clarabel, with ReLUs written as inequalities."""
    y = cp.Variable(net.input_size)
    values, walls = [y], []
    for layer in net.layers:
        z = layer.bias + sum(np.asarray(w) @ values[k] for k, w in layer.weights.items())
        h = cp.Variable(layer.size)
        walls += [h >= z, h >= cp.multiply(layer.negative_slope, z)]
        values.append(h)
    total = sum((np.asarray(w) @ values[k])[0] for k, w in net.output_weights.items())
    goal = total - cp.sum(cp.entr(y)) - cp.sum(cp.entr(1 - y)) + net.output_bias
    sharp = {"tol_gap_abs": 1e-11, "tol_gap_rel": 1e-11, "tol_feas": 1e-11}
    cp.Problem(cp.Minimize(goal), walls).solve(solver=cp.CLARABEL, **sharp)
    point = np.clip(np.asarray(y.value), 1e-300, 1 - 1e-16)
    entropy = -(point * np.log(point) + (1 - point) * np.log1p(-point)).sum()
    return "optimal", float(net(point[None])[0] - entropy)
