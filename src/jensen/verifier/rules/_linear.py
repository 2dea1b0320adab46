"""Sums, averages and products, and all operators that are linear in each of their arguments.

An operator is applied to zeros and ones, which count how many flags meet in a sum. Counts of at least one are
told from none by comparing with one half, so that no rounding matters.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from jensen.verifier.rules._call import Call, Rule
from jensen.verifier.rules._elementwise import SQUARE, inverse
from jensen.verifier.rules._forms import entropy, quadratic_form, sum_of_largest
from jensen.verifier.rules._known import (
    Flags,
    Known,
    added,
    constant,
    minus,
    product,
    sums_of_products,
    total,
)


def _add(call: Call) -> Known:
    a, b = call.known("self"), call.known("other")
    if call.node.packet == "aten.rsub":
        a, b = b, a
    if (alpha := call.number("alpha", 1.0)) != 1:
        b = product(b, constant(alpha))
    return added(a, b if call.node.packet == "aten.add" else minus(b))


def _mul(call: Call) -> Known:
    if call.is_same("self", "other"):
        return SQUARE(call, call.known("self"))
    return entropy(call) or product(call.known("self"), call.known("other"))


def _div(call: Call) -> Known | None:
    if call.given("rounding_mode") is not None:
        return None
    return product(call.known("self"), inverse(call, call.known("other")))


def _counted(count: Callable[[Any, Any], Any]) -> Callable[[Flags, Flags], Flags]:
    return lambda a, b: np.asarray(count(a.astype(np.float64), b.astype(np.float64))) > 0.5


def _biased(call: Call, result: Known, axes: int) -> Known:
    if call.given("bias") is None:
        return result
    return added(result, call.known("bias").each(lambda flags: flags.reshape(-1, *(1,) * axes)))


def _linear(call: Call) -> Known | None:
    a, weight = call.known("input"), call.known("weight")
    if len(weight.shape) != 2:
        return None
    return _biased(call, sums_of_products(a, weight, _counted(lambda x, w: np.matmul(x, w.T))), 0)


def _matmul(call: Call) -> Known | None:
    name = next((n for n in ("mat2", "vec", "other", "tensor") if call.given(n) is not None), None)
    if name is None:
        return None
    a, b = call.known("self"), call.known(name)
    if len(a.shape) == 1 and call.is_same("self", name):
        return total(SQUARE(call, a), lambda flags: np.asarray(flags.any()))
    return quadratic_form(call) or sums_of_products(a, b, _counted(np.matmul))


def _addmm(call: Call) -> Known:
    a, b = call.known("mat1", "mat", "batch1"), call.known("mat2", "vec", "batch2")
    found = product(sums_of_products(a, b, _counted(np.matmul)), constant(call.number("alpha", 1.0)))
    return added(found, product(call.known("self"), constant(call.number("beta", 1.0))))


def _convolution(call: Call) -> Known | None:
    a, weight = call.known("input"), call.known("weight")
    axes = len(weight.shape) - 2
    if len(a.shape) != axes + 2:
        return None
    count = _counted(lambda x, w: call.run({"input": x, "weight": w, "bias": None}))
    return _biased(call, sums_of_products(a, weight, count), axes)


def _sum(call: Call) -> Known | None:
    """Add up, or take averages; by torch's own operator on zeros and ones."""
    if call.node.packet in ("aten.sum", "aten.mean"):
        form = sum_of_largest(call) or (quadratic_form(call) if call.node.packet == "aten.sum" else None)
        if form is not None:
            return form
        a = call.known("self")
        if a.shape and prod(call.shape) == prod(a.shape) > 0:
            return a.each(lambda flags: flags.reshape(call.shape))  # every sum has one term
    return total(call.known("self"), call.gathering())


def _batch_norm(call: Call) -> Known | tuple[Known, ...] | None:
    """(x - mean) / sqrt(var + eps) * weight + bias, with a mean and a variance that are constant."""
    deviation, eps = call.numbers(call.given("running_var")), call.number("eps", 1e-5)
    if call.flag("training") or call.given("running_mean") is None or deviation is None:
        return None
    if not (eps >= 0 and np.isfinite(deviation).all() and (deviation >= 0).all()):
        return None
    if eps == 0 and not (deviation > 0).all():
        return None
    a = call.known("input")

    def spread(name: str) -> Known:
        return call.known(name).each(lambda flags: flags.reshape(-1, *(1,) * (len(a.shape) - 2)))

    result = added(a, minus(spread("running_mean")))
    if call.given("weight") is not None:
        result = product(result, spread("weight"))
    if call.given("bias") is not None:
        result = added(result, spread("bias"))
    return result if call.node.packet == "aten.batch_norm" else (result,)


_SUMS = """sum mean cumsum avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d
    adaptive_avg_pool3d _adaptive_avg_pool2d _adaptive_avg_pool3d"""
_PRODUCTS = "matmul mm bmm mv dot vdot"
_CONVOLUTIONS = """conv1d conv2d conv3d convolution conv_transpose1d conv_transpose2d conv_transpose3d"""

RULES: dict[str, Rule] = {
    "aten.add": _add,
    "aten.sub": _add,
    "aten.rsub": _add,
    "aten.neg": lambda call: minus(call.known("self")),
    "aten.mul": _mul,
    "aten.div": _div,
    "aten.linear": _linear,
    "aten.addmm": _addmm,
    "aten.addmv": _addmm,
    "aten.baddbmm": _addmm,
    "aten.batch_norm": _batch_norm,
    "aten._native_batch_norm_legit_no_training": _batch_norm,
    **dict.fromkeys((f"aten.{name}" for name in _PRODUCTS.split()), _matmul),
    **dict.fromkeys((f"aten.{name}" for name in _CONVOLUTIONS.split()), _convolution),
    **dict.fromkeys((f"aten.{name}" for name in _SUMS.split()), _sum),
}
