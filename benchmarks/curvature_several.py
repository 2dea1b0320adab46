"""Operators of several entries or arguments: for torch, for cvxpy and as enclosures."""

# ruff: noqa: E501 - a table has one line for each operator

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from importlib import import_module
from typing import Any

import numpy as np
from flint import arb

from benchmarks.curvature_expression import WIDTH, Balls, Operator, Params, Writer
from jensen.program import Name

cp: Any = import_module("cvxpy")
"""Which makes its functions in ways that type checkers do not see."""

Pair = Callable[[arb, arb], arb]
Parts = Sequence[Any]


def _paired(function: Pair) -> Callable[[Sequence[Balls], Params], Balls]:
    def ball(parts: Sequence[Balls], _: Params) -> Balls:
        a, b = parts
        n = max(len(a), len(b))
        return [function(a[i % len(a)], b[i % len(b)]) for i in range(n)]

    return ball


def _entrywise(function: Callable[[Any, Any], Any]) -> Callable[[Parts, Params], Any]:
    """Apply a function of two numbers to the entries of two expressions."""

    def cvx(parts: Parts, _: Params) -> Any:
        a, b = parts
        if a.ndim == b.ndim == 0:
            return function(a, b)
        return cp.hstack(
            [function(a[i] if a.ndim else a, b[i] if b.ndim else b) for i in range(WIDTH)]
        )  # fmt: skip

    return cvx


def _binary(text: str, operator: str, ball: Pair, cvx: Callable[[Any, Any], Any], **more: Any) -> Operator:
    domain = more.pop("domain", "")

    def write(writer: Writer, arguments: Sequence[Name], _: Params) -> Name:
        if domain:
            writer.require(arguments[1], domain)
        return writer(operator, self=arguments[0], other=arguments[1])

    return Operator(text, write, _paired(ball), lambda parts, _: cvx(*parts), arity=2, **more)


def _quad_over_lin(writer: Writer, arguments: Sequence[Name], _: Params) -> Name:
    writer.require(arguments[1], "divisor")
    return writer("div.Tensor", self=writer("square.default", self=arguments[0]), other=arguments[1])


def _geo_mean(writer: Writer, arguments: Sequence[Name], _: Params) -> Name:
    for argument in arguments:
        writer.require(argument, "nonnegative")
    one, other = (writer("sqrt.default", self=argument) for argument in arguments)
    return writer("mul.Tensor", self=one, other=other)


def _rel_entr(writer: Writer, arguments: Sequence[Name], _: Params) -> Name:
    for argument in arguments:
        writer.require(argument, "positive")
    ratio = writer("div.Tensor", self=arguments[0], other=arguments[1])
    return writer("mul.Tensor", self=arguments[0], other=writer("log.default", self=ratio))


BINARY: list[Operator] = [
    _binary("({0} + {1})", "add.Tensor", lambda a, b: a + b, lambda a, b: a + b, posy=True),
    _binary("({0} + {1})", "add.Tensor", lambda a, b: a + b, lambda a, b: a + b, posy=True),
    _binary("({0} - {1})", "sub.Tensor", lambda a, b: a - b, lambda a, b: a - b),
    _binary("({0} * {1})", "mul.Tensor", lambda a, b: a * b, cp.multiply, posy=True),
    _binary("({0} / {1})", "div.Tensor", lambda a, b: a / b, lambda a, b: cp.multiply(a, cp.inv_pos(b)), domain="divisor", posy=True),
    _binary("max({0}, {1})", "maximum.default", lambda a, b: a.max(b), cp.maximum, posy=True),
    _binary("min({0}, {1})", "minimum.default", lambda a, b: a.min(b), cp.minimum),
    _binary("logaddexp({0}, {1})", "logaddexp.default", lambda a, b: (a.exp() + b.exp()).log(), lambda a, b: _entrywise(lambda u, v: cp.log_sum_exp(cp.hstack([u, v])))([a, b], ())),
    Operator("(square({0}) / {1})", _quad_over_lin, _paired(lambda a, b: a * a / b), _entrywise(cp.quad_over_lin), 2, posy=True),
    Operator("(sqrt({0}) * sqrt({1}))", _geo_mean, _paired(lambda a, b: a.sqrt() * b.sqrt()), _entrywise(lambda a, b: cp.geo_mean(cp.hstack([a, b]))), 2, posy=True),
    Operator("({0} * log({0} / {1}))", _rel_entr, _paired(lambda a, b: a * (a / b).log()), lambda parts, _: cp.rel_entr(*parts), 2),
]  # fmt: skip


def _entropy(writer: Writer, arguments: Sequence[Name], _: Params) -> Name:
    writer.require(arguments[0], "positive")
    return writer("mul.Tensor", self=arguments[0], other=writer("log.default", self=arguments[0]))


def _xexp(writer: Writer, arguments: Sequence[Name], _: Params) -> Name:
    return writer("mul.Tensor", self=arguments[0], other=writer("exp.default", self=arguments[0]))


WRITTEN: list[Operator] = [
    Operator("({0} * log({0}))", _entropy, lambda parts, _: [x * x.log() for x in parts[0]], lambda parts, _: -cp.entr(parts[0])),
    Operator("({0} * exp({0}))", _xexp, lambda parts, _: [x * x.exp() for x in parts[0]], lambda parts, _: cp.xexp(parts[0])),
]  # fmt: skip
"""Functions of one argument that are written as several operators."""


def _numbers(low: int, high: int) -> Callable[[np.random.Generator, int], Params]:
    """Draw one sign for all numbers, or mixed ones; quarters, so that text is short."""

    def draw(rng: np.random.Generator, width: int) -> Params:
        sign = (1, 1, -1, rng.choice([-1, 1], width))[int(rng.integers(4))]
        return (sign * rng.integers(low, high, width) / 4.0,)

    return draw


def _balls(values: Any) -> Balls:
    return [arb(float(v)) for v in np.ravel(values)]


def _with_numbers(text: str, operator: str, ball: Pair, cvx: Callable[[Any, Any], Any], low: int) -> Operator:
    def write(writer: Writer, arguments: Sequence[Name], parameters: Params) -> Name:
        return writer(operator, self=arguments[0], other=writer.constant(parameters[0]))

    def enclosed(parts: Sequence[Balls], parameters: Params) -> Balls:
        return [ball(a, b) for a, b in zip(parts[0], _balls(parameters[0]), strict=True)]

    def written(parts: Parts, parameters: Params) -> Any:
        numbers = parameters[0]
        return cvx(parts[0], numbers if parts[0].ndim else float(numbers[0]))

    return Operator(text, write, enclosed, written, draw=_numbers(low, 9))


def _matrix_write(writer: Writer, arguments: Sequence[Name], parameters: Params) -> Name:
    return writer("linear.default", input=arguments[0], weight=writer.constant(parameters[0]))


def _matrix_ball(parts: Sequence[Balls], parameters: Params) -> Balls:
    rows = [_balls(row) for row in parameters[0]]
    return [reduce(arb.__add__, (w * x for w, x in zip(row, parts[0], strict=True))) for row in rows]


def _matrix(rng: np.random.Generator, width: int) -> Params:
    sign = (1, 1, rng.choice([-1, 1], (WIDTH, width)))[int(rng.integers(3))]
    return (sign * rng.integers(0, 5, (WIDTH, width)) / 2.0,)


CONSTANTS: list[Operator] = [
    _with_numbers("({0} * {p[0]})", "mul.Tensor", lambda a, b: a * b, lambda a, b: cp.multiply(b, a), 0),
    _with_numbers("({0} + {p[0]})", "add.Tensor", lambda a, b: a + b, lambda a, b: a + b, 1),
    _with_numbers("max({0}, {p[0]})", "maximum.default", lambda a, b: a.max(b), cp.maximum, 0),
    _with_numbers("min({0}, {p[0]})", "minimum.default", lambda a, b: a.min(b), cp.minimum, 0),
    Operator(
        "({p[0]} @ {0})", _matrix_write, _matrix_ball, lambda parts, p: p[0] @ parts[0],
        needs_vector=True, draw=_matrix,
    ),
]  # fmt: skip
"""With numbers that are drawn."""


def _reduction(
    text: str,
    operator: str,
    ball: Callable[[Balls], arb],
    cvx: Callable[[Any], Any] | None,
    posy: bool = False,
    **extra: Any,
) -> Operator:
    def write(writer: Writer, arguments: Sequence[Name], _: Params) -> Name:
        return writer(operator, self=arguments[0], dim=[-1], keepdim=True, **extra)

    def written(parts: Parts, _: Params) -> Any:
        assert cvx is not None
        return cvx(parts[0])

    return Operator(
        text, write, lambda parts, _: [ball(parts[0])], written if cvx else None,
        reduces=True, needs_vector=True, posy=posy,
    )  # fmt: skip


def _sum(balls: Sequence[arb]) -> arb:
    return reduce(arb.__add__, balls)


def _max(balls: Sequence[arb]) -> arb:
    return reduce(arb.max, balls)


def _min(balls: Sequence[arb]) -> arb:
    return reduce(arb.min, balls)


def _var(balls: Balls) -> arb:
    mean = _sum(balls) / WIDTH
    return _sum([(x - mean) ** 2 for x in balls]) / WIDTH


def _top(largest: bool) -> Operator:
    def write(writer: Writer, arguments: Sequence[Name], _: Params) -> Name:
        both = writer("topk.default", self=arguments[0], k=2, dim=-1, largest=largest)
        picked = writer("_operator.getitem", a=both, b=0)
        return writer("sum.dim_IntList", self=picked, dim=[-1], keepdim=True)

    def ball(parts: Sequence[Balls], _: Params) -> Balls:
        extreme = _min(parts[0]) if largest else _max(parts[0])
        return [_sum(parts[0]) - extreme]

    word = "largest" if largest else "smallest"
    cvx = cp.sum_largest if largest else cp.sum_smallest
    return Operator(
        f"sum_{word}({{0}}, 2)", write, ball, lambda parts, _: cvx(parts[0], 2),
        reduces=True, needs_vector=True,
    )  # fmt: skip


def _form_write(writer: Writer, arguments: Sequence[Name], parameters: Params) -> Name:
    image = writer("matmul.default", self=arguments[0], other=writer.constant(parameters[0]))
    scaled = writer("mul.Tensor", self=image, other=arguments[0])
    return writer("sum.dim_IntList", self=scaled, dim=[-1], keepdim=True)


def _form_ball(parts: Sequence[Balls], parameters: Params) -> Balls:
    x = parts[0]
    return [_sum([arb(float(parameters[0][i, j])) * x[i] * x[j] for i in range(WIDTH) for j in range(WIDTH)])]


def _form(rng: np.random.Generator, _: int) -> Params:
    factor = rng.integers(-2, 3, (WIDTH, int(rng.integers(1, 4)))).astype(float)
    sign = (1.0, 1.0, -1.0)[int(rng.integers(3))]
    return (sign * factor @ factor.T,)


def _classes_write(writer: Writer, arguments: Sequence[Name], parameters: Params) -> Name:
    target = writer.constant(np.broadcast_to(parameters[0], (writer.samples, WIDTH)))
    losses = writer("binary_cross_entropy_with_logits.default", self=arguments[0], target=target, reduction=0)
    return writer("sum.dim_IntList", self=losses, dim=[-1], keepdim=True)


def _classes_ball(parts: Sequence[Balls], parameters: Params) -> Balls:
    pairs = zip(parts[0], _balls(parameters[0]), strict=True)
    return [_sum([x.exp().log1p() - t * x for x, t in pairs])]


REDUCTIONS: list[Operator] = [
    _reduction("sum({0})", "sum.dim_IntList", _sum, cp.sum, posy=True),
    _reduction("sum({0})", "sum.dim_IntList", _sum, cp.sum, posy=True),
    _reduction("mean({0})", "mean.dim", lambda v: _sum(v) / WIDTH, cp.mean, posy=True),
    _reduction("max({0})", "amax.default", _max, cp.max, posy=True),
    _reduction("min({0})", "amin.default", _min, cp.min),
    _reduction("logsumexp({0})", "logsumexp.default", lambda v: _sum([x.exp() for x in v]).log(), cp.log_sum_exp),
    _reduction("norm1({0})", "linalg_vector_norm.default", lambda v: _sum([abs(x) for x in v]), cp.norm1, ord=1),
    _reduction("norm2({0})", "linalg_vector_norm.default", lambda v: _sum([x * x for x in v]).nonnegative_part().sqrt(), cp.norm2, ord=2),
    _reduction("norm3({0})", "linalg_vector_norm.default", lambda v: _sum([abs(x) ** 3 for x in v]).root(3), lambda v: cp.pnorm(v, 3), ord=3),
    _reduction("norm_inf({0})", "linalg_vector_norm.default", lambda v: _max([abs(x) for x in v]), cp.norm_inf, ord=float("inf")),
    _reduction("var({0})", "var.correction", _var, lambda v: cp.sum_squares(v - cp.mean(v)) / WIDTH, correction=0),
    _top(True),
    _top(False),
    Operator("quad_form({0}, {p[0]})", _form_write, _form_ball, lambda parts, p: cp.quad_form(parts[0], p[0], assume_PSD=False), reduces=True, needs_vector=True, draw=_form),
    Operator("bce({0}, {p[0]})", _classes_write, _classes_ball, lambda parts, p: cp.sum(cp.logistic(parts[0]) - cp.multiply(p[0], parts[0])), reduces=True, needs_vector=True, draw=lambda rng, _: (rng.integers(0, 2, WIDTH).astype(float),)),
]  # fmt: skip


def _mixing(
    text: str, operator: str, ball: Callable[[Balls], Balls], cvx: Callable[[Any], Any], **extra: Any
) -> Operator:
    def write(writer: Writer, arguments: Sequence[Name], _: Params) -> Name:
        return writer(operator, self=arguments[0], **extra)

    return Operator(
        text, write, lambda parts, _: ball(parts[0]), lambda parts, _: cvx(parts[0]), needs_vector=True
    )


MIXING: list[Operator] = [
    _mixing("flip({0})", "flip.default", lambda v: v[::-1], lambda v: v[::-1], dims=[-1]),
    _mixing("cumsum({0})", "cumsum.default", lambda v: [_sum(v[: i + 1]) for i in range(WIDTH)], cp.cumsum, dim=-1),
    _mixing("logcumsumexp({0})", "logcumsumexp.default", lambda v: [_sum([x.exp() for x in v[: i + 1]]).log() for i in range(WIDTH)], lambda v: cp.hstack([cp.log_sum_exp(v[: i + 1]) for i in range(WIDTH)]), dim=-1),
    _mixing("log_softmax({0})", "log_softmax.int", lambda v: [x - _sum([w.exp() for w in v]).log() for x in v], lambda v: v - cp.log_sum_exp(v), dim=-1),
    _mixing("softmax({0})", "softmax.int", lambda v: [x.exp() / _sum([w.exp() for w in v]) for x in v], lambda v: cp.exp(v - cp.log_sum_exp(v)), dim=-1),
]  # fmt: skip
"""From a vector to a vector."""
