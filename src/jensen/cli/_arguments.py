"""What the command's options mean: lists of inputs, shapes, domains."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from jensen.network import Domain


def parse_inputs(text: str | None) -> tuple[int, ...] | None:
    """Read input indices such as "0,2,5-7".

    Parameters
    ----------
    text : str or None

    Returns
    -------
    tuple of int or None
        Sorted, without repetition.

    Raises
    ------
    typer.BadParameter
        If the text is anything else.
    """
    if text is None:
        return None
    from jensen.network._numbers import MAX_INPUTS

    chosen: set[int] = set()
    for part in text.split(","):
        first, dash, last = (piece.strip() for piece in part.partition("-"))
        if not _is_index(first) or (dash and not _is_index(last)):
            raise typer.BadParameter(
                f"{text!r} is not a list of inputs; write indices from 0 and ranges, such as 0,2,5-7",
                param_hint="'--wrt'",
            )
        low, high = int(first), int(last) if dash else int(first)
        if low > high:
            raise typer.BadParameter(
                f"the range {part.strip()} runs backwards; write {high}-{low}", param_hint="'--wrt'"
            )
        if high >= MAX_INPUTS:
            raise typer.BadParameter(
                f"input {high} is beyond every network; they have at most {MAX_INPUTS} inputs",
                param_hint="'--wrt'",
            )
        chosen.update(range(low, high + 1))
    return tuple(sorted(chosen))


def parse_shape(text: str | None) -> tuple[int, ...] | None:
    """Read the shape of one input, such as "1,28,28".

    Parameters
    ----------
    text : str or None

    Returns
    -------
    tuple of int or None

    Raises
    ------
    typer.BadParameter
        If the text is anything else than positive integers.
    """
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    if not all(_is_index(part) and int(part) > 0 for part in parts):
        raise typer.BadParameter(
            f"{text!r} is not a shape; write positive sizes such as 1,28,28", param_hint="'--input-shape'"
        )
    return tuple(int(part) for part in parts)


def check_seconds(value: float | None) -> float | None:
    """Refuse a time limit that is negative or not a number."""
    if value is not None and (math.isnan(value) or value < 0):
        raise typer.BadParameter(f"{value} is not a time in seconds")
    return value


def check_jobs(value: int) -> int:
    """Refuse zero workers; negative numbers count from all cores, as joblib does."""
    if value == 0:
        raise typer.BadParameter("0 workers can do nothing; use 1 or more, or -1 for all cores")
    return value


def choose_domain(box: tuple[float, float] | None, file: Path | None) -> Domain | None:
    """Build the domain that `--box` or `--domain` names; None is the whole space.

    Raises
    ------
    typer.BadParameter
        If both are given.
    DomainError
        If the box is empty, or the file holds no domain.
    """
    if box is not None and file is not None:
        raise typer.BadParameter("give --box or --domain, not both")
    from jensen.network import Box
    from jensen.network._domain_file import load_domain

    if box is not None:
        return Box(*box)
    return None if file is None else load_domain(file)


def _is_index(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 10
