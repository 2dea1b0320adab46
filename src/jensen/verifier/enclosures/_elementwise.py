"""Enclosures of functions of one number, and of sums, products and quotients entry by entry."""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite

from flint import arb

from jensen.verifier.enclosures._balls import Balls, Call, Registry, Rule, add, as_balls, both, each, times

rules = Registry()

_HIGHEST = 1 << 20
"""Whole powers below it are computed by squaring."""


def above(x: arb) -> arb:
    """max(x, 0)."""
    return x.max(arb(0))


def below(x: arb) -> arb:
    """min(x, 0)."""
    return x.min(arb(0))


def sigmoid(x: arb) -> arb:
    """1 / (1 + exp(-x))."""
    return 1 / (1 + (-x).exp())


def softplus(x: arb) -> arb:
    """log(1 + exp(x))."""
    if x > 0:
        return x + softplus(-x)
    return x.exp().log1p()


def power(x: arb, p: arb) -> arb:
    """x^p, which is 1 for p = 0."""
    if abs(p) < _HIGHEST:
        if (whole := p.unique_fmpz()) is not None and p.is_integer():
            return x ** int(whole)
        return arb(0) if x.is_zero() and p > 0 else x**p
    # Squaring again and again would take forever.
    return (p * x.log()).exp()


def cut(x: arb, low: float, high: float) -> arb:
    """Keep a number between two others."""
    return x.max(arb(low)).min(arb(high))


_FUNCTIONS: dict[str, Callable[[arb], arb]] = {
    "neg": lambda x: -x,
    "negative": lambda x: -x,
    "relu": above,
    "relu6": lambda x: cut(x, 0, 6),
    "abs": abs,
    "square": lambda x: x * x,
    "sqrt": arb.sqrt,
    "rsqrt": arb.rsqrt,
    "reciprocal": lambda x: 1 / x,
    "exp": arb.exp,
    "exp2": lambda x: (x * arb.const_log2()).exp(),
    "expm1": arb.expm1,
    "log": arb.log,
    "log2": lambda x: x.log() / arb.const_log2(),
    "log10": lambda x: x.log() / arb.const_log10(),
    "log1p": arb.log1p,
    "sigmoid": sigmoid,
    "log_sigmoid": lambda x: -softplus(-x),
    "tanh": arb.tanh,
    "sinh": arb.sinh,
    "cosh": arb.cosh,
    "asinh": arb.asinh,
    "atan": arb.atan,
    "sin": arb.sin,
    "cos": arb.cos,
    "erf": arb.erf,
    "erfc": arb.erfc,
    "lgamma": arb.lgamma,
    "special_erfcx": lambda x: (x * x).exp() * x.erfc(),
    "erfinv": arb.erfinv,
    "i0": lambda x: x.bessel_i(arb(0)),
    "silu": lambda x: x * sigmoid(x),
    "mish": lambda x: x * softplus(x).tanh(),
    "hardsigmoid": lambda x: cut(x + 3, 0, 6) / 6,
    "hardswish": lambda x: x * cut(x + 3, 0, 6) / 6,
}


def _function(function: Callable[[arb], arb]) -> Rule:
    return lambda call: each(function, call.balls("self"))


rules.update({f"aten.{name}": _function(function) for name, function in _FUNCTIONS.items()})


@rules("add", "add_", "sub", "sub_", "subtract", "rsub")
def _add(call: Call) -> Balls:
    a, b = call.balls("self"), call.balls("other")
    if call.node.packet == "aten.rsub":
        a, b = b, a
    if "add" not in call.node.packet:
        b = times(b, arb(-1))
    # Of a - alpha b and of b - alpha a it is the second term that alpha stands before.
    return add(a, times(b, call.number("alpha", 1)))


@rules("mul", "mul_", "multiply")
def _mul(call: Call) -> Balls:
    return times(call.balls("self"), call.balls("other"))


@rules("div", "div_", "true_divide")
def _div(call: Call) -> Balls:
    if call.get("rounding_mode") is not None:
        raise call.refused("it rounds")
    return both(lambda x, y: x / y, call.balls("self"), call.balls("other"))


@rules("xlogy")
def _xlogy(call: Call) -> Balls:
    def function(x: arb, y: arb) -> arb:
        return arb(0) if x.is_zero() and not y.is_nan() else x * y.log()

    return both(function, call.balls("self"), call.balls("other"))


@rules("hypot")
def _hypot(call: Call) -> Balls:
    return both(lambda x, y: (x * x + y * y).sqrt(), call.balls("self"), call.balls("other"))


@rules("pow")
def _pow(call: Call) -> Balls:
    return both(power, call.balls("self"), call.balls("exponent"))


@rules("leaky_relu")
def _leaky_relu(call: Call) -> Balls:
    slope = call.number("negative_slope", 0.01)
    return each(lambda x: above(x) + slope * below(x), call.balls("self"))


@rules("prelu", "_prelu_kernel")
def _prelu(call: Call) -> Balls:
    given, slopes = call.balls("self"), call.balls("weight")
    if call.node.packet == "aten._prelu_kernel":
        pass  # its slopes are broadcast as they are
    elif slopes.size > 1 and slopes.ndim == 1:
        slopes = slopes.reshape(-1, *(1,) * (given.ndim - 2))
    elif slopes.ndim <= 1:
        slopes = slopes.reshape(())
    return both(lambda x, slope: above(x) + slope * below(x), given, slopes)


@rules("elu")
def _elu(call: Call) -> Balls:
    alpha, scale, rate = (call.number(name, 1.0) for name in ("alpha", "scale", "input_scale"))
    if not rate > 0:
        raise call.refused("its input_scale is not positive")
    # Below zero the exponential is at most 1, so that the two parts never overlap.
    return each(lambda x: scale * (above(x) + alpha * below((x * rate).expm1())), call.balls("self"))


@rules("selu")
def _selu(call: Call) -> Balls:
    alpha, scale = arb(1.6732632423543772848170429916717), arb(1.0507009873554804934193349852946)
    return each(lambda x: scale * (above(x) + alpha * below(x.expm1())), call.balls("self"))


@rules("celu")
def _celu(call: Call) -> Balls:
    alpha = call.number("alpha", 1.0)
    return each(lambda x: above(x) + below(alpha * (x / alpha).expm1()), call.balls("self"))


@rules("softplus")
def _softplus(call: Call) -> Balls:
    beta = call.number("beta", 1.0)
    if not (beta > 0 and call.number("threshold", 20.0) >= 20):
        raise call.refused("with this beta or threshold it is not log(1 + exp(beta x)) / beta")
    return each(lambda x: softplus(x * beta) / beta, call.balls("self"))


@rules("gelu")
def _gelu(call: Call) -> Balls:
    if call.get("approximate", "none") == "none":
        return each(lambda x: x * (1 + (x / arb(2).sqrt()).erf()) / 2, call.balls("self"))
    rate = (2 / arb.pi()).sqrt()
    cubic = arb(0.044715)
    return each(lambda x: x * (1 + (rate * (x + cubic * x * x * x)).tanh()) / 2, call.balls("self"))


@rules("hardtanh", "hardtanh_")
def _hardtanh(call: Call) -> Balls:
    low, high = float(call.get("min_val", -1.0)), float(call.get("max_val", 1.0))
    if not low <= high:
        raise call.refused("its bounds are in the wrong order")
    return each(lambda x: cut(x, low, high), call.balls("self"))


@rules("threshold")
def _threshold(call: Call) -> Balls:
    level, value = call.number("threshold", 0.0), call.number("value", 0.0)

    def function(x: arb) -> arb:
        if level == value:
            return x.max(level)
        if x > level or x <= level:
            return x if x > level else value
        raise call.refused("a number is too close to the threshold")

    return each(function, call.balls("self"))


_STEPS: dict[str, Callable[[arb], arb]] = {
    "floor": arb.floor,
    "ceil": arb.ceil,
    "trunc": lambda x: x.ceil() if x < 0 else x.floor(),
    "frac": lambda x: x - (x.ceil() if x < 0 else x.floor()),
}


@rules(*_STEPS)
def _step(call: Call) -> Balls:
    """Round to whole numbers: a ball around one of them becomes one that holds two."""
    step = _STEPS[call.node.packet.removeprefix("aten.")]

    def function(x: arb) -> arb:
        if not (x < 0 or x >= 0):
            raise call.refused("a number is too close to zero")
        return step(x)

    return each(function, call.balls("self"))


@rules("atan2")
def _atan2(call: Call) -> Balls:
    return both(arb.atan2, call.balls("self"), call.balls("other"))


@rules("copysign")
def _copysign(call: Call) -> Balls:
    def function(x: arb, y: arb) -> arb:
        if y > 0 or y < 0:
            return abs(x) * y.sgn()
        raise call.refused("a number is too close to zero to have a sign")

    return both(function, call.balls("self"), call.balls("other"))


@rules("addcdiv")
def _addcdiv(call: Call) -> Balls:
    ratio = both(lambda x, y: x / y, call.balls("tensor1"), call.balls("tensor2"))
    return add(call.balls("self"), times(ratio, call.number("value", 1)))


@rules("clamp", "clamp_", "clip", "clamp_min", "clamp_min_", "clamp_max", "clamp_max_")
def _clamp(call: Call) -> Balls:
    found = call.balls("self")
    for name, bound in (("min", arb.max), ("max", arb.min)):
        limit = call.get(name)
        if isinstance(limit, float) and not isfinite(limit):
            raise call.refused("a bound is not finite")
        if limit is not None:
            found = both(bound, found, as_balls(limit))
    return found


@rules("maximum", "fmax")
def _maximum(call: Call) -> Balls:
    return both(arb.max, call.balls("self"), call.balls("other"))


@rules("minimum", "fmin")
def _minimum(call: Call) -> Balls:
    return both(arb.min, call.balls("self"), call.balls("other"))


@rules("logaddexp")
def _logaddexp(call: Call) -> Balls:
    return both(lambda x, y: x + softplus(y - x), call.balls("self"), call.balls("other"))
