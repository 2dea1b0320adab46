"""The table and the picture of all runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev

import numpy as np

from experiments.acting._published import ENVIRONMENTS
from experiments.acting._runs import METHODS, Run

_COLOURS = dict(zip(METHODS, ("#0b6e4f", "#c0392b", "#2c5f9e", "#8fa8c8"), strict=True))


def _of(runs: Sequence[Run], environment: str, method: str) -> list[Run]:
    return [run for run in runs if (run.task["environment"], run.task["method"]) == (environment, method)]


def _cell(values: Sequence[float]) -> str:
    if not values:
        return ""
    digits = 2 if max(map(abs, values)) < 100 else 0
    spread = f" ± {stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{mean(values):.{digits}f}{spread}"


def table(runs: Sequence[Run], best: bool = False) -> str:
    """Mean and standard deviation over seeds of the last or the best evaluation, in Markdown."""
    shown = [method for method in METHODS if any(run.task["method"] == method for run in runs)]
    lines = [["best evaluation" if best else "last evaluation", "steps", *shown, "published (v1)"]]
    lines.append(["---"] * len(lines[0]))
    for name, environment in ENVIRONMENTS.items():
        found = [_of(runs, name, method) for method in shown]
        if not any(found):
            continue
        steps = {run.steps[-1] for some in found for run in some}
        cells = [_cell([max(run.curve) if best else run.curve[-1] for run in some]) for some in found]
        published = "" if environment.published is None else f"{environment.published:g}"
        lines.append([name, ", ".join(f"{n:,}" for n in sorted(steps)), *cells, published])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def costs(runs: Sequence[Run]) -> str:
    """Milliseconds of processor time of a step, by method."""
    parts = []
    for method in METHODS:
        mine = [run for run in runs if run.task["method"] == method]
        if mine:
            spent = sum(run.seconds for run in mine) / sum(run.steps[-1] for run in mine)
            parts.append(f"{method} {1e3 * spent:.1f} ms")
    return "Processor time of a step, learning included: " + ", ".join(parts) + "."


def picture(runs: Sequence[Run], path: Path) -> None:
    """Draw learning curves: the mean over seeds, and their range."""
    from matplotlib.figure import Figure

    names = [name for name in ENVIRONMENTS if any(run.task["environment"] == name for run in runs)]
    figure = Figure(figsize=(2.6 * len(names), 2.9), layout="constrained", facecolor="white")
    for axis, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        for method in METHODS:
            if not (mine := _of(runs, name, method)):
                continue
            steps, curves = np.array(mine[0].steps) / 1000, np.array([run.curve for run in mine])
            axis.fill_between(steps, curves.min(0), curves.max(0), color=_COLOURS[method], alpha=0.15, lw=0)
            axis.plot(steps, curves.mean(0), color=_COLOURS[method], marker="o", ms=3, lw=1.5, label=method)
        axis.set_title(name, fontsize=10)
        axis.set_xlabel("thousand steps", fontsize=9)
        axis.tick_params(labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.25)
    figure.axes[0].set_ylabel("return", fontsize=9)
    figure.axes[0].legend(fontsize=8, frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
