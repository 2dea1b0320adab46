"""Training that ends with a certificate of convexity."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from torch import Tensor, nn
from torch.nn import functional

from jensen.certify import Verdict
from jensen.errors import ArgumentError
from jensen.network import Domain
from jensen.network._numbers import as_amount, as_count
from jensen.training._run import Run
from jensen.training._schedule import Progress, Schedule
from jensen.training.mend import Repair

Loss: TypeAlias = Literal["mse", "l1", "huber"] | Callable[[Tensor, Tensor], Tensor]

_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mse": functional.mse_loss,
    "l1": functional.l1_loss,
    "huber": functional.huber_loss,
}


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

    Fully connected ReLU networks are trained by Adam as what `jensen.nn.RelayICNN` is: convex at every step,
    with negative inner weights that a neuron of each layer pays for. On a domain where frontiers can be
    enumerated (up to 3 inputs) the last two thirds of the steps then free all weights and charge every
    frontier on which the slope falls.

    Other networks, those that have learnt something already, and with a `schedule` that says so all, are
    trained with sampled and counterexample penalties; then come rounds of `jensen.check` and further
    steps on the counterexamples that it finds, with bounds as a penalty once it finds none but proves
    nothing either.

    At last `repair` makes a certificate, changing what it must.

    Parameters
    ----------
    module : torch.nn.Module
        A piecewise-linear `SkipMLP`, `FICNN` or `ConvICNN`, or an `nn.Sequential` of linear layers,
        convolutions, average poolings and (leaky) ReLUs with one output; trained in place, from its weights.
    data : pair of (n, *input_shape) and (n,) tensors
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
    run = Run(module, data, domain, measure, batch, schedule or Schedule(), seed, progress)
    as_count(steps, "steps")
    deadline = run.begin + as_amount(time_limit, "time_limit")
    speed, check_seconds = as_amount(rate, "rate"), as_amount(check_limit, "check_limit")
    repair_seconds = as_amount(repair_limit, "repair_limit")
    interrupted = False
    try:
        left = steps - run.construct(steps, speed, deadline)
        if left:
            run.penalise(left, speed, deadline)
            run.polish(max(steps // 8, 1), speed / 5, deadline, check_seconds)
    except KeyboardInterrupt:
        interrupted = True
    done = run.end(repair_seconds)
    return FitResult(module, done.verdict, done, tuple(run.history), interrupted)
