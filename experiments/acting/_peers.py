"""DDPG and TD3 of stable-baselines3, with the hyperparameters of that library."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from stable_baselines3 import DDPG, TD3
from stable_baselines3.common.noise import NormalActionNoise

from experiments.acting._worlds import Floats, make

LIKE_OURS = "TD3, our settings"
PEERS = {"DDPG": DDPG, "TD3": TD3, LIKE_OURS: TD3}
_STORED = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")


@dataclass(frozen=True)
class PeerSettings:
    """What is not the library's default, or is ours in the third method.

    Attributes
    ----------
    noise : float
        Standard deviation of the exploration, in units of half the box.
    warmup : int
        Random steps in the beginning.
    batch : int
        Of each step of learning.
    rate : float
        Of Adam.
    track : float
        Share by which target networks follow.
    horizon : int
        Number of steps whose rewards a target takes from the memory.
    """

    noise: float = 0.1
    warmup: int = 500
    batch: int = 128
    rate: float = 1e-3
    track: float = 0.005
    horizon: int = 1


class Peer:
    """DDPG or TD3, which learn after every step.

    The library's defaults throughout (networks of 400 and 300 neurons), but for what `PeerSettings` holds.

    Parameters
    ----------
    method : {"DDPG", "TD3", "TD3, our settings"}
    environment : str
    steps : int
        In all; the replay buffer holds as many.
    settings : PeerSettings
    seed : int
    """

    def __init__(self, method: str, environment: str, steps: int, settings: PeerSettings, seed: int) -> None:
        self._world = make(environment)
        actions = self._world.action_space.shape[0]
        self._model: Any = PEERS[method](
            "MlpPolicy",
            self._world,
            learning_starts=settings.warmup,
            batch_size=settings.batch,
            learning_rate=settings.rate,
            tau=settings.track,
            n_steps=settings.horizon,
            policy_kwargs={"optimizer_kwargs": {"fused": True}},
            buffer_size=steps + 1,  # never full, so it is kept and read back from its beginning
            action_noise=NormalActionNoise(np.zeros(actions), np.full(actions, settings.noise)),
            seed=seed,
            device="cpu",
        )

    def advance(self, steps: int, seed: int) -> None:
        """Take steps in new episodes of the environment and learn."""
        random.seed(seed)
        np.random.seed(seed % 2**32)  # the library draws from there
        torch.manual_seed(seed)
        self._world.action_space.seed(seed)
        self._model.action_space.seed(seed)
        self._model.get_env().seed(seed % 2**31)
        buffer = self._model.replay_buffer
        if buffer.pos > 0 and not buffer.dones[buffer.pos - 1].any():
            buffer.timeouts[buffer.pos - 1] = True  # the last episode was left there
        self._model._last_obs = None  # so that `learn` begins with a new episode
        self._model.learn(steps, reset_num_timesteps=False)

    def act(self, states: Floats) -> Floats:
        """Choose actions in [-1, 1] without exploration."""
        actions: Floats = self._model.predict(states, deterministic=True)[0]
        return actions

    def state(self) -> dict[str, Any]:
        """Give weights, states of optimisers and replay buffer."""
        buffer = self._model.replay_buffer
        return {
            "parameters": self._model.get_parameters(),
            "replay": {
                name: torch.from_numpy(getattr(buffer, name)[: buffer.pos].copy()) for name in _STORED
            },
            "steps": self._model.num_timesteps,
            "updates": self._model._n_updates,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self._model.set_parameters(state["parameters"], device="cpu")
        buffer, replay = self._model.replay_buffer, state["replay"]
        for name in _STORED:
            getattr(buffer, name)[: len(replay[name])] = replay[name].numpy()
        buffer.pos = len(replay["rewards"])
        self._model.num_timesteps = state["steps"]
        self._model._n_updates = state["updates"]
