"""Operators that apply one function of one real argument to every entry."""

from __future__ import annotations

from math import isfinite

import numpy as np

from jensen.verifier.rules._call import Call, Rule
from jensen.verifier.rules._curves import (
    AFFINE,
    AFFINE_FALLING,
    CONCAVE_FALLING,
    CONCAVE_RISING,
    CONVEX,
    CONVEX_FALLING,
    CONVEX_RISING,
    FALLING,
    FLAT,
    RISING,
    Curve,
    Shape,
)
from jensen.verifier.rules._known import Known, chosen, minus, settled

_ODD = ("-", "0", "+")
_EVEN = ("+", "0", "+")
_ABOVE = ("+", "+", "+")
_RELU = Curve(CONVEX_RISING, AFFINE, FLAT, ("0", "0", "+"), log=CONCAVE_RISING, log_of_exp=AFFINE)
ABSOLUTE = Curve(CONVEX, AFFINE, AFFINE_FALLING, _EVEN, log_of_exp=AFFINE)
SQUARE = Curve(CONVEX, CONVEX_RISING, CONVEX_FALLING, _EVEN, log_of_exp=AFFINE)
ENTROPY = Curve(CONVEX, signs=("-0+", "0", "-0+"), domain="nonnegative")
"""x log(x), to any base above one."""
HUBER = Curve(CONVEX, CONVEX_RISING, CONVEX_FALLING, _EVEN)
LOGARITHM = Curve(CONCAVE_RISING, domain="positive", of_exp=AFFINE)
_INVERSE = Curve(
    CONVEX_FALLING, signs=_ABOVE, domain="positive", log=CONVEX_FALLING, log_of_exp=AFFINE_FALLING
)
_SIGMOID = Curve(RISING, CONCAVE_RISING, CONVEX_RISING, _ABOVE, log=CONCAVE_RISING)
_S_SHAPED = Curve(RISING, CONCAVE_RISING, CONVEX_RISING, _ODD)


def power(p: float) -> Curve | None:
    """x^p for real p, where it is a real number."""
    if not isfinite(p):
        return None
    if p == 0:
        return Curve(FLAT, signs=_ABOVE)
    if p == 1:
        return Curve(AFFINE, signs=_ODD, log_of_exp=AFFINE)
    if p > 0 and p == int(p):
        if p % 2 == 0:
            return SQUARE
        return Curve(RISING, CONVEX_RISING, CONCAVE_RISING, _ODD, log_of_exp=AFFINE)
    if p > 0:
        bend = CONVEX_RISING if p > 1 else CONCAVE_RISING
        return Curve(bend, signs=_ODD, domain="nonnegative", log_of_exp=AFFINE)
    return _INVERSE


def exponential(base: float) -> Curve | None:
    """base^x."""
    if not (base > 0 and isfinite(base)):
        return None
    if base >= 1:
        return Curve(CONVEX_RISING, signs=_ABOVE, log=AFFINE)
    return Curve(CONVEX_FALLING, signs=_ABOVE, log=AFFINE_FALLING)


def inverse(call: Call, b: Known) -> Known:
    """1 / b, where b is known to have one sign."""
    below = ~b.positive
    upright = chosen(below, minus(b), b)
    found = _INVERSE(call, upright)
    return chosen(below, minus(found), found)


def _pow(call: Call) -> Known | None:
    exponent, base = (call.numbers(call.given(name)) for name in ("exponent", "self"))
    curve = None
    if exponent is not None and exponent.size == 1:
        curve, name = power(float(exponent.reshape(()))), "self"
    elif base is not None and base.size == 1:
        curve, name = exponential(float(base.reshape(()))), "exponent"
    if curve is None:
        return None
    result = curve(call, call.known(name))
    return result.broadcast(call.shape)


def _leaky(call: Call) -> Known | None:
    """X above zero, slope * x below; every channel of a prelu has its own slope."""
    a = call.known("self")
    if call.node.packet == "aten.leaky_relu":
        slope = np.asarray(call.number("negative_slope", 0.01))
    else:
        found = call.numbers(call.given("weight"))
        if found is None:
            return None
        channels = call.node.packet == "aten.prelu" and found.ndim == 1 and found.size > 1
        slope = found.reshape(-1, *(1,) * (len(a.shape) - 2)) if channels else found
    if not np.isfinite(slope).all():
        return None
    shape = Shape(up=slope < 1, down=slope > 1, rises=True, falls=slope < 0)
    below = Shape(rises=slope > 0, falls=slope < 0)
    result = Curve(shape, AFFINE, below, log_of_exp=AFFINE)(call, a)
    negative, positive = a.negative & (slope > 0), a.positive | (a.negative & (slope < 0))
    return settled(negative, a.zero | (a.negative & (slope == 0)), positive, *list(result)[3:])


def _elu(call: Call) -> Known | None:
    """X above zero and alpha (exp(x) - 1) below, whose slope is at most alpha."""
    plain = call.number("scale", 1.0) == 1 and call.number("input_scale", 1.0) == 1
    if not plain or not 0 <= call.number("alpha", 1.0) <= 1:
        return None
    signs = _ODD if call.number("alpha", 1.0) > 0 else ("0", "0", "+")
    return Curve(CONVEX_RISING, AFFINE, signs=signs, log_of_exp=AFFINE)(call, call.known("self"))


def _celu(call: Call) -> Known | None:
    """X above zero and alpha (exp(x / alpha) - 1) below."""
    if not 0 < call.number("alpha", 1.0) < np.inf:
        return None
    return Curve(CONVEX_RISING, AFFINE, signs=_ODD, log_of_exp=AFFINE)(call, call.known("self"))


def _softplus(call: Call) -> Known | None:
    """log(1 + exp(beta x)) / beta, of which torch's threshold is a rounding.

    Log-concave: f f'' <= f'^2 says log(1 + u) <= u, for u = exp(beta x). Of exp(h) its logarithm is convex:
    for beta = 1 and x = exp(h) > 0, x f' / f rises because f - x f' + x (1 - f') f > 0, as f > x and
    0 < f' < 1.
    """
    if not (0 < call.number("beta", 1.0) < np.inf and call.number("threshold", 20.0) >= 20.0):
        return None
    curve = Curve(CONVEX_RISING, signs=_ABOVE, log=CONCAVE_RISING, log_of_exp=CONVEX_RISING)
    return curve(call, call.known("self"))


def _hardtanh(call: Call) -> Known | None:
    """Keep the argument between two bounds."""
    low, high = call.number("min_val", -1.0), call.number("max_val", 1.0)
    if not low < high:
        return None
    plus = CONCAVE_RISING if low <= 0 else RISING
    below = CONVEX_RISING if high >= 0 else RISING
    signs = _ODD if low < 0 < high else ("-0+", "-0+", "-0+")
    return Curve(RISING, plus, below, signs)(call, call.known("self"))


def _threshold(call: Call) -> Known | None:
    """Take the larger of x and the threshold, where the value below it is the threshold itself."""
    bound = call.number("threshold", 0.0)
    if bound != call.number("value", 1.0) or not isfinite(bound):
        return None
    return Curve(CONVEX_RISING)(call, call.known("self"))


def _plain(curve: Curve) -> Rule:
    return lambda call: curve(call, call.known("self"))


_CURVES: dict[str, Curve] = {
    "relu": _RELU,
    "abs": ABSOLUTE,
    "square": SQUARE,
    "sqrt": Curve(CONCAVE_RISING, signs=_ODD, domain="nonnegative", log_of_exp=AFFINE),
    "rsqrt": _INVERSE,
    "exp": Curve(CONVEX_RISING, signs=_ABOVE, log=AFFINE),
    "exp2": Curve(CONVEX_RISING, signs=_ABOVE, log=AFFINE),
    "expm1": Curve(CONVEX_RISING, signs=_ODD, log_of_exp=CONVEX_RISING),
    "log": LOGARITHM,
    "log2": LOGARITHM,
    "log10": LOGARITHM,
    "log1p": Curve(
        CONCAVE_RISING,
        signs=_ODD,
        domain="nonnegative",
        of_exp=CONVEX_RISING,
        log_of_exp=CONCAVE_RISING,
    ),
    "log_sigmoid": Curve(CONCAVE_RISING, signs=("-", "-", "-")),
    "sigmoid": _SIGMOID,
    "tanh": _S_SHAPED,
    "erf": _S_SHAPED,
    "atan": _S_SHAPED,
    "asinh": _S_SHAPED,
    "erfc": Curve(FALLING, CONVEX_FALLING, CONCAVE_FALLING, _ABOVE, log=CONCAVE_FALLING),
    "sinh": Curve(RISING, CONVEX_RISING, CONCAVE_RISING, _ODD, log_of_exp=CONVEX_RISING),
    "cosh": Curve(CONVEX, CONVEX_RISING, CONVEX_FALLING, _ABOVE, log=CONVEX, log_of_exp=CONVEX_RISING),
    "relu6": Curve(RISING, CONCAVE_RISING, FLAT, ("0", "0", "+")),
    "selu": Curve(RISING, AFFINE, CONVEX_RISING, _ODD, log_of_exp=AFFINE),
}
"""Of logarithms: 1 / x is exp(-h) for x = exp(h). The slopes in h of the logarithms of exp(x) - 1, sinh(x)
and cosh(x) rise: they are x / (1 - exp(-x)), x coth(x), x tanh(x). The logarithm of erfc is concave."""

RULES: dict[str, Rule] = {
    **{f"aten.{name}": _plain(curve) for name, curve in _CURVES.items()},
    "aten.pow": _pow,
    "aten.leaky_relu": _leaky,
    "aten.prelu": _leaky,
    "aten._prelu_kernel": _leaky,
    "aten.elu": _elu,
    "aten.celu": _celu,
    "aten.softplus": _softplus,
    "aten.hardtanh": _hardtanh,
    "aten.threshold": _threshold,
    "aten.reciprocal": lambda call: inverse(call, call.known("self")),
}
