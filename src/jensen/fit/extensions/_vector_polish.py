"""Local optimum of a vector-output network within the cells of its neurons, to high accuracy.

Descent stalls at the kinks x_j . w = 0, where optimal neurons often lie. With gates held fixed the
objective is smooth on cones; an interior-point method with logarithmic barriers finds its local minimum
there. It is not convex (a sum of products), so that curvature is made positive where it is not. What is
found is only as good as a later bound of the price says.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from jensen.fit._losses import Floats
from jensen.fit._problem import Problem
from jensen.fit.extensions._vector_network import balanced_vectors

_NUDGE = 1e-5
"""Relative distance by which neurons leave the kinks they stand on."""
_SHRINK = 0.15
_STEPS = 12
"""Newton steps for one barrier parameter, at most."""
_FIRST, _LAST = 1e-4, 1e-12
"""Barrier parameters relative to the objective, all barriers together."""
_INWARD = 0.95


def _value(problem: Problem, gates: Floats, z: tuple[Floats, Floats], mu: float) -> float:
    w, a = z
    before = problem.x @ w.T
    inside = (2 * gates - 1) * before
    some = problem.x.any(1)
    if (inside[some] <= 0).any():
        return np.inf
    smooth = problem.primal((gates * before) @ a, float((w**2).sum() + (a**2).sum()) / 2)
    return float(smooth - mu * np.log(inside[some]).sum())


def _derivatives(
    problem: Problem, gates: Floats, z: tuple[Floats, Floats], mu: float
) -> tuple[Floats, Floats]:
    """Gradient and Hessian, neurons' weights first, then their outputs."""
    (w, a), x = z, problem.x
    (n, d), (m, c) = x.shape, a.shape
    before = x @ w.T
    hidden = gates * before
    fitted = hidden @ a
    signal = problem.pull(problem.loss.slope(fitted, problem.y))
    curvature = problem.weights[:, None, None] * problem.loss.curvature(fitted, problem.y)
    some = x.any(1)
    inverse = np.zeros_like(before)
    inverse[some] = 1 / before[some]
    back = (gates * (signal @ a.T)).T @ x
    gradient = np.concatenate([(back - mu * inverse.T @ x).ravel(), (hidden.T @ signal).ravel()])
    gradient += problem.regularisation * np.concatenate([w.ravel(), a.ravel()])
    by_weights = np.einsum("jm,mk,jp->jkmp", gates, a, x).reshape(n, c, m * d)
    by_outputs = np.einsum("jm,kl->jkml", hidden, np.eye(c)).reshape(n, c, m * c)
    jacobian = np.concatenate([by_weights, by_outputs], axis=2)
    hessian = np.einsum("jkp,jkq->pq", jacobian, np.einsum("jkl,jlq->jkq", curvature, jacobian))
    hessian[np.diag_indices(len(hessian))] += problem.regularisation
    mixed = np.einsum("jm,jp,jk->mpk", gates, x, signal)
    walls = mu * np.einsum("jm,jp,jq->mpq", inverse**2, x, x)
    for i in range(m):
        rows, columns = slice(i * d, (i + 1) * d), slice(m * d + i * c, m * d + (i + 1) * c)
        hessian[rows, rows] += walls[i]
        hessian[rows, columns] += mixed[i]
        hessian[columns, rows] += mixed[i].T
    return gradient, hessian


def _direction(gradient: Floats, hessian: Floats) -> Floats:
    """Newton's direction with the absolute values of the curvatures."""
    try:
        return -np.asarray(cho_solve(cho_factor(hessian, check_finite=False), gradient, check_finite=False))
    except np.linalg.LinAlgError:
        scale, axes = np.linalg.eigh(hessian)
        size = np.maximum(np.abs(scale), 1e-8 * np.abs(scale).max())
        return np.asarray(-axes @ ((axes.T @ gradient) / size))


def _reach(problem: Problem, gates: Floats, w: Floats, move: Floats) -> float:
    """Largest step that stays within the cells, at most 1."""
    side = 2 * gates - 1
    inside, change = side * (problem.x @ w.T), side * (problem.x @ move.T)
    towards = change < 0
    if not towards.any():
        return 1.0
    return float(min(1.0, _INWARD * (inside[towards] / -change[towards]).min()))


def polish_vectors(
    problem: Problem, weights: Floats, outputs: Floats, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Find the local minimum in the cells of a network's neurons.

    Parameters
    ----------
    problem : Problem
        With vector outputs and a smooth loss.
    weights : (m, d) array
    outputs : (m, c) array
    rng : Generator
        Decides on which side of a kink a neuron is that stands on one.

    Returns
    -------
    weights, outputs : arrays
        Balanced; neurons that became nothing are gone.
    """
    w, a = balanced_vectors(weights, outputs)
    if not len(w):
        return w, a
    away = rng.standard_normal(w.shape)
    lengths = np.linalg.norm(w, axis=1, keepdims=True)
    w = w + _NUDGE * lengths * away / np.linalg.norm(away, axis=1, keepdims=True)
    gates = (problem.x @ w.T > 0).astype(np.float64)
    start = problem.primal(np.maximum(problem.x @ w.T, 0) @ a, float((w**2).sum() + (a**2).sum()) / 2)
    walls = max(1, int(problem.x.any(1).sum()) * len(w))
    mu, last = _FIRST * start / walls, _LAST * start / walls
    while mu > last:
        for _ in range(_STEPS):
            gradient, hessian = _derivatives(problem, gates, (w, a), mu)
            move = _direction(gradient, hessian)
            slope = float(gradient @ move)
            if not -slope > 1e-2 * mu * walls:
                break
            of_w, of_a = move[: w.size].reshape(w.shape), move[w.size :].reshape(a.shape)
            step, value = _reach(problem, gates, w, of_w), _value(problem, gates, (w, a), mu)
            while step > 1e-10:
                trial = (w + step * of_w, a + step * of_a)
                if _value(problem, gates, trial, mu) <= value + 1e-4 * step * slope:
                    w, a = trial
                    break
                step /= 2
            else:
                break
        mu *= _SHRINK
    return balanced_vectors(w, a)
