"""Missing entries of a table, imputed by minimising a network that is convex in all entries of a row.

After the setting of Amos, Xu and Kolter, "Input Convex Neural Networks" (ICML 2017), who give no figures for
it: a convex f(y) of all entries of a row is learnt, and whichever are missing are the minimiser of f given
the others. One network serves all patterns of missing entries. The best quadratic f is that of a Gaussian:
its minimiser is the conditional mean. Here f is a FICNN with a layer of squared ReLUs, which holds that
quadratic function and further neurons, and is trained through its minimiser by `jensen.minimize.ArgminLayer`
with boxes in which known entries have one value. `minimize_batch` minimises it at the end, with gaps, and
`jensen.check` proves it convex.

Rows are split at random for each seed: 60 % for training, 20 % for validation (early stopping, settings of
the other methods), 20 % for testing. Columns are standardised. Entries are missing completely at random.
Compared are scikit-learn's imputers and feed-forward networks that see entries and what is missing; no
imputation leaves the range of the rows for training.

The data are tables of the UCI Machine Learning Repository, NAME.csv in a folder, without a line of names::

    python -m experiments.imputation --data FOLDER --table winequality-white housing

Finished runs are kept in a file; the same command goes on from there.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from experiments.imputing._data import ONE, load
from experiments.imputing._runs import METHODS, TRAINED, Figures, Settings, label, run
from experiments.imputing._training import LOOKS
from jensen.errors import ArgumentError

TABLES = ("winequality-white", "housing", "abalone")


class Journal:
    """Finished runs in a file of lines of JSON, of which the first says by which settings.

    Raises
    ------
    ArgumentError
        If the file belongs to runs with other settings, or is something else.
    """

    def __init__(self, path: Path, settings: dict[str, Any]) -> None:
        self.path = path
        self.figures: dict[tuple[str, str, int], Figures] = {}
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        try:
            if lines and json.loads(lines[0]) != json.loads(json.dumps(settings)):
                raise ArgumentError(f"{path} holds runs with other settings; give another --journal")
            # A line without its end is of a run that was cut off while it was written.
            whole = [Figures(**json.loads(line)) for line in lines[1:] if line.endswith("}")]
        except (json.JSONDecodeError, TypeError) as error:
            raise ArgumentError(f"{path} is no journal of this experiment: {error}") from error
        self.figures = {(found.table, found.method, found.seed): found for found in whole}
        path.parent.mkdir(parents=True, exist_ok=True)
        entries = (settings, *map(asdict, whole))
        path.write_text("".join(json.dumps(entry) + "\n" for entry in entries), encoding="utf-8")

    def add(self, found: Figures) -> None:
        """Write a run down."""
        self.figures[found.table, found.method, found.seed] = found
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(found)) + "\n")


def _spread(values: Sequence[float]) -> str:
    return f"{mean(values):.3f}" + (f" ± {stdev(values):.3f}" if len(values) > 1 else "")


def report(title: str, runs: dict[str, list[Figures]]) -> str:
    """Means and standard deviations over the seeds, in Markdown; and how far the energy is from the others.

    Parameters
    ----------
    title : str
    runs : dict
        By method, the same seeds in the same order for each.
    """
    patterns = list(runs[METHODS[-1]][0].rmse)
    lines = [f"| {title} | " + " | ".join(patterns) + " | µs a row | fit, s |"]
    lines.append("| --- " * (len(patterns) + 3) + "|")
    for method, found in runs.items():
        cells = [_spread([one.rmse[pattern] for one in found]) for pattern in patterns]
        times = f"{mean(one.microseconds for one in found):.0f} | {mean(one.seconds for one in found):.1f}"
        lines.append(f"| {method} | {' | '.join(cells)} | {times} |")
    ours = runs[METHODS[-1]]
    for method in METHODS[3:-1]:
        cells = [
            _spread([a.rmse[pattern] - b.rmse[pattern] for a, b in zip(ours, runs[method], strict=True)])
            for pattern in patterns
        ]
        lines.append(f"| convex energy less {method} | {' | '.join(cells)} | | |")
    proved = sum(one.verdict == "convex" for one in ours)
    gap = max(one.gap or 0.0 for one in ours)
    return "\n".join(lines) + (
        f"\n\n{proved} of {len(ours)} energies proved convex; no minimiser has a gap above {gap:.0e}.\n"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the journal does not hold, and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="the folder of the tables")
    parser.add_argument("--table", nargs="+", default=list(TABLES), metavar="NAME", help="of NAME.csv")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument(
        "--missing", type=float, nargs="+", default=[0.1, 0.3, 0.5], metavar="RATE",
        help=f"shares of missing entries, besides {ONE}",
    )  # fmt: skip
    parser.add_argument("--steps", type=int, default=Settings().energy.steps, help="of training an energy")
    parser.add_argument("--network-steps", type=int, default=Settings().network.steps)
    parser.add_argument("--journal", type=Path, default=Path("build/imputation.jsonl"), help="finished runs")
    options = parser.parse_args(arguments)
    if min(options.seeds, options.steps, options.network_steps) < 1:
        parser.error("--seeds, --steps and --network-steps must be at least 1")
    if not all(0 < rate < 1 for rate in options.missing):
        parser.error("--missing takes shares between 0 and 1, such as 0.1 0.3 0.5")
    base, rates = Settings(), tuple(options.missing)
    settings = replace(
        base,
        energy=replace(base.energy, steps=options.steps),
        network=replace(base.network, steps=options.network_steps),
    )
    try:
        tables = {name: load(options.data / f"{name}.csv") for name in options.table}
        journal = Journal(options.journal, {**asdict(settings), "missing": list(map(label, rates))})
    except ArgumentError as error:
        parser.error(str(error))
    todo = [
        (name, method, seed) for name in tables for seed in range(options.seeds) for method in METHODS
        if (name, method, seed) not in journal.figures
    ]  # fmt: skip
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    try:
        with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
            whole = bar.add_task("all runs", total=len(todo))
            for name, method, seed in todo:
                task = bar.add_task(
                    f"{name}, seed {seed}: {method}", total=LOOKS if method in TRAINED else None
                )
                tick = partial(bar.advance, task)
                journal.add(run(tables[name], name, method, seed, rates, settings, tick))
                bar.remove_task(task)
                bar.advance(whole)
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    for name, table in tables.items():
        title = f"{name}, {len(table)} rows, {table.shape[1]} columns"
        runs = {
            method: [journal.figures[name, method, seed] for seed in range(options.seeds)]
            for method in METHODS
        }
        print(report(title, runs))
    return 0


if __name__ == "__main__":
    sys.exit(main())
