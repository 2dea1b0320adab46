"""The published figures: their axes and cells, counts per cell, tables and pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
from matplotlib.figure import Figure as Canvas

from experiments.counting._decide import AFFINE, BOXED, ICNN, WHOLE
from experiments.counting._draws import Cell, Init

Domain: TypeAlias = Literal["whole", "box", "affine", "icnn"]
LETTERS: dict[Domain, str] = {
    "whole": ICNN + WHOLE + AFFINE,
    "box": ICNN + WHOLE + AFFINE + BOXED,
    "affine": AFFINE,
    "icnn": ICNN,
}


@dataclass(frozen=True)
class Figure:
    """A table of architectures.

    Attributes
    ----------
    name : str
    rows, columns : str
        What they are.
    row_values, column_values : sequence of int
    architecture : callable
        From row and column to the number of inputs and the widths.
    """

    name: str
    rows: str
    columns: str
    row_values: Sequence[int]
    column_values: Sequence[int]
    architecture: Callable[[int, int], tuple[int, tuple[int, ...]]]

    def cell(self, init: Init, row: int, column: int) -> Cell:
        """Give the cell at a place of the table."""
        inputs, widths = self.architecture(row, column)
        return Cell(init, inputs, widths)

    def cells(self, init: Init) -> list[Cell]:
        """Give all cells."""
        return [self.cell(init, r, c) for r in self.row_values for c in self.column_values]


FIGURES = {
    "widths": Figure("widths", "n1", "n2", range(2, 8), range(2, 8), lambda r, c: (2, (r, c))),
    "depth": Figure("depth", "depth", "width", range(2, 11), range(2, 11), lambda r, c: (3, (c,) * r)),
    "dimension": Figure("dimension", "inputs", "width", range(2, 11), range(2, 11), lambda r, c: (r, (c, c))),
}

Counts: TypeAlias = Mapping[Cell, Mapping[str, int]]
"""Per cell, how many networks have each letter."""


def count(counts: Counts, cell: Cell, domain: Domain) -> int | None:
    """Count the networks of a cell that are convex on a domain, or ICNNs; None if the cell is unknown."""
    if cell not in counts:
        return None
    return sum(counts[cell].get(letter, 0) for letter in LETTERS[domain])


def table(figure: Figure, init: Init, counts: Counts, domain: Domain) -> str:
    """Write a table in Markdown."""
    head = [rf"{figure.rows} \ {figure.columns}", *map(str, figure.column_values)]
    lines = [head, ["---"] * len(head)]
    for row in figure.row_values:
        numbers = [count(counts, figure.cell(init, row, c), domain) for c in figure.column_values]
        lines.append([f"**{row}**", *("" if n is None else str(n) for n in numbers)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def picture(
    figure: Figure, init: Init, counts: Counts, domains: Sequence[Domain], draws: int, path: Path
) -> None:
    """Draw a heat map per domain, the numbers written into it, on a scale of square roots."""
    titles = {
        "whole": "convex on the whole space",
        "box": "convex on the box",
        "affine": "affine, no ICNNs",
        "icnn": "ICNNs",
    }
    shape = len(figure.row_values), len(figure.column_values)
    values = {}
    for domain in domains:
        flat = [count(counts, cell, domain) for cell in figure.cells(init)]
        values[domain] = np.array([np.nan if n is None else n for n in flat]).reshape(shape)
    top = max(1.0, *(float(np.nanmax(v)) for v in values.values()))
    across = min(len(domains), 2) if len(domains) != 3 else 3
    down = -(-len(domains) // across)
    size = (0.42 * shape[1] * across + 0.8, (0.3 * shape[0] + 0.5) * down + 0.4)
    canvas = Canvas(figsize=size, layout="constrained")
    axes = canvas.subplots(down, across, sharey=True, squeeze=False)
    for axis, (domain, numbers) in zip(axes.flat, values.items(), strict=True):
        axis.imshow(np.sqrt(numbers), cmap="YlGnBu", vmin=0, vmax=np.sqrt(top), aspect="auto", origin="lower")
        for (r, c), n in np.ndenumerate(numbers):
            if not np.isnan(n) and n > 0:
                dark = np.sqrt(n) > 0.55 * np.sqrt(top)
                axis.text(c, r, f"{n:.0f}", ha="center", va="center", fontsize=7, color="w" if dark else "k")
        axis.set_xticks(range(shape[1]), list(map(str, figure.column_values)))
        axis.set_yticks(range(shape[0]), list(map(str, figure.row_values)))
        axis.set_xlabel(figure.columns)
        axis.set_title(titles[domain], fontsize=9)
        axis.tick_params(length=0, labelsize=8)
        axis.spines[:].set_visible(False)
    for axis in axes[:, 0]:
        axis.set_ylabel(figure.rows)
    canvas.suptitle(f"Number of networks among {draws:,} draws", fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    canvas.savefig(path, dpi=110)
