"""Continuous control by Q-learning with networks that are convex in the action."""

from importlib.util import find_spec

for _name in ("gymnasium", "mujoco", "stable_baselines3"):
    if find_spec(_name) is None:
        raise ModuleNotFoundError(
            f"{_name} is not installed: continuous control needs pip install 'jensen[control]'"
        )
