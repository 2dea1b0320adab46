"""Convex functions that are hard for ICNNs: what the experiments on larger networks approximate.

All live on the cube [-1, 1]^d and are scaled to mean 0 and variance 1 there, which keeps them convex.
"""

from __future__ import annotations

from collections.abc import Callable

import highspy
import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

Array = NDArray[np.float64]
Target = Callable[[Array], Array]


PIECES = 100
"""Affine functions behind a maximum."""


def max_affine(d: int, rng: np.random.Generator) -> Target:
    """Maximum of many random affine functions."""
    slopes, offsets = rng.standard_normal((PIECES, d)), 0.5 * rng.standard_normal(PIECES)
    return lambda x: (x @ slopes.T + offsets).max(axis=1)


def log_sum_exp(d: int, rng: np.random.Generator) -> Target:
    """Log-sum-exp of many random affine functions, at temperature 1/2."""
    slopes, offsets = rng.standard_normal((PIECES, d)), 0.5 * rng.standard_normal(PIECES)
    return lambda x: np.asarray(logsumexp(2.0 * (x @ slopes.T + offsets), axis=1))


def lp_value(d: int, rng: np.random.Generator) -> Target:
    """Value of a production problem as a function of demands: min c.z subject to A z >= demand(x), z >= 0.

    Demands are affine in x, so that the value is convex in x. Every demand can be met by a process of its
    own, so that the problem is always feasible; other processes meet several demands at once.
    """
    m, shared = d, 2 * d
    joint = rng.random((m, shared)) * (rng.random((m, shared)) < min(0.3, 4.0 / m))
    matrix = np.concatenate([np.eye(m), joint], axis=1)
    cost = np.concatenate([1.0 + rng.random(m), joint.sum(axis=0) * (0.5 + 0.5 * rng.random(shared)) + 0.1])
    mixing = rng.standard_normal((m, d)) / np.sqrt(d)
    base = 0.2 * rng.standard_normal(m)

    def function(x: Array) -> Array:
        solver = highspy.Highs()  # type: ignore[no-untyped-call]
        solver.setOptionValue("output_flag", False)
        solver.setOptionValue("presolve", "off")
        lp = highspy.HighsLp()
        lp.num_col_, lp.num_row_ = matrix.shape[1], m
        lp.col_cost_ = cost
        lp.col_lower_, lp.col_upper_ = np.zeros(len(cost)), np.full(len(cost), np.inf)
        lp.row_lower_, lp.row_upper_ = np.zeros(m), np.full(m, np.inf)
        lp.a_matrix_.format_ = highspy.MatrixFormat.kColwise
        lp.a_matrix_.start_ = np.arange(0, matrix.size + 1, m)
        lp.a_matrix_.index_ = np.tile(np.arange(m), matrix.shape[1])
        lp.a_matrix_.value_ = matrix.T.ravel()
        solver.passModel(lp)
        values = np.empty(len(x))
        for i, demand in enumerate(x @ mixing.T + base):
            for row, least in enumerate(demand):
                solver.changeRowBounds(row, least, np.inf)
            solver.run()
            if solver.getModelStatus() != highspy.HighsModelStatus.kOptimal:
                raise RuntimeError(f"the linear programme of point {i} was not solved")
            values[i] = solver.getInfo().objective_function_value
        return values

    return function


def transport_potential(d: int, rng: np.random.Generator) -> Target:
    """Brenier potential of the optimal transport from the cube to samples of a mixture of eight Gaussians.

    phi(x) = max_j (x.y_j - psi_j) with 300 samples y_j of the mixture, whose weights psi are found by
    averaged stochastic gradient ascent on the semi-dual: every cell is to have the same mass.
    """
    count, modes, steps = 300, 8, 4000
    centres = 2.0 * rng.standard_normal((modes, d))
    y = centres[rng.integers(0, modes, count)] + 0.1 * rng.standard_normal((count, d))
    psi, average = 0.5 * (y**2).sum(axis=1), np.zeros(count)
    for step in range(steps):
        x = rng.uniform(-1.0, 1.0, (200, d))
        mass = np.bincount((x @ y.T - psi).argmax(axis=1), minlength=count) / len(x)
        psi += 4.0 * np.sqrt(d * count / (1.0 + step)) * (mass - 1.0 / count)
        if step >= steps // 2:
            average += psi / (steps - steps // 2)
    return lambda x: (x @ y.T - average).max(axis=1)


TARGETS: dict[str, Callable[[int, np.random.Generator], Target]] = {
    "max of affine": max_affine,
    "log-sum-exp": log_sum_exp,
    "LP value": lp_value,
    "OT potential": transport_potential,
}


def draw(name: str, d: int, counts: tuple[int, ...], seed: int) -> list[tuple[Array, Array]]:
    """Draw a target and uniform samples of it: (x, y) pairs with x (n, d) in the cube and y (n,)."""
    rng = np.random.default_rng([seed, d, list(TARGETS).index(name)])
    function = TARGETS[name](d, rng)
    x = rng.uniform(-1.0, 1.0, (sum(counts), d))
    y = function(x)
    y = (y - y.mean()) / y.std()
    ends = np.cumsum(counts)
    return [(x[e - n : e], y[e - n : e]) for e, n in zip(ends, counts, strict=True)]
