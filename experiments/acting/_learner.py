"""What a method must be able to do, so that all are run, evaluated and kept in the same way."""

from __future__ import annotations

from typing import Any, Protocol

from experiments.acting._worlds import Floats


class Learner(Protocol):
    """A method on one environment."""

    def advance(self, steps: int, seed: int) -> None:
        """Take steps in new episodes of the environment and learn, reproducibly from the seed."""

    def act(self, states: Floats) -> Floats:
        """Choose actions in [-1, 1] without exploration."""

    def state(self) -> dict[str, Any]:
        """Give all that further learning depends on: tensors, numbers, and containers of them."""

    def load(self, state: dict[str, Any]) -> None:
        """Go on from there."""
