"""The falsify stage: kinks along random lines, batched; every hit is confirmed in exact arithmetic.

Lines come from hit-and-run steps inside the domain (all scales where it is unbounded). Along each line f
is sampled for concave triples, and every hidden neuron's sign changes are located by interpolation; the
adjoint there is the jump that a frontier would have. Later rounds restart near the smallest jumps seen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np

from jensen.certify._descend import Descent
from jensen.certify._exact_domain import ExactDomain
from jensen.certify._twins import JumpWeights
from jensen.certify._verdict import Witness
from jensen.certify._witness import Neuron, confirm
from jensen.network import Domain, FloatArray, ReLUNetwork


@dataclass
class Sampled:
    """What sampling saw: the least jump of every neuron (+inf if it never switched), and any witness."""

    worst: list[FloatArray]
    places: list[FloatArray]
    witness: Witness | None = None
    lines: int = 0
    kinks: int = 0


class Lines:
    """Random chords of the domain, in directions that move only the chosen inputs.

    Where the domain is unbounded, chords reach up to 10 ** `decades` times the scale of its interior point.
    """

    def __init__(self, domain: Domain, exact: ExactDomain, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.d = exact.d
        self.lo, self.hi = domain.bounds(self.d)
        self.A, self.b = domain.inequalities(self.d)
        self.start = exact.interior_point
        self.reach = max(1.0, float(np.abs(self.start).max()))
        self.decades = 0.5
        self._exact = exact
        self.mask = np.zeros(self.d)
        for step in exact.directions:
            self.mask[list(step)] = 1.0

    def _random_directions(self, count: int) -> FloatArray:
        steps = self._exact.directions
        coefficients = self.rng.normal(size=(count, len(steps)))
        if len(steps) > 1:  # sparse moves as well: kinks often hide along single inputs
            coefficients[::4] *= self.rng.random((len(coefficients[::4]), len(steps))) < 2.0 / len(steps)
        if all(len(step) == 1 for step in steps):
            directions = np.zeros((count, self.d))
            directions[:, [next(iter(step)) for step in steps]] = coefficients
        else:
            basis = np.zeros((len(steps), self.d))
            for i, step in enumerate(steps):
                for j, v in step.items():
                    basis[i, j] = int(v.p) / int(v.q)
            directions = coefficients @ basis
        norms = np.linalg.norm(directions, axis=1, keepdims=True)
        return np.asarray(directions[norms[:, 0] > 0] / norms[norms[:, 0] > 0])

    def chords(self, points: FloatArray, directions: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Ranges of t in which points + t directions stay in the domain, at random scale where unbounded."""
        with np.errstate(divide="ignore", invalid="ignore"):
            to_hi = (self.hi - points) / directions
            to_lo = (self.lo - points) / directions
            forward = np.where(directions > 0, to_hi, np.where(directions < 0, to_lo, np.inf)).min(axis=1)
            backward = np.where(directions > 0, to_lo, np.where(directions < 0, to_hi, -np.inf)).max(axis=1)
            if len(self.b):
                rate, room = directions @ self.A.T, self.b - points @ self.A.T
                forward = np.minimum(forward, np.where(rate > 0, room / rate, np.inf).min(axis=1))
                backward = np.maximum(backward, np.where(rate < 0, room / rate, -np.inf).max(axis=1))
        scale = self.reach * 10.0 ** self.rng.uniform(-2, self.decades, size=len(points))
        return np.maximum(np.minimum(backward, 0.0), -scale), np.minimum(np.maximum(forward, 0.0), scale)

    def sample(self, count: int, near: FloatArray | None = None) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        """Return points, directions and chord ends of about `count` lines."""
        if near is None:
            finite = np.isfinite(self.lo) & np.isfinite(self.hi)
            if finite.all() and not len(self.b):
                points = self.rng.uniform(self.lo, self.hi, size=(count, self.d))
            else:
                points = np.repeat(self.start[None, :], count, axis=0)
                for _ in range(4):
                    points = self._step(points)
        else:
            points = near[self.rng.integers(len(near), size=count)]
        directions = self._random_directions(len(points))
        points = points[: len(directions)]
        return points, directions, *self.chords(points, directions)

    def _step(self, points: FloatArray) -> FloatArray:
        raw = self.rng.normal(size=points.shape) * (self.lo < self.hi)
        if len(self.b) and len(self._exact.equalities):
            raw = self._random_directions(len(points))
            points = points[: len(raw)]
        raw /= np.maximum(np.linalg.norm(raw, axis=1, keepdims=True), 1e-300)
        begin, end = self.chords(points, raw)
        t = self.rng.uniform(begin, end)
        return np.asarray(points + 0.98 * t[:, None] * raw)


def falsify(
    network: ReLUNetwork,
    domain: Domain,
    exact: ExactDomain,
    jumps: JumpWeights,
    *,
    seed: int = 0,
    targets: Sequence[Neuron] = (),
    rounds: int = 6,
    seconds: float = 0.5,
    deadline: float = np.inf,
    report: Callable[[float], None] | None = None,
) -> Sampled:
    """Search for a violation of convexity by sampling.

    Parameters
    ----------
    network : ReLUNetwork
    domain : Domain
    exact : ExactDomain
    jumps : JumpWeights
    seed : int
    targets : sequence of (layer, index)
        Neurons whose jumps are worth descending: those that nothing has proved yet.
    rounds : int
        At most this many rounds of lines, of growing size; every other one restarts near the worst
        kinks seen. Then half as many rounds of descent.
    seconds : float
        Start no further round after this time.
    deadline : float
        Nor after this one, by `time.perf_counter`.
    report : callable, optional
        Is told the least jump seen after each round.

    Returns
    -------
    Sampled
    """
    began = perf_counter()
    lines = Lines(domain, exact, seed)
    seen = Sampled(
        [np.full(n, np.inf) for n in network.widths],
        [np.empty((0, network.input_size)) for _ in network.widths],
    )
    budget = max(2_000_000 // max(network.n_neurons, 1), 16)
    for round_ in range(rounds):
        lines.decades = min(0.5 + 1.5 * round_, 5.0)  # near the origin first: a witness is to be read
        if round_ and perf_counter() > min(began + seconds, deadline):
            break
        near = None
        if round_ % 2 and any(len(p) for p in seen.places):
            near = np.concatenate(seen.places)
        count = max(2, min(4 * 2**round_, budget // 17))
        _round(network, domain, jumps, lines, count, near, seen, budget)
        if report is not None:
            report(min((float(w.min(initial=np.inf)) for w in seen.worst), default=np.inf))
        if seen.witness is not None:
            return seen
    most = min(1024, 8 * budget // 17)
    for round_ in range(rounds // 2 if targets and most >= 16 else 0):
        if perf_counter() > min(began + seconds, deadline):
            break
        rows = min(most, (2 + 2 * round_) * len(targets))
        _descents(network, domain, jumps, lines, targets, rows, 20 * (1 + round_), seen)
        if report is not None:
            report(min((float(w.min(initial=np.inf)) for w in seen.worst), default=np.inf))
        if seen.witness is not None:
            break
    return seen


def _descents(
    network: ReLUNetwork,
    domain: Domain,
    jumps: JumpWeights,
    lines: Lines,
    targets: Sequence[Neuron],
    rows: int,
    steps: int,
    seen: Sampled,
) -> None:
    """Descend the jumps of all targets from random starts, half of them where small jumps were seen."""
    order = lines.rng.permutation(len(targets))
    chosen = [targets[order[k % len(targets)]] for k in range(rows)]
    layers, indices = np.array([c[0] for c in chosen]), np.array([c[1] for c in chosen])
    points, _, begin, end = lines.sample(rows)
    points = points[np.arange(rows) % len(points)]
    span = np.resize(end - begin, rows)
    places = np.concatenate(seen.places)
    if len(places):
        second = slice(rows // 2, rows)
        points[second] = places[lines.rng.integers(len(places), size=rows - rows // 2)]
    width = np.where(np.isfinite(lines.hi - lines.lo), lines.hi - lines.lo, 0.0)
    inner = lines.lo + 1e-4 * width, lines.hi - 1e-4 * width
    descent = Descent(network, jumps, layers, indices, *inner, lines.mask)
    found = descent.run(np.clip(points, *inner), steps, 0.25 * span)
    for k in np.argsort(found.jump)[:12]:
        if not found.jump[k] < 0:
            break
        seen.witness = confirm(network, domain, found.point[k], found.direction[k], chosen[k])
        if seen.witness is not None:
            layer, i = chosen[k]
            seen.worst[layer - 1][i] = min(seen.worst[layer - 1][i], float(found.jump[k]))
            return


def _round(
    network: ReLUNetwork,
    domain: Domain,
    jumps: JumpWeights,
    lines: Lines,
    count: int,
    near: FloatArray | None,
    seen: Sampled,
    budget: int,
) -> None:
    points, directions, begin, end = lines.sample(count, near)
    grid = np.linspace(0.0, 1.0, 17)
    if near is not None:  # look closely around a place that looked bad
        shrink = 10.0 ** lines.rng.uniform(-3, 0, size=len(points))
        begin, end = begin * shrink, end * shrink
    t = begin[:, None] + (end - begin)[:, None] * grid
    x = points[:, None, :] + t[:, :, None] * directions[:, None, :]
    x = np.clip(x, lines.lo, lines.hi)
    seen.lines += len(points)
    flat = x.reshape(-1, lines.d)
    preactivations, values = network.forward(flat)
    values = values.reshape(len(points), grid.size)
    _kinks(network, domain, jumps, points, directions, t, preactivations, seen, budget)
    for stride in (1, 4, 8):
        if seen.witness is None:
            _triples(network, domain, x, values, stride, seen)


def _triples(
    network: ReLUNetwork, domain: Domain, x: FloatArray, values: FloatArray, stride: int, seen: Sampled
) -> None:
    """Confirm the most concave triple of grid points, if it stands out of rounding."""
    left, middle, right = values[:, : -2 * stride], values[:, stride:-stride], values[:, 2 * stride :]
    gain = middle - (left + right) / 2
    gain = np.where(gain > 1e-12 * (np.abs(left) + np.abs(right) + np.abs(middle)), gain, -np.inf)
    i, j = np.unravel_index(int(np.argmax(gain)), gain.shape)
    if np.isfinite(gain[i, j]):
        a, b = x[i, j], x[i, j + 2 * stride]
        place, neuron = _localise(network, a, b)
        if neuron is not None:
            seen.witness = confirm(network, domain, place, b - a, neuron)
        if seen.witness is None:
            seen.witness = confirm(network, domain, (a + b) / 2, (b - a) / 2, None)


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


def _kinks(
    network: ReLUNetwork,
    domain: Domain,
    jumps: JumpWeights,
    points: FloatArray,
    directions: FloatArray,
    t: FloatArray,
    preactivations: list[FloatArray],
    seen: Sampled,
    budget: int,
) -> None:
    """Locate sign changes of every neuron along the lines and read off the jumps there."""
    found: list[tuple[int, FloatArray, FloatArray, FloatArray]] = []
    for position, z in enumerate(preactivations):
        along = z.reshape(*t.shape, -1)
        line, cell, neuron = np.nonzero((along[:, :-1] > 0) != (along[:, 1:] > 0))
        if line.size > budget:
            chosen = np.sort(np.random.default_rng(line.size).choice(line.size, budget, replace=False))
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
        seen.kinks += line.size
        x = points[line] + where[:, None] * directions[line]
        slopes = network.slopes(network.preactivations(x))
        jump = jumps.at(slopes)[position][np.arange(line.size), neuron]
        order = np.argsort(jump)
        np.minimum.at(seen.worst[position], neuron, jump)
        seen.places[position] = x[order[:8]]
        for k in order[:3]:
            if jump[k] < 0:
                candidates.append((float(jump[k]), (position + 1, int(neuron[k])), x[k], directions[line[k]]))
    for _, neuron_id, x, direction in sorted(candidates, key=lambda c: c[0])[:6]:
        seen.witness = confirm(network, domain, x, direction, neuron_id)
        if seen.witness is not None:
            return
