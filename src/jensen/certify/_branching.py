"""The branch stage: all open neurons' searches, in slices of time that spread over workers and subtrees."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf
from time import perf_counter

from jensen.certify._branch import Node
from jensen.certify._ledger import Ledger
from jensen.certify._pieces import pieces
from jensen.certify._progress import Clock
from jensen.certify._tasks import Ground, Question, Task, execute
from jensen.certify._verdict import Witness

FIRST_SLICE, FIRST_SHARED_SLICE = 0.15, 1.0
"""Seconds of a task's first slice, here and on workers; every further round doubles them."""


def branch(
    question: Question, ledger: Ledger, clock: Clock, jobs: int, patience: float, tell: Callable[[], None]
) -> tuple[Witness | None, dict[str, int]]:
    """Search for violations at all open neurons until each is proved, one is found, or time is up.

    Parameters
    ----------
    question : Question
    ledger : Ledger
        Neurons are settled in it as soon as all their nodes on all pieces are closed.
    clock : Clock
    jobs : int
    patience : float
        Seconds that the stage may take.
    tell : callable
        Called after every task.

    Returns
    -------
    witness : Witness or None
    details : dict
    """
    began = perf_counter()
    grounds = [Ground.of(piece) for piece in pieces(question.network, question.domain)]
    pending = dict.fromkeys(ledger.open, len(grounds))
    bounds = dict.fromkeys(pending, inf)
    tasks = [Task(neuron, g) for neuron in pending for g in range(len(grounds))]
    details = {"pieces": len(grounds), "nodes": 0, "exact_leaves": 0}
    slice_seconds = FIRST_SLICE if jobs == 1 else FIRST_SHARED_SLICE
    while tasks:
        budget = min(patience - (perf_counter() - began), clock.left)
        if budget <= 0:
            break
        again: list[Task] = []
        for outcome in execute(question, grounds, tasks, min(slice_seconds, budget), jobs):
            task, found = outcome.task, outcome.found
            details["nodes"] += found.nodes
            details["exact_leaves"] += found.exact_leaves
            if outcome.witness is not None:
                return outcome.witness, details
            bounds[task.neuron] = min(bounds[task.neuron], found.lower_bound)
            parts = divided(task, found.open, jobs, len(tasks))
            again += parts
            pending[task.neuron] += len(parts) - 1
            if not pending[task.neuron]:
                ledger.settle_one("branch", task.neuron, bounds[task.neuron])
            tell()
            if perf_counter() - began > patience or clock.over:
                return None, details
        tasks = again
        slice_seconds *= 2
    return None, details


def divided(task: Task, nodes: Sequence[Node], jobs: int, in_flight: int) -> list[Task]:
    """Return a task's open nodes as tasks: as several subtrees when there are fewer tasks than workers."""
    parts = min(len(nodes), max(1, 2 * jobs // max(in_flight, 1)))
    return [Task(task.neuron, task.ground, tuple(nodes[i::parts])) for i in range(parts)]
