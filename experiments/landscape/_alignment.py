"""A thousand neurons on four collinear points, from small and from large weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from matplotlib.animation import FuncAnimation
from matplotlib.figure import Figure

from experiments.landscape._descent import Descent, Floats, descend
from jensen.fit._arrangement import all_gates
from jensen.plot import animate_neurons, plot_neurons

Size: TypeAlias = Literal["small", "large"]
POINTS = np.array([-0.8, 0.0, 0.8, 1.6])
Y = 0.5 * POINTS + 0.9
X = np.stack([POINTS, np.ones_like(POINTS)], axis=1)
NEURONS, WINDOW = 1000, (-3.0, 3.0)


@dataclass(frozen=True)
class Setting:
    """Scale of the first weights, step size, steps, and steps that are shown as still frames."""

    scale: float
    rate: float
    steps: int
    stills: tuple[int, ...]


SETTINGS: dict[Size, Setting] = {
    "small": Setting(1e-4, 5e-3, 2500, (0, 500, 850, 2500)),
    "large": Setting(0.5, 1e-3, 1200, (0, 10, 100, 1200)),
}


def start(scale: float, seed: int = 0, neurons: int = NEURONS) -> tuple[Floats, Floats]:
    """Draw neurons: activation points uniform in the window, either direction, either sign, |w| = |a|."""
    rng = np.random.default_rng(seed)
    places = rng.uniform(*WINDOW, size=neurons)
    rows = np.stack([np.ones(neurons), -places], axis=1) * rng.choice([-1.0, 1.0], size=neurons)[:, None]
    sizes = scale * rng.uniform(0.5, 1.5, size=neurons)
    rows *= (sizes / np.linalg.norm(rows, axis=1))[:, None]
    return rows, sizes * rng.choice([-1.0, 1.0], size=neurons)


def frames(size: Size, count: int = 81) -> list[int]:
    """Choose steps for an animation: evenly, or ever fewer where descent is fastest at first."""
    last = SETTINGS[size].steps
    steps = np.linspace(0, last, count) if size == "small" else np.geomspace(1, last + 1, count) - 1
    return sorted({*np.round(steps).astype(int).tolist(), *SETTINGS[size].stills})


def train(size: Size, seed: int = 0) -> Descent:
    """Descend without weight decay."""
    setting = SETTINGS[size]
    hidden, output = start(setting.scale, seed)
    return descend(X, Y, hidden, output, rate=setting.rate, steps=setting.steps, keep=frames(size))


def directions() -> list[float]:
    """Activation points at which small neurons come to rest while the output is still zero.

    A neuron with output weight of sign s turns towards s sum_j y_j x_j over the points that it activates. It
    rests where that direction activates the same points, and grows.
    """
    found = []
    for gate in all_gates(X):
        target = X[gate].T @ Y[gate]
        for sign in (1.0, -1.0):
            w = sign * target
            if ((X @ w > 0) == gate).all() and sign * Y @ np.maximum(0.0, X @ w) > 0 and w[0]:
                found.append(-w[1] / w[0])
    return sorted(set(found))


def centre(descent: Descent, step: int) -> tuple[float, float]:
    """Mean and deviation of the activation points at a kept step, weighted by the neurons' norms."""
    place = int(np.flatnonzero(descent.steps == step)[0])
    hidden, output = descent.hidden[place], descent.output[place]
    weights = np.linalg.norm(hidden, axis=1) * np.abs(output)
    points = -hidden[:, 1] / hidden[:, 0]
    mean = float(np.average(points, weights=weights))
    return mean, float(np.sqrt(np.average((points - mean) ** 2, weights=weights)))


def changed(descent: Descent) -> int:
    """Count the neurons that end with another pattern."""
    before, after = (X @ hidden.T > 0 for hidden in (descent.hidden[0], descent.hidden[-1]))
    return int((before != after).any(0).sum())


def stills(size: Size, descent: Descent) -> Figure:
    """Draw some frames."""
    chosen = np.isin(descent.steps, SETTINGS[size].stills)
    return plot_neurons(
        POINTS,
        Y,
        descent.hidden[chosen],
        descent.output[chosen],
        steps=descent.steps[chosen],
        window=WINDOW,
        expected=directions() if size == "small" else (),
    )


def animation(size: Size, descent: Descent) -> FuncAnimation:
    """Animate all kept steps."""
    return animate_neurons(
        POINTS,
        Y,
        descent.hidden,
        descent.output,
        steps=descent.steps,
        losses=descent.losses,
        window=WINDOW,
        expected=directions() if size == "small" else (),
    )
