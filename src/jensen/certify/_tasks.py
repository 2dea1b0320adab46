"""Units of work that any process can take: one neuron's kink on one piece, some open nodes, some seconds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from time import perf_counter
from typing import Any, TypeAlias

import joblib
import numpy as np

from jensen.certify._bounds import Intervals, interval_bounds
from jensen.certify._branch import Search, Tree
from jensen.certify._exact_domain import ExactDomain
from jensen.certify._pieces import Piece
from jensen.certify._probe import Probe
from jensen.certify._programme import Neuron, Programme
from jensen.certify._prover import ROOT, Node, ProvedLeaf, Prover, Proving, least_jump, relaxed_kink
from jensen.certify._relax import Cut, relaxed_bounds
from jensen.certify._rules import jump_lower_bounds
from jensen.certify._twins import JumpWeights
from jensen.certify._verdict import Witness
from jensen.certify._witness import from_kink
from jensen.network import Domain, ReLUNetwork
from jensen.verifier import Cover, Multipliers


@dataclass(frozen=True, eq=False)
class Ground:
    """A bounded piece with sound bounds on every pre-activation over it."""

    piece: Piece

    @cached_property
    def intervals(self) -> Intervals:
        """Bounds on the pre-activations; certified searches ask the checker for theirs instead."""
        piece = self.piece
        known = interval_bounds(piece.network, piece.lo, piece.hi)
        return relaxed_bounds(piece.network, piece.lo, piece.hi, known)

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
    """Open nodes of one neuron on one piece; not `doubtful` where it is known that there is no violation."""

    neuron: Neuron
    ground: int
    nodes: tuple[Node, ...] = (ROOT,)
    doubtful: bool = True


@dataclass(frozen=True, eq=False)
class Outcome:
    """What came of a task."""

    task: Task
    found: Search
    witness: Witness | None


@dataclass(frozen=True, eq=False)
class Question:
    """What is asked, in the form that travels to workers.

    Attributes
    ----------
    network, domain, wrt, jumps
    certified : bool
        Whether nodes may be closed only by what a certificate can hold.
    """

    network: ReLUNetwork
    domain: Domain
    wrt: tuple[int, ...] | None
    jumps: JumpWeights
    certified: bool = False

    @cached_property
    def exact(self) -> ExactDomain:
        """The domain in rational arithmetic."""
        return ExactDomain(self.domain, self.network.input_size, self.wrt)

    @cached_property
    def proving(self) -> Proving:
        """The checker's view of the question."""
        return Proving(self.network, self.domain, self.wrt, self.jumps, self.exact)

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel without what workers can work out themselves."""
        return Question, (self.network, self.domain, self.wrt, self.jumps, self.certified)


Record: TypeAlias = Callable[[Neuron, int, ProvedLeaf], None]
"""Told of every closed case: neuron, piece, leaf."""


def run(
    question: Question,
    ground: Ground,
    cover: Cover,
    task: Task,
    seconds: float,
    record: Record | None = None,
) -> Outcome:
    """Carry out a task for at most some seconds."""
    deadline = perf_counter() + seconds
    programme, prover, bound = _prepare(question, ground, cover, task)
    if prover is not None and record is not None:
        prover.record = partial(record, task.neuron, ground.piece.index)
    if programme is None:
        return Outcome(task, Search(lower_bound=bound), None)
    probe = Probe(
        question.network, question.domain, question.exact, question.jumps, ground.piece, task.neuron
    )
    look = probe if task.doubtful else lambda *_: False
    found = Tree(programme, question.network, question.exact, look, prover).search(list(task.nodes), deadline)
    witness = probe.witness
    if witness is None and found.kink is not None:
        witness = from_kink(question.network, question.domain, found.kink, task.neuron)
    return Outcome(task, found, witness)


def _prepare(
    question: Question, ground: Ground, cover: Cover, task: Task
) -> tuple[Programme | None, Prover | None, float]:
    """Build a task's linear programme and its prover; where bounds settle it at once, only a bound."""
    if not question.certified:
        intervals = ground.kink(task.neuron)
        if intervals is None:
            return None, None, np.inf
        return Programme(ground.piece, task.neuron, intervals, question.jumps), None, -np.inf
    proving, index = question.proving, ground.piece.index
    exact = proving.ground(index, cover)
    if exact.empty or exact.kinkless(task.neuron):
        return None, None, np.inf
    fresh, coarse = task.nodes == (ROOT,), exact.coarse_kink(task.neuron)
    if fresh and coarse.closes({}, Multipliers()):
        return None, None, least_jump(coarse)
    kink = proving.kink(task.neuron, index, cover)
    if fresh and kink.closes({}, Multipliers()):
        return None, None, least_jump(kink)
    intervals, signs = relaxed_kink(kink)
    programme = Programme(ground.piece, task.neuron, intervals, question.jumps, signs)
    return programme, Prover(kink, programme, proving.replay), -np.inf


def execute(
    question: Question,
    grounds: list[Ground],
    cover: Cover,
    tasks: Iterable[Task],
    seconds: float,
    n_jobs: int,
    record: Record | None = None,
) -> Iterator[Outcome]:
    """Run tasks here, or on joblib's workers (processes, or a Dask or Ray cluster), as they finish."""
    if n_jobs == 1:
        for task in tasks:
            yield run(question, grounds[task.ground], cover, task, seconds, record)
        return
    parallel = joblib.Parallel(n_jobs=n_jobs, return_as="generator_unordered")
    for outcome in parallel(
        joblib.delayed(run)(question, grounds[t.ground], cover, t, seconds) for t in tasks
    ):
        if record is not None:
            for leaf in outcome.found.leaves:
                record(outcome.task.neuron, grounds[outcome.task.ground].piece.index, leaf)
        yield outcome
