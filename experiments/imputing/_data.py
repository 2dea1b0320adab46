"""Tables of numbers, split into rows for training, validation and testing, and entries hidden from them."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from jensen.errors import ArgumentError

LEAST_ROWS = 30
VALIDATION, TEST = 0.2, 0.2
"""Shares of the rows."""

Pattern: TypeAlias = float | Literal["one column"]
"""How often an entry is missing; or one entry of every row is, of any column."""
ONE: Literal["one column"] = "one column"
LEAST, MOST = 0.05, 0.6
"""Rates of missing entries in training, drawn evenly for each row."""


@dataclass(frozen=True)
class Split:
    """Standardised rows without missing entries.

    Attributes
    ----------
    training, validation, test : (n, columns) float64 tensors
        Columns have mean 0 and variance 1 on the rows for training.
    lo, hi : (columns,) tensors
        The least and the largest values on the rows for training.
    """

    training: Tensor
    validation: Tensor
    test: Tensor
    lo: Tensor
    hi: Tensor


def load(path: Path) -> Tensor:
    """Read a table of numbers.

    Parameters
    ----------
    path : Path
        Values separated by commas, without a line of names. Columns of words are left out.

    Returns
    -------
    (rows, columns) float64 tensor
        Rows that occur several times are there once: else some would be both learnt and tested (937 of the
        4898 white wines are repetitions).

    Raises
    ------
    ArgumentError
        If there is no such file, or it holds something else.
    """
    if not path.is_file():
        raise ArgumentError(
            f"there is no file {path}: the experiment needs a table of numbers with commas between them and "
            "without a line of names, such as winequality-white.csv, housing.csv or abalone.csv of the UCI "
            "Machine Learning Repository. Nothing is downloaded; pass the folder that holds it"
        )
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = [row for row in csv.reader(file) if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ArgumentError(f"{path} cannot be read as a table: {error}") from error
    if len(rows) < LEAST_ROWS:
        raise ArgumentError(f"{path} has {len(rows)} rows; at least {LEAST_ROWS} are needed")
    if len({len(row) for row in rows}) > 1:
        raise ArgumentError(f"rows of {path} differ in their number of columns")
    columns = [column for column in zip(*rows, strict=True) if _is_number(column[0])]
    try:
        table = torch.tensor([[float(value) for value in column] for column in columns], dtype=torch.float64)
    except ValueError as error:
        raise ArgumentError(f"a column of {path} holds both numbers and words: {error}") from error
    if len(columns) < 2 or not bool(torch.isfinite(table).all()):
        raise ArgumentError(f"{path} must hold at least two columns of finite numbers")
    return torch.from_numpy(np.unique(table.T.numpy(), axis=0))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def split(table: Tensor, seed: int) -> Split:
    """Shuffle rows, take them apart and standardise columns.

    Raises
    ------
    ArgumentError
        If a column has only one value on the rows for training.
    """
    order = torch.randperm(len(table), generator=torch.Generator().manual_seed(seed))
    n_validation, n_test = round(VALIDATION * len(table)), round(TEST * len(table))
    training, validation, test = (
        table[index]
        for index in torch.split(order, [len(table) - n_validation - n_test, n_validation, n_test])
    )
    mean, deviation = training.mean(0), training.std(0)
    if not bool((deviation > 0).all()):
        raise ArgumentError("a column has only one value on the rows for training: leave it out of the table")
    training, validation, test = ((rows - mean) / deviation for rows in (training, validation, test))
    return Split(training, validation, test, training.amin(0), training.amax(0))


def hide(rows: Tensor, pattern: Pattern | Tensor, random: torch.Generator) -> Tensor:
    """Replace entries by NaN, completely at random.

    Parameters
    ----------
    rows : (n, columns) tensor
    pattern : Pattern or (n, 1) tensor
        A tensor holds the rate of each row.
    random : torch.Generator
    """
    order = torch.rand(rows.shape, generator=random, dtype=rows.dtype)
    missing = order == order.amax(1, keepdim=True) if isinstance(pattern, str) else order < pattern
    return rows.masked_fill(missing, torch.nan)


def hide_some(rows: Tensor, random: torch.Generator) -> Tensor:
    """Replace entries by NaN as in training: at another rate in each row."""
    rates = torch.rand(len(rows), 1, generator=random, dtype=rows.dtype)
    return hide(rows, LEAST + (MOST - LEAST) * rates, random)
