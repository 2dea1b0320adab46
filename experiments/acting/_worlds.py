"""Environments of gymnasium: made, checked, and used to evaluate a policy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

EPISODES = 10
"""Of one evaluation."""
_HELD_OUT = 1_000_000
"""Evaluations start from other seeds than training."""

Floats = NDArray[np.float32]
Policy = Callable[[Floats], Floats]
"""From states (batch, p) to actions (batch, n) with entries in [-1, 1]."""


def make(name: str) -> Any:
    """Make the environment NAME-v5 whose actions have entries in [-1, 1]."""
    env = gymnasium.make(f"{name}-v5")
    return gymnasium.wrappers.RescaleAction(env, np.float32(-1.0), np.float32(1.0))


def evaluate(name: str, policy: Policy, seed: int, episodes: int = EPISODES) -> list[float]:
    """Play episodes side by side without exploration.

    Parameters
    ----------
    name : str
    policy : callable
    seed : int
    episodes : int

    Returns
    -------
    list of float
        The sum of rewards of each, not discounted.
    """
    worlds = [make(name) for _ in range(episodes)]
    states = [world.reset(seed=_HELD_OUT + seed * episodes + i)[0] for i, world in enumerate(worlds)]
    returns, alive = [0.0] * episodes, list(range(episodes))
    while alive:
        actions = policy(np.stack([states[i] for i in alive]).astype(np.float32))
        playing = []
        for i, action in zip(alive, actions, strict=True):
            states[i], reward, terminated, truncated, _ = worlds[i].step(action)
            returns[i] += float(reward)
            if not (terminated or truncated):
                playing.append(i)
        alive = playing
    for world in worlds:
        world.close()
    return returns
