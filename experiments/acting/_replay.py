"""Transitions that a learner has seen, in tensors, and how they are made from steps."""

from __future__ import annotations

import torch
from torch import Tensor


class Replay:
    """A memory of transitions, none of which is forgotten.

    Each holds the state, the action in [-1, 1], the reward, what was gained in the next steps (the sum of
    discounted rewards), the state after these, and how much its value counts: not at all where the episode
    ended for good, rather than by its time limit.

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
            "gain": torch.empty(capacity),
            "next": torch.empty(capacity, states),
            "discount": torch.empty(capacity),
        }

    def __getitem__(self, name: str) -> Tensor:
        """Give one column of all transitions so far; a view."""
        return self._data[name][: self.size]

    def add(self, **row: Tensor | float) -> None:
        """Take note of a transition."""
        for name, column in self._data.items():
            column[self.size] = row[name]
        self.size += 1

    def state(self) -> dict[str, Tensor]:
        """Give what has been seen."""
        return {name: self[name].clone() for name in self._data}

    def load(self, state: dict[str, Tensor]) -> None:
        """Go on from there."""
        self.size = len(state["reward"])
        for name, column in state.items():
            self._data[name][: self.size] = column


class Recent:
    """The latest steps of an episode, until it is known what is gained in the steps after them.

    Parameters
    ----------
    replay : Replay
    horizon : int
        Number of steps.
    discount : float
    """

    def __init__(self, replay: Replay, horizon: int, discount: float) -> None:
        self._replay, self._horizon, self._discount = replay, horizon, discount
        self._steps: list[tuple[Tensor, Tensor, float]] = []

    def add(self, state: Tensor, action: Tensor, reward: float, after: Tensor) -> None:
        """Take note of a step; hand on the one that is old enough."""
        self._steps.append((state, action, reward))
        if len(self._steps) == self._horizon:
            self._hand_on(after, self._discount**self._horizon)

    def end(self, after: Tensor, final: bool) -> None:
        """Hand on all steps: the episode is at its end, for good or not."""
        while self._steps:
            self._hand_on(after, 0.0 if final else self._discount ** len(self._steps))

    def _hand_on(self, after: Tensor, discount: float) -> None:
        gain = sum(reward * self._discount**i for i, (_, _, reward) in enumerate(self._steps))
        state, action, reward = self._steps.pop(0)
        self._replay.add(state=state, action=action, reward=reward, gain=gain, next=after, discount=discount)
