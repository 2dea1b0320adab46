"""What training did to one block."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Method: TypeAlias = Literal["solved", "gates held", "descent", "reduced"]


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
    method : {"solved", "gates held", "descent", "reduced"}
        "solved": the loss is convex in the block, and was minimised over it. "gates held": the convex problem
        with the ReLUs in their states was solved, and followed as far as the loss fell. "descent": L-BFGS.
        "reduced": L-BFGS, the convex block being solved at every point.
    loss : float
        Afterwards, with the decay.
    gap : float
        How much lower the convex problem could be: proved for linear programmes, estimated for Newton's
        method, NaN for L-BFGS.
    """

    seconds: float
    sweep: int
    block: tuple[str, ...]
    method: Method
    loss: float
    gap: float
