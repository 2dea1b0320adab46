"""Stream all frontiers of a network and keep only what a verdict needs."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from joblib import Parallel, delayed, effective_n_jobs
from numpy.typing import ArrayLike, NDArray

from jensen.errors import DomainError
from jensen.geometry._engine import Engine, Options
from jensen.geometry._exact_tree import ExactTree, Node
from jensen.geometry._jumps import Violation, directions
from jensen.geometry._kernel_walk import REGIONS
from jensen.geometry._program import Program
from jensen.geometry._tally import Tally
from jensen.network import Domain, FloatArray, ReLUNetwork, WholeSpace


@dataclass(frozen=True)
class Scan:
    """What streaming all frontiers of a network established.

    Attributes
    ----------
    complete : bool
        Whether every frontier was looked at; False after a time limit, or where a violation ended the scan.
    n_regions, n_frontiers : int
        Regions and frontiers met.
    frontiers_per_neuron : (K,) int64 array
        Frontiers by the first neuron that switches, neurons counted through all layers.
    worst_jumps : (K,) float64 array
        Smallest jump of the slope per unit of the neuron's pre-activation among the frontiers that were
        tested: ``df/dh_v (1 - negative_slope_v)`` where one neuron switches; +inf where none was.
    violation : Violation or None
        The first violation found or, without `stop`, the most negative one; proved in exact arithmetic.
    exact_nodes : int
        Nodes of the tree that floats could not decide and exact arithmetic did. Every decision is certain
        either way.
    seconds : float
    """

    complete: bool
    n_regions: int
    n_frontiers: int
    frontiers_per_neuron: NDArray[np.int64]
    worst_jumps: FloatArray
    violation: Violation | None
    exact_nodes: int
    seconds: float


def check_wrt(wrt: Sequence[int] | None, d: int) -> tuple[int, ...] | None:
    """Check the inputs in which convexity is asked."""
    if wrt is None:
        return None
    chosen = tuple(sorted({int(i) for i in wrt}))
    if any(not 0 <= i < d for i in chosen):
        raise DomainError(f"wrt names inputs {chosen}, but the network has inputs 0..{d - 1}")
    return chosen


def scan(
    network: ReLUNetwork,
    domain: Domain | None = None,
    wrt: Sequence[int] | None = None,
    *,
    needed: ArrayLike | None = None,
    check: bool = True,
    stop: bool = True,
    exact: bool = False,
    time_limit: float | None = None,
    n_jobs: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Scan:
    """Look at every frontier of a network on a domain, storing none.

    Parameters
    ----------
    network : ReLUNetwork
    domain : Domain, optional
        The whole space by default.
    wrt : sequence of int, optional
        Inputs in which convexity is asked; frontiers parallel to all of them are not tested.
    needed : (K,) bool array, optional
        Neurons whose frontiers are to be tested; all by default.
    check : bool, default True
        Look at jumps; False counts regions and frontiers only.
    stop : bool, default True
        Return at the first violation.
    exact : bool, default False
        Use exact arithmetic throughout instead of only where floats cannot decide; slow, for tests.
    time_limit : float, optional
        Seconds after which the scan ends, incomplete.
    n_jobs : int, default 1
        Subtrees that are scanned at the same time through joblib, and so on whatever backend
        `joblib.parallel_config` names.
    progress : callable, optional
        Called with the numbers of regions and frontiers a few times per second.

    Returns
    -------
    Scan

    Raises
    ------
    DomainError
        If the domain is empty or does not fit the network, or `wrt` names an input that does not exist.
    """
    begin = time.perf_counter()
    d, size = network.input_size, network.n_neurons
    mask = np.ones(size, dtype=bool) if needed is None else np.asarray(needed, dtype=bool)
    if mask.shape != (size,):
        raise ValueError(f"needed must have shape ({size},), got {mask.shape}")
    task = _Task(
        network,
        WholeSpace() if domain is None else domain,
        check_wrt(wrt, d),
        mask,
        check,
        stop,
        exact,
        time_limit,
    )
    if n_jobs == 1:
        return _scan_below(task, (), progress)
    jobs = effective_n_jobs(n_jobs)
    prefixes = subtrees(ExactTree(Program(network), task.domain), 8 * jobs)
    parts = []
    # What is left running when the first violation is in is cancelled with the generator.
    running = Parallel(n_jobs=n_jobs, return_as="generator_unordered")(
        delayed(_scan_below)(task, prefix) for prefix in prefixes
    )
    for part in running:
        parts.append(part)
        if progress is not None:
            progress(sum(p.n_regions for p in parts), sum(p.n_frontiers for p in parts))
        if stop and part.violation is not None:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message=".*tasks.*")
                running.close()
            break
    return _merge(parts, len(prefixes), time.perf_counter() - begin)


@dataclass(frozen=True)
class _Task:
    """What to scan; plain data, so that it travels to other processes."""

    network: ReLUNetwork
    domain: Domain
    wrt: tuple[int, ...] | None
    needed: NDArray[np.bool_]
    check: bool
    stop: bool
    exact: bool
    time_limit: float | None


def subtrees(tree: ExactTree, number: int) -> list[tuple[int, ...]]:
    """Cut the tree of regions into at least so many subtrees, if it has them, each given by its states."""
    nodes = [tree.root()]
    while len(nodes) < number:
        grown: list[Node] = []
        for node in nodes:
            grown += [node] if tree.finished(node) else tree.advance(node)
        if len(grown) == len(nodes):
            nodes = grown
            break
        nodes = grown
    return [tuple(node.states) for node in nodes]


def _scan_below(
    task: _Task, prefix: tuple[int, ...], progress: Callable[[int, int], None] | None = None
) -> Scan:
    """Scan one subtree."""
    begin = time.perf_counter()
    d = task.network.input_size
    tree = ExactTree(Program(task.network), task.domain)
    moves = directions(tree.cone, d, task.wrt)
    tally = Tally(tree, moves, task.needed, task.check, task.stop)
    moving = np.array([any(v[i] for v in moves.basis) for i in range(d)], dtype=bool)

    def count() -> tuple[int, int]:
        return tally.n_regions + int(engine.reg[REGIONS]), int(tally.out.counts.sum())

    options = Options(
        check=task.check,
        stop=task.stop,
        exact=task.exact,
        deadline=None if task.time_limit is None else begin + task.time_limit,
        progress=None if progress is None else lambda: progress(*count()),
    )
    engine = Engine(
        tree,
        tally,
        needed=task.needed,
        moving=moving,
        restricted=moves.restricted,
        known=tally.rule.constants(),
        options=options,
    )
    complete = engine.run([tree.replay(prefix)])
    tally.violated(engine)
    regions, frontiers = count()
    return Scan(
        complete,
        regions,
        frontiers,
        tally.out.counts,
        tally.out.worst,
        tally.violation,
        engine.exact_nodes,
        time.perf_counter() - begin,
    )


def _merge(parts: list[Scan], number: int, seconds: float) -> Scan:
    """Join the scans of disjoint subtrees."""
    violations = [part.violation for part in parts if part.violation is not None]
    return Scan(
        len(parts) == number and all(part.complete for part in parts),
        sum(part.n_regions for part in parts),
        sum(part.n_frontiers for part in parts),
        np.sum([part.frontiers_per_neuron for part in parts], axis=0),
        np.min([part.worst_jumps for part in parts], axis=0),
        min(violations, key=lambda v: v.jump, default=None),
        sum(part.exact_nodes for part in parts),
        seconds,
    )
