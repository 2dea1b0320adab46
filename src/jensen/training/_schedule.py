"""How certified training goes about its work, and what it tells on the way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from jensen.errors import ArgumentError
from jensen.network._numbers import as_amount, as_count


@dataclass(frozen=True)
class Progress:
    """What `fit_convex` tells while it works, and one line of its history.

    Attributes
    ----------
    phase : {"construct", "fit", "polish", "repair"}
    step : int
        Steps of the optimiser so far.
    loss : float
        On the last batch.
    penalty : float
        Its share in what the last step minimised.
    counterexamples : int
        Cases found so far that are still charged.
    proved, neurons : int
        Neurons that the last check proved, and all; 0 proved before the first check.
    seconds : float
    """

    phase: Literal["construct", "fit", "polish", "repair"]
    step: int
    loss: float
    penalty: float
    counterexamples: int
    proved: int
    neurons: int
    seconds: float


@dataclass(frozen=True)
class Schedule:
    """How the penalties enter, in units in which targets have spread one.

    Attributes
    ----------
    weight : float
        Of the penalties at first.
    final_weight : float
        At last, and in the first round of polishing; doubled in every further one.
    warm_up : float
        Share of the steps over which the weight rises from 0 to `weight`.
    grow_from, grow_to : float
        Shares of the steps between which it grows, geometrically, to `final_weight`.
    construct : float or None
        Share of the steps in which the network is convex by construction, before penalties take over. None
        is 1, except where frontiers are few enough for all to be charged (see `fit_convex`): there it is a
        third; and 0 for a network that has learnt something already.
    margin : float
        What jumps must exceed not to be charged.
    attack_every : int
        Steps between searches for counterexamples.
    rounds : int
        Most rounds of check and polish.
    lines, points : int
        Of the sampled penalty.

    Raises
    ------
    ArgumentError
        If an entry makes no sense.
    """

    weight: float = 3.0
    final_weight: float = 100.0
    warm_up: float = 0.1
    grow_from: float = 0.3
    grow_to: float = 0.8
    construct: float | None = None
    margin: float = 1e-3
    attack_every: int = 100
    rounds: int = 4
    lines: int = 16
    points: int = 24

    def __post_init__(self) -> None:
        for name in ("weight", "final_weight", "margin"):
            as_amount(getattr(self, name), name)
        if not (self.weight > 0 and self.final_weight > 0):
            raise ArgumentError("weight and final_weight must be above 0")
        if not (0 <= self.warm_up <= 1 and 0 <= self.grow_from < self.grow_to <= 1):
            raise ArgumentError("warm_up, grow_from and grow_to must be shares, grow_from below grow_to")
        if self.construct is not None:
            as_amount(self.construct, "construct", 1.0)
        as_count(self.attack_every, "attack_every")
        as_count(self.rounds, "rounds", 0)

    def at(self, share: float) -> float:
        """Return the weight after a share of the steps."""
        grown = min(max(share - self.grow_from, 0.0) / (self.grow_to - self.grow_from), 1.0)
        weight = self.weight * float((self.final_weight / self.weight) ** grown)
        return weight * min(1.0, share / self.warm_up) if self.warm_up > 0 else weight
