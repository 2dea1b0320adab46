"""A progress bar on the terminal while a check runs."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jensen.certify import Progress


@contextmanager
def progress_bar(first_words: str, quiet: bool = False) -> Iterator[Callable[[Progress], None] | None]:
    """Show a bar on standard error while the body runs, and hand out the callback that moves it.

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
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TextColumn("neurons settled{task.fields[worst]}"),
        TimeElapsedColumn(),
    )
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(escape(first_words), total=None, worst="")

        def update(progress: Progress) -> None:
            worst = f", smallest jump {progress.worst:.3g}" if math.isfinite(progress.worst) else ""
            bar.update(
                task,
                description=escape(progress.stage),
                completed=progress.settled,
                total=progress.total,
                worst=worst,
            )

        yield update
