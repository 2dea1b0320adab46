"""Transitions that a learner has seen, in tensors."""

from __future__ import annotations

import torch
from torch import Tensor


class Replay:
    """A memory of transitions, none of which is forgotten.

    Each holds the state, the action in [-1, 1], the reward, the next state, and whether the episode ended
    there for good, not by its time limit.

    Parameters
    ----------
    capacity, states, actions : int
        Number of transitions, and of entries of a state and of an action.
    """

    def __init__(self, capacity: int, states: int, actions: int) -> None:
        self.size = 0
        self._data = {
            "state": torch.empty(capacity, states),
            "action": torch.empty(capacity, actions),
            "reward": torch.empty(capacity),
            "next": torch.empty(capacity, states),
            "final": torch.empty(capacity),
        }

    def __getitem__(self, name: str) -> Tensor:
        """Give one column of all transitions so far; a view."""
        return self._data[name][: self.size]

    def add(self, state: Tensor, action: Tensor, reward: float, after: Tensor, final: bool) -> None:
        """Take note of a transition."""
        row: dict[str, Tensor | float] = {
            "state": state,
            "action": action,
            "reward": reward,
            "next": after,
            "final": float(final),
        }
        for name, value in row.items():
            self._data[name][self.size] = value
        self.size += 1

    def state(self) -> dict[str, Tensor]:
        """Give what has been seen."""
        return {name: self[name].clone() for name in self._data}

    def load(self, state: dict[str, Tensor]) -> None:
        """Go on from there."""
        self.size = len(state["reward"])
        for name, column in state.items():
            self._data[name][: self.size] = column
