"""Plain gradient descent on a two-layer ReLU network: full batches, no momentum, float64."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Descent:
    """What a run passed through.

    Attributes
    ----------
    steps : (T,) array
        The steps that are kept.
    hidden : (T, m, d) array
    output : (T, m) array
    losses : (steps + 1,) array
        1/(2n) |o - y|^2 + decay/2 (|hidden|^2 + |output|^2), before the first step and after each one.
    """

    steps: NDArray[np.int64]
    hidden: Floats
    output: Floats
    losses: Floats


def descend(
    x: Floats,
    y: Floats,
    hidden: Floats,
    output: Floats,
    *,
    rate: float,
    steps: int,
    decay: float = 0.0,
    keep: Sequence[int] | None = None,
    hidden_only: bool = False,
) -> Descent:
    """Descend from given weights.

    Parameters
    ----------
    x : (n, d) array
    y : (n,) array
    hidden : (m, d) array
    output : (m,) array
    rate : float
        Step size.
    steps : int
    decay : float
        Weight decay lambda.
    keep : sequence of int, optional
        Steps whose weights are kept; all by default.
    hidden_only : bool
        Leave the output weights as they are.
    """
    wanted = set(range(steps + 1) if keep is None else keep)
    kept: list[tuple[int, Floats, Floats]] = []
    losses = np.empty(steps + 1)
    hidden, output = hidden.copy(), output.copy()
    for step in range(steps + 1):
        before = x @ hidden.T
        after = np.maximum(0.0, before)
        residual = (after @ output - y) / len(y)
        decayed = (hidden**2).sum() + (output**2).sum()
        losses[step] = len(y) / 2 * (residual @ residual) + decay / 2 * decayed
        if step in wanted:
            kept.append((step, hidden, output))
        slope = ((before > 0) * residual[:, None]).T @ x * output[:, None]
        pull = residual @ after
        hidden = hidden - rate * (slope + decay * hidden)
        if not hidden_only:
            output = output - rate * (pull + decay * output)
    numbers, first, second = zip(*kept, strict=True)
    return Descent(np.array(numbers), np.array(first), np.array(second), losses)


def count_distinct(x: Floats, hidden: Floats) -> int:
    """Count the distinct sets of samples that neurons activate."""
    return len(np.unique(x @ hidden.T > 0, axis=1).T)
