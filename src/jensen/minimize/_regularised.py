"""min f + r for strongly convex r: which method serves which network, and the argmin with its gradients."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

from jensen.errors import ArgumentError
from jensen.minimize._bundle import minimise_by_bundle
from jensen.minimize._frozen import PiecewisePart
from jensen.minimize._implicit import attach, piecewise_adjoint, smooth_adjoint
from jensen.minimize._newton import minimise_by_newton, polish
from jensen.minimize._pieces import PieceRecord
from jensen.minimize._separable import Entropy, Nothing, Proximity, Separable
from jensen.minimize._torch_convex import Function
from jensen.minimize._torch_problem import TorchProblem, weights_at_rest
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


def argmin(problem: TorchProblem, term: Term, kinks: bool, accuracy: Accuracy, x: Tensor | None = None,
           linear: Tensor | None = None) -> Tensor:  # fmt: skip
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

    Raises
    ------
    ArgumentError
        If the argmin is not unique or not differentiable for want of a strongly convex term.
    DomainError
        If an entropy meets an unbounded box.
    """
    f = problem.f
    with torch.no_grad(), weights_at_rest(f):
        if kinks:
            problem, separable = _piecewise(problem, term)
            pieces = PieceRecord(separable.middle())
            minimise_by_bundle(
                problem.frozen(), separable, accuracy.tolerance, accuracy.max_iterations, pieces=pieces
            )
            y = pieces.polish(separable)
            adjoint = piecewise_adjoint(problem, separable, y, pieces)
        else:
            separable = _separable(problem, term, term.weight if term.kind is not None else 0.0)
            modulus = f.strong_convexity if isinstance(f, Architecture) else 0.0
            found = minimise_by_newton(
                problem.frozen(),
                separable,
                accuracy.tolerance,
                accuracy.max_iterations,
                modulus=modulus,
            )
            y = polish(problem, separable, found.point.reshape(problem.batch, -1))
            adjoint = smooth_adjoint(problem, separable, y, inner=term.kind == "entropy")
    parameters = list(f.parameters()) if isinstance(f, nn.Module) else []
    centre = None if term.centre is None else term.weight * term.centre
    return attach(y, problem, adjoint, parameters, x, linear, centre)


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
