"""How far a check has come, as told to a callback while it runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import TypeAlias


@dataclass(frozen=True)
class Progress:
    """A snapshot of a running check.

    Attributes
    ----------
    stage : str
    settled, total : int
        Neurons proved, and neurons in all.
    worst : float
        Smallest jump seen so far; +inf if none was looked at.
    elapsed : float
        Seconds since the check began.
    """

    stage: str
    settled: int
    total: int
    worst: float
    elapsed: float


Callback: TypeAlias = Callable[[Progress], None]


class Clock:
    """The check's time: when it began, when it must end."""

    def __init__(self, time_limit: float | None) -> None:
        self.began = perf_counter()
        self.deadline = float("inf") if time_limit is None else self.began + time_limit

    @property
    def elapsed(self) -> float:
        """Seconds since the check began."""
        return perf_counter() - self.began

    @property
    def left(self) -> float:
        """Seconds until the deadline, at least 0."""
        return max(self.deadline - perf_counter(), 0.0)

    @property
    def over(self) -> bool:
        """Whether the deadline has passed."""
        return perf_counter() >= self.deadline
