"""True numbers of activation patterns beside the bound."""

from __future__ import annotations

import numpy as np

from experiments.landscape._descent import Floats
from jensen.fit._arrangement import all_gates, count_gates, count_gates_bound

SIZES = ((4, 2), (10, 2), (30, 2), (100, 2), (5, 3), (10, 3), (30, 3), (60, 3), (8, 5), (14, 5))


def number(x: Floats) -> int:
    """Count the patterns of data by walking all cells; the empty pattern is one of them if it occurs."""
    gates = all_gates(x)
    # The opposite of a direction that activates everything activates nothing.
    return len(gates) + int(gates.all(1).any())


def on_a_line(n: int) -> Floats:
    """Place n equidistant points on a line, with a bias column."""
    return np.stack([np.arange(n, dtype=np.float64), np.ones(n)], axis=1)


def rows(seed: int = 0) -> list[tuple[int, int, int, int, float]]:
    """Give n, rank, number of patterns of random data, formula and bound, for SIZES."""
    rng = np.random.default_rng(seed)
    return [
        (n, r, number(rng.normal(size=(n, r))), count_gates(n, r), count_gates_bound(n, r)) for n, r in SIZES
    ]
