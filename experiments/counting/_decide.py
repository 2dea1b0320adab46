"""Exact verdicts for a block of random networks, on the whole space and on a box."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from time import perf_counter

import numpy as np

import jensen
from experiments.counting._draws import BLOCK, Cell, are_icnns, draw_block, network
from experiments.counting._kernel import CONVEX, VIOLATED, screen
from jensen.geometry import scan
from jensen.network import Box, FloatArray, ReLUNetwork

ICNN, WHOLE, BOXED, NEITHER = "i", "c", "b", "n"
"""Convex as an ICNN; convex on the whole space; convex on the box only; not even there."""

LINES = 64
PATIENCE = 20.0
"""Seconds for an enumeration before `jensen.check` is asked instead."""


@dataclass(frozen=True)
class Block:
    """What was found about BLOCK networks.

    Attributes
    ----------
    cell : str
        Name of the cell.
    block, seed : int
    side : float
        The box is [-side, side]^d.
    verdicts : str
        One letter per network: ICNN, WHOLE, BOXED or NEITHER.
    by_bounds, by_lines, by_frontiers : int
        Networks that signs and intervals proved convex, that lines proved not convex, and those of which
        all frontiers were enumerated.
    seconds : float
    """

    cell: str
    block: int
    seed: int
    side: float
    verdicts: str
    by_bounds: int
    by_lines: int
    by_frontiers: int
    seconds: float

    @property
    def key(self) -> tuple[str, int, int, float]:
        """What tells blocks apart."""
        return self.cell, self.block, self.seed, self.side

    def to_dict(self) -> dict[str, object]:
        """Give plain data for JSON."""
        return asdict(self)


def decide_block(cell: Cell, block: int, seed: int, side: float) -> Block:
    """Decide all networks of a block."""
    begin = perf_counter()
    flats = draw_block(cell, block, seed)
    icnns = are_icnns(cell, flats)
    kinds, _ = screened(cell, flats, side, block)
    letters = []
    for flat, kind, icnn in zip(flats, kinds, icnns, strict=True):
        if kind == VIOLATED:
            letters.append(NEITHER)
        elif kind == CONVEX:
            letters.append(ICNN if icnn else WHOLE)
        else:
            letters.append(decide(network(cell, flat), side))
    open_ones = int(BLOCK - (kinds == CONVEX).sum() - (kinds == VIOLATED).sum())
    return Block(
        cell.name,
        block,
        seed,
        side,
        "".join(letters),
        int((kinds == CONVEX).sum()),
        int((kinds == VIOLATED).sum()),
        open_ones,
        perf_counter() - begin,
    )


def screened(
    cell: Cell, flats: FloatArray, side: float, seed: int
) -> tuple[np.ndarray[tuple[int], np.dtype[np.int8]], FloatArray]:
    """Run the compiled screening (see `_kernel.screen`)."""
    kinds, ends = screen(flats, np.array(cell.sizes, dtype=np.int64), float(side), LINES, seed)
    return kinds, ends


def decide(net: ReLUNetwork, side: float) -> str:
    """Decide one network through all its frontiers: certain, every sign that floats leave open being exact."""
    found = scan(net, time_limit=PATIENCE)
    if found.violation is not None:
        # The jump is negative all along a neighbourhood of the point, so strictly inside is inside.
        inside = all(abs(v) < side for v in found.violation.point)
        return NEITHER if inside or not is_convex_on(net, side) else BOXED
    if found.complete or jensen.check(net, exact=False).kind != "not_convex":
        return WHOLE
    return BOXED if is_convex_on(net, side) else NEITHER


def is_convex_on(net: ReLUNetwork, side: float) -> bool:
    """Tell whether a network is convex on the box [-side, side]^d."""
    box = Box(-side, side)
    if net.input_size <= 4:  # beyond, a box has too many corners
        found = scan(net, box, time_limit=PATIENCE)
        if found.complete or found.violation is not None:
            return found.violation is None
    kind = jensen.check(net, box, exact=False).kind
    if kind == "unknown":
        raise RuntimeError(f"jensen.check left {net!r} undecided without a time limit")
    return kind != "not_convex"
