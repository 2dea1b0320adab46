"""Tags of bibliography entries (BibTeX, 159 labels), predicted by minimising a network convex in the labels.

After the multi-label experiment of Amos, Xu and Kolter, "Input Convex Neural Networks" (ICML 2017). A
prediction is y(x) = argmin over y in [0, 1]^159 of f(x, y) - H(y) for a PICNN f with hidden layers 600-159,
found by the batched bundle entropy method and trained through steps of mirror descent (an unrolled
`ArgminLayer`). All models share preprocessing (words weighted by rarity, rows of length 1), one layer of 600
ReLUs over the words, dropout of words and neurons, and the rule that turns outputs into labels: those above a
threshold, and always the highest.

For f linear in y the argmin is a sigmoid, so a feed-forward network is a PICNN: training starts there.
Models are trained by the cross-entropy, or by that and 1 - F1 with the outputs in place of the labels.

The test rows are used once, at the end: number of epochs and threshold are chosen on a fifth of the training
rows, drawn anew for each seed; then the model is trained on all training rows, and so is its warm start.

The data is Mulan's bibtex.arff, of which rows 0-4879 are for training::

    python -m experiments.multilabel FOLDER --seeds 5

A few minutes a seed on one core. Finished runs are kept in a file; the same command goes on from there.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from experiments.tagging._data import TRAINING_ROWS, load
from experiments.tagging._models import Settings
from experiments.tagging._training import KINDS, LOSSES, Figures, run
from jensen.errors import ArgumentError

PUBLISHED = {"feed-forward": 0.396, "ICNN": 0.415, "SPEN": 0.422}


class Journal:
    """Finished runs in a file of lines of JSON, of which the first says by which settings.

    Raises
    ------
    ArgumentError
        If the file belongs to runs with other settings, or is something else.
    """

    def __init__(self, path: Path, settings: dict[str, Any]) -> None:
        self.path = path
        self.figures: dict[tuple[str, int], Figures] = {}
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(settings) + "\n", encoding="utf-8")
            return
        first, *lines = path.read_text(encoding="utf-8").splitlines() or [""]
        try:
            if json.loads(first) != settings:
                raise ArgumentError(f"{path} holds runs with other settings; give another --journal")
            # A line without its end is of a run that was cut off while it was written.
            whole = [Figures(**json.loads(line)) for line in lines if line.endswith("}")]
        except (json.JSONDecodeError, TypeError) as error:
            raise ArgumentError(f"{path} is no journal of this experiment: {error}") from error
        self.figures = {(figures.model, figures.seed): figures for figures in whole}
        path.write_text(
            "".join(json.dumps(entry) + "\n" for entry in (settings, *map(asdict, whole))), encoding="utf-8"
        )

    def add(self, figures: Figures) -> None:
        """Write a run down."""
        self.figures[figures.model, figures.seed] = figures
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(figures)) + "\n")


def table(figures: Sequence[Figures]) -> str:
    """Means over the seeds beside the published figures, in Markdown."""

    def cell(values: Sequence[float]) -> str:
        return f"{mean(values):.3f}" + (f" ± {stdev(values):.3f}" if len(values) > 1 else "")

    lines = [
        "| model | example F1 | label F1 | example F1, threshold 1/2 | on validation rows | CPU s a seed |"
    ]
    lines.append("| --- | --- | --- | --- | --- | --- |")
    for name in [f"{kind}, {loss}" for loss in LOSSES for kind in KINDS]:
        if mine := [f for f in figures if f.model == name]:
            cells = [
                cell([getattr(f, field) for f in mine])
                for field in ("example_f1", "label_f1", "half_f1", "validation_f1")
            ]
            lines.append(f"| {name} | {' | '.join(cells)} | {mean(f.seconds for f in mine):.0f} |")
    lines += [f"| published: {name} | {value} | | | | |" for name, value in PUBLISHED.items()]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the journal does not hold, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("path", type=Path, help="bibtex.arff, or the folder that holds it")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--losses", nargs="+", choices=LOSSES, default=list(LOSSES))
    parser.add_argument("--epochs", type=int, default=Settings.epochs, help="of the feed-forward networks")
    parser.add_argument("--tuning-epochs", type=int, default=Settings.tuning_epochs, help="of the PICNNs")
    parser.add_argument("--training-rows", type=int, default=TRAINING_ROWS)
    parser.add_argument("--journal", type=Path, default=Path("build/multilabel.jsonl"), help="finished runs")
    options = parser.parse_args(arguments)
    if min(options.seeds, options.epochs, options.tuning_epochs) < 1 or options.training_rows < 5:
        parser.error("--seeds, --epochs and --tuning-epochs must be at least 1, --training-rows at least 5")
    settings = Settings(epochs=options.epochs, tuning_epochs=options.tuning_epochs)
    try:
        training, test = load(options.path, options.training_rows)
        journal = Journal(options.journal, {**asdict(settings), "training_rows": options.training_rows})
    except ArgumentError as error:
        parser.error(str(error))
    todo = [(loss, seed) for seed in range(options.seeds) for loss in options.losses]
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    try:
        with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
            for loss, seed in todo:
                if (f"{KINDS[-1]}, {loss}", seed) in journal.figures:
                    continue
                task = bar.add_task(f"{loss}, seed {seed}", total=settings.epochs + settings.tuning_epochs)
                for figures in run(loss, seed, training, test, settings, partial(bar.advance, task)):
                    journal.add(figures)
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    print(table([journal.figures[f"{kind}, {loss}", seed] for loss, seed in todo for kind in KINDS]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
