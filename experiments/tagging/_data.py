"""Sparse rows of words and labels, and the file that they are in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from jensen.errors import ArgumentError

TRAINING_ROWS = 4880
LABEL_PREFIX = "TAG_"


@dataclass(frozen=True)
class Rows:
    """Rows of the data.

    Attributes
    ----------
    words : (n, most) int tensor
        The words of each row; `n_words` where there are no more.
    weights : (n, most) tensor
        Weights of these words, 0 where there are no more.
    labels : (n, n_labels) tensor
        0 and 1.
    n_words : int
    """

    words: Tensor
    weights: Tensor
    labels: Tensor
    n_words: int

    def __len__(self) -> int:
        return len(self.words)

    def take(self, index: Tensor) -> Rows:
        """Restrict to some rows."""
        return Rows(self.words[index], self.weights[index], self.labels[index], self.n_words)


def load(path: Path, training_rows: int = TRAINING_ROWS) -> tuple[Rows, Rows]:
    """Read a sparse ARFF file of binary attributes, whose labels are the attributes TAG_....

    Parameters
    ----------
    path : Path
        The file, or the folder that holds it as bibtex.arff.
    training_rows : int
        The rows before this one are for training.

    Returns
    -------
    tuple of Rows
        For training and for testing; words are weighted by their rarity in the training rows.

    Raises
    ------
    ArgumentError
        If the file is missing or is something else.
    """
    file = path / "bibtex.arff" if path.is_dir() else path
    if not file.is_file():
        raise ArgumentError(
            f"there is no file {file}: the experiment needs bibtex.arff, Mulan's BibTeX data (7395 rows, "
            "1836 words, 159 labels). Nothing is downloaded; get it from Mulan's multi-label data sets "
            "and pass the file or its folder"
        )
    names: list[str] = []
    rows: list[list[int]] = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        if line.lower().startswith("@attribute"):
            names.append(line.split()[1])
        elif line.startswith("{"):
            try:
                pairs = [pair.split() for pair in line.strip("{} ").split(",") if pair.strip()]
                rows.append([int(place) for place, value in pairs if value == "1"])
            except ValueError as error:
                raise ArgumentError(
                    f"line {number} of {file} is no sparse row {{place value, ...}}"
                ) from error
            if rows[-1] and not 0 <= min(rows[-1]) <= max(rows[-1]) < len(names):
                raise ArgumentError(f"line {number} of {file} names an attribute that is not declared")
    is_label = np.array([name.startswith(LABEL_PREFIX) for name in names], dtype=bool)
    if not is_label.any() or is_label.all():
        raise ArgumentError(f"{file} declares {len(names)} attributes; words and labels TAG_... are needed")
    if len(rows) <= training_rows:
        raise ArgumentError(
            f"{file} has {len(rows)} sparse rows; more than the {training_rows} for training are needed"
        )
    n_words = int((~is_label).sum())
    place = np.where(is_label, np.cumsum(is_label), np.cumsum(~is_label)) - 1
    counts = np.zeros(n_words)
    for row in rows[:training_rows]:
        counts[[place[k] for k in row if not is_label[k]]] += 1
    rarity = np.log((1 + training_rows) / (1 + counts))
    most = max(int((~is_label[row]).sum()) for row in rows)
    words = np.full((len(rows), most), n_words, dtype=np.int64)
    weights, labels = np.zeros((len(rows), most)), np.zeros((len(rows), len(names) - n_words))
    for i, row in enumerate(rows):
        mine = [int(place[k]) for k in row if not is_label[k]]
        words[i, : len(mine)] = mine
        weights[i, : len(mine)] = rarity[mine] / max(float(np.linalg.norm(rarity[mine])), 1e-12)
        labels[i, [int(place[k]) for k in row if is_label[k]]] = 1.0
    whole = Rows(torch.from_numpy(words), torch.from_numpy(weights).float(),
                 torch.from_numpy(labels).float(), n_words)  # fmt: skip
    index = torch.arange(len(rows))
    return whole.take(index[:training_rows]), whole.take(index[training_rows:])
