"""`check`: the pipeline rules, falsify, bound, descend, branch and bound, enumerate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from importlib.util import find_spec
from math import comb, inf
from pathlib import Path
from time import perf_counter
from typing import Any, Literal, TypeAlias

import numpy as np

from jensen.certify._bounds import Intervals, interval_bounds
from jensen.certify._exact_domain import ExactDomain, to_float
from jensen.certify._facet import Kink
from jensen.certify._falsify import Falsifier
from jensen.certify._ledger import Ledger
from jensen.certify._pieces import Piece, pieces
from jensen.certify._progress import Callback, Clock, Progress
from jensen.certify._rules import jump_lower_bounds, unbounded
from jensen.certify._tasks import Ground, Question, Task, execute
from jensen.certify._twins import JumpWeights
from jensen.certify._verdict import Kind, Verdict, Witness
from jensen.certify._witness import Neuron, from_kink
from jensen.errors import DomainError
from jensen.network import Domain, FloatArray, ReLUNetwork, WholeSpace, as_network

Method: TypeAlias = Literal["auto", "branch", "enumerate"]

REGIONS_PER_SECOND = 2e5
"""What the enumeration reaches on one core, roughly; only used to choose between complete stages."""
TINY = 400
"""Regions up to which enumeration in exact arithmetic is the quickest complete stage."""
COMPILING = 15.0
"""Seconds that the enumeration's compilation takes, once per machine."""


def check(
    model: Any,
    domain: Domain | None = None,
    wrt: Sequence[int] | None = None,
    time_limit: float | None = None,
    *,
    output: int | None = None,
    input_shape: Sequence[int] | None = None,
    n_jobs: int | None = None,
    seed: int = 0,
    method: Method = "auto",
    progress: Callback | None = None,
) -> Verdict:
    """Decide whether a ReLU network is convex on a domain.

    The stages, cheapest first: signs of the weights (decides every ICNN), sampling for a violation, sound
    bounds, branch and bound over the signs of undecided neurons, enumeration of all frontiers. With
    enough time the check always decides.

    Parameters
    ----------
    model : torch.nn.Module, torch.export.ExportedProgram, ReLUNetwork, path or list of arrays
    domain : Domain, optional
        The whole space by default.
    wrt : sequence of int, optional
        Inputs in which convexity is asked, the others being held at any value; all by default.
    time_limit : float, optional
        Seconds after which the answer is "unknown", with what was established.
    output : int, optional
        Which output of a model with several.
    input_shape : sequence of int, optional
        Shape of one input without the batch dimension, where the model does not tell it.
    n_jobs : int, optional
        Processes for branch and bound, as in joblib: None is 1 unless a `joblib.parallel_config` says
        otherwise, -1 all cores.
    seed : int, default 0
        Seed of the sampling; the verdict does not depend on it, the witness does.
    method : {"auto", "branch", "enumerate"}
        Which complete stage to use once the cheap ones have not decided.
    progress : callable, optional
        Called with a `Progress` now and then.

    Returns
    -------
    Verdict
        An interrupt (Ctrl-C) gives a verdict of kind "unknown" with what was established.

    Raises
    ------
    NetworkError, UnsupportedOperatorError, ModelFileError
        If the model cannot be read.
    DomainError
        If the domain is empty or does not fit the model, or `wrt` names inputs that it does not have.

    Notes
    -----
    f is convex iff, across every frontier, the slope does not decrease; for a frontier on which neuron v
    alone switches that is (1 - a_v) g_v >= 0 with g_v = df/dh_v and a_v the slope of v's activation below
    zero (Gagneux, Massias, Soubies and Gribonval, "Convexity in ReLU Neural Networks: beyond ICNNs?").

    Examples
    --------
    >>> import jensen
    >>> net = jensen.from_arrays([[[1.0], [-1.0]], [[1.0, 1.0]]])
    >>> jensen.check(net).kind
    'convex'
    """
    if method not in ("auto", "branch", "enumerate"):
        raise ValueError(f"method must be 'auto', 'branch' or 'enumerate', got {method!r}")
    clock = Clock(time_limit)
    lowered = as_network(model, output=output, input_shape=input_shape)
    chosen = _check_wrt(wrt, lowered.network.input_size)
    checking = _Check(lowered.network, domain or WholeSpace(), chosen, clock, n_jobs, seed, progress)
    deviation = None if isinstance(model, ReLUNetwork) else lowered.deviation
    return checking.decide(method, deviation)


def _check_wrt(wrt: Sequence[int] | None, d: int) -> tuple[int, ...] | None:
    if wrt is None:
        return None
    chosen = tuple(sorted({int(j) for j in wrt}))
    if not chosen:
        raise DomainError("wrt is empty: name at least one input")
    if chosen[0] < 0 or chosen[-1] >= d:
        raise DomainError(f"wrt names input {chosen[0] if chosen[0] < 0 else chosen[-1]}, of 0..{d - 1}")
    return chosen


class _Check:
    """One run of the pipeline; the ledger holds what is known at every moment."""

    def __init__(
        self,
        network: ReLUNetwork,
        domain: Domain,
        wrt: tuple[int, ...] | None,
        clock: Clock,
        n_jobs: int | None,
        seed: int,
        progress: Callback | None,
    ) -> None:
        self.network, self.domain, self.wrt, self.clock = network, domain, wrt, clock
        self.n_jobs, self.seed, self.progress = n_jobs, seed, progress
        self.ledger = Ledger(network)
        self.exact = ExactDomain(domain, network.input_size, wrt)
        self.jumps = JumpWeights(network)
        self.witness: Witness | None = None
        self.known: Intervals = unbounded(network)
        self.falsifier = Falsifier(
            network, domain, self.exact, self.jumps, seed, lambda: self._tell("falsify")
        )

    def decide(self, method: Method, lowering_error: float | None) -> Verdict:
        """Run the stages until the question is decided or time is up."""
        reason = ""
        stages: list[tuple[str, Callable[[], dict[str, Any]]]] = [
            ("rules", self._rules),
            ("falsify", self._falsify),
            ("bound", self._bound),
        ]
        if method == "branch" or not self._is_easily_enumerated():
            stages.append(("descend", self._descend))
        stages += self._complete_stages(method)
        for name, stage in stages:
            began, before = perf_counter(), self.ledger.left
            try:
                self._tell(name)
                details = stage()
            except KeyboardInterrupt:
                reason = "interrupted"
                details = {"interrupted": True}
            self.ledger.close_stage(name, began, before, **details)
            if reason or self.witness is not None or not self.ledger.left:
                break
            if self.clock.over:
                reason = "time limit"
                break
        return self._verdict(reason, lowering_error)

    def _complete_stages(self, method: Method) -> list[tuple[str, Callable[[], dict[str, Any]]]]:
        """Choose what decides the rest; the last of these stages has no limit of its own."""
        if method == "branch":
            return [("branch", lambda: self._branch(inf))]
        enumerate_all = ("enumerate", lambda: self._enumerate(inf))
        if method == "enumerate" or self._is_easily_enumerated():
            return [enumerate_all]
        seconds = self._regions_at_most() / REGIONS_PER_SECOND
        if seconds > 3600:
            return [("branch", lambda: self._branch(inf))]
        return [
            ("branch", lambda: self._branch(seconds / 2 + (1.0 if _is_compiled() else COMPILING))),
            ("enumerate", lambda: self._enumerate(4 * seconds + 5 + COMPILING)),
            ("branch", lambda: self._branch(inf)),
        ]

    def _is_easily_enumerated(self) -> bool:
        """Whether walking all frontiers costs next to nothing."""
        regions = self._regions_at_most()
        return regions <= TINY or (_is_compiled() and regions < 0.5 * REGIONS_PER_SECOND)

    def _verdict(self, reason: str, lowering_error: float | None) -> Verdict:
        ledger = self.ledger
        kind: Kind = "unknown"
        margin = ledger.smallest_jump
        if self.witness is not None:
            kind = "not_convex"
        elif not ledger.left:
            kind, margin = "convex", ledger.smallest_bound
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
        )

    def _tell(self, stage: str) -> None:
        if self.progress is not None:
            ledger = self.ledger
            self.progress(
                Progress(
                    stage, ledger.total - ledger.left, ledger.total, ledger.smallest_jump, self.clock.elapsed
                )
            )

    def _rules(self) -> dict[str, Any]:
        """Signs of the weights, and neurons that the chosen inputs cannot switch."""
        bounds = jump_lower_bounds(self.network, self.known, self.jumps)
        moving = {j for step in self.exact.directions for j in step}
        for bound, moved in zip(bounds, _moved_by(self.network, moving), strict=True):
            bound[~moved] = inf
        self.ledger.settle("rules", bounds)
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
            self.ledger.violated(neuron, _jump_at(self.network, witness, neuron), stage)

    def _bound(self) -> dict[str, Any]:
        """Intervals over the domain; where it is bounded, linear relaxation over it and over every kink."""
        lo, hi = self.domain.bounds(self.network.input_size)
        self.known = interval_bounds(self.network, lo, hi)
        self.ledger.settle("bound", jump_lower_bounds(self.network, self.known, self.jumps))
        if self.ledger.left and np.isfinite(lo).all() and np.isfinite(hi).all():
            ground = Ground.of(Piece("domain", self.network, lo, hi, *self.domain.inequalities(lo.size)))
            self.known = ground.intervals
            self.ledger.settle("bound", jump_lower_bounds(self.network, self.known, self.jumps))
            for neuron in self.ledger.open:
                self.ledger.settle_one("bound", neuron, ground.jump_bound(neuron, self.jumps))
                if self.clock.over:
                    break
        fixed = sum(int((~s).sum()) for s in self.known.switching(self.network))
        return {"fixed": fixed}

    def _branch(self, patience: float) -> dict[str, Any]:
        """Branch and bound per open neuron, in slices that spread over workers and subtrees."""
        from joblib import effective_n_jobs

        jobs = effective_n_jobs(self.n_jobs)
        began = perf_counter()
        question = Question(self.network, self.domain, self.wrt, self.jumps)
        grounds = [Ground.of(piece) for piece in pieces(self.network, self.domain)]
        pending = dict.fromkeys(self.ledger.open, len(grounds))
        bounds = dict.fromkeys(pending, inf)
        tasks = [Task(neuron, g) for neuron in pending for g in range(len(grounds))]
        details = {"pieces": len(grounds), "nodes": 0, "exact_leaves": 0}
        slice_seconds = 0.5 if jobs == 1 else 2.0
        while tasks and self.witness is None:
            budget = min(patience - (perf_counter() - began), self.clock.left)
            if budget <= 0:
                break
            again: list[Task] = []
            outcomes = execute(question, grounds, tasks, min(slice_seconds, budget), jobs)
            for outcome in outcomes:
                task, found = outcome.task, outcome.found
                details["nodes"] += found.nodes
                details["exact_leaves"] += found.exact_leaves
                bounds[task.neuron] = min(bounds[task.neuron], found.lower_bound)
                if outcome.witness is not None:
                    self._found(outcome.witness, "branch")
                    break
                parts = _divided(task, found.open, jobs, len(tasks))
                again += parts
                pending[task.neuron] += len(parts) - 1
                if not pending[task.neuron]:
                    self.ledger.settle_one("branch", task.neuron, bounds[task.neuron])
                self._tell("branch")
                if perf_counter() - began > patience or self.clock.over:
                    break
            tasks = again
            slice_seconds *= 2
        return details

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
            exact=self._regions_at_most() <= TINY or (limit < COMPILING and not _is_compiled()),
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
            self.ledger.settle("enumerate", [np.maximum(jumps, 0.0) for jumps in worst])
        return {"regions": found.n_regions, "frontiers": found.n_frontiers}

    def _regions_at_most(self) -> float:
        """Number of regions of as many hyperplanes in general position: a guess at the network's."""
        n, d = self.network.n_neurons, self.network.input_size
        d = min(d, self.network.widths[0] if self.network.widths else d)
        return float(sum(comb(n, k) for k in range(min(n, d) + 1))) if n < 500 or d < 8 else inf


def _is_compiled() -> bool:
    """Whether the enumeration's compiled code lies ready, found out without loading it."""
    spec = find_spec("jensen.geometry")
    folders = [] if spec is None else spec.submodule_search_locations or []
    return any(True for folder in folders for _ in Path(folder, "__pycache__").glob("*.nbi"))


def _divided(task: Task, nodes: list[Any], jobs: int, in_flight: int) -> list[Task]:
    """Return a task's open nodes as tasks: as several subtrees when there are fewer tasks than workers."""
    parts = min(len(nodes), max(1, 2 * jobs // max(in_flight, 1)))
    return [Task(task.neuron, task.ground, tuple(nodes[i::parts])) for i in range(parts)]


def _jump_at(network: ReLUNetwork, witness: Witness, neuron: Neuron) -> float:
    """Slope change per unit of the neuron's pre-activation at a witness.

    The adjoint at the middle point, unless other neurons switch there with it: then the violation over
    the change of the pre-activation.
    """
    layer, i = neuron
    points = np.array([[to_float(v) for v in p] for p in (witness.x, witness.y, witness.middle)])
    gain = 1.0 - network.layers[layer - 1].negative_slope[i]
    jump = float(gain * network.adjoint(points)[layer - 1][2, i])
    if jump < 0:
        return jump
    z = network.preactivations(points)[layer - 1][:, i]
    change = abs(float(z[0] - z[1]))
    return -4.0 * to_float(witness.violation) / change if change > 0 else -inf


def _moved_by(network: ReLUNetwork, moving: set[int]) -> list[np.ndarray]:
    """Which neurons depend on the moving inputs at all."""
    start = np.zeros(network.input_size)
    start[list(moving)] = 1.0
    moved: list[FloatArray] = [start]
    for layer in network.layers:
        total = np.zeros(layer.size)
        for k, w in layer.weights.items():
            if moved[k].all():
                total += np.asarray((w != 0).sum(axis=1)).ravel()
            elif moved[k].any():
                total += abs(w) @ moved[k]
        moved.append((total > 0).astype(np.float64))
    return [m > 0 for m in moved[1:]]
