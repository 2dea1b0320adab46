"""One step of the proximal point method: min F(M u) + lambda sum |u_g| + |u - c|^2 / (2 sigma), u_g in cones.

The outputs o = M u get a proximal term too, sum_j omega_j (o_j - c_j)^2 / (2 reach). The dual in s,

    min phi(s) = sup_o (s'o - F(o) - ...) + sum_g |prox_g(c_g - sigma M_g' s)|^2 / (2 sigma),

is smooth, convex and piecewise twice differentiable; Newton's method with a line search solves it in a few
steps (Li, Sun and Toh 2018, for the lasso). prox_g shrinks the projection on the cone, because cones are
scaled onto themselves. Along a search direction M's is linear, so that a trial costs projections and no
products with the data.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from jensen.fit._cones import Cones
from jensen.fit._loss_prox import proximal
from jensen.fit._losses import Floats
from jensen.fit._problem import Problem
from jensen.fit._semismooth import ActiveGroups, solve_newton

_ROUNDING = 1e-14
_SUFFICIENT = 1e-4
_MOST_HALVINGS = 30


class Design:
    """The linear map u -> sum_g M_g u_g of some groups, with their cones.

    Parameters
    ----------
    x : (n, d) array
    masks : (P, n) array
        Gates times signs.
    gram : (n, n) array, optional
        X X'.
    cones : Cones, optional
    """

    def __init__(self, x: Floats, masks: Floats, gram: Floats | None, cones: Cones | None) -> None:
        self.x, self.masks, self.gram, self.cones = x, masks, gram, cones

    def push(self, u: Floats) -> Floats:
        """Return the outputs M u."""
        used = np.flatnonzero(u.any(1))
        return np.asarray(((u[used] @ self.x.T) * self.masks[used]).sum(0))

    def pull(self, s: Floats) -> Floats:
        """M's: a row for each group."""
        return np.asarray((self.masks * s) @ self.x)

    def project(self, points: Floats, threshold: float) -> tuple[Floats, Floats]:
        """Project on the cones; see `Cones.project`."""
        if self.cones is None:
            return points, np.linalg.norm(points, axis=1)
        return self.cones.project(points, threshold)


@dataclass(frozen=True)
class Centre:
    """Where the proximal terms stand: coefficients and outputs, and how far each may move."""

    u: Floats
    o: Floats
    sigma: float
    reach: float


@dataclass(frozen=True)
class Trial:
    """A dual point s, the primal point that belongs to it and the value phi."""

    s: Floats
    pulled: Floats
    phi: float
    used: np.ndarray[tuple[int], np.dtype[np.int64]]
    projected: Floats
    lengths: Floats
    o: Floats
    curvature: Floats


@dataclass(frozen=True)
class Inner:
    """Result of a subproblem: coefficients and outputs; dual point; slopes in the conjugate's domain."""

    u: Floats
    fitted: Floats
    s: Floats
    slopes: Floats
    steps: int
    converged: bool


class Subproblem:
    """The dual of one step of the proximal point method."""

    def __init__(self, problem: Problem, design: Design, centre: Centre) -> None:
        self._problem, self._design, self._centre = problem, design, centre
        self._threshold = centre.sigma * problem.regularisation
        self._offset = float((centre.u**2).sum()) / (2 * centre.sigma)

    def evaluate(self, s: Floats, pulled: Floats) -> Trial:
        """Value of the dual function, and what its derivatives need."""
        problem, centre = self._problem, self._centre
        points = centre.u - centre.sigma * pulled
        projected, lengths = self._design.project(points, self._threshold)
        used = np.flatnonzero(lengths > self._threshold)
        o, curvature = proximal(
            problem.loss, centre.o + centre.reach * s / problem.weights, centre.reach, problem.y
        )
        phi = float(
            ((lengths[used] - self._threshold) ** 2).sum() / (2 * centre.sigma)
            + s @ o
            - problem.weights @ (problem.loss.value(o, problem.y) + (o - centre.o) ** 2 / (2 * centre.reach))
        )
        return Trial(s, pulled, phi, used, projected[used], lengths[used], o, curvature)

    def solve(self, s: Floats, accuracy: float, most: int, stop: Callable[[], bool]) -> Inner:
        """Minimise phi from s until primal and dual differ by at most `accuracy`.

        Parameters
        ----------
        s : (n,) array
        accuracy : float
        most : int
            Newton steps.
        stop : callable
            Whether time is over.
        """
        problem, design, centre = self._problem, self._design, self._centre
        trial = self.evaluate(s, design.pull(s))
        steps, converged = 0, False
        while True:
            u, fitted = self._primal(trial)
            if self._gap(trial, u, fitted) <= accuracy:
                converged = True
                break
            if steps >= most or stop():
                break
            gradient = trial.o - fitted
            diagonal = 1 / (problem.weights * (1 / centre.reach + trial.curvature))
            move = solve_newton(design.x, design.gram, self._active(trial), diagonal, centre.sigma, -gradient)
            steps += 1
            better = self._search(trial, move, float(gradient @ move))
            if better is None:
                break
            trial = better
        slopes = problem.loss.slope(trial.o, problem.y)
        return Inner(u, fitted, trial.s, slopes, steps, converged)

    def _search(self, trial: Trial, move: Floats, decrease: float) -> Trial | None:
        """Halve the step until phi falls; None where rounding hides the descent."""
        if not decrease < 0:
            return None
        pulled = self._design.pull(move)
        step = 1.0
        for _ in range(_MOST_HALVINGS):
            found = self.evaluate(trial.s + step * move, trial.pulled + step * pulled)
            if found.phi <= trial.phi + _SUFFICIENT * step * decrease + _ROUNDING * abs(trial.phi):
                return found
            step /= 2
        return None

    def _primal(self, trial: Trial) -> tuple[Floats, Floats]:
        u = np.zeros_like(self._centre.u)
        u[trial.used] = (1 - self._threshold / trial.lengths)[:, None] * trial.projected
        return u, self._design.push(u)

    def _gap(self, trial: Trial, u: Floats, fitted: Floats) -> float:
        problem, centre = self._problem, self._centre
        primal = (
            problem.primal(fitted, float(np.linalg.norm(u, axis=1).sum()))
            + float(((u - centre.u) ** 2).sum()) / (2 * centre.sigma)
            + float(problem.weights @ (fitted - centre.o) ** 2) / (2 * centre.reach)
        )
        return primal + trial.phi - self._offset

    def _active(self, trial: Trial) -> ActiveGroups:
        cones = self._design.cones
        return ActiveGroups(
            self._design.masks[trial.used],
            trial.projected / trial.lengths[:, None],
            self._threshold / trial.lengths,
            [cones.normals(g) for g in trial.used.tolist()] if cones else None,
        )
