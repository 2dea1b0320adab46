"""Operators of one argument, entry by entry: for torch, for cvxpy and as enclosures."""

# ruff: noqa: E501 - a table has one line for each operator

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

from flint import arb

from benchmarks.curvature_expression import Balls, Operator, Params, Writer
from jensen.program import Name

cp: Any = import_module("cvxpy")
"""Which makes its functions in ways that type checkers do not see."""

_ZERO, _ONE = arb(0), arb(1)
_HALF = arb(1) / 2


def _relu(x: arb) -> arb:
    return x.max(_ZERO)


def _sigmoid(x: arb) -> arb:
    return 1 / (1 + (-x).exp())


def _softplus(x: arb) -> arb:
    return x.exp().log1p()


def _leaky(slope: float) -> Callable[[arb], arb]:
    return lambda x: _relu(x) + arb(slope) * x.min(_ZERO)


def _elu(alpha: float, scale: float = 1.0) -> Callable[[arb], arb]:
    return lambda x: arb(scale) * (_relu(x) + arb(alpha) * x.min(_ZERO).expm1())


def _huber(x: arb) -> arb:
    size = abs(x)
    inner = size.min(_ONE)
    return inner * (size - inner / 2)


def _selu(x: arb) -> arb:
    return _elu(1.6732632423543772, 1.0507009873554805)(x)


def unary(
    text: str,
    operator: str,
    ball: Callable[[arb], arb],
    cvx: Callable[[Any], Any] | None = None,
    domain: str = "",
    posy: bool = False,
    **extra: Any,
) -> Operator:
    """Describe an elementwise operator."""

    def write(writer: Writer, arguments: Sequence[Name], _: Params) -> Name:
        if domain:
            writer.require(arguments[0], domain)
        return writer(operator, self=arguments[0], **extra)

    def written(parts: Sequence[Any], _: Params) -> Any:
        assert cvx is not None
        return cvx(parts[0])

    def enclosed(parts: Sequence[Balls], _: Params) -> Balls:
        return [ball(x) for x in parts[0]]

    return Operator(text, write, enclosed, written if cvx else None, posy=posy)


def _power(p: float) -> Operator:
    def ball(x: arb) -> arb:
        return x ** int(p) if p == int(p) else x ** arb(p)

    def cvx(x: Any) -> Any:
        if p == 3.0 and not x.is_nonneg():
            return cp.multiply(x, cp.square(x))  # its odd powers are those of nonnegative numbers
        return cp.power(x, p)

    domain = "" if p > 0 and p == int(p) else "positive" if p < 0 else "nonnegative"
    return unary(
        f"pow({{0}}, {p:g})", "pow.Tensor_Scalar", ball, cvx, domain, posy=True, exponent=p
    )  # fmt: skip


def _clamped(low: float | None, high: float | None) -> Operator:
    def ball(x: arb) -> arb:
        x = x if low is None else x.max(arb(low))
        return x if high is None else x.min(arb(high))

    def cvx(x: Any) -> Any:
        x = x if low is None else cp.maximum(x, low)
        return x if high is None else cp.minimum(x, high)

    return unary(f"clamp({{0}}, {low}, {high})", "clamp.default", ball, cvx, min=low, max=high)


def _huber_write(writer: Writer, arguments: Sequence[Name], _: Params) -> Name:
    zeros = writer.zeros(arguments[0])
    return writer("huber_loss.default", self=arguments[0], target=zeros, reduction=0, delta=1.0)


def _exponential(base: float) -> Operator:
    def write(writer: Writer, arguments: Sequence[Name], _: Params) -> Name:
        return writer("pow.Scalar", self=base, exponent=arguments[0])

    rate = float(arb(base).log())
    return Operator(
        f"pow({base:g}, {{0}})",
        write,
        lambda parts, _: [arb(base) ** x for x in parts[0]],
        lambda parts, _: cp.exp(parts[0] * rate),
    )


LN2, LN10 = float(arb(2).log()), float(arb(10).log())
EXP = unary("exp({0})", "exp.default", lambda x: x.exp(), cp.exp)
COMMON: list[Operator] = [
    EXP,
    unary("relu({0})", "relu.default", _relu, cp.pos, posy=True),
    unary("abs({0})", "abs.default", abs, cp.abs, posy=True),
    unary("square({0})", "square.default", lambda x: x * x, cp.square, posy=True),
    unary("sqrt({0})", "sqrt.default", lambda x: x.sqrt(), cp.sqrt, "nonnegative", posy=True),
    unary("log({0})", "log.default", lambda x: x.log(), cp.log, "positive"),
    unary("softplus({0})", "softplus.default", _softplus, cp.logistic, beta=1.0, threshold=1e9),
    unary("(1 / {0})", "reciprocal.default", lambda x: 1 / x, cp.inv_pos, "divisor", posy=True),
    unary("(-{0})", "neg.default", lambda x: -x, lambda x: -x),
    _power(2.0),
    _power(4.0),
    _power(1.5),
    _power(0.5),
    _power(-1.0),
    Operator(
        "huber({0})", _huber_write, lambda parts, _: [_huber(x) for x in parts[0]],
        lambda parts, _: cp.huber(parts[0]) / 2,
    ),
]  # fmt: skip
"""Those that most programs are made of."""

RARE: list[Operator] = [
    unary("leaky_relu({0}, 0.25)", "leaky_relu.default", _leaky(0.25), lambda x: cp.maximum(x, x / 4), negative_slope=0.25),
    unary("leaky_relu({0}, -0.5)", "leaky_relu.default", _leaky(-0.5), lambda x: cp.maximum(x, -x / 2), negative_slope=-0.5),
    unary("leaky_relu({0}, 1.5)", "leaky_relu.default", _leaky(1.5), lambda x: cp.minimum(x, 1.5 * x), negative_slope=1.5),
    unary("rsqrt({0})", "rsqrt.default", lambda x: x.rsqrt(), lambda x: cp.power(x, -0.5), "positive", posy=True),
    unary("exp2({0})", "exp2.default", lambda x: arb(2) ** x, lambda x: cp.exp(LN2 * x)),
    unary("expm1({0})", "expm1.default", lambda x: x.expm1(), lambda x: cp.exp(x) - 1),
    unary("log2({0})", "log2.default", lambda x: x.log() / arb(2).log(), lambda x: cp.log(x) / LN2, "positive"),
    unary("log10({0})", "log10.default", lambda x: x.log() / arb(10).log(), lambda x: cp.log(x) / LN10, "positive"),
    unary("log1p({0})", "log1p.default", lambda x: x.log1p(), cp.log1p, "nonnegative"),
    unary("log_sigmoid({0})", "log_sigmoid.default", lambda x: -_softplus(-x), lambda x: -cp.logistic(-x)),
    unary("elu({0})", "elu.default", _elu(1.0), alpha=1.0),
    unary("elu({0}, 1.5)", "elu.default", _elu(1.5), alpha=1.5),
    unary("celu({0}, 2)", "celu.default", lambda x: _relu(x) + 2 * (x.min(_ZERO) / 2).expm1(), alpha=2.0),
    unary("selu({0})", "selu.default", _selu),
    unary("threshold({0}, 0.5)", "threshold.default", lambda x: x.max(_HALF), lambda x: cp.maximum(x, 0.5), threshold=0.5, value=0.5),
    unary("hardtanh({0})", "hardtanh.default", lambda x: x.max(-_ONE).min(_ONE), lambda x: cp.minimum(cp.maximum(x, -1), 1)),
    unary("relu6({0})", "relu6.default", lambda x: _relu(x).min(arb(6)), lambda x: cp.minimum(cp.pos(x), 6)),
    unary("sigmoid({0})", "sigmoid.default", _sigmoid, lambda x: cp.inv_pos(1 + cp.exp(-x))),
    unary("tanh({0})", "tanh.default", lambda x: x.tanh(), lambda x: 1 - 2 * cp.inv_pos(1 + cp.exp(2 * x))),
    unary("erf({0})", "erf.default", lambda x: x.erf()),
    unary("erfc({0})", "erfc.default", lambda x: x.erfc()),
    unary("atan({0})", "atan.default", lambda x: x.atan()),
    unary("asinh({0})", "asinh.default", lambda x: x.asinh()),
    unary("sinh({0})", "sinh.default", lambda x: x.sinh(), lambda x: (cp.exp(x) - cp.exp(-x)) / 2),
    unary("cosh({0})", "cosh.default", lambda x: x.cosh(), lambda x: (cp.exp(x) + cp.exp(-x)) / 2),
    unary("silu({0})", "silu.default", lambda x: x * _sigmoid(x)),
    unary("gelu({0})", "gelu.default", lambda x: x * (-x / arb(2).sqrt()).erfc() / 2),
    unary("mish({0})", "mish.default", lambda x: x * _softplus(x).tanh()),
    unary("hardsigmoid({0})", "hardsigmoid.default", lambda x: _relu(x + 3).min(arb(6)) / 6, lambda x: cp.minimum(cp.pos(x + 3), 6) / 6),
    unary("hardswish({0})", "hardswish.default", lambda x: x * _relu(x + 3).min(arb(6)) / 6),
    unary("sin({0})", "sin.default", lambda x: x.sin()),
    unary("cos({0})", "cos.default", lambda x: x.cos()),
    _exponential(0.5),
    _exponential(3.0),
    _power(3.0),
    _power(-2.0),
    _power(-0.5),
    _power(2.5),
    _clamped(-0.5, None),
    _clamped(None, 0.5),
    _clamped(-0.5, 0.5),
]  # fmt: skip
"""All others of the calculus's table."""
