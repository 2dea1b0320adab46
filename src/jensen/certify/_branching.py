"""The branch stage: all open neurons' searches, in slices of time that spread over workers and subtrees."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from math import inf
from time import perf_counter

from jensen.certify._journal import Journal, open_cases
from jensen.certify._pieces import pieces
from jensen.certify._programme import Neuron
from jensen.certify._progress import Clock
from jensen.certify._prover import Node, ProvedLeaf
from jensen.certify._tasks import Ground, Question, Task, execute
from jensen.certify._verdict import Witness
from jensen.verifier import Cover

FIRST_SLICE, FIRST_SHARED_SLICE = 0.15, 1.0
"""Seconds of a task's first slice, here and on workers; every further round doubles them."""
LONGEST_JOURNALLED_SLICE = 5.0
"""Seconds of workers' time that a kill may cost."""


@dataclass
class Branching:
    """What the branch stage established.

    Attributes
    ----------
    witness : Witness or None
    proved : dict of neuron to float
        Neurons all of whose nodes on all pieces are closed, with the least jump that this proves.
    leaves : dict of (neuron, piece) to list of ProvedLeaf
        What closed them, where the question wants a certificate and bounds did not do.
    cover : Cover
    pieces, nodes, exact_leaves : int
    """

    cover: Cover
    witness: Witness | None = None
    proved: dict[Neuron, float] = field(default_factory=dict)
    leaves: dict[tuple[Neuron, int], list[ProvedLeaf]] = field(default_factory=dict)
    pieces: int = 0
    nodes: int = 0
    exact_leaves: int = 0


def branch(
    question: Question,
    neurons: Sequence[Neuron],
    clock: Clock,
    jobs: int,
    patience: float,
    tell: Callable[[Branching], None],
    journal: Journal | None = None,
    doubtful: bool = True,
) -> Branching:
    """Search for violations at neurons until each is proved, one is found, or time is up.

    Parameters
    ----------
    question : Question
    neurons : sequence of (layer, index)
    clock : Clock
    jobs : int
    patience : float
        Seconds that the stage may take.
    tell : callable
        Called after every task with what is established so far.
    journal : Journal, optional
        Where to go on from, and where to write down every closed case.
    doubtful : bool
        Whether there may be violations that are worth looking for.
    """
    began = perf_counter()
    parts, cover = pieces(question.network, question.domain)
    grounds = [Ground(piece) for piece in parts]
    result = Branching(cover, pieces=len(grounds))
    pending, bounds, tasks = dict.fromkeys(neurons, 0), dict.fromkeys(neurons, inf), list[Task]()
    for neuron in pending:
        for g, part in enumerate(parts):
            known = [] if journal is None else journal.known.get((neuron, part.index), [])
            if known:
                result.leaves[neuron, part.index] = list(known)
                bounds[neuron] = min(bounds[neuron], *(leaf.bound for leaf in known))
            nodes = open_cases(known)
            pending[neuron] += bool(nodes)
            tasks += [Task(neuron, g, tuple(nodes), doubtful)] if nodes else []
        if not pending[neuron]:
            result.proved[neuron] = bounds[neuron]
    resumed = journal is not None and bool(journal.known)  # then the easy neurons are done
    slice_seconds = FIRST_SLICE if jobs == 1 and not resumed else FIRST_SHARED_SLICE
    record = None if journal is None else journal.leaf
    while tasks:
        budget = min(patience - (perf_counter() - began), clock.left)
        if budget <= 0:
            break
        again: list[Task] = []
        for outcome in execute(question, grounds, cover, tasks, min(slice_seconds, budget), jobs, record):
            task, found = outcome.task, outcome.found
            result.nodes += found.nodes
            result.exact_leaves += found.exact_leaves
            if outcome.witness is not None:
                result.witness = outcome.witness
                return result
            if found.leaves:
                key = task.neuron, parts[task.ground].index
                result.leaves.setdefault(key, []).extend(found.leaves)
            bounds[task.neuron] = min(bounds[task.neuron], found.lower_bound)
            subtrees = divided(task, found.open, jobs, len(tasks))
            again += subtrees
            pending[task.neuron] += len(subtrees) - 1
            if not pending[task.neuron]:
                result.proved[task.neuron] = bounds[task.neuron]
            tell(result)
            if perf_counter() - began > patience or clock.over:
                return result
        tasks = again
        slice_seconds *= 2
        if journal is not None and jobs > 1:  # what workers have proved is only written when they report it
            slice_seconds = min(slice_seconds, LONGEST_JOURNALLED_SLICE)
    return result


def divided(task: Task, nodes: Sequence[Node], jobs: int, in_flight: int) -> list[Task]:
    """Return a task's open nodes as tasks: as several subtrees when there are fewer tasks than workers."""
    parts = min(len(nodes), max(1, 2 * jobs // max(in_flight, 1)))
    return [replace(task, nodes=tuple(nodes[i::parts])) for i in range(parts)]
