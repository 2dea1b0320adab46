"""Training that ends with a certificate of convexity."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from time import perf_counter
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from jensen.certify import Verdict, check
from jensen.errors import ArgumentError
from jensen.network import Domain
from jensen.training._bounded import BoundConvexityPenalty
from jensen.training._counterexamples import CounterexamplePenalty
from jensen.training._options import as_amount, as_count
from jensen.training._repair import Repair, repair
from jensen.training._sampled import SampledConvexityPenalty
from jensen.training._tape import tape

Loss: TypeAlias = Literal["mse", "l1", "huber"] | Callable[[Tensor, Tensor], Tensor]

_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mse": functional.mse_loss,
    "l1": functional.l1_loss,
    "huber": functional.huber_loss,
}


@dataclass(frozen=True)
class Progress:
    """What `fit_convex` tells while it works, and one line of its history.

    Attributes
    ----------
    phase : {"fit", "polish", "repair"}
    step : int
        Steps of the optimiser so far.
    loss : float
        On the last batch.
    penalty : float
        Sampled penalty at the last step, in units of the targets' spread.
    counterexamples : int
        Cases found so far that are still charged.
    proved, neurons : int
        Neurons that the last check proved, and all; 0 proved before the first check.
    seconds : float
    """

    phase: Literal["fit", "polish", "repair"]
    step: int
    loss: float
    penalty: float
    counterexamples: int
    proved: int
    neurons: int
    seconds: float


@dataclass(frozen=True, eq=False)
class FitResult:
    """What `fit_convex` returns.

    Attributes
    ----------
    module : torch.nn.Module
        The trained and, where needed, repaired network: the object that was given.
    verdict : Verdict
        Of kind "convex", with a certificate, about `module`.
    repair : Repair
        What the repair found and cost; `repair.how` is "none" where training alone led to the module.
    history : tuple of Progress
    interrupted : bool
        Whether Ctrl-C ended the training early.
    """

    module: nn.Module
    verdict: Verdict
    repair: Repair[nn.Module]
    history: tuple[Progress, ...]
    interrupted: bool


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
        as_count(self.attack_every, "attack_every")
        as_count(self.rounds, "rounds", 0)

    def at(self, share: float) -> float:
        """Return the weight after a share of the steps."""
        grown = min(max(share - self.grow_from, 0.0) / (self.grow_to - self.grow_from), 1.0)
        weight = self.weight * float((self.final_weight / self.weight) ** grown)
        return weight * min(1.0, share / self.warm_up) if self.warm_up > 0 else weight


def fit_convex(
    module: nn.Module,
    data: tuple[Tensor, Tensor],
    domain: Domain | None = None,
    *,
    loss: Loss = "mse",
    steps: int = 2000,
    batch: int = 256,
    rate: float = 5e-3,
    schedule: Schedule | None = None,
    time_limit: float = 300.0,
    check_limit: float = 10.0,
    repair_limit: float = 60.0,
    seed: int = 0,
    progress: Callable[[Progress], None] | None = None,
) -> FitResult:
    """Train a network on data so that it ends provably convex on a domain.

    Adam on the loss plus sampled and counterexample penalties; then rounds of `jensen.check` and further
    steps on the counterexamples that it finds, with bounds as a penalty once it finds none but proves
    nothing either; then `repair`, which always ends with a certificate.

    Parameters
    ----------
    module : torch.nn.Module
        A piecewise-linear `SkipMLP` or `FICNN`, or an `nn.Sequential` of `Linear` and `ReLU` with one output;
        trained in place, from its weights.
    data : pair of (n, d) and (n,) tensors
        Inputs and targets.
    domain : Domain, optional
        The whole space by default.
    loss : {"mse", "l1", "huber"} or callable, default "mse"
        A callable maps predictions and targets, (batch,) tensors, to a scalar.
    steps, batch, rate : int, int, float
        Of Adam; the rate rises and falls (one cycle).
    schedule : Schedule, optional
    time_limit : float, default 300.0
        Seconds after which training ends early; the repair comes on top.
    check_limit, repair_limit : float
        Seconds for each check, and for the repair.
    seed : int, default 0
        The result is reproducible from the module's weights and the seed, where no time limit strikes.
    progress : callable, optional
        Called with a `Progress` about every attack and check.

    Returns
    -------
    FitResult
        After an interrupt (Ctrl-C) training ends and what there is is repaired.

    Raises
    ------
    ArgumentError
        If an argument makes no sense.
    NetworkError
        If the module is of another kind.
    DomainError
        If the domain is empty or does not fit the module.

    Examples
    --------
    >>> import jensen, torch
    >>> x = 2 * torch.rand(500, 2) - 1
    >>> net = jensen.nn.SkipMLP(2, (8, 8))
    >>> result = jensen.training.fit_convex(net, (x, x.square().sum(1)), jensen.Box(-1.0, 1.0), steps=200)
    >>> result.verdict.kind
    'convex'
    """
    if not isinstance(loss, str) and not callable(loss):
        raise ArgumentError(f"loss must be a name or a callable, got {loss!r:.80}")
    if isinstance(loss, str) and loss not in _LOSSES:
        raise ArgumentError(f"loss must be one of {', '.join(_LOSSES)} or a callable, got {loss!r:.80}")
    measure = _LOSSES[loss] if isinstance(loss, str) else loss
    fit = _Fit(module, data, domain, measure, batch, schedule or Schedule(), seed, progress)
    as_count(steps, "steps")
    deadline = fit.begin + as_amount(time_limit, "time_limit")
    interrupted = False
    try:
        fit.train(steps, as_amount(rate, "rate"), deadline)
        fit.polish(max(steps // 8, 1), rate / 5, deadline, as_amount(check_limit, "check_limit"))
    except KeyboardInterrupt:
        interrupted = True
    return fit.end(as_amount(repair_limit, "repair_limit"), interrupted)


def _constant(value: float, share: float) -> float:
    return value


class _Fit:
    """The state of a training run."""

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
        self.module, self.domain, self.loss, self.schedule = module, domain, loss, schedule
        like = tape(module).output.bias
        d = tape(module).network().input_size
        x, y = (torch.as_tensor(part).detach().to(like) for part in data)
        y = y.reshape(-1)
        if x.ndim != 2 or x.shape[1] != d or len(x) != len(y) or len(x) < 2:
            raise ArgumentError(
                f"data must be inputs (n, {d}) and targets (n,), got {tuple(x.shape)} and {tuple(y.shape)}"
            )
        if not bool(x.isfinite().all() and y.isfinite().all()):
            raise ArgumentError("data holds NaN or infinity")
        self.x, self.y = x, y
        self.batch = min(as_count(batch, "batch"), len(x))
        self.seed = as_count(seed, "seed", 0)
        self.generator = torch.Generator().manual_seed(seed)
        # Losses are in units of what predicting the median costs, jumps in units of the targets' spread.
        self.spread = max(float(y.std()), 1e-12)
        self.unit = max(float(loss(torch.full_like(y, float(y.median())), y).abs()), 1e-12)
        margin = schedule.margin * self.spread
        self.sampled = SampledConvexityPenalty(
            module,
            domain,
            lines=schedule.lines,
            points=schedule.points,
            kinks=2 * schedule.lines * schedule.points,
            margin=margin,
            seed=seed,
            method="kinks",
        )
        self.found = CounterexamplePenalty(module, domain, margin=margin, seed=seed)
        self.bounds: BoundConvexityPenalty | None = None
        neurons = sum(tape(module).widths)
        self.state = Progress("fit", 0, float("nan"), float("nan"), 0, 0, neurons, 0.0)
        self.history: list[Progress] = []
        self.progress = progress

    def _tell(self, **changes: Any) -> None:
        seconds = perf_counter() - self.begin
        self.state = replace(self.state, counterexamples=len(self.found), seconds=seconds, **changes)
        self.history.append(self.state)
        if self.progress is not None:
            self.progress(self.state)

    def train(self, steps: int, rate: float, deadline: float) -> None:
        """Fit with the weight of the penalties rising."""
        self._steps(steps, rate, self.schedule.at, deadline)

    def polish(self, steps: int, rate: float, deadline: float, limit: float) -> None:
        """Check, charge what the check finds, go on; until there is a proof or no round is left."""
        for round_ in range(self.schedule.rounds):
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
            elif verdict.kind == "unknown":
                self.bounds = BoundConvexityPenalty(
                    self.module, self.domain, margin=self.found.margin, refresh=10
                )
            self._tell(phase="polish", proved=proved)
            if verdict.kind in ("convex", "convex_float"):
                return
            weight = self.schedule.final_weight * 2.0**round_
            self._steps(steps, rate, partial(_constant, weight), deadline)

    def _steps(self, steps: int, rate: float, weight: Callable[[float], float], deadline: float) -> None:
        self.module.train()
        optimiser = torch.optim.Adam(self.module.parameters(), rate)
        cycle = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=max(steps, 2))
        for step in range(steps):
            chosen = torch.randint(len(self.x), (self.batch,), generator=self.generator).to(self.x.device)
            value = self.loss(self.module(self.x[chosen]).reshape(-1), self.y[chosen])
            penalty = (self.sampled() / self.schedule.lines * 2 + self.found()) / self.spread
            if self.bounds is not None:
                penalty = penalty + self.bounds() / self.spread / self.state.neurons
            total = value / self.unit + weight(step / steps) * penalty
            optimiser.zero_grad()
            total.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            cycle.step()
            count = self.state.step + 1
            self.state = replace(self.state, step=count, loss=value.item(), penalty=penalty.item())
            if count % self.schedule.attack_every == 0:
                self.found.search()
                self._tell()
                if perf_counter() > deadline:
                    return

    def end(self, limit: float, interrupted: bool) -> FitResult:
        """Repair and hand over."""
        self._tell(phase="repair")
        # Refits minimise squares: with another loss a network that is convex stays as it is.
        done = repair(
            self.module,
            self.domain,
            (self.x, self.y),
            time_limit=limit,
            improve=self.loss is functional.mse_loss,
            seed=self.seed,
        )
        self.module.load_state_dict(done.model.state_dict())
        self._tell(proved=self.state.neurons)
        self.module.eval()
        return FitResult(self.module, done.verdict, done, tuple(self.history), interrupted)
