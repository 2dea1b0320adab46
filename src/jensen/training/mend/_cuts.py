"""Fit the output's weights, cut by cut, until a check has a certificate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Generic, TypeVar

from jensen.certify import Verdict
from jensen.network import ReLUNetwork
from jensen.training._attack import Attack, from_witness
from jensen.training.mend._refit import Refit

T = TypeVar("T")

ROUNDS = 200
"""Rounds of cuts and refits per candidate."""


@dataclass(frozen=True, eq=False)
class Candidate(Generic[T]):
    """A model with a certificate, how it came about, and its error."""

    model: T
    verdict: Verdict
    how: str
    error: float
    cuts: int


@dataclass(frozen=True, eq=False)
class Trial(Generic[T]):
    """A fitted network that may become a candidate.

    Attributes
    ----------
    network : ReLUNetwork
    error : float
    check : callable
        Makes the model, and checks it, for so many seconds.
    """

    network: ReLUNetwork
    error: float
    check: Callable[[float], tuple[T, Verdict]]


def fit_under_cuts(
    how: str,
    refit: Refit,
    trial: Callable[[ReLUNetwork], Trial[T]],
    attack: Attack | None,
    worst: float,
    deadline: float,
) -> Candidate[T] | None:
    """Cut off what violates convexity, and fit again, until there is a certificate.

    Parameters
    ----------
    how : str
        Name of the candidate.
    refit : Refit
    trial : callable
        Makes a trial of a fitted network.
    attack : Attack or None
        Finds cuts more cheaply than a check; None where all cuts are known.
    worst : float
        Error at which the candidate is of no use.
    deadline : float
        On the clock of `perf_counter`.

    Raises
    ------
    KeyboardInterrupt
        After Ctrl-C, during a check as well.
    """
    for _ in range(ROUNDS):
        fitted = refit.solve()
        if fitted is None or perf_counter() > deadline:
            return None
        tried = trial(fitted)
        if tried.error >= worst:  # more cuts only make it worse
            return None
        before = refit.cuts
        if attack is not None:
            refit.cut(attack(tried.network, starts=4))
            if refit.cuts > before:
                continue
        model, verdict = tried.check(max((deadline - perf_counter()) / 2, 1.0))
        if verdict.kind == "convex":
            return Candidate(model, verdict, how, tried.error, refit.cuts)
        if verdict.reason == "interrupted":
            raise KeyboardInterrupt
        if verdict.witness is None:
            return None
        refit.cut(from_witness(tried.network, verdict.witness))
        refit.cut_witness(verdict.witness)
        if refit.cuts == before:
            return None
    return None
