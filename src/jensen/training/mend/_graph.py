"""Parameters that feed what comes after an activation, read off a module's traced graph.

Signs are propagated through the graph: a value is free of the input, affine in it, or bent by an activation.
Bent values must be convex, and stay so: they are added, pooled, and multiplied with nonnegative weights only.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.export import ExportedProgram, export

from jensen.errors import NetworkError


@dataclass(frozen=True)
class _Value:
    """What is known of a node's value.

    Attributes
    ----------
    degree : int
        0 where it does not depend on the input, 1 where it is affine in it, 2 where it is bent.
    parameter : str
        The parameter that it is, up to its shape; or nothing.
    nonnegative : bool
        Whether it is nonnegative by construction.
    """

    degree: int
    parameter: str = ""
    nonnegative: bool = False


def parameters_after_activations(module: nn.Module, shape: tuple[int, ...], why: str) -> list[str]:
    """Name the parameters that must not be negative, where the module is traced.

    Parameters
    ----------
    module : torch.nn.Module
    shape : tuple of int
        Of one input.
    why : str
        Why the module had to be traced, for the error.

    Raises
    ------
    NetworkError
        If the module cannot be traced, or an operator is not known to keep convexity.
    """
    program = _traced(module, shape, why)
    signature = program.graph_signature
    parameters, buffers = signature.inputs_to_parameters, signature.inputs_to_buffers
    reader = _Reader(why)
    for node in program.graph.nodes:
        if node.op == "placeholder":
            name = parameters.get(node.name, "")
            known = program.state_dict.get(buffers.get(node.name, ""))
            least = known is not None and bool((known >= 0).all())
            degree = 1 if node.name in signature.user_inputs else 0
            reader.values[node.name] = _Value(degree, name, least)
        elif node.op == "call_function":
            reader.values[node.name] = reader.read(node)
        elif node.op == "get_attr":
            reader.values[node.name] = _Value(0)
    return sorted(reader.needed)


def _traced(module: nn.Module, shape: tuple[int, ...], why: str) -> ExportedProgram:
    like = next(module.parameters(), torch.zeros(()))
    sample = torch.zeros((2, *shape), dtype=like.dtype, device=like.device)
    try:
        with warnings.catch_warnings():
            # torch warns of its own deprecations while it traces.
            warnings.filterwarnings("ignore", message=".*treespec.*", category=FutureWarning)
            return export(copy.deepcopy(module).eval(), (sample,))
    except (RuntimeError, TypeError, ValueError, LookupError, AttributeError, AssertionError) as error:
        raise NetworkError(f"{why}; nor can torch.export trace the module: {error}") from error


_RESHAPING = frozenset(
    {
        "alias",
        "cat",
        "chunk",
        "clone",
        "contiguous",
        "detach",
        "detach_",
        "dropout",
        "expand",
        "feature_dropout",
    }
    | {"flatten", "getitem", "identity", "permute", "reshape", "select", "slice", "split", "squeeze", "stack"}
    | {"t", "to", "transpose", "unbind", "unflatten", "unsqueeze", "view", "_unsafe_view"}
)
"""Operators that only rearrange entries."""
_ADDING = frozenset(
    {"adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "avg_pool1d", "avg_pool2d"}
    | {"avg_pool3d", "mean", "sum", "pad", "constant_pad_nd", "add", "add_"}
)
"""Operators that add entries up, with nonnegative factors."""
_BENDING = frozenset(
    {"relu", "relu_", "maximum", "max_pool1d", "max_pool2d", "max_pool3d", "max_pool2d_with_indices"}
    | {"adaptive_max_pool1d", "adaptive_max_pool2d", "amax", "clamp_min", "softplus", "exp", "logsumexp"}
)
"""Convex and non-decreasing operators."""
_WEIGHTED = {
    **dict.fromkeys(("linear", "conv1d", "conv2d", "conv3d", "convolution"), (0, 1)),
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d", "mm", "matmul", "bmm", "mul", "mul_"), (0, 1)),
    "addmm": (1, 2),
    "batch_norm": (0, 1),
}
"""Operators that are linear in each of two arguments: their positions. All others are added."""
_NONNEGATIVE = frozenset({"abs", "relu", "exp", "softplus", "square", "sigmoid"})


class _Reader:
    """Propagates what is known through the nodes of a graph."""

    def __init__(self, why: str) -> None:
        self.values: dict[str, _Value] = {}
        self.needed: set[str] = set()
        self.why = why

    def read(self, node: torch.fx.Node) -> _Value:
        """Tell what is known of a node's value; note the parameters that it needs to be nonnegative."""
        name = getattr(node.target, "_opname", getattr(node.target, "__name__", str(node.target)))
        inputs = [self.values[n.name] for n in node.all_input_nodes]
        degree = max((value.degree for value in inputs), default=0)
        if degree == 0:
            return self._constant(name, inputs)
        arguments: Any = node.args
        options: Mapping[str, Any] = node.kwargs
        if name in _RESHAPING or name in _ADDING:
            if options.get("alpha", 1) < 0 and degree > 1:
                raise self._refusal(node, "it subtracts")
            return _Value(degree)
        if name in _BENDING:
            return _Value(2)
        if name in ("leaky_relu", "leaky_relu_"):
            slope = arguments[1] if len(arguments) > 1 else options.get("negative_slope", 0.01)
            if not 0 <= slope <= 1:
                raise self._refusal(node, f"slope {slope} below zero is not convex and non-decreasing")
            return _Value(2)
        if name == "abs" and degree == 1:
            return _Value(2)
        if name in _WEIGHTED:
            self._weighted(node, name)
            return _Value(degree)
        if name in _AFFINE:
            _AFFINE[name](self, node)
            return _Value(degree)
        raise self._refusal(node, "it is not known to keep convexity")

    @staticmethod
    def _constant(name: str, inputs: list[_Value]) -> _Value:
        if name in _NONNEGATIVE:
            return _Value(0, nonnegative=True)
        kept = name in _RESHAPING and len(inputs) == 1
        return inputs[0] if kept else _Value(0)

    def _weighted(self, node: torch.fx.Node, name: str) -> None:
        first, second = (node.args[i] if i < len(node.args) else None for i in _WEIGHTED[name])
        for value, factor in ((first, second), (second, first)):
            if self._degree(value) == 2:
                self._need(node, factor)

    def subtracted(self, node: torch.fx.Node) -> None:
        """Refuse to subtract what is bent."""
        if self._degree(node.args[1]) == 2:
            raise self._refusal(node, "it subtracts what an activation has bent")

    def negated(self, node: torch.fx.Node) -> None:
        """Refuse to negate what is bent."""
        if self._degree(node.args[0]) == 2:
            raise self._refusal(node, "it negates what an activation has bent")

    def divided(self, node: torch.fx.Node) -> None:
        """Refuse to divide what is bent by anything but positive numbers."""
        by = node.args[1]
        if self._degree(node.args[0]) == 2 and not (isinstance(by, (int, float)) and by > 0):
            raise self._refusal(node, "it divides what an activation has bent")

    def _need(self, node: torch.fx.Node, factor: Any) -> None:
        """Ask for a nonnegative factor."""
        if factor is None or (isinstance(factor, (int, float)) and factor >= 0):
            return
        value = self.values.get(factor.name) if isinstance(factor, torch.fx.Node) else None
        if value is None or value.degree > 0 or not (value.parameter or value.nonnegative):
            raise self._refusal(node, "it multiplies what an activation has bent with what is no parameter")
        if value.parameter:
            self.needed.add(value.parameter)

    def _degree(self, argument: Any) -> int:
        return self.values[argument.name].degree if isinstance(argument, torch.fx.Node) else 0

    def _refusal(self, node: torch.fx.Node, reason: str) -> NetworkError:
        stack = node.meta.get("nn_module_stack") or {}
        path = next((entry[0] for entry in reversed(list(stack.values())) if entry[0]), "")
        layer = path.removeprefix("L['self'].")
        return NetworkError(
            f"{self.why}; and cannot tell which parameters must be nonnegative: operator {node.target}"
            + (f" in layer {layer!r}: {reason}" if layer else f": {reason}")
        )


_AFFINE: Mapping[str, Callable[[_Reader, torch.fx.Node], None]] = {
    "sub": _Reader.subtracted,
    "neg": _Reader.negated,
    "div": _Reader.divided,
}
