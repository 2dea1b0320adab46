"""Losses of scores and given targets, reduced as torch reduces them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from jensen.calculus._arithmetic import negative, product, summed, total
from jensen.calculus._atom import Atom
from jensen.calculus._call import Call, Registry, Result
from jensen.calculus._elementary import exponential, huber, square
from jensen.calculus._several import any_bit, log_sum_exp
from jensen.calculus._value import (
    ANY_SIGN,
    NEGATIVE,
    NONNEGATIVE,
    POSITIVE,
    Value,
    chosen,
    constant,
    has,
    narrowed,
)

rules = Registry()


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
    """log(1 + exp(x)) - target * x, for targets that are constant.

    With a weight p of the positive it is p * target * softplus(-x) + (1 - target) * softplus(x).
    """
    x, target = call.value("self"), call.value("target")
    losses = total(_SOFTPLUS(x), negative(product(target, x)))
    if (numbers := call.number("target")) is not None:
        # softplus(x) - t x is also softplus(-x) - (t - 1) x.
        other = negative(product(constant(np.asarray(numbers) - 1.0), x))
        losses = narrowed(losses, total(_SOFTPLUS(negative(x)), other))
        inside = (numbers >= 0) & (numbers <= 1)  # where the loss is above max(x, 0) - t x >= 0
        losses = Value(np.where(inside, losses.sign & POSITIVE, losses.sign), losses.curvature)
    if (positive := call.optional("pos_weight")) is not None:
        rest = _one_less(call.number("target"), target)
        told = product(product(positive, target), _SOFTPLUS(negative(x)))
        losses = total(told, product(rest, _SOFTPLUS(x)))
    if (weight := call.optional("weight")) is not None:
        losses = product(losses, weight)
    return _reduced(call, losses)


def _one_less(numbers: NDArray[Any] | None, value: Value) -> Value:
    """1 - value, whose sign is known where the numbers are."""
    if numbers is None:
        return total(constant(1.0), negative(value))
    # Numbers up to 1 give 1 - t >= 0 in any rounding, numbers above do not.
    return constant(np.where(numbers == 1, 0.0, np.where(numbers < 1, 1.0, -1.0)))


_SOFTPLUS = Atom("softplus", exponential(2.0).everywhere, sign=exponential(2.0).sign)


@rules("cross_entropy_loss")
def _cross_entropy(call: Call) -> Result:
    """log-sum-exp minus the entry of the class, for classes that are constant.

    Probabilities and smoothed labels give nonnegative multiples of such terms, one for every class.
    """
    x, target = call.value("self"), call.args.get("target")
    smoothing = call.get("label_smoothing", 0.0)
    if target is None or not 0 <= smoothing <= 1:
        return call.nothing_known()
    if call.get("weight") is not None and has(call.value("weight").sign, NEGATIVE).any():
        return call.nothing_known()
    axis = 0 if x.sign.ndim == 1 else 1
    if isinstance(target, Value) or smoothing > 0:
        if isinstance(target, Value) and (has(target.sign, NEGATIVE).any() or target.varies.any()):
            return call.nothing_known()
        every = total(
            log_sum_exp(x, lambda flags: np.asarray(flags.any(axis=axis, keepdims=True))), negative(x)
        )
        curvature = any_bit(every, lambda flags: np.asarray(flags.any(axis=axis)))
        return _reduced(call, Value(np.full(curvature.shape, NONNEGATIVE, dtype=np.int8), curvature))
    # logsumexp(x - x_c) rises in all entries but that of the class, in which it falls.
    numbers = np.arange(x.shape[axis]).reshape(-1, *(1,) * (x.sign.ndim - 1 - axis))
    turned = chosen(numbers == np.expand_dims(target, axis), negative(x), x)
    curvature = log_sum_exp(turned, lambda flags: np.asarray(flags.any(axis=axis))).curvature
    losses = Value(np.full(curvature.shape, NONNEGATIVE, dtype=np.int8), curvature)
    return _reduced(call, losses)


@rules("nll_loss", "nll_loss_nd", "nll_loss2d")
def _nll(call: Call) -> Result:
    """Minus the entry of the class, by its weight, for classes that are constant."""
    x, target = call.value(), call.args.get("target")
    if not isinstance(target, np.ndarray):
        return call.nothing_known()
    if call.get("weight") is not None and has(call.value("weight").sign, NEGATIVE).any():
        return call.nothing_known()
    losses = negative(_of_class(x, target))
    if call.get("weight") is None and not (target == call.get("ignore_index", -100)).any():
        return _reduced(call, losses)
    # Weights, and samples that are left out, may make any of these terms zero.
    weights = Value(np.full(losses.shape, NONNEGATIVE, dtype=np.int8), np.zeros(losses.shape, dtype=np.int8))
    return _reduced(call, product(losses, weights))


def _of_class(x: Value, classes: NDArray[Any]) -> Value:
    axis = 0 if len(x.shape) == 1 else 1
    picked = np.expand_dims(np.clip(classes, 0, x.shape[axis] - 1), axis)
    return x.moved(lambda bits: np.take_along_axis(bits, picked, axis).squeeze(axis))


@rules("kl_div")
def _divergence(call: Call) -> Result:
    """T (log t - x), which is affine in x, for targets t that are constant, or t = exp(target)."""
    x, target = call.value(), call.value("target")
    if target.varies.any():
        return call.nothing_known()
    weight = target
    if call.get("log_target", False):
        weight = Value(np.full(target.shape, POSITIVE, dtype=np.int8), target.curvature)
    found = negative(product(weight, x))
    anything = Value(np.full(found.shape, ANY_SIGN, dtype=np.int8), found.curvature)
    return _reduced(call, anything)
