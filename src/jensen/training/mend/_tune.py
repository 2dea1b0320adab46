"""Training of a module while its negative weights are pushed towards zero."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from time import perf_counter

import numpy as np
import torch
from torch import Tensor, nn

from jensen.network import FloatArray, ReLUNetwork
from jensen.training.mend._signs import Signs
from jensen.training.tape import has_tape, is_plain, tape

BATCH = 256
"""Rows of data in a step."""
ROWS = 1024
"""Rows of data that are evaluated together."""


class Data:
    """Inputs of a shape and targets, as tensors like a module's parameters.

    Parameters
    ----------
    x, y : (n, d) and (n,) arrays
    shape : tuple of int
        Of one input.
    like : tensor
    """

    def __init__(self, x: FloatArray, y: FloatArray, shape: tuple[int, ...], like: Tensor) -> None:
        self.x = torch.from_numpy(x).to(like).reshape(len(x), *shape)
        self.y = torch.from_numpy(y).to(like)
        self._exact = y

    def error(self, module: nn.Module) -> float:
        """Mean squared error of a module."""
        return float(((_values(module, self.x) - self._exact) ** 2).mean())

    def batches(self, count: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Random batches."""
        generator = torch.Generator().manual_seed(seed)
        for _ in range(count):
            rows = torch.randint(len(self.x), (min(BATCH, len(self.x)),), generator=generator)
            rows = rows.to(self.x.device)
            yield self.x[rows], self.y[rows]


@torch.no_grad()
def _values(module: nn.Module, x: Tensor) -> FloatArray:
    parts = [module(part).reshape(-1).cpu().to(torch.float64).numpy() for part in torch.split(x, ROWS)]
    return np.concatenate(parts).astype(np.float64)


def values_of(model: nn.Module | ReLUNetwork, x: FloatArray, shape: tuple[int, ...]) -> FloatArray:
    """Values of a model, in eval mode, at (n, d) inputs, whose shapes it takes."""
    if isinstance(model, ReLUNetwork):
        return model(x)
    if has_tape(model) and is_plain(model):
        return tape(model).network()(x)
    module = copy.deepcopy(model).eval()
    like = next(module.parameters(), torch.zeros(()))
    return _values(module, torch.from_numpy(x).to(like).reshape(len(x), *shape))


def tune(
    module: nn.Module,
    data: Data,
    signs: Signs,
    factor: float,
    *,
    steps: int,
    rate: float,
    deadline: float,
    seed: int,
) -> None:
    """Minimise the squared error while lower bounds of negative weights rise to `factor` of what they were.

    The module is changed in place, in eval mode; its bounds hold at the end, however that comes.

    Parameters
    ----------
    module : torch.nn.Module
    data : Data
    signs : Signs
    factor : float
        What is left of negative weights; between 0 and 1.
    steps : int
        Of Adam; bounds rise over the first half.
    rate : float
    deadline : float
        On the clock of `perf_counter`. Where it comes early, bounds rise accordingly faster.
    seed : int

    Raises
    ------
    KeyboardInterrupt
        After Ctrl-C, with the bounds in place.
    """
    least = signs.negative_parts(module)
    trained = [p for name, p in module.named_parameters() if p.requires_grad and name not in signs.fixed]
    if not trained:
        signs.raise_to(module, least, factor)
        return
    begin = perf_counter()
    spread = max(float(data.y.var(correction=0)), 1e-24)
    optimiser = torch.optim.Adam(trained, rate)
    try:
        for step, (x, y) in enumerate(data.batches(steps, seed)):
            now = perf_counter()
            if now >= deadline:
                break
            share = max(step / steps, (now - begin) / (deadline - begin))
            for group in optimiser.param_groups:
                group["lr"] = rate * 0.5 * (1.0 + math.cos(math.pi * share))
            optimiser.zero_grad()
            ((module(x).reshape(-1) - y).square().mean() / spread).backward()
            optimiser.step()
            signs.raise_to(module, least, max(factor, 1.0 - 2.0 * share * (1.0 - factor)))
    finally:
        signs.raise_to(module, least, factor)
