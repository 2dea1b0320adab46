"""Continuous control by Q-learning with networks that are convex in the action (MuJoCo, gymnasium).

After the reinforcement learning experiment of Amos, Xu and Kolter, "Input Convex Neural Networks" (ICML
2017). -Q(s, a) is a PICNN, convex in the action, and no network for the policy is trained: the action in a
state is the argmin over the box [-1, 1]^n of -Q(s, a) - w H(a), found for a batch to a gap by Newton's method
(`ArgminLayer`) or bundle entropy (`minimize_entropy`), or that of -Q, exactly (`argmin`). So are the actions
in the targets r + d Q'(s', a').

DDPG and TD3 of stable-baselines3 take as many steps of the environment; TD3 once more with what is ours of
noise, batch, rate of learning, tracking and horizon. All methods are evaluated alike, by ten episodes without
exploration. It needs the extra `control`::

    python -m experiments.control --budget full --picture FILE

Finished runs are kept in a journal, and the state of each run beside it at every evaluation; the same command
goes on from there after an interruption, with the same results as without one.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from joblib import Parallel, delayed
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from experiments.acting._agent import Settings
from experiments.acting._peers import LIKE_OURS, PeerSettings
from experiments.acting._published import ENVIRONMENTS
from experiments.acting._report import costs, picture, table
from experiments.acting._runs import METHODS, OURS, Journal, Task, run
from jensen.errors import ArgumentError

SMALL_STEPS, SMALL_WARMUP = 200, 100


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--budget", choices=("small", "full"), default="full",
        help="small: some hundred steps of InvertedPendulum, which show that it works",
    )  # fmt: skip
    parser.add_argument("--environments", nargs="+", choices=ENVIRONMENTS, default=list(ENVIRONMENTS))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument(
        "--inference", choices=("newton", "bundle", "exact"), default="newton", help="how ours finds actions"
    )
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--time-limit", type=float, default=float("inf"), help="seconds; it goes on later")
    parser.add_argument("--journal", type=Path, default=Path("build/control.jsonl"), help="finished runs")
    parser.add_argument("--picture", type=Path, help="file for the learning curves")
    options = parser.parse_args(arguments)
    if not options.time_limit > 0:
        parser.error("--time-limit must be positive")
    if min(options.seeds) < 0:
        parser.error("--seeds must not be negative")
    return options


def tasks(options: argparse.Namespace) -> list[Task]:
    """List the runs that were asked for, one seed after the other."""
    ours = Settings(inference=options.inference)
    alike = PeerSettings(ours.noise, ours.warmup, ours.batch, ours.rate, ours.track, ours.horizon)
    settings: dict[str, Settings | PeerSettings] = {method: PeerSettings() for method in METHODS}
    settings |= {OURS: ours, LIKE_OURS: alike}
    chosen = [ENVIRONMENTS[name] for name in options.environments]
    if options.budget == "small":
        chosen = [replace(ENVIRONMENTS["InvertedPendulum"], steps=SMALL_STEPS, interval=SMALL_STEPS // 2)]
        settings = {method: replace(some, warmup=SMALL_WARMUP) for method, some in settings.items()}
    return [
        Task(e.name, method, seed, e.steps, e.interval, settings[method])
        for seed in options.seeds
        for e in chosen
        for method in options.methods
    ]


def compute(journal: Journal, wanted: Sequence[Task], options: argparse.Namespace) -> bool:
    """Run what the journal does not hold; tell whether all of it was finished in time."""
    todo = [task for task in wanted if not journal.of([task])]
    folder, deadline = journal.path.with_suffix(".states"), time.time() + options.time_limit
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
    )
    complete = True
    with bar:
        shown = bar.add_task("runs", total=len(todo))
        running = Parallel(n_jobs=options.jobs, return_as="generator_unordered")(
            delayed(run)(task, folder, deadline) for task in todo
        )
        for finished in running:
            bar.advance(shown)
            if finished is None:
                complete = False
            else:
                journal.add(finished)
    return complete


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print the table in Markdown, draw the picture."""
    options = parse(arguments)
    wanted = tasks(options)
    try:
        journal = Journal(options.journal)
        complete = compute(journal, wanted, options)
    except ArgumentError as error:
        print(f"control: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    runs = journal.of(wanted)
    if not complete:
        print("time is up; the same command goes on from here", file=sys.stderr)
    if runs:
        print(table(runs) + "\n\n" + table(runs, best=True))
        print("\n" + costs(runs))
        if options.picture is not None:
            picture(runs, options.picture)
    return 0 if complete else 1


if __name__ == "__main__":
    sys.exit(main())
