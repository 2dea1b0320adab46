"""Progress bars on the terminal while a command works."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from jensen.certify import Progress

Move: TypeAlias = Callable[[str, int, int, str], None]
"""Takes a description, how much is done, of how much, and a remark."""


@contextmanager
def check_bar(first_words: str, quiet: bool = False) -> Iterator[Callable[[Progress], None] | None]:
    """Show a bar on standard error while a check runs, and hand out the callback that moves it.

    Parameters
    ----------
    first_words : str
        What to say until the check first reports.
    quiet : bool, default False
        Show nothing.

    Yields
    ------
    callable or None
        None where nothing is shown: standard error is a pipe or a file, or `quiet` is set.
    """
    with _bar(first_words, "neurons settled", quiet) as move:
        if move is None:
            yield None
            return

        def update(progress: Progress) -> None:
            worst = f", smallest jump {progress.worst:.3g}" if math.isfinite(progress.worst) else ""
            move(progress.stage, progress.settled, progress.total, worst)

        yield update


@contextmanager
def replay_bar(first_words: str, quiet: bool = False) -> Iterator[Callable[[int, int], None] | None]:
    """Show a bar on standard error while a certificate is replayed; like `check_bar`."""
    with _bar(first_words, "trees replayed", quiet) as move:
        if move is None:
            yield None
            return
        yield lambda done, total: move("replaying", done, total, "")


@contextmanager
def _bar(first_words: str, unit: str, quiet: bool) -> Iterator[Move | None]:
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
    )

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TextColumn(f"{unit}{{task.fields[remark]}}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(escape(first_words), total=None, remark="")

        def move(description: str, done: int, total: int, remark: str) -> None:
            bar.update(task, description=escape(description), completed=done, total=total, remark=remark)

        yield move
