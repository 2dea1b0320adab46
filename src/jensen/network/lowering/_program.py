"""A traced torch program as plain data, from `torch.export` or from a file, and its lowering."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import torch

from jensen.errors import ModelFileError, UnsupportedOperatorError
from jensen.network._lowered import Lowered, measured
from jensen.network._relu_network import FloatArray
from jensen.network.lowering._aten import Call, packet, unsupported
from jensen.network.lowering._aten_table import HANDLERS
from jensen.network.lowering._budget import FoldingBudget
from jensen.network.lowering._folding import is_foldable, on_meta
from jensen.network.lowering._output import chosen_output
from jensen.network.lowering._piecewise import Condition
from jensen.network.lowering._size import bound_weights
from jensen.network.lowering._tape import Tape
from jensen.network.lowering._tensor import Tensor

_INTEGER_OPERATORS: dict[str, Callable[..., Any]] = {
    f"_operator.{name}": getattr(operator, name)
    for name in ("add", "sub", "mul", "floordiv", "mod", "neg", "eq", "ne", "lt", "le", "gt", "ge", "and_")
}
ASSERTIONS = (
    "aten._assert_scalar",
    "aten._assert_async",
    "aten._assert_tensor_metadata",
    "aten.sym_constrain_range",
    "aten.sym_constrain_range_for_size",
)
_PRODUCTS = frozenset(f"aten.{name}" for name in ("addmm", "bmm", "linear", "matmul", "mm", "mv"))

REBINDING = ("aten.detach_", "aten.batch_norm")
"""Operators that count as in-place but do not change any value in eval mode."""


@dataclass(frozen=True)
class Ref:
    """The value of an earlier node."""

    name: str


@dataclass(frozen=True)
class Node:
    """One operator call.

    Attributes
    ----------
    name : str
        The node's name; several results are one tuple under this name.
    target : str
        For instance ``aten.linear.default``.
    args : mapping of str to value
        By the names of the operator's schema; `Ref` for earlier values.
    place : str
        Where it stands, for messages.
    dtype : str
        Name of the result's dtype, for instance ``float32``; empty if it has none.
    """

    name: str
    target: str
    args: Mapping[str, Any]
    place: str
    dtype: str


@dataclass(frozen=True)
class Program:
    """A traced program with one input.

    Attributes
    ----------
    constants : mapping of str to torch.Tensor
        Parameters, buffers and literal tensors.
    input_name : str
    input_shape : tuple of int
        As the program sees it, the batch included.
    batched : bool
        Whether axis 0 of the input is the batch.
    nodes : sequence of Node
    outputs : sequence of str
    trusted : bool
        Whether the program came from this process; a file's constants are folded by a short list of
        operators only.
    """

    constants: Mapping[str, torch.Tensor]
    input_name: str
    input_shape: tuple[int, ...]
    batched: bool
    nodes: Sequence[Node]
    outputs: Sequence[str]
    trusted: bool

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of one input, without the batch (a leading 1 of a program without batch counts as batch)."""
        lead = self.batched or (len(self.input_shape) > 1 and self.input_shape[0] == 1)
        return self.input_shape[1:] if lead else self.input_shape


def lower(program: Program, output: int | None) -> Lowered:
    """Lower a program.

    Raises
    ------
    NetworkError
        If the output is not one number, the batch is mixed, or the network is too large.
    UnsupportedOperatorError
        If an operator cannot be lowered.
    """
    bound_weights(program)
    shape = program.sample_shape
    tape = Tape(prod(shape))
    inner = (1, *program.input_shape[1:]) if program.batched else program.input_shape
    batch_size = program.input_shape[0] if program.batched else 1
    source = Tensor(tape, tape.input(), inner, 0 if program.batched else None, batch_size)
    budget = FoldingBudget(sum(v.numel() for v in program.constants.values()))
    env: dict[str, Any] = {**program.constants, program.input_name: source}
    for node in program.nodes:
        args = resolve(node.args, env)
        tape.place = node.place
        if _symbolic(args):
            env[node.name] = _step(node, args, tape)
        else:
            env[node.name] = fold(node, args, program.trusted, budget)
        if mutated := overwritten(node):
            env[mutated] = env[node.name]
    values = [env[name] for name in program.outputs if env[name] is not None]
    network, index = chosen_output(tape, values, output, shape)
    return measured(network, tuple(tape.notes), lambda x: _replay(program, env, x, index))


def _step(node: Node, args: dict[str, Any], tape: Tape) -> Any:
    if node.target == "_operator.getitem":
        return args["a"][args["b"]]
    if packet(node.target) in ("aten.sym_size", "aten.sym_numel"):
        shape = args["self"].visible_shape
        return shape[args["dim"]] if "dim" in args else prod(shape)
    if packet(node.target) in ASSERTIONS:
        return None
    handler = HANDLERS.get(packet(node.target))
    if handler is None:
        raise unsupported(node.target, node.place)
    return handler(Call(node.target, args, tape, node.dtype))


def fold(node: Node, args: dict[str, Any], trusted: bool, budget: FoldingBudget) -> Any:
    """Evaluate a node that does not depend on the input, by torch and in the model's own dtype.

    Raises
    ------
    UnsupportedOperatorError, ModelFileError
        If the program is not trusted and the operator is not on the short list, or costs too much.
    """
    if node.target in _INTEGER_OPERATORS:
        return _INTEGER_OPERATORS[node.target](*args.values())
    if node.target == "_operator.getitem":
        return args["a"][args["b"]]
    if packet(node.target) in ASSERTIONS:
        return None
    if not trusted:
        if not is_foldable(node.target):
            raise UnsupportedOperatorError(
                node.target, node.place, "a model file may not compute its constants with this operator"
            )
        budget.spend(node.place, *_cost(node, args))
    with torch.no_grad():
        return call(node.target, args)


def _cost(node: Node, args: dict[str, Any]) -> tuple[int, int]:
    """Count the elements that a constant has, and the multiplications of a matrix product."""
    try:
        results = on_meta(node.target, args)
    except (RuntimeError, TypeError, ValueError, IndexError, NotImplementedError) as error:
        raise ModelFileError(f"{node.place}: {node.target} does not fit its arguments: {error}") from error
    elements = sum(result.numel() for result in results)
    sizes = [n for v in leaves(args) if isinstance(v, torch.Tensor) for n in v.shape]
    return elements, elements * max(sizes, default=1) if packet(node.target) in _PRODUCTS else 0


def call(target: str, args: Mapping[str, Any]) -> Any:
    """Call an aten operator by name."""
    if target in ("aten.view.default", "aten._unsafe_view.default"):
        # How the tensors of a trace lay in memory, on which views rest, is not kept.
        return args["self"].reshape(args["size"])
    overload = overload_of(target)
    return overload(**({**args, "device": "cpu"} if "device" in args else args))


def overload_of(target: str) -> Any:
    """Find the operator of a name like ``aten.linear.default``."""
    namespace, name, overload = target.split(".")
    return getattr(getattr(getattr(torch.ops, namespace), name), overload)


def overwritten(node: Node) -> str | None:
    """Name of the value that an in-place operator overwrites."""
    own = node.args.get("self")
    return own.name if is_in_place(node.target) and isinstance(own, Ref) else None


def is_in_place(target: str) -> bool:
    """Whether an operator overwrites its first argument, as the underscore says."""
    name = packet(target)
    return name.startswith("aten.") and name.endswith("_") and name not in REBINDING


def resolve(value: Any, env: Mapping[str, Any]) -> Any:
    """Replace every `Ref` by the value of its name."""
    if isinstance(value, Ref):
        return env[value.name]
    if isinstance(value, (list, tuple)):
        return [resolve(v, env) for v in value]
    if isinstance(value, Mapping):
        return {k: resolve(v, env) for k, v in value.items()}
    return value


def leaves(value: Any) -> Iterator[Any]:
    """List what nested lists, tuples and mappings hold."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for v in value:
            yield from leaves(v)
    else:
        yield value


def _symbolic(value: Any) -> bool:
    return any(isinstance(v, (Tensor, Condition)) for v in leaves(value))


def _replay(program: Program, lowered: Mapping[str, Any], points: FloatArray, output: int) -> FloatArray:
    """Run the program itself on samples, by torch in float64, on the constants of the lowering."""
    size = program.input_shape[0] if program.batched else 1
    constants = {k: _double(v) for k, v in lowered.items() if not _symbolic(v)}
    results = []
    for start in range(0, len(points), size):
        chunk = points[start : start + size]
        full = np.concatenate([chunk, np.zeros((size - len(chunk), points.shape[1]))])
        env = {**constants, program.input_name: torch.from_numpy(full.reshape(program.input_shape))}
        with torch.no_grad():
            for node in program.nodes:
                if node.name not in constants:
                    env[node.name] = _evaluate(node, resolve(node.args, env))
                    if mutated := overwritten(node):
                        env[mutated] = env[node.name]
        values = [env[name] for name in program.outputs if isinstance(env[name], torch.Tensor)]
        flat = torch.cat([v.reshape(size, -1) for v in values], dim=1)
        results.append(flat[: len(chunk), output].double().numpy())
    return np.concatenate(results)


def _evaluate(node: Node, args: dict[str, Any]) -> Any:
    if node.target == "_operator.getitem":
        return args["a"][args["b"]]
    if packet(node.target) in ASSERTIONS:
        return None
    dtype = args.get("dtype")
    if isinstance(dtype, torch.dtype) and dtype.is_floating_point:
        args = {**args, "dtype": torch.float64}
    return call(node.target, args)


def _double(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.double() if value.is_floating_point() else value
    if isinstance(value, (list, tuple)):
        return type(value)(_double(v) for v in value)
    return value
