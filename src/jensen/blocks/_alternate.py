"""Alternating minimisation: one block after the other, solved where the loss is convex in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from time import perf_counter

import numpy as np
import torch

from jensen.blocks._convex import Linearised, Solution
from jensen.blocks._gates import BlockFunction, fewest_gates, gated, is_convex, states
from jensen.blocks._lowering import lower_block
from jensen.blocks._objective import Objective
from jensen.blocks._outputs import OutputMap, is_affine, split, until
from jensen.blocks._solvers import SmoothProblem, line_search, linear_minimum, quasi_newton
from jensen.blocks._tail import Tail
from jensen.blocks._visit import BlockVisit, Method
from jensen.errors import ArgumentError, NetworkError, UnsupportedOperatorError
from jensen.network import FloatArray
from jensen.program import Program

_DESCENT_STEPS = 20
_ENOUGH = 0.1
"""Share of the fall that the convex problem promised with which a step is taken."""
_PULL, _LEAST_PULL, _MOST_PULL = 1e-2, 1e-9, 10.0
"""Half of this, times the mean second derivative, times the squared distance is added with gates held."""
_FINEST, _LOOSE = 1e-13, 1e-5
"""Gaps: the least that is asked for; and that of problems with gates held, which are left again at once."""


class Block:
    """How a block is treated, as far as it does not depend on the other parameters."""

    def __init__(self, posed: Objective, names: tuple[str, ...], decay: float, tail: Tail | None) -> None:
        self.names = names
        self.count = fewest_gates(posed.program, names)
        self.program, self.gates = gated(posed.program, self.count or 0, names)
        self.pull = _PULL
        self.refused: bytes | None = None
        self.posed = posed
        self.map = None if self.count is None or tail is None else affine_map(self.program, names, tail)
        if decay and self.map is None and self.linear:
            raise ArgumentError(
                f"the loss is piecewise linear in {', '.join(names)} in a way that decay must be 0 here; "
                'take scheme="linearise", or add the weights\' absolute values to the loss itself'
            )

    @cached_property
    def linear(self) -> bool:
        """Whether the loss is piecewise linear in the block, as far as it is convex there."""
        if self.count is None:
            return False
        # Gates that are all open stand for any others: what is piecewise linear does not depend on them.
        extra = self.program.leaves[len(self.posed.program.leaves) :]
        opened = {leaf.label: np.ones(leaf.shape) for leaf in extra}
        return is_piecewise_linear(Objective(self.program, {**self.posed.values, **opened}), self.names)


def affine_map(program: Program, names: tuple[str, ...], tail: Tail) -> OutputMap | None:
    """Make outputs an affine map of a block; None if the rules do not prove it, or no solver is for it."""
    inner = until(program, tail.cut.name)
    found = OutputMap(inner, names)
    solvable = tail.hinges is not None or (tail.network is None and tail.has_second_derivatives)
    return found if solvable and found.fits and is_affine(inner, names) else None


def is_piecewise_linear(objective: Objective, names: Sequence[str]) -> bool:
    """Whether a loss is a ReLU network of a block."""
    try:
        lower_block(objective, names, measuring=False)
    except (UnsupportedOperatorError, NetworkError):
        return False
    return True


class Alternating:
    """The run of `train_blocks` with scheme "alternate"."""

    def __init__(
        self, posed: Objective, blocks: Sequence[tuple[str, ...]], decay: float, tolerance: float
    ) -> None:
        self.posed, self.decay, self.tolerance = posed, decay, tolerance
        cut = split(posed.program)
        tail = None if cut is None else Tail(cut)
        self.blocks = [Block(posed, names, decay, tail) for names in blocks]
        self.values: dict[str, FloatArray] = dict(posed.values)
        self.converged = False
        self.tail = tail
        self.outputs = None if tail is None else OutputMap(until(posed.program, tail.cut.name), ())
        self.loss = self._loss(self.values)

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
        method: Method
        if block.count == 0 or (self._is_convex(block) and not (self.decay and block.linear)):
            method, found = "solved", self._solved(block)
        else:
            held = None if block.count is None else self._held(block)
            # Where a ReLU stands on its kink, no step with it held in one state may be any good.
            method = "descent" if held is None else "gates held"
            found = self._descended(block) if held is None else held
        self._move(block, found.point)
        return method, found.gap

    def _loss(self, values: Mapping[str, FloatArray]) -> float:
        if self.tail is None or self.outputs is None:
            loss = self.posed.value(values)
        else:
            loss = self.tail.value(self.outputs(values))
        return loss + self.decay / 2 * sum(float(np.square(v).sum()) for v in values.values())

    def _changed(self, block: Block, point: torch.Tensor) -> dict[str, FloatArray]:
        return {**self.values, **self.posed.split(block.names, point.detach().numpy())}

    def _move(self, block: Block, point: torch.Tensor) -> None:
        """Take a point if the loss is lower there."""
        changed = self._changed(block, point)
        value = self._loss(changed)
        if value < self.loss:
            self.loss, self.values = value, changed

    def _is_convex(self, block: Block) -> bool:
        """Ask the rules about the present values, unless they refused before with the same signs."""
        signs = b"".join(np.sign(v).tobytes() for k, v in self.values.items() if k not in block.names)
        if block.refused == signs:
            return False
        if is_convex(self.posed.program, block.names, self.values):
            return True
        block.refused = signs
        return False

    def _function(self, block: Block) -> BlockFunction:
        return BlockFunction(self.posed.program, block.names, self.values, self.decay)

    def _descended(self, block: Block) -> Solution:
        function = self._function(block)
        return quasi_newton(function, function.start, _DESCENT_STEPS)

    def _start(self, block: Block) -> torch.Tensor:
        return torch.from_numpy(np.concatenate([self.values[name].ravel() for name in block.names]))

    def _solved(self, block: Block) -> Solution:
        if block.count == 0 and block.map is not None and self.tail is not None:
            start = self._start(block)
            problem = Linearised(self.tail, *block.map.derivatives(self.values), start, self.decay)
            step = problem.minimum(None, max(self.tolerance, _FINEST) * (1 + abs(self.loss)))
            if step is not None:
                return Solution(start + step.point, step.gap)
        found = (
            linear_minimum(Objective(self.posed.program, self.values), block.names) if block.linear else None
        )
        if found is not None:
            return found
        function = self._function(block)
        return SmoothProblem(function, function.start).minimum(self.tolerance)

    def _held(self, block: Block) -> Solution | None:
        """Solve the problem that the gates leave, and follow it as far as the loss falls; None if nowhere."""
        values = {**self.values, **states(self.posed.program, block.gates, self.values)}
        if block.map is None and block.linear:
            found = linear_minimum(Objective(block.program, values), block.names)
            return None if found is None else self._towards(block, found)
        start = self._start(block)
        tolerance = max(self.tolerance, _LOOSE)
        if block.map is not None and self.tail is not None:
            problem = Linearised(self.tail, *block.map.derivatives(values), start, self.decay)
            size = float(problem.curvature().mean()) or 1.0
            here = problem.value(torch.zeros_like(start))
            while block.pull < _MOST_PULL:
                step = problem.minimum(torch.full_like(start, block.pull * size), tolerance * (1 + abs(here)))
                if step is not None and self._takes(
                    block, start + step.point, here - problem.value(step.point)
                ):
                    return Solution(start + step.point, step.gap)
                block.pull *= 4
        else:
            function = BlockFunction(block.program, block.names, values, self.decay)
            smooth = SmoothProblem(function, start)
            size = smooth.size()
            while block.pull < _MOST_PULL:
                found = smooth.minimum(tolerance, block.pull * size)
                if self._takes(block, found.point, self.loss - function.value(found.point)):
                    return found
                block.pull *= 4
        block.pull = _PULL
        return None

    def _takes(self, block: Block, point: torch.Tensor, promised: float) -> bool:
        """Whether the loss falls by enough of what was promised; if so, pull less next time."""
        taken = self.loss - self._loss(self._changed(block, point)) > _ENOUGH * promised > 0
        if taken:
            block.pull = max(block.pull / 3, _LEAST_PULL)
        return taken

    def _towards(self, block: Block, found: Solution) -> Solution | None:
        function = self._function(block)
        step = found.point - function.start
        share = line_search(function, function.start, step, self.loss)
        return Solution(function.start + share * step, found.gap) if share else None
