"""Earlier algorithms beside `fit_network`: time until the objective is near the certified optimum.

Run: python -m benchmarks.fit_ancestors [--limit SECONDS]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from jensen.fit._generate import fit_network
from jensen.fit._price_bound import bound_price
from jensen.fit._problem import Problem, make_problem
from jensen.fit.ancestors._frank_wolfe import Step, fit_frank_wolfe
from jensen.fit.ancestors._incremental import fit_incremental

LEVELS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-6)


class _Line(Protocol):
    @property
    def objective(self) -> float: ...
    @property
    def seconds(self) -> float: ...


@dataclass(frozen=True)
class Run:
    """One method on one problem: when it had which objective, and what it ended with."""

    name: str
    lines: list[tuple[float, float]]
    objective: float
    lower: float
    neurons: int
    seconds: float


def problems() -> dict[str, Problem]:
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(size=(40, 2)), np.ones((40, 1))], axis=1)
    wave = np.sin(2 * x[:, 0]) + x[:, 1] ** 2 / 2 + 0.1 * rng.normal(size=40)
    labels = np.where(x[:, 0] * x[:, 1] + 0.3 * rng.normal(size=40) > 0, 1.0, -1.0)
    return {
        "waves, squared": make_problem(x, wave, 0.01),
        "corners, logistic": make_problem(x, labels, 0.01, "logistic"),
    }


def measure(problem: Problem, limit: float) -> Iterable[Run]:
    methods: dict[str, Callable[[], tuple[float, float, int, Iterable[_Line]]]] = {
        "fit_network": lambda: _of_network(problem, limit),
        "Frank-Wolfe, plain": lambda: _of_conditional(problem, limit, "plain"),
        "Frank-Wolfe, away": lambda: _of_conditional(problem, limit, "away"),
        "Frank-Wolfe, corrective": lambda: _of_conditional(problem, limit, "corrective"),
        "incremental (ReLU)": lambda: _of_incremental(problem, limit),
    }
    for name, method in methods.items():
        begin = time.perf_counter()
        objective, lower, neurons, history = method()
        lines = [(line.seconds, line.objective) for line in history]
        yield Run(name, lines, objective, lower, neurons, time.perf_counter() - begin)


def _of_network(problem: Problem, limit: float) -> tuple[float, float, int, Iterable[_Line]]:
    fit = fit_network(problem, time_limit=limit)
    return fit.objective, fit.lower_bound, len(fit.outputs), fit.history


def _of_conditional(problem: Problem, limit: float, step: Step) -> tuple[float, float, int, Iterable[_Line]]:
    fit = fit_frank_wolfe(problem, step=step, tolerance=1e-6, max_iterations=100_000, time_limit=limit)
    return fit.objective, fit.lower_bound, len(fit.outputs), fit.history


def _of_incremental(problem: Problem, limit: float) -> tuple[float, float, int, Iterable[_Line]]:
    fit = fit_incremental(problem, tolerance=1e-6, max_iterations=100_000, time_limit=limit)
    return fit.objective, fit.lower_bound, len(fit.outputs), fit.history


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--limit", type=float, default=10.0, help="seconds for each run")
    limit = parser.parse_args().limit
    bound_price(np.eye(2), np.ones(2))  # compiles
    for name, problem in problems().items():
        runs = list(measure(problem, limit))
        best = min(run.objective for run in runs)
        lower = max(run.lower for run in runs)
        print(f"{name}: n = {len(problem.y)}, d = {problem.x.shape[1]}, optimum in [{lower:.8f}, {best:.8f}]")
        print(
            "seconds until the objective is within   " + "".join(f"{level:>9g}" for level in LEVELS), end=""
        )
        print("   at the end   gap proved  neurons  seconds")
        for run in runs:
            cells = []
            for level in LEVELS:
                reached = [at for at, value in run.lines if value <= best * (1 + level)]
                cells.append(f"{reached[0]:9.3f}" if reached else f"{'-':>9}")
            gap = (run.objective - run.lower) / run.objective
            rest = f"{run.objective / best - 1:13.1e}{gap:13.1e}{run.neurons:9d}{run.seconds:9.2f}"
            print(f"  {run.name:<38}" + "".join(cells) + rest)


if __name__ == "__main__":
    main()
