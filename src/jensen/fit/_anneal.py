"""Descent by Adam with steps that are long at first: where good gates come from.

Long steps carry neurons over the ridges between gates at which a plain descent gets stuck.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from jensen.fit._descend import balanced, descend, objective_of, random_network
from jensen.fit._losses import Floats
from jensen.fit._problem import Problem

_CLEAR = 50
"""Steps of Adam after which neurons that do nothing are dropped; their numbers would become subnormal."""
_NOTHING = 1e-7
"""Part of the largest output weight below which a neuron does nothing."""
_FIRST, _SECOND = 0.9, 0.99
"""Decay of Adam's averages of gradients and of their squares."""
_RUNS = 4
"""Most runs from random networks; each has twice the neurons and twice the steps of the one before."""
_STEPS, _RATE = 300, 2.0
"""Steps of the first such run, and its rate; every later one has a rate smaller by the root of 2."""
_PART = 0.5
"""Part of the time left that such a run may take."""
_GAIN = 3e-3
"""Relative gain by which a run must lower the objective for a longer one to follow."""
_SLIDES = 12
"""Most runs from a network that is there already."""
_MISSES = 3
"""Runs in succession without a gain after which there are no more."""
_SLIDE_STEPS = 200
"""Steps of each."""
_SLIDE_RATE, _LEAST_RATE = 0.06, 2e-3
"""Their rate, at first and at least."""
_FEW_FEATURES = 20
"""Steps are not longer where features are fewer."""
_POLISH = 30
"""L-BFGS steps after a run."""

Singles = NDArray[np.float32]


@np.errstate(over="ignore", under="ignore", invalid="ignore")
def anneal(
    problem: Problem,
    weights: Floats,
    outputs: Floats,
    *,
    steps: int,
    rate: float,
    deadline: float = np.inf,
) -> tuple[Floats, Floats]:
    """Run Adam, with steps that are long at first and fall to 0, on the weights of both layers.

    Long steps carry neurons over the ridges between gates at which a descent gets stuck: with many neurons
    in many dimensions it ends well below where L-BFGS does. In float32, full batch, with weight decay.

    Parameters
    ----------
    problem : Problem
        With scalar outputs.
    weights : (m, d) array
    outputs : (m,) array
    steps : int
    rate : float
        What the first step, if all entries of a neuron's weights move together, adds to its product with an
        ordinary row of X; in units in which the entries of X and y are about 1.
    deadline : float
        On the clock of `time.perf_counter`; steps fall to 0 earlier where they would not be done by then.

    Returns
    -------
    weights : (m, d) array
    outputs : (m,) array
        Balanced; the network given, where numbers leave the range of float32.
    """
    of_x, of_y = float(np.abs(problem.x).max()), float(np.abs(problem.y).max())
    if not (of_x > 0 and of_y > 0):
        return balanced(weights, outputs)
    of_x *= float(np.sqrt(np.mean((problem.x / of_x) ** 2)))
    of_y *= float(np.mean(np.abs(problem.y / of_y)))
    unit = np.sqrt(of_y) / np.sqrt(of_x)
    most = float(problem.weights.max())
    decay = np.float32(problem.regularisation / of_x / of_y / most)
    share = (problem.weights / most).astype(np.float32)
    x = (problem.x / of_x).astype(np.float32)
    across = np.ascontiguousarray(x.T)
    parts: list[Singles] = [(weights.T / unit).astype(np.float32), (outputs / unit).astype(np.float32)]
    means: list[Singles] = [np.zeros_like(part) for part in parts]
    squares: list[Singles] = [np.zeros_like(part) for part in parts]
    # Rows that are long in the sum of their entries let neurons die where steps are long.
    longest = rate / max(float(np.abs(x).sum(1).mean()), _FEW_FEATURES)
    begin = time.perf_counter()
    for step in range(1, steps + 1):
        done = max((step - 1) / steps, (time.perf_counter() - begin) / max(deadline - begin, 1e-9))
        if done >= 1:
            break
        hidden, output = parts
        active = np.maximum(x @ hidden, 0)
        if step % _CLEAR == 0:
            sizes = np.abs(output)
            kept = active.any(0) & (sizes > _NOTHING * sizes.max(initial=0.0))
            parts, means, squares = ([a[..., kept] for a in state] for state in (parts, means, squares))
            hidden, output = parts
            active = active[:, kept]
        fitted = active @ output
        slopes = (problem.loss.slope(fitted * of_y, problem.y) / of_y).astype(np.float32) * share
        back = across @ ((active > 0) * slopes[:, None])
        gradients = [back * output + decay * hidden, active.T @ slopes + decay * output]
        length = longest * (1 + np.cos(np.pi * done)) / 2 / (1 - _FIRST**step)
        fresh = np.float32(1 / (1 - _SECOND**step))
        for k, gradient in enumerate(gradients):
            means[k] += np.float32(1 - _FIRST) * (gradient - means[k])
            squares[k] += np.float32(1 - _SECOND) * (gradient * gradient - squares[k])
            parts[k] -= np.float32(length) * means[k] / (np.sqrt(fresh * squares[k]) + np.float32(1e-12))
    if not all(np.isfinite(part).all() for part in parts):
        return balanced(weights, outputs)
    return balanced(parts[0].T.astype(np.float64) * unit, parts[1].astype(np.float64) * unit)


def random_starts(
    problem: Problem, neurons: int, rng: np.random.Generator, deadline: float
) -> Iterator[tuple[Floats, Floats]]:
    """Train random networks, wider ones and for longer while that helps and time allows; the best so far.

    Yields
    ------
    weights : (m, d) array
    outputs : (m,) array
    """
    best, lasted = np.inf, 0.0
    for k in range(_RUNS):
        begin = time.perf_counter()
        # Four times the work of the run before.
        if 4 * lasted > _PART * (deadline - begin) or begin > deadline:
            return
        start = random_network(problem, neurons << k, rng)
        end = begin + _PART * (deadline - begin)
        found = anneal(problem, *start, steps=_STEPS << k, rate=_RATE * 2 ** (-k / 2), deadline=end)
        found = descend(problem, *found, steps=2 * _POLISH, deadline=deadline)
        lasted = time.perf_counter() - begin
        reached = objective_of(problem, *found)
        gained = (best - reached) / best if np.isfinite(best) else np.inf
        if gained > 0:
            best = reached
            yield found
        if not gained > _GAIN:
            return


class Slides:
    """Runs from networks that are close to optimal, and the length of steps that served them last."""

    def __init__(self) -> None:
        self._rate = _SLIDE_RATE

    def run(
        self, problem: Problem, weights: Floats, outputs: Floats, *, least: float, deadline: float
    ) -> tuple[Floats, Floats]:
        """Move neurons across gates while each run lowers the objective by a part `least`.

        Returns
        -------
        weights : (m, d) array
        outputs : (m,) array
            No worse than the network given.
        """
        found, value, misses = balanced(weights, outputs), objective_of(problem, weights, outputs), 0
        before = value
        for _ in range(_SLIDES):
            if self._rate < _LEAST_RATE or misses == _MISSES:
                break
            tried = anneal(problem, *found, steps=_SLIDE_STEPS, rate=self._rate, deadline=deadline)
            tried = descend(problem, *tried, steps=_POLISH, deadline=deadline)
            reached = objective_of(problem, *tried)
            if reached < value * (1 - least):
                found, value, misses = tried, reached, 0
                self._rate *= 1.5
            else:
                misses += 1
                self._rate *= 0.4
        if value == before:
            self._rate = max(2 * self._rate, _LEAST_RATE / 2)
            return descend(problem, *found, steps=2 * _POLISH, deadline=deadline)
        return found
