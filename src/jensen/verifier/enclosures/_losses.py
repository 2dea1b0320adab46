"""Enclosures of losses, reduced as torch reduces them."""

from __future__ import annotations

from typing import Any

import numpy as np
from flint import arb
from numpy.typing import NDArray

from jensen.verifier.enclosures._balls import (
    Balls,
    Call,
    Registry,
    add,
    array,
    as_balls,
    each,
    minus,
    summed,
    times,
)
from jensen.verifier.enclosures._elementwise import softplus
from jensen.verifier.enclosures._several import log_sum_exp

rules = Registry()


def _reduced(call: Call, losses: Balls, over: arb | None = None) -> Balls:
    """Reduce losses: 0 not at all, 1 by their mean (their sum over a number), 2 by their sum."""
    how = call.get("reduction", 1)
    if how == 0:
        return losses
    total = summed(losses, None, False)
    return (
        total if how == 2 else np.asarray(total / (arb(losses.size) if over is None else over), dtype=object)
    )


@rules("mse_loss", "l1_loss")
def _difference(call: Call) -> Balls:
    rest = minus(call.balls("self"), call.balls("target"))
    return _reduced(call, times(rest, rest) if "mse" in call.node.packet else each(abs, rest))


@rules("huber_loss", "smooth_l1_loss")
def _huber(call: Call) -> Balls:
    """Compute d |x| - d^2 / 2 beyond d and x^2 / 2 below; over d, for the smooth one.

    With m = min(|x|, d) both are m (|x| - m / 2).
    """
    smooth = call.node.packet == "aten.smooth_l1_loss"
    bend = call.number("beta" if smooth else "delta", 1.0)
    rest = each(abs, minus(call.balls("self"), call.balls("target")))
    if smooth and bend == 0:
        return _reduced(call, rest)

    def loss(x: arb) -> arb:
        m = x.min(bend)
        found = m * (x - m / 2)
        return found / bend if smooth else found

    return _reduced(call, each(loss, rest))


@rules("binary_cross_entropy_with_logits")
def _logistic(call: Call) -> Balls:
    """P t softplus(-x) + (1 - t) softplus(x)."""
    x, target = call.balls("self"), call.balls("target")
    positive = call.balls("pos_weight") if call.get("pos_weight") is not None else as_balls(1)
    right = times(times(positive, target), each(lambda v: softplus(-v), x))
    losses = add(right, times(minus(arb(1), target), each(softplus, x)))
    return _reduced(call, losses if call.get("weight") is None else times(losses, call.balls("weight")))


@rules("cross_entropy_loss")
def _cross_entropy(call: Call) -> Balls:
    x, target, smoothing = call.balls("self"), call.args.get("target"), call.number("label_smoothing", 0.0)
    axis = 0 if x.ndim == 1 else 1
    falls = minus(log_sum_exp(x, (axis,), True), x)  # minus the logarithms of the shares
    weight = call.balls("weight") if call.get("weight") is not None else None
    if weight is not None:
        falls = times(falls, weight.reshape(-1, *(1,) * (x.ndim - 1 - axis)))
    if not isinstance(target, np.ndarray):
        raise call.refused("its target is no tensor")
    count = x.shape[axis]
    if target.dtype == object:
        shares = add(times(target, 1 - smoothing), smoothing / count)
        losses = summed(times(shares, falls), (axis,), False)
        return _reduced(call, losses, arb(max(losses.size, 1)))
    losses, over = _of_classes(call, falls, target, weight)
    if smoothing != 0:
        left = target == call.get("ignore_index", -100)
        spread = _chosen(left, arb(0), summed(falls, (axis,), False))
        losses = add(times(losses, 1 - smoothing), times(spread, smoothing / count))
    return _reduced(call, losses, over)


@rules("nll_loss", "nll_loss_nd", "nll_loss2d")
def _likelihood(call: Call) -> Balls:
    x, target = call.balls("self"), call.args.get("target")
    if not isinstance(target, np.ndarray) or target.dtype == object:
        raise call.refused("its target does not name classes")
    weight = call.balls("weight") if call.get("weight") is not None else None
    falls = minus(arb(0), x)
    if weight is not None:
        falls = times(falls, weight.reshape(-1, *(1,) * (x.ndim - (1 if x.ndim == 1 else 2))))
    return _reduced(call, *_of_classes(call, falls, target, weight))


def _of_classes(call: Call, falls: Balls, target: NDArray[Any], weight: Balls | None) -> tuple[Balls, arb]:
    """Take the entries of the classes, zero where samples are left out, and the sum of their weights."""
    axis = 0 if falls.ndim == 1 else 1
    kept = target != call.get("ignore_index", -100)
    places = np.where(kept, target, 0)
    if ((places < 0) | (places >= falls.shape[axis])).any():
        raise call.refused("its target names a class that there is not")
    picked = np.take_along_axis(falls, np.expand_dims(places, axis), axis).squeeze(axis)
    losses = _chosen(~kept, arb(0), picked)
    if weight is None:
        return losses, arb(int(kept.sum()))
    return losses, sum((weight[i] for i in target[kept].ravel()), arb(0))


def _chosen(flags: NDArray[np.bool_], number: arb, others: Balls) -> Balls:
    """Put a number where a flag is set."""
    entries = zip(flags.ravel(), others.ravel(), strict=True)
    return array((number if flag else other for flag, other in entries), flags.shape)


@rules("kl_div")
def _divergence(call: Call) -> Balls:
    x, target = call.balls("self"), call.balls("target")
    if call.get("log_target", False):
        shares = each(arb.exp, target)
        return _reduced(call, times(shares, minus(target, x)))

    def own(t: arb) -> arb:
        return arb(0) if t.is_zero() else t * t.log()

    return _reduced(call, minus(each(own, target), times(target, x)))
