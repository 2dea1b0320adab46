"""Training to global optimality over all activation patterns, by column generation.

A restricted programme holds some groups (gate, sign). Its dual point prices neurons: one with
|r' relu(X w)| > lambda |w| lowers the objective, and its group joins. Where no such neuron is left, an upper
bound of the price over all directions turns the dual point into a lower bound for networks of every width.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import numpy as np

from jensen.errors import ArgumentError
from jensen.fit._generation import STARTS, Generation
from jensen.fit._losses import Floats
from jensen.fit._network import read_network
from jensen.fit._problem import Problem
from jensen.fit._result import Fit, FitStatus, Round
from jensen.network._numbers import as_count, as_floats

if TYPE_CHECKING:
    from torch import nn

_THOROUGH = 512
"""Local searches before neurons are held to be complete."""
_FEW, _MANY = 4, 16
"""Groups joined in a round that call for twice the searches, or half of them."""
_FIRST_ACCURACY = 1e-3
"""Relative gap to which the first programme is solved."""
_FINEST = 1e-10
"""Relative gap that no programme is asked to beat."""
_STALLED, _FRUITLESS = 3, 8
"""Rounds without progress after which the tolerances are beyond what floats can do: when nothing joins the
programme, and when something does."""
_NOTHING = 1e-22
"""Part of the zero network's objective below which objectives only seem to fall."""
_WINDOW, _CREEPING, _AFAR = 60, 0.03, 0.5
"""So many rounds that bring less than this part of what is missing, or end this far from it, lead nowhere."""
_SENSIBLE = 8.0
"""Seconds in all for a proof that is wanted only where that is affordable."""


def _rounds(run: Generation, certify: bool | str, progress: Callable[[Round], object] | None) -> FitStatus:
    """Solve, slide, price and certify until the gap is closed."""
    earlier, zero = (np.inf, 0.0), run.zero
    effort = _SENSIBLE if certify == "auto" else np.inf
    accuracy, least = _FIRST_ACCURACY, 0.1 * run.tolerance
    idle, fruitless, starts = 0, 0, STARTS
    while run.left > 0:
        value, lower = run.value, run.lower
        stuck = run.solve(accuracy)
        moved = run.slide()
        excess, joined = run.search(starts)
        if joined < _FEW:
            starts = min(2 * starts, _THOROUGH)
        elif joined > _MANY:
            starts = max(starts // 2, STARTS)
        if run.value < value * (1 - run.tolerance):
            run.pool.forget()
        settled = accuracy <= least
        if settled and (excess <= run.slack or not joined):
            excess, more = run.search(_THOROUGH)
            joined += more
        if settled and (excess <= run.slack or not joined):
            if not certify:
                run.record(excess, progress)
                return "uncertified"
            begin = time.perf_counter()
            joined += run.certify(excess, effort)
            effort -= time.perf_counter() - begin
            if run.gap <= run.tolerance:
                run.record(excess, progress)
                return "optimal"
            if run.hopeless:
                run.record(excess, progress)
                return "uncertified" if certify == "auto" else "stalled"
            least = max(0.3 * least, _FINEST)
        run.record(excess, progress)
        # A programme need not be solved much better than it approximates the whole.
        accuracy = max(least, min(0.3 * accuracy, 0.1 * excess))
        better = run.value < value * (1 - 0.01 * run.tolerance) or run.lower > lower
        # Residuals this small are rounding errors.
        better &= run.value > _NOTHING * zero
        fruitless = 0 if better or not (settled or stuck) else fruitless + 1 + stuck
        idle = 0 if better or moved or joined or not settled else idle + 1
        slow = False
        if settled and len(run.history) % _WINDOW == 0:
            missing = run.missing(excess)
            slow = missing > _AFAR or run.value > earlier[0] * (1 - _CREEPING * missing)
            slow &= run.lower <= earlier[1] + _CREEPING * (run.value - run.lower)
            earlier = run.value, run.lower
        if idle >= _STALLED or fruitless >= _FRUITLESS or slow:
            return "uncertified" if certify == "auto" and not joined else "stalled"
    return "time_limit"


def fit_network(
    problem: Problem,
    *,
    tolerance: float = 1e-6,
    certify: bool | Literal["auto"] = True,
    start: nn.Module | tuple[object, object] | None = None,
    neurons: int = 50,
    time_limit: float | None = None,
    seed: int = 0,
    progress: Callable[[Round], object] | None = None,
) -> Fit:
    """Train a two-layer ReLU network to global optimality, over all widths and activation patterns.

    Ctrl-C ends the training with the best network so far.

    Parameters
    ----------
    problem : Problem
        With scalar outputs; from `make_problem`.
    tolerance : float, default 1e-6
        Relative gap at which to stop.
    certify : bool or "auto", default True
        Prove a lower bound. Otherwise training ends when the local search finds no neuron that is
        missing, and the lower bound is a crude one. With "auto" the proof is given up after some 8 seconds,
        with the bound that was proven by then.
    start : torch.nn.Module or pair of arrays, optional
        Network to start from: Linear, ReLU, Linear, or (m, d) weights and (m,) output weights. By default
        a random one, after some descent.
    neurons : int, default 50
        Width of the random network.
    time_limit : float, optional
        Seconds, which may be infinite; a step under way may overrun it.
    seed : int, default 0
    progress : callable, optional
        Called with a `Round` after every round.

    Returns
    -------
    Fit

    Raises
    ------
    ArgumentError
        If an argument makes no sense.
    """
    seed, neurons = as_count(seed, "seed", 0), as_count(neurons, "neurons")
    tolerance = _positive(tolerance, "tolerance")
    limit = np.inf if time_limit is None else _positive(time_limit, "time_limit", np.inf)
    if not (isinstance(certify, (bool, np.bool_)) or certify == "auto"):
        raise ArgumentError(f"certify must be True, False or 'auto', got {certify!r:.80}")
    if not (progress is None or callable(progress)):
        raise ArgumentError(f"progress must be a function of a Round, got {progress!r:.80}")
    run = Generation(problem, tolerance, time.perf_counter() + limit, seed)
    network = None if start is None else _network(problem, start)
    try:
        run.warm_up(None if network is None else run.units.neurons(*network, back=True), neurons)
        status = _rounds(run, certify, progress)
    except KeyboardInterrupt:
        status = "interrupted"
    return run.finish(status)


def _positive(value: object, what: str, most: float = float(np.finfo(np.float64).max)) -> float:
    number = as_floats(value, what, ArgumentError)
    if number.ndim or not 0 < number <= most:
        raise ArgumentError(f"{what} must be a positive number, got {value!r:.80}")
    return float(number)


def _network(problem: Problem, start: nn.Module | tuple[object, object]) -> tuple[Floats, Floats]:
    """Read the network to start from."""
    if isinstance(start, tuple) and len(start) == 2:
        weights, outputs = (as_floats(part, "start", ArgumentError) for part in start)
    elif hasattr(start, "modules"):
        weights, outputs = read_network(start, problem.x)
    else:
        raise ArgumentError("start must be a torch.nn.Module or a pair (weights, outputs)")
    fits = weights.ndim == 2 and weights.shape[1] == problem.x.shape[1] and outputs.shape == weights.shape[:1]
    if not fits or not (np.isfinite(weights).all() and np.isfinite(outputs).all()):
        raise ArgumentError(
            f"start must have finite weights (m, {problem.x.shape[1]}) and outputs (m,), got shapes "
            f"{weights.shape} and {outputs.shape}"
        )
    return weights, outputs
