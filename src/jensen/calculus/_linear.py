"""Operators that are linear in each argument."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
import torch

from jensen.calculus._arithmetic import Count, bilinear, negative, product, summed, total
from jensen.calculus._call import Call, Registry, Result
from jensen.calculus._elementary import LOGARITHM, power, square
from jensen.calculus._moving import run
from jensen.calculus._patterns import entropy, quadratic_form, top_sum
from jensen.calculus._several import applied_atom
from jensen.calculus._value import NONPOSITIVE, UNKNOWN, Value, chosen, constant, unknown
from jensen.network.lowering._program import call as torch_call

rules = Registry()


def _torch(operator: str, **args: Any) -> Any:
    with torch.no_grad():
        return torch_call(operator, args)


@rules("add", "add_", "sub", "sub_", "subtract", "rsub")
def _add(call: Call) -> Result:
    a, b = call.value("self"), call.value("other")
    if call.is_same("self", "other") and call.get("alpha", 1) == 1:
        return product(a, constant(2.0 if "add" in call.node.packet else 0.0))
    if call.node.packet == "aten.rsub":
        a, b = b, a
        if (alpha := call.get("alpha", 1)) != 1:
            b = product(b, constant(alpha))
    elif (alpha := call.get("alpha", 1)) != 1:
        b = product(b, constant(alpha))
    return total(a, b if "add" in call.node.packet else negative(b))


@rules("neg", "neg_", "negative")
def _neg(call: Call) -> Result:
    return negative(call.value())


@rules("mul", "mul_", "multiply")
def _mul(call: Call) -> Result:
    if call.is_same("self", "other"):
        return square()(call.value())
    if (found := entropy(call)) is not None:
        return found
    return product(call.value("self"), call.value("other"))


@rules("xlogy")
def _xlogy(call: Call) -> Result:
    if (found := entropy(call)) is not None:
        return found
    return product(call.value("self"), applied_atom(call, LOGARITHM, call.value("other")))


@rules("div", "div_", "true_divide")
def _div(call: Call) -> Result:
    if call.get("rounding_mode") is not None:
        return call.nothing_known()
    return product(call.value("self"), inverse(call, call.value("other")))


@rules("reciprocal")
def _reciprocal(call: Call) -> Result:
    return inverse(call, call.value())


def inverse(call: Call, b: Value) -> Value:
    """1 / b, where b has one sign."""
    below = (b.sign | NONPOSITIVE) == NONPOSITIVE
    upright = chosen(below, negative(b), b)
    if power(-1).undefined(upright).any():
        call.suppose("the denominator is positive, or negative where that is proved")
    found = power(-1)(upright)
    result = chosen(below, negative(found), found)
    # What is zero throughout has no inverse.
    return chosen(b.zero, unknown(b.shape, UNKNOWN), result)


@rules("linear")
def _linear(call: Call) -> Result:
    return _biased(
        call, lambda x, w: _run2("aten.linear.default", "input", "weight", x, w), "input", "weight"
    )


def _run2(operator: str, one: str, other: str, x: Count, w: Count, **args: Any) -> Count:
    found: Count = _torch(operator, **{one: torch.from_numpy(x), other: torch.from_numpy(w)}, **args).numpy()
    return found


def _biased(call: Call, times: Callable[[Count, Count], Count], one: str, other: str, axes: int = 0) -> Value:
    result = bilinear(call.value(one), call.value(other), times)
    bias = call.optional("bias")
    if bias is None:
        return result
    return total(result, bias.moved(lambda bits: bits.reshape(-1, *(1,) * axes) if axes else bits))


@rules(
    "conv1d", "conv2d", "conv3d", "convolution", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d"
)
def _convolution(call: Call) -> Result:
    rest = {k: v for k, v in call.args.items() if k not in ("input", "weight", "bias")}

    def times(x: Count, w: Count) -> Count:
        return _run2(call.node.operator, "input", "weight", x, w, **{"bias": None, **rest})

    return _biased(call, times, "input", "weight", call.value("weight").sign.ndim - 2)


@rules("mm", "matmul", "bmm", "mv", "dot", "vdot", "outer")
def _matmul(call: Call) -> Result:
    other = next(name for name in ("mat2", "other", "vec2", "vec", "tensor") if name in call.args)
    if call.is_same("self", other) and call.value().sign.ndim == 1 and call.node.packet != "aten.outer":
        return summed(square()(call.value()), lambda x: np.asarray(x.sum()))
    if (form := quadratic_form(call)) is not None:
        return form
    return bilinear(
        call.value("self"),
        call.value(other),
        lambda x, w: _run2(call.node.operator, "self", other, x, w),
    )


@rules("addmm", "addmv", "baddbmm")
def _addmm(call: Call) -> Result:
    names = {
        "aten.addmm": ("mat1", "mat2"),
        "aten.addmv": ("mat", "vec"),
        "aten.baddbmm": ("batch1", "batch2"),
    }
    one, other = names[call.node.packet]
    found = bilinear(
        call.value(one), call.value(other), lambda x, w: np.asarray(np.matmul(x, w), dtype=np.float64)
    )
    found = product(found, constant(call.get("alpha", 1)))
    return total(found, product(call.value("self"), constant(call.get("beta", 1))))


@rules("addcmul")
def _addcmul(call: Call) -> Result:
    factors = product(call.value("tensor1"), call.value("tensor2"))
    return total(call.value(), product(factors, constant(call.get("value", 1))))


_SUMS = """sum mean cumsum trace avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d
    adaptive_avg_pool3d _adaptive_avg_pool2d upsample_linear1d upsample_bilinear2d upsample_trilinear3d"""
"""Of nonnegative coefficients."""


@rules(*_SUMS.split())
def _sum(call: Call) -> Result:
    name = "input" if "input" in call.args else "self"
    value = call.value(name)
    if call.get("divisor_override", 1) <= 0:
        return call.nothing_known()
    if call.node.packet in ("aten.sum", "aten.mean"):
        found = top_sum(call) or (quadratic_form(call) if call.node.packet == "aten.sum" else None)
        if found is not None:
            return found
    shape: Any = call.node.shape
    if call.node.packet in ("aten.sum", "aten.mean") and prod(shape) == value.sign.size:
        # Every sum has one term, of which all is kept that is known.
        return value.moved(lambda bits: bits.reshape(shape))
    return summed(value, lambda x: np.asarray(run(call, {name: torch.from_numpy(x)}).numpy()))


@rules("batch_norm", "_native_batch_norm_legit_no_training", "native_batch_norm")
def _batch_norm(call: Call) -> Result:
    if call.get("training", False) or call.get("running_mean") is None:
        return call.nothing_known()
    value = call.value("input")
    channels = (-1, *(1,) * (value.sign.ndim - 2))

    def spread(given: Value) -> Value:
        return given.moved(lambda bits: bits.reshape(channels))

    weight = call.optional("weight")
    shifted = total(value, negative(spread(call.value("running_mean"))))
    # The deviation is positive, so that only the weight's sign matters.
    result = shifted if weight is None else product(shifted, spread(weight))
    if (bias := call.optional("bias")) is not None:
        result = total(result, spread(bias))
    return result if call.node.packet == "aten.batch_norm" else (result, None, None)
