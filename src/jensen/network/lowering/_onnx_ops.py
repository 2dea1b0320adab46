"""The ONNX operators that compute, each by the engine's function that does it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jensen.errors import NetworkError, UnsupportedOperatorError
from jensen.network._relu_network import FloatArray
from jensen.network.lowering import _linear, _piecewise, _tensor, _windows
from jensen.network.lowering._tape import Tape
from jensen.network.lowering._tensor import Tensor, Value

_HUGE = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class OnnxCall:
    """An operator call with its inputs resolved.

    Attributes
    ----------
    operator : str
    inputs : sequence of Tensor, array or None
    attributes : mapping of str to value
    tape : Tape
    n_outputs : int
    """

    operator: str
    inputs: Sequence[Any]
    attributes: Mapping[str, Any]
    tape: Tape
    n_outputs: int

    def raw(self, position: int) -> Any:
        """Return an input as it is; None where it is absent."""
        return self.inputs[position] if position < len(self.inputs) else None

    def tensor(self, position: int = 0) -> Tensor:
        """Return an input that must depend on the network's input."""
        value = self.raw(position)
        if not isinstance(value, Tensor):
            raise self.unsupported(f"input {position} must be the one that depends on the network's input")
        return value

    def value(self, position: int) -> Value:
        """Return an input as a symbolic tensor or a float64 array."""
        value = self.raw(position)
        return value if isinstance(value, Tensor) else self.constant(position)

    def constant(self, position: int) -> FloatArray:
        """Return an input that must not depend on the network's input, as a float64 array."""
        value = self.raw(position)
        if isinstance(value, Tensor) or value is None:
            raise self.unsupported(f"input {position} must be a constant")
        return np.array(value, dtype=np.float64)

    def optional(self, position: int) -> FloatArray | None:
        """Return a constant input, or None where it is absent."""
        return None if self.raw(position) is None else self.constant(position)

    def required(self, name: str) -> Any:
        """Return an attribute that the operator cannot do without."""
        if name not in self.attributes:
            raise self.unsupported(f"its attribute {name!r} is missing")
        return self.attributes[name]

    def ints(self, name: str, position: int | None = None) -> list[int] | None:
        """Return integers from an attribute or, in later opsets, from an input."""
        if name in self.attributes:
            value = self.attributes[name]
            return [value] if isinstance(value, int) else list(value)
        if position is None or self.raw(position) is None:
            return None
        return [int(n) for n in self.constant(position).ravel()]

    def unsupported(self, hint: str) -> UnsupportedOperatorError:
        """Build the error that names this operator and its place."""
        return UnsupportedOperatorError(self.operator, self.tape.place, hint)


Handler = Callable[[OnnxCall], Any]


class OnnxRegistry(dict[str, Handler]):
    """Handlers by operator name."""

    def __call__(self, *names: str) -> Callable[[Handler], Handler]:
        """Register a handler under names."""

        def remember(handler: Handler) -> Handler:
            self.update(dict.fromkeys(names, handler))
            return handler

        return remember


register = OnnxRegistry()
"""Arithmetic, activations and windows; operators that move elements have their own table."""


@register("Relu")
def _relu(call: OnnxCall) -> Tensor:
    return _piecewise.activate(call.tensor(), 0.0)


@register("Abs")
def _abs(call: OnnxCall) -> Tensor:
    return _piecewise.activate(call.tensor(), -1.0)


@register("LeakyRelu")
def _leaky_relu(call: OnnxCall) -> Tensor:
    return _piecewise.activate(call.tensor(), float(np.float32(call.attributes.get("alpha", 0.01))))


@register("PRelu")
def _prelu(call: OnnxCall) -> Tensor:
    t, slopes = call.tensor(), call.constant(1)
    try:
        return _piecewise.activate(t, slopes)
    except ValueError as error:
        raise NetworkError(f"{t.tape.place}: slopes of shape {slopes.shape} for {t.visible_shape}") from error


@register("Clip")
def _clip(call: OnnxCall) -> Tensor:
    low = call.attributes.get("min", call.optional(1))
    high = call.attributes.get("max", call.optional(2))
    # Exporters write the largest float32 where there is no bound.
    low = None if low is None or low <= -_HUGE else low
    high = None if high is None or high >= _HUGE else high
    return _piecewise.clamp(call.tensor(), low, high)


@register("Max", "Min")
def _extremum(call: OnnxCall) -> Value:
    values = [call.value(n) for n in range(len(call.inputs))]
    values.sort(key=lambda v: not isinstance(v, Tensor))  # a symbolic one first; the order does not matter
    result = values[0]
    for other in values[1:]:
        result = (_piecewise.maximum if call.operator == "Max" else _piecewise.minimum)(result, other)
    return result


@register("Add", "Sum", "Mean")
def _add(call: OnnxCall) -> Value:
    values = [call.value(n) for n in range(len(call.inputs))]
    values.sort(key=lambda v: not isinstance(v, Tensor))
    total = values[0]
    for other in values[1:]:
        total = _linear.add(total, other)
    if call.operator == "Mean":
        return _linear.divide(total, np.array(float(len(call.inputs))), call.operator)
    return total


@register("Sub")
def _sub(call: OnnxCall) -> Tensor:
    return _linear.subtract(call.value(0), call.value(1))


@register("Neg")
def _neg(call: OnnxCall) -> Tensor:
    return _linear.negate(call.tensor())


@register("Mul")
def _mul(call: OnnxCall) -> Tensor:
    return _linear.multiply(call.value(0), call.value(1), call.operator)


@register("Div")
def _div(call: OnnxCall) -> Tensor:
    return _linear.divide(call.value(0), call.value(1), call.operator)


@register("MatMul")
def _matmul(call: OnnxCall) -> Tensor:
    return _linear.matmul(call.value(0), call.value(1), call.operator)


@register("Gemm")
def _gemm(call: OnnxCall) -> Tensor:
    factors: list[Value] = []
    for position, name in enumerate(("transA", "transB")):
        value = call.value(position)
        if call.attributes.get(name, 0):
            value = _tensor.permute(value, (1, 0)) if isinstance(value, Tensor) else value.T
        factors.append(value)
    product = _linear.matmul(factors[0], factors[1], call.operator)
    if (alpha := call.attributes.get("alpha", 1.0)) != 1.0:
        product = _linear.multiply(product, np.array(alpha), call.operator)
    if call.raw(2) is None:
        return product
    shift = call.value(2)
    if (beta := call.attributes.get("beta", 1.0)) != 1.0:
        shift = (
            _linear.multiply(shift, np.array(beta), call.operator)
            if isinstance(shift, Tensor)
            else shift * beta
        )
    return _linear.add(product, shift)


@register("BatchNormalization")
def _batch_norm(call: OnnxCall) -> Tensor:
    if call.attributes.get("training_mode", 0):
        raise call.unsupported("statistics of the batch itself are not piecewise linear")
    epsilon = float(np.float32(call.attributes.get("epsilon", 1e-5)))
    weight, bias, mean, variance = (call.constant(n) for n in (1, 2, 3, 4))
    return _linear.batch_norm(call.tensor(), weight, bias, mean, variance, epsilon=epsilon)


@register("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin")
def _reduce(call: OnnxCall) -> Tensor:
    t, axes, keep = call.tensor(), call.ints("axes", 1), bool(call.attributes.get("keepdims", 1))
    if not axes:
        if call.attributes.get("noop_with_empty_axes", 0):
            return t
        axes = None
    if call.operator in ("ReduceMean", "ReduceSum"):
        return _linear.reduce(t, axes, keep, call.operator == "ReduceMean")
    return (_piecewise.reduce_max if call.operator == "ReduceMax" else _piecewise.reduce_min)(t, axes, keep)


def _sliding(call: OnnxCall, kernel: Sequence[int]) -> _windows.Windows:
    """Windows of a convolution or pool, from the attributes that they share."""
    t, axes = call.tensor(), len(kernel)
    space = t.shape[t.ndim - axes :]
    stride = call.ints("strides") or [1] * axes
    dilation = call.ints("dilations") or [1] * axes
    pads = call.ints("pads") or [0] * (2 * axes)
    pairs = list(zip(pads[:axes], pads[axes:], strict=True))
    mode = call.attributes.get("auto_pad", b"NOTSET")
    mode = mode.decode() if isinstance(mode, bytes) else mode
    if mode in ("SAME_UPPER", "SAME_LOWER"):
        totals = [
            max((-(-n // s) - 1) * s + d * (k - 1) + 1 - n, 0)
            for n, k, s, d in zip(space, kernel, stride, dilation, strict=True)
        ]
        halves = [(p // 2, p - p // 2) for p in totals]
        pairs = halves if mode == "SAME_UPPER" else [(b, a) for a, b in halves]
    elif mode == "VALID":
        pairs = [(0, 0)] * axes
    ceil_mode = bool(call.attributes.get("ceil_mode", 0))
    return _windows.sliding(space, kernel, stride, pairs, dilation, ceil_mode=ceil_mode)


@register("Conv")
def _conv(call: OnnxCall) -> Tensor:
    weight = call.constant(1)
    windows = _sliding(call, weight.shape[2:])
    return _linear.convolution(
        call.tensor(), weight, call.optional(2), windows, call.attributes.get("group", 1)
    )


@register("MaxPool")
def _max_pool(call: OnnxCall) -> Any:
    result = _piecewise.max_pool(call.tensor(), _sliding(call, call.required("kernel_shape")))
    return (result, None) if call.n_outputs > 1 else result


@register("AveragePool")
def _average_pool(call: OnnxCall) -> Tensor:
    kernel = call.required("kernel_shape")
    windows = _sliding(call, kernel)
    if call.attributes.get("count_include_pad", 0):
        stride, dilation = (call.ints(n) or [1] * len(kernel) for n in ("strides", "dilations"))
        divisors = _windows.padded_members(windows, kernel, stride, dilation)
    else:
        divisors = _windows.members(windows)
    return _linear.average_pool(call.tensor(), windows, divisors)


@register("GlobalAveragePool", "GlobalMaxPool")
def _global_pool(call: OnnxCall) -> Tensor:
    t = call.tensor()
    axes = list(range(2, t.ndim))
    if call.operator == "GlobalMaxPool":
        return _piecewise.reduce_max(t, axes, True)
    return _linear.reduce(t, axes, True, True)
