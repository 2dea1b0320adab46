"""Sums of hinges: with a quadratic term by an interior-point method, without one by the simplex method."""

from __future__ import annotations

from dataclasses import dataclass

import highspy
import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from jensen.certify._highs import quiet_highs
from jensen.network import FloatArray

_STEPS = 60
_STUCK = 1e-8
_SHORT = 0.995
"""Share of the way to the boundary that a step goes at most."""


@dataclass(frozen=True, eq=False)
class HingeProblem:
    """The function constant + slope . d + d . (quadratic * d) / 2 + weights . relu(shift + matrix d).

    Attributes
    ----------
    constant : float
    slope, quadratic : (p,) arrays
        The second is nonnegative.
    matrix : (k, p) array
    shift, weights : (k,) arrays
        Weights are positive.
    """

    constant: float
    slope: FloatArray
    quadratic: FloatArray
    matrix: FloatArray
    shift: FloatArray
    weights: FloatArray

    def value(self, d: FloatArray) -> float:
        """Evaluate."""
        bent = float(self.weights @ np.maximum(self.shift + self.matrix @ d, 0.0))
        return self.constant + float(self.slope @ d + (self.quadratic * d) @ d / 2) + bent

    def bound(self, u: FloatArray) -> float:
        """Bound the minimum from below by multipliers in [0, weights], if all of `quadratic` is positive.

        relu(z) >= u z for u in [0, 1], and what is left is minimised in closed form.
        """
        g = self.slope + u @ self.matrix
        return self.constant + float(u @ self.shift) - float(g @ (g / self.quadratic)) / 2


@dataclass(frozen=True, eq=False)
class HingeSolution:
    """A point, its value, and how far above the minimum it is at most."""

    point: FloatArray
    value: float
    gap: float


def interior(problem: HingeProblem, tolerance: float) -> HingeSolution:
    """Minimise by Mehrotra's predictor and corrector; every entry of `quadratic` is positive.

    What is factorised has the size of d, or of the hinges if these are fewer. Source: Wright, "Primal-dual
    interior-point methods", 1997, chapter 10.

    Parameters
    ----------
    problem : HingeProblem
    tolerance : float
        Gap, in units of the loss, at which it stops.
    """
    state = _State.first(problem)
    best, bound = (problem.value(state.d), state.d), -np.inf
    for _ in range(_STEPS):
        system = _System.at(problem, state)
        if system is None:
            break
        u, v, s, t = state.u, problem.weights - state.u, state.s, state.t
        affine = system.direction(-u * s, -v * t)
        ahead = state.moved(affine, state.share(problem, affine)).level(problem)
        target = ahead**3 / state.level(problem) ** 2
        step = system.direction(target - u * s - affine.u * affine.s, target - v * t + affine.u * affine.t)
        share = min(1.0, _SHORT * state.share(problem, step))
        state = state.moved(step, share)
        value = problem.value(state.d)
        bound = max(bound, problem.bound(state.u))
        if value < best[0]:
            best = value, state.d
        if best[0] - bound <= tolerance or share < _STUCK:
            break
    return HingeSolution(best[1], best[0], max(best[0] - bound, 0.0))


@dataclass(frozen=True, eq=False)
class _State:
    """Where an interior-point method stands, or a direction.

    Every hinge is t >= 0 with s = t - shift - matrix d >= 0; u is the multiplier of s, weights - u that of t.
    """

    d: FloatArray
    u: FloatArray
    s: FloatArray
    t: FloatArray

    @classmethod
    def first(cls, problem: HingeProblem) -> _State:
        z = problem.shift
        lift = float(np.abs(z).mean()) / 10 + 1e-12
        s, t = np.maximum(-z, 0.0) + lift, np.maximum(z, 0.0) + lift
        return cls(np.zeros(len(problem.slope)), problem.weights / 2, s, t)

    def level(self, problem: HingeProblem) -> float:
        """Mean product of slacks and multipliers."""
        whole = float(self.u @ self.s + (problem.weights - self.u) @ self.t)
        return whole / (2 * len(self.u))

    def moved(self, way: _State, share: float) -> _State:
        return _State(
            self.d + share * way.d, self.u + share * way.u, self.s + share * way.s, self.t + share * way.t
        )

    def share(self, problem: HingeProblem, way: _State) -> float:
        """How far along a direction slacks and multipliers stay positive, 1 at most."""
        share = 1.0
        pairs = ((self.u, way.u), (problem.weights - self.u, -way.u), (self.s, way.s), (self.t, way.t))
        for value, change in pairs:
            down = change < 0
            if down.any():
                share = min(share, float((-value[down] / change[down]).min()))
        return share


@dataclass(frozen=True, eq=False)
class _System:
    """Newton's equations for the optimality conditions, with slacks and multipliers eliminated."""

    problem: HingeProblem
    state: _State
    width: FloatArray
    factor: tuple[FloatArray, bool]

    @classmethod
    def at(cls, problem: HingeProblem, state: _State) -> _System | None:
        """Factorise, in the smaller of hinges and entries; None where rounding has made that impossible."""
        width = state.s / state.u + state.t / (problem.weights - state.u)
        m, q = problem.matrix, problem.quadratic
        if m.shape[0] < m.shape[1]:
            whole = np.diag(width) + m @ (m / q).T
        else:
            whole = np.diag(q) + m.T @ (m / width[:, None])
        try:
            return cls(problem, state, width, cho_factor(whole, check_finite=False))
        except LinAlgError:
            return None

    def _solve(self, k: FloatArray, dual: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Solve quadratic d + matrix' u = -dual and matrix d - width u = k."""
        m, q = self.problem.matrix, self.problem.quadratic
        if m.shape[0] < m.shape[1]:
            u = -cho_solve(self.factor, k + m @ (dual / q), check_finite=False)
            return -(dual + u @ m) / q, u
        d = cho_solve(self.factor, (k / self.width) @ m - dual, check_finite=False)
        return d, (m @ d - k) / self.width

    def direction(self, first: FloatArray, second: FloatArray) -> _State:
        """Solve for the changes that make u s and (weights - u) t change by these amounts."""
        problem, now = self.problem, self.state
        v = problem.weights - now.u
        dual = problem.slope + problem.quadratic * now.d + now.u @ problem.matrix
        primal = now.t - now.s - problem.shift - problem.matrix @ now.d
        k = second / v - first / now.u + primal
        d, u = self._solve(k, dual)
        return _State(d, u, (first - now.s * u) / now.u, (second + now.t * u) / v)


def simplex(problem: HingeProblem) -> HingeSolution | None:
    """Minimise without a quadratic term, through the dual linear programme; None where there is no minimum.

    That programme has one row for every entry of d and one bounded column for every hinge: maximise
    u . shift over 0 <= u <= weights with matrix' u = -slope. Its own multipliers are d.
    """
    p, k = len(problem.slope), len(problem.weights)
    lp = highspy.HighsLp()
    lp.num_col_, lp.num_row_ = k, p
    lp.col_cost_ = -problem.shift
    lp.col_lower_, lp.col_upper_ = np.zeros(k), problem.weights
    lp.row_lower_ = lp.row_upper_ = -problem.slope
    lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    rows, columns = np.nonzero(problem.matrix.T)
    lp.a_matrix_.start_ = np.searchsorted(rows, np.arange(p + 1))
    lp.a_matrix_.index_, lp.a_matrix_.value_ = columns, problem.matrix.T[rows, columns]
    highs = quiet_highs()
    highs.setOptionValue("presolve", "off")
    highs.passModel(lp)
    highs.run()
    if highs.getModelStatus() != highspy.HighsModelStatus.kOptimal:
        return None
    solution = highs.getSolution()
    d = np.asarray(solution.row_dual)
    u = np.clip(np.asarray(solution.col_value), 0.0, problem.weights)
    value = problem.value(d)
    return HingeSolution(d, value, max(value - problem.constant - float(u @ problem.shift), 0.0))
