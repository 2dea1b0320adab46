"""Training block by block, each block solved to optimality where the loss is convex in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from torch import nn

from jensen.blocks._gates import BlockFunction, fewest_gates, gated, is_convex, states
from jensen.blocks._lowering import lower_block
from jensen.blocks._objective import LossLike, Objective, objective
from jensen.blocks._solvers import (
    SmoothProblem,
    Solution,
    line_search,
    linear_minimum,
    quasi_newton,
)
from jensen.certify._arguments import check_seconds
from jensen.errors import ArgumentError, NetworkError, UnsupportedOperatorError
from jensen.network import FloatArray
from jensen.network._numbers import as_amount, as_count

Method: TypeAlias = Literal["solved", "gates held", "descent"]
_DESCENT_STEPS = 20
_TRIES = 12
_ENOUGH = 0.1
"""Share of the fall that the convex problem promised with which a step is taken."""
_LEAST_PULL = 1e-9
_LOOSE = 1e-5
"""Gap to which a problem with gates held is solved: it is left again at once."""


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
    method : {"solved", "gates held", "descent"}
        "solved": the loss is convex in the block, and was minimised over it. "gates held": the convex problem
        with the ReLUs in their states was solved, and followed as far as the loss fell. "descent": L-BFGS.
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


@dataclass(frozen=True)
class BlockTraining:
    """A run of `train_blocks`.

    Attributes
    ----------
    start : float
        Loss before training, with the decay.
    visits : tuple of BlockVisit
    reason : {"converged", "sweeps", "time_limit", "interrupted"}
        Why it ended.
    """

    start: float
    visits: tuple[BlockVisit, ...]
    reason: str

    @property
    def loss(self) -> float:
        """Loss at the end."""
        return self.visits[-1].loss if self.visits else self.start


def train_blocks(
    model: nn.Module,
    loss: LossLike,
    data: Any,
    blocks: Sequence[str | Sequence[str]] | None = None,
    *,
    sweeps: int = 100,
    time_limit: float | None = None,
    decay: float = 0.0,
    tolerance: float = 1e-9,
    callback: Callable[[BlockVisit], None] | None = None,
) -> BlockTraining:
    """Train a model in place, block by block; the loss never rises.

    A block in which the rules prove the loss convex, at the present values of the others, is solved: by a
    linear programme where the loss is piecewise linear in it, by Newton's method (L-BFGS for large blocks)
    otherwise. In other blocks the ReLUs that stand in the way are held in their states, which leaves a convex
    problem that agrees with the loss near the present point; its minimiser, drawn towards that point, is
    taken if the loss falls there. Blocks that gates do not make convex descend by L-BFGS.

    Parameters
    ----------
    model, loss, data
        As of `check_block`. The model is run in eval mode and float64; its own dtype takes the result.
    blocks : sequence of (str or sequence of str), optional
        Names of modules or parameters. By default one block for every module with parameters of its own, the
        last one first.
    sweeps : int
        Times that every block is visited, at most.
    time_limit : float, optional
        Seconds.
    decay : float
        Half of this times the sum of squares of all parameters is added. Losses that are piecewise linear
        take none.
    tolerance : float
        Ends once a sweep lowers the loss by less than this share of it.
    callback : callable, optional
        Called with each `BlockVisit`.

    Returns
    -------
    BlockTraining
        An interrupt (Ctrl-C) leaves the model at the best point so far.

    Raises
    ------
    ArgumentError
        If an argument makes no sense.
    NetworkError, UnsupportedOperatorError
        As `check_block`.

    Notes
    -----
    With squared loss and gates held this is the Levenberg-Marquardt method on a layer.

    Examples
    --------
    >>> import torch
    >>> model = torch.nn.Sequential(torch.nn.Linear(1, 4), torch.nn.ReLU(), torch.nn.Linear(4, 1))
    >>> x = torch.linspace(-1, 1, 9)[:, None]
    >>> train_blocks(model, "squared", (x, x.square()[:, 0]), sweeps=3).loss < 0.1
    True
    """
    sweeps, decay = as_count(sweeps, "sweeps"), as_amount(decay, "decay")
    tolerance, limit = as_amount(tolerance, "tolerance"), check_seconds(time_limit)
    began = perf_counter()
    posed = objective(model, loss, data)
    named = own_blocks(model) if blocks is None else [posed.chosen(part) for part in blocks]
    if not named:
        raise ArgumentError("there is no block to train")
    run = _Run(posed, [_Block(posed, block, decay) for block in named], decay, tolerance)
    start = run.loss
    reason = "sweeps"
    visits: list[BlockVisit] = []
    try:
        for visit in run.visits(sweeps, began):
            visits.append(visit)
            if callback is not None:
                callback(visit)
            if limit is not None and visit.seconds > limit:
                reason = "time_limit"
                break
        else:
            reason = "converged" if run.converged else "sweeps"
    except KeyboardInterrupt:
        reason = "interrupted"
    _store(model, run.values)
    return BlockTraining(start, tuple(visits), reason)


def own_blocks(model: nn.Module) -> list[tuple[str, ...]]:
    """Parameters of each module that has any of its own, the last module first."""
    found: dict[str, list[str]] = {}
    for name, _ in model.named_parameters():
        found.setdefault(name.rpartition(".")[0], []).append(name)
    return [tuple(names) for names in reversed(found.values())]


def _store(model: nn.Module, values: dict[str, FloatArray]) -> None:
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.tensor(values[name]))


class _Block:
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
        self.pull = 1e-2


class _Run:
    def __init__(self, posed: Objective, blocks: Sequence[_Block], decay: float, tolerance: float) -> None:
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

    def visit(self, block: _Block) -> tuple[Method, float]:
        """Lower the loss in one block."""
        true = BlockFunction(self.posed.program, block.names, self.values, self.decay)
        method: Method = "descent"
        if block.count == 0 or is_convex(self.posed.program, block.names, self.values):
            method = "solved"
            found = self._solved(block, true)
        elif block.count is not None:
            method = "gates held"
            found = self._held(block, true)
        else:
            found = quasi_newton(true, true.start, _DESCENT_STEPS)
        self._move(block, true, found.point)
        return method, found.gap

    def _move(self, block: _Block, true: BlockFunction, point: torch.Tensor) -> None:
        """Take a point if the loss is lower there."""
        value = true.value(point)
        if not value < self.loss:
            return
        self.loss = value
        self.values.update(self.posed.split(block.names, point.detach().numpy()))

    def _solved(self, block: _Block, true: BlockFunction) -> Solution:
        objective = Objective(self.posed.program, self.values)
        found = linear_minimum(objective, block.names) if block.linear else None
        return SmoothProblem(true, true.start).minimum(self.tolerance) if found is None else found

    def _held(self, block: _Block, true: BlockFunction) -> Solution:
        """Solve the problem that the gates leave, and follow it as far as the loss falls."""
        values = {**self.values, **states(self.posed.program, block.gates, self.values)}
        if block.linear:
            found = linear_minimum(Objective(block.program, values), block.names)
            if found is None:
                return Solution(true.start, float("nan"))
            step = found.point - true.start
            share = line_search(true, true.start, step, self.loss)
            return Solution(true.start + share * step, found.gap)
        held = BlockFunction(block.program, block.names, values, self.decay)
        problem = SmoothProblem(held, held.start)
        for _ in range(_TRIES):
            found = problem.minimum(max(self.tolerance, _LOOSE), block.pull)
            fall, promised = self.loss - true.value(found.point), self.loss - held.value(found.point)
            if fall > _ENOUGH * promised > 0:
                block.pull = max(block.pull / 3, _LEAST_PULL)
                return found
            block.pull *= 4
        return Solution(true.start, float("nan"))
