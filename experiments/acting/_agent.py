"""Q-learning whose actions and targets are minimisers of a network that is convex in the action."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils import parametrize

from experiments.acting._critic import Critic, Inference
from experiments.acting._replay import Recent, Replay
from experiments.acting._worlds import Floats, make


@dataclass(frozen=True)
class Settings:
    """Hyperparameters, the same in all environments.

    Attributes
    ----------
    width, members : int
        See `Critic`.
    activation : str
    rate : float
        Of Adam.
    batch : int
    discount : float
    horizon : int
        Number of steps whose rewards a target takes from the memory.
    track : float
        Share by which the target network follows after each step of learning.
    weight : float
        Of the entropy, when rewards have the mean absolute value 1.
    tolerance : float
        Relative gap of the searches for actions.
    noise : float
        Standard deviation of the exploration.
    warmup : int
        Random steps in the beginning.
    worlds : int
        Environments that are stepped side by side, with one search for the actions of all; as many steps of
        learning follow, with one search for the actions of all their targets.
    inference : {"newton", "bundle", "exact"}
        See `Critic.best`; "exact" is for acting, and leaves targets to "newton".
    """

    width: int = 64
    members: int = 2
    activation: str = "softplus"
    rate: float = 2e-3
    batch: int = 64
    discount: float = 0.99
    horizon: int = 3
    track: float = 0.02
    weight: float = 1.0
    tolerance: float = 1e-3
    noise: float = 0.3
    warmup: int = 500
    worlds: int = 8
    inference: Inference = "newton"


class ConvexQ:
    """Q-learning after Amos, Xu and Kolter, with two networks and the lesser of their values in targets.

    Parameters
    ----------
    environment : str
    steps : int
        In all.
    settings : Settings
    seed : int
        Of the initial weights.
    """

    def __init__(self, environment: str, steps: int, settings: Settings, seed: int) -> None:
        torch.manual_seed(seed)
        self._settings = settings
        self._worlds = [make(environment) for _ in range(settings.worlds)]
        states = self._worlds[0].observation_space.shape[0]
        actions = self._worlds[0].action_space.shape[0]
        self._actions = actions
        self._critic = Critic(states, actions, settings.width, settings.members, settings.activation)
        self._target = copy.deepcopy(self._critic)
        self._optimiser = torch.optim.Adam(self._critic.parameters(), settings.rate, fused=True)
        self._replay = Replay(steps, states, actions)

    def advance(self, steps: int, seed: int) -> None:
        """Take steps in new episodes of the environments and learn."""
        torch.manual_seed(seed)
        worlds = self._worlds
        states = [self._begin(world.reset(seed=(seed + i) % 2**31)) for i, world in enumerate(worlds)]
        recent = [Recent(self._replay, self._settings.horizon, self._settings.discount) for _ in worlds]
        taken = 0
        while taken < steps:
            here = range(min(len(worlds), steps - taken))
            actions = self._explore(torch.stack([states[i] for i in here]))
            for i in here:
                after, reward, terminated, truncated, _ = worlds[i].step(actions[i].numpy())
                following = torch.from_numpy(np.asarray(after, dtype=np.float32))
                recent[i].add(states[i], actions[i], float(reward), following)
                states[i] = following
                if terminated or truncated:
                    recent[i].end(following, bool(terminated))
                    states[i] = self._begin(worlds[i].reset())
            taken += len(here)
            if self._replay.size > self._settings.warmup:
                self._learn(len(here))
        for steps_left, state in zip(recent, states, strict=True):
            steps_left.end(state, final=False)

    def act(self, states: Floats) -> Floats:
        """Choose actions in [-1, 1] without exploration."""
        return self._best(self._critic, torch.from_numpy(states), self._settings.inference).numpy()

    def state(self) -> dict[str, Any]:
        """Give weights, the optimiser's state and the replay memory."""
        return {
            "critic": self._critic.state_dict(),
            "target": self._target.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "replay": self._replay.state(),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self._critic.load_state_dict(state["critic"])
        self._target.load_state_dict(state["target"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._replay.load(state["replay"])

    @staticmethod
    def _begin(reset: tuple[Any, dict[str, Any]]) -> Tensor:
        return torch.from_numpy(np.asarray(reset[0], dtype=np.float32))

    def _scale(self) -> float:
        """Mean absolute reward of the random steps; a reward that is always 0 stays as it is."""
        first = self._replay["reward"][: self._settings.warmup].abs().mean()
        return float(first) or 1.0

    def _explore(self, states: Tensor) -> Tensor:
        s = self._settings
        if self._replay.size < s.warmup:
            return torch.rand(len(states), self._actions) * 2 - 1
        best = self._best(self._critic, states, s.inference)
        return (best + s.noise * torch.randn_like(best)).clamp(-1, 1)

    def _best(self, critic: Critic, states: Tensor, how: Inference) -> Tensor:
        return critic.best(states, self._settings.weight, self._settings.tolerance, how)

    def _learn(self, updates: int) -> None:
        """Take some steps of gradient descent, with targets of the same target network."""
        s = self._settings
        index = torch.randint(self._replay.size, (updates * s.batch,))
        rows = {name: self._replay[name][index] for name in ("state", "action", "gain", "next", "discount")}
        best = self._best(self._target, rows["next"], "newton" if s.inference == "exact" else s.inference)
        with torch.no_grad(), parametrize.cached():
            following = self._target(rows["next"], best).amin(0)
            wanted = rows["gain"] / self._scale() + rows["discount"] * following
        for some in torch.split(torch.arange(len(index)), s.batch):
            found = self._critic(rows["state"][some], rows["action"][some])
            loss = (found - wanted[some]).square().mean(1).sum()
            self._optimiser.zero_grad()
            loss.backward()
            self._optimiser.step()
        share = 1 - (1 - s.track) ** updates
        with torch.no_grad():
            for follower, leader in zip(self._target.parameters(), self._critic.parameters(), strict=True):
                follower.lerp_(leader, share)
