"""The training loss in a block, as a ReLU network of the block's entries."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import prod
from typing import Any

import numpy as np
import torch

from jensen.blocks._objective import Objective
from jensen.blocks._rules import analysed
from jensen.blocks._scaled import Scaled, common, constant_at
from jensen.calculus._value import NEGATIVE, Value, has
from jensen.errors import JensenError, NetworkError, UnsupportedOperatorError
from jensen.network import FloatArray, ReLUNetwork
from jensen.network._lowered import measured
from jensen.network._torch import TRACING_ERRORS
from jensen.network.lowering import _linear, _piecewise, _tensor
from jensen.network.lowering._aten import Call, unsupported
from jensen.network.lowering._aten_shape import register as moving
from jensen.network.lowering._aten_table import HANDLERS
from jensen.network.lowering._program import leaves as leaves_of
from jensen.network.lowering._rounding import matrix_product_is_exact, product_is_exact, sum_is_exact
from jensen.network.lowering._tape import Tape
from jensen.network.lowering._tensor import Tensor
from jensen.program import Node, substituted
from jensen.program._evaluate import applied

_ALSO = "prelu neg sum matmul mm mv bmm dot mul div gather"
_FILLING = frozenset(f"aten.{name}" for name in ("pad", "constant_pad_nd", "slice_scatter", "select_scatter"))
_HOMOGENEOUS = frozenset((*moving, *(f"aten.{name}" for name in _ALSO.split()))) - _FILLING
"""Operators of one symbolic argument that let a positive factor pass."""
_ADDING = frozenset(("aten.add", "aten.sub", "aten.cat", "aten.stack"))
_KEEPING = frozenset((*moving, "aten.relu", "aten.abs", "aten.neg", "aten.gather"))
"""Operators that round no constant."""
_SLOPES = {"aten.relu": 0.0, "aten.leaky_relu": 0.01, "aten.abs": -1.0}
_CONVOLUTIONS = ("aten.conv1d", "aten.conv2d", "aten.conv3d")


@dataclass(frozen=True, eq=False)
class BlockNetwork:
    """A training loss in a block, lowered.

    Attributes
    ----------
    network : ReLUNetwork
        Of the block's entries, one parameter after the other.
    scale : Fraction
        The loss is `scale` times the network; positive, so that it does not matter to convexity.
    deviation : float
        Largest difference on samples, where lowering rounded; 0.0 where the network is the loss exactly.
    notes : tuple of str
        What rounded.
    """

    network: ReLUNetwork
    scale: Fraction
    deviation: float = 0.0
    notes: tuple[str, ...] = ()

    @property
    def exact(self) -> bool:
        """Whether the network is the loss exactly, up to `scale`."""
        return not self.notes


def lower_block(objective: Objective, block: Sequence[str], measuring: bool = True) -> BlockNetwork:
    """Build the ReLU network that a training loss is in a block, all other parameters being held.

    With measuring=False nobody looks how far rounding moved it.

    Raises
    ------
    UnsupportedOperatorError
        If the loss is not piecewise linear in the block.
    NetworkError
        If it does not depend on the block.
    """
    try:
        return _Lowering(objective, block).network(measuring)
    except JensenError:
        raise
    except TRACING_ERRORS as error:
        raise NetworkError(f"the loss cannot be lowered: {type(error).__name__}: {error}") from error


class _Lowering:
    def __init__(self, objective: Objective, block: Sequence[str]) -> None:
        self.objective, self.block = objective, tuple(block)
        self.program = objective.elementary
        self.signs = analysed(self.program, block, objective.values).values
        self.tape = Tape(objective.size(block))
        self.env: dict[str, Any] = {k: torch.tensor(v) for k, v in self.program.constants.items()}
        for leaf in self.program.leaves:
            self.env[leaf.name] = torch.tensor(objective.values[leaf.label])
        source, start = self.tape.input(), 0
        for leaf in objective.leaves(block):
            size = prod(leaf.shape)
            rows = source.take(np.arange(start, start + size))
            self.env[leaf.name] = Scaled(Tensor(self.tape, rows, leaf.shape, None, 1))
            start += size

    def network(self, measuring: bool) -> BlockNetwork:
        for node in self.program.nodes:
            args = substituted(node.args, self.env)
            self.tape.place = node.place
            symbolic = any(isinstance(v, Scaled) for v in leaves_of(args))
            self.env[node.name] = self._step(node, args) if symbolic else self._constant(node, args)
        output = self.env[self.program.outputs[0]]
        if not isinstance(output, Scaled):
            raise NetworkError(f"the loss does not depend on {', '.join(self.block)}")
        network = self.tape.finish(output.tensor.expression, (self.tape.input_size,))
        scale = float(output.scale)
        if not measuring:
            return BlockNetwork(network, output.scale, 0.0, tuple(self.tape.notes))
        lowered = measured(network, tuple(self.tape.notes), lambda points: self._losses(points) / scale)
        return BlockNetwork(network, output.scale, lowered.deviation * scale, lowered.notes)

    def _losses(self, points: FloatArray) -> FloatArray:
        return np.array([self.objective.value(self.objective.split(self.block, point)) for point in points])

    def _constant(self, node: Node, args: Mapping[str, Any]) -> Any:
        """Compute in float64 what the block does not reach, noting whether it rounds."""
        with torch.no_grad():
            value = applied(node, dict(args))
        if isinstance(value, torch.Tensor) and value.is_floating_point():
            arrays = {k: v.numpy() for k, v in args.items() if isinstance(v, torch.Tensor)}
            if not _is_exact(node, arrays, args, value.numpy()):
                self.tape.rounded()
        return value

    def _step(self, node: Node, args: dict[str, Any]) -> Any:
        if node.operator == "_operator.getitem":
            return args["a"][args["b"]]
        if node.packet in _SLOPES and isinstance(args["self"], Scaled):
            return self._activated(node, args)
        special = _SPECIAL.get(node.packet)
        if special is not None:
            found = special(node, args)
            if found is not None:
                return found
        handler = HANDLERS.get(node.packet)
        if handler is None:
            raise unsupported(node.operator, node.place)
        values = [v for v in leaves_of(args) if isinstance(v, Scaled)]
        if node.packet in _ADDING:
            scale, plain = _together(args, values)
        elif node.packet in _HOMOGENEOUS and len(values) == 1:
            scale, plain = values[0].scale, _mapped(args, lambda v: v.tensor)
        elif len(values) > 1 and node.packet in ("aten.mul", "aten.matmul", "aten.mm", "aten.mv", "aten.dot"):
            raise UnsupportedOperatorError(
                node.operator,
                node.place,
                "both factors depend on the block, so the loss is not piecewise linear in it",
            )
        else:
            scale, plain = Fraction(1), _mapped(args, lambda v: v.at(Fraction(1)))
        result = handler(Call(node.operator, plain, self.tape, "float64"))
        if isinstance(result, (list, tuple)):
            return [Scaled(part, scale) if isinstance(part, Tensor) else part for part in result]
        return Scaled(result, scale) if isinstance(result, Tensor) else result

    def _activated(self, node: Node, args: Mapping[str, Any]) -> Scaled:
        """Bend entries at zero, except those that are known never to be negative."""
        given: Scaled = args["self"]
        slope = _SLOPES[node.packet]
        if node.packet == "aten.leaky_relu":
            slope = float(args.get("negative_slope", slope))
        known = self.signs[node.args["self"].name]
        assert isinstance(known, Value)
        slopes = np.where(has(known.sign, NEGATIVE), slope, 1.0)
        return Scaled(_piecewise.activate(given.tensor, slopes), given.scale)


def _mapped(value: Any, change: Callable[[Scaled], Any]) -> Any:
    if isinstance(value, Mapping):
        return {key: _mapped(v, change) for key, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_mapped(v, change) for v in value]
    return change(value) if isinstance(value, Scaled) else value


def _together(args: Mapping[str, Any], values: Sequence[Scaled]) -> tuple[Fraction, dict[str, Any]]:
    """Give all terms of a sum, constants among them, one factor."""
    keys = ("self", "other", "tensors")
    terms = list(leaves_of({key: args[key] for key in keys if key in args}))
    scale = common(values, len(terms) > len(values))

    def placed(value: Any) -> Any:
        if isinstance(value, (list, tuple)):
            return [placed(v) for v in value]
        return value.at(scale) if isinstance(value, Scaled) else constant_at(value, scale, values[0].tensor)

    return scale, {key: placed(v) if key in keys else v for key, v in args.items()}


def _added(node: Node, a: Scaled, b: Any) -> Scaled:
    values = [v for v in (a, b) if isinstance(v, Scaled)]
    scale, plain = _together({"self": a, "other": b}, values)
    left, right = (v.numpy() if isinstance(v, torch.Tensor) else v for v in (plain["self"], plain["other"]))
    return Scaled(_linear.add(left, right), scale)


def _linear_layer(node: Node, args: Mapping[str, Any]) -> Scaled:
    """Apply a linear layer of which the input or the weight depends on the block, and perhaps the bias."""
    x, w, b = args["input"], args["weight"], args.get("bias")
    if isinstance(x, Scaled) and isinstance(w, Scaled):
        raise UnsupportedOperatorError(
            node.operator,
            node.place,
            "its input and its weight depend on the block, so the loss is not piecewise linear in it",
        )
    if isinstance(x, Scaled):
        product = Scaled(_linear.linear(x.tensor, np.atleast_2d(w.numpy())), x.scale)
    elif isinstance(w, Scaled):
        rows = x.reshape(-1, x.shape[-1]).numpy()
        found = _linear.matmul(rows, _tensor.permute(w.tensor, (1, 0)), node.operator)
        product = Scaled(_tensor.reshape(found, node.shape), w.scale)  # type: ignore[arg-type]
    else:
        assert isinstance(b, Scaled)
        tape, result = b.tensor.tape, x @ w.T
        if not matrix_product_is_exact(x.reshape(-1, x.shape[-1]).numpy(), w.numpy().T, result.numpy()):
            tape.rounded()
        return _added(node, b, result)
    return product if b is None else _added(node, product, b)


def _mean(node: Node, args: Mapping[str, Any]) -> Scaled:
    """Compute a mean as a sum, the number of its terms going to the factor in front."""
    given: Scaled = args["self"]
    axes = args.get("dim")
    chosen = [axes] if isinstance(axes, int) else axes or None
    total = _linear.reduce(given.tensor, chosen, bool(args.get("keepdim", False)), False)
    count = given.tensor.expression.size // max(total.expression.size, 1)
    return Scaled(total, given.scale / count)


def _single_number(value: Any) -> Fraction | None:
    if isinstance(value, torch.Tensor):
        value = value.item() if value.dim() == 0 else None
    number = None if value is None or isinstance(value, Scaled) else float(value)
    return Fraction(number) if number else None


def _multiplied(node: Node, args: Mapping[str, Any]) -> Scaled | None:
    """Multiply or divide by one number, which goes to the factor in front."""
    a, b = args["self"], args["other"]
    if not isinstance(a, Scaled) and node.packet == "aten.mul":
        a, b = b, a
    factor = _single_number(b)
    if factor is None or not isinstance(a, Scaled) or args.get("rounding_mode") is not None:
        return None
    return a.times(1 / factor if node.packet == "aten.div" else factor)


def _gathered(node: Node, args: Mapping[str, Any]) -> Scaled:
    given: Scaled = args["self"]
    index = args["index"].numpy()
    if given.tensor.ndim != 1:
        raise unsupported(node.operator, node.place)
    return Scaled(given.tensor.gather(index.astype(np.intp), None), given.scale)


def _embedded(node: Node, args: Mapping[str, Any]) -> Scaled:
    table: Scaled = args["weight"]
    index = args["indices"].numpy().astype(np.intp)
    return Scaled(_tensor.index_axis(table.tensor, 0, index), table.scale)


def _convolved(node: Node, args: Mapping[str, Any]) -> Scaled | None:
    """Apply a constant input to a kernel that belongs to the block, by the matrix that this is."""
    weight, bias = args["weight"], args.get("bias")
    if isinstance(args["input"], Scaled) or not isinstance(weight, Scaled):
        if isinstance(weight, Scaled) or isinstance(bias, Scaled):
            raise UnsupportedOperatorError(
                node.operator, node.place, "more than the kernel depends on the block"
            )
        return None
    count = weight.tensor.expression.size

    def convolve(flat: torch.Tensor) -> torch.Tensor:
        kernel = flat.reshape(weight.tensor.shape)
        result: torch.Tensor = applied(node, {**args, "weight": kernel, "bias": None})
        return result.reshape(-1)

    # Every entry is one product with a one, and sums with zeros: nothing rounds.
    matrix = torch.stack([convolve(row) for row in torch.eye(count, dtype=torch.float64)], 1).numpy()
    tensor = weight.tensor.with_expression(weight.tensor.expression.apply(matrix), node.shape)  # type: ignore[arg-type]
    product = Scaled(tensor, weight.scale)
    if bias is None:
        return product
    shape = (-1,) + (1,) * (len(node.shape) - 2)
    if isinstance(bias, Scaled):
        return _added(node, product, Scaled(_tensor.reshape(bias.tensor, shape), bias.scale))
    return _added(node, product, bias.reshape(shape))


_SPECIAL: dict[str, Callable[[Node, Mapping[str, Any]], Scaled | None]] = {
    "aten.linear": _linear_layer,
    "aten.mean": _mean,
    "aten.mul": _multiplied,
    "aten.div": _multiplied,
    "aten.gather": _gathered,
    "aten.embedding": _embedded,
    **dict.fromkeys(_CONVOLUTIONS, _convolved),
}


def _is_exact(
    node: Node, arrays: Mapping[str, FloatArray], args: Mapping[str, Any], value: FloatArray
) -> bool:
    """Whether a constant was computed without rounding; no may be cautious."""
    if node.packet in _KEEPING:
        return True
    if node.packet in ("aten.linear", "aten.mm", "aten.matmul"):
        x = arrays.get("input", arrays.get("self"))
        other = arrays["weight"].T if "weight" in arrays else arrays.get("other", arrays.get("mat2"))
        if x is None or other is None or other.ndim != 2:
            return False
        product = x @ other
        exact = matrix_product_is_exact(
            x.reshape(-1, x.shape[-1]), other, product.reshape(-1, product.shape[-1])
        )
        return exact and ("bias" not in arrays or sum_is_exact(product, arrays["bias"], value))
    if node.packet in ("aten.add", "aten.sub", "aten.mul") and args.get("alpha", 1) == 1:
        a, b = (np.broadcast_to(arrays.get(k, args[k]), value.shape) for k in ("self", "other"))
        if node.packet == "aten.mul":
            return product_is_exact(np.asarray(a), np.asarray(b), value)
        return sum_is_exact(a, b if node.packet == "aten.add" else -b, value)
    return False
