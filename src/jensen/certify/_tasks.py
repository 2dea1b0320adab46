"""Units of work that any process can take: one neuron's kink on one piece, some open nodes, some seconds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from time import perf_counter

import joblib
import numpy as np

from jensen.certify._bounds import Intervals, interval_bounds
from jensen.certify._branch import ROOT, Node, Search, Tree
from jensen.certify._exact_domain import ExactDomain
from jensen.certify._pieces import Piece
from jensen.certify._programme import Neuron, Programme
from jensen.certify._relax import Cut, relaxed_bounds
from jensen.certify._rules import jump_lower_bounds
from jensen.certify._twins import JumpWeights
from jensen.certify._verdict import Witness
from jensen.certify._witness import confirm, from_kink
from jensen.network import Domain, FloatArray, ReLUNetwork


@dataclass(frozen=True, eq=False)
class Ground:
    """A bounded piece with sound bounds on every pre-activation over it."""

    piece: Piece
    intervals: Intervals

    @classmethod
    def of(cls, piece: Piece) -> Ground:
        """Bound the pre-activations over a piece."""
        known = interval_bounds(piece.network, piece.lo, piece.hi)
        return cls(piece, relaxed_bounds(piece.network, piece.lo, piece.hi, known))

    def kink(self, neuron: Neuron) -> Intervals | None:
        """Bounds over the kink of one neuron; None if it has none in the piece."""
        layer, i = neuron
        network, piece = self.piece.network, self.piece
        if not self.intervals.switching(network)[layer - 1][i]:
            return None
        w = network.layers[layer - 1].weights
        if list(w) != [0]:
            return self.intervals
        row = w[0][[i]].toarray()[0] if not isinstance(w[0], np.ndarray) else w[0][i]
        cut = Cut(row, float(network.layers[layer - 1].bias[i]))
        cut_bounds = relaxed_bounds(network, piece.lo, piece.hi, self.intervals, cut)
        empty = any((lo > hi).any() for lo, hi in zip(cut_bounds.lo, cut_bounds.hi, strict=True))
        return None if empty else cut_bounds

    def jump_bound(self, neuron: Neuron, jumps: JumpWeights) -> float:
        """Sound lower bound of a neuron's jump over the piece, by intervals alone."""
        kink = self.kink(neuron)
        if kink is None:
            return np.inf
        # The neuron's own sign does not enter its adjoint; mark it as switching.
        layer, i = neuron
        lo, hi = [v.copy() for v in kink.lo], [v.copy() for v in kink.hi]
        lo[layer - 1][i], hi[layer - 1][i] = -1.0, 1.0
        return float(jump_lower_bounds(self.piece.network, Intervals(lo, hi), jumps)[layer - 1][i])


@dataclass(frozen=True, eq=False)
class Task:
    """Open nodes of one neuron on one piece."""

    neuron: Neuron
    ground: int
    nodes: tuple[Node, ...] = (ROOT,)


@dataclass(frozen=True, eq=False)
class Outcome:
    """What came of a task."""

    task: Task
    found: Search
    witness: Witness | None


@dataclass(frozen=True, eq=False)
class Question:
    """What is asked, in the form that travels to workers."""

    network: ReLUNetwork
    domain: Domain
    wrt: tuple[int, ...] | None
    jumps: JumpWeights


def run(question: Question, ground: Ground, task: Task, seconds: float) -> Outcome:
    """Carry out a task for at most some seconds."""
    deadline = perf_counter() + seconds
    kink = ground.kink(task.neuron)
    if kink is None:
        return Outcome(task, Search(open=[]), None)
    exact = ExactDomain(question.domain, question.network.input_size, question.wrt)
    probe = _Probe(question, ground.piece, exact, task.neuron)
    programme = Programme(ground.piece, task.neuron, kink, question.jumps)
    found = Tree(programme, question.network, exact, probe).search(list(task.nodes), deadline)
    witness = probe.witness
    if witness is None and found.kink is not None:
        witness = from_kink(question.network, question.domain, found.kink, task.neuron)
    return Outcome(task, found, witness)


class _Probe:
    """Looks for a violation near the points that the linear programmes return."""

    def __init__(self, question: Question, piece: Piece, exact: ExactDomain, neuron: Neuron) -> None:
        self.question, self.piece, self.neuron = question, piece, neuron
        self.witness: Witness | None = None
        self._mean: FloatArray | None = None
        self._count = 0
        self._tried: set[bytes] = set()
        self._mask = np.zeros(question.network.input_size)
        for step in exact.directions:
            self._mask[list(step)] = 1.0
        self._plain = all(len(step) == 1 for step in exact.directions)

    def __call__(self, point: FloatArray) -> bool:
        """Whether a witness was found; it is then in `witness`."""
        self._count += 1
        old = point if self._mean is None else self._mean
        self._mean = old + (point - old) / self._count
        shares = np.array([0.0, 3e-2])[:, None]
        inputs = [self.piece.to_input(p) for p in (1 - shares) * point + shares * self._mean]
        x = np.array([p for p in inputs if p is not None])
        if not len(x) or not self._plain:
            return False
        layer, i = self.neuron
        network = self.question.network
        x, normal = _onto_kink(network, x, self.neuron)
        z = network.preactivations(x)
        jumps = self.question.jumps.at(network.slopes(z))[layer - 1][:, i]
        for k in np.flatnonzero(jumps < 0):
            key = b"".join(np.packbits(v[k] > 0).tobytes() for v in z)
            if key in self._tried:
                continue
            self._tried.add(key)
            self.witness = confirm(network, self.question.domain, x[k], normal[k] * self._mask, self.neuron)
            if self.witness is not None:
                return True
        return False


def _onto_kink(network: ReLUNetwork, x: FloatArray, neuron: Neuron) -> tuple[FloatArray, FloatArray]:
    """Move points onto z_v = 0 by Newton steps; returns them and the gradients of z_v."""
    layer, i = neuron
    for _ in range(2):
        normal = preactivation_gradient(network, x, neuron)
        z = network.preactivations(x)[layer - 1][:, i]
        square = np.maximum((normal**2).sum(axis=1), 1e-300)
        x = x - (z / square)[:, None] * normal
    return x, normal


def preactivation_gradient(network: ReLUNetwork, x: FloatArray, neuron: Neuron) -> FloatArray:
    """Gradient of one neuron's pre-activation at a batch of points, as (batch, d)."""
    layer, i = neuron
    head = network.layers[layer - 1]
    truncated = ReLUNetwork(
        network.input_size, network.layers[: layer - 1], {k: w[[i]] for k, w in head.weights.items()}
    )
    gradient = truncated.gradient(x)
    return np.broadcast_to(gradient, x.shape)


def execute(
    question: Question, grounds: list[Ground], tasks: Iterable[Task], seconds: float, n_jobs: int
) -> Iterator[Outcome]:
    """Run tasks here, or on joblib's workers (processes, or a Dask or Ray cluster), as they finish."""
    if n_jobs == 1:
        for task in tasks:
            yield run(question, grounds[task.ground], task, seconds)
        return
    parallel = joblib.Parallel(n_jobs=n_jobs, return_as="generator_unordered")
    yield from parallel(joblib.delayed(run)(question, grounds[t.ground], t, seconds) for t in tasks)
