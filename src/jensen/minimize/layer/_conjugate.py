"""Conjugates, proximal maps and gradient maps of convex networks: batched, differentiable functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from jensen.errors import ArgumentError
from jensen.minimize._arguments import as_tolerance
from jensen.minimize.layer._accuracy import Accuracy
from jensen.minimize.layer._regularised import Term, argmin, argmin_and_value, has_kinks
from jensen.minimize.polytopes._place import as_place
from jensen.minimize.tensors._convex import Function, require_convex
from jensen.minimize.tensors._problem import Bounds, TorchProblem, require_batch, torch_problem
from jensen.network import WholeSpace
from jensen.network._numbers import as_count, as_positive
from jensen.nn import Architecture

Map: TypeAlias = Callable[..., Tensor]


def prox(
    f: Function,
    step: float = 1.0,
    *,
    domain: Bounds | None = None,
    tolerance: float = 1e-12,
    max_iterations: int = 200,
    smooth: bool | None = None,
    assume_convex: bool = False,
) -> Map:
    """Make the proximal map of a convex function: argmin over y of f(y) + |y - point|^2 / (2 step).

    Parameters
    ----------
    f : module or function
        f(y), or f(x, y); convex in y. Where it is piecewise affine the bundle method solves the problems and
        where it is smooth the projected Newton method.
    step : float, default 1.0
    domain : Box, Polytope, WholeSpace or pair (lo, hi), optional
        Minimise over it instead of the whole space.
    tolerance : float, default 1e-12
        The gap, relative to max(1, |value|), at which a sample is finished; rounding ends it as well.
    max_iterations : int, default 200
    smooth : bool, optional
        Whether f is twice differentiable in y, or piecewise affine. Architectures know.
    assume_convex : bool, default False

    Returns
    -------
    callable
        ``prox_f(point, x=None)`` maps (batch, *shape) points to tensors of the same shape, differentiable in
        the points, in x and in f's parameters. At f(x, y) every sample has its own x.

    Warns
    -----
    jensen.errors.ConvergenceWarning
        When the map is called, if some samples missed the tolerance and rounding is not the reason.

    Raises
    ------
    ArgumentError
        If step is not positive; when the map is called, if f is not known to be convex.
    DomainError
        If the domain is empty; when the map is called, if it is of another size.

    Examples
    --------
    >>> import jensen, torch
    >>> from jensen.minimize import prox
    >>> denoise = prox(jensen.nn.FICNN(4, (8, 8)), step=0.1)
    >>> denoise(torch.randn(3, 4)).shape
    torch.Size([3, 4])
    """
    step = as_positive(step, "step")
    accuracy = Accuracy(as_tolerance(tolerance), as_count(max_iterations, "max_iterations"))
    bounds, place = as_place(WholeSpace() if domain is None else domain)

    def proximal(point: Tensor, x: Tensor | None = None) -> Tensor:
        require_batch(point, "the points")
        problem = _problem(f, bounds, x, point, assume_convex)
        term = Term("quadratic", 1.0 / step, point.reshape(problem.batch, problem.size).to(problem.lo))
        return problem.shaped(argmin(problem, term, has_kinks(f, smooth), accuracy, x, place=place))

    return proximal


def conjugate(
    f: Function,
    *,
    domain: Bounds | None = None,
    tolerance: float = 1e-12,
    max_iterations: int = 200,
    smooth: bool | None = None,
    assume_convex: bool = False,
) -> Map:
    """Make the convex conjugate: f*(slope) = max over y of <slope, y> - f(y).

    Parameters
    ----------
    f : module or function
        f(y), or f(x, y); convex in y, and strongly convex (``quadratic`` > 0) or smooth with a maximiser for
        every slope that it is asked for.
    domain : Box, Polytope, WholeSpace or pair (lo, hi), optional
        Maximise over it instead of the whole space.
    tolerance, max_iterations, smooth, assume_convex
        As for `prox`.

    Returns
    -------
    callable
        ``f_star(slope, x=None)`` maps (batch, *shape) slopes to (batch,) values. Its gradient in the slope is
        the maximiser (Danskin), its gradient in x and f's parameters that of -f there. The gradient in the
        slope can be differentiated again: it is an argmin with gradients of its own.

    Warns
    -----
    jensen.errors.ConvergenceWarning
        When it is called, if some samples missed the tolerance and rounding is not the reason: a slope that
        has no maximiser is among them.

    Raises
    ------
    ArgumentError
        When it is called, if f is not known to be convex, or is piecewise affine without a quadratic term:
        its maximisers jump; minimise f - <slope, y> over a box instead.

    Examples
    --------
    >>> import jensen, torch
    >>> from jensen.minimize import conjugate
    >>> f_star = conjugate(jensen.nn.FICNN(4, (8, 8), quadratic=1.0))
    >>> f_star(torch.randn(3, 4)).shape
    torch.Size([3])
    """
    accuracy = Accuracy(as_tolerance(tolerance), as_count(max_iterations, "max_iterations"))
    bounds, place = as_place(WholeSpace() if domain is None else domain)

    def value(slope: Tensor, x: Tensor | None = None) -> Tensor:
        require_batch(slope, "the slopes")
        problem = _problem(f, bounds, x, slope, assume_convex, linear=-slope)
        flat = slope.reshape(problem.batch, problem.size)
        y, below = argmin_and_value(problem, Term(None, 1.0), has_kinks(f, smooth), accuracy, x, -flat, place)
        apply: Callable[..., Tensor] = _Danskin.apply
        return apply(flat, y, (flat * y).detach().sum(1) - below)

    return value


def gradient_map(f: Function, *, assume_convex: bool = False) -> Map:
    """Make the map y -> gradient of f(x, y) in y, the gradient of a convex function (a transport map).

    Parameters
    ----------
    f : module or function
        f(y), or f(x, y); convex in y.
    assume_convex : bool, default False

    Returns
    -------
    callable
        ``gradient(y, x=None)`` maps (batch, *shape) points to tensors of the same shape, differentiable in y,
        x and f's parameters. At kinks it is one of the subgradients.

    Raises
    ------
    ArgumentError
        When it is called, if f is not known to be convex, or y is no tensor of f's dtype.
    """

    def gradient(y: Tensor, x: Tensor | None = None) -> Tensor:
        require_convex(f, 1 if x is None else 2, assume_convex)
        require_batch(y, "y")
        _require_dtype(f, y)
        recorded = torch.is_grad_enabled()
        with torch.enable_grad():
            point = y if y.requires_grad else y.detach().requires_grad_(True)
            value = f(point) if x is None else f(x, point)
            (slope,) = torch.autograd.grad(value.sum(), point, create_graph=recorded, materialize_grads=True)
        return slope

    return gradient


def _require_dtype(f: Function, y: Tensor) -> None:
    """Refuse points that have no gradients, or that f cannot take."""
    first = next(f.parameters(), None) if isinstance(f, nn.Module) else None
    wanted = torch.get_default_dtype() if first is None else first.dtype
    if not y.is_floating_point() or (isinstance(f, Architecture) and y.dtype != wanted):
        raise ArgumentError(f"y holds {y.dtype}: pass y.to({wanted})")


class _Danskin(torch.autograd.Function):
    """The value of a maximum, whose gradient in the slope is the maximiser y; y carries its own gradients."""

    @staticmethod
    def forward(ctx: Any, slope: Tensor, y: Tensor, value: Tensor) -> Tensor:
        ctx.save_for_backward(y)
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        (y,) = ctx.saved_tensors
        return cotangents[0][:, None] * y, None, cotangents[0]


def _problem(
    f: Function,
    domain: Bounds,
    x: Tensor | None,
    like: Tensor,
    assume_convex: bool,
    linear: Tensor | None = None,
) -> TorchProblem:
    return torch_problem(
        f,
        domain,
        x,
        linear=linear,
        like=like.detach(),
        assume_convex=assume_convex,
    )
