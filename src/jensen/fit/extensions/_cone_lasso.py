"""Group lasso with a polyhedral cone for every group and any designs: an interior-point method.

Minimise F(sum_g M_g u_g) + lambda sum_g |u_g| subject to A_g u_g >= 0. With the norms smoothed and the
cones kept by logarithmic barriers of weight mu, Newton's system is block diagonal plus one of rank n: a
step costs a small factorisation for each group and one of size n. Barriers give multipliers, hence a dual
point: max over |u| <= 1, A_g u >= 0 of -r'M_g u is at most |A_g'y - M_g'r| for every y >= 0.

Some coordinates may be free of the norm and of the outputs, and matter to the cone only: such a group's cone
is a projection. Then A_g'y must vanish on them, to which multipliers are moved.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jensen.errors import ArgumentError
from jensen.fit._losses import Floats
from jensen.fit._problem import Problem
from jensen.fit._solution import Status

_SHRINK = 0.2
_CENTRE = 20
"""Newton steps for one mu, at most."""
_INWARD = 0.95
_ROUNDING = 1e-14
_RIDGE = 1e-15
_LEFT = 1e-14
"""What may be left of A'y on a free coordinate for each row, relative to the largest multiplier."""
_LEAST = 1e-15
"""Weight of barriers, relative to the objective at zero, below which rounding is blamed."""


@dataclass(frozen=True)
class ConeSolution:
    """A minimiser over groups with cones, and the dual point that proves it.

    Attributes
    ----------
    coefficients : (P, k) float64 array
        Strictly inside the cones, or zero.
    fitted : (n,) float64 array
    slopes : (n,) float64 array
    objective, lower_bound : float
        In float64; the bound holds for these groups.
    iterations : int
        Newton steps.
    status : str
    """

    coefficients: Floats
    fitted: Floats
    slopes: Floats
    objective: float
    lower_bound: float
    iterations: int
    status: Status

    @property
    def gap(self) -> float:
        """Objective minus lower bound, relative to the objective."""
        return (self.objective - self.lower_bound) / max(abs(self.objective), 1e-300)


class _Barrier:
    """The smoothed problem for a weight mu of barriers."""

    def __init__(self, problem: Problem, designs: Floats, cones: Floats, free: NDArray[np.bool_]) -> None:
        self.problem, self.designs, self.cones = problem, designs, cones
        self.walls = cones.any(2)
        self.free, self.paid = free, (~free).astype(np.float64)

    def norms(self, u: Floats) -> Floats:
        """Norms of the groups, without free coordinates."""
        return np.asarray(np.linalg.norm(u * self.paid, axis=1))

    def push(self, u: Floats) -> Floats:
        return np.asarray(np.einsum("gnk,gk->n", self.designs, u))

    def inside(self, u: Floats) -> Floats:
        """Slacks A u; 1 where there is no row."""
        return np.where(self.walls, np.einsum("gqk,gk->gq", self.cones, u), 1.0)

    def value(self, u: Floats, mu: float) -> float:
        slack = self.inside(u)
        if not (slack > 0).all():
            return float(np.inf)
        problem = self.problem
        root = np.sqrt(mu**2 + problem.regularisation**2 * self.norms(u) ** 2)
        smooth = root - mu * np.log(mu + root)
        return problem.primal(self.push(u), 0.0) + float(smooth.sum() - mu * np.log(slack).sum())

    def newton(self, u: Floats, mu: float) -> tuple[Floats, float]:
        """Newton's direction and the slope along it."""
        problem, k = self.problem, u.shape[1]
        fitted = self.push(u)
        signal = problem.pull(problem.loss.slope(fitted, problem.y))
        curvature = problem.weights * problem.loss.curvature(fitted, problem.y)
        strength = problem.regularisation
        root, paid = np.sqrt(mu**2 + strength**2 * self.norms(u) ** 2), u * self.paid
        share = strength**2 / (mu + root)
        inverse = np.where(self.walls, 1 / self.inside(u), 0.0)
        gradient = np.einsum("gnk,n->gk", self.designs, signal) + share[:, None] * paid
        gradient -= mu * np.einsum("gqk,gq->gk", self.cones, inverse)
        # d share / d u = -strength^2 strength^2 u / (root (mu + root)^2)
        bend = share**2 / root
        blocks = (share[:, None] * self.paid)[:, :, None] * np.eye(k)
        blocks -= bend[:, None, None] * paid[:, :, None] * paid[:, None]
        scaled = self.cones * inverse[:, :, None]
        blocks += mu * np.einsum("gqk,gql->gkl", scaled, scaled)
        # Rounding must not make a thin block singular.
        blocks += _RIDGE * np.trace(blocks, axis1=1, axis2=2)[:, None, None] * np.eye(k)
        # Woodbury: (B + M'CM)^-1 with M of all groups side by side.
        right_sides = np.concatenate([gradient[:, :, None], self.designs.transpose(0, 2, 1)], axis=2)
        solved = np.linalg.solve(blocks, right_sides)
        along, across = solved[:, :, 0], solved[:, :, 1:]
        middle = np.einsum("gnk,gkm->nm", self.designs, across)
        weight = np.sqrt(curvature)
        system = np.eye(len(weight)) + weight[:, None] * middle * weight
        right = weight * np.einsum("gnk,gk->n", self.designs, along)
        move = -along + across @ (weight * np.linalg.solve(system, right))
        return move, float((gradient * move).sum())

    def reach(self, u: Floats, move: Floats) -> float:
        """Largest step within the cones, at most 1."""
        slack = self.inside(u)
        change = np.where(self.walls, np.einsum("gqk,gk->gq", self.cones, move), 0.0)
        towards = change < 0
        if not towards.any():
            return 1.0
        return float(min(1.0, _INWARD * (slack[towards] / -change[towards]).min()))

    def balance(self, multipliers: Floats) -> Floats | None:
        """Move multipliers, each in proportion to its square, until A'y vanishes on free coordinates."""
        loose = self.cones * self.free[:, None]
        most = multipliers.max(1, initial=0.0)[:, None]
        share = np.divide(multipliers, most, out=np.zeros_like(multipliers), where=most > 0)
        missing = np.einsum("gqk,gq->gk", loose, share)
        metric = np.einsum("gqk,gq,gql->gkl", loose, share**2, loose)
        inverse = np.linalg.pinv(metric, rcond=_RIDGE, hermitian=True)
        moved = share - share**2 * np.einsum("gqk,gkl,gl->gq", loose, inverse, missing)
        left = np.einsum("gqk,gq->gk", loose, moved)
        if not (moved >= 0).all() or not (np.abs(left) <= _LEFT * len(moved[0])).all():
            return None
        return np.asarray(moved * most)

    def bound(self, u: Floats, move: Floats, mu: float) -> tuple[float, Floats]:
        """Lower bound from the barriers' multipliers after a Newton step, and the slopes that it rests on."""
        problem = self.problem
        slopes = problem.loss.slope(self.push(u + move), problem.y)
        slack = self.inside(u)
        change = np.where(self.walls, np.einsum("gqk,gk->gq", self.cones, move), 0.0)
        multipliers = np.where(self.walls, np.maximum(mu / slack * (1 - change / slack), 0.0), 0.0)
        if self.free.any():
            balanced = self.balance(multipliers)
            if balanced is None:
                return -np.inf, slopes
            multipliers = balanced
        pulled = np.einsum("gqk,gq->gk", self.cones, multipliers) * self.paid
        pulled -= np.einsum("gnk,n->gk", self.designs, problem.pull(slopes))
        price = float(np.linalg.norm(pulled, axis=1).max(initial=0.0))
        return problem.scaled_dual(slopes, price)[0], slopes


def solve_cone_lasso(
    problem: Problem,
    designs: Floats,
    cones: Floats,
    inside: Floats,
    *,
    free: NDArray[np.bool_] | None = None,
    tolerance: float = 1e-7,
    max_iterations: int = 1000,
) -> ConeSolution:
    """Minimise F(sum_g M_g u_g) + lambda sum_g |u_g| over A_g u_g >= 0.

    Ctrl-C ends it with the best point so far.

    Parameters
    ----------
    problem : Problem
        Loss, targets, weights and lambda; X is not used. Scalar outputs, smooth loss.
    designs : (P, n, k) array
        M_g.
    cones : (P, q, k) array
        A_g; rows of zeros are no constraints.
    inside : (P, k) array
        A point strictly inside each cone; not zero, even where there are no constraints.
    free : (P, k) bool array, optional
        Coordinates that have no part in the norm, and none in the outputs (columns of zeros in M_g). With
        the others fixed, the cone must leave them bounded.
    tolerance : float, default 1e-7
        Relative duality gap that is enough.
    max_iterations : int, default 1000
        Newton steps.

    Returns
    -------
    ConeSolution

    Raises
    ------
    ArgumentError
        If shapes do not fit, the loss has a kink, or a point is not inside its cone.
    """
    if problem.outputs or not problem.loss.smooth:
        raise ArgumentError(
            f"cones need scalar outputs, y of shape (n,), and a smooth loss; "
            f"got y of shape {problem.y.shape} and the loss {problem.loss.name}"
        )
    count, n, k = designs.shape
    if n != len(problem.y) or cones.shape[::2] != (count, k) or inside.shape != (count, k):
        raise ArgumentError(
            f"designs (P, n, k), cones (P, q, k) and inside (P, k) do not fit: {designs.shape}, "
            f"{cones.shape}, {inside.shape}, with n = {len(problem.y)}"
        )
    loose = np.zeros((count, k), dtype=bool) if free is None else free
    if loose.shape != (count, k) or loose.dtype != np.bool_ or (designs * loose[:, None]).any():
        raise ArgumentError(f"free must be bool of shape {(count, k)}, with columns of zeros in the designs")
    barrier = _Barrier(problem, designs, cones, loose)
    zero = problem.primal(np.zeros(n), 0.0)
    slopes = problem.loss.slope(np.zeros(n), problem.y)
    if not count:
        return ConeSolution(inside, np.zeros(n), slopes, zero, zero, 0, "optimal")
    size = max(zero, 1e-300) / problem.regularisation / count
    lengths = np.linalg.norm(inside, axis=1, keepdims=True)
    if not (lengths > 0).all() or not (barrier.inside(inside) > 0).all():
        raise ArgumentError("a point is zero, or not strictly inside its cone")
    u = inside / lengths * size
    mu = 0.1 * max(zero, 1e-300) / (count + barrier.walls.sum())
    best, lower, steps = (zero, np.zeros_like(u)), (problem.dual(np.zeros(n)), np.zeros(n)), 0
    status: Status = "iteration_limit"
    try:
        while steps < max_iterations:
            for _ in range(_CENTRE):
                steps += 1
                move, slope = barrier.newton(u, mu)
                if not -slope > 1e-3 * mu:
                    break
                step, value = barrier.reach(u, move), barrier.value(u, mu)
                highest, drop = value + _ROUNDING * abs(value), 1e-4 * slope
                while step > 1e-12 and not barrier.value(u + step * move, mu) <= highest + step * drop:
                    step /= 2
                if step <= 1e-12:
                    break
                u = u + step * move
            value = problem.primal(barrier.push(u), float(barrier.norms(u).sum()))
            best = (value, u) if value < best[0] else best
            for trial in (move, np.zeros_like(move)):
                bound = barrier.bound(u, trial, mu)
                lower = bound if bound[0] > lower[0] else lower
            if best[0] - lower[0] <= tolerance * abs(best[0]):
                status = "optimal"
                break
            mu *= _SHRINK
            if mu < _LEAST * max(zero, 1e-300):
                status = "inaccurate"
                break
    except KeyboardInterrupt:
        status = "interrupted"
    value, u = _without_tiny(barrier, best[1], max(best[0], lower[0] + tolerance * abs(best[0])), zero)
    return ConeSolution(u, barrier.push(u), lower[1], value, lower[0], steps, status)


def _without_tiny(barrier: _Barrier, u: Floats, most: float, zero: float) -> tuple[float, Floats]:
    """Set as many small groups to zero as an objective of at most `most` allows."""
    if zero <= most:
        return zero, np.zeros_like(u)
    norms = barrier.norms(u)
    for share in 10.0 ** -np.arange(1, 13):
        trial = np.where((norms > share * norms.max())[:, None], u, 0.0)
        value = barrier.problem.primal(barrier.push(trial), float(barrier.norms(trial).sum()))
        if value <= most:
            return value, trial
    return barrier.problem.primal(barrier.push(u), float(norms.sum())), u
