"""A referee that shares nothing with `jensen.minimize`: the epigraph of a network, written out for scipy."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from scipy import optimize

from jensen.network import Domain, FloatArray, ReLUNetwork

Limits = list[tuple[float | None, float | None]]
linprog: Any = optimize.linprog

_STATUS = {0: "optimal", 2: "infeasible", 3: "unbounded"}
_SHARP: dict[str, Any] = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}


def limits(domain: Domain, n: int) -> Limits:
    """Bounds as scipy wants them."""
    lo, hi = domain.bounds(n)
    return [
        (None if np.isinf(a) else float(a), None if np.isinf(z) else float(z))
        for a, z in zip(lo, hi, strict=True)
    ]


def solved(
    cost: FloatArray, rows: FloatArray, right: FloatArray, bounds: Limits
) -> tuple[str, float, FloatArray]:
    """Solve a linear programme; HiGHS's presolve now and then calls unbounded ones infeasible or both."""
    found = linprog(cost, rows, right, bounds=bounds, options=_SHARP)
    if found.status not in (0, 3):
        found = linprog(cost, rows, right, bounds=bounds, options={**_SHARP, "presolve": False})
    if found.status == 4:
        empty = linprog(0 * cost, rows, right, bounds=bounds)
        return ("infeasible" if empty.status == 2 else "unbounded"), np.nan, cost
    status = _STATUS[found.status]
    return (status, float(found.fun), np.asarray(found.x)) if status == "optimal" else (status, np.nan, cost)


def epigraph(net: ReLUNetwork, domain: Domain, slope: FloatArray | None = None) -> tuple[str, float]:
    """Minimise an input convex network plus slope . y: h >= z, h >= a z, one variable for every neuron."""
    n = net.input_size
    starts = np.cumsum([0, n, *net.widths])
    spans = [slice(a, b) for a, b in pairwise(starts)]
    cost, rows, right = np.zeros(starts[-1]), [], []
    for k, w in net.output_weights.items():
        cost[spans[k]] += np.asarray(w)[0]
    cost[:n] += 0.0 if slope is None else slope
    for position, layer in enumerate(net.layers, 1):
        for side in (np.ones(layer.size), layer.negative_slope):
            block = np.zeros((layer.size, starts[-1]))
            for k, w in layer.weights.items():
                block[:, spans[k]] += side[:, None] * np.asarray(w)
            block[:, spans[position]] -= np.eye(layer.size)
            rows.append(block)
            right.append(-side * layer.bias)
    A, b = domain.inequalities(n)
    rows.append(np.column_stack([A, np.zeros((len(A), starts[-1] - n))]))
    free: Limits = [(None, None)] * int(starts[-1] - n)
    status, value, _ = solved(cost, np.vstack(rows), np.concatenate([*right, b]), limits(domain, n) + free)
    return status, value + net.output_bias
