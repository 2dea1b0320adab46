"""min f + r for strongly convex r: which method serves which network, and the argmin with its gradients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

from jensen.errors import ArgumentError
from jensen.minimize.batched._interior import minimise_by_interior_points
from jensen.minimize.batched._newton import minimise_by_newton, polish
from jensen.minimize.bundle._bundle import minimise_by_bundle
from jensen.minimize.bundle._meeting import Meeting
from jensen.minimize.bundle._pieces import PieceRecord
from jensen.minimize.layer._held import held_adjoint, held_by_rows
from jensen.minimize.layer._implicit import Adjoint, attach, on_pieces, piecewise_adjoint, smooth_adjoint
from jensen.minimize.polytopes._place import Place
from jensen.minimize.polytopes._rows import Rows
from jensen.minimize.tensors._convex import Function
from jensen.minimize.tensors._frozen import PiecewisePart
from jensen.minimize.tensors._problem import TorchProblem, weights_at_rest
from jensen.minimize.tensors._separable import Entropy, Nothing, Proximity, Separable
from jensen.nn import Architecture

Regulariser: TypeAlias = Literal["entropy", "quadratic"]
REGULARISERS = ("entropy", "quadratic")


@dataclass(frozen=True)
class Term:
    """What is added to f: -weight * H, or (weight / 2) |y - centre|^2, or nothing.

    Attributes
    ----------
    kind : {"entropy", "quadratic"} or None
    weight : float
    centre : (batch, n) tensor, optional
        0 where there is none.
    """

    kind: Regulariser | None
    weight: float
    centre: Tensor | None = None


@dataclass(frozen=True)
class Accuracy:
    """When to stop: the gap relative to max(1, |value|), and the number of steps."""

    tolerance: float
    max_iterations: int


def has_kinks(f: Function, smooth: bool | None) -> bool:
    """Whether f is piecewise affine in y but for its own quadratic term.

    Raises
    ------
    ArgumentError
        If f is no architecture and the caller does not say so.
    """
    if smooth is not None:
        return not smooth
    if isinstance(f, Architecture):
        return f.activation.piecewise_linear
    raise ArgumentError(
        f"whether a {type(f).__name__} is smooth is not known: pass smooth=True if it is twice "
        "differentiable in y, smooth=False if it is piecewise affine"
    )


def argmin(
    problem: TorchProblem,
    term: Term,
    kinks: bool,
    accuracy: Accuracy,
    x: Tensor | None = None,
    linear: Tensor | None = None,
    place: Place | None = None,
) -> Tensor:
    """Argmin of f + linear + r, flat, with its gradient in x, linear, the term's centre and f's parameters.

    Parameters
    ----------
    problem : TorchProblem
        With detached x and linear.
    term : Term
    kinks : bool
        As told by `has_kinks`.
    accuracy : Accuracy
    x, linear : tensors, optional
        The same as the problem's, not detached; linear is (batch, n).
    place : Place, optional
        A polytope in place of the problem's box.

    Returns
    -------
    (batch, n) tensor

    Raises
    ------
    ArgumentError
        If the argmin is not unique or not differentiable for want of a strongly convex term.
    DomainError
        If an entropy meets an unbounded box.
    """
    return _solved(problem, term, kinks, accuracy, x, linear, place)[0]


def argmin_and_value(
    problem: TorchProblem,
    term: Term,
    kinks: bool,
    accuracy: Accuracy,
    x: Tensor | None = None,
    linear: Tensor | None = None,
    place: Place | None = None,
) -> tuple[Tensor, Tensor]:
    """Do the same as `argmin`, and give f there, (batch,).

    The gradient of the values in x and f's parameters is that of the minimum of f + linear + r; minimisers
    do not pass any on to them.
    """
    y, value = _solved(problem, term, kinks, accuracy, x, linear, place)
    return y, value()


def _solved(
    problem: TorchProblem,
    term: Term,
    kinks: bool,
    accuracy: Accuracy,
    x: Tensor | None,
    linear: Tensor | None,
    place: Place | None,
) -> tuple[Tensor, Callable[[], Tensor]]:
    """Give the argmin, and a function that computes f there."""
    dtype, problem = problem.lo.dtype, problem.widened()
    linear = None if linear is None else linear.to(problem.lo)
    centre = None if term.centre is None else term.centre.to(problem.lo)
    rows, plane = None, None
    if place is not None:
        problem, rows = place.enter(problem)
        plane = problem.plane
    if plane is not None:
        linear = None if linear is None else plane.slopes(linear)
        centre = None if centre is None else plane.coordinates(centre)
    term = replace(term, centre=centre)
    f = problem.f
    parameters = list(f.parameters()) if isinstance(f, nn.Module) else []
    if problem.batch == 0 or problem.size == 0:  # nothing to choose: gradients are 0
        given = [t for t in (x, linear, centre, *parameters) if t is not None and t.requires_grad]
        y = sum((0 * t.sum() for t in given), torch.zeros_like(problem.lo))
        still = y.detach()
        return (y if plane is None else plane.points(y)).to(dtype), lambda: _values(
            problem, x, still, None
        ).to(dtype)
    with torch.no_grad(), weights_at_rest(f):
        y, adjoint, meeting = (_with_kinks if kinks else _smooth)(problem, rows, term, accuracy)
    still = y
    tied = None if centre is None else term.weight * centre
    y = attach(y, problem, adjoint, parameters, x, linear, tied)
    return (y if plane is None else plane.points(y)).to(dtype), lambda: _values(
        problem, x, still, meeting
    ).to(dtype)


def _values(problem: TorchProblem, x: Tensor | None, y: Tensor, meeting: Meeting | None) -> Tensor:
    f = problem.f
    with weights_at_rest(f):
        if meeting is None:
            return replace(problem, x=x, linear=None).values(y)
        if not isinstance(f, Architecture) or f.strong_convexity == 0.0:
            return on_pieces(problem, x, y, meeting)
        full = y if problem.plane is None else problem.plane.points(y)
        own = full.square().sum(1) * (f.strong_convexity / 2)
        return on_pieces(replace(problem, f=PiecewisePart(f)), x, y, meeting) + own


def _with_kinks(
    problem: TorchProblem, rows: Rows | None, term: Term, accuracy: Accuracy
) -> tuple[Tensor, Adjoint, Meeting | None]:
    problem, separable = _piecewise(problem, term)
    pieces = PieceRecord(separable.middle(), rows)
    minimise_by_bundle(
        problem.frozen(), separable, accuracy.tolerance, accuracy.max_iterations, pieces=pieces, rows=rows
    )
    meeting = pieces.meeting(separable, problem.eps).polished(separable)
    y, _ = meeting.minimiser(separable)
    return y, piecewise_adjoint(problem, separable, y, meeting), meeting


def _smooth(
    problem: TorchProblem, rows: Rows | None, term: Term, accuracy: Accuracy
) -> tuple[Tensor, Adjoint, Meeting | None]:
    f = problem.f
    separable = _separable(problem, term, term.weight if term.kind is not None else 0.0)
    modulus = f.strong_convexity if isinstance(f, Architecture) else 0.0
    frozen, tolerance, steps = problem.frozen(), accuracy.tolerance, accuracy.max_iterations
    if rows is not None:
        both = modulus + (term.weight if term.kind is not None else 0.0)
        joined = replace(_joined(frozen, separable), lo=rows.lo, hi=rows.hi)
        found = minimise_by_interior_points(joined, rows, tolerance, steps, both)
        held = held_by_rows(problem, separable, rows, found.point)
        return held.y, held_adjoint(problem, separable, held), None
    found = minimise_by_newton(frozen, separable, tolerance, steps, modulus=modulus)
    y = polish(problem, separable, found.point.reshape(problem.batch, problem.size))
    return y, smooth_adjoint(problem, separable, y, inner=term.kind == "entropy"), None


def _joined(problem: TorchProblem, separable: Separable) -> TorchProblem:
    """Give problems whose f is f + r."""

    def total(index: Tensor, y: Tensor) -> Tensor:
        return problem.take(index).values(y) + separable.take(index).value(y)

    index = torch.arange(problem.batch, device=problem.lo.device)
    return replace(problem, f=total, x=index, linear=None, shape=(problem.size,), dtype=None, plane=None)


def _piecewise(problem: TorchProblem, term: Term) -> tuple[TorchProblem, Separable]:
    """Move a quadratic term that f brings along from f to r."""
    f = problem.f
    own = f.strong_convexity if isinstance(f, Architecture) else 0.0
    if own == 0.0 and term.kind is None:
        raise ArgumentError(
            "the argmin of a piecewise affine function may be a whole face and jumps with its weights: add a "
            'regulariser, "entropy" or "quadratic", or a network with quadratic > 0'
        )
    if own > 0 and isinstance(f, Architecture):
        if term.kind == "entropy":
            raise ArgumentError(
                "a piecewise linear network with a quadratic term and an entropy have no gradient in closed "
                'form: choose regulariser "quadratic" or None, or a smooth activation'
            )
        problem = replace(problem, f=PiecewisePart(f))
    return problem, _separable(problem, term, own + (term.weight if term.kind is not None else 0.0))


def _separable(problem: TorchProblem, term: Term, modulus: float) -> Separable:
    """Make the term that the methods see; `modulus` is that of a quadratic one and of f's own."""
    if term.kind == "entropy":
        return Entropy.of(problem, term.weight)
    if term.kind is None and modulus == 0.0:
        return Nothing(problem.lo, problem.hi)
    centre = torch.zeros_like(problem.lo) if term.centre is None else term.centre.detach()
    share = term.weight / modulus if term.kind else 0.0
    return Proximity(problem.lo, problem.hi, centre * share, torch.full_like(problem.lo[:, :1], modulus))
