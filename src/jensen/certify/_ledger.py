"""What is known about every neuron so far; survives an interrupt at any moment."""

from __future__ import annotations

from time import perf_counter
from typing import Any, Literal

import numpy as np

from jensen.certify._programme import Neuron
from jensen.certify._verdict import NeuronReport, StageReport
from jensen.network import FloatArray, ReLUNetwork


class Ledger:
    """Per-neuron lower bounds and smallest jumps seen, and the stages that established them.

    Parameters
    ----------
    network : ReLUNetwork
    """

    def __init__(self, network: ReLUNetwork) -> None:
        self.lower = [np.full(n, -np.inf) for n in network.widths]
        self.worst = [np.full(n, np.inf) for n in network.widths]
        self.stage = [np.full(n, "", dtype=object) for n in network.widths]
        self.stages: list[StageReport] = []

    def settle(self, stage: str, bounds: list[FloatArray]) -> None:
        """Record sound lower bounds for all neurons; those that reach zero are proved."""
        for lower, names, new in zip(self.lower, self.stage, bounds, strict=True):
            names[(lower < 0) & (new >= 0)] = stage
            np.fmax(lower, new, out=lower)  # arithmetic that overflowed to NaN proves nothing

    def settle_one(self, stage: str, neuron: Neuron, bound: float) -> None:
        """Record a sound lower bound for one neuron."""
        layer, i = neuron
        if self.lower[layer - 1][i] < 0 <= bound:
            self.stage[layer - 1][i] = stage
        self.lower[layer - 1][i] = max(self.lower[layer - 1][i], bound)

    def see(self, jumps: list[FloatArray]) -> None:
        """Record jumps seen at actual frontiers."""
        for worst, new in zip(self.worst, jumps, strict=True):
            np.minimum(worst, new, out=worst)

    def violated(self, neuron: Neuron, jump: float, stage: str) -> None:
        """Record a neuron whose jump is negative, proved by a witness."""
        layer, i = neuron
        self.worst[layer - 1][i] = min(self.worst[layer - 1][i], jump)
        self.stage[layer - 1][i] = stage

    @property
    def open(self) -> list[Neuron]:
        """Neurons that are not proved yet, most promising for a violation first."""
        left = [
            (float(self.worst[k][i]), float(lower[i]), (k + 1, int(i)))
            for k, lower in enumerate(self.lower)
            for i in np.flatnonzero(lower < 0)
        ]
        return [neuron for _, _, neuron in sorted(left)]

    @property
    def total(self) -> int:
        """Number of hidden neurons."""
        return sum(lower.size for lower in self.lower)

    @property
    def left(self) -> int:
        """Number of neurons that are not proved yet."""
        return sum(int((lower < 0).sum()) for lower in self.lower)

    @property
    def smallest_bound(self) -> float:
        """Least lower bound over all neurons."""
        return min((float(lower.min(initial=np.inf)) for lower in self.lower), default=np.inf)

    @property
    def smallest_jump(self) -> float:
        """Least jump seen at any neuron."""
        return min((float(worst.min(initial=np.inf)) for worst in self.worst), default=np.inf)

    def close_stage(self, name: str, began: float, left_before: int, **details: Any) -> None:
        """Append a stage's report."""
        self.stages.append(
            StageReport(name, perf_counter() - began, left_before - self.left, self.left, dict(details))
        )

    def reports(self, violated: set[Neuron]) -> tuple[NeuronReport, ...]:
        """Describe every neuron."""
        result = []
        for k, (lower, worst, stage) in enumerate(zip(self.lower, self.worst, self.stage, strict=True)):
            for i in range(lower.size):
                status: Literal["proved", "violated", "open"] = "proved" if lower[i] >= 0 else "open"
                if (k + 1, i) in violated:
                    status = "violated"
                seen = float(worst[i]) if np.isfinite(worst[i]) else None
                result.append(NeuronReport(k + 1, i, status, str(stage[i]), float(lower[i]), seen))
        return tuple(result)
