"""min f + r for strongly convex r: which method serves which network, and the argmin with its gradients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

from jensen.errors import ArgumentError
from jensen.minimize.batched._interior import minimise_by_interior_points
from jensen.minimize.batched._newton import lower_bound, minimise_by_newton, newton_gain, polish
from jensen.minimize.bundle._bundle import minimise_by_bundle
from jensen.minimize.bundle._meeting import Meeting
from jensen.minimize.bundle._pieces import PieceRecord
from jensen.minimize.layer._accuracy import Accuracy, Judged, judge
from jensen.minimize.layer._held import Held, held_adjoint, held_by_rows
from jensen.minimize.layer._implicit import Adjoint, attach, on_pieces, piecewise_adjoint, smooth_adjoint
from jensen.minimize.polytopes._place import Place
from jensen.minimize.polytopes._rows import Rows
from jensen.minimize.tensors._convex import Function
from jensen.minimize.tensors._frozen import PiecewisePart
from jensen.minimize.tensors._problem import TorchProblem, weights_at_rest
from jensen.minimize.tensors._record import NOISY, Record, coarseness, noise_of
from jensen.minimize.tensors._result import BatchedMinimum
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
class _Found:
    """Minimisers in the coordinates of the methods, and what gives them gradients."""

    y: Tensor
    adjoint: Adjoint
    meeting: Meeting | None
    judged: Judged


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
    y, _, judged = _solved(problem, term, kinks, accuracy, x, linear, place)
    judged.warn()
    return y


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
    y, value, judged = _solved(problem, term, kinks, accuracy, x, linear, place)
    judged.warn()
    return y, value()


@torch.no_grad()
def minimum(
    problem: TorchProblem, term: Term, kinks: bool, accuracy: Accuracy, place: Place | None = None
) -> BatchedMinimum:
    """Do the same as `argmin` without gradients and warnings, and tell values and lower bounds."""
    y, _, judged = _solved(problem, term, kinks, accuracy, None, None, place)
    return replace(judged.minimum.to(y.dtype), point=problem.shaped(y))


def _solved(
    problem: TorchProblem,
    term: Term,
    kinks: bool,
    accuracy: Accuracy,
    x: Tensor | None,
    linear: Tensor | None,
    place: Place | None,
) -> tuple[Tensor, Callable[[], Tensor], Judged]:
    """Give the argmin, a function that computes f there, and how good it is."""
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
        return (
            (y if plane is None else plane.points(y)).to(dtype),
            lambda: _values(problem, x, still, None).to(dtype),
            _no_choice(problem, term, still),
        )
    if kinks:
        _require_unique(f, term)
    problem, nearer, beyond = _nearer(problem, rows, term)
    with torch.no_grad(), weights_at_rest(f):
        if kinks:
            found = _with_kinks(problem, nearer, accuracy, rows)
        elif place is not None and rows is not None:
            low, high = (side.to(problem.lo).expand_as(problem.lo) for side in place.around)
            found = _on_rows(replace(problem, lo=low, hi=high), nearer, accuracy, rows)
        else:
            found = _on_boxes(problem, nearer, accuracy)
    still, meeting = found.y, found.meeting
    tied = None if centre is None else term.weight * centre
    y = attach(still, problem, found.adjoint, parameters, x, linear, tied)
    return (
        (y if plane is None else plane.points(y)).to(dtype),
        lambda: _values(problem, x, still, meeting).to(dtype),
        found.judged.raised(beyond),
    )


def _nearer(problem: TorchProblem, rows: Rows | None, term: Term) -> tuple[TorchProblem, Term, Tensor]:
    """Move the quadratic term's centre into the domain; what makes up for it is affine.

    Far from the domain its values would drown those of f. With e = new - old centre,
    |y - old|^2 = |y - new|^2 + 2 <e, y> - 2 <e, new> + |e|^2.

    Returns
    -------
    TorchProblem, Term, and a (batch,) tensor : what the objective is beside the new one
    """
    if term.centre is None or term.kind != "quadratic":
        return problem, term, torch.zeros_like(problem.lo[:, 0])
    old = term.centre.detach()
    new = torch.minimum(torch.maximum(old, problem.lo), problem.hi)
    new = new if rows is None else rows.pulled_inside(new)
    moved = term.weight * (new - old)
    linear = moved if problem.linear is None else problem.linear + moved
    constant = (moved * ((new - old) / 2 - new)).sum(1)
    return replace(problem, linear=linear), replace(term, centre=new), constant


def _no_choice(problem: TorchProblem, term: Term, y: Tensor) -> Judged:
    """Give values where there is a single point, or no problem at all."""
    record, everyone = Record(y), torch.arange(problem.batch, device=y.device)
    if problem.batch:
        value = problem.values(y).detach()
        if term.kind == "quadratic":
            full = y if problem.plane is None else problem.plane.points(y)
            value = value + term.weight / 2 * full.square().sum(1)
        record.meet(everyone, y, value, 1)
        record.rise(everyone, value)
        record.close(everyone)
    return Judged(record.result((problem.size,)), ~record.converged, record.value - record.lower)


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


def _with_kinks(problem: TorchProblem, term: Term, accuracy: Accuracy, rows: Rows | None = None) -> _Found:
    """Solve by a bundle, and by Newton's method for the weights of what meets at the minimisers."""
    problem, separable = _piecewise(problem, term)
    pieces, frozen = PieceRecord(separable.middle(), rows), problem.frozen()
    found = minimise_by_bundle(
        frozen, separable, accuracy.tolerance, accuracy.max_iterations, pieces=pieces, rows=rows
    )
    meeting = pieces.meeting(separable, problem.eps).polished(separable)
    y, low = meeting.minimiser(separable)[0], meeting.bound(separable)
    # Newton's method may stray where the bundle was not done; its own best point obeys the rows.
    best = found.point.reshape(problem.batch, problem.size)
    if rows is not None:
        G, h = rows.with_bounds()
        wide = 1 + y.abs().amax(1) + separable.middle().abs().amax(1)
        outside = (y @ G.mT - h).amax(1) > 64 * torch.finfo(y.dtype).eps * wide
        y = torch.where(outside[:, None], best, y)
    value, slope = frozen.evaluate(y)
    total, offset = value + separable.value(y), value - (slope * y).sum(1)
    worse = total > found.value + NOISY * noise_of(problem, y, value, offset, total)
    y, total = torch.where(worse[:, None], best, y), torch.where(worse, found.value, total)
    parts = (value, offset, total)
    judged = judge(problem, y, parts, torch.fmax(low, found.lower_bound), None, accuracy, found.iterations)
    return _Found(y, piecewise_adjoint(problem, separable, y, meeting), meeting, judged)


def _on_boxes(problem: TorchProblem, term: Term, accuracy: Accuracy) -> _Found:
    """Minimise a smooth f on boxes by Newton's method."""
    f, inner = problem.f, term.kind == "entropy"
    separable = _separable(problem, term, term.weight if term.kind is not None else 0.0)
    modulus = f.strong_convexity if isinstance(f, Architecture) else 0.0
    frozen = problem.frozen()
    found = minimise_by_newton(
        frozen, separable, accuracy.tolerance, accuracy.max_iterations, modulus=modulus
    )
    best = found.point.reshape(problem.batch, problem.size)
    y = polish(problem, separable, best)
    value, slope = frozen.evaluate(y)
    total, offset = value + separable.value(y), value - (slope * y).sum(1)
    worse = total > found.value + NOISY * noise_of(problem, y, value, offset, total)
    y, total = torch.where(worse[:, None], best, y), torch.where(worse, found.value, total)
    low = torch.fmax(
        lower_bound(frozen, separable, y, value, slope, modulus).where(~worse, -torch.inf), found.lower_bound
    )
    expected = newton_gain(frozen, separable, y, inner) if bool(torch.isinf(low).any()) else None
    judged = judge(problem, y, (value, offset, total), low, expected, accuracy, found.iterations)
    return _Found(y, smooth_adjoint(problem, separable, y, inner), None, judged)


def _on_rows(problem: TorchProblem, term: Term, accuracy: Accuracy, rows: Rows) -> _Found:
    """Minimise a smooth f on polytopes by interior points, and by Newton's method in the rows that hold.

    The problem's box encloses the polytopes; it serves bounds alone.
    """
    f, own = problem.f, term.weight if term.kind is not None else 0.0
    separable = _separable(problem, term, own)
    modulus = own + (f.strong_convexity if isinstance(f, Architecture) else 0.0)
    frozen = problem.frozen()
    joined = _joined(frozen, separable)
    value, slope = frozen.evaluate(rows.inner)
    coarse = (coarseness(frozen, rows.inner, value, value - (slope * rows.inner).sum(1)), frozen.eps)
    found = minimise_by_interior_points(
        joined, rows, accuracy.tolerance, accuracy.max_iterations, modulus, coarse
    )
    held = held_by_rows(problem, separable, rows, found.point)
    best = found.point.reshape(problem.batch, problem.size)
    total, slope = joined.evaluate(held.y)
    value = frozen.evaluate(held.y)[0]
    offset = total - (slope * held.y).sum(1)
    worse = total > found.value + NOISY * noise_of(problem, held.y, value, offset, total)
    if bool(worse.any()):
        held = replace(held, y=torch.where(worse[:, None], best, held.y))
        total, slope = joined.evaluate(held.y)
    low, expected = _held_bound(joined, held, total, slope, modulus)
    low = torch.fmax(low, found.lower_bound)
    judged = judge(problem, held.y, (value, offset, total), low, expected, accuracy, found.iterations)
    return _Found(held.y, held_adjoint(problem, separable, held), None, judged)


def _held_bound(
    joined: TorchProblem, held: Held, value: Tensor, slope: Tensor, modulus: float
) -> tuple[Tensor, Tensor | None]:
    """Bound the minimum by multipliers of the rows; and tell what Newton's method expects to gain."""
    left, y = slope + held.price @ held.B, held.y
    paid = (held.price * (y @ held.B.mT - held.right)).sum(1)
    lagrangian = replace(joined, linear=held.price @ held.B)
    low = paid + lower_bound(joined, Nothing(joined.lo, joined.hi), y, value, left, modulus)
    if not bool(torch.isinf(low).any()):
        return low, None
    free = torch.full_like(y, torch.inf)
    everywhere = replace(lagrangian, lo=-free, hi=free)
    return low, newton_gain(everywhere, Nothing(-free, free), y, False) - paid


def _joined(problem: TorchProblem, separable: Separable) -> TorchProblem:
    """Give problems whose f is f + r."""

    def total(index: Tensor, y: Tensor) -> Tensor:
        return problem.take(index).values(y) + separable.take(index).value(y)

    index = torch.arange(problem.batch, device=problem.lo.device)
    return replace(problem, f=total, x=index, linear=None, shape=(problem.size,), dtype=None, plane=None)


def _require_unique(f: Function, term: Term) -> None:
    """Refuse piecewise affine functions whose argmin has no gradient."""
    own = f.strong_convexity if isinstance(f, Architecture) else 0.0
    if own == 0.0 and term.kind is None:
        raise ArgumentError(
            "the argmin of a piecewise affine function may be a whole face and jumps with its weights: add a "
            'regulariser, "entropy" or "quadratic", or a network with quadratic > 0'
        )
    if own > 0 and term.kind == "entropy":
        raise ArgumentError(
            "a piecewise linear network with a quadratic term and an entropy have no gradient in closed "
            'form: choose regulariser "quadratic" or None, or a smooth activation'
        )


def _piecewise(problem: TorchProblem, term: Term) -> tuple[TorchProblem, Separable]:
    """Move a quadratic term that f brings along from f to r."""
    f = problem.f
    own = f.strong_convexity if isinstance(f, Architecture) else 0.0
    if own > 0 and isinstance(f, Architecture):
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
