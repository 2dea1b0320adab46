"""Enclosures of a program's output at rational points.

Every number is a ball that holds the exact value of the real function that the operators stand for, so that
three enclosures that violate Jensen's inequality prove that the program is not convex.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import flint
import numpy as np
from flint import arb, fmpq

from jensen.errors import CertificateError
from jensen.program import Leaf, Node, Program, substituted
from jensen.verifier.enclosures import _elementwise, _linear, _losses, _moving, _pools, _several
from jensen.verifier.enclosures._balls import Balls, Call, Rule, array, as_balls
from jensen.verifier.enclosures._kinds import check_kinds

PRECISION = 192
"""Bits of the balls' centres."""
_DIGITS = 1 << 16
"""Values beyond 2 to this power are not written out, nor are those below one over it."""

_RULES: dict[str, Rule] = {
    **_elementwise.rules,
    **_linear.rules,
    **_losses.rules,
    **_moving.rules,
    **_pools.rules,
    **_several.rules,
}
"""Enclosures of operators."""


def enclosure(program: Program, point: Sequence[Fraction], output: int) -> tuple[Fraction, Fraction]:
    """Enclose one entry of the output at a point; see `enclosures`.

    Returns
    -------
    low, high : Fraction
        low <= f(point) <= high.
    """
    return enclosures(program, [point], output)[0]


def enclosures(
    program: Program, points: Sequence[Sequence[Fraction]], output: int
) -> list[tuple[Fraction, Fraction]]:
    """Enclose one entry of the output at some points.

    Parameters
    ----------
    program : Program
        Whose leaves are inputs.
    points : sequence of sequences of Fraction
        The entries of one sample of every leaf, one leaf after the other. Other samples of a batch are held
        at the first point.
    output : int
        Which entry of the flattened outputs of one sample.

    Returns
    -------
    list of pairs of Fraction
        low <= f(point) <= high, for every point.

    Raises
    ------
    CertificateError
        If an operator cannot be enclosed, or a value is not finite.
    """
    size = sum(leaf.size for leaf in program.leaves)
    for point in points:
        if len(point) != size:
            raise CertificateError(f"a point has {len(point)} entries, the program's inputs have {size}")
    check_kinds(program)
    with flint.ctx.workprec(PRECISION):
        constants = {
            name: as_balls(numbers) if numbers.dtype.kind == "f" else numbers
            for name, numbers in program.constants.items()
        }
        return [_enclosed(program, constants, point, points[0], output) for point in points]


def _enclosed(
    program: Program,
    constants: Mapping[str, Any],
    point: Sequence[Fraction],
    others: Sequence[Fraction],
    output: int,
) -> tuple[Fraction, Fraction]:
    values: dict[str, Any] = {**constants}
    start = 0
    for leaf in program.leaves:
        own, held = (_sample(given[start : start + leaf.size], leaf) for given in (point, others))
        start += leaf.size
        values[leaf.name] = own
        if leaf.batched:
            values[leaf.name] = np.stack([own, *[held] * (leaf.shape[0] - 1)])
    for node in program.nodes:
        values[node.name] = _applied(node, values)
    batched = any(leaf.batched for leaf in program.leaves)
    parts = [values[name][0] if batched else values[name] for name in program.outputs]
    flat = [ball for part in parts for ball in np.ravel(as_balls(part))]
    if not 0 <= output < len(flat) or not flat[output].is_finite():
        raise CertificateError("the output asked for does not exist, or is not finite at this point")
    return -_above(-flat[output].lower()), _above(flat[output].upper())


def _sample(numbers: Sequence[Fraction], leaf: Leaf) -> Balls:
    return array((arb(fmpq(v.numerator, v.denominator)) for v in numbers), leaf.sample_shape)


def _above(ball: arb) -> Fraction:
    """Return an upper bound of an exact number: itself, unless it is so small that it has too many digits.

    Raises
    ------
    CertificateError
        If it is so large.
    """
    mantissa, exponent = (int(part) for part in ball.man_exp())
    if mantissa == 0 or abs(exponent) <= _DIGITS:
        return Fraction(mantissa) * Fraction(2) ** exponent
    if exponent > 0:
        raise CertificateError("the output asked for is too large at this point")
    # The mantissa has PRECISION bits and some more.
    return Fraction(1, 1 << (_DIGITS // 2)) if mantissa > 0 else Fraction(0)


def _applied(node: Node, values: Mapping[str, Any]) -> Balls | tuple[Balls, ...]:
    call = Call(node, substituted(node.args, values))
    if node.operator == "_operator.getitem":
        parts, place = call.args["a"], call.args["b"]
        if not isinstance(parts, tuple) or not 0 <= place < len(parts):
            raise call.refused("it does not name one of several results that are known")
        picked: Balls = parts[place]
        return picked
    rule = _RULES.get(node.packet)
    if rule is None:
        raise call.refused("the verifier has no enclosure for this operator")
    if not str(call.get("dtype", "float")).startswith(("float", "bfloat")):
        raise call.refused("it turns numbers into integers")
    try:
        found = rule(call)
    except CertificateError:
        raise
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise call.refused(f"it does not fit its arguments: {error}") from error
    if isinstance(found, tuple):
        if any(part.shape != shape for part, shape in zip(found, node.shape, strict=False)):
            raise call.refused("it has other shapes than the program says")
        return found
    if found.shape != node.shape:
        raise call.refused("it has another shape than the program says")
    return found
