"""A training loss on fixed data as a traced program of all parameters."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from jensen.blocks._elementary import elementary
from jensen.blocks._losses import LOSSES
from jensen.errors import ArgumentError, NetworkError
from jensen.network import FloatArray
from jensen.program import Leaf, Program, trace

LossLike: TypeAlias = str | Callable[..., Tensor] | None


class _TrainingLoss(nn.Module):
    """The loss of a model on data that it holds; `trace` leaves the name `owner` out of parameters' names."""

    def __init__(self, model: nn.Module, loss: Callable[..., Tensor] | None, data: Sequence[Tensor]) -> None:
        super().__init__()
        self.owner, self.loss, self.count = model, loss, len(data)
        for number, part in enumerate(data):
            self.register_buffer(f"data{number}", part)

    def forward(self) -> Tensor:
        data = [self.get_buffer(f"data{number}") for number in range(self.count)]
        if self.loss is None:
            result: Tensor = self.owner(*data)
        else:
            result = self.loss(self.owner(*data[:-1]), data[-1])
        return result


@dataclass(frozen=True, eq=False)
class Objective:
    """A training loss as a function of parameters.

    Attributes
    ----------
    program : Program
        Whose leaves are all parameters, in float64; data are constants. It has one output of one entry.
    values : mapping of str to float64 array
        The parameters' own values, by dotted names.
    """

    program: Program
    values: Mapping[str, FloatArray]

    @property
    def names(self) -> tuple[str, ...]:
        """Dotted names of all parameters."""
        return tuple(self.values)

    @cached_property
    def elementary(self) -> Program:
        """The same function made of few operators, each of which can be enclosed or lowered."""
        return elementary(self.program)

    def leaves(self, block: Sequence[str]) -> tuple[Leaf, ...]:
        """Leaves of a block, in its order."""
        found = {leaf.label: leaf for leaf in self.program.leaves}
        return tuple(found[name] for name in block)

    def size(self, block: Sequence[str]) -> int:
        """Count the entries of a block."""
        return sum(self.values[name].size for name in block)

    def chosen(self, wrt: str | Sequence[str]) -> tuple[str, ...]:
        """Resolve names of parameters, or of modules for all their parameters.

        Raises
        ------
        ArgumentError
            If there is no such parameter.
        """
        chosen: dict[str, None] = {}
        for key in [wrt] if isinstance(wrt, str) else list(wrt):
            found = [name for name in self.names if name == key or name.startswith(f"{key}.")]
            if not isinstance(key, str) or not found:
                known = ", ".join(self.names)
                raise ArgumentError(f"the model has no parameter called {key!r:.80}; it has {known:.400}")
            chosen.update(dict.fromkeys(found))
        if not chosen:
            raise ArgumentError("there is no variable: name parameters in wrt")
        return tuple(chosen)

    def split(self, block: Sequence[str], point: Any) -> dict[str, Any]:
        """Cut a vector of a block's entries into arrays by names."""
        parts: dict[str, Any] = {}
        start = 0
        for name in block:
            shape, size = self.values[name].shape, self.values[name].size
            parts[name] = np.asarray(point[start : start + size]).reshape(shape)
            start += size
        return parts

    def value(self, changed: Mapping[str, FloatArray] | None = None) -> float:
        """Evaluate the loss in float64, with some parameters replaced."""
        known = {**self.values, **(changed or {})}
        (result,) = self.program.evaluate(*(known[leaf.label] for leaf in self.program.leaves))
        return float(result.reshape(()))


def as_loss(loss: LossLike) -> Callable[..., Tensor] | None:
    """Look a loss up by its name.

    Raises
    ------
    ArgumentError
        If it is not known.
    """
    if isinstance(loss, str):
        if loss not in LOSSES:
            raise ArgumentError(f"loss must be a function or one of {', '.join(LOSSES)}, got {loss!r:.80}")
        return LOSSES[loss]
    if loss is not None and not callable(loss):
        raise ArgumentError(f"loss must be a function of (output, target), got a {type(loss).__name__}")
    return loss


def as_data(data: Any) -> tuple[Tensor, ...]:
    """Read data as tensors, floats in float64.

    Raises
    ------
    ArgumentError
        If they are no tensors or arrays.
    """
    given = [data] if isinstance(data, (Tensor, np.ndarray)) else data
    if isinstance(given, (str, Mapping)) or not isinstance(given, Sequence) or not given:
        raise ArgumentError("data must be a sequence of tensors: the model's inputs, then the targets")
    tensors = []
    for part in given:
        if not isinstance(part, (Tensor, np.ndarray)):
            raise ArgumentError(f"data must be tensors or arrays, got a {type(part).__name__}")
        tensor = torch.as_tensor(part).detach().cpu()
        tensors.append(tensor.double() if tensor.is_floating_point() else tensor)
    return tuple(tensors)


def objective(model: nn.Module, loss: LossLike, data: Any) -> Objective:
    """Trace a training loss.

    Parameters
    ----------
    model : torch.nn.Module
        Called with all of `data` but the last, in eval mode and float64, to which floats convert exactly.
    loss : str or callable or None
        A function of (output, target), or a name in `LOSSES`. None: the model returns the loss of all data.
    data : sequence of tensors or arrays
        Inputs, then targets. What is computed from data alone is what torch computes in float64.

    Raises
    ------
    ArgumentError
        If an argument makes no sense.
    NetworkError
        If torch cannot trace the loss, or it is not one number.
    UnsupportedOperatorError
        If it is random.
    """
    if not isinstance(model, nn.Module):
        raise ArgumentError(f"model must be a torch.nn.Module, got a {type(model).__name__}")
    whole = copy.deepcopy(_TrainingLoss(model, as_loss(loss), as_data(data))).cpu().double()
    owned = {name.removeprefix("owner."): p for name, p in whole.named_parameters()}
    if not owned:
        raise ArgumentError("the model has no parameters")
    program = trace(whole, (), list(owned))
    shapes = [program.shapes[name] for name in program.outputs]
    if len(shapes) != 1 or np.prod(shapes[0], dtype=int) != 1:
        raise NetworkError(f"the loss must be one number, got shapes {shapes}; take its sum or mean")
    values = {name: np.array(p.detach().numpy(), dtype=np.float64) for name, p in owned.items()}
    for name, value in values.items():
        if not np.isfinite(value).all():
            raise NetworkError(f"{name!r} holds NaN or infinity")
        value.setflags(write=False)
    return Objective(program, values)
