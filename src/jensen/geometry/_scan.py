"""Stream all frontiers of a network and keep only what a verdict needs."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jensen.errors import DomainError
from jensen.geometry._exact_tree import ExactTree
from jensen.geometry._jumps import Violation, directions
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
    seconds : float
    """

    complete: bool
    n_regions: int
    n_frontiers: int
    frontiers_per_neuron: NDArray[np.int64]
    worst_jumps: FloatArray
    violation: Violation | None
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
    stop: bool = True,
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
    stop : bool, default True
        Return at the first violation.
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
    tree = ExactTree(Program(network), WholeSpace() if domain is None else domain)
    mask = np.ones(network.n_neurons, dtype=bool) if needed is None else np.asarray(needed, dtype=bool)
    if mask.shape != (network.n_neurons,):
        raise ValueError(f"needed must have shape ({network.n_neurons},), got {mask.shape}")
    tally = Tally(tree, directions(tree.cone, network.input_size, check_wrt(wrt, network.input_size)), mask, stop)
    complete = True
    for node in tree.walk(tree.root()):
        tally.region(node)
        if tally.ended or (time_limit is not None and time.perf_counter() - begin > time_limit):
            complete = False
            break
        if progress is not None and tally.n_regions % 256 == 0:
            progress(tally.n_regions, int(tally.counts.sum()))
    return Scan(
        complete,
        tally.n_regions,
        int(tally.counts.sum()),
        tally.counts,
        tally.worst,
        tally.violation,
        time.perf_counter() - begin,
    )
