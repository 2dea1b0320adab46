"""Programs rewritten with few operators: sums, products, ReLUs, moves of entries, log-sum-exp.

What enclosures and the lowering to a ReLU network must know stays short, and both read the same program.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
import torch

from jensen.network.lowering._aten_shape import register as moving
from jensen.network.lowering._program import call
from jensen.program import Array, Name, Node, Program, Shape

_LINEAR_MOVES = frozenset(
    name for name in moving if name.rpartition(".")[2] not in ("cat", "concat", "concatenate", "stack")
)
_MORE_MOVES = frozenset(("aten.gather", "aten.diagonal", "aten.index_select", "aten.take_along_dim"))
_FILLING = ("pad", "pad_nd", "pad1d", "pad2d", "scatter")
"""Endings of operators that bring in entries of other values."""
_SHAPES = "view reshape flatten unflatten squeeze unsqueeze alias clone detach"
_RESHAPES = frozenset(f"aten.{name}" for name in _SHAPES.split())


def elementary(program: Program) -> Program:
    """Rewrite losses, maxima, clamps and moves; what has no rewriting stays as it is."""
    builder = _Builder(program)
    for node in program.nodes:
        builder.add(node)
    renamed = tuple(builder.renamed.get(name, name) for name in program.outputs)
    return Program(program.leaves, builder.constants, tuple(builder.nodes), renamed, program.notes)


class _Builder:
    def __init__(self, program: Program) -> None:
        self.program = program
        self.constants: dict[str, Array] = dict(program.constants)
        self.nodes: list[Node] = []
        self.shapes: dict[str, Any] = dict(program.shapes)
        self.renamed: dict[str, str] = {}
        self.parts: dict[str, Sequence[Name]] = {}
        self.node = program.nodes[0] if program.nodes else Node("", "", {}, "", ())

    def add(self, node: Node) -> None:
        """Rewrite one node, or keep it."""
        self.node = node
        args = self._current(node.args)
        if node.operator == "_operator.getitem" and args["a"].name in self.parts:
            self.renamed[node.name] = self.parts[args["a"].name][args["b"]].name
            return
        rule = _RULES.get(node.packet)
        result = None if rule is None else rule(self, args)
        if result is None and node.packet in _LINEAR_MOVES | _MORE_MOVES:
            result = self._moved(node, args)
        if result is None:
            self.nodes.append(Node(node.name, node.operator, args, node.place, node.shape))
        elif isinstance(result, Name):
            self.renamed[node.name] = result.name
        else:
            self.parts[node.name] = result

    def _current(self, value: Any) -> Any:
        if isinstance(value, Name):
            return Name(self.renamed.get(value.name, value.name))
        if isinstance(value, Mapping):
            return {key: self._current(v) for key, v in value.items()}
        return [self._current(v) for v in value] if isinstance(value, list) else value

    def shape(self, value: Any) -> Shape:
        """Shape of a value; () of a number."""
        return self.shapes[value.name] if isinstance(value, Name) else ()

    def constant(self, array: Any) -> Name:
        """Keep an array."""
        name = f"elementary.constant{len(self.constants)}"
        self.constants[name] = np.asarray(array)
        self.shapes[name] = self.constants[name].shape
        return Name(name)

    def emit(self, operator: str, args: Mapping[str, Any], shape: Shape) -> Name:
        """Append a node."""
        name = f"{self.node.name}.{len(self.nodes)}"
        self.nodes.append(Node(name, operator, dict(args), self.node.place, shape))
        self.shapes[name] = shape
        return Name(name)

    def pair(self, operator: str, a: Any, b: Any) -> Name:
        """Append an operator of two values that broadcast; the first must be no plain number."""
        if not isinstance(a, Name):
            a = self.constant(np.float64(a))
        shape = np.broadcast_shapes(self.shape(a), self.shape(b))
        overload = "Tensor" if isinstance(b, Name) else "Scalar"
        return self.emit(f"aten.{operator}.{overload}", {"self": a, "other": b}, shape)

    def single(self, operator: str, a: Name) -> Name:
        """Append an operator of one value."""
        return self.emit(f"aten.{operator}.default", {"self": a}, self.shape(a))

    def maximum(self, a: Any, b: Any) -> Name:
        """Express max(a, b) as b + relu(a - b)."""
        return self.pair("add", self.single("relu", self.pair("sub", a, b)), b)

    def minimum(self, a: Any, b: Any) -> Name:
        """Express min(a, b) as b - relu(b - a)."""
        if not isinstance(b, Name):
            b = self.constant(np.float64(b))
        return self.pair("sub", b, self.single("relu", self.pair("sub", b, a)))

    def picked(self, a: Name, index: Array) -> Name:
        """Entries of a value by their numbers, in the shape of `index`."""
        flat = self.emit("aten.reshape.default", {"self": a, "shape": [-1]}, (prod(self.shape(a)),))
        place = self.constant(np.ascontiguousarray(index.reshape(-1)))
        taken = self.emit("aten.gather.default", {"self": flat, "dim": 0, "index": place}, (index.size,))
        return self.emit("aten.reshape.default", {"self": taken, "shape": list(index.shape)}, index.shape)

    def reduced(self, losses: Name, reduction: int) -> Name:
        """Reduce as torch's losses do: 0 not at all, 1 by their mean, 2 by their sum."""
        if reduction == 0:
            return losses
        operator = "aten.mean.default" if reduction == 1 else "aten.sum.default"
        return self.emit(operator, {"self": losses}, ())

    def asks_where(self, name: str) -> bool:
        """Whether the positions that a maximum returns beside its values are used."""
        readers = (node for node in self.program.nodes if name in node.inputs)
        return any(node.args.get("b") == 1 for node in readers)

    def numbers(self, a: Name) -> torch.Tensor:
        """Numbers of a value's entries, in its shape."""
        return torch.arange(prod(self.shape(a))).reshape(self.shape(a))

    def given(self, value: Any) -> Any:
        """Turn a constant argument into what torch takes."""
        if isinstance(value, Name):
            return torch.tensor(self.constants[value.name])
        return [self.given(v) for v in value] if isinstance(value, list) else value

    def _moved(self, node: Node, args: Mapping[str, Any]) -> Name | Sequence[Name] | None:
        """Express an operator that only moves entries by their numbers."""
        key = "self" if "self" in args else "input"
        moved = args.get(key)
        if not isinstance(moved, Name) or moved.name in self.constants or args.get("train", False):
            return None
        rest = {k: v for k, v in args.items() if k != key}
        if not all(name in self.constants for name in _named(rest)) or node.packet.endswith(_FILLING):
            return None
        if node.packet in _RESHAPES:
            shape = node.shape
            return self.emit("aten.reshape.default", {"self": moved, "shape": list(shape)}, shape)  # type: ignore[arg-type]
        if node.packet in ("aten.t", "aten.transpose", "aten.permute"):
            return None
        plain = {k: self.given(v) for k, v in rest.items() if k != "dtype"}
        if "dtype" in rest or node.packet in ("aten.to", "aten._to_copy"):
            return moved if str(rest.get("dtype") or "float").startswith("float") else None
        result = call(node.operator, {key: self.numbers(moved), **plain})
        if isinstance(result, torch.Tensor):
            return self.picked(moved, result.numpy())
        return [self.picked(moved, part.numpy()) for part in result]


def _named(value: Any) -> list[str]:
    if isinstance(value, Name):
        return [value.name]
    if isinstance(value, Mapping):
        value = list(value.values())
    return [n for v in value for n in _named(v)] if isinstance(value, list) else []


Args = Mapping[str, Any]
Result = Name | Sequence[Name] | None
_RULES: dict[str, Callable[[_Builder, Args], Result]] = {}


def _rule(*names: str) -> Callable[[Callable[[_Builder, Args], Result]], Callable[[_Builder, Args], Result]]:
    def remember(function: Callable[[_Builder, Args], Result]) -> Callable[[_Builder, Args], Result]:
        _RULES.update({f"aten.{name}": function for name in names})
        return function

    return remember


@_rule("rsub")
def _rsub(b: _Builder, args: Args) -> Result:
    return b.pair("sub", args["other"], args["self"]) if args.get("alpha", 1) == 1 else None


@_rule("relu_", "abs_", "neg_")
def _in_place(b: _Builder, args: Args) -> Result:
    return b.single(b.node.packet.removeprefix("aten.").removesuffix("_"), args["self"])


@_rule("clamp", "clip", "clamp_min", "clamp_max", "hardtanh", "relu6")
def _clamp(b: _Builder, args: Args) -> Result:
    low, high = args.get("min", args.get("min_val")), args.get("max", args.get("max_val"))
    if b.node.packet == "aten.relu6":
        low, high = 0.0, 6.0
    elif b.node.packet == "aten.hardtanh":
        low, high = (-1.0 if low is None else low), (1.0 if high is None else high)
    result = args["self"]
    if low is not None:
        zero = not isinstance(low, Name) and low == 0
        result = b.single("relu", result) if zero else b.maximum(result, low)
    return result if high is None else b.minimum(result, high)


@_rule("maximum", "minimum")
def _extreme(b: _Builder, args: Args) -> Result:
    return (b.maximum if b.node.packet == "aten.maximum" else b.minimum)(args["self"], args["other"])


@_rule("amax", "amin", "max", "min")
def _extremes(b: _Builder, args: Args) -> Result:
    kind = b.node.packet.removeprefix("aten.a").removeprefix("aten.")
    combine = b.maximum if kind == "max" else b.minimum
    if "other" in args:
        return combine(args["self"], args["other"])
    if b.node.operator.endswith(".dim") and b.asks_where(b.node.name):
        return None
    given, axes = args["self"], args.get("dim")
    numbers = b.numbers(given).numpy()
    chosen = range(numbers.ndim) if axes is None or axes == [] else [axes] if isinstance(axes, int) else axes
    gone = sorted({axis % numbers.ndim for axis in chosen})
    rest = [axis for axis in range(numbers.ndim) if axis not in gone]
    columns = numbers.transpose([*rest, *gone]).reshape(*(numbers.shape[a] for a in rest), -1)
    best = [b.picked(given, columns[..., i]) for i in range(columns.shape[-1])]
    while len(best) > 1:
        best = [combine(*best[i : i + 2]) if i + 1 < len(best) else best[i] for i in range(0, len(best), 2)]
    shape = b.node.shape if b.node.operator.endswith((".default", "amax.default")) else b.node.shape[0]
    if not isinstance(shape, tuple):
        shape = b.shape(best[0])
    value = b.emit("aten.reshape.default", {"self": best[0], "shape": list(shape)}, shape)  # type: ignore[arg-type]
    return [value] if b.node.operator.endswith(".dim") else value


@_rule("where")
def _where(b: _Builder, args: Args) -> Result:
    condition = args["condition"]
    if condition.name not in b.constants:
        return None
    mask = b.constants[condition.name].astype(np.float64)
    parts = []
    for key, share in (("self", mask), ("other", 1 - mask)):
        if isinstance(args[key], Name) or args[key] != 0:
            parts.append(b.pair("mul", args[key], b.constant(share)))
    if not parts:
        return None
    return parts[0] if len(parts) == 1 else b.pair("add", *parts)


@_rule("zeros_like", "ones_like", "full_like")
def _filled(b: _Builder, args: Args) -> Result:
    kind = b.node.packet.removeprefix("aten.")
    value = 0.0 if kind == "zeros_like" else 1.0 if kind == "ones_like" else float(args["fill_value"])
    return b.constant(np.full(b.shape(args["self"]), value))


@_rule("addmm")
def _addmm(b: _Builder, args: Args) -> Result:
    if args.get("alpha", 1) != 1 or args.get("beta", 1) != 1:
        return None
    shape = b.node.shape
    product = b.emit("aten.mm.default", {"self": args["mat1"], "mat2": args["mat2"]}, shape)  # type: ignore[arg-type]
    return b.pair("add", product, args["self"])


@_rule("l1_loss", "mse_loss")
def _difference(b: _Builder, args: Args) -> Result:
    gap = b.pair("sub", args["self"], args["target"])
    bent = b.single("abs" if b.node.packet == "aten.l1_loss" else "square", gap)
    return b.reduced(bent, args.get("reduction", 1))


def _log_sums(b: _Builder, scores: Name, axis: int, keep: bool) -> Name:
    own = b.shape(scores)
    shape = tuple(1 if a == axis else n for a, n in enumerate(own) if keep or a != axis)
    return b.emit("aten.logsumexp.default", {"self": scores, "dim": [axis], "keepdim": keep}, shape)


@_rule("log_softmax", "_log_softmax")
def _log_softmax(b: _Builder, args: Args) -> Result:
    axis = args["dim"] % max(len(b.shape(args["self"])), 1)
    return b.pair("sub", args["self"], _log_sums(b, args["self"], axis, True))


def _of_class(b: _Builder, scores: Name, args: Args) -> Name | None:
    """Scores of the given classes, where nothing is weighted or ignored."""
    target, shape = args["target"], b.shape(scores)
    if target.name not in b.constants or args.get("weight") is not None or len(shape) not in (1, 2):
        return None
    classes = b.constants[target.name]
    if classes.dtype.kind not in "iu" or (classes == args.get("ignore_index", -100)).any():
        return None
    rows = np.arange(shape[0]) * shape[1] if len(shape) == 2 else 0
    return b.picked(scores, np.asarray(rows + classes))


@_rule("cross_entropy_loss")
def _cross_entropy(b: _Builder, args: Args) -> Result:
    scores = args["self"]
    right = _of_class(b, scores, args) if not args.get("label_smoothing") else None
    if right is None:
        return None
    sums = _log_sums(b, scores, len(b.shape(scores)) - 1, False)
    return b.reduced(b.pair("sub", sums, right), args.get("reduction", 1))


@_rule("nll_loss", "nll_loss_nd")
def _nll(b: _Builder, args: Args) -> Result:
    right = _of_class(b, args["self"], args)
    return None if right is None else b.reduced(b.single("neg", right), args.get("reduction", 1))


@_rule("binary_cross_entropy_with_logits")
def _logits(b: _Builder, args: Args) -> Result:
    if args.get("weight") is not None or args.get("pos_weight") is not None:
        return None
    grown = b.emit("aten.softplus.default", {"self": args["self"]}, b.shape(args["self"]))
    losses = b.pair("sub", grown, b.pair("mul", args["self"], args["target"]))
    return b.reduced(losses, args.get("reduction", 1))


@_rule("batch_norm", "_native_batch_norm_legit_no_training")
def _batch_norm(b: _Builder, args: Args) -> Result:
    """Write out batch normalisation by running statistics, per channel."""
    mean, variance, x = args.get("running_mean"), args.get("running_var"), args["input"]
    if args.get("training", False) or not isinstance(mean, Name) or not isinstance(variance, Name):
        return None
    shape = [-1] + [1] * (len(b.shape(x)) - 2)

    def spread(a: Name) -> Name:
        size = (prod(b.shape(a)), *shape[1:])
        return b.emit("aten.reshape.default", {"self": a, "shape": shape}, size)

    root = b.single("sqrt", b.pair("add", variance, float(args.get("eps", 1e-5))))
    factor = b.single("reciprocal", root)
    if isinstance(args.get("weight"), Name):
        factor = b.pair("mul", factor, args["weight"])
    result = b.pair("mul", b.pair("sub", x, spread(mean)), spread(factor))
    if isinstance(args.get("bias"), Name):
        result = b.pair("add", result, spread(args["bias"]))
    return [result] if b.node.packet.endswith("no_training") else result
