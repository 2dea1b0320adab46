"""`minimize_batch`: minimisers over boxes and polytopes, in batches, with valid lower bounds."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from scipy.optimize import linprog
from torch import Tensor

from jensen.errors import ArgumentError, DomainError
from jensen.minimize._arguments import as_tolerance
from jensen.minimize._lbfgs import minimise_by_lbfgs
from jensen.minimize._newton import minimise_by_newton
from jensen.minimize._proximal import minimise_by_proximal_bundle
from jensen.minimize._separable import Nothing
from jensen.minimize._torch_convex import Function
from jensen.minimize._torch_problem import Bounds, torch_problem, weights_at_rest
from jensen.minimize._torch_result import BatchedMinimum
from jensen.network import Box, FloatArray, Polytope
from jensen.network._numbers import as_count
from jensen.nn import Architecture

_METHODS = ("auto", "newton", "lbfgs", "bundle")
_DENSE = 64
"""Newton's method builds a Hessian for each sample; beyond as many variables L-BFGS takes less time."""


@torch.no_grad()
def minimize_batch(
    f: Function,
    domain: Bounds,
    x: Tensor | None = None,
    *,
    method: Literal["auto", "newton", "lbfgs", "bundle"] = "auto",
    linear: Tensor | None = None,
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
        A pair of tensors that broadcast to (batch, *shape) gives each sample a box of its own. A polytope
        must be bounded and have an interior; it is the same for all samples, and has no use for `start`.
    x : (batch, ...) tensor, optional
    method : {"auto", "newton", "lbfgs", "bundle"}
        "newton" and "lbfgs" are projected Newton and quasi-Newton methods for differentiable f over boxes,
        the one for tens of variables, the other for any number; "bundle" is a proximal bundle method that
        needs subgradients only and takes polytopes and networks with kinks. "auto" takes one of the first two
        where an architecture says that it is smooth.
    linear, start : (batch, *shape) tensors, optional
        Slopes that are added to f; where to begin.
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
        ``quadratic`` term, and are -inf otherwise. Points in a polytope satisfy A y <= b up to rounding.

    Raises
    ------
    ArgumentError
        If f is not known to be convex, an argument makes no sense, or the method does not fit the domain.
    DomainError
        If the domain is empty, of another size, or a polytope is unbounded or flat.

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
    bounds, middle = domain, None
    if isinstance(domain, Polytope):
        middle, bounds = _middle(domain), _bounding_box(domain)
    problem = torch_problem(f, bounds, x, linear=linear, like=start, batch=batch, assume_convex=assume_convex)
    smooth = isinstance(f, Architecture) and not f.activation.piecewise_linear
    if method == "auto":
        method = "bundle"
        if smooth and middle is None:
            method = "newton" if problem.size <= _DENSE else "lbfgs"
    nothing = Nothing(problem.lo, problem.hi)
    first = nothing.middle() if start is None else start.reshape(problem.batch, -1).to(problem.lo)
    first = torch.minimum(torch.maximum(first, problem.lo), problem.hi)
    with weights_at_rest(f):
        if method != "bundle":
            if middle is not None:
                raise ArgumentError(
                    f'method "{method}" takes boxes only: choose method "bundle" for a polytope'
                )
            modulus = f.strong_convexity if isinstance(f, Architecture) else 0.0
            if method == "newton":
                return minimise_by_newton(
                    problem.frozen(), nothing, tolerance, max_iterations, first, modulus
                )
            return minimise_by_lbfgs(problem.frozen(), tolerance, max_iterations, first, modulus)
        if not bool(torch.isfinite(problem.hi - problem.lo).all()):
            raise DomainError(
                "the bundle method needs a bounded domain: give finite bounds, or a smooth network and "
                'method "newton"'
            )
        rows = None
        if isinstance(domain, Polytope):
            rows = (torch.tensor(domain.A).to(problem.lo), torch.tensor(domain.b).to(problem.lo))
            first = torch.as_tensor(middle).to(problem.lo).expand_as(problem.lo)
        return minimise_by_proximal_bundle(problem.frozen(), tolerance, max_iterations, rows, first)


def _middle(domain: Polytope) -> FloatArray:
    """Find a point near the centre of the largest ball in a polytope, on no particular hyperplane."""
    n, lengths = domain.A.shape[1], np.linalg.norm(domain.A, axis=1)
    found = linprog(
        np.append(np.zeros(n), -1.0),
        A_ub=np.column_stack([domain.A, lengths]),
        b_ub=domain.b,
        bounds=[*[(None, None)] * n, (0, 1)],
        method="highs",
    )
    if found.status == 2 or found.x is None:
        raise DomainError("the polytope is empty")
    if not found.x[-1] > 1e-9:
        raise DomainError("the polytope has no interior: use its equations to eliminate variables")
    away = np.random.default_rng(0).uniform(-0.5, 0.5, n) * found.x[-1] / np.sqrt(n)
    inner: FloatArray = found.x[:n] + away
    return inner


def _bounding_box(domain: Polytope) -> Box:
    """Enclose a polytope in a box, a little larger than the linear programmes say."""
    n = domain.A.shape[1]
    ends: list[FloatArray] = []
    for sign in (1.0, -1.0):
        side = np.empty(n)
        for j in range(n):
            cost = np.zeros(n)
            cost[j] = sign
            found = linprog(cost, A_ub=domain.A, b_ub=domain.b, bounds=(None, None), method="highs")
            if found.status != 0 or found.x is None:
                raise DomainError(f"the polytope has no bound for variable {j}: add one, or give a box")
            side[j] = found.x[j]
        ends.append(side - sign * 1e-6 * (1 + np.abs(side)))
    return Box(ends[0], ends[1])
