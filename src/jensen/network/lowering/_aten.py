"""The aten operators that can be lowered, each by the engine's function that does it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import torch

from jensen.errors import NetworkError, UnsupportedOperatorError
from jensen.network._relu_network import FloatArray
from jensen.network.lowering import _linear, _piecewise
from jensen.network.lowering._tape import Tape
from jensen.network.lowering._tensor import Tensor, Value

_SMOOTH_NAMES = """sigmoid tanh softplus gelu silu elu celu selu exp expm1 log log1p sqrt rsqrt square pow
    softmax _softmax log_softmax logsumexp mish logsigmoid erf sin cos layer_norm group_norm native_layer_norm
    norm linalg_vector_norm scaled_dot_product_attention reciprocal"""
_SMOOTH = frozenset(_SMOOTH_NAMES.split())
_SINGLE = ("float32", "float16", "bfloat16")


def packet(target: str) -> str:
    """Strip the overload: ``aten.add.Tensor`` becomes ``aten.add``."""
    return target.rsplit(".", 1)[0] if target.count(".") > 1 else target


def is_smooth(target: str) -> bool:
    """Whether an operator is known not to be piecewise linear."""
    return packet(target).removeprefix("aten.") in _SMOOTH


def unsupported(target: str, place: str) -> UnsupportedOperatorError:
    """Build the error for an operator without a lowering."""
    if is_smooth(target):
        return UnsupportedOperatorError(target, place, "it is not piecewise linear")
    return UnsupportedOperatorError(
        target, place, "express it by linear layers, convolutions, pools, ReLU-like activations, max and min"
    )


@dataclass(frozen=True)
class Call:
    """An operator call with its arguments resolved.

    Attributes
    ----------
    target : str
    args : mapping of str to value
        Tensors are symbolic (`Tensor`) or constant (`torch.Tensor`).
    tape : Tape
    dtype : str
        The result's dtype; Python numbers take part in float32 where the model computes in it.
    """

    target: str
    args: Mapping[str, Any]
    tape: Tape
    dtype: str

    def get(self, name: str, default: Any = None) -> Any:
        """Return an argument as it is."""
        value = self.args.get(name)
        return default if value is None else value

    def tensor(self, name: str = "self") -> Tensor:
        """Return an argument that must depend on the input."""
        value = self.args[name]
        if not isinstance(value, Tensor):
            raise UnsupportedOperatorError(
                self.target,
                self.tape.place,
                f"its argument {name!r} must be the one that depends on the input",
            )
        return value

    def value(self, name: str) -> Value:
        """Return an argument as a symbolic tensor or a float64 array."""
        return self.convert(self.args[name])

    def convert(self, value: Any) -> Value:
        """Convert a constant to a float64 array."""
        if isinstance(value, _piecewise.Condition):
            raise UnsupportedOperatorError(
                self.target, self.tape.place, "a comparison is not continuous; use where, relu, max or min"
            )
        return value if isinstance(value, Tensor) else self._array(value)

    def constant(self, name: str) -> FloatArray:
        """Return an argument that must not depend on the input, as a float64 array."""
        value = self.args[name]
        if isinstance(value, (Tensor, _piecewise.Condition)):
            raise UnsupportedOperatorError(
                self.target, self.tape.place, f"its argument {name!r} must not depend on the input"
            )
        return self._array(value)

    def optional(self, name: str) -> FloatArray | None:
        """Return a constant argument, or None where it is absent."""
        return None if self.args.get(name) is None else self.constant(name)

    def _array(self, value: Any) -> FloatArray:
        if isinstance(value, torch.Tensor):
            plain = value.detach().cpu()
            # numpy has no bfloat16; an array that numpy allocated itself can be frozen instead of copied.
            plain = plain.float() if plain.dtype == torch.bfloat16 else plain
            return np.array(plain.numpy(), dtype=np.float64)
        if isinstance(value, float) and self.dtype in _SINGLE:
            return np.array(np.float32(value), dtype=np.float64)
        return np.asarray(value, dtype=np.float64)

    def ints(self, name: str, count: int, default: int) -> list[int]:
        """Return an argument of integers, repeated to `count` where it is a single one."""
        value = self.get(name)
        numbers = [default] if value is None or value == [] else value
        numbers = [numbers] if isinstance(numbers, int) else list(numbers)
        return numbers * count if len(numbers) == 1 else numbers

    def axes(self, name: str = "dim") -> list[int] | None:
        """Return the axes of a reduction; None for all."""
        value = self.get(name)
        if value is None or value == []:
            return None
        return [value] if isinstance(value, int) else list(value)


Handler = Callable[[Call], Any]


class Registry(dict[str, Handler]):
    """Handlers by the packet's name, for instance ``aten.add``."""

    def __call__(self, *names: str) -> Callable[[Handler], Handler]:
        """Register a handler under names of aten."""

        def remember(handler: Handler) -> Handler:
            self.update({f"aten.{name}": handler for name in names})
            return handler

        return remember


register = Registry()
"""Arithmetic and activations; the other operators are in the tables of their own modules."""


@register("relu", "relu_")
def _relu(call: Call) -> Tensor:
    return _piecewise.activate(call.tensor(), 0.0)


@register("leaky_relu", "leaky_relu_")
def _leaky_relu(call: Call) -> Tensor:
    return _piecewise.activate(call.tensor(), call.convert(call.get("negative_slope", 0.01)))  # type: ignore[arg-type]


@register("rrelu", "rrelu_")
def _rrelu(call: Call) -> Tensor:
    if call.get("training", False):
        raise UnsupportedOperatorError(call.target, call.tape.place, "it is random in training mode")
    slope = (call.get("lower", 0.125) + call.get("upper", 1 / 3)) / 2
    return _piecewise.activate(call.tensor(), call.convert(slope))  # type: ignore[arg-type]


@register("prelu", "_prelu_kernel")
def _prelu(call: Call) -> Tensor:
    t = call.tensor()
    return _piecewise.activate(t, _piecewise.channel_slopes(t, call.constant("weight")))


@register("abs", "abs_", "absolute")
def _abs(call: Call) -> Tensor:
    return _piecewise.activate(call.tensor(), -1.0)


@register("relu6", "relu6_")
def _relu6(call: Call) -> Tensor:
    return _piecewise.clamp(call.tensor(), 0.0, 6.0)


@register("hardtanh", "hardtanh_")
def _hardtanh(call: Call) -> Tensor:
    low, high = call.get("min_val", -1.0), call.get("max_val", 1.0)
    return _piecewise.clamp(call.tensor(), _number(call, low), _number(call, high))


def _number(call: Call, value: Any) -> FloatArray:
    array = call.convert(value)
    assert not isinstance(array, Tensor)
    return array


@register("clamp", "clamp_", "clip", "clip_", "clamp_min", "clamp_min_", "clamp_max", "clamp_max_")
def _clamp(call: Call) -> Tensor:
    result: Value = call.value("self")
    for name, pick in (("min", _piecewise.maximum), ("max", _piecewise.minimum)):
        if isinstance(call.get(name), (Tensor, torch.Tensor)):
            result = pick(result, call.value(name))
        elif call.get(name) is not None and not isinstance(call.get("max"), (int, float)):
            assert isinstance(result, Tensor)
            bound = call.constant(name)
            result = _piecewise.clamp(result, *((bound, None) if name == "min" else (None, bound)))
    if isinstance(call.get("max"), (int, float)):
        assert isinstance(result, Tensor)
        result = _piecewise.clamp(result, call.optional("min"), call.constant("max"))
    assert isinstance(result, Tensor)
    return result


@register("maximum")
def _maximum(call: Call) -> Tensor:
    return _piecewise.maximum(call.value("self"), call.value("other"))


@register("minimum")
def _minimum(call: Call) -> Tensor:
    return _piecewise.minimum(call.value("self"), call.value("other"))


@register("max", "amax")
def _max(call: Call) -> Any:
    return _extremum(call, _maximum, _piecewise.reduce_max)


@register("min", "amin")
def _min(call: Call) -> Any:
    return _extremum(call, _minimum, _piecewise.reduce_min)


def _extremum(call: Call, pair: Handler, reduce: Callable[..., Tensor]) -> Any:
    if call.target.endswith(".other"):
        return pair(call)
    result = reduce(call.tensor(), call.axes(), bool(call.get("keepdim", False)))
    return (result, None) if call.target.endswith(".dim") else result


@register("gt", "ge", "lt", "le", "greater", "less", "greater_equal", "less_equal")
def _compare(call: Call) -> _piecewise.Condition:
    a, b = call.value("self"), call.value("other")
    return _piecewise.compare(b, a) if packet(call.target)[5] == "l" else _piecewise.compare(a, b)


@register("where")
def _where(call: Call) -> Tensor:
    condition = call.args["condition"]
    if not isinstance(condition, _piecewise.Condition):
        raise UnsupportedOperatorError(call.target, call.tape.place, "its condition must compare with zero")
    return _piecewise.choose(condition, call.value("self"), call.value("other"), call.target)


@register("add", "add_", "sub", "sub_", "subtract", "rsub")
def _add(call: Call) -> Tensor:
    a, b = call.value("self"), call.value("other")
    if packet(call.target) == "aten.rsub":
        a, b = b, a
    if (alpha := call.get("alpha", 1)) != 1:
        b = _scaled(call, b, alpha)
    return (_linear.add if "add" in call.target else _linear.subtract)(a, b)


def _scaled(call: Call, value: Value, alpha: float) -> Value:
    factor = _number(call, alpha)
    return _linear.multiply(value, factor, call.target) if isinstance(value, Tensor) else value * factor


@register("neg", "neg_", "negative")
def _neg(call: Call) -> Tensor:
    return _linear.negate(call.tensor())


@register("mul", "mul_", "multiply")
def _mul(call: Call) -> Tensor:
    return _linear.multiply(call.value("self"), call.value("other"), call.target)


@register("div", "div_", "true_divide")
def _div(call: Call) -> Tensor:
    if call.get("rounding_mode") is not None:
        raise UnsupportedOperatorError(call.target, call.tape.place, "rounding division is not continuous")
    return _linear.divide(call.value("self"), call.value("other"), call.target)


@register("linear")
def _linear_layer(call: Call) -> Tensor:
    return _linear.linear(call.tensor("input"), np.atleast_2d(call.constant("weight")), call.optional("bias"))


@register("addmm", "addmv")
def _addmm(call: Call) -> Tensor:
    first, second = ("mat1", "mat2") if "addmm" in call.target else ("mat", "vec")
    product: Value = _linear.matmul(call.value(first), call.value(second), call.target)
    product = _scaled(call, product, call.get("alpha", 1))
    return _linear.add(product, _scaled(call, call.value("self"), call.get("beta", 1)))


@register("mm", "matmul", "bmm", "mv", "dot")
def _matmul(call: Call) -> Tensor:
    second = next(name for name in ("mat2", "other", "vec", "tensor") if name in call.args)
    return _linear.matmul(call.value("self"), call.value(second), call.target)


@register("sum", "mean")
def _sum(call: Call) -> Tensor:
    mean = packet(call.target) == "aten.mean"
    return _linear.reduce(call.tensor(), call.axes(), bool(call.get("keepdim", False)), mean)


@register("batch_norm", "_native_batch_norm_legit_no_training", "native_batch_norm", "instance_norm")
def _batch_norm(call: Call) -> Any:
    if call.get("training", False) or "running_mean" not in call.args or "instance" in call.target:
        raise UnsupportedOperatorError(
            call.target,
            call.tape.place,
            "statistics of the batch itself are not piecewise linear; use eval mode",
        )
    mean, variance = call.constant("running_mean"), call.constant("running_var")
    result = _linear.batch_norm(
        call.tensor("input"),
        call.optional("weight"),
        call.optional("bias"),
        mean,
        variance,
        epsilon=float(call.get("eps", 1e-5)),
    )
    return result if packet(call.target) == "aten.batch_norm" else (result, None, None)


@register("zeros_like", "ones_like", "full_like", "new_zeros", "new_ones", "new_full")
def _filled(call: Call) -> torch.Tensor:
    shape = call.get("size", list(call.tensor().visible_shape))
    value = 0.0 if "zeros" in call.target else 1.0 if "ones" in call.target else call.get("fill_value")
    if prod(shape) > 1 << 28:
        raise NetworkError(f"{call.tape.place}: a constant of shape {tuple(shape)} is too large")
    return torch.full(tuple(shape), float(value), dtype=torch.float64)
