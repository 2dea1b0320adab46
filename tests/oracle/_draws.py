"""What the generators draw from: small integers with many zeros, affine forms, domains."""

from __future__ import annotations

from random import Random

import numpy as np

from jensen.network import Box, Domain, Polytope
from oracle._sketch import Expr, Sketch


def small(rng: Random, zeros: float = 0.4) -> int:
    """Draw an integer from -2 to 2 with many zeros."""
    return 0 if rng.random() < zeros else rng.choice([-2, -1, 1, 2])


def form(rng: Random, sketch: Sketch, zeros: float = 0.35) -> Expr:
    """Draw a small affine form of the inputs."""
    return sketch.affine([small(rng, zeros) for _ in range(sketch.inputs)], small(rng, 0.5))


def random_domain(rng: Random, d: int) -> Domain | None:
    """Draw the whole space, a small integer box (at times with a flat or an open side) or a polytope."""
    kind = rng.random()
    if kind < 0.4:
        return None
    lo = [float(rng.randint(-3, 0)) for _ in range(d)]
    hi = [low + rng.randint(1, 4) for low in lo]
    if rng.random() < 0.2:
        i = rng.randrange(d)
        hi[i] = lo[i]
    if rng.random() < 0.1:
        hi[rng.randrange(d)] = np.inf
    if kind < 0.85:
        return Box(lo, hi)
    rows = [[float(small(rng, 0.3)) for _ in range(d)] for _ in range(rng.randint(1, 3))]
    center = [rng.randint(-1, 1) for _ in range(d)]
    right = [sum(a * c for a, c in zip(row, center, strict=True)) + rng.randint(0, 2) for row in rows]
    if rng.random() < 0.7:  # close it
        for i in range(d):
            for sign in (1.0, -1.0):
                rows.append([sign * (i == k) for k in range(d)])
                right.append(sign * center[i] + rng.randint(1, 3))
    return Polytope(rows, right)


def random_box(rng: Random, d: int) -> Box:
    """Draw a small integer box."""
    lo = [float(rng.randint(-2, 0)) for _ in range(d)]
    return Box(lo, [low + rng.randint(1, 3) for low in lo])
