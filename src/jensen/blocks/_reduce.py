"""Descent on what is left of a loss when a block in which it is convex has been minimised over."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from time import perf_counter

import numpy as np
import torch

from jensen.blocks._alternate import affine_map, is_piecewise_linear
from jensen.blocks._convex import Linearised
from jensen.blocks._gates import BlockFunction, is_convex
from jensen.blocks._objective import Objective
from jensen.blocks._outputs import split
from jensen.blocks._solvers import SmoothProblem
from jensen.blocks._tail import Tail
from jensen.blocks._visit import BlockVisit
from jensen.errors import ArgumentError
from jensen.network import FloatArray

_STEPS = 10
_TIGHT = 1e-9
"""Gap of the inner problem, beside which its contribution to the gradient is small."""


class Reduced:
    """The run of `train_blocks` with scheme "reduce".

    The gradient of the reduced loss is that of the loss in the other blocks, at the inner minimiser.

    Raises
    ------
    ArgumentError
        If there is no convex block, nothing else, or the loss is piecewise linear.
    """

    def __init__(
        self, posed: Objective, blocks: Sequence[tuple[str, ...]], decay: float, tolerance: float
    ) -> None:
        self.posed, self.decay, self.tolerance = posed, decay, tolerance
        inner = next((block for block in blocks if is_convex(posed.program, block, None)), None)
        if inner is None:
            raise ArgumentError('scheme="reduce" needs a block in which the loss is convex by the rules')
        self.inner = inner
        self.outer = tuple(name for block in blocks for name in block if name not in inner)
        if not self.outer:
            raise ArgumentError('scheme="reduce" needs a second block; "alternate" serves one alone')
        if is_piecewise_linear(posed, inner):
            raise ArgumentError(
                f'the loss is piecewise linear in {", ".join(inner)}; scheme="reduce" needs a smooth one'
            )
        self.values: dict[str, FloatArray] = dict(posed.values)
        self.loss = posed.value() + decay / 2 * sum(float(np.square(v).sum()) for v in self.values.values())
        self.converged = False
        self._trial = dict(self.values)
        cut = split(posed.program)
        self.tail = None if cut is None else Tail(cut)
        self.map = None if self.tail is None else affine_map(posed.program, inner, self.tail)

    def visits(self, sweeps: int, began: float) -> Iterator[BlockVisit]:
        """Make ten steps at a time until nothing changes."""
        start = np.concatenate([self.values[name].ravel() for name in self.outer])
        x = torch.from_numpy(start).requires_grad_(True)
        optimiser = torch.optim.LBFGS(
            [x], max_iter=_STEPS, tolerance_grad=1e-12, tolerance_change=1e-15, history_size=50,
            line_search_fn="strong_wolfe",
        )  # fmt: skip

        def closure() -> torch.Tensor:
            value, gradient = self._reduced(x.detach())
            x.grad = gradient
            return value

        for sweep in range(sweeps):
            before = self.loss
            optimiser.step(closure)  # type: ignore[no-untyped-call]
            block = (*self.outer, *self.inner)
            yield BlockVisit(perf_counter() - began, sweep, block, "reduced", self.loss, float("nan"))
            if before - self.loss <= self.tolerance * abs(before):
                self.converged = True
                return

    def _solved(self, trial: dict[str, FloatArray]) -> torch.Tensor:
        """Minimise over the convex block."""
        if self.map is not None and self.tail is not None:
            start = torch.from_numpy(np.concatenate([trial[name].ravel() for name in self.inner]))
            problem = Linearised(self.tail, *self.map.derivatives(trial), start, self.decay)
            found = problem.minimum(None, _TIGHT * (1 + abs(self.loss)))
            if found is not None:
                return start + found.point
        function = BlockFunction(self.posed.program, self.inner, trial, self.decay)
        return SmoothProblem(function, function.start).minimum(_TIGHT).point

    def _reduced(self, point: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Solve the convex block at a point of the others; keep the best of all points."""
        trial = {**self._trial, **self.posed.split(self.outer, point.numpy().copy())}
        solved = self._solved(trial)
        trial.update(self.posed.split(self.inner, solved.detach().numpy().copy()))
        outer = BlockFunction(self.posed.program, self.outer, trial, self.decay)
        moving = outer.start.requires_grad_(True)
        value = outer(moving)
        (gradient,) = torch.autograd.grad(value, moving)
        self._trial = trial
        if value.item() < self.loss:
            self.loss, self.values = value.item(), trial
        return value.detach(), gradient
