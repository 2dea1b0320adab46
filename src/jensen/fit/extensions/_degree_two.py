"""Networks whose activation is a polynomial of degree two, trained to global optimality in polynomial time.

Outputs are sum_i a_i sigma(x . w_i) with sigma(t) = p t^2 + q t + s and |w_i| = 1, penalised by lambda
sum_i |a_i|. (Bartan and Pilanci, "Neural spectrahedra", Mathematical Programming 2025: the convex hull of
the neurons (w w', w, 1) is that of matrices Z >= 0 with Z_22 = 1 and trace of Z_11 equal to 1, so that
training is a semidefinite programme.) Its linear subproblem, max r' sigma(X w) over the sphere, is a
trust-region problem, solved exactly for any dimension. So neurons are generated here: found by that,
refined by descent (all is smooth), proved complete. With p = s = 0 or q = s = 0 these are linear and
quadratic networks.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from scipy.optimize import brentq, minimize

from jensen.errors import ArgumentError
from jensen.fit._losses import Floats
from jensen.fit._problem import Problem
from jensen.fit._rows import as_rows
from jensen.fit.extensions._numbers import positive
from jensen.network._numbers import as_count, as_floats

PolynomialStatus: TypeAlias = Literal["optimal", "stalled", "time_limit", "interrupted"]

_STALLED = 5


@dataclass(frozen=True)
class PolynomialFit:
    """A network with a polynomial activation, and its gap.

    Attributes
    ----------
    problem : Problem
    activation : tuple of float
        (p, q, s).
    weights : (m, d) float64 array
        Unit vectors.
    outputs : (m,) float64 array
    objective, lower_bound : float
        In float64.
    status : str
    rounds : int
    """

    problem: Problem
    activation: tuple[float, float, float]
    weights: Floats
    outputs: Floats
    objective: float
    lower_bound: float
    status: PolynomialStatus
    rounds: int

    @property
    def gap(self) -> float:
        """Objective minus lower bound, relative to the objective."""
        return (self.objective - self.lower_bound) / max(abs(self.objective), 1e-300)

    def predict(self, x: object) -> Floats:
        """Evaluate the network: (n, d) to (n,).

        Raises
        ------
        ArgumentError
            If X does not have d columns.
        """
        data = as_rows(x, self.weights.shape[1])
        return np.asarray(_sigma(self.activation, data @ self.weights.T)[0] @ self.outputs)


def _sigma(activation: tuple[float, float, float], t: Floats) -> tuple[Floats, Floats]:
    """Values and slopes."""
    p, q, s = activation
    return (p * t + q) * t + s, 2 * p * t + q


def maximise_on_sphere(matrix: Floats, vector: Floats) -> tuple[Floats, float]:
    """Maximise w'Qw + g'w over |w| = 1, by its dual.

    That is min mu + g'(mu I - Q)^-1 g / 4 over mu that are at least the top eigenvalue.

    Parameters
    ----------
    matrix : (d, d) array
        Q, symmetric.
    vector : (d,) array
        g.

    Returns
    -------
    w : (d,) array
    bound : float
        The dual value, which is at least the maximum whatever rounding did to mu.
    """
    scale, axes = np.linalg.eigh(matrix)
    part = axes.T @ vector / 2
    top, size = float(scale[-1]), float(np.linalg.norm(part))
    unit = max(abs(top), abs(float(scale[0])), size)
    if unit == 0:
        return axes[:, -1], 0.0
    near = scale >= top - 1e-12 * unit
    hard = float(np.linalg.norm(part[near])) <= 1e-13 * unit
    rest = np.where(near, 0.0, part / np.where(near, 1.0, top - scale))
    if hard and float(np.linalg.norm(rest)) <= 1:
        # The shift is the top eigenvalue itself; what is missing to length 1 comes from its space.
        coordinates = rest.copy()
        coordinates[-1] += np.sqrt(max(0.0, 1 - float(rest @ rest)))
        shift, bound = top, top + float(part @ rest)
    else:
        shift = float(
            brentq(
                lambda mu: 1 - 1 / np.linalg.norm(part / (mu - scale)),
                top + max(1e-15 * unit, 0.5 * float(np.linalg.norm(part[near]))),
                top + 2 * size + 1e-12 * unit,
                xtol=1e-15 * unit,
            )
        )
        coordinates = part / (shift - scale)
        bound = shift + float(part @ coordinates)
    w = axes @ coordinates
    return w / np.linalg.norm(w), bound + 1e-13 * unit * len(scale)


class _Training:
    """Neurons of unit length with signs and coefficients."""

    def __init__(self, problem: Problem, activation: tuple[float, float, float]) -> None:
        self.problem, self.activation = problem, activation
        self.w, self.signs, self.c = np.zeros((0, problem.x.shape[1])), np.zeros(0), np.zeros(0)

    def fitted(self) -> Floats:
        hidden, _ = _sigma(self.activation, self.problem.x @ self.w.T)
        return np.asarray(hidden @ (self.signs * self.c))

    def value(self) -> float:
        return self.problem.primal(self.fitted(), float(self.c.sum()))

    def price(self, signal: Floats) -> tuple[list[tuple[Floats, float]], float]:
        """Best neuron for each sign, and a bound of |r' sigma(X w)| over the sphere."""
        (p, q, s), x = self.activation, self.problem.x
        found, most = [], 0.0
        for sign in (1.0, -1.0):
            r = -sign * signal
            w, bound = maximise_on_sphere(p * (x.T * r) @ x, q * (r @ x))
            found.append((w, sign))
            most = max(most, bound + s * float(r.sum()))
        return found, most

    def add(self, w: Floats, sign: float) -> None:
        self.w, self.signs = np.concatenate([self.w, w[None]]), np.append(self.signs, sign)
        self.c = np.append(self.c, 0.0)

    def descend(self) -> None:
        """Minimise over all directions and coefficients c >= 0."""
        problem, m, d = self.problem, *self.w.shape

        def objective(z: Floats) -> tuple[float, Floats]:
            v, c = z[: m * d].reshape(m, d), z[m * d :]
            lengths = np.linalg.norm(v, axis=1, keepdims=True)
            w = v / lengths
            hidden, slope = _sigma(self.activation, problem.x @ w.T)
            fitted = hidden @ (self.signs * c)
            signal = problem.pull(problem.loss.slope(fitted, problem.y))
            back = (slope * signal[:, None] * (self.signs * c)).T @ problem.x
            back = (back - (back * w).sum(1, keepdims=True) * w) / lengths
            of_c = self.signs * (hidden.T @ signal) + problem.regularisation
            return problem.primal(fitted, float(c.sum())), np.concatenate([back.ravel(), of_c])

        before = self.value(), self.w, self.c
        found = minimize(
            objective,
            np.concatenate([self.w.ravel(), self.c]),
            jac=True,
            method="L-BFGS-B",
            bounds=[(None, None)] * (m * d) + [(0.0, None)] * m,
            options={"maxiter": 2000, "maxfun": 4000, "maxcor": 30, "ftol": 1e-16, "gtol": 1e-12},
        )
        w = found.x[: m * d].reshape(m, d)
        self.w, self.c = w / np.linalg.norm(w, axis=1, keepdims=True), np.maximum(found.x[m * d :], 0.0)
        if not self.value() <= before[0]:
            _, self.w, self.c = before
        used = self.c > 0
        self.w, self.signs, self.c = self.w[used], self.signs[used], self.c[used]


def fit_polynomial_network(
    problem: Problem,
    activation: tuple[float, float, float] = (1.0, 0.0, 0.0),
    *,
    tolerance: float = 1e-6,
    max_rounds: int = 200,
    time_limit: float | None = None,
) -> PolynomialFit:
    """Train a two-layer network with activation p t^2 + q t + s to global optimality.

    Ctrl-C ends the training with the network of the last whole round.

    Parameters
    ----------
    problem : Problem
        With scalar outputs and a smooth loss; the penalty is lambda sum |a_i| at |w_i| = 1.
    activation : tuple of float, default (1.0, 0.0, 0.0)
        (p, q, s).
    tolerance : float, default 1e-6
        Relative gap at which to stop.
    max_rounds : int, default 200
    time_limit : float, optional
        Seconds.

    Returns
    -------
    PolynomialFit

    Raises
    ------
    ArgumentError
        If an argument makes no sense.
    """
    if problem.outputs or not problem.loss.smooth:
        raise ArgumentError(
            f"polynomials need scalar outputs, y of shape (n,), and a smooth loss; "
            f"got y of shape {problem.y.shape} and the loss {problem.loss.name}"
        )
    numbers = as_floats(activation, "activation", ArgumentError)
    if numbers.shape != (3,) or not np.isfinite(numbers).all():
        raise ArgumentError(f"activation must be three finite numbers (p, q, s), got {activation!r:.80}")
    accuracy, most = positive(tolerance, "tolerance"), as_count(max_rounds, "max_rounds")
    deadline = time.perf_counter() + (np.inf if time_limit is None else positive(time_limit, "time_limit"))
    p, q, s = numbers.tolist()
    run, lower, rounds, idle = _Training(problem, (p, q, s)), -np.inf, 0, 0
    status: PolynomialStatus = "stalled"
    kept = run.w, run.signs, run.c
    try:
        while rounds < most and idle < _STALLED:
            rounds += 1
            kept = run.w, run.signs, run.c
            slopes = problem.loss.slope(run.fitted(), problem.y)
            found, price = run.price(problem.pull(slopes))
            value, before = run.value(), lower
            lower = max(lower, problem.scaled_dual(slopes, price)[0])
            if value - lower <= accuracy * abs(value):
                status = "optimal"
                break
            if time.perf_counter() > deadline:
                status = "time_limit"
                break
            for w, sign in found:
                run.add(w, sign)
            run.descend()
            idle = 0 if run.value() < value * (1 - 1e-12) or lower > before else idle + 1
    except KeyboardInterrupt:
        status, (run.w, run.signs, run.c) = "interrupted", kept
    return PolynomialFit(
        problem, (p, q, s), run.w, run.signs * run.c, run.value(), max(lower, 0.0), status, rounds
    )
