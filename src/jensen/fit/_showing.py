"""A line on the terminal that tells how training goes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def shown(verbose: object) -> Iterator[Callable[[str], None]]:
    """Show a line on standard error with the time that has passed, and hand out what changes its text.

    Parameters
    ----------
    verbose : bool
        False shows nothing; nor is anything shown where standard error is a pipe or a file.

    Yields
    ------
    callable
        Takes the text.
    """
    if not verbose or not sys.stderr.isatty():
        yield lambda text: None
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as line:
        task = line.add_task("training", total=None)
        yield lambda text: line.update(task, description=escape(text))
