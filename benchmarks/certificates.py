"""What certificates cost: the check in floating point and exactly, writing, size and replay, row by row.

The questions: the trained networks of `benchmarks.networks` on their boxes; random networks on the whole
space, both as drawn and made convex without becoming ICNNs, and largest-of-affine perceptrons, which are
convex by construction; the models of the repository; and the large networks of `benchmarks.large`. Seconds
are CPU seconds of one thread; every question has a process of its own, in which imports and compiled code
are loaded before the clock runs, and every step gets a network on which nothing is cached yet. Run
`python -m benchmarks.certificates`; the exit code is 1 if a verdict is not exact or a certificate refused.
"""

from __future__ import annotations

import argparse
import copy
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

import jensen
from benchmarks import enumeration, large
from benchmarks.networks import load, names
from benchmarks.repair import shrink
from jensen.network import (
    Box,
    Domain,
    FloatArray,
    ReLUNetwork,
    WholeSpace,
    from_arrays,
    from_torch,
    load_model,
)

T = TypeVar("T")
MODELS = Path(__file__).parent.parent / "models"
WEAKENED = (("10x40-40", 0.4), ("10x40-40", 0.3), ("5x16-16-16-16", 0.5), ("5x16-16-16-16", 0.3))
"""Trained networks whose negative weights are multiplied by a factor."""
REPAIRED: tuple[tuple[int, ...], ...] = (
    (2, 8, 8),
    (3, 8, 8),
    (4, 8, 8),
    (2, 20, 20),
    (3, 16, 16),
    (4, 16, 16),
)
LARGEST = ((2, 4), (3, 4), (4, 4), (2, 8), (3, 8), (4, 8))
"""Inputs and affine functions."""
SQUARE, CUBE, MARKET = Box(0.0, 1.0), Box(-1.0, 1.0), Box([0.0, 0.0, 0.5], [1.0, 1.0, 1.5])
STORED: tuple[tuple[str, str, Domain | None, tuple[int, ...] | None], ...] = (
    ("convex_not_icnn.pt2", "[0, 1]^2", SQUARE, None),
    ("convex_not_icnn.pt2", "", None, None),
    ("icnn.pt2", "", None, None),
    ("conv.pt2", "", None, None),
    ("looks_convex.onnx", "[-1, 1]^10", CUBE, None),
    ("looks_convex.onnx", "", None, None),
    ("skip.onnx", "its market, in the demands", MARKET, (0, 1)),
    ("skip.onnx", "its market", MARKET, None),
)
COLUMNS = (
    "question",
    "neurons",
    "verdict",
    "check, floats, s",
    "check, exact, s",
    "nodes",
    "write, s",
    "bytes",
    "load and verify, s",
    "verify / check",
    "trees",
    "leaves",
)


@dataclass(frozen=True)
class Question:
    """A network, a domain (None is the whole space) and the moving inputs (None is all)."""

    network: ReLUNetwork
    domain: Domain | None = None
    wrt: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Row:
    """What was measured; `nodes` are those of branch and bound in the exact check.

    Where the exact check ends without a certificate, the kind tells that of the check in floats besides.
    """

    name: str
    neurons: int
    kind: str
    float_seconds: float
    exact_seconds: float
    nodes: int
    write_seconds: float = 0.0
    size: int = 0
    verify_seconds: float = 0.0
    trees: int = 0
    leaves: int = 0

    @property
    def cells(self) -> list[str]:
        """The row of the table."""
        head = [self.name, f"{self.neurons:,}", self.kind]
        checks = [f"{self.float_seconds:.3f}", f"{self.exact_seconds:.3f}", f"{self.nodes:,}"]
        if not self.size:
            return [*head, *checks, "", "", "", "", "", ""]
        return [
            *head,
            *checks,
            f"{self.write_seconds:.4f}",
            f"{self.size:,}",
            f"{self.verify_seconds:.3f}",
            f"{self.verify_seconds / self.exact_seconds:.2g}",
            f"{self.trees:,}",
            f"{self.leaves:,}",
        ]


def trained(name: str, factor: float) -> Question:
    """Read a benchmark network and its box."""
    return Question(*load(name, factor))


def largest(d: int, count: int) -> Question:
    """Build the largest of random affine functions, by a knock-out tournament, on the whole space.

    A match between p and q is max(p, q) = p + relu(q - p), with p carried on as relu(p) - relu(-p). Only the
    first layer rounds, in its rows q - p; these count as they are, and so the function is convex exactly.
    """
    rng = np.random.default_rng(0)
    weights, biases = [rng.normal(size=(count, d))], [rng.normal(size=count)]
    players = np.eye(count)
    while len(players) > 1:
        rows: list[FloatArray] = []
        matches = len(players) // 2
        winners = np.zeros((matches, 3 * matches))
        for match, (p, q) in enumerate(zip(players[::2], players[1::2], strict=True)):
            rows += [p, -p, q - p]
            winners[match, 3 * match : 3 * match + 3] = 1.0, -1.0, 1.0
        step = np.array(rows)
        if len(players) == count:
            weights, biases = [step @ weights[0]], [step @ biases[0]]
        else:
            weights, biases = [*weights, step], [*biases, np.zeros(len(step))]
        players = winners
    return Question(from_arrays([*weights, players], [*biases, np.zeros(1)]))


def repaired(sizes: tuple[int, ...]) -> Question:
    """Make a random network convex: output weights nonnegative, and neurons that check names weakened."""
    drawn = enumeration.he_network(sizes)
    depth = drawn.depth
    dense = [drawn.weight(k, k - 1) for k in range(1, depth + 2)]
    weights = [np.array(w) for w in dense if isinstance(w, np.ndarray)]
    weights[-1] = np.abs(weights[-1])
    biases = [*(layer.bias for layer in drawn.layers), np.array([drawn.output_bias])]
    while True:
        network = from_arrays(weights, biases)
        verdict = jensen.check(network, exact=False)
        if verdict.kind != "not_convex":
            return Question(network)
        for neuron in verdict.neurons:
            if neuron.status == "violated":
                shrink(weights, neuron, drop=False)


def stored(file: str, domain: Domain | None, wrt: tuple[int, ...] | None) -> Question:
    """Read one of the repository's models."""
    return Question(load_model(MODELS / file).network, domain, wrt)


def questions() -> dict[str, Callable[[], Question]]:
    """All questions by name, each built when it is asked."""
    found: dict[str, Callable[[], Question]] = {}
    for name in names():
        found[name] = partial(trained, name, 1.0)
        for other, factor in WEAKENED:
            if other == name:
                found[f"{name}, negative x {factor:g}"] = partial(trained, name, factor)
    for d, count in LARGEST:
        found[f"largest of {count} in R^{d}"] = partial(largest, d, count)
    for sizes in REPAIRED:
        found[f"R^{sizes[0]}: {'-'.join(map(str, sizes[1:]))}, repaired"] = partial(repaired, sizes)
    for sizes, _, _ in enumeration.PUBLISHED:
        drawn = partial(enumeration.he_network, sizes)
        found[f"R^{sizes[0]}: {'-'.join(map(str, sizes[1:]))}"] = lambda drawn=drawn: Question(drawn())  # type: ignore[misc]
    for file, where, domain, wrt in STORED:
        found[f"{file} on {where or 'the whole space'}"] = partial(stored, file, domain, wrt)
    found["ICNN of 10^7 weights"] = lambda: Question(from_torch(large.large_icnn(), (100,)).network)
    found["convolutional, 114,688 units"] = lambda: Question(
        from_torch(large.large_convolution(), (3, 64, 64)).network
    )
    for widths in large.MLP_WIDTHS:
        name = f"R^10: {'-'.join(map(str, widths))}"
        found.setdefault(name, lambda widths=widths: Question(large.random_perceptron(10, widths)))  # type: ignore[misc]
    return found


def timed(action: Callable[[], T]) -> tuple[T, float]:
    """Return an action's result and its CPU seconds."""
    start = time.process_time()
    result = action()
    return result, time.process_time() - start


def warm_up() -> None:
    """Load what is imported or compiled on first use."""
    small = largest(2, 4).network
    for network, domain in ((small, None), (small, CUBE)):
        verdict = jensen.check(network, domain, method="branch", exact=True)
        assert verdict.certificate is not None
        jensen.verify(verdict.certificate, network)
    jensen.check(enumeration.he_network((2, 4, 4)))
    jensen.regions(small)


def measure(name: str, limit: float) -> Row:
    """Answer one question with and without a certificate, and replay it from its file."""
    warm_up()
    question = questions()[name]()
    network, domain, wrt = question.network, question.domain, question.wrt

    def check(exact: bool) -> tuple[jensen.Verdict, float]:
        fresh = copy.copy(network)  # without what the last step left cached
        return timed(lambda: jensen.check(fresh, domain, wrt, limit, n_jobs=1, exact=exact))

    in_floats, float_seconds = check(exact=False)
    verdict, exact_seconds = check(exact=True)
    if {in_floats.kind[:6], verdict.kind} == {"convex", "not_convex"}:
        raise AssertionError(f"{name} is {in_floats.kind} in floats, and {verdict.kind} exactly")
    nodes = sum(stage.details.get("nodes", 0) for stage in verdict.stages)
    head = name, network.n_neurons, verdict.kind, float_seconds, exact_seconds, nodes
    if verdict.certificate is None:
        return Row(name, network.n_neurons, f"{verdict.kind} ({in_floats.kind})", *head[3:])
    with TemporaryDirectory() as folder:
        file = Path(folder) / "certificate.json"
        _, write_seconds = timed(lambda: verdict.save(file))
        size, fresh = file.stat().st_size, copy.copy(network)
        asked = domain or WholeSpace(), range(network.input_size) if wrt is None else wrt
        found, verify_seconds = timed(lambda: jensen.verify(file, fresh, *asked))
    return Row(*head, write_seconds, size, verify_seconds, found.trees, found.leaves)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table, and which rows fall short."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument(
        "--only", nargs="+", default=[""], metavar="TEXT", help="questions whose names hold it"
    )
    parser.add_argument("--time-limit", type=float, default=60.0, help="seconds per check")
    parser.add_argument("--output", type=Path, help="file to which the table is written as well")
    options = parser.parse_args(arguments)
    lines = [f"| {' | '.join(COLUMNS)} |", f"|{' --- |' * len(COLUMNS)}"]
    print(*lines, sep="\n", flush=True)
    short: list[str] = []
    slower: list[str] = []
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
        for name in questions():
            if not any(text in name for text in options.only):
                continue
            future = pool.submit(measure, name, options.time_limit)
            error = future.exception()
            if error is not None:
                short.append(f"{name}: {type(error).__name__}: {error}")
                continue
            row = future.result()
            lines.append(f"| {' | '.join(row.cells)} |")
            print(lines[-1], flush=True)
            if row.kind not in ("convex", "not_convex"):
                short.append(f"{name}: {row.kind}")
            elif row.nodes and row.verify_seconds >= row.exact_seconds:
                slower.append(name)
    if options.output:
        options.output.write_text("\n".join(lines) + "\n")
    print(f"\nnot exact, or refused: {'; '.join(short) or 'none'}")
    print(f"slower to verify than to check, where branch and bound ran: {'; '.join(slower) or 'none'}")
    return int(bool(short))


if __name__ == "__main__":
    raise SystemExit(main())
