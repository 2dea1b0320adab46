"""Enclosures of maxima, norms, logarithms of sums of exponentials, and of what is chosen by comparing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from flint import arb

from jensen.verifier.enclosures._balls import (
    Balls,
    Call,
    Registry,
    array,
    both,
    each,
    folded,
    minus,
    summed,
    times,
)
from jensen.verifier.enclosures._elementwise import power

rules = Registry()


def log_sum_exp(given: Balls, axes: tuple[int, ...] | None, keep: bool) -> Balls:
    """Compute log(sum exp(x)) over axes."""
    return each(arb.log, summed(each(arb.exp, given), axes, keep))


@rules("max", "amax", "min", "amin")
def _extreme(call: Call) -> Balls | tuple[Balls, ...]:
    choose = arb.max if "max" in call.node.packet else arb.min
    if "other" in call.args:
        return both(choose, call.balls("self"), call.balls("other"))
    found = folded(choose, call.balls("self"), call.axes, call.keep)
    return (found,) if call.node.operator.endswith(".dim") else found


@rules("cummax", "cummin")
def _running(call: Call) -> tuple[Balls, ...]:
    choose = arb.max if call.node.packet == "aten.cummax" else arb.min
    parts = np.moveaxis(call.balls("self"), call.args["dim"], 0)
    found = [parts[0]]
    for part in parts[1:]:
        found.append(both(choose, found[-1], part))
    return (np.moveaxis(np.stack(found), 0, call.args["dim"]),)


def _sorted(given: Balls, axis: int, count: int, largest: bool) -> Balls:
    """Sort along an axis, as far as the first entries go, by comparing neighbours.

    The maximum and the minimum of two balls hold those of the numbers, whichever is larger.
    """
    parts = list(np.moveaxis(given, axis, 0))
    first, last = (arb.max, arb.min) if largest else (arb.min, arb.max)
    for done in range(count):
        for i in range(len(parts) - 1, done, -1):
            upper, lower = np.asarray(parts[i - 1]), np.asarray(parts[i])
            parts[i - 1], parts[i] = both(first, upper, lower), both(last, upper, lower)
    return np.moveaxis(np.stack(parts[:count]), 0, axis)


@rules("topk")
def _largest(call: Call) -> tuple[Balls, ...]:
    return (
        _sorted(
            call.balls("self"), call.get("dim", -1), int(call.args["k"]), bool(call.get("largest", True))
        ),
    )


@rules("sort")
def _sort(call: Call) -> tuple[Balls, ...]:
    given, axis = call.balls("self"), call.get("dim", -1)
    return (_sorted(given, axis, given.shape[axis], bool(call.get("descending", False))),)


@rules("kthvalue", "median")
def _ranked(call: Call) -> Balls | tuple[Balls, ...]:
    """Take the k-th smallest; the median of an even number is the smaller one of the middle."""
    given, axis = call.balls("self"), call.get("dim")
    if axis is None and call.node.packet == "aten.median":
        given, axis = given.reshape(-1), 0
    axis = -1 if axis is None else axis
    k = int(call.args["k"]) if "k" in call.args else (given.shape[axis] + 1) // 2
    found = np.take(_sorted(given, axis, k, False), k - 1, axis=axis)
    found = np.asarray(np.expand_dims(found, axis) if call.keep else found, dtype=object)
    return found if call.node.operator == "aten.median.default" else (found,)


@rules("logsumexp")
def _logsumexp(call: Call) -> Balls:
    return log_sum_exp(call.balls("self"), call.axes, call.keep)


@rules("logcumsumexp")
def _logcumsumexp(call: Call) -> Balls:
    sums = np.add.accumulate(each(arb.exp, call.balls("self")), axis=call.args["dim"])
    return each(arb.log, np.asarray(sums, dtype=object))


@rules("softmax", "_softmax", "log_softmax", "_log_softmax")
def _softmax(call: Call) -> Balls:
    given = call.balls("self")
    logarithms = minus(given, log_sum_exp(given, call.axes if given.ndim else None, True))
    return logarithms if "log" in call.node.packet else each(arb.exp, logarithms)


@rules("linalg_vector_norm", "norm")
def _norm(call: Call) -> Balls:
    return norm(call, call.balls("self"), call.get("ord", call.get("p", 2)), call.axes, call.keep)


def norm(call: Call, given: Balls, order: Any, axes: tuple[int, ...] | None, keep: bool) -> Balls:
    """Take the norm of some order, over axes."""
    sizes, order = each(abs, given), float(order)
    if order in (np.inf, -np.inf):
        return folded(arb.max if order > 0 else arb.min, sizes, axes, keep)
    if order == 0:
        raise call.refused("it counts")
    if order == 2:
        return each(arb.sqrt, summed(times(given, given), axes, keep))
    if order == 1:
        return summed(sizes, axes, keep)
    exponent = arb(order)
    total = summed(each(lambda x: power(x, exponent), sizes), axes, keep)
    return each(lambda x: power(x, 1 / exponent), total)


@rules("dist")
def _distance(call: Call) -> Balls:
    difference = minus(call.balls("self"), call.balls("other"))
    return norm(call, difference, call.get("p", 2), None, False)


@rules("var", "std")
def _variance(call: Call) -> Balls:
    given, axes = call.balls("self"), call.axes
    count = given.size // max(summed(given, axes, True).size, 1)
    correction = call.get("correction", 1 if call.get("unbiased", True) else 0)
    if not count > correction:
        raise call.refused("it divides by zero")
    rest = minus(given, times(summed(given, axes, True), 1 / arb(count)))
    found = times(summed(times(rest, rest), axes, call.keep), 1 / arb(count - correction))
    return each(arb.sqrt, found) if call.node.packet == "aten.std" else found


@rules("prod")
def _prod(call: Call) -> Balls:
    return folded(lambda x, y: x * y, call.balls("self"), call.axes, call.keep)


@rules("cumprod")
def _cumprod(call: Call) -> Balls:
    found = np.multiply.accumulate(call.balls("self"), axis=call.args["dim"])
    return np.asarray(found, dtype=object)


_SURE: dict[str, Callable[[arb, arb], tuple[bool, bool]]] = {
    "gt": lambda x, y: (x > y, x <= y),
    "ge": lambda x, y: (x >= y, x < y),
    "lt": lambda x, y: (x < y, x >= y),
    "le": lambda x, y: (x <= y, x > y),
}
_SURE["eq"] = lambda x, y: (x.is_exact() and y.is_exact() and x == y, x != y)
_SURE["ne"] = lambda x, y: (x != y, x.is_exact() and y.is_exact() and x == y)
_SURE.update(greater=_SURE["gt"], greater_equal=_SURE["ge"], less=_SURE["lt"], less_equal=_SURE["le"])


@rules(*_SURE)
def _compared(call: Call) -> Balls:
    """Compare: one or zero, where the balls tell which; what holds of balls holds of all their numbers."""
    decide = _SURE[call.node.packet.removeprefix("aten.")]

    def function(x: arb, y: arb) -> arb:
        yes, no = decide(x, y)
        if not yes and not no:
            raise call.refused("two numbers are too close to be compared")
        return arb(int(yes))

    return both(function, call.balls("self"), call.balls("other"))


@rules("sign")
def _sign(call: Call) -> Balls:
    def function(x: arb) -> arb:
        if x > 0 or x < 0 or x.is_zero():
            return x.sgn()
        raise call.refused("a number is too close to zero to have a sign")

    return each(function, call.balls("self"))


@rules("where", "masked_fill")
def _where(call: Call) -> Balls:
    if call.node.packet == "aten.masked_fill":
        told, yes, no = (call.balls(name) for name in ("mask", "value", "self"))
    elif "other" in call.args:
        told, yes, no = (call.balls(name) for name in ("condition", "self", "other"))
    else:
        raise call.refused("it lists places")
    if not all(flag.is_zero() or flag == 1 for flag in told.ravel()):
        raise call.refused("a condition is neither true nor false")
    flags, a, b = np.broadcast_arrays(told, yes, no)
    entries = zip(flags.ravel(), a.ravel(), b.ravel(), strict=True)
    return array((x if flag != 0 else y for flag, x, y in entries), flags.shape)
