"""Encloses the value of a traced program at a rational point, with arb's interval arithmetic.

Every number is a ball that holds the exact value of the real function that the operators stand for, so that
three enclosures that violate Jensen's inequality prove that the program is not convex.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from itertools import product
from typing import Any

import flint
import numpy as np
from flint import arb, fmpq
from numpy.typing import NDArray

from jensen.errors import CertificateError
from jensen.program import Node, Program, substituted

PRECISION = 192
"""Bits of the balls' centres."""
Balls = NDArray[np.object_]


def enclosure(program: Program, point: Sequence[Fraction], output: int) -> tuple[Fraction, Fraction]:
    """Enclose one entry of the output.

    Parameters
    ----------
    program : Program
        Whose leaves are inputs.
    point : sequence of Fraction
        The entries of one sample of every input, one input after the other.
    output : int
        Which entry of the flattened outputs of one sample.

    Returns
    -------
    low, high : Fraction
        low <= f(point) <= high.

    Raises
    ------
    CertificateError
        If an operator cannot be enclosed, or the value is not finite.
    """
    size = sum(leaf.size for leaf in program.leaves)
    if len(point) != size:
        raise CertificateError(f"a point has {len(point)} entries, the program's inputs have {size}")
    with flint.ctx.workprec(PRECISION):
        values: dict[str, Balls] = {}
        start = 0
        for leaf in program.leaves:
            numbers = [arb(fmpq(v.numerator, v.denominator)) for v in point[start : start + leaf.size]]
            start += leaf.size
            values[leaf.name] = np.broadcast_to(_array(numbers, leaf.sample_shape), leaf.shape)
        for name, array in program.constants.items():
            values[name] = _array([arb(float(v)) for v in array.ravel()], array.shape)
        for node in program.nodes:
            values[node.name] = _applied(node, values)
        batched = any(leaf.batched for leaf in program.leaves)
        parts = [values[name][0] if batched else values[name] for name in program.outputs]
        flat = [ball for part in parts for ball in np.ravel(np.asarray(part, dtype=object))]
        if not 0 <= output < len(flat) or not flat[output].is_finite():
            raise CertificateError("the output asked for does not exist, or is not finite at this point")
        low, high = flat[output].lower(), flat[output].upper()
        return _fraction(low), _fraction(high)


def _fraction(ball: arb) -> Fraction:
    mantissa, exponent = (int(part) for part in ball.man_exp())
    return Fraction(mantissa) * Fraction(2) ** exponent


def _array(balls: Sequence[arb], shape: tuple[int, ...]) -> Balls:
    result = np.empty(len(balls), dtype=object)
    result[:] = balls
    return result.reshape(shape)


def _applied(node: Node, values: Mapping[str, Balls]) -> Balls:
    rule = _RULES.get(node.packet)
    arguments = substituted(node.args, values)
    result = None if rule is None else rule(arguments, node)
    if result is None:
        raise CertificateError(f"{node.operator} at {node.place} cannot be enclosed")
    found = np.asarray(result, dtype=object)
    if found.shape != node.shape:
        raise CertificateError(f"{node.place}: {node.operator} has another shape than the program says")
    return found


Arguments = Mapping[str, Any]
Rule = Callable[[Arguments, Node], Balls | None]


def _number(args: Arguments, name: str, default: float) -> arb:
    value = args.get(name)
    return arb(default if value is None else value)


def _each(function: Callable[[arb, Arguments], arb]) -> Rule:
    """Apply a function entry by entry."""

    def rule(args: Arguments, node: Node) -> Balls:
        given = args["self"]
        return _array([function(ball, args) for ball in given.ravel()], given.shape)

    return rule


def _numeric(value: Any) -> Any:
    return value if isinstance(value, np.ndarray) else arb(value)


def _sum(sign: int) -> Rule:
    def rule(args: Arguments, node: Node) -> Balls | None:
        if args.get("alpha", 1) not in (None, 1):
            return None
        a, b = _numeric(args["self"]), _numeric(args["other"])
        return np.asarray(a + b if sign > 0 else a - b, dtype=object)

    return rule


def _product(args: Arguments, node: Node) -> Balls:
    return np.asarray(_numeric(args["self"]) * _numeric(args["other"]), dtype=object)


def _quotient(args: Arguments, node: Node) -> Balls | None:
    if args.get("rounding_mode") is not None:
        return None
    return np.asarray(_numeric(args["self"]) / _numeric(args["other"]), dtype=object)


def _power(args: Arguments, node: Node) -> Balls | None:
    exponent, given = args.get("exponent"), args["self"]
    if not isinstance(given, np.ndarray) or not isinstance(exponent, (int, float)):
        return None
    if exponent != int(exponent) or not 0 <= exponent <= 64:
        return None
    return _array([ball ** int(exponent) for ball in given.ravel()], given.shape)


def _linear(args: Arguments, node: Node) -> Balls:
    result = args["input"] @ args["weight"].T
    return np.asarray(result if args.get("bias") is None else result + args["bias"], dtype=object)


def _matrix_product(args: Arguments, node: Node) -> Balls:
    other = next(args[name] for name in ("other", "mat2", "vec", "tensor") if name in args)
    return np.asarray(args["self"] @ other, dtype=object)


def _log_sum_exp(args: Arguments, node: Node) -> Balls:
    axes, keep = args["dim"], bool(args.get("keepdim", False))
    over = tuple(axes) if isinstance(axes, (list, tuple)) else axes
    powers = _array([ball.exp() for ball in args["self"].ravel()], args["self"].shape)
    sums = np.asarray(np.sum(powers, axis=over, keepdims=keep), dtype=object)
    return _array([ball.log() for ball in sums.ravel()], sums.shape)


def _selected(args: Arguments, node: Node) -> Balls:
    return np.asarray(np.take(args["self"], args["index"], axis=args["dim"]), dtype=object)


def _gathered(args: Arguments, node: Node) -> Balls:
    index = args["index"]
    places = np.array([int(ball.unique_fmpz()) for ball in index.ravel()]).reshape(index.shape)
    axis = args["dim"] % args["self"].ndim
    cut = tuple(slice(None) if i == axis else slice(n) for i, n in enumerate(places.shape))
    result: Balls = np.take_along_axis(args["self"][cut], places, axis=axis)
    return result


def _transposed(args: Arguments, node: Node) -> Balls:
    given = args["self"]
    if node.packet != "aten.transpose":
        return np.asarray(given.T)
    return np.asarray(np.swapaxes(given, args["dim0"], args["dim1"]))


def _convolution(args: Arguments, node: Node) -> Balls | None:
    x, w, padding = args["input"], args["weight"], args.get("padding", [0])
    axes = w.ndim - 2
    if args.get("groups", 1) != 1 or not isinstance(padding, (list, tuple)) or x.ndim != w.ndim:
        return None

    def spread(values: Any) -> list[int]:
        return list(values) * axes if len(values) == 1 else list(values)

    stride, dilation = spread(args.get("stride", [1])), spread(args.get("dilation", [1]))
    margins = [0, 0, *spread(padding)]
    padded = np.full([n + 2 * p for n, p in zip(x.shape, margins, strict=True)], arb(0), dtype=object)
    padded[tuple(slice(p, p + n) for n, p in zip(x.shape, margins, strict=True))] = x
    shape: Any = node.shape
    total: Any = np.full(shape, arb(0), dtype=object)
    kernel = w.reshape(*w.shape[:2], -1)
    for number, place in enumerate(product(*map(range, w.shape[2:]))):
        cut = [
            slice(i * d, i * d + s * (n - 1) + 1, s)
            for i, d, s, n in zip(place, dilation, stride, shape[2:], strict=True)
        ]
        seen = padded[(slice(None), slice(None), *cut)]
        total = total + np.moveaxis(np.tensordot(seen, kernel[:, :, number], ((1,), (1,))), -1, 1)
    if args.get("bias") is None:
        return np.asarray(total, dtype=object)
    return np.asarray(total + args["bias"].reshape(-1, *(1,) * axes), dtype=object)


def _reshaped(args: Arguments, node: Node) -> Balls | None:
    if args.get("train", False):
        return None
    given = args["self"] if "self" in args else args["input"]
    result: Balls = given.reshape(node.shape)
    return result


def _reduced(args: Arguments, node: Node) -> Balls | None:
    """Add, or take the mean, over axes."""
    if not str(args.get("dtype") or "float").startswith("float"):
        return None
    axes = args.get("dim")
    over = None if axes is None or axes == [] else tuple(axes) if isinstance(axes, (list, tuple)) else axes
    given = args["self"]
    total = np.asarray(np.sum(given, axis=over, keepdims=bool(args.get("keepdim", False))), dtype=object)
    if node.packet == "aten.mean":
        total = np.asarray(total * (arb(total.size) / arb(given.size)), dtype=object)
    return total


def _above(x: arb) -> arb:
    return x.max(arb(0))


def _below(x: arb) -> arb:
    return x.min(arb(0))


def _leaky(x: arb, args: Arguments) -> arb:
    return _above(x) + _number(args, "negative_slope", 0.01) * _below(x)


def _elu(x: arb, args: Arguments) -> arb:
    alpha, scale, rate = (_number(args, name, 1.0) for name in ("alpha", "scale", "input_scale"))
    if not rate > 0:
        raise CertificateError("an ELU with a negative input_scale cannot be enclosed")
    # Below zero the exponential is at most 1, so that the two parts never overlap.
    return scale * (_above(x) + alpha * _below((x * rate).expm1()))


def _celu(x: arb, args: Arguments) -> arb:
    alpha = _number(args, "alpha", 1.0)
    return _above(x) + _below(alpha * (x / alpha).expm1())


def _softplus(x: arb, args: Arguments) -> arb:
    beta = _number(args, "beta", 1.0)
    if not (beta > 0 and _number(args, "threshold", 20.0) >= 20):
        raise CertificateError("a softplus with this beta or threshold is not log(1 + exp(beta x)) / beta")
    return (x * beta).exp().log1p() / beta


def _sigmoid(x: arb, args: Arguments) -> arb:
    return 1 / (1 + (-x).exp())


_RULES: dict[str, Rule] = {
    "aten.add": _sum(1),
    "aten.sub": _sum(-1),
    "aten.mul": _product,
    "aten.div": _quotient,
    "aten.neg": _each(lambda x, _: -x),
    "aten.linear": _linear,
    "aten.matmul": _matrix_product,
    "aten.mm": _matrix_product,
    "aten.mv": _matrix_product,
    "aten.bmm": _matrix_product,
    "aten.dot": _matrix_product,
    "aten.logsumexp": _log_sum_exp,
    "aten.select": _selected,
    "aten.transpose": _transposed,
    "aten.t": _transposed,
    "aten.numpy_T": _transposed,
    "aten.permute": lambda args, _: np.transpose(args["self"], args["dims"]),
    "aten.gather": _gathered,
    "aten.cat": lambda args, _: np.concatenate(args["tensors"], axis=args.get("dim") or 0),
    "aten.stack": lambda args, _: np.stack(args["tensors"], axis=args.get("dim") or 0),
    "aten.conv1d": _convolution,
    "aten.conv2d": _convolution,
    "aten.conv3d": _convolution,
    "aten.sum": _reduced,
    "aten.mean": _reduced,
    "aten.relu": _each(lambda x, _: _above(x)),
    "aten.leaky_relu": _each(_leaky),
    "aten.elu": _each(_elu),
    "aten.celu": _each(_celu),
    "aten.softplus": _each(_softplus),
    "aten.sigmoid": _each(_sigmoid),
    "aten.tanh": _each(lambda x, _: x.tanh()),
    "aten.silu": _each(lambda x, args: x * _sigmoid(x, args)),
    "aten.exp": _each(lambda x, _: x.exp()),
    "aten.expm1": _each(lambda x, _: x.expm1()),
    "aten.log": _each(lambda x, _: x.log()),
    "aten.log1p": _each(lambda x, _: x.log1p()),
    "aten.sqrt": _each(lambda x, _: x.sqrt()),
    "aten.reciprocal": _each(lambda x, _: 1 / x),
    "aten.sinh": _each(lambda x, _: x.sinh()),
    "aten.cosh": _each(lambda x, _: x.cosh()),
    "aten.abs": _each(lambda x, _: abs(x)),
    "aten.square": _each(lambda x, _: x * x),
    "aten.pow": _power,
    "aten.flatten": _reshaped,
    "aten.view": _reshaped,
    "aten.reshape": _reshaped,
    "aten.squeeze": _reshaped,
    "aten.unsqueeze": _reshaped,
    "aten.alias": _reshaped,
    "aten.clone": _reshaped,
    "aten.contiguous": _reshaped,
    "aten.detach": _reshaped,
    "aten.dropout": _reshaped,
}
"""Enclosures of operators; None where one does not hold for the arguments."""
