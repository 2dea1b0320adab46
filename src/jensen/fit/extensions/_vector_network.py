"""Networks with vector outputs as they stand: value, gradients, descent.

A neuron is (w, a) with a in R^c; weight decay (lambda / 2) (|w|^2 + |a|^2) is lambda |w| |a| after balancing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

import numpy as np
from scipy.optimize import minimize

from jensen.errors import ArgumentError
from jensen.fit._losses import Floats
from jensen.fit._problem import Problem

_MEMORY = 20
"""Pairs that L-BFGS keeps."""


class _OutOfTimeError(Exception):
    """Ends a descent from within a step."""


def require_vectors(problem: Problem) -> int:
    """Return the number of outputs of a problem with a smooth loss and vector outputs.

    Raises
    ------
    ArgumentError
        If y is a vector, or the loss has a kink.
    """
    if len(problem.outputs) != 1 or not problem.loss.smooth:
        raise ArgumentError(
            "vector outputs need a y of shape (n, c) and a smooth loss; got "
            f"{problem.loss.name} with y of shape {problem.y.shape}"
        )
    return problem.outputs[0]


def balanced_vectors(weights: Floats, outputs: Floats) -> tuple[Floats, Floats]:
    """Rescale neurons to |w| = |a|, which changes no output; drop those that are zero.

    Parameters
    ----------
    weights : (m, d) array
    outputs : (m, c) array
    """
    one, two = np.linalg.norm(weights, axis=1), np.linalg.norm(outputs, axis=1)
    used = (one > 0) & (two > 0)
    ratio = np.sqrt(two[used] / one[used])[:, None]
    return weights[used] * ratio, outputs[used] / ratio


def network_outputs(x: Floats, weights: Floats, outputs: Floats) -> Floats:
    """Evaluate relu(X W') A, (n, c)."""
    return np.asarray(np.maximum(x @ weights.T, 0) @ outputs)


def network_value(problem: Problem, weights: Floats, outputs: Floats) -> float:
    """Objective of a network: losses and lambda sum |w| |a|."""
    norm = float(np.linalg.norm(weights, axis=1) @ np.linalg.norm(outputs, axis=1))
    return problem.primal(network_outputs(problem.x, weights, outputs), norm)


def random_vector_network(problem: Problem, neurons: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Draw a balanced network whose outputs are small beside the targets."""
    weights = rng.standard_normal((neurons, problem.x.shape[1]))
    weights /= np.linalg.norm(weights, axis=1, keepdims=True)
    outputs = rng.standard_normal((neurons, problem.y.shape[1]))
    outputs /= np.linalg.norm(outputs, axis=1, keepdims=True)
    row = float(np.sqrt((problem.x**2).sum(1).mean()))
    level = float(np.abs(problem.y).mean())
    size = 0.3 * np.sqrt(level / (row * neurons)) if row > 0 and level > 0 else 0.3
    return size * weights, size * outputs


def descend_vectors(
    problem: Problem,
    weights: Floats,
    outputs: Floats,
    *,
    steps: int,
    deadline: float = np.inf,
    keep: Callable[[Floats, Floats], object] | None = None,
) -> tuple[Floats, Floats]:
    """Run L-BFGS on both layers with weight decay; the best network seen, balanced.

    Parameters
    ----------
    problem : Problem
        With vector outputs.
    weights : (m, d) array
    outputs : (m, c) array
    steps : int
    deadline : float
        On the clock of `time.perf_counter`.
    keep : callable, optional
        Given the best network seen at the end, whatever ends the descent: an interrupt as well.
    """
    weights, outputs = balanced_vectors(weights, outputs)
    cut = weights.size
    if not cut:
        return weights, outputs
    best: tuple[float, Floats] = (np.inf, np.concatenate([weights.ravel(), outputs.ravel()]))

    def objective(z: Floats) -> tuple[float, Floats]:
        nonlocal best
        w, a = z[:cut].reshape(weights.shape), z[cut:].reshape(outputs.shape)
        before = problem.x @ w.T
        hidden = np.maximum(before, 0)
        fitted = hidden @ a
        value = problem.primal(fitted, float(z @ z) / 2)
        if value < best[0]:
            best = (value, z.copy())
        if time.perf_counter() > deadline:
            raise _OutOfTimeError
        signal = problem.pull(problem.loss.slope(fitted, problem.y))
        back = ((before > 0) * (signal @ a.T)).T @ problem.x
        gradient = np.concatenate([back.ravel(), (hidden.T @ signal).ravel()])
        return value, gradient + problem.regularisation * z

    try:
        with suppress(_OutOfTimeError):
            minimize(
                objective,
                best[1],
                jac=True,
                method="L-BFGS-B",
                options={
                    "maxiter": steps,
                    "maxfun": 2 * steps,
                    "maxcor": _MEMORY,
                    "ftol": 1e-14,
                    "gtol": 1e-12,
                },
            )
    finally:
        w, a = best[1][:cut].reshape(weights.shape), best[1][cut:].reshape(outputs.shape)
        if keep is not None:
            keep(w, a)
    return balanced_vectors(w, a)
