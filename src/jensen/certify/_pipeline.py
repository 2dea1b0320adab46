"""The pipeline of `check`: rules, falsify, bound, descend, branch and bound, enumerate, prove."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import cached_property, partial
from math import inf
from time import perf_counter
from typing import Any

import numpy as np

from jensen.certify._bounds import Intervals, interval_bounds
from jensen.certify._branching import Branching, branch
from jensen.certify._certificate import convexity_certificate, violation_certificate
from jensen.certify._choice import (
    Method,
    complete_stages,
    in_exact_arithmetic,
    is_easily_enumerated,
    is_easily_proved,
)
from jensen.certify._exact_domain import ExactDomain
from jensen.certify._facet import Kink
from jensen.certify._falsify import Falsifier
from jensen.certify._journal import Journal
from jensen.certify._ledger import Ledger
from jensen.certify._pieces import Piece
from jensen.certify._progress import Callback, Clock, Progress
from jensen.certify._rules import jump_lower_bounds, moved_by, unbounded
from jensen.certify._tasks import Ground, Question
from jensen.certify._twins import JumpWeights
from jensen.certify._verdict import Kind, Verdict, Witness
from jensen.certify._witness import Neuron, from_kink, jump_at
from jensen.errors import CertificateError, JournalError
from jensen.network import Domain, FloatArray, ReLUNetwork
from jensen.verifier import Certificate, Cover, Twins, sign_analysis, verify

SAMPLING = ("falsify", "descend")
"""Stages that look for violations at random; a resumed check does not repeat them."""


class Pipeline:
    """One run of the pipeline; the ledger holds what is known at every moment."""

    def __init__(
        self,
        network: ReLUNetwork,
        domain: Domain,
        wrt: tuple[int, ...] | None,
        clock: Clock,
        n_jobs: int | None,
        seed: int,
        certify: bool | None,
        progress: Callback | None,
    ) -> None:
        self.network, self.domain, self.wrt, self.clock = network, domain, wrt, clock
        self.n_jobs, self.seed, self.progress = n_jobs, seed, progress
        self.ledger = Ledger(network)
        self.exact = ExactDomain(domain, network.input_size, wrt)
        self.certify = certify
        self.branched: list[Branching] = []
        self.certificate: Certificate | None = None
        self.journal: Journal | None = None
        self.witness: Witness | None = None
        self.known: Intervals = unbounded(network)

    @cached_property
    def jumps(self) -> JumpWeights:
        """The network's jumps, twins merged; finding twins reads all weights, which an ICNN can be spared."""
        return JumpWeights(self.network)

    @cached_property
    def falsifier(self) -> Falsifier:
        """The sampler that two stages share."""
        return Falsifier(
            self.network, self.domain, self.exact, self.jumps, self.seed, lambda: self._tell("falsify")
        )

    def decide(self, method: Method, lowering_error: float | None) -> Verdict:
        """Run the stages until the question is decided or time is up."""
        reason = ""
        stages: list[tuple[str, Callable[[], dict[str, Any]]]] = [
            ("rules", self._rules),
            ("falsify", self._falsify),
            ("bound", self._bound),
        ]
        if method == "branch" or not is_easily_enumerated(self.network, self.domain):
            stages.append(("descend", self._descend))
        complete = {"branch": self._branch, "enumerate": self._enumerate}
        stages += [
            (name, partial(complete[name], patience))
            for name, patience in complete_stages(method, self.network, self.domain)
        ]
        if self.certify is not False:
            stages.append(("prove", self._prove))
        for name, stage in stages:
            if self.certificate is not None or (name != "prove" and not self.ledger.left):
                continue
            if self.journal is not None and name in self.journal.done:
                continue
            began, before = perf_counter(), self.ledger.left
            try:
                self._tell(name)
                details = stage()
            except KeyboardInterrupt:
                reason = "interrupted"
                details = {"interrupted": True}
            self.ledger.close_stage(name, began, before, **details)
            if self.journal is not None and name in SAMPLING and not (reason or self.witness):
                self.journal.end(name)
            if reason or self.witness is not None or (self.certify is False and not self.ledger.left):
                break
            if self.clock.over:
                reason = "time limit"
                break
        return self._verdict(reason, lowering_error)

    def _verdict(self, reason: str, lowering_error: float | None) -> Verdict:
        ledger = self.ledger
        kind: Kind = "unknown"
        margin = ledger.smallest_jump
        certificate = self.certificate
        if self.witness is not None:
            kind = "not_convex"
            certificate = violation_certificate(self.network, self.domain, self.wrt, self.witness)
        elif not ledger.left:
            kind, margin = "convex", ledger.smallest_bound
            if certificate is None:
                kind = "unknown" if self.certify else "convex_float"
                reason = f"{reason or 'no certificate'}: convex in floating point, but not proved exactly"
        violated = set() if self.witness is None else set(self.witness.neurons)
        return Verdict(
            kind,
            self.network,
            self.domain,
            self.wrt,
            self.witness,
            margin,
            ledger.reports(violated),
            tuple(ledger.stages),
            reason if kind == "unknown" else "",
            lowering_error,
            certificate,
        )

    def _tell(self, stage: str, settled: int | None = None) -> None:
        if self.progress is not None:
            ledger = self.ledger
            done = ledger.total - ledger.left if settled is None else settled
            self.progress(Progress(stage, done, ledger.total, ledger.smallest_jump, self.clock.elapsed))

    def _rules(self) -> dict[str, Any]:
        """Signs of the weights, and neurons that the chosen inputs cannot switch."""
        bounds = jump_lower_bounds(self.network, self.known, JumpWeights(self.network, merge=False))
        if not all((bound >= 0).all() for bound in bounds):  # all or nothing: see JumpWeights
            bounds = jump_lower_bounds(self.network, self.known, self.jumps)
        moving = {j for step in self.exact.directions for j in step}
        for bound, moved in zip(bounds, moved_by(self.network, moving), strict=True):
            bound[~moved] = inf
        self.ledger.settle("rules", bounds)
        if self.certify is not False and not self.ledger.left:
            signs = sign_analysis(self.network, self.domain, self.wrt, Twins())
            if all(settled.all() for settled in signs.settled):
                self._certified(Twins(), Cover())
        return {}

    def _falsify(self) -> dict[str, Any]:
        """Kinks and concave triples along random lines."""
        deadline = min(perf_counter() + 0.5, self.clock.deadline)
        try:
            self.falsifier.along_lines(6, deadline)
        finally:
            self._take_seen("falsify")
        return {"lines": self.falsifier.seen.lines, "kinks": self.falsifier.seen.kinks}

    def _descend(self) -> dict[str, Any]:
        """Local search for negative jumps of the neurons that are still open."""
        open_neurons = self.ledger.open
        deadline = min(perf_counter() + 0.5, self.clock.deadline)
        try:
            self.falsifier.descend(open_neurons, 3, deadline)
        finally:
            self._take_seen("descend")
        return {"targets": len(open_neurons)}

    def _take_seen(self, stage: str) -> None:
        seen = self.falsifier.seen
        self.ledger.see(seen.worst)
        if seen.witness is not None:
            self._found(seen.witness, stage)

    def _found(self, witness: Witness, stage: str) -> None:
        self.witness = witness
        for neuron in witness.neurons:
            self.ledger.violated(neuron, jump_at(self.network, witness, neuron), stage)

    def _bound(self) -> dict[str, Any]:
        """Intervals over the domain; where it is bounded, linear relaxation over it and over every kink."""
        lo, hi = self.domain.bounds(self.network.input_size)
        self.known = interval_bounds(self.network, lo, hi)
        self.ledger.settle("bound", jump_lower_bounds(self.network, self.known, self.jumps))
        if self.ledger.left and np.isfinite(lo).all() and np.isfinite(hi).all():
            ground = Ground(Piece("domain", self.network, lo, hi, *self.domain.inequalities(lo.size)))
            self.known = ground.intervals
            self.ledger.settle("bound", jump_lower_bounds(self.network, self.known, self.jumps))
            for neuron in self.ledger.open:
                self.ledger.settle_one("bound", neuron, ground.jump_bound(neuron, self.jumps))
                if self.clock.over:
                    break
        fixed = sum(int((~s).sum()) for s in self.known.switching(self.network))
        return {"fixed": fixed}

    @cached_property
    def question(self) -> Question:
        """What branch and bound is asked."""
        certified = self.certify is not False and is_easily_proved(self.network)
        return Question(self.network, self.domain, self.wrt, self.jumps, certified)

    def _branch(self, patience: float) -> dict[str, Any]:
        """Branch and bound per open neuron."""
        return self._search(self.ledger.open, patience, "branch")

    def _search(self, neurons: Sequence[Neuron], patience: float, stage: str) -> dict[str, Any]:
        from joblib import effective_n_jobs

        def tell(so_far: Branching) -> None:
            if stage == "prove":  # the ledger knows better bounds
                self._tell(stage, self.ledger.total - len(neurons) + len(so_far.proved))
                return
            for neuron, bound in so_far.proved.items():
                self.ledger.settle_one(stage, neuron, bound)
            self._tell(stage)

        jobs = effective_n_jobs(self.n_jobs)
        doubtful = bool(self.ledger.left)
        found = branch(self.question, neurons, self.clock, jobs, patience, tell, self.journal, doubtful)
        tell(found)
        self.branched.append(found)
        if found.witness is not None:
            self._found(found.witness, stage)
        details = {"pieces": found.pieces, "nodes": found.nodes, "exact_leaves": found.exact_leaves}
        if self.journal is not None:
            details |= {"resumed": sum(map(len, self.journal.known.values())), "torn": self.journal.torn}
        return details

    def _prove(self) -> dict[str, Any]:
        """Settle every neuron again, in rational arithmetic, where that has not happened on the way."""
        if not is_easily_proved(self.network, asked=self.certify is True):
            return {"left out": "too large for rational arithmetic"}
        proving = self.question.proving
        patience = inf if self.certify else max(5.0, self.clock.elapsed)
        began = perf_counter()
        left = proving.left(lambda: self.clock.over or perf_counter() - began > patience)
        if left is None:
            return {}
        proved = {v for found in self.branched for v in found.proved}
        left = [v for v in left if v not in proved]
        details = self._search(left, patience, "prove") if left else {}
        if self.witness is None and (not left or set(self.branched[-1].proved) == set(left)):
            self._certified(proving.twins, self.branched[-1].cover if self.branched else Cover())
        return details

    def _certified(self, twins: Twins, cover: Cover) -> None:
        leaves = {}
        for found in self.branched:
            leaves.update({key: closed for key, closed in found.leaves.items() if key[0] in found.proved})
        certificate = convexity_certificate(
            self.network, self.domain, self.wrt, twins, cover, self.exact.hull, leaves
        )
        if self.journal is not None and self.journal.known:  # what comes from a file is replayed once more
            try:
                verify(certificate, self.network)
            except CertificateError as error:
                raise JournalError(
                    f"{self.journal.path} holds cases that prove nothing ({error}); remove it and start again"
                ) from error
        self.certificate = certificate

    def _enumerate(self, patience: float) -> dict[str, Any]:
        """Walk all frontiers; only those of open neurons are tested."""
        from jensen.geometry import scan  # compiled code: only loaded where it is used

        needed = np.concatenate([lower < 0 for lower in self.ledger.lower])
        limit = min(patience, self.clock.left)
        found = scan(
            self.network,
            self.domain,
            self.wrt,
            needed=needed,
            exact=in_exact_arithmetic(self.network, limit),
            time_limit=None if limit == inf else limit,
            progress=lambda *_: self._tell("enumerate"),
        )
        ends = np.cumsum(self.network.widths)[:-1]
        worst: list[FloatArray] = np.split(found.worst_jumps, ends)
        if found.violation is not None:
            self.ledger.see(worst)
            neurons = [(k + 1, i) for k, n in enumerate(self.network.widths) for i in range(n)]
            neuron: Neuron = neurons[found.violation.neuron]
            direction = tuple(Fraction(v) for v in found.violation.direction)
            kink = Kink(found.violation.point, direction)
            self._found(from_kink(self.network, self.domain, kink, neuron), "enumerate")
        elif found.complete:
            self.ledger.see(worst)
            # Every jump was found nonnegative exactly; its float image may fall below zero by rounding.
            open_jumps = zip(self.ledger.lower, worst, strict=True)
            bounds = [np.where(lower < 0, np.maximum(jumps, 0.0), lower) for lower, jumps in open_jumps]
            self.ledger.settle("enumerate", bounds)
        return {"regions": found.n_regions, "frontiers": found.n_frontiers}
