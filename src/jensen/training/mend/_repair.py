"""From a trained network to one with a certificate of convexity, changed as little as can be found."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from time import perf_counter
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import nn

from jensen.certify import Verdict
from jensen.errors import ArgumentError
from jensen.network import Domain, FloatArray, ReLUNetwork
from jensen.network._numbers import as_amount, as_count
from jensen.training._chords import Chords
from jensen.training.mend._cuts import Candidate
from jensen.training.mend._plain import PlainSearch
from jensen.training.mend._problem import Problem
from jensen.training.mend._shared import SharedSearch
from jensen.training.mend._tune import values_of
from jensen.training.tape import has_tape, input_shape_of, is_plain, tape

Model = TypeVar("Model", bound=nn.Module | ReLUNetwork)

MOST = 4096
"""Inputs that are drawn for a module with shared weights, at most."""


@dataclass(frozen=True, eq=False)
class Repair(Generic[Model]):
    """What `repair` returns.

    Attributes
    ----------
    model : torch.nn.Module or ReLUNetwork
        Of the same kind and shape as what was given, which itself is unchanged. Where weights are shared, in
        eval mode.
    verdict : Verdict
        Of kind "convex", with a certificate, about `model`.
    how : str
        "none" where nothing had to change; otherwise which negative weights were multiplied by which factor
        before the output's weights were fitted or, where weights are shared, all were trained on.
    error_before, error_after : float
        Mean squared error on the data; without data, mean squared difference from the given model.
    cuts : int
        Linear constraints on the output's weights that were needed; 0 where these were not fitted.
    tried : tuple of (how, error) pairs
        All candidates; infinite where no certificate came.
    seconds : float
    """

    model: Model
    verdict: Verdict
    how: str
    error_before: float
    error_after: float
    cuts: int
    tried: tuple[tuple[str, float], ...]
    seconds: float


def repair(
    model: Model,
    domain: Domain | None = None,
    data: tuple[Any, Any] | None = None,
    *,
    time_limit: float = 60.0,
    improve: bool = False,
    seed: int = 0,
    input_shape: Sequence[int] | None = None,
    progress: Callable[[str, float], None] | None = None,
) -> Repair[Model]:
    """Make a network provably convex on a domain, changing it as little as can be found in the time.

    With the hidden layers fixed, frontiers are fixed too, and every jump is linear in the output's weights.
    So these are fitted by least squares under the constraints that the frontiers seen so far impose;
    `jensen.check` proves the result or adds the frontier that it finds. Where that costs too much, negative
    weights of hidden layers shrink first, those of neurons with violations before all. With none left
    the network is an ICNN, so that there is always an end.

    Where weights are shared, as in convolutions, parameters shrink, and the module is trained on the data
    while they do: kernels stay kernels.

    Parameters
    ----------
    model : torch.nn.Module or ReLUNetwork
        A module of linear layers, convolutions, batch normalisations (as in eval mode), average poolings and
        (leaky) ReLUs, or any other that `jensen.as_network` can import, if it can be told which of its
        parameters feed what comes after an activation.
    domain : Domain, optional
        The whole space by default.
    data : pair of (batch, *input_shape) and (batch,) arrays or tensors, optional
        Inputs and targets. By default inputs are drawn from the domain and targets are the model's values.
    time_limit : float, default 60.0
        Seconds after which no new candidate is begun; the best so far is returned, and so it is
        after an interrupt (Ctrl-C).
    improve : bool, default False
        Whether to fit the model to the data even where it is convex as it is; without effect where weights
        are computed from other parameters.
    seed : int, default 0
    input_shape : sequence of int, optional
        Shape of one input, where neither the data nor the module tell it.
    progress : callable, optional
        Called with the name and the error of every candidate, infinite where no certificate came.

    Returns
    -------
    Repair

    Raises
    ------
    ArgumentError
        If an argument makes no sense.
    NetworkError
        If it cannot be told which of the module's weights feed which activations; it names the layer.
    UnsupportedOperatorError
        If the module is not piecewise linear.
    DomainError
        If the domain is empty or does not fit the model.
    """
    limit = as_amount(time_limit, "time_limit")
    begin = perf_counter()
    shape = _shape(model, data, input_shape)
    x, y = _data(model, shape, domain, data, as_count(seed, "seed", 0))
    problem = Problem(domain, x, y, limit, begin, seed, progress)
    search: PlainSearch[Any] | SharedSearch[Any]
    search = PlainSearch(model, problem) if _is_plain(model) else SharedSearch(model, shape, problem)
    before = search.error()
    first = search.check(max(limit / 4, 1.0))
    known = None
    if first.kind == "convex":
        known = Candidate(copy.deepcopy(search.model), first, "none", before, 0)
        problem.tell(known.how, before)
    best = (
        known if known is not None and not (improve and search.is_free) else search.run(before, first, known)
    )
    seconds = perf_counter() - begin
    return Repair(
        best.model, best.verdict, best.how, before, best.error, best.cuts, tuple(problem.tried), seconds
    )


def _is_plain(model: nn.Module | ReLUNetwork) -> bool:
    return isinstance(model, ReLUNetwork) or (has_tape(model) and is_plain(model))


def _shape(
    model: nn.Module | ReLUNetwork, data: tuple[Any, Any] | None, given: Sequence[int] | None
) -> tuple[int, ...]:
    """Shape of one input as the model takes it."""
    if isinstance(model, ReLUNetwork):
        return (model.input_size,)
    first = next(model.parameters(), torch.zeros(()))
    if first.dtype not in (torch.float32, torch.float64):
        raise ArgumentError(f"only modules in float32 and float64 can be repaired, not {first.dtype}")
    if given is not None:
        return tuple(as_count(n, "each entry of input_shape") for n in given)
    sizes = None if data is None else tuple(int(n) for n in np.shape(data[0])[1:])
    return input_shape_of(model, sizes)


def _data(
    model: nn.Module | ReLUNetwork,
    shape: tuple[int, ...],
    domain: Domain | None,
    data: tuple[Any, Any] | None,
    seed: int,
) -> tuple[FloatArray, FloatArray]:
    d = prod(shape)
    if data is None:
        count = MOST
        if _is_plain(model):
            neurons = model.n_neurons if isinstance(model, ReLUNetwork) else sum(tape(model).widths)
            count = max(2000, 8 * neurons)
        p, q = Chords(domain, d, seed).draw(count)
        share = np.random.default_rng(seed).random((len(p), 1))
        x = p + share * (q - p)
        return x, values_of(model, x, shape)
    x, y = (_as_array(part) for part in data)
    y = y.reshape(-1)
    fits = x.ndim > 1 and prod(x.shape[1:]) == d and (1 in (x.ndim - 1, len(shape)) or x.shape[1:] == shape)
    if not fits or len(x) != len(y) or not len(x):
        raise ArgumentError(
            f"data must be inputs {('batch', *shape)} and targets (batch,), got {x.shape}, {y.shape}"
        )
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ArgumentError("data holds NaN or infinity")
    return x.reshape(len(x), d), y


def _as_array(part: ArrayLike | torch.Tensor) -> FloatArray:
    if isinstance(part, torch.Tensor):
        return part.detach().cpu().to(torch.float64).numpy().astype(np.float64)
    return np.asarray(part, dtype=np.float64)
