"""Descent of a two-layer network as it stands, not convex: where good gates come from."""

from __future__ import annotations

import time

import numpy as np
from scipy.optimize import minimize

from jensen.fit._losses import Floats
from jensen.fit._problem import Problem

_MEMORY = 20
"""Pairs that L-BFGS keeps."""


class _OutOfTimeError(Exception):
    """Ends a descent from within a step."""


def random_network(problem: Problem, neurons: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Draw a balanced network whose outputs are small beside the targets.

    Returns
    -------
    weights : (m, d) array
    outputs : (m,) array
    """
    weights = rng.standard_normal((neurons, problem.x.shape[1]))
    weights /= np.linalg.norm(weights, axis=1, keepdims=True)
    row = float(np.sqrt((problem.x**2).sum(1).mean()))
    level = float(np.abs(problem.y).mean())
    size = 0.3 * np.sqrt(level / (row * neurons)) if row > 0 and level > 0 else 0.3
    return size * weights, size * rng.choice([-1.0, 1.0], size=neurons)


def descend(
    problem: Problem, weights: Floats, outputs: Floats, *, steps: int, deadline: float = np.inf
) -> tuple[Floats, Floats]:
    """Run L-BFGS on the weights of both layers, with weight decay.

    The result is balanced, and its objective is not above that of the network given.

    Parameters
    ----------
    problem : Problem
        With scalar outputs.
    weights : (m, d) array
    outputs : (m,) array
    steps : int
    deadline : float
        On the clock of `time.perf_counter`.

    Returns
    -------
    weights : (m, d) array
    outputs : (m,) array
    """
    weights, outputs = balanced(weights, outputs)
    shape, cut = weights.shape, weights.size
    if not cut:
        return weights, outputs
    best: tuple[float, Floats] = (np.inf, np.concatenate([weights.ravel(), outputs]))

    def objective(z: Floats) -> tuple[float, Floats]:
        nonlocal best
        w, a = z[:cut].reshape(shape), z[cut:]
        before = problem.x @ w.T
        hidden = np.maximum(before, 0)
        fitted = hidden @ a
        value = problem.primal(fitted, float(z @ z) / 2)
        if value < best[0]:
            best = (value, z.copy())
        if time.perf_counter() > deadline:
            raise _OutOfTimeError
        signal = problem.pull(problem.loss.slope(fitted, problem.y))
        back = ((before > 0) * signal[:, None]).T @ problem.x * a[:, None]
        gradient = np.concatenate([back.ravel(), hidden.T @ signal])
        return value, gradient + problem.regularisation * z

    try:
        minimize(
            objective,
            best[1],
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": steps, "maxfun": 2 * steps, "maxcor": _MEMORY, "ftol": 1e-13, "gtol": 1e-12},
        )
    except _OutOfTimeError:
        return balanced(best[1][:cut].reshape(shape), best[1][cut:])
    return balanced(best[1][:cut].reshape(shape), best[1][cut:])


def balanced(weights: Floats, outputs: Floats) -> tuple[Floats, Floats]:
    """Rescale neurons to |w| = |a|, which changes no output and lowers the weight decay; drop zeros."""
    norms = np.linalg.norm(weights, axis=1)
    used = (norms > 0) & (outputs != 0)
    root = np.sqrt(norms[used] * np.abs(outputs[used]))
    return weights[used] * (root / norms[used])[:, None], np.sign(outputs[used]) * root


def objective_of(problem: Problem, weights: Floats, outputs: Floats) -> float:
    """Objective of a network, in plain float64."""
    fitted = np.maximum(problem.x @ weights.T, 0) @ outputs
    return problem.primal(fitted, float(np.linalg.norm(weights, axis=1) @ np.abs(outputs)))
