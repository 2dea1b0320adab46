"""Operators that bend and take several arguments: maxima, norms, log-sum-exp, losses."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

import numpy as np
import torch

from jensen.calculus._arithmetic import negative, product, summed, total
from jensen.calculus._atom import Atom
from jensen.calculus._call import Call, Registry, Result
from jensen.calculus._elementary import SIZE, exponential, huber, power, sloped, square
from jensen.calculus._moving import run
from jensen.calculus._value import (
    DOWN,
    FOREIGN,
    LOG_CONCAVE,
    LOG_CONVEX,
    NEGATIVE,
    NONNEGATIVE,
    NONPOSITIVE,
    POSITIVE,
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
    narrowed,
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
    """Claim that results are log-convex where all entries are that they are made of."""
    if value.logs is None:
        return result
    return claimed(result, when(~found(~has(value.logarithm, LOG_CONVEX)), LOG_CONVEX))


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


@rules("maximum")
def _maximum(call: Call) -> Result:
    if call.is_same("self", "other"):
        return call.value()
    return maximum(call.value("self"), call.value("other"))


@rules("minimum")
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


@rules("pow")
def _pow(call: Call) -> Result:
    exponent, base = call.number("exponent"), call.number("self")
    if exponent is not None and exponent.size == 1:
        return applied_atom(call, power(float(exponent.reshape(()))), call.value())
    if base is not None and base.size == 1:
        return applied_atom(call, exponential(float(base.reshape(()))), call.value("exponent"))
    return call.nothing_known()


@rules("var")
def _var(call: Call) -> Result:
    """Compute the squared norm of what is left when the mean, a linear map, is taken away."""
    value = call.value()
    if (value.curvature & (UP | DOWN)).any():
        return call.nothing_known()
    curvature = with_bend(any_bit(value, _along(call)), UP)
    return Value(np.full(curvature.shape, NONNEGATIVE, dtype=np.int8), curvature)


@rules("gt", "ge", "lt", "le", "eq", "ne", "greater", "less", "greater_equal", "less_equal", "sign", "argmax")
def _step(call: Call) -> Result:
    return call.nothing_known()


def applied_atom(call: Call, atom: Atom, argument: Value) -> Value:
    """Compose, and take down where the atom may not be defined."""
    if atom.undefined(argument).any():
        call.suppose(f"the argument of {atom.name} is {atom.domain}")
    return atom(argument)


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


def _reduced(call: Call, losses: Value) -> Value:
    """Reduce losses as torch does: 0 not at all, 1 by their mean, 2 by their sum."""
    if call.get("reduction", 1) == 0:
        return losses
    return summed(losses, lambda x: np.asarray(x.sum()))


@rules("mse_loss", "l1_loss", "huber_loss", "smooth_l1_loss")
def _distance(call: Call) -> Result:
    difference = total(call.value("self"), negative(call.value("target")))
    return _reduced(call, (square() if "mse" in call.node.packet else huber())(difference))


@rules("binary_cross_entropy_with_logits")
def _logistic(call: Call) -> Result:
    """log(1 + exp(x)) - target * x, for targets that are constant."""
    if call.get("pos_weight") is not None:
        return call.nothing_known()
    x, target = call.value("self"), call.value("target")
    losses = total(_SOFTPLUS(x), negative(product(target, x)))
    if (numbers := call.number("target")) is not None:
        # softplus(x) - t x is also softplus(-x) - (t - 1) x.
        other = negative(product(constant(np.asarray(numbers) - 1.0), x))
        losses = narrowed(losses, total(_SOFTPLUS(negative(x)), other))
        inside = (numbers >= 0) & (numbers <= 1)  # where the loss is above max(x, 0) - t x >= 0
        losses = Value(np.where(inside, losses.sign & POSITIVE, losses.sign), losses.curvature)
    if (weight := call.optional("weight")) is not None:
        losses = product(losses, weight)
    return _reduced(call, losses)


_SOFTPLUS = Atom("softplus", exponential(2.0).everywhere, sign=exponential(2.0).sign)


@rules("cross_entropy_loss")
def _cross_entropy(call: Call) -> Result:
    """log-sum-exp minus the entry of the class, for classes that are constant."""
    x, target = call.value("self"), call.args.get("target")
    if not isinstance(target, np.ndarray) or call.get("label_smoothing", 0.0) != 0:
        return call.nothing_known()
    if call.get("weight") is not None and has(call.value("weight").sign, NEGATIVE).any():
        return call.nothing_known()
    axis = 0 if x.sign.ndim == 1 else 1
    classes = np.expand_dims(np.clip(target, 0, x.shape[axis] - 1), axis)
    # logsumexp(x - x_c) rises in all entries but that of the class, in which it falls.
    is_class = np.arange(x.shape[axis]).reshape(-1, *(1,) * (x.sign.ndim - 1 - axis)) == classes
    turned = chosen(is_class, negative(x), x)
    curvature = log_sum_exp(turned, lambda flags: np.asarray(flags.any(axis=axis))).curvature
    losses = Value(np.full(curvature.shape, NONNEGATIVE, dtype=np.int8), curvature)
    return _reduced(call, losses)
