"""Activation patterns during descent: how many there are, and the convex optimum that they allow."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from experiments.landscape._descent import Descent, Floats, count_distinct, descend
from jensen.fit._fixed import solve_relu
from jensen.fit._problem import make_problem
from jensen.fit._solution import Groups

N, D, M, STEPS = 100, 10, 20, 300
SCALE, RATE, DECAY = 1e-4, 0.1, 1e-3


@dataclass(frozen=True)
class Run:
    """Data, linear in the input, and a descent on them.

    Attributes
    ----------
    x : (n, d) array
    y : (n,) array
    descent : Descent
    """

    x: Floats
    y: Floats
    descent: Descent

    @property
    def unit(self) -> float:
        """Loss of the network that is zero: what losses are divided by."""
        return float(self.y @ self.y) / (2 * len(self.y))

    @property
    def losses(self) -> Floats:
        """Relative losses at all steps, weight decay included."""
        return self.descent.losses / self.unit

    def counts(self) -> list[int]:
        """Count distinct patterns at all steps."""
        return [count_distinct(self.x, hidden) for hidden in self.descent.hidden]

    def optimum(self, step: int, *, both: bool = False) -> float:
        """Give the relative optimum of the convex programme with the patterns of a step.

        A neuron may move within the cone of its pattern, and keeps the sign of its output weight unless
        `both` signs are allowed. A weight decay of lambda / 2 is lambda |w| |a| at the optimum, so that the
        optimum is below the loss of the step.
        """
        signs = np.sign(self.descent.output[step]).astype(np.int8)
        gates = (self.x @ self.descent.hidden[step].T > 0).T
        some = gates.any(1)
        if not some.any():
            return 1.0
        pairs = np.unique(np.column_stack([gates, signs > 0])[some], axis=0)
        gates, adds = pairs[:, :-1], pairs[:, -1]
        one = np.where(adds, 1, -1).astype(np.int8)
        groups = Groups.both_signs(np.unique(gates, axis=0)) if both else Groups(gates, one)
        problem = make_problem(self.x, self.y, DECAY)
        solution = solve_relu(problem, groups, tolerance=1e-6)
        if solution.status != "optimal":
            raise RuntimeError(f"step {step}: {solution.status} at a relative gap of {solution.gap:.1e}")
        return solution.objective / self.unit


def run(seed: int, scale: float = SCALE, steps: int = STEPS) -> Run:
    """Draw data and a network, and descend."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(N, D))
    y = x @ rng.normal(size=D)
    y /= np.sqrt((y**2).mean())
    hidden, output = scale * rng.normal(size=(M, D)), scale * rng.normal(size=M)
    return Run(x, y, descend(x, y, hidden, output, rate=RATE, steps=steps, decay=DECAY))
