"""What a repair is asked to do, and what it tells on the way."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter

from jensen.network import Domain, FloatArray


class Problem:
    """A repair under way.

    Parameters
    ----------
    domain : Domain or None
    x, y : (n, d) and (n,) arrays
        What is to be fitted.
    limit : float
        Seconds, counted from `begin`.
    begin : float
        On the clock of `perf_counter`.
    seed : int
    progress : callable or None
        Called with the name and the error of every candidate.

    Attributes
    ----------
    tried : list of (how, error) pairs
    """

    def __init__(
        self,
        domain: Domain | None,
        x: FloatArray,
        y: FloatArray,
        limit: float,
        begin: float,
        seed: int,
        progress: Callable[[str, float], None] | None,
    ) -> None:
        self.domain, self.x, self.y = domain, x, y
        self.limit, self.deadline, self.seed = limit, begin + limit, seed
        self.tried: list[tuple[str, float]] = []
        self._progress = progress

    @property
    def left(self) -> float:
        """Seconds left."""
        return self.deadline - perf_counter()

    def tell(self, how: str, error: float) -> None:
        """Note a candidate."""
        self.tried.append((how, error))
        if self._progress is not None:
            self._progress(how, error)
