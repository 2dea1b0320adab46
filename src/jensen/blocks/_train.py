"""Training by convex problems: in all parameters with outputs linearised, or in one block after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import torch
from torch import nn

from jensen.blocks._alternate import Alternating
from jensen.blocks._linearise import Linearising
from jensen.blocks._objective import LossLike, objective
from jensen.blocks._reduce import Reduced
from jensen.blocks._visit import BlockVisit
from jensen.certify._arguments import check_seconds
from jensen.errors import ArgumentError
from jensen.network import FloatArray
from jensen.network._numbers import as_amount, as_count

Scheme: TypeAlias = Literal["linearise", "alternate", "reduce"]


@dataclass(frozen=True)
class BlockTraining:
    """A run of `train_blocks`.

    Attributes
    ----------
    start : float
        Loss before training, with the decay.
    visits : tuple of BlockVisit
    reason : {"converged", "sweeps", "time_limit", "callback", "interrupted"}
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
    scheme: Scheme = "linearise",
    sweeps: int = 100,
    time_limit: float | None = None,
    decay: float = 0.0,
    tolerance: float = 1e-9,
    callback: Callable[[BlockVisit], object] | None = None,
) -> BlockTraining:
    """Train a model in place by convex problems that are solved to optimality; the loss never rises.

    "linearise": the network's outputs are replaced by their linearisation in all parameters at once, while
    the loss, which the rules prove convex in the outputs, is kept. The convex problem that this leaves, with
    a penalty on the step, is solved; the step is taken if the loss falls by enough of what was expected, and
    the penalty adapts. ReLUs are rounded at first, and less and less so, because a linearisation tells
    nothing of a kink; what counts is the loss without rounding, of which the best point is kept.

    "alternate": a block in which the rules prove the loss convex, at the present values of the others, is
    solved. In other blocks the ReLUs that stand in the way are held in their states, which leaves a convex
    problem that agrees with the loss near the present point; its minimiser, drawn towards that point, is
    taken if the loss falls there. Where it does not, and in blocks that gates do not make convex, a few steps
    of L-BFGS are made.

    "reduce": one convex block is eliminated. L-BFGS goes down in all others together, on the loss that is
    left when that block is solved at every point.

    Convex problems are solved by Newton's method if the loss is smooth in the outputs; if it is a sum of
    hinges, by linear programmes, and with decay or penalty by an interior-point method with multipliers that
    prove the gap.

    Parameters
    ----------
    model, loss, data
        As of `check_block`. The model is run in eval mode and float64; its own dtype takes the result.
    blocks : sequence of (str or sequence of str), optional
        Names of modules or parameters. By default one block for every module with parameters of its own, the
        last one first.
    scheme : {"linearise", "alternate", "reduce"}
        "linearise" needs a loss that is proved convex in outputs through which all parameters act, and moves
        all blocks at once. "reduce" needs a smooth loss, and eliminates the first of the blocks in which the
        loss is convex.
    sweeps : int
        Steps, at most; of "alternate", times that every block is visited; of "reduce", times that ten steps
        of L-BFGS are made.
    time_limit : float, optional
        Seconds.
    decay : float
        Half of this times the sum of squares of all parameters is added. "alternate" takes none for a
        piecewise-linear loss that is no sum of hinges (multi-class hinge), or where outputs are not affine.
    tolerance : float
        Ends once a sweep lowers the loss by less than this share of it.
    callback : callable, optional
        Called with each `BlockVisit`; training ends where it returns True.

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
    "linearise" is the prox-linear method, and with squared loss that of Levenberg and Marquardt (Burke and
    Ferris, "A Gauss-Newton method for convex composite optimization", 1995; Drusvyatskiy and Lewis, "Error
    bounds, quadratic growth, and linear convergence of proximal methods", 2018). To eliminate variables
    in which the problem is easy is known as variable projection (Golub and Pereyra, "The differentiation of
    pseudo-inverses and nonlinear least squares problems whose variables separate", 1973).

    Examples
    --------
    >>> import torch
    >>> model = torch.nn.Sequential(torch.nn.Linear(1, 4), torch.nn.ReLU(), torch.nn.Linear(4, 1))
    >>> x = torch.linspace(-1, 1, 9)[:, None]
    >>> train_blocks(model, "squared", (x, x.square()[:, 0])).loss < 0.1
    True
    """
    sweeps, decay = as_count(sweeps, "sweeps"), as_amount(decay, "decay")
    tolerance, limit = as_amount(tolerance, "tolerance"), check_seconds(time_limit)
    began = perf_counter()
    posed = objective(model, loss, data)
    named = own_blocks(model) if blocks is None else [posed.chosen(part) for part in blocks]
    if not named:
        raise ArgumentError("there is no block to train")
    if scheme not in get_args(Scheme):
        raise ArgumentError(f'scheme must be "linearise", "alternate" or "reduce", got {scheme!r:.80}')
    run: Alternating | Linearising | Reduced
    if scheme == "alternate":
        run = Alternating(posed, named, decay, tolerance)
    elif scheme == "linearise":
        deadline = np.inf if limit is None else began + limit
        run = Linearising(posed, named, decay, tolerance, deadline)
    else:
        run = Reduced(posed, named, decay, tolerance)
    start = run.loss
    reason = "sweeps"
    visits: list[BlockVisit] = []
    try:
        for visit in run.visits(sweeps, began):
            visits.append(visit)
            if callback is not None and callback(visit) is True:
                reason = "callback"
                break
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
