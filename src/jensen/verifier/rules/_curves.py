"""Functions of one real argument, and what composing with them does to flags."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from jensen.verifier.rules._call import Call
from jensen.verifier.rules._known import Flags, Known, settled


@dataclass(frozen=True)
class Shape:
    """What a function may do on an interval: bend upwards, bend downwards, rise, fall.

    Flags may be arrays, where functions differ from entry to entry.
    """

    up: Any = False
    down: Any = False
    rises: Any = False
    falls: Any = False

    def bends(self, up: Flags, down: Flags, moves: Flags) -> tuple[Flags, Flags]:
        """How f(g) may bend where g may bend up or down: f convex and rising of g convex is convex, ..."""
        upwards = (moves & self.up) | (self.rises & up) | (self.falls & down)
        downwards = (moves & self.down) | (self.rises & down) | (self.falls & up)
        return np.asarray(upwards), np.asarray(downwards)


AFFINE, AFFINE_FALLING = Shape(rises=True), Shape(falls=True)
CONVEX = Shape(up=True, rises=True, falls=True)
CONVEX_RISING, CONVEX_FALLING = Shape(up=True, rises=True), Shape(up=True, falls=True)
CONCAVE_RISING, CONCAVE_FALLING = Shape(down=True, rises=True), Shape(down=True, falls=True)
RISING, FALLING = Shape(up=True, down=True, rises=True), Shape(up=True, down=True, falls=True)
FLAT = Shape()


@dataclass(frozen=True)
class Curve:
    """A function of one real argument.

    Attributes
    ----------
    shape : Shape
        On its whole domain.
    plus, minus : Shape, optional
        Where the argument is >= 0, <= 0; as on the whole domain, by default.
    signs : three words
        Signs that values may have where the argument is negative, zero, positive; of "-", "0", "+".
    domain : {"real", "nonnegative", "positive"}
        Where it is defined.
    log : Shape, optional
        Of log f(x) in x, for a function that is never negative.
    of_exp : Shape, optional
        Of f(exp(h)) in h.
    log_of_exp : Shape, optional
        Of log f(exp(h)) in h, for a function that is never negative on numbers >= 0, and continuous at 0 if
        it is defined there, rising from 0.
    """

    shape: Shape
    plus: Shape | None = None
    minus: Shape | None = None
    signs: tuple[str, str, str] = ("-0+", "-0+", "-0+")
    domain: Literal["real", "nonnegative", "positive"] = "real"
    log: Shape | None = None
    of_exp: Shape | None = None
    log_of_exp: Shape | None = None

    def __call__(self, call: Call, a: Known) -> Known:
        """Compose with what is known of an argument.

        Raises
        ------
        CertificateError
            If it is not known to lie in the domain.
        """
        outside = {"real": a.negative & False, "nonnegative": a.negative, "positive": a.negative | a.zero}
        if outside[self.domain].any():
            raise call.refused(f"its argument is not known to be {self.domain}")
        negative, zero, positive = (
            np.logical_or.reduce(
                [
                    may & (sign in signs)
                    for may, signs in zip((a.negative, a.zero, a.positive), self.signs, strict=True)
                ]
            )
            for sign in "-0+"
        )
        up, down = self.shape.bends(a.up, a.down, a.moves)
        for where, shape in ((~a.positive, self.minus), (~a.negative, self.plus)):
            if shape is not None:
                half_up, half_down = shape.bends(a.up, a.down, a.moves)
                up, down = np.where(where, half_up, up), np.where(where, half_down, down)
        log_up, log_down = np.ones((2, *a.shape), dtype=bool)
        if self.log is not None:
            log_up, log_down = self.log.bends(a.up, a.down, a.moves)
        # Where nothing is known of the argument's logarithm both flags are set, and all that rises or falls
        # with it sets both in turn.
        if self.log_of_exp is not None:
            more_up, more_down = self.log_of_exp.bends(a.log_up, a.log_down, a.moves)
            log_up, log_down = log_up & more_up, log_down & more_down
        if self.of_exp is not None:
            more_up, more_down = self.of_exp.bends(a.log_up, a.log_down, a.moves)
            up, down = up & more_up, down & more_down
        return settled(negative, zero, positive, up, down, a.moves, log_up, log_down)
