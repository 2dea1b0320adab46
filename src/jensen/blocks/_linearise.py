"""Descent in all parameters at once: a network's outputs linearised, the convex loss of them kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from time import perf_counter

import numpy as np
import torch

from jensen.blocks._convex import Linearised
from jensen.blocks._objective import Objective
from jensen.blocks._outputs import MOST_DERIVATIVES, OutputMap, split, until
from jensen.blocks._tail import Tail
from jensen.blocks._visit import BlockVisit
from jensen.errors import ArgumentError
from jensen.network import FloatArray

_PULL, _LEAST_PULL, _MOST_PULL = 1e-2, 1e-10, 1e6
_RADIUS, _LEAST_RADIUS, _MOST_RADIUS = 0.1, 1e-9, 10.0
_ENOUGH = 1e-3
"""Share of the expected fall with which a step is taken."""
_PRECISE = 1e-2
"""Share of the last fall that may be left as a gap, because each problem is left again at once."""
_FINEST = 1e-12
"""Least gap that is asked for, as a share of the loss."""
_SOFT, _HARDER, _HARD = 1.0, 0.7, 1e-4
"""Half the width of rounded kinks at first, in units of the mean size of what bends there; by what it
shrinks; and where rounding ends."""
_SLOW, _PATIENCE = 3e-3, 4
"""Kinks are sharpened where so many steps lower the loss by less than this share."""


class Linearising:
    """The run of `train_blocks` with scheme "linearise".

    Raises
    ------
    ArgumentError
        If the rules do not prove the loss convex in what the network puts out, or there is too much of it.
    """

    def __init__(
        self,
        posed: Objective,
        blocks: Sequence[tuple[str, ...]],
        decay: float,
        tolerance: float,
        deadline: float,
    ) -> None:
        cut = split(posed.program)
        if cut is None:
            raise ArgumentError(
                'scheme="linearise" needs a loss that bends, and that jensen.curvature proves convex in the '
                'outputs of the network, of which it computes all else; scheme="alternate" serves others'
            )
        self.posed, self.decay, self.tolerance, self.deadline = posed, decay, tolerance, deadline
        self.names = tuple(name for block in blocks for name in block)
        inner = until(posed.program, cut.name)
        self.map = OutputMap(inner, self.names)
        if not self.map.fits:
            raise ArgumentError(
                f'scheme="linearise" keeps a matrix of {cut.size:,} outputs by {self.map.size:,} parameters, '
                f"of which more than {MOST_DERIVATIVES:,} entries are too many; take fewer rows at a time"
            )
        self.tail = Tail(cut)
        if self.tail.network is None and not self.tail.has_second_derivatives:
            raise ArgumentError(
                f'scheme="linearise" needs second derivatives of the loss, which couples {cut.size:,} '
                "outputs with each other; take a sum over rows"
            )
        self.values: dict[str, FloatArray] = dict(posed.values)
        self.loss = self._loss(self.values)
        self.converged = False
        self._pull, self._radius, self._fall = _PULL, _RADIUS, self.loss

    def visits(self, sweeps: int, began: float) -> Iterator[BlockVisit]:
        """Make steps until none helps: first with kinks rounded, and less and less so."""
        point, softness = self.values, _SOFT
        sizes = self.map.sizes(point)
        if not any(sizes.values()):
            softness = 0.0
        self.map.widths = {name: softness * size for name, size in sizes.items()}
        reached = [self._loss(point)]
        for sweep in range(sweeps):
            point, value, gap = self._step(point, reached[-1])
            reached.append(value)
            self._keep(point)
            yield BlockVisit(perf_counter() - began, sweep, self.names, "linearised", self.loss, gap)
            fall = reached[max(-1 - _PATIENCE, -len(reached))] - value
            if not softness and reached[-2] - value <= self.tolerance * abs(value):
                self.converged = True
                return
            slow = value == reached[-2] or (len(reached) > _PATIENCE and fall < _SLOW * abs(value))
            if softness and slow:
                softness = softness * _HARDER if softness > _HARD else 0.0
                point = point if softness else self.values
                self.map.widths = {name: softness * size for name, size in sizes.items()} if softness else {}
                reached = [self._loss(point)]
                self._pull = min(max(self._pull, 1e-3), 1.0)

    def _keep(self, point: dict[str, FloatArray]) -> None:
        """Take a point if the loss itself is lower there."""
        widths, self.map.widths = self.map.widths, {}
        loss = self._loss(point)
        self.map.widths = widths
        if loss < self.loss:
            self.loss, self.values = loss, point

    def _loss(self, values: Mapping[str, FloatArray]) -> float:
        """Evaluate with kinks as rounded as they are now."""
        loss = self.tail.value(self.map(values))
        if self.decay:
            loss += self.decay / 2 * sum(float(np.square(v).sum()) for v in values.values())
        return loss

    def _step(self, point: dict[str, FloatArray], loss: float) -> tuple[dict[str, FloatArray], float, float]:
        """Solve linearised problems, each nearer to the point, until the loss falls; stay where none does."""
        outputs, jacobian = self.map.derivatives(point)
        start = torch.from_numpy(np.concatenate([point[name].ravel() for name in self.names]))
        problem = Linearised(self.tail, outputs, jacobian, start, self.decay)
        mean = float(problem.curvature().mean()) or 1.0
        precise = max(_PRECISE * self._fall, _FINEST * (1 + abs(loss)))
        while self._pull < _MOST_PULL and self._radius > _LEAST_RADIUS:
            if self.tail.network is not None and self.tail.hinges is None:
                left = self.deadline - perf_counter()
                if left <= 0:
                    return point, loss, float("nan")
                found = problem.inside(self._radius, left if np.isfinite(left) else None)
            else:
                found = problem.minimum(torch.full_like(start, self._pull * mean), precise)
            ratio = -1.0
            if found is not None:
                promised = loss - problem.value(found.point)
                trial = {**point, **self.posed.split(self.names, (start + found.point).numpy())}
                value = self._loss(trial)
                ratio = (loss - value) / promised if promised > 0 else -1.0
            if found is None or ratio < _ENOUGH or not np.isfinite(ratio):
                self._resize(0.25)
                continue
            if ratio > 0.75:
                self._resize(3.0)
            elif ratio < 0.25:
                self._resize(0.5)
            self._fall = promised
            return trial, value, found.gap
        self._pull, self._radius = _PULL, _RADIUS
        return point, loss, float("nan")

    def _resize(self, factor: float) -> None:
        """Let steps be longer or shorter."""
        self._pull = max(self._pull / factor, _LEAST_PULL)
        self._radius = min(self._radius * factor, _MOST_RADIUS)
