"""Answers on standard output: laid out for a terminal, plain in a pipe, one object for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.console import RenderableType


def print_answer(
    report: Callable[[], RenderableType],
    data: Callable[[], Mapping[str, Any]],
    as_json: bool,
    quiet: bool,
) -> None:
    """Print an answer before anything else is done with it, so that no later error can lose it.

    Parameters
    ----------
    report : callable
        Lays the answer out for a person.
    data : callable
        Describes it as plain data, for `as_json`, which comes before `quiet`.
    as_json, quiet : bool
    """
    if as_json:
        typer.echo(json.dumps(data(), allow_nan=False))
    elif not quiet:
        if sys.stdout.isatty():
            from rich.console import Console

            Console(markup=False, highlight=False).print(report())
        else:
            from jensen.certify._report import as_text

            typer.echo(as_text(report()), nl=False)
    sys.stdout.flush()
