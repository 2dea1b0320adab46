"""One method on one split of a table: fit, judge on validation rows, test."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from time import process_time

import torch
from torch import Tensor

from experiments.imputing._data import ONE, Pattern, Split, hide, split
from experiments.imputing._models import Denoiser, Energy, conditional_mean
from experiments.imputing._peers import (
    Imputer,
    best_precision,
    chained_linear,
    chained_trees,
    means,
    neighbours,
)
from experiments.imputing._training import Plan, rmse, train

METHODS = (
    "column means",
    "nearest neighbours",
    "chained linear regressions",
    "chained trees",
    "Gaussian conditional mean",
    "feed-forward network",
    "Gaussian conditional mean + network",
    "convex energy",
)
TRAINED = METHODS[5:]
"""Those that call `tick`."""


ENERGY, NETWORK = Plan(600, 3e-2, 1e-3), Plan(6000, 3e-3, 1e-1)


@dataclass(frozen=True)
class Settings:
    """What decides a result besides data and seed; chosen on validation rows of two tables, first seed.

    Attributes
    ----------
    energy, network : Plan
    neurons, width : int
        Of the energy, besides its quadratic part, and of each hidden layer of the feed-forward networks.
    dropout : float
        In the feed-forward networks.
    """

    energy: Plan = ENERGY
    network: Plan = NETWORK
    neurons: int = 128
    width: int = 128
    dropout: float = 0.0


@dataclass(frozen=True)
class Figures:
    """What one method gave on one split.

    Attributes
    ----------
    table, method : str
    seed : int
    rmse : dict
        On the test rows, by pattern.
    microseconds : float
        Processor time of a test row, over all patterns.
    seconds : float
        Processor time of fitting.
    verdict : str, optional
        Whether the energy is convex.
    gap : float, optional
        The largest gap of its minimisers on the test rows.
    """

    table: str
    method: str
    seed: int
    rmse: dict[str, float]
    microseconds: float
    seconds: float
    verdict: str | None = None
    gap: float | None = None


def label(pattern: Pattern) -> str:
    """Name a pattern."""
    return pattern if isinstance(pattern, str) else f"{pattern:.0%}"


def run(
    table: Tensor,
    name: str,
    method: str,
    seed: int,
    rates: tuple[float, ...],
    settings: Settings,
    tick: Callable[[], None],
) -> Figures:
    """Fit a method on a split of a table, and test it.

    Parameters
    ----------
    table : (rows, columns) tensor
    name : str
        The table's.
    method : str
        One of `METHODS`.
    seed : int
        Of the split, the missing entries and everything random.
    rates : tuple of float
        Of missing entries, on validation and test rows; "one column" comes in addition.
    settings : Settings
    tick : callable
        Called `LOOKS` times by the methods in `TRAINED`.
    """
    parts = split(table, seed)
    patterns: tuple[Pattern, ...] = (*rates, ONE)
    begin = process_time()
    model = _fit(method, parts, _judge(parts, patterns, seed), seed, settings, tick)
    seconds = process_time() - begin
    random = torch.Generator().manual_seed(2 * seed + 1)
    errors, gap, spent = {}, None, 0.0
    for pattern in patterns:
        given = hide(parts.test, pattern, random)
        begin = process_time()
        found = _within(parts, model, given)
        spent += process_time() - begin
        errors[label(pattern)] = rmse(found, parts.test, given)
        if isinstance(model, Energy):
            gap = max(gap or 0.0, float(model.minimise(given).gap.max()))
    verdict = model.verdict() if isinstance(model, Energy) else None
    micros = 1e6 * spent / (len(patterns) * len(parts.test))
    return Figures(name, method, seed, errors, micros, seconds, verdict, gap)


@torch.no_grad()
def _within(parts: Split, impute: Imputer, given: Tensor) -> Tensor:
    """Impute, within the range of the rows for training: every method is given that."""
    return torch.where(given.isnan(), impute(given).clamp(parts.lo, parts.hi), given)


def _judge(parts: Split, patterns: tuple[Pattern, ...], seed: int) -> Callable[[Imputer], float]:
    """Average errors on validation rows over the patterns; missing entries are always the same."""
    random = torch.Generator().manual_seed(2 * seed)
    looks = [hide(parts.validation, pattern, random) for pattern in patterns]

    def judge(impute: Imputer) -> float:
        errors = [rmse(_within(parts, impute, given), parts.validation, given) for given in looks]
        return sum(errors) / len(errors)

    return judge


def _fit(
    method: str,
    parts: Split,
    judge: Callable[[Imputer], float],
    seed: int,
    settings: Settings,
    tick: Callable[[], None],
) -> Imputer:
    torch.manual_seed(seed)
    columns = parts.training.shape[1]
    learn = partial(train, parts=parts, judge=judge, seed=seed, tick=tick)
    match method:
        case "column means":
            return means
        case "nearest neighbours":
            return neighbours(parts, judge)
        case "chained linear regressions":
            return chained_linear(parts, seed)
        case "chained trees":
            return chained_trees(parts, seed)
        case "feed-forward network":
            return learn(Denoiser(columns, settings.width, settings.dropout), plan=settings.network)
    precision = best_precision(parts, judge)
    match method:
        case "Gaussian conditional mean":
            return partial(conditional_mean, precision)
        case "Gaussian conditional mean + network":
            return learn(
                Denoiser(columns, settings.width, settings.dropout, precision), plan=settings.network
            )
        case _:
            return learn(Energy(precision, parts.lo, parts.hi, settings.neurons), plan=settings.energy)
