"""Which neurons of a vector-output network are needed: a group lasso over them, and neurons that are one.

With the directions w_i held fixed, |w_i| = 1, the programme in the output weights is a group lasso,
min F(H A) + lambda sum_i |a_i| over rows a_i of A: convex, with few rows that are not zero.
"""

from __future__ import annotations

import numpy as np

from jensen.fit._losses import Floats
from jensen.fit._problem import Problem
from jensen.fit.extensions._vector_network import balanced_vectors, network_value

_SWEEPS = 400
_ENOUGH = 1e-9
"""Relative change of a step at which the group lasso ends: it selects, others refine."""
_CLOSE = 1e-3
"""Rise of the objective, relative, that joining neurons of one cell may cost before they are refined."""


def select_vectors(problem: Problem, weights: Floats, outputs: Floats) -> tuple[Floats, Floats]:
    """Minimise over the output weights of given neurons; those without any are dropped.

    By accelerated proximal gradients that restart where they overshoot (O'Donoghue and Candes 2015).

    Parameters
    ----------
    problem : Problem
        With vector outputs and a smooth loss.
    weights : (m, d) array
        Nonzero rows.
    outputs : (m, c) array
        Where to start.
    """
    norms = np.linalg.norm(weights, axis=1, keepdims=True)
    w, a = weights / norms, outputs * norms
    hidden = np.maximum(problem.x @ w.T, 0)
    scaled = np.sqrt(problem.weights)[:, None] * hidden
    curved = problem.loss.most_curved * float(np.linalg.norm(scaled, 2)) ** 2
    if curved == 0:
        return w[:0], a[:0]
    ahead, momentum = a, 1.0
    for _ in range(_SWEEPS):
        gradient = hidden.T @ problem.pull(problem.loss.slope(hidden @ ahead, problem.y))
        point = ahead - gradient / curved
        lengths = np.linalg.norm(point, axis=1, keepdims=True)
        level = problem.regularisation / curved
        after = point * (np.maximum(lengths - level, 0) / np.maximum(lengths, level))
        change = after - a
        if float(((ahead - after) * change).sum()) > 0:
            momentum = 1.0
        following = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        ahead = after + (momentum - 1) / following * change
        a, momentum = after, following
        if np.linalg.norm(change) <= _ENOUGH * np.linalg.norm(a):
            break
    return balanced_vectors(w, a)


def join_vectors(problem: Problem, weights: Floats, outputs: Floats) -> tuple[Floats, Floats]:
    """Replace neurons of one cell by one, the best product u a', where the objective allows it.

    Two neurons (u_1, a_1), (u_2, a_2) that no sample tells apart contribute D X (u_1 a_1' + u_2 a_2'), which
    is one neuron's contribution only if the sum has rank one. So this changes outputs, a little.
    """
    w, a = balanced_vectors(weights, outputs)
    value = network_value(problem, w, a)
    i = 0
    while i < len(w):
        j = i + 1
        while j < len(w):
            joined = _joined(problem.x, w[[i, j]], a[[i, j]])
            if joined is not None:
                rest = np.delete(np.arange(len(w)), [i, j])
                trial = np.concatenate([w[rest], joined[0][None]]), np.concatenate([a[rest], joined[1][None]])
                after = network_value(problem, *trial)
                if after <= value * (1 + _CLOSE):
                    (w, a), value = trial, max(value, after)
                    j = i + 1
                    continue
            j += 1
        i += 1
    return w, a


def _joined(x: Floats, w: Floats, a: Floats) -> tuple[Floats, Floats] | None:
    one, two = x @ w[0], x @ w[1]
    if (one * two < -1e-9 * np.abs(one).max() * np.abs(two).max()).any():
        return None
    left, scale, right = np.linalg.svd(w.T @ a, full_matrices=False)
    u, v = left[:, 0], right[0]
    if u @ (w[0] + w[1]) < 0:
        u, v = -u, -v
    root = np.sqrt(scale[0])
    return root * u, root * v
