"""Environments, how long they are run, and the returns that the paper reports."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Environment:
    """One task.

    Attributes
    ----------
    name : str
        Without its version, which is v5.
    steps, interval : int
        Of the full budget, and between its evaluations.
    published : float or None
        What Amos, Xu and Kolter, "Input Convex Neural Networks" (ICML 2017), report for theirs, on version
        v1 of the environment; None where we do not know it.
    """

    name: str
    steps: int
    interval: int
    published: float | None = None


ENVIRONMENTS = {
    environment.name: environment
    for environment in (
        Environment("InvertedPendulum", 5_000, 1_000, 1000.0),
        Environment("InvertedDoublePendulum", 5_000, 1_000),
        Environment("Reacher", 5_000, 1_000, -5.08),
        Environment("HalfCheetah", 5_000, 1_000, 3823.0),
        Environment("Swimmer", 4_000, 1_000),
    )
}
