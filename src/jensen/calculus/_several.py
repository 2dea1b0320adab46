"""Operators that bend and take several arguments: maxima, norms, log-sum-exp, losses."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

import numpy as np
import torch

from jensen.calculus._arithmetic import kept, negative, summed, total
from jensen.calculus._atom import Atom
from jensen.calculus._call import Call, Registry, Result
from jensen.calculus._elementary import SIZE, exponential, huber, power, sloped, square
from jensen.calculus._moving import run
from jensen.calculus._value import (
    ANY_SIGN,
    DOWN,
    FOREIGN,
    LOG_CONCAVE,
    LOG_CONVEX,
    NEGATIVE,
    NONNEGATIVE,
    NONPOSITIVE,
    POSITIVE,
    ROOT_CONVEX,
    UP,
    VARIES,
    ZERO,
    Bits,
    Flags,
    Value,
    chosen,
    claimed,
    constant,
    has,
    when,
)

rules = Registry()
Any_ = Callable[[Flags], Flags]
"""Tells for every result whether any of the entries that it is made of is flagged."""


def any_bit(value: Value, found: Any_) -> Bits:
    result: Bits | None = None
    for bit in (UP, DOWN, VARIES, FOREIGN):
        here = when(found(has(value.curvature, bit)), bit)
        result = here if result is None else result | here
    assert result is not None
    return result


def largest(value: Value, found: Any_) -> Value:
    """Take the maximum of some entries: convex and non-decreasing in each."""
    positive = found(has(value.sign, POSITIVE))
    above = found(~has(value.sign, NEGATIVE | ZERO))
    not_below = found(~has(value.sign, NEGATIVE))
    sign = (
        when(positive, POSITIVE)
        | when(~not_below, NEGATIVE)
        | when(found(has(value.sign, ZERO)) & ~above, ZERO)
    )
    return log_convex(value, Value(sign, with_bend(any_bit(value, found), UP)), found)


def log_convex(value: Value, result: Value, found: Any_) -> Value:
    """Claim that results are log-convex, or have convex roots, where all entries do that they are made of.

    The root of a norm of order p is the norm of order 2 p of the roots.
    """
    return result if value.logs is None else claimed(result, kept(value, found))


def with_bend(curvature: Bits, bend: int) -> Bits:
    return curvature | when(has(curvature, VARIES), bend)


def maximum(a: Value, b: Value) -> Value:
    """Take the larger of two values, broadcast."""
    shape = np.broadcast_shapes(a.shape, b.shape)
    both = [v.broadcast(shape) for v in (a, b)]
    result = largest(_stacked(*both), lambda x: np.asarray(x.any(axis=0)))
    a, b = both  # where a is never above zero and b never below, b it is
    only_b = ((a.sign | NONPOSITIVE) == NONPOSITIVE) & ((b.sign | NONNEGATIVE) == NONNEGATIVE)
    only_a = ((b.sign | NONPOSITIVE) == NONPOSITIVE) & ((a.sign | NONNEGATIVE) == NONNEGATIVE)
    curvature = np.where(only_b, b.curvature, np.where(only_a, a.curvature, result.curvature))
    return Value(result.sign, curvature.astype(np.int8), result.logs)


def _stacked(a: Value, b: Value) -> Value:
    logs = None
    if a.logs is not None or b.logs is not None:
        logs = np.stack([a.logarithm, b.logarithm])
    return Value(np.stack([a.sign, b.sign]), np.stack([a.curvature, b.curvature]), logs)


def minimum(a: Value, b: Value) -> Value:
    """Take the smaller of two values, broadcast."""
    return negative(maximum(negative(a), negative(b)))


@rules("maximum", "fmax")
def _maximum(call: Call) -> Result:
    if call.is_same("self", "other"):
        return call.value()
    return maximum(call.value("self"), call.value("other"))


@rules("minimum", "fmin")
def _minimum(call: Call) -> Result:
    if call.is_same("self", "other"):
        return call.value()
    return minimum(call.value("self"), call.value("other"))


def _by_operator(call: Call, sign: int) -> Any_:
    def found(flags: Flags) -> Flags:
        result = run(call, {"self": torch.from_numpy(sign * flags.astype(np.float64))})
        result = result if isinstance(result, torch.Tensor) else result[0]
        picked: Flags = np.asarray(sign * result.numpy() > 0.5)
        return picked

    return found


@rules(
    "max", "amax", "max_pool1d", "max_pool2d", "max_pool3d", "max_pool2d_with_indices",
    "max_pool1d_with_indices", "max_pool3d_with_indices", "adaptive_max_pool1d", "adaptive_max_pool2d",
    "adaptive_max_pool3d",
)  # fmt: skip
def _max(call: Call) -> Result:
    if call.node.operator.endswith(".other"):
        return _maximum(call)
    return _first(call, largest(call.value(), _by_operator(call, 1)))


@rules("min", "amin")
def _min(call: Call) -> Result:
    if call.node.operator.endswith(".other"):
        return _minimum(call)
    return _first(call, negative(largest(negative(call.value()), _by_operator(call, -1))))


def _first(call: Call, value: Value) -> Result:
    """Several results, of which the indices are of no use, where the operator has several."""
    shape = call.node.shape
    several = bool(shape) and any(part is None or isinstance(part, tuple) for part in shape)
    return (value, None) if several else value


@rules("clamp", "clamp_", "clip", "clamp_min", "clamp_min_", "clamp_max", "clamp_max_")
def _clamp(call: Call) -> Result:
    result = call.value()
    if (low := call.optional("min")) is not None:
        result = maximum(result, low)
    if (high := call.optional("max")) is not None:
        result = minimum(result, high)
    return result


@rules("prelu", "_prelu_kernel")
def _prelu(call: Call) -> Result:
    value, slopes = call.value(), call.number("weight")
    if slopes is None:
        return call.nothing_known()
    if slopes.size > 1 and slopes.ndim == 1:
        slopes = slopes.reshape(-1, *(1,) * (value.sign.ndim - 2))
    slopes = np.broadcast_to(slopes, value.shape)
    sign, curvature = value.sign, value.curvature
    for low, high, like in ((-inf, 0, -1.0), (0, 0, 0.0), (0, 1, 0.5), (1, 1, 1.0), (1, inf, 2.0)):
        here = (slopes == low) if low == high else (slopes > low) & (slopes < high)
        if here.any():
            found = sloped(like)(value)
            sign = np.where(here, found.sign, sign)
            curvature = np.where(here, found.curvature, curvature)
    return Value(sign, curvature)


MOST_EXACT = 2.0**53
"""Beyond, every float64 is even, and a whole number may be odd all the same."""


@rules("pow")
def _pow(call: Call) -> Result:
    exponent, base = call.number("exponent"), call.number("self")
    if exponent is not None and exponent.size == 1:
        if abs(float(exponent.reshape(()))) >= MOST_EXACT:
            return call.nothing_known()
        return applied_atom(call, power(float(exponent.reshape(()))), call.value())
    if base is not None and base.size == 1:
        return applied_atom(call, exponential(float(base.reshape(()))), call.value("exponent"))
    return call.nothing_known()


@rules("var", "std")
def _var(call: Call) -> Result:
    """Compute the squared norm of what is left when the mean, a linear map, is taken away; or its root."""
    value = call.value()
    if (value.curvature & (UP | DOWN)).any():
        return call.nothing_known()
    curvature = with_bend(any_bit(value, _along(call)), UP)
    square = Value(np.full(curvature.shape, NONNEGATIVE, dtype=np.int8), curvature)
    result = claimed(square, np.full(curvature.shape, ROOT_CONVEX, dtype=np.int8))
    return applied_atom(call, power(0.5), result) if call.node.packet == "aten.std" else result


@rules("gt", "ge", "lt", "le", "eq", "ne", "greater", "less", "greater_equal", "less_equal", "sign", "argmax")
def _step(call: Call) -> Result:
    return call.nothing_known()


def applied_atom(call: Call, atom: Atom, argument: Value) -> Value:
    """Compose, and take down where the atom may not be defined."""
    if atom.undefined(argument).any():
        call.suppose(f"the argument of {atom.name} is {atom.domain}")
    result = atom(argument)
    never = atom.never(argument) & result.varies
    if not never.any():
        return result
    # Of a condition that cannot hold anything would follow, where torch computes (-3)^-2 all the same.
    anything = np.full(result.shape, ANY_SIGN, dtype=np.int8)
    return chosen(never, Value(anything, result.curvature | np.int8(UP | DOWN)), result)


def _axes(call: Call) -> int | tuple[int, ...] | None:
    axes = call.get("dim")
    return None if axes is None or axes == [] else axes if isinstance(axes, int) else tuple(axes)


def _along(call: Call) -> Any_:
    """Look along the axes that the operator reduces."""
    axes = _axes(call)
    kept = bool(call.get("keepdim", False))
    return lambda flags: np.asarray(flags.any(axis=axes, keepdims=kept))


def log_sum_exp(value: Value, found: Any_) -> Value:
    """Convex and non-decreasing in every entry, and never below the largest."""
    curvature = with_bend(any_bit(value, found), UP)
    not_below, above = found(~has(value.sign, NEGATIVE)), found(~has(value.sign, NEGATIVE | ZERO))
    sign = np.int8(POSITIVE) | when(~above, ZERO) | when(~not_below, NEGATIVE)
    return Value(sign, curvature)


@rules("logsumexp")
def _logsumexp(call: Call) -> Result:
    return log_sum_exp(call.value(), _along(call))


@rules("logcumsumexp")
def _logcumsumexp(call: Call) -> Result:
    axis = call.get("dim")
    return log_sum_exp(call.value(), lambda x: np.asarray(np.logical_or.accumulate(x, axis=axis)))


@rules("logaddexp")
def _logaddexp(call: Call) -> Result:
    a, b = call.value("self"), call.value("other")
    if call.is_same("self", "other"):
        return total(a, constant(1.0))  # log(2), of which only the sign matters
    shape = np.broadcast_shapes(a.shape, b.shape)
    a, b = a.broadcast(shape), b.broadcast(shape)
    return log_sum_exp(_stacked(a, b), lambda x: np.asarray(x.any(axis=0)))


@rules("log_softmax", "_log_softmax")
def _log_softmax(call: Call) -> Result:
    value = call.value()
    return Value(np.full(value.shape, NONPOSITIVE, dtype=np.int8), _log_shares(call, value))


def _log_shares(call: Call, value: Value) -> Bits:
    """Tell how x_i - logsumexp(x) bends: as -logsumexp(x - x_i), it falls in all other entries."""
    if not value.shape:
        return when(False, 0)
    axis = int(call.get("dim"))

    def others(flags: Flags) -> Flags:
        """Whether any entry but this one is flagged."""
        result: Flags = flags.sum(axis=axis, keepdims=True) > flags
        return result

    up, down = has(value.curvature, UP), has(value.curvature, DOWN)
    varies = np.broadcast_to(value.varies.any(axis=axis, keepdims=True), value.shape)
    strange = np.broadcast_to(has(value.curvature, FOREIGN).any(axis=axis, keepdims=True), value.shape)
    bends = when(others(down) | up, UP) | when(varies, VARIES | DOWN)
    return bends | when(strange, FOREIGN)


@rules("softmax", "_softmax")
def _softmax(call: Call) -> Result:
    found, value = call.nothing_known(), call.value()
    assert isinstance(found, Value)
    logarithm = _log_shares(call, value)
    result = Value(np.full(found.shape, POSITIVE, dtype=np.int8), found.curvature)
    return claimed(result, when(~has(logarithm, UP), LOG_CONCAVE))


@rules("linalg_vector_norm", "norm")
def _norm(call: Call) -> Result:
    order = call.get("ord", call.get("p", 2))
    if isinstance(order, str) or not float(order) >= 1:
        return call.nothing_known()
    found = _along(call)
    if float(order) == 1:
        axes, keep = _axes(call), bool(call.get("keepdim", False))
        return summed(SIZE(call.value()), lambda x: np.asarray(x.sum(axis=axes, keepdims=keep)))
    size = huber()(call.value())
    sign = when(found(has(size.sign, POSITIVE)), POSITIVE) | when(~found(~has(size.sign, ZERO)), ZERO)
    # A norm is not smooth where it is zero, and bends even where its argument is affine.
    result = Value(sign, with_bend(any_bit(size, found), UP))
    return log_convex(call.value(), result, found)


@rules("hypot", "dist")
def _distance(call: Call) -> Result:
    """Take a norm: of two numbers, entry by entry, or of the difference of two tensors."""
    a, b = call.value("self"), call.value("other")
    if call.node.packet == "aten.hypot":
        return applied_atom(call, power(0.5), total(square()(a), square()(b)))
    if not float(call.get("p", 2)) >= 1:
        return call.nothing_known()
    size = huber()(total(a, negative(b)))
    curvature = with_bend(any_bit(size, lambda flags: np.asarray(flags.any())), UP)
    return Value(np.full((), NONNEGATIVE, dtype=np.int8), curvature)


@rules("cummax", "cummin")
def _running(call: Call) -> Result:
    axis, value = call.get("dim"), call.value()

    def found(flags: Flags) -> Flags:
        return np.asarray(np.logical_or.accumulate(flags, axis=axis))

    if call.node.packet == "aten.cummax":
        return largest(value, found), None
    return negative(largest(negative(value), found)), None


@rules("prod", "cumprod")
def _product(call: Call) -> Result:
    """Multiply entries that are never negative: their logarithms are added."""
    value, result, axis = call.value(), call.nothing_known(), call.get("dim")
    assert isinstance(result, Value)

    def running(flags: Flags) -> Flags:
        return np.asarray(np.logical_or.accumulate(flags, axis=axis))

    found = running if call.node.packet == "aten.cumprod" else _along(call)
    if found(has(value.sign, NEGATIVE)).any():
        return result
    sign = when(~found(value.zero), POSITIVE) | when(found(has(value.sign, ZERO)), ZERO)
    claims = when(~found(~has(value.logarithm, LOG_CONVEX)), LOG_CONVEX)
    claims |= when(~found(~has(value.logarithm, LOG_CONCAVE)), LOG_CONCAVE)
    varies = when(found(value.varies), VARIES | UP | DOWN) | when(
        found(has(value.curvature, FOREIGN)), FOREIGN
    )
    return claimed(Value(sign, varies), claims)
