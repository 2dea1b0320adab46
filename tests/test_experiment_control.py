"""Continuous control: actions are maximisers, runs are taken up where they were left, the command works."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("gymnasium")
pytest.importorskip("mujoco")
pytest.importorskip("stable_baselines3")

from experiments.acting._agent import Settings
from experiments.acting._critic import Critic
from experiments.acting._peers import PeerSettings
from experiments.acting._replay import Recent, Replay
from experiments.acting._runs import METHODS, OURS, Journal, Run, Task, run
from experiments.acting._worlds import Policy, evaluate
from experiments.control import SMALL_STEPS, main
from jensen.errors import ArgumentError

SMALL = replace(Settings(), warmup=30, batch=16, width=8)


def task(method: str, steps: int = 80) -> Task:
    settings = SMALL if method == OURS else replace(PeerSettings(), warmup=30, batch=16)
    return Task("InvertedPendulum", method, 3, steps, 40, settings)


@pytest.mark.parametrize("how", ["newton", "bundle", "exact"])
def test_actions_maximise(how: str) -> None:
    torch.manual_seed(0)
    critic, states = Critic(3, 1, 8, 2, "softplus").double(), torch.randn(2, 3).double()
    found = critic.best(states, 0.5, 1e-8, how)  # type: ignore[arg-type]
    grid = torch.linspace(-1, 1, 20_001).double()[:, None]
    share = (grid[:, 0] + 1) / 2
    entropy = -(torch.xlogy(share, share) + torch.xlogy(1 - share, 1 - share))
    for state, action in zip(states, found, strict=True):
        value = critic(state.expand(len(grid), 3), grid)[0].detach()
        value = value if how == "exact" else value + 0.5 * entropy
        assert float(action) == pytest.approx(float(grid[value.argmax()]), abs=2e-3)


def test_memory_gathers_rewards() -> None:
    replay = Replay(9, 1, 1)
    recent = Recent(replay, 2, 0.5)
    for i in range(3):
        recent.add(torch.tensor([float(i)]), torch.zeros(1), 4.0 * (i + 1), torch.tensor([i + 1.0]))
    recent.end(torch.tensor([3.0]), final=True)
    recent.add(torch.tensor([7.0]), torch.zeros(1), 1.0, torch.tensor([8.0]))
    recent.end(torch.tensor([8.0]), final=False)
    assert replay["state"][:, 0].tolist() == [0, 1, 2, 7]
    assert replay["reward"].tolist() == [4, 8, 12, 1]
    assert replay["gain"].tolist() == [4 + 8 / 2, 8 + 12 / 2, 12, 1]
    assert replay["next"][:, 0].tolist() == [2, 3, 3, 8]
    assert replay["discount"].tolist() == [0.25, 0.25, 0, 0.5]
    other = Replay(9, 1, 1)
    other.load(replay.state())
    assert torch.equal(other["gain"], replay["gain"])


@pytest.mark.parametrize("method", METHODS)
def test_interrupted_runs_end_alike(method: str, tmp_path: Path) -> None:
    whole = run(task(method), tmp_path / "whole", math.inf)
    assert whole is not None
    played: list[str] = []

    def once(name: str, policy: Policy, seed: int) -> list[float]:
        if played:
            raise KeyboardInterrupt
        played.append(name)
        return evaluate(name, policy, seed)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("experiments.acting._runs.evaluate", once)
        with pytest.raises(KeyboardInterrupt):
            run(task(method), tmp_path / "parts", math.inf)
    assert len(list((tmp_path / "parts").iterdir())) == 1
    resumed = run(task(method), tmp_path / "parts", math.inf)
    assert resumed is not None
    assert resumed.returns == whole.returns
    assert whole.steps == [40, 80]
    assert np.isfinite(whole.returns).all()


def test_states_that_are_none_are_refused(tmp_path: Path) -> None:
    path = task(OURS).file(tmp_path)
    for write in (lambda: path.write_bytes(b"torn"), lambda: torch.save({"run": 1}, path)):
        write()
        with pytest.raises(ArgumentError, match="remove it"):
            run(task(OURS), tmp_path, math.inf)


def test_journal_survives_a_torn_line(tmp_path: Path) -> None:
    path, mine = tmp_path / "runs.jsonl", Run({"seed": 1}, [5], [[1.0, 3.0]], 0.5)
    Journal(path).add(mine)
    with path.open("a", encoding="utf-8") as file:
        file.write('{"task": {"se')
    Journal(path).add(mine)
    assert path.read_text(encoding="utf-8").count("\n") == 2
    path.write_text("[1]\n", encoding="utf-8")
    with pytest.raises(ArgumentError, match="no journal"):
        Journal(path)


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = ["--budget", "small", "--seeds", "0", "--journal", str(tmp_path / "runs.jsonl")]
    assert main([*common, "--time-limit", "1e-9"]) == 1
    assert main([*common, "--picture", str(tmp_path / "curves.png")]) == 0
    assert (tmp_path / "curves.png").stat().st_size > 5_000
    first = capsys.readouterr().out
    assert f"| InvertedPendulum | {SMALL_STEPS} |" in first
    assert main(common) == 0
    assert capsys.readouterr().out == first
