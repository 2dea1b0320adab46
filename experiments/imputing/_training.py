"""Training on random patterns of missing entries; of its weights the best on validation rows are kept."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

from experiments.imputing._data import Split, hide_some

Model = TypeVar("Model", bound=nn.Module)
LOOKS = 12
"""How often a training run looks at the validation rows, besides the beginning."""


@dataclass(frozen=True)
class Plan:
    """How a model is trained.

    Attributes
    ----------
    steps : int
        Of AdamW; its rate rises for a twentieth of them and falls to 0 along a cosine.
    rate, decay : float
    batch : int
    """

    steps: int
    rate: float
    decay: float
    batch: int = 128

    def factor(self, step: int) -> float:
        """Compute the share of the rate at a step."""
        return min(1.0, 20 * (step + 1) / self.steps) * (1 + math.cos(math.pi * step / self.steps)) / 2


def rmse(found: Tensor, rows: Tensor, given: Tensor) -> float:
    """Root mean square of the errors of entries that were missing."""
    return float((found - rows)[given.isnan()].square().mean().sqrt())


def train(
    model: Model,
    parts: Split,
    plan: Plan,
    judge: Callable[[Model], float],
    seed: int,
    tick: Callable[[], None],
) -> Model:
    """Train in single precision by the squared error of missing entries.

    Parameters
    ----------
    model : Module
        From rows with NaN to complete ones.
    parts : Split
    plan : Plan
    judge : callable
        The error on validation rows, of a model in double precision.
    seed : int
        Of rows and missing entries.
    tick : callable
        Called after each of `LOOKS` parts.

    Returns
    -------
    Module
        The best of those that `judge` saw, for evaluation, in double precision.
    """
    random = torch.Generator().manual_seed(seed)
    rows, model = parts.training.float(), model.float()
    optimiser = torch.optim.AdamW(model.parameters(), plan.rate, weight_decay=plan.decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, plan.factor)
    best = copy.deepcopy(model).double().eval()
    least = judge(best)
    looks = {plan.steps * (k + 1) // LOOKS for k in range(LOOKS)}
    for step in range(1, plan.steps + 1):
        some = rows[torch.randint(len(rows), (plan.batch,), generator=random)]
        given = hide_some(some, random)
        missing = given.isnan()
        loss = (model.train()(given) - some)[missing].square().sum() / missing.sum().clamp_min(1)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if step in looks:
            now = copy.deepcopy(model).double().eval()
            if (error := judge(now)) < least:
                least, best = error, now
            tick()
    return best
