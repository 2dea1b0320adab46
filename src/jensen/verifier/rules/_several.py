"""Operators that bend and take several entries: maxima, norms, log-sum-exp, softmax, variance, losses."""

from __future__ import annotations

import numpy as np

from jensen.verifier.rules._call import Call, Rule, axes_of
from jensen.verifier.rules._elementwise import ABSOLUTE, HUBER, SQUARE
from jensen.verifier.rules._known import (
    Flags,
    Gathering,
    Known,
    added,
    larger,
    largest,
    minus,
    settled,
    smaller,
    stacked,
    total,
)


def _max(call: Call) -> Known | tuple[Known, ...]:
    if call.node.operator.endswith(".other") or call.node.packet in ("aten.maximum", "aten.fmax"):
        return larger(call.known("self"), call.known("other"))
    return _values(call, largest(call.known("self"), call.gathering()))


def _min(call: Call) -> Known | tuple[Known, ...]:
    if call.node.operator.endswith(".other") or call.node.packet in ("aten.minimum", "aten.fmin"):
        return smaller(call.known("self"), call.known("other"))
    return _values(call, minus(largest(minus(call.known("self")), call.gathering(sign=-1))))


def _values(call: Call, values: Known) -> Known | tuple[Known, ...]:
    """Leave out the places of the largest entries, where the operator tells them too."""
    several = any(not isinstance(part, int) for part in call.node.shape)
    return (values,) if several else values


def _clamp(call: Call) -> Known:
    result = call.known("self")
    if call.given("min") is not None:
        result = larger(result, call.known("min"))
    if call.given("max") is not None:
        result = smaller(result, call.known("max"))
    return result


def _along(call: Call, a: Known, keep: bool | None = None) -> Gathering:
    """Look along the axes that the operator reduces."""
    axes = axes_of(call.given("dim"))
    kept = call.flag("keepdim") if keep is None else keep

    def found(flags: Flags) -> Flags:
        return np.asarray(flags.any(axis=axes, keepdims=kept))

    if not found(np.ones(a.shape, dtype=bool)).all():
        raise call.refused("a result is made of no entry")
    return found


def _log_sum_exp(a: Known, found: Gathering) -> Known:
    """Convex, and rising in every entry."""
    moves = found(a.moves)
    anything = np.ones_like(moves)
    return settled(anything, anything, anything, moves, found(a.down), moves)


def _logsumexp(call: Call) -> Known:
    a = call.known("self")
    return _log_sum_exp(a, _along(call, a))


def _logaddexp(call: Call) -> Known:
    both = stacked([call.known("self"), call.known("other")])
    return _log_sum_exp(both, lambda flags: np.asarray(flags.any(axis=0)))


def _log_softmax(call: Call) -> Known:
    """Subtract log-sum-exp: concave where the arguments are affine, and never positive."""
    a = call.known("self")
    found = added(a, minus(_log_sum_exp(a, _along(call, a, keep=True))))
    anything = np.ones_like(found.moves)
    return settled(anything, anything, ~anything, found.up, found.down, found.moves)


def _softmax(call: Call) -> Known:
    logarithm = _log_softmax(call)
    moves, anything = logarithm.moves, np.ones_like(logarithm.moves)
    return settled(~anything, ~anything, anything, moves, moves, moves, logarithm.up, logarithm.down)


def _norm(call: Call) -> Known | None:
    """Of order >= 1, also infinite: convex, and rising in the size of every entry."""
    order = call.number("ord", call.number("p", 2.0))
    if not order >= 1:
        return None
    size = ABSOLUTE(call, call.known("self"))
    found = _along(call, size)
    # It has a kink where it is zero. A norm of log-convex functions is a power of a sum of their powers.
    moves = found(size.moves)
    return settled(
        np.zeros_like(moves),
        ~found(~size.zero),
        found(size.positive),
        moves,
        found(size.down),
        moves,
        log_down=found(size.log_down),
    )


def _var(call: Call) -> Known | None:
    """Add squares of affine entries less their mean, over a count that is positive."""
    a = call.known("self")
    if (a.up | a.down).any():
        return None
    found = _along(call, a)
    moves = found(a.moves)
    count = a.up.size // max(moves.size, 1)
    if not count > _correction(call):
        return None
    anything = np.ones_like(moves)
    return settled(~anything, anything, anything, moves, ~anything, moves)


def _correction(call: Call) -> float:
    if "unbiased" in call.node.args:
        return float(call.flag("unbiased"))
    return call.number("correction", 1.0)


def _distance(call: Call) -> Known | None:
    """Add up, or average, a convex function of differences that falls below zero and rises above."""
    scale = call.number("delta", call.number("beta", 1.0))
    if not 0 <= scale < np.inf:
        return None
    curve = SQUARE if call.node.packet == "aten.mse_loss" else HUBER
    losses = curve(call, added(call.known("self"), minus(call.known("target"))))
    if call.whole("reduction", 1) == 0:
        return losses
    if not losses.up.size:
        return None
    return total(losses, lambda flags: np.asarray(flags.any()))


_MAXIMA = """max maximum fmax amax max_pool1d max_pool2d max_pool3d max_pool1d_with_indices
    max_pool2d_with_indices max_pool3d_with_indices adaptive_max_pool1d adaptive_max_pool2d
    adaptive_max_pool3d"""

RULES: dict[str, Rule] = {
    **dict.fromkeys((f"aten.{name}" for name in _MAXIMA.split()), _max),
    **dict.fromkeys(("aten.min", "aten.minimum", "aten.fmin", "aten.amin"), _min),
    **dict.fromkeys(("aten.clamp", "aten.clip", "aten.clamp_min", "aten.clamp_max"), _clamp),
    **dict.fromkeys(("aten.log_softmax", "aten._log_softmax"), _log_softmax),
    **dict.fromkeys(("aten.softmax", "aten._softmax"), _softmax),
    **dict.fromkeys(("aten.linalg_vector_norm", "aten.norm"), _norm),
    **dict.fromkeys(("aten.mse_loss", "aten.l1_loss", "aten.huber_loss", "aten.smooth_l1_loss"), _distance),
    "aten.logsumexp": _logsumexp,
    "aten.logaddexp": _logaddexp,
    "aten.var": _var,
}
