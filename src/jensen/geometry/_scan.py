"""Stream all frontiers of a network and keep only what a verdict needs."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jensen.errors import DomainError
from jensen.geometry._engine import Engine, Options
from jensen.geometry._exact_tree import ExactTree
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
    tree = ExactTree(Program(network), WholeSpace() if domain is None else domain)
    moves = directions(tree.cone, d, check_wrt(wrt, d))
    tally = Tally(tree, moves, mask, check, stop)
    moving = np.array([any(v[i] for v in moves.basis) for i in range(d)], dtype=bool)

    def count() -> tuple[int, int]:
        return tally.n_regions + int(engine.reg[REGIONS]), int(tally.out.count.sum())

    options = Options(
        check=check,
        stop=stop,
        exact=exact,
        deadline=None if time_limit is None else begin + time_limit,
        progress=None if progress is None else lambda: progress(*count()),
    )
    known = tally.rule.constants()
    engine = Engine(tree, tally, mask, moving, moves.restricted, known, options)
    complete = engine.run([tree.root()])
    tally.violated(engine)
    regions, frontiers = count()
    return Scan(
        complete,
        regions,
        frontiers,
        tally.out.count,
        tally.out.worst,
        tally.violation,
        engine.exact_nodes,
        time.perf_counter() - begin,
    )
