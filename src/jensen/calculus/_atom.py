"""Atoms: functions of one real argument, with what is known of their sign, curvature and monotonicity."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np

from jensen.calculus._value import (
    ANY_SIGN,
    DOWN,
    FOREIGN,
    LOG_CONCAVE,
    LOG_CONVEX,
    NEGATIVE,
    POSITIVE,
    ROOT_CONVEX,
    SIGN_BITS,
    UP,
    VARIES,
    ZERO,
    Bits,
    Flags,
    Value,
    bends_of,
    claimed,
    claims_of,
    has,
    mirrored,
    when,
)
from jensen.errors import ArgumentError

Bend: TypeAlias = Literal["constant", "affine", "convex", "concave", "unknown"]
Slope: TypeAlias = Literal["increasing", "decreasing", "neither"]
Reals: TypeAlias = Literal["real", "nonnegative", "positive"]

_BENDS: dict[str, int] = {"constant": 0, "affine": 0, "convex": UP, "concave": DOWN, "unknown": UP | DOWN}
_SLOPES = ("increasing", "decreasing", "neither")
_DOMAINS = ("real", "nonnegative", "positive")


@dataclass(frozen=True)
class Shape:
    """How a function bends and moves on an interval; increasing and decreasing are not strict."""

    bend: Bend
    slope: Slope = "neither"

    def __post_init__(self) -> None:
        if self.bend not in _BENDS or self.slope not in _SLOPES:
            raise ArgumentError(f"no function is {self.bend!r:.40} and {self.slope!r:.40}")

    def __str__(self) -> str:
        words = {"increasing": "non-decreasing", "decreasing": "non-increasing"}.get(self.slope)
        if self.bend == "constant":
            return "constant"
        if self.bend == "unknown":
            return f"{words}, but not convex or concave throughout" if words else "of no known curvature"
        return f"{self.bend} and {words}" if words else f"{self.bend} but not monotone"


@dataclass(frozen=True)
class Atom:
    """A function of one real argument.

    Attributes
    ----------
    name : str
    everywhere : Shape
        On its whole domain.
    nonnegative, nonpositive : Shape
        On the two half-lines; as everywhere, by default.
    sign : mapping
        Signs that it may take, for arguments that are "negative", "zero", "positive"; unknown where it is
        left out.
    domain : {"real", "nonnegative", "positive"}
        Where it is defined. Beyond, a convex function counts as +inf and a concave one as -inf.
    log : Shape, optional
        How log f(x) bends and moves in x on the whole domain, for an f that is never negative; log 0 is -inf.
    of_exp, log_of_exp : Shape, optional
        How f(exp(h)), and log f(exp(h)) for an f that is never negative on positive numbers, bend and move
        in h: what is known of f where the logarithm of its argument is convex or concave.
    root : Atom, optional
        The square root of f(x), on the part of its domain where f is not negative.
    of_square, root_of_square : bool
        Whether f(s^2), and the square root of f(s^2) for an f that is never negative on positive numbers,
        are convex and non-decreasing in s >= 0: what is known of f where the root of its argument is convex.
    """

    name: str
    everywhere: Shape
    nonnegative: Shape | None = None
    nonpositive: Shape | None = None
    sign: Mapping[str, str] = field(default_factory=dict)
    domain: Reals = "real"
    log: Shape | None = None
    of_exp: Shape | None = None
    log_of_exp: Shape | None = None
    root: Atom | None = None
    of_square: bool = False
    root_of_square: bool = False

    def __post_init__(self) -> None:
        if self.domain not in _DOMAINS:
            raise ArgumentError(f"a domain is one of {', '.join(_DOMAINS)}, not {self.domain!r:.40}")
        for where, sign in self.sign.items():
            if where not in ("negative", "zero", "positive") or sign not in SIGN_BITS:
                raise ArgumentError(
                    f"no function has the sign {sign!r:.40} where its argument is {where!r:.40}"
                )

    def shape_on(self, sign: int) -> Shape:
        """How it bends where its argument can have these signs only."""
        if not sign & NEGATIVE:
            return self.nonnegative or self.everywhere
        if not sign & POSITIVE:
            return self.nonpositive or self.everywhere
        return self.everywhere

    def sign_on(self, sign: int) -> int:
        """Signs that it may take, as bits, where its argument can have these signs only."""
        found = 0
        for name in ("negative", "zero", "positive"):
            if sign & SIGN_BITS[name]:
                found |= SIGN_BITS.get(self.sign.get(name, "unknown"), ANY_SIGN)
        return found

    def undefined(self, argument: Value) -> Flags:
        """Entries of the argument of which it is not known that they lie in the domain."""
        outside = {"real": 0, "nonnegative": NEGATIVE, "positive": NEGATIVE | ZERO}[self.domain]
        return has(argument.sign, outside)

    def never(self, argument: Value) -> Flags:
        """Entries of the argument of which it is known that they never lie in the domain."""
        inside = {"real": ANY_SIGN, "nonnegative": ZERO | POSITIVE, "positive": POSITIVE}[self.domain]
        return ~has(argument.sign, inside)

    def __call__(self, argument: Value) -> Value:
        """Compose with an argument, entry by entry."""
        sign = argument.sign
        curvature = argument.curvature & FOREIGN
        # `sign` takes few values: each is looked up once.
        signs = np.zeros(sign.shape, dtype=np.int8)
        for bits in np.unique(sign):
            here: Flags = sign == bits
            shape = self.shape_on(int(bits))
            signs |= when(here, self.sign_on(int(bits)))
            if shape.bend != "constant":
                curvature |= np.where(here, composed(shape, argument.curvature), np.int8(0))
        return self._with_roots(argument, self._with_logarithms(argument, Value(signs, curvature)))

    def _with_logarithms(self, argument: Value, result: Value) -> Value:
        """Add what follows from logarithms: of the argument, and of the function."""
        if self.of_exp is None and self.log is None and self.log_of_exp is None:
            return result
        claims = np.zeros(result.shape, dtype=np.int8)
        if self.log is not None:
            claims |= claims_of(composed(self.log, argument.curvature))
        logs = argument.logarithm
        known, bends = has(logs, LOG_CONVEX | LOG_CONCAVE), bends_of(logs, argument.varies)
        if self.log_of_exp is not None:
            claims |= np.where(known, claims_of(composed(self.log_of_exp, bends)), np.int8(0))
        if self.of_exp is not None:
            found = composed(self.of_exp, bends) | ~(UP | DOWN)
            curvature = np.where(known, result.curvature & found, result.curvature).astype(np.int8)
            result = Value(result.sign, curvature)
        return claimed(result, claims) if claims.any() else result

    def _with_roots(self, argument: Value, result: Value) -> Value:
        """Add what follows from square roots: of the function, and of the argument."""
        claims = np.zeros(result.shape, dtype=np.int8)
        if self.root is not None:
            convex = ~has(self.root(argument).curvature, DOWN) & ~self.root.undefined(argument)
            claims |= when(convex, ROOT_CONVEX)
        if argument.logs is not None and (self.of_square or self.root_of_square):
            known = has(argument.logarithm, ROOT_CONVEX)
            if self.of_square:
                curvature = np.where(known, result.curvature & ~DOWN, result.curvature).astype(np.int8)
                result = Value(result.sign, curvature, result.logs)
            if self.root_of_square:
                claims |= when(known, ROOT_CONVEX)
        return claimed(result, claims) if claims.any() else result


def composed(shape: Shape, curvature: Bits) -> Bits:
    """Curvature of f(g) for f of a shape and g of a curvature, where g varies; constant elsewhere."""
    if shape.slope == "increasing":
        inner = curvature & (UP | DOWN)
    elif shape.slope == "decreasing":
        inner = mirrored(curvature) & (UP | DOWN)
    else:
        inner = when(has(curvature, UP | DOWN), UP | DOWN)
    result: Bits = np.where(has(curvature, VARIES), inner | VARIES | _BENDS[shape.bend], 0).astype(np.int8)
    return result


Described: TypeAlias = Atom | Callable[[Mapping[str, Any]], Atom]
"""An atom, or a function from an operator's arguments (numbers, text) to one."""

ATOMS: dict[str, Described] = {}
"""Atoms by the packets of their operators, for instance "aten.exp"."""


def register_atom(operator: str, atom: Described) -> None:
    """Teach the calculus an elementwise operator of one tensor.

    Verdicts that rest on it rest on your word: `jensen.check` calls them "convex_rules".

    Parameters
    ----------
    operator : str
        Name of a torch operator without its overload, for instance "aten.cosh" or "mylib.bump".
    atom : Atom or callable
        A callable gets the operator's arguments other than tensors, by the names of its schema, and returns
        the atom.

    Raises
    ------
    ArgumentError
        If the operator has rules already, or an argument makes no sense.
    """
    from jensen.calculus._table import is_known

    if not isinstance(operator, str) or operator.count(".") != 1:
        raise ArgumentError(f'an operator is named like "aten.cosh", without overload; got {operator!r:.80}')
    if is_known(operator):
        raise ArgumentError(f"{operator} has rules already, which cannot be replaced")
    if not isinstance(atom, Atom) and not callable(atom):
        raise ArgumentError(
            f"an atom is a jensen.calculus.Atom or a function that makes one, got {atom!r:.80}"
        )
    ATOMS[operator] = atom
