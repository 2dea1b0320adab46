"""Alternating minimisation: one block after the other, solved where the loss is convex in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from time import perf_counter

import numpy as np
import torch

from jensen.blocks._gates import BlockFunction, fewest_gates, gated, is_convex, states
from jensen.blocks._lowering import lower_block
from jensen.blocks._objective import Objective
from jensen.blocks._solvers import SmoothProblem, Solution, line_search, linear_minimum, quasi_newton
from jensen.blocks._visit import BlockVisit, Method
from jensen.errors import ArgumentError, NetworkError, UnsupportedOperatorError
from jensen.network import FloatArray

_DESCENT_STEPS = 20
_ENOUGH = 0.1
"""Share of the fall that the convex problem promised with which a step is taken."""
_PULL, _LEAST_PULL, _MOST_PULL = 1e-2, 1e-9, 0.3
"""Half of this, times the mean second derivative, times the squared distance is added with gates held."""
_LOOSE = 1e-5
"""Gap to which a problem with gates held is solved: it is left again at once."""


class Block:
    """How a block is treated, as far as it does not depend on the other parameters."""

    def __init__(self, posed: Objective, names: tuple[str, ...], decay: float) -> None:
        self.names = names
        self.count = fewest_gates(posed.program, names)
        self.program, self.gates = gated(posed.program, self.count or 0, names)
        # Gates that are all open stand for any others: what is piecewise linear does not depend on them.
        extra = self.program.leaves[len(posed.program.leaves) :]
        opened = {leaf.label: np.ones(leaf.shape) for leaf in extra}
        try:
            lower_block(Objective(self.program, {**posed.values, **opened}), names)
            self.linear = self.count is not None
        except (UnsupportedOperatorError, NetworkError):
            self.linear = False
        if self.linear and decay:
            raise ArgumentError(
                f"the loss is piecewise linear in {', '.join(names)}, where decay must be 0; "
                "add what keeps the weights small to the loss itself, as a sum of absolute values"
            )
        self.pull = _PULL


class Alternating:
    def __init__(self, posed: Objective, blocks: Sequence[Block], decay: float, tolerance: float) -> None:
        self.posed, self.blocks, self.decay, self.tolerance = posed, blocks, decay, tolerance
        self.values: dict[str, FloatArray] = dict(posed.values)
        self.converged = False
        self.loss = posed.value() + decay / 2 * sum(float(np.square(v).sum()) for v in self.values.values())

    def visits(self, sweeps: int, began: float) -> Iterator[BlockVisit]:
        """Visit all blocks in turn until nothing changes."""
        for sweep in range(sweeps):
            before = self.loss
            for block in self.blocks:
                method, gap = self.visit(block)
                yield BlockVisit(perf_counter() - began, sweep, block.names, method, self.loss, gap)
            if before - self.loss <= self.tolerance * abs(before):
                self.converged = True
                return

    def visit(self, block: Block) -> tuple[Method, float]:
        """Lower the loss in one block."""
        true = BlockFunction(self.posed.program, block.names, self.values, self.decay)
        method: Method
        if block.count == 0 or is_convex(self.posed.program, block.names, self.values):
            method = "solved"
            found = self._solved(block, true)
        else:
            held = None if block.count is None else self._held(block, true)
            # Where a ReLU stands on its kink, no step with it held in one state may be any good.
            method = "descent" if held is None else "gates held"
            found = quasi_newton(true, true.start, _DESCENT_STEPS) if held is None else held
        self._move(block, true, found.point)
        return method, found.gap

    def _move(self, block: Block, true: BlockFunction, point: torch.Tensor) -> None:
        """Take a point if the loss is lower there."""
        value = true.value(point)
        if not value < self.loss:
            return
        self.loss = value
        self.values.update(self.posed.split(block.names, point.detach().numpy()))

    def _solved(self, block: Block, true: BlockFunction) -> Solution:
        objective = Objective(self.posed.program, self.values)
        found = linear_minimum(objective, block.names) if block.linear else None
        return SmoothProblem(true, true.start).minimum(self.tolerance) if found is None else found

    def _held(self, block: Block, true: BlockFunction) -> Solution | None:
        """Solve the problem that the gates leave, and follow it as far as the loss falls; None if nowhere."""
        values = {**self.values, **states(self.posed.program, block.gates, self.values)}
        if block.linear:
            found = linear_minimum(Objective(block.program, values), block.names)
            if found is None:
                return None
            step = found.point - true.start
            share = line_search(true, true.start, step, self.loss)
            return Solution(true.start + share * step, found.gap) if share else None
        held = BlockFunction(block.program, block.names, values, self.decay)
        problem = SmoothProblem(held, held.start)
        size = problem.size()
        while block.pull < _MOST_PULL:
            found = problem.minimum(max(self.tolerance, _LOOSE), block.pull * size)
            fall, promised = self.loss - true.value(found.point), self.loss - held.value(found.point)
            if fall > _ENOUGH * promised > 0:
                block.pull = max(block.pull / 3, _LEAST_PULL)
                return found
            block.pull *= 4
        block.pull = _PULL
        return None
