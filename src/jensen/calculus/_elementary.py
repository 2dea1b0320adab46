"""The table of atoms: what every elementwise operator of one argument does, on real numbers."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any

from jensen.calculus._atom import ATOMS, Atom, Described, Shape

_UP, _DOWN = Shape("convex", "increasing"), Shape("convex", "decreasing")
_CUP = Shape("convex")
_CAP_UP, _CAP_DOWN = Shape("concave", "increasing"), Shape("concave", "decreasing")
_RISES, _WILD = Shape("unknown", "increasing"), Shape("unknown")
_SAME, _OPPOSITE, _STILL = (
    Shape("affine", "increasing"),
    Shape("affine", "decreasing"),
    Shape("constant", "increasing"),
)

# How a logarithm bends is said in the same words.
_LOG_CAP_UP, _LOG_UP, _LOG_SAME, _LOG_OPPOSITE = _CAP_UP, _UP, _SAME, _OPPOSITE

_ODD = {"negative": "negative", "zero": "zero", "positive": "positive"}
_EVEN = {"negative": "positive", "zero": "zero", "positive": "positive"}
_POSITIVE = dict.fromkeys(("negative", "zero", "positive"), "positive")
_FLAT = {"negative": "zero", "zero": "zero", "positive": "positive"}

_RELU = Atom("relu", _UP, _SAME, _STILL, _FLAT, log=_LOG_CAP_UP, log_of_exp=_LOG_SAME, root_of_square=True)
SIZE = Atom("abs", _CUP, _SAME, _OPPOSITE, _EVEN, log_of_exp=_LOG_SAME, root_of_square=True)
_SQUARE = Atom("square", _CUP, _UP, _DOWN, _EVEN, log_of_exp=_LOG_SAME, root=SIZE, root_of_square=True)
_EXP = Atom("exp", _UP, sign=_POSITIVE, log=_LOG_SAME, log_of_exp=_LOG_UP)
_NOTHING = Atom("an operator with these arguments", _WILD)
"""Where nothing is known, for arguments out of the ordinary."""


def relu() -> Atom:
    """max(x, 0)."""
    return _RELU


def square() -> Atom:
    """x^2."""
    return _SQUARE


def sloped(slope: float) -> Atom:
    """X above zero, slope * x below."""
    below = "increasing" if slope > 0 else "decreasing" if slope < 0 else "increasing"
    bend = "convex" if slope < 1 else "affine" if slope == 1 else "concave"
    everywhere = Shape(bend, "increasing" if slope >= 0 else "neither")  # type: ignore[arg-type]
    sign = "negative" if slope > 0 else "positive" if slope < 0 else "zero"
    low = Shape("affine", below) if slope != 0 else _STILL  # type: ignore[arg-type]
    signs = {**_ODD, "negative": sign}
    return Atom(f"leaky_relu({slope:g})", everywhere, _SAME, low, signs, log_of_exp=_LOG_SAME)


def power(p: float) -> Atom:
    """x^p, where torch computes it for real numbers."""
    if not isfinite(p):
        return _NOTHING
    name = f"pow({p:g})"
    if p == 0:
        return Atom(name, Shape("constant", "increasing"), sign=_POSITIVE)
    if p == 1:
        return Atom(name, _SAME, sign=_ODD, log_of_exp=_LOG_SAME)
    if p > 0 and p == int(p):
        if p % 2 == 0:
            return Atom(
                name,
                _CUP,
                _UP,
                _DOWN,
                _EVEN,
                log_of_exp=_LOG_SAME,
                root=_absolute_power(p / 2),
                root_of_square=True,
            )
        root = power(p / 2)
        return Atom(name, _RISES, _UP, _CAP_UP, _ODD, log_of_exp=_LOG_SAME, root=root, root_of_square=True)
    if p > 1:
        half = power(p / 2) if p > 2 else None
        return Atom(
            name, _UP, sign=_EVEN, domain="nonnegative", log_of_exp=_LOG_SAME, root=half, root_of_square=True
        )
    if p > 0:
        return Atom(name, _CAP_UP, sign=_ODD, domain="nonnegative", log_of_exp=_LOG_SAME, of_square=p >= 0.5)
    log = Shape("convex", "decreasing")
    return Atom(name, _DOWN, sign=_POSITIVE, domain="positive", log=log, log_of_exp=_LOG_OPPOSITE)


def _absolute_power(p: float) -> Atom:
    """|x|^p for a whole p >= 1."""
    return SIZE if p == 1 else Atom(f"|x|^{p:g}", _CUP, _UP, _DOWN, _EVEN)


def exponential(base: float) -> Atom:
    """base^x."""
    if not (base > 0 and isfinite(base)):
        return _NOTHING
    rises = base >= 1
    log_of_exp = _LOG_UP if rises else _CAP_DOWN
    log = _LOG_SAME if rises else _LOG_OPPOSITE
    return Atom(f"{base:g}^x", _UP if rises else _DOWN, sign=_POSITIVE, log=log, log_of_exp=log_of_exp)


def _leaky_relu(args: Mapping[str, Any]) -> Atom:
    return sloped(float(args.get("negative_slope", 0.01)))


def _elu(args: Mapping[str, Any]) -> Atom:
    """Scale * x above zero, alpha * scale * (exp(input_scale * x) - 1) below."""
    alpha, scale, rate = (float(args.get(name, 1.0)) for name in ("alpha", "scale", "input_scale"))
    if not (alpha >= 0 and scale > 0 and rate > 0):
        return _NOTHING
    # Below zero the slope is alpha * scale * input_scale * exp(...); the product may round, so that
    # only plain scalings are compared with the slope above.
    convex = alpha <= 1 if rate == 1 else rate <= 1 if alpha == 1 else False
    low = _STILL if alpha == 0 else _UP
    sign = _FLAT if alpha == 0 else _ODD
    return Atom(f"elu({alpha:g})", _UP if convex else _RISES, _SAME, low, sign, log_of_exp=_LOG_SAME)


def _celu(args: Mapping[str, Any]) -> Atom:
    alpha = float(args.get("alpha", 1.0))
    if not alpha > 0:
        return _NOTHING
    return Atom(f"celu({alpha:g})", _UP, _SAME, _UP, _ODD, log_of_exp=_LOG_SAME)


def _softplus(args: Mapping[str, Any]) -> Atom:
    """log(1 + exp(beta x)) / beta: the threshold beyond which torch returns x is a matter of rounding."""
    beta = float(args.get("beta", 1.0))
    if beta > 0 and float(args.get("threshold", 20.0)) >= _SOFTPLUS_THRESHOLD:
        # It is the integral of a log-concave function. Of exp(h), its logarithm is convex because
        # x f'(x) / f(x) rises where x > 0: f - x f' + x (1 - f') f > 0, as f > x and 0 < f' < 1 for beta = 1.
        return Atom(f"softplus({beta:g})", _UP, sign=_POSITIVE, log=_LOG_CAP_UP, log_of_exp=_LOG_UP)
    return _NOTHING


_SOFTPLUS_THRESHOLD = 20.0
"""At torch's default the identity is 2e-9 below the softplus; below it, the jump is no rounding any more."""


def _hardtanh(args: Mapping[str, Any]) -> Atom:
    low, high = float(args.get("min_val", -1.0)), float(args.get("max_val", 1.0))
    if not low < high:
        return _NOTHING
    odd = low < 0 < high
    return Atom(
        f"hardtanh({low:g}, {high:g})",
        _RISES,
        _CAP_UP if low <= 0 else _RISES,
        _UP if high >= 0 else _RISES,
        _ODD if odd else {},
    )


def _huber(args: Mapping[str, Any]) -> Atom:
    del args
    return Atom("huber", _CUP, _UP, _DOWN, _EVEN)


def _threshold(args: Mapping[str, Any]) -> Atom:
    """X above the threshold, a value elsewhere; continuous where the two are equal."""
    t, value = float(args["threshold"]), float(args["value"])
    sign = _POSITIVE if t > 0 else _FLAT if t == 0 else _ODD
    return Atom(f"max(x, {t:g})", _UP, sign=sign) if t == value else _NOTHING


def huber() -> Atom:
    """Square near zero, |x| far from it, with any positive scale."""
    return _huber({})


LOGARITHM = Atom("log", _CAP_UP, domain="positive", of_exp=_SAME)
_SATURATING = Atom("tanh", _RISES, _CAP_UP, _UP, _ODD, log_of_exp=_LOG_CAP_UP)
_BUMPY = Atom("silu", _WILD, sign=_ODD)

_TABLE: dict[str, Described] = {
    "relu": _RELU,
    "leaky_relu": _leaky_relu,
    "abs": SIZE,
    "square": _SQUARE,
    "sqrt": power(0.5),
    "rsqrt": power(-0.5),
    "exp": _EXP,
    "exp2": Atom("exp2", _UP, sign=_POSITIVE, log=_LOG_SAME, log_of_exp=_LOG_UP),
    "expm1": Atom("expm1", _UP, sign=_ODD, log_of_exp=_LOG_UP),
    "log": LOGARITHM,
    "log2": Atom("log2", _CAP_UP, domain="positive", of_exp=_SAME),
    "log10": Atom("log10", _CAP_UP, domain="positive", of_exp=_SAME),
    "log1p": Atom("log1p", _CAP_UP, sign=_ODD, domain="nonnegative", of_exp=_UP, log_of_exp=_LOG_CAP_UP),
    "softplus": _softplus,
    "log_sigmoid": Atom("log_sigmoid", _CAP_UP, sign=dict.fromkeys(_POSITIVE, "negative")),
    "elu": _elu,
    "celu": _celu,
    "threshold": _threshold,
    "hardtanh": _hardtanh,
    "relu6": Atom("relu6", _RISES, _CAP_UP, _STILL, _FLAT),
    "sigmoid": Atom("sigmoid", _RISES, _CAP_UP, _UP, _POSITIVE, log=_LOG_CAP_UP),
    "tanh": _SATURATING,
    "erf": Atom("erf", _RISES, _CAP_UP, _UP, _ODD),
    "erfc": Atom("erfc", Shape("unknown", "decreasing"), _DOWN, _CAP_DOWN, _POSITIVE, log=_CAP_DOWN),
    "atan": Atom("atan", _RISES, _CAP_UP, _UP, _ODD),
    "asinh": Atom("asinh", _RISES, _CAP_UP, _UP, _ODD),
    "sinh": Atom("sinh", _RISES, _UP, _CAP_UP, _ODD, log_of_exp=_LOG_UP),
    "cosh": Atom("cosh", _CUP, _UP, _DOWN, _POSITIVE, log=_CUP, log_of_exp=_LOG_UP),
    "i0": Atom("i0", _CUP, _UP, _DOWN, _POSITIVE, log=_CUP, log_of_exp=_LOG_UP),
    "lgamma": Atom("lgamma", _CUP, domain="positive"),
    "silu": _BUMPY,
    "gelu": Atom("gelu", _WILD, sign=_ODD),
    "mish": Atom("mish", _WILD, sign=_ODD),
    "selu": Atom("selu", _RISES, _SAME, _UP, _ODD, log_of_exp=_LOG_SAME),
    "hardsigmoid": Atom("hardsigmoid", _RISES, _CAP_UP, _UP, {**_POSITIVE, "negative": "nonneg"}),
    "hardswish": Atom("hardswish", _WILD),
    "sin": Atom("sin", _WILD, sign={"zero": "zero"}),
    "cos": Atom("cos", _WILD, sign={"zero": "positive"}),
}

ATOMS.update({f"aten.{name}": atom for name, atom in _TABLE.items()})
BUILT_IN = frozenset(ATOMS)
"""Packets of the operators whose atoms are the calculus's own."""
