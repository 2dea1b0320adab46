"""The phases of certified training, and the state that they share."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from math import prod
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from jensen.certify import check
from jensen.errors import ArgumentError, NetworkError
from jensen.geometry import regions
from jensen.network import Domain
from jensen.network._numbers import as_count
from jensen.nn import RelayICNN
from jensen.training._bounded import BoundConvexityPenalty
from jensen.training._construct import relay_of, write_relay
from jensen.training._counterexamples import CounterexamplePenalty
from jensen.training._exact import ExactConvexityPenalty
from jensen.training._sampled import SampledConvexityPenalty
from jensen.training._schedule import Progress, Schedule
from jensen.training.mend import Repair, repair
from jensen.training.tape import flattened, input_shape_of, tape

SMALL = 3, 64, 1000
"""Inputs, neurons and regions up to which every frontier is charged."""
SHARE = 1 / 3
"""Of the steps, in which the network is convex by construction before every frontier is charged."""
REFRESH = 5
"""Steps between enumerations of the frontiers."""
EVERY = 0.03
"""Weight of the sum over all frontiers, beside the mean over sampled chords."""
LEARNT = 0.5
"""A module whose loss is below this share of the best constant's has learnt something."""
BOUNDED = 1000
"""Neurons up to which bounds serve as a penalty; their memory is quadratic in the widths."""


class Run:
    """A training run.

    Attributes
    ----------
    begin : float
        On the clock of `perf_counter`.
    history : list of Progress
    """

    def __init__(
        self,
        module: nn.Module,
        data: tuple[Tensor, Tensor],
        domain: Domain | None,
        loss: Callable[[Tensor, Tensor], Tensor],
        batch: int,
        schedule: Schedule,
        seed: int,
        progress: Callable[[Progress], None] | None,
    ) -> None:
        self.begin = perf_counter()
        if isinstance(module, RelayICNN):
            raise NetworkError(
                "a RelayICNN is convex whatever its parameters are: train it in a loop of your own, and "
                "jensen.check proves it; fit_convex takes the SkipMLP of the same widths"
            )
        self.domain, self.loss, self.schedule = domain, loss, schedule
        x, y = (torch.as_tensor(part).detach() for part in data)
        self._given, self._shape = module, input_shape_of(module, tuple(x.shape[1:]))
        self.module = flattened(module, self._shape)  # takes vectors
        like = tape(self.module).output.bias
        d = prod(self._shape)
        fits = x.ndim > 1 and len(x) > 1 and prod(x.shape[1:]) == d
        if not fits or y.numel() != len(x):
            wanted = ", ".join(["n", *map(str, self._shape)])
            raise ArgumentError(
                f"data must be inputs ({wanted}) and targets (n,), got {tuple(x.shape)} and {tuple(y.shape)}"
            )
        self.x, self.y = x.reshape(len(x), d).to(like), y.reshape(-1).to(like)
        if not bool(self.x.isfinite().all() and self.y.isfinite().all()):
            raise ArgumentError("data holds NaN or infinity")
        self.batch = min(as_count(batch, "batch"), len(x))
        self.seed = as_count(seed, "seed", 0)
        self.generator = torch.Generator().manual_seed(seed)
        # Losses are in units of what predicting the median costs, jumps in units of the targets' spread.
        self.spread = max(float(self.y.std()), 1e-12)
        self.unit = max(float(loss(torch.full_like(self.y, float(self.y.median())), self.y).abs()), 1e-12)
        margin = schedule.margin * self.spread
        self.sampled = SampledConvexityPenalty(
            self.module,
            domain,
            lines=schedule.lines,
            points=schedule.points,
            kinks=2 * schedule.lines * schedule.points,
            margin=margin,
            seed=seed,
            method="kinks",
        )
        self.found = CounterexamplePenalty(self.module, domain, margin=margin, seed=seed)
        self.bounds: BoundConvexityPenalty | None = None
        self.every: ExactConvexityPenalty | None = None
        neurons = sum(tape(self.module).widths)
        self.state = Progress("fit", 0, float("nan"), float("nan"), 0, 0, neurons, 0.0)
        self.history: list[Progress] = []
        self.progress = progress
        self._constructed: dict[str, Tensor] | None = None

    def construct(self, steps: int, rate: float, deadline: float) -> int:
        """Train as a network that is convex by construction, where that can be done.

        Returns
        -------
        int
            Steps that are used up.
        """
        share = self.schedule.construct
        if share is None:
            share = 0.0 if self._has_learnt() else SHARE if self._is_small() else 1.0
        relay = relay_of(self.module) if share > 0 else None
        if relay is None:
            return 0
        count = round(share * steps)
        self.state = replace(self.state, phase="construct")
        try:
            self._steps(relay, count, rate, lambda _: None, deadline)
        finally:  # an interrupt loses nothing: the network is convex at every step
            write_relay(self.module, relay)
            self._constructed = copy.deepcopy(self._given.state_dict())
        return count

    def penalise(self, steps: int, rate: float, deadline: float) -> None:
        """Fit with the weight of the penalties rising; not where time is up and there is a convex network."""
        if self._constructed is not None and perf_counter() > deadline:
            return
        self.state = replace(self.state, phase="fit")
        if self._is_small():
            margin = self.schedule.margin * self.spread
            self.every = ExactConvexityPenalty(self.module, self.domain, margin=margin, refresh=REFRESH)
        self._charged(steps, rate, self.schedule.at, deadline)

    def polish(self, steps: int, rate: float, deadline: float, limit: float) -> None:
        """Check, charge what the check finds, go on; until there is a proof or no round is left."""
        for round_ in range(self.schedule.rounds if self.state.phase != "construct" else 0):
            network = tape(self.module).network()
            left = deadline - perf_counter()
            if left <= 0:
                return
            verdict = check(network, self.domain, time_limit=min(limit, left), seed=self.seed, exact=False)
            proved = sum(neuron.status == "proved" for neuron in verdict.neurons)
            if verdict.reason == "interrupted":
                raise KeyboardInterrupt
            if verdict.witness is not None:
                self.found.add(verdict.witness)
                ends = np.array([[float(v) for v in p] for p in (verdict.witness.x, verdict.witness.y)])
                self.sampled.remember(ends[:1], ends[1:])
            elif verdict.kind == "unknown" and self.state.neurons <= BOUNDED:
                self.bounds = BoundConvexityPenalty(
                    self.module, self.domain, margin=self.found.margin, refresh=10
                )
            self._tell(phase="polish", proved=proved)
            if verdict.kind in ("convex", "convex_float"):
                return
            weight = self.schedule.final_weight * 2.0**round_
            self._charged(steps, rate, partial(_constant, weight), deadline)

    def end(self, limit: float) -> Repair[nn.Module]:
        """Repair what there is, and hand over the best network that is certified."""
        free = self.state.phase != "construct"
        self._tell(phase="repair")
        # Refits minimise squares: with another loss a network that is convex stays as it is.
        done = self._repair(limit, free and self.loss is functional.mse_loss)
        if self._constructed is not None and free:
            self._given.load_state_dict(self._constructed)
            other = self._repair(limit, False)
            done = min(done, other, key=lambda candidate: candidate.error_after)
        self._given.load_state_dict(done.model.state_dict())
        self._tell(proved=self.state.neurons)
        self._given.eval()
        return done

    def _repair(self, limit: float, improve: bool) -> Repair[nn.Module]:
        return repair(
            self._given,
            self.domain,
            (self.x.reshape(-1, *self._shape), self.y),
            time_limit=limit,
            improve=improve,
            seed=self.seed,
            input_shape=self._shape,
        )

    def _is_small(self) -> bool:
        """Whether all frontiers can be enumerated again and again."""
        inputs, neurons, most = SMALL
        network = tape(self.module).network()
        if network.input_size > inputs or network.n_neurons > neurons:
            return False
        return regions(network, self.domain, max_regions=most).complete

    @torch.no_grad()
    def _has_learnt(self) -> bool:
        loss = self.loss(self.module(self.x).reshape(-1), self.y)
        return float(loss.abs()) < LEARNT * self.unit

    def _tell(self, **changes: Any) -> None:
        seconds = perf_counter() - self.begin
        self.state = replace(self.state, counterexamples=len(self.found), seconds=seconds, **changes)
        self.history.append(self.state)
        if self.progress is not None:
            self.progress(self.state)

    def _charged(self, steps: int, rate: float, weight: Callable[[float], float], deadline: float) -> None:
        def charge(share: float) -> Tensor:
            return weight(share) * self._penalty()

        self._steps(self.module, steps, rate, charge, deadline)

    def _penalty(self) -> Tensor:
        if self.every is not None:
            try:
                return EVERY * self.every() / self.spread
            except ArgumentError:  # the network has grown too many regions: from now on they are sampled
                self.every = None
        penalty = (self.sampled() / self.schedule.lines * 2 + self.found()) / self.spread
        if self.bounds is not None:
            penalty = penalty + self.bounds() / self.spread / self.state.neurons
        return penalty

    def _steps(
        self,
        module: nn.Module,
        steps: int,
        rate: float,
        charge: Callable[[float], Tensor | None],
        deadline: float,
    ) -> None:
        module.train()
        optimiser = torch.optim.Adam(module.parameters(), rate)
        cycle = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=max(steps, 2))
        for step in range(steps):
            chosen = torch.randint(len(self.x), (self.batch,), generator=self.generator).to(self.x.device)
            value = self.loss(module(self.x[chosen]).reshape(-1), self.y[chosen])
            penalty = charge(step / steps)
            total = value / self.unit if penalty is None else value / self.unit + penalty
            optimiser.zero_grad()
            total.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            cycle.step()
            count = self.state.step + 1
            self.state = replace(
                self.state,
                step=count,
                loss=value.item(),
                penalty=0.0 if penalty is None else penalty.item(),
            )
            if count % self.schedule.attack_every == 0:
                if penalty is not None and self.every is None:
                    self.found.search()
                self._tell()
                if perf_counter() > deadline:
                    return


def _constant(value: float, share: float) -> float:
    return value
