"""Read programs from modules, callables, exported programs and files."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram

from jensen.errors import ArgumentError, JensenError, NetworkError
from jensen.network._numbers import as_shape
from jensen.network._pt2 import read_pt2
from jensen.network._torch import (
    TRACING_ERRORS,
    batch_axis,
    export_eval,
    export_on,
    known_shape,
    simplified,
    traced,
)
from jensen.network._traced import Traced
from jensen.program._build import build
from jensen.program._operators import is_kept
from jensen.program._program import Leaf, Program, Shape
from jensen.program._tied import merged, namesakes

BATCH = 2
"""Samples in a batch that is traced: two, so that a mixture of samples shows."""

_UNREADABLE = "the program cannot be read: {}: {}"
_OWNER = "owner"
_WRAPPED = "return self.call(*args)"


class _Function(torch.nn.Module):
    """A callable as a module, which is what torch exports."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        own = getattr(function, "__self__", None)
        if isinstance(own, torch.nn.Module):
            # The method is looked up on the copy that is traced.
            self.owner = own
            self.method = function.__name__
        else:
            self.function = function

    @property
    def call(self) -> Callable[..., Any]:
        """What is traced."""
        found: Callable[..., Any] = (
            getattr(self.owner, self.method) if hasattr(self, "method") else self.function
        )
        return found

    def forward(self, *args: Any) -> Any:
        return self.call(*args)


def trace(model: Callable[..., Any], example_inputs: Any, parameters: Iterable[str] = ()) -> Program:
    """Trace a computation on examples of its inputs.

    Parameters
    ----------
    model : torch.nn.Module, torch.export.ExportedProgram or callable
        A module is read with the semantics of eval mode. A method of a module knows the module's parameters.
    example_inputs : tensor or sequence
        What the model is called with; floating-point tensors become leaves, all else is part of the program.
        An exported program takes none.
    parameters : iterable of str, optional
        Dotted names of parameters that become leaves too; the others are constants. Names of one tensor, as
        with tied weights, are one leaf.

    Returns
    -------
    Program

    Raises
    ------
    NetworkError
        If torch cannot trace the model.
    ArgumentError
        If a parameter is not known or shares a part of its memory with another, or the model is of no kind
        that can be traced.
    UnsupportedOperatorError
        If the program is random.
    """
    exported, labels, samples = _exported(model, example_inputs)
    where = getattr(model, "__qualname__", type(model).__name__)
    try:
        return _traced(exported, labels, samples, list(parameters), where)
    except JensenError:
        raise
    except TRACING_ERRORS as error:
        raise NetworkError(_UNREADABLE.format(type(error).__name__, error)) from error


def _traced(
    exported: ExportedProgram,
    labels: Sequence[str],
    samples: Sequence[Any],
    wanted: Sequence[str],
    where: str,
) -> Program:
    first = traced(exported)
    owners = {label.removeprefix(f"{_OWNER}."): name for name, label in first.parameters.items()}
    unknown = [name for name in wanted if name not in owners]
    if unknown:
        known = ", ".join(owners) or "none"
        raise ArgumentError(f"the model has no parameter called {unknown[0]!r:.80}; it has {known:.400}")
    tied = namesakes({label: first.constants[name] for label, name in owners.items()}, wanted)
    every = [name for label, others in tied.items() for name in (label, *others)]
    program = traced(simplified(exported, is_kept, [owners[name] for name in every]))
    nodes = [replace(node, place=_placed(node.place, where)) for node in program.nodes]
    constants = dict(program.constants)
    leaves: list[Leaf] = []
    for (name, sizes), label, sample in zip(program.inputs.items(), labels, samples, strict=True):
        if sizes is None:
            continue
        if isinstance(sample, torch.Tensor) and not sample.is_floating_point():
            constants[name] = sample.detach().cpu()
            continue
        leaves.append(Leaf(name, label, "input", _fixed(sizes)))
    for name in every:
        value = program.constants[owners[name]]
        leaves.append(Leaf(owners[name], name, "parameter", tuple(value.shape)))
    inputs = {name: program.inputs[name] for name in program.inputs if name not in constants}
    whole = Traced(constants, program.parameters, inputs, nodes, program.outputs, trusted=True)
    return merged(build(whole, leaves), tied)


def _placed(place: str, function: str) -> str:
    """Name the function instead of the module that it was wrapped in."""
    node, _, path = place.partition(" (")
    if path.startswith(_WRAPPED):
        return f"{node} (in {function})"
    return f"{node} ({path.removeprefix(f'{_OWNER}.')}" if path else place


def _exported(model: Any, example_inputs: Any) -> tuple[ExportedProgram, list[str], list[Any]]:
    """Export a model; return labels and examples of its flattened inputs too."""
    if isinstance(model, ExportedProgram):
        names = list(model.graph_signature.user_inputs)
        return model, [str(name) for name in names], [None] * len(names)
    if not callable(model):
        raise ArgumentError(
            f"a {type(model).__name__} cannot be traced: pass a torch.nn.Module or a function"
        )
    given = (example_inputs,) if isinstance(example_inputs, torch.Tensor) else example_inputs
    if not isinstance(given, Sequence) or isinstance(given, str):
        raise ArgumentError("example_inputs must be a tensor or a sequence of what the model is called with")
    module = model if isinstance(model, torch.nn.Module) else _Function(model)
    # Torch takes one tensor that is given twice for one input.
    separate = torch.utils._pytree.tree_map(
        lambda v: v.detach().clone() if isinstance(v, torch.Tensor) else v, tuple(given)
    )
    exported = export_eval(module, separate, note="")
    flat: list[Any] = []
    labels: list[str] = []
    for label, value in zip(_argument_names(model, len(given)), given, strict=True):
        parts = torch.utils._pytree.tree_leaves(value)
        flat += parts
        labels += [label] if parts == [value] else [f"{label}[{i}]" for i in range(len(parts))]
    return exported, labels, flat


def _argument_names(model: Any, count: int) -> list[str]:
    """Names of positional arguments, as far as the signature tells."""
    function = model.forward if isinstance(model, torch.nn.Module) else model
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        parameters = []
    plain = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    known = [p.name for p in parameters if p.kind in plain][:count]
    return known + [f"input{i}" for i in range(len(known), count)]


def _fixed(sizes: Sequence[int | None]) -> Shape:
    return tuple(BATCH if n is None else n for n in sizes)


def read_program(model: Any, input_shape: Any = None) -> Program:
    """Read a model whose inputs have a batch as their first axis, as `jensen.check` takes them.

    Parameters
    ----------
    model : torch.nn.Module, torch.export.ExportedProgram, or path of a .pt2 file
        Of a file nothing is unpickled.
    input_shape : sequence of int, or sequence of such, optional
        Shape of one sample of the input, or of each input, without the batch. Modules of `jensen.nn`, and
        those whose first layer is linear, tell it themselves.

    Returns
    -------
    Program
        Inputs are traced with a batch of two, or have the batch of the exported program.

    Raises
    ------
    NetworkError, UnsupportedOperatorError, ModelFileError
        If the model cannot be read.
    """
    shapes = as_shapes(input_shape)
    if isinstance(model, torch.nn.Module):
        shapes = shapes or argument_shapes(model)
        if shapes is None:
            raise NetworkError(
                "the shape of the model's input cannot be told from its first layer; pass input_shape, the "
                "shape of one input without the batch, or a list of shapes where it has several inputs"
            )
        exported = export_on(model, *((BATCH, *shape) for shape in shapes))
        labels = _argument_names(model, len(shapes))
        program = traced(simplified(exported, is_kept))
    elif isinstance(model, ExportedProgram):
        labels = [str(name) for name in model.graph_signature.user_inputs]
        program = traced(simplified(model, is_kept))
    elif isinstance(model, (str, Path)):
        program = read_pt2(model)
        labels = list(program.inputs)
    else:
        raise NetworkError(f"a {type(model).__name__} is no traced torch program")
    try:
        return build(program, _batched_leaves(program.inputs, labels, shapes))
    except JensenError:
        raise
    except TRACING_ERRORS as error:
        raise NetworkError(_UNREADABLE.format(type(error).__name__, error)) from error


def _batched_leaves(
    inputs: Mapping[str, tuple[int | None, ...] | None], labels: Sequence[str], shapes: Sequence[Shape] | None
) -> list[Leaf]:
    if shapes is not None and len(shapes) != len(inputs):
        raise NetworkError(f"the model takes {len(inputs)} inputs, input_shape names {len(shapes)} shapes")
    leaves = []
    for i, ((name, sizes), label) in enumerate(zip(inputs.items(), labels, strict=True)):
        if sizes is None:
            continue
        shape, batched = batch_axis([*sizes], None if shapes is None else shapes[i])
        if batched and sizes[0] is None:
            shape = (BATCH, *shape[1:])
        # What a program without a batch has in front, a one, is the batch of one sample.
        leaves.append(Leaf(name, label, "input", shape, batched or (len(shape) > 1 and shape[0] == 1)))
    return leaves


def as_shapes(value: Any) -> tuple[Shape, ...] | None:
    """Read the argument `input_shape`: the shape of one input, or a sequence of shapes.

    Raises
    ------
    NetworkError
        If it is neither.
    """
    if value is None:
        return None
    if isinstance(value, (list, tuple)) and value and all(isinstance(part, (list, tuple)) for part in value):
        return tuple(shape for part in value if (shape := as_shape(part)) is not None)
    shape = as_shape(value)
    return None if shape is None else (shape,)


def argument_shapes(module: torch.nn.Module) -> tuple[Shape, ...] | None:
    """Shapes of one sample of each input, as far as a module tells (`x_features`, `y_features` of two)."""
    both = tuple(getattr(module, f"{name}_features", None) for name in "xy")
    if all(type(n) is int for n in both):
        return tuple((n,) for n in both if n is not None)
    shape = known_shape(module)
    return None if shape is None else (shape,)


def takes_several(model: Any, input_shape: Any = None) -> bool:
    """Whether a module or exported program is known to take several tensors."""
    if isinstance(model, ExportedProgram):
        return len(model.graph_signature.user_inputs) > 1
    if not isinstance(model, torch.nn.Module):
        return False
    shapes = as_shapes(input_shape) or argument_shapes(model)
    return shapes is not None and len(shapes) > 1


def convex_arguments(model: Any, count: int) -> tuple[int, ...]:
    """Positions of the inputs in which convexity is a sensible question: all, unless a module tells.

    A module of `jensen.nn` tells by its `convex_arguments`; those with `x_features` and `y_features` are
    meant to be convex in the second, even where a constraint was removed and nothing is promised.
    """
    own = getattr(model, "convex_arguments", None)
    if isinstance(own, tuple) and own and all(type(i) is int and 0 <= i < count for i in own):
        return own
    if count == 2 and all(type(getattr(model, f"{name}_features", None)) is int for name in "xy"):
        return (1,)
    return tuple(range(count))
