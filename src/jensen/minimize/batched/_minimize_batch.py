"""`minimize_batch`: minimisers over boxes and polytopes, in batches, with valid lower bounds."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from jensen.errors import ArgumentError, DomainError
from jensen.minimize._arguments import as_tolerance
from jensen.minimize.batched._interior import minimise_by_interior_points
from jensen.minimize.batched._lbfgs import minimise_by_lbfgs
from jensen.minimize.batched._multipliers import minimise_by_multipliers
from jensen.minimize.batched._newton import minimise_by_newton
from jensen.minimize.batched._relaxed import can_relax
from jensen.minimize.bundle._proximal import minimise_by_proximal_bundle
from jensen.minimize.polytopes._ready import make_ready
from jensen.minimize.tensors._convex import Function
from jensen.minimize.tensors._frozen import PiecewisePart
from jensen.minimize.tensors._problem import Bounds, TorchProblem, torch_problem, weights_at_rest
from jensen.minimize.tensors._record import Record, coarseness
from jensen.minimize.tensors._result import BatchedMinimum
from jensen.minimize.tensors._separable import Nothing
from jensen.network import Box, Polytope
from jensen.network._numbers import as_count
from jensen.nn import Architecture

_METHODS = ("auto", "newton", "lbfgs", "bundle")
_DENSE, _DENSE_ROWS = 64, 1000
"""Newton's method builds a Hessian for each sample: beyond so many variables, on unbounded boxes and on
polytopes, other methods take less time and memory."""
_FEW = 16
"""In so few variables a bundle of subgradients is done sooner than the smoothing of all neurons."""


@torch.no_grad()
def minimize_batch(
    f: Function,
    domain: Bounds,
    x: Tensor | None = None,
    *,
    method: Literal["auto", "newton", "lbfgs", "bundle"] = "auto",
    linear: Tensor | None = None,
    right: Tensor | None = None,
    start: Tensor | None = None,
    batch: int | None = None,
    tolerance: float = 1e-6,
    max_iterations: int = 2000,
    assume_convex: bool = False,
) -> BatchedMinimum:
    """Minimise f(x, y) + <linear, y> over y in a box or a polytope, for a batch, to a certified gap.

    Parameters
    ----------
    f : module or function
        f(y), or f(x, y) where x is given; convex in y.
    domain : Box, WholeSpace, Polytope or pair (lo, hi)
        A pair of tensors that broadcast to (batch, *shape) gives each sample a box of its own.
    x : (batch, ...) tensor, optional
    method : {"auto", "newton", "lbfgs", "bundle"}
        "newton" is for differentiable f in tens of variables (hundreds on polytopes): a projected Newton
        method on boxes, an interior point method on polytopes. "lbfgs" is for differentiable f and for
        networks of ReLUs in any number of variables: projected quasi-Newton on boxes, within a method of
        multipliers where there are rows or ReLUs. "bundle", a proximal bundle method, needs subgradients
        only. "auto" chooses by what an architecture says about itself.
    linear : (batch, *shape) tensor, optional
        Slopes that are added to f.
    right : (batch, m) tensor, optional
        Right-hand sides in place of a polytope's b: {y : A y <= right_i} for sample i.
    start : (batch, *shape) tensor, optional
        Where to begin in a box.
    batch : int, optional
        Number of problems where no tensor tells it.
    tolerance : float, default 1e-6
        A sample is finished when its gap is at most tolerance * max(1, |value|), or as small as rounding.
    max_iterations : int, default 2000
    assume_convex : bool, default False

    Returns
    -------
    BatchedMinimum
        The lower bounds hold up to the rounding of f's own evaluation in its dtype; the rounding of the
        method's sums is subtracted. On unbounded domains they need an f that is strongly convex by its
        ``quadratic`` term, and are -inf otherwise. Points in a polytope satisfy A y <= b up to rounding; rows
        that leave less than 1e-9 of room, relative to the points, count as equations.

    Raises
    ------
    ArgumentError
        If f is not known to be convex, an argument makes no sense, or the method does not fit the domain.
    DomainError
        If the domain is empty or of another size; if it is unbounded, and f neither smooth nor strongly
        convex.

    Examples
    --------
    >>> import jensen, torch
    >>> from jensen.minimize import minimize_batch
    >>> f = jensen.nn.ConvICNN((1, 8, 8), (4, 4), stride=2).double()
    >>> found = minimize_batch(f, jensen.Box(0.0, 1.0), tolerance=1e-3)
    >>> bool((found.gap <= 1e-3 * found.value.abs().clamp_min(1)).all())
    True
    """
    if method not in _METHODS:
        raise ArgumentError(f"method must be one of {_METHODS}, got {method!r:.80}")
    tolerance, max_iterations = as_tolerance(tolerance), as_count(max_iterations, "max_iterations")
    bounds = domain
    if isinstance(domain, Polytope):
        far = np.full(domain.A.shape[1], np.inf)
        bounds = Box(-far, far)
        batch = len(right) if batch is None and isinstance(right, Tensor) and right.ndim else batch
    elif right is not None:
        raise ArgumentError("right replaces the b of a polytope, and the domain is none")
    problem = torch_problem(f, bounds, x, linear=linear, like=start, batch=batch, assume_convex=assume_convex)
    if problem.batch == 0:
        return Record(problem.lo).result(problem.shape)
    smooth = isinstance(f, Architecture) and not f.activation.piecewise_linear
    chosen: str = method
    if method == "auto":
        boxes = not isinstance(domain, Polytope)
        if smooth:
            bounded = bool(torch.isfinite(problem.hi - problem.lo).all())
            if boxes:
                chosen = "lbfgs" if bounded or problem.size > _DENSE else "newton"
            else:
                chosen = "newton" if problem.size <= _DENSE_ROWS else "wide"
        else:
            chosen = "lbfgs" if boxes and can_relax(problem) and problem.size > _FEW else "bundle"
    modulus = f.strong_convexity if isinstance(f, Architecture) else 0.0
    dtype = problem.lo.dtype
    if chosen != "lbfgs" or problem.size <= _DENSE:  # many variables are worth their memory
        problem = problem.widened()
    with weights_at_rest(f):
        if isinstance(domain, Polytope):
            return _over_polytopes(problem, domain, right, chosen, tolerance, max_iterations, modulus).to(
                dtype
            )
        first = Nothing(problem.lo, problem.hi).middle()
        if start is not None:
            first = start.reshape(problem.batch, problem.size).to(problem.lo)
            first = torch.minimum(torch.maximum(first, problem.lo), problem.hi)
        if chosen == "newton":
            nothing = Nothing(problem.lo, problem.hi)
            found = minimise_by_newton(problem.frozen(), nothing, tolerance, max_iterations, first, modulus)
            return found.to(dtype)
        if chosen == "lbfgs":
            if can_relax(problem):
                _require_bounds(problem, modulus)
                return minimise_by_multipliers(
                    problem, tolerance, max_iterations, start=first, modulus=modulus
                ).to(dtype)
            return minimise_by_lbfgs(problem.frozen(), tolerance, max_iterations, first, modulus).to(dtype)
        problem, curvature = _less_curvature(problem)
        _require_bounds(problem, curvature)
        return minimise_by_proximal_bundle(
            problem.frozen(), tolerance, max_iterations, start=first, curvature=curvature
        ).to(dtype)


def _over_polytopes(
    problem: TorchProblem,
    domain: Polytope,
    right: Tensor | None,
    method: str,
    tolerance: float,
    max_iterations: int,
    modulus: float,
) -> BatchedMinimum:
    """Minimise over a polytope, the same for all samples or with right-hand sides of their own."""
    curvature = 0.0
    if method == "bundle":
        problem, curvature = _less_curvature(problem)
    kinks = method == "lbfgs" and can_relax(problem)
    ready = make_ready(problem if kinks else problem.frozen(), domain, right, curvature)
    if method == "wide":  # many variables: bundles are quick, and need a bounded polytope
        bounded = bool(torch.isfinite(ready.problem.hi - ready.problem.lo).all())
        method = "bundle" if bounded else "lbfgs"
    if ready.problem.size == 0:
        method = "bundle"  # a single point each: one evaluation
    if method == "newton":
        inner, inside = ready.rows.inner, ready.problem
        value, slope = inside.evaluate(inner)
        coarse = (coarseness(inside, inner, value, value - (slope * inner).sum(1)), inside.eps)
        found = minimise_by_interior_points(inside, ready.rows, tolerance, max_iterations, modulus, coarse)
    elif method == "lbfgs":
        if kinks:
            _require_bounds(ready.problem, modulus)
        found = minimise_by_multipliers(ready.problem, tolerance, max_iterations, ready.rows, modulus=modulus)
    else:
        _require_bounds(ready.problem, curvature)
        found = minimise_by_proximal_bundle(
            ready.problem, tolerance, max_iterations, ready.rows, curvature=curvature
        )
    y = ready.back(found.point.reshape(problem.batch, ready.problem.size))
    return replace(found, point=problem.shaped(y))


def _less_curvature(problem: TorchProblem) -> tuple[TorchProblem, float]:
    """Split off the quadratic term of a network that is piecewise affine without it."""
    f = problem.f
    if not isinstance(f, Architecture) or f.quadratic is None or not f.activation.piecewise_linear:
        return problem, 0.0
    return replace(problem, f=PiecewisePart(f)), f.strong_convexity


def _require_bounds(problem: TorchProblem, curvature: float) -> None:
    if curvature == 0 and not bool(torch.isfinite(problem.hi - problem.lo).all()):
        raise DomainError(
            "the bundle method needs a bounded domain: add bounds or rows, or take a network with "
            'quadratic > 0; a smooth network can do with method "newton" or "lbfgs"'
        )
