"""The falsify stage: kinks along random lines, batched; every hit is confirmed in exact arithmetic.

Lines come from hit-and-run steps inside the domain (all scales where it is unbounded). Along each line f
is sampled for concave triples, and every hidden neuron's sign changes are located by interpolation; the
adjoint there is the jump that a frontier would have. Later rounds restart near the smallest jumps seen, and
descents follow the neurons that nothing has proved.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from jensen.certify._descend import Descent
from jensen.certify._exact_domain import ExactDomain
from jensen.certify._lines import Lines
from jensen.certify._twins import JumpWeights
from jensen.certify._verdict import Witness
from jensen.certify._witness import Neuron, confirm
from jensen.network import Domain, FloatArray, ReLUNetwork

GRID = np.linspace(0.0, 1.0, 17)
"""Where f is sampled along a line."""
CELLS = 2_000_000
"""Numbers that one batch of points or pre-activations may hold."""


@dataclass
class Sampled:
    """What sampling saw: the least jump of every neuron (+inf if it never switched), and any witness."""

    worst: list[FloatArray]
    places: list[FloatArray]
    witness: Witness | None = None
    lines: int = 0
    kinks: int = 0


class Falsifier:
    """Looks for a violation of convexity by sampling.

    Parameters
    ----------
    network : ReLUNetwork
    domain : Domain
    exact : ExactDomain
    jumps : JumpWeights
    seed : int
    report : callable
        Called after each round.

    Attributes
    ----------
    seen : Sampled
        What was found so far; survives an interrupt.
    """

    def __init__(
        self,
        network: ReLUNetwork,
        domain: Domain,
        exact: ExactDomain,
        jumps: JumpWeights,
        seed: int,
        report: Callable[[], None],
    ) -> None:
        self.network, self.domain, self.jumps, self.report = network, domain, jumps, report
        self.lines = Lines(domain, exact, seed)
        self.seen = Sampled(
            [np.full(n, np.inf) for n in network.widths],
            [np.empty((0, network.input_size)) for _ in network.widths],
        )
        self.budget = max(CELLS // max(network.n_neurons, network.input_size), 16)

    def along_lines(self, rounds: int, deadline: float) -> None:
        """Look along random lines, in rounds of growing size; every other one near the worst kinks seen.

        Parameters
        ----------
        rounds : int
        deadline : float
            Start no further round after this, by `time.perf_counter`.
        """
        for round_ in range(rounds):
            self.lines.decades = min(0.5 + 1.5 * round_, 5.0)  # near the origin first: a witness is read
            if round_ and perf_counter() > deadline:
                return
            near = np.concatenate(self.seen.places) if round_ % 2 else np.empty((0, 0))
            self._round(max(2, min(4 * 2**round_, self.budget // GRID.size)), near if len(near) else None)
            self.report()
            if self.seen.witness is not None:
                return

    def descend(self, targets: Sequence[Neuron], rounds: int, deadline: float) -> None:
        """Descend the jumps of some neurons from random starts, in rounds of growing size.

        Parameters
        ----------
        targets : sequence of (layer, index)
        rounds : int
        deadline : float
            Start no further round after this, by `time.perf_counter`.
        """
        most = min(1024, 8 * self.budget // GRID.size)
        for round_ in range(rounds if targets and most >= GRID.size else 0):
            if perf_counter() > deadline:
                return
            self._descents(targets, min(most, (2 + 2 * round_) * len(targets)), 20 * (1 + round_))
            self.report()
            if self.seen.witness is not None:
                return

    def _descents(self, targets: Sequence[Neuron], rows: int, steps: int) -> None:
        """Descend the jumps of all targets from random starts, half of them where small jumps were seen."""
        order = self.lines.rng.permutation(len(targets))
        chosen = [targets[order[k % len(targets)]] for k in range(rows)]
        layers, indices = np.array([c[0] for c in chosen]), np.array([c[1] for c in chosen])
        points, _, begin, end = self.lines.sample(rows)
        points = points[np.arange(rows) % len(points)]
        span = np.resize(end - begin, rows)
        places = np.concatenate(self.seen.places)
        if len(places):
            second = slice(rows // 2, rows)
            points[second] = places[self.lines.rng.integers(len(places), size=rows - rows // 2)]
        width = np.where(np.isfinite(self.lines.hi - self.lines.lo), self.lines.hi - self.lines.lo, 0.0)
        inner = self.lines.lo + 1e-4 * width, self.lines.hi - 1e-4 * width
        descent = Descent(self.network, self.jumps, layers, indices, *inner, self.lines.mask)
        found = descent.run(np.clip(points, *inner), steps, 0.25 * span)
        for k in np.argsort(found.jump)[:12]:
            if not found.jump[k] < 0:
                break
            self.seen.witness = confirm(
                self.network, self.domain, found.point[k], found.direction[k], chosen[k]
            )
            if self.seen.witness is not None:
                layer, i = chosen[k]
                self.seen.worst[layer - 1][i] = min(self.seen.worst[layer - 1][i], float(found.jump[k]))
                return

    def _round(self, count: int, near: FloatArray | None) -> None:
        points, directions, begin, end = self.lines.sample(count, near)
        if near is not None:  # look closely around a place that looked bad
            shrink = 10.0 ** self.lines.rng.uniform(-3, 0, size=len(points))
            begin, end = begin * shrink, end * shrink
        t = begin[:, None] + (end - begin)[:, None] * GRID
        x = points[:, None, :] + t[:, :, None] * directions[:, None, :]
        x = np.clip(x, self.lines.lo, self.lines.hi)
        self.seen.lines += len(points)
        flat = x.reshape(-1, self.lines.d)
        preactivations, values = self.network.forward(flat)
        values = values.reshape(len(points), GRID.size)
        self._kinks(points, directions, t, preactivations)
        for stride in (1, 4, 8):
            if self.seen.witness is None:
                self._triples(x, values, stride)

    def _triples(self, x: FloatArray, values: FloatArray, stride: int) -> None:
        """Confirm the most concave triple of grid points, if it stands out of rounding."""
        left, middle, right = values[:, : -2 * stride], values[:, stride:-stride], values[:, 2 * stride :]
        gain = middle - (left + right) / 2
        gain = np.where(gain > 1e-12 * (np.abs(left) + np.abs(right) + np.abs(middle)), gain, -np.inf)
        i, j = np.unravel_index(int(np.argmax(gain)), gain.shape)
        if np.isfinite(gain[i, j]):
            a, b = x[i, j], x[i, j + 2 * stride]
            place, neuron = _localise(self.network, a, b)
            if neuron is not None:
                self.seen.witness = confirm(self.network, self.domain, place, b - a, neuron)
            if self.seen.witness is None:
                self.seen.witness = confirm(self.network, self.domain, (a + b) / 2, (b - a) / 2, None)

    def _kinks(
        self, points: FloatArray, directions: FloatArray, t: FloatArray, preactivations: list[FloatArray]
    ) -> None:
        """Locate sign changes of every neuron along the lines and read off the jumps there."""
        found: list[tuple[int, NDArray[np.intp], NDArray[np.intp], FloatArray]] = []
        for position, z in enumerate(preactivations):
            along = z.reshape(*t.shape, -1)
            line, cell, neuron = np.nonzero((along[:, :-1] > 0) != (along[:, 1:] > 0))
            if line.size > self.budget:
                chosen = np.sort(
                    np.random.default_rng(line.size).choice(line.size, self.budget, replace=False)
                )
                line, cell, neuron = line[chosen], cell[chosen], neuron[chosen]
            z0, z1 = along[line, cell, neuron], along[line, cell + 1, neuron]
            with np.errstate(invalid="ignore", divide="ignore"):
                share = np.clip(np.nan_to_num(z0 / (z0 - z1), nan=0.5), 0.0, 1.0)
            where = t[line, cell] + share * (t[line, cell + 1] - t[line, cell])
            found.append((position, line, neuron, where))
        candidates: list[tuple[float, Neuron, FloatArray, FloatArray]] = []
        for position, line, neuron, where in found:
            if not line.size:
                continue
            self.seen.kinks += line.size
            x = points[line] + where[:, None] * directions[line]
            slopes = self.network.slopes(self.network.preactivations(x))
            jump = self.jumps.at(slopes)[position][np.arange(line.size), neuron]
            order = np.argsort(jump)
            np.minimum.at(self.seen.worst[position], neuron, jump)
            self.seen.places[position] = x[order[:8]]
            for k in order[:3]:
                if jump[k] < 0:
                    candidates.append(
                        (float(jump[k]), (position + 1, int(neuron[k])), x[k], directions[line[k]])
                    )
        for _, neuron_id, x, direction in sorted(candidates, key=lambda c: c[0])[:6]:
            self.seen.witness = confirm(self.network, self.domain, x, direction, neuron_id)
            if self.seen.witness is not None:
                return


def _localise(network: ReLUNetwork, a: FloatArray, b: FloatArray) -> tuple[FloatArray, Neuron | None]:
    """Narrow a concave segment down to the one neuron that switches concavely in it, if floats reach it."""
    shares = np.linspace(0.0, 1.0, 9)[:, None]
    for _ in range(16):
        grid = a + shares * (b - a)
        z, f = network.forward(grid)
        gain = f[1:-1] - (f[:-2] + f[2:]) / 2
        k = int(np.argmax(gain))
        if not gain[k] > 1e-12 * float(np.abs(f).max()):
            break
        a, b = grid[k], grid[k + 2]
        switching = [
            (layer + 1, int(i))
            for layer, values in enumerate(z)
            for i in np.flatnonzero((values[k] > 0) != (values[k + 2] > 0))
        ]
        if len(switching) == 1:
            layer, i = switching[0]
            first, last = z[layer - 1][k, i], z[layer - 1][k + 2, i]
            return a + first / (first - last) * (b - a), switching[0]
    return (a + b) / 2, None
