"""Runs of one method on one environment from one seed: evaluated, kept, and taken up again."""

from __future__ import annotations

import hashlib
import json
import os
import time
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch

from experiments.acting._agent import ConvexQ, Settings
from experiments.acting._learner import Learner
from experiments.acting._peers import PEERS, Peer, PeerSettings
from experiments.acting._worlds import evaluate
from jensen.errors import ArgumentError

OURS = "convex Q"
METHODS = (OURS, *PEERS)


@dataclass(frozen=True)
class Task:
    """What is run.

    Attributes
    ----------
    environment, method : str
    seed, steps, interval : int
        An evaluation, and a file to go on from, every so many steps.
    settings : Settings or PeerSettings
    """

    environment: str
    method: str
    seed: int
    steps: int
    interval: int
    settings: Settings | PeerSettings

    @property
    def key(self) -> str:
        """All of it in one line."""
        return json.dumps(asdict(self), sort_keys=True)

    def file(self, folder: Path) -> Path:
        """Where its state is kept; other settings have other files."""
        digest = hashlib.sha256(self.key.encode()).hexdigest()[:8]
        return folder / f"{self.environment}-{self.method.replace(' ', '-')}-{self.seed}-{digest}.pt"

    def learner(self) -> Learner:
        """Begin."""
        if isinstance(self.settings, Settings):
            return ConvexQ(self.environment, self.steps, self.settings, self.seed)
        return Peer(self.method, self.environment, self.steps, self.settings, self.seed)


@dataclass(frozen=True)
class Run:
    """What came out of a task.

    Attributes
    ----------
    task : dict
    steps : list of int
        When it was evaluated.
    returns : list of lists of float
        Of every episode of every evaluation.
    seconds : float
        Of processor time, without evaluations.
    """

    task: dict[str, Any]
    steps: list[int]
    returns: list[list[float]]
    seconds: float

    @property
    def curve(self) -> list[float]:
        """Mean return of every evaluation."""
        return [float(np.mean(episodes)) for episodes in self.returns]


def run(task: Task, folder: Path, deadline: float) -> Run | None:
    """Run a task from where it was left; None if time is up, as a clock's `time.time()` says.

    Raises
    ------
    ArgumentError
        If the file with its state is torn or something else.
    """
    learner, path = task.learner(), task.file(folder)
    done = Run(asdict(task), [], [], 0.0)
    if path.exists():
        if not zipfile.is_zipfile(path):
            raise ArgumentError(f"{path} holds no state of a run; remove it to begin anew")
        try:
            kept = torch.load(path, weights_only=True)
            done = Run(**kept["run"])
            learner.load(kept["learner"])
        except (RuntimeError, LookupError, TypeError, UnpicklingError) as error:
            raise ArgumentError(f"{path} cannot be read: {error}; remove it to begin anew") from error
    while (taken := done.steps[-1] if done.steps else 0) < task.steps:
        if time.time() >= deadline:
            return None
        step, begin = min(task.interval, task.steps - taken), time.process_time()
        learner.advance(step, task.seed * 1_000_003 + taken)
        spent = time.process_time() - begin
        returns = evaluate(task.environment, learner.act, task.seed)
        done = Run(done.task, [*done.steps, taken + step], [*done.returns, returns], done.seconds + spent)
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_suffix(".new")
        torch.save({"run": asdict(done), "learner": learner.state()}, fresh)
        os.replace(fresh, path)
    return done


class Journal:
    """Finished runs in a file of lines of JSON; a torn last line, as a kill leaves it, is cut off.

    Parameters
    ----------
    path : Path
        Made if it does not exist.

    Raises
    ------
    ArgumentError
        If the file is something else.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._runs: dict[str, Run] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        text = path.read_bytes() if path.exists() else b""
        whole = text[: text.rfind(b"\n") + 1]
        try:
            for line in whole.decode().splitlines():
                self._keep(Run(**json.loads(line)))
        except (UnicodeDecodeError, json.JSONDecodeError, TypeError) as error:
            raise ArgumentError(f"{path} is no journal of this experiment: {error}") from error
        if whole != text:
            path.write_bytes(whole)

    def _keep(self, run: Run) -> None:
        self._runs[json.dumps(run.task, sort_keys=True)] = run

    def add(self, run: Run) -> None:
        """Write a run down, at once."""
        self._keep(run)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(run)) + "\n")

    def of(self, tasks: Sequence[Task]) -> list[Run]:
        """Give the runs of these tasks, those that are there."""
        return [self._runs[task.key] for task in tasks if task.key in self._runs]
