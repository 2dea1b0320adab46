"""Exact verdicts for a block of random networks, on the whole space and on a box."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from time import perf_counter

import numpy as np

import jensen
from experiments.counting._draws import Cell, are_icnns, draw_block, network
from experiments.counting._kernel import CONVEX, OPEN, VIOLATED, screen
from jensen.geometry import scan
from jensen.network import Box, FloatArray, ReLUNetwork

ICNN, WHOLE, AFFINE, BOXED, NEITHER = "i", "c", "a", "b", "n"
LETTERS = ICNN + WHOLE + AFFINE + BOXED + NEITHER
"""Convex as an ICNN; convex on the whole space and not affine; affine; convex on the box only; not there."""

LINES = 64
PATIENCE = 20.0
"""Seconds for an enumeration before `jensen.check` is asked instead."""


@dataclass(frozen=True)
class Block:
    """What was found about a block of networks.

    Attributes
    ----------
    cell : str
        Name of the cell.
    block, seed : int
    side : float
        The box is [-side, side]^d.
    verdicts : str
        One letter per network: ICNN, WHOLE, AFFINE, BOXED or NEITHER. ICNN goes before AFFINE.
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
    letters = np.where(icnns, ICNN, np.where(kinds == VIOLATED, NEITHER, WHOLE))
    for i in np.flatnonzero(kinds == OPEN):
        letters[i] = decide(network(cell, flats[i]), side)
    convex = np.flatnonzero(letters == WHOLE)
    letters[convex[are_concave(cell, negated(cell, flats[convex]), side, block)]] = AFFINE
    return Block(
        cell.name,
        block,
        seed,
        side,
        "".join(letters.tolist()),
        int((kinds == CONVEX).sum()),
        int((kinds == VIOLATED).sum()),
        int((kinds == OPEN).sum()),
        perf_counter() - begin,
    )


def screened(
    cell: Cell, flats: FloatArray, side: float, seed: int
) -> tuple[np.ndarray[tuple[int], np.dtype[np.int8]], FloatArray]:
    """Run the compiled screening (see `_kernel.screen`)."""
    kinds, ends = screen(flats, np.array(cell.sizes, dtype=np.int64), float(side), LINES, seed)
    return kinds, ends


def negated(cell: Cell, flats: FloatArray) -> FloatArray:
    """Change the signs of the functions."""
    opposite = flats.copy()
    opposite[:, -cell.widths[-1] - 1 :] *= -1
    return opposite


def are_concave(
    cell: Cell, opposites: FloatArray, side: float, seed: int
) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Tell which networks are concave, given their opposites: those whose opposite is convex."""
    kinds, _ = screened(cell, opposites, side, seed)
    result = np.array(kinds == CONVEX)
    for i in np.flatnonzero(kinds == OPEN):
        result[i] = is_convex(network(cell, opposites[i]))
    return result


def decide(net: ReLUNetwork, side: float) -> str:
    """Decide one network through all its frontiers; signs that floats leave open are decided exactly."""
    found, box = scan(net, time_limit=PATIENCE), Box(-side, side)
    if found.violation is not None:
        # The jump is negative all along a neighbourhood of the point, so strictly inside is inside.
        inside = all(abs(v) < side for v in found.violation.point)
        return NEITHER if inside or not is_convex(net, box) else BOXED
    if found.complete or is_convex(net):
        return WHOLE
    return BOXED if is_convex(net, box) else NEITHER


def is_convex(net: ReLUNetwork, box: Box | None = None) -> bool:
    """Tell whether a network is convex, however long it takes."""
    if box is None or net.input_size <= 4:  # beyond, a box has many corners
        found = scan(net, box, time_limit=PATIENCE)
        if found.complete or found.violation is not None:
            return found.violation is None
    kind = jensen.check(net, box, exact=False).kind
    if kind == "unknown":
        raise RuntimeError(f"jensen.check left {net!r} undecided without a time limit")
    return kind != "not_convex"
