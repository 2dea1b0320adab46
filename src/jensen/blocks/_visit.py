"""What training did to one block."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Method: TypeAlias = Literal["solved", "gates held", "descent", "reduced", "linearised"]


@dataclass(frozen=True)
class BlockVisit:
    """What was done to one block.

    Attributes
    ----------
    seconds : float
        Since training began.
    sweep : int
        From 0.
    block : tuple of str
    method : {"solved", "gates held", "descent", "reduced", "linearised"}
        "solved": the loss is convex in the block, and was minimised over it. "gates held": the convex problem
        with the ReLUs in their states was solved, and followed as far as the loss fell. "descent": L-BFGS.
        "reduced": L-BFGS, the convex block being solved at every point. "linearised": the convex problem with
        outputs linearised in all parameters was solved.
    loss : float
        Afterwards, with the decay; of "linearised" the lowest so far.
    gap : float
        How much lower the convex problem could be: by weak duality, in floats, for piecewise-linear losses,
        estimated for Newton's method, NaN for L-BFGS and where no step lowered the loss.
    """

    seconds: float
    sweep: int
    block: tuple[str, ...]
    method: Method
    loss: float
    gap: float
