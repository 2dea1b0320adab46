"""From what `torch.export` traced to a `Program`: shapes fixed, constants folded, nothing left over."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from jensen.errors import NetworkError, UnsupportedOperatorError
from jensen.network._torch import TRACING_ERRORS
from jensen.network._traced import Traced
from jensen.network.lowering import _program as lowered
from jensen.network.lowering._aten import packet
from jensen.network.lowering._aten_shape import register as moving
from jensen.network.lowering._budget import FoldingBudget
from jensen.program._operators import is_harmless, is_random
from jensen.program._program import Array, Leaf, Name, Node, Program, Shape

_LEFT_OUT = ("device", "layout", "pin_memory", "memory_format", "non_blocking", "copy")
"""Arguments that say where and how a tensor lies, not what it holds."""
_ALSO = ("abs", "neg", "relu", "clamp", "clamp_min", "clamp_max", "maximum", "minimum", "where")
_WRITES = frozenset(f"aten.{name}" for name in ("copy", "copy_", "slice_scatter", "select_scatter"))
"""Operators that convert what they write."""
_EXACT = frozenset((*moving, *(f"aten.{name}" for name in _ALSO)))
"""Operators that do not round."""


@dataclass(frozen=True)
class _Symbol:
    """A value that depends on a leaf: its name, and what has its shape on torch's meta device."""

    name: str
    meta: Any


def build(traced: Traced, leaves: Sequence[Leaf]) -> Program:
    """Build a program in which these values are the leaves.

    Parameters
    ----------
    traced : Traced
    leaves : sequence of Leaf
        Every tensor input of the trace, and any of its parameters.

    Raises
    ------
    NetworkError
        If the program cannot be evaluated on these shapes, or a constant is not finite or not real.
    UnsupportedOperatorError
        If an operator is random, or out of a file and not known to be harmless.
    ModelFileError
        If a file asks for constants out of proportion.
    """
    return _Builder(traced, leaves).program()


class _Builder:
    def __init__(self, traced: Traced, leaves: Sequence[Leaf]) -> None:
        self.traced, self.leaves = traced, tuple(leaves)
        self.nodes: list[Node] = []
        self.constants: dict[str, Array] = {}
        self.notes: dict[str, None] = {}
        self.budget = FoldingBudget(sum(v.numel() for v in traced.constants.values()))
        self.env: dict[str, Any] = {**traced.constants, **dict.fromkeys(traced.inputs)}
        for leaf in leaves:
            # Float64, because only shapes matter and constants of one dtype fit all others.
            meta = torch.empty(leaf.shape, dtype=torch.float64, device="meta")
            self.env[leaf.name] = _Symbol(leaf.name, meta)
        self.computed: dict[tuple[str, str], _Symbol] = {}
        # The tensors are kept with their names, so that no later one gets the same identity.
        self.named = {id(value): (name, value) for name, value in traced.constants.items()}

    def program(self) -> Program:
        for node in self.traced.nodes:
            if any(isinstance(v, lowered.Ref) and v.name not in self.env for v in lowered.leaves(node.args)):
                raise UnsupportedOperatorError(node.target, node.place, "it calls a program of its own")
            args = lowered.resolve(node.args, self.env)
            symbolic = any(isinstance(v, _Symbol) for v in lowered.leaves(args))
            self.env[node.name] = self._step(node, args) if symbolic else self._fold(node, args)
            if overwritten := lowered.overwritten(node):
                self.env[overwritten] = self.env[node.name]
        outputs = [self._output(name) for name in self.traced.outputs if self.env[name] is not None]
        if not outputs:
            raise NetworkError("the model has no tensor as output")
        nodes = _needed(self.nodes, outputs)
        used = {name for node in nodes for name in node.inputs} | set(outputs)
        constants = {name: value for name, value in self.constants.items() if name in used}
        return Program(self.leaves, constants, nodes, tuple(outputs), tuple(self.notes))

    def _output(self, name: str) -> str:
        reference = self._argument(self.env[name], name, "the output")
        if not isinstance(reference, Name):
            raise NetworkError(f"the model returns {reference!r:.80}, which is no tensor")
        return reference.name

    def _fold(self, node: lowered.Node, args: dict[str, Any]) -> Any:
        _refuse_random(node, args)
        value = lowered.fold(node, args, self.traced.trusted, self.budget)
        if (
            isinstance(value, torch.Tensor)
            and value.is_floating_point()
            and packet(node.target) not in _EXACT
        ):
            dtype = str(value.dtype).removeprefix("torch.")
            self.notes[f"{node.place}: {packet(node.target)} is computed by torch, in {dtype}"] = None
        return value

    def _step(self, node: lowered.Node, args: dict[str, Any]) -> Any:
        if packet(node.target) in ("aten.sym_size", "aten.sym_numel"):
            meta = args["self"].meta
            return meta.shape[args["dim"]] if "dim" in args else meta.numel()
        if packet(node.target) in lowered.ASSERTIONS:
            return None
        if not self.traced.trusted and node.target != "_operator.getitem" and not is_harmless(node.target):
            raise UnsupportedOperatorError(node.target, node.place, "a model file may not call it")
        if node.target != "_operator.getitem" and node.target.count(".") != 2:
            raise UnsupportedOperatorError(node.target, node.place, "it is no operator of torch")
        if node.target == "aten.view.dtype":
            raise UnsupportedOperatorError(
                node.target, node.place, "it reads a number's bits as another number"
            )
        _refuse_random(node, args)
        if node.target == "aten.to.device":
            node = replace(node, target="aten.to.dtype")  # where a tensor lies is left out
        args = {key: value for key, value in args.items() if key not in _LEFT_OUT}
        if packet(node.target) == "aten.index":
            args["indices"] = _positions(args["indices"])
        meta = self._shaped(node, args)
        if packet(node.target) in _WRITES and not meta.is_floating_point():
            args["src"] = self._whole(node, args["src"])
        stored = {key: self._argument(value, node.name, node.place) for key, value in args.items()}
        # What is computed twice is one value: `x.relu() * x.relu()` is a square. No node overwrites another.
        same = node.target, repr(sorted(stored.items()))
        if same in self.computed:
            return self.computed[same]
        shape = _shape(meta)
        if not self.traced.trusted:
            self.budget.spend(node.place, float(sum(m.numel() for m in _tensors(meta))))
        self.nodes.append(Node(node.name, node.target, stored, node.place, shape))
        self.computed[same] = _Symbol(node.name, meta)
        return self.computed[same]

    def _whole(self, node: lowered.Node, source: Any) -> Any:
        """Convert what is written into whole numbers by a node of its own, so that rules see the jumps."""
        if not isinstance(source, _Symbol) or not source.meta.is_floating_point():
            return source
        name, meta = f"{node.name}.whole", source.meta.to(torch.int64)
        args = {"self": Name(source.name), "dtype": "int64"}
        self.nodes.append(Node(name, "aten._to_copy.default", args, node.place, _shape(meta)))
        return _Symbol(name, meta)

    def _shaped(self, node: lowered.Node, args: dict[str, Any]) -> Any:
        moved = _mapped(args, _on_meta)
        if node.target == "_operator.getitem":
            return moved["a"][moved["b"]]
        if isinstance(moved.get("dtype"), torch.dtype) and moved["dtype"].is_floating_point:
            moved["dtype"] = torch.float64
        try:
            return lowered.call(node.target, moved)
        except TRACING_ERRORS as error:
            raise NetworkError(f"{node.place}: {node.target} does not fit its arguments: {error}") from error

    def _argument(self, value: Any, owner: str, place: str) -> Any:
        """Turn an argument into plain data; tensors go among the constants."""
        if isinstance(value, _Symbol):
            return Name(value.name)
        if isinstance(value, torch.Tensor):
            return self._constant(value, owner, place)
        if isinstance(value, (list, tuple)):
            return [self._argument(v, owner, place) for v in value]
        if isinstance(value, torch.dtype):
            return str(value).removeprefix("torch.")
        if value is None or isinstance(value, (bool, int, float, str)):
            return value
        raise NetworkError(f"{place}: an argument of type {type(value).__name__} cannot be kept")

    def _constant(self, value: torch.Tensor, owner: str, place: str) -> Name:
        name, _ = self.named.setdefault(id(value), (f"{owner}.constant{len(self.constants)}", value))
        if name not in self.constants:
            if value.is_complex():
                raise NetworkError(f"{place}: a constant holds complex numbers; only real ones can be read")
            plain = value.detach().cpu()
            if plain.is_floating_point():
                plain = plain.double()
                if bool(plain.isnan().any()):
                    raise NetworkError(f"{place}: a constant holds NaN")
            array = np.array(plain.contiguous().numpy())
            array.setflags(write=False)
            self.constants[name] = array
        return Name(name)


def _refuse_random(node: lowered.Node, args: Mapping[str, Any]) -> None:
    if is_random(node.target) and args.get("train", args.get("training", True)):
        raise UnsupportedOperatorError(node.target, node.place, "it is random; use eval mode")


def _positions(indices: Sequence[Any]) -> list[Any]:
    """Replace constant masks by the positions that they choose, whose number is known."""
    result: list[Any] = []
    for index in indices:
        if isinstance(index, torch.Tensor) and index.dtype in (torch.bool, torch.uint8):
            result += index.nonzero().unbind(1)
        else:
            result.append(index)
    return result


def _on_meta(value: Any) -> Any:
    if isinstance(value, _Symbol):
        return value.meta
    if isinstance(value, torch.Tensor):
        return torch.empty(
            value.shape, dtype=torch.float64 if value.is_floating_point() else value.dtype, device="meta"
        )
    return value


def _mapped(value: Any, change: Callable[[Any], Any]) -> Any:
    if isinstance(value, Mapping):
        return {key: _mapped(entry, change) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_mapped(entry, change) for entry in value]
    return change(value)


def _tensors(meta: Any) -> list[torch.Tensor]:
    return [m for m in (meta if isinstance(meta, (list, tuple)) else [meta]) if isinstance(m, torch.Tensor)]


def _shape(meta: Any) -> Shape | tuple[Shape | None, ...]:
    if isinstance(meta, (list, tuple)):
        return tuple(tuple(m.shape) if isinstance(m, torch.Tensor) else None for m in meta)
    return tuple(meta.shape)


def _needed(nodes: Sequence[Node], outputs: Sequence[str]) -> tuple[Node, ...]:
    """Keep the nodes that an output needs."""
    needed, kept = set(outputs), []
    for node in reversed(nodes):
        if node.name in needed:
            kept.append(node)
            needed.update(node.inputs)
    return tuple(reversed(kept))
