"""Makes the benchmark networks convex with as little change as a simple rule allows.

`jensen.check` names a neuron with a frontier that bends down; the neuron's negative outgoing weights are
halved (an output weight is dropped; so are all once the neuron has been named HALVINGS times), negative
weights of later layers lose a twentieth, and the check runs again. Where it runs out of time the neurons that
it leaves open are treated likewise, so that it ends with CONVEX.
``python -m benchmarks.repair`` writes `benchmarks/data/NAME-repaired.npz` for each network that is not
convex as trained.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

import jensen
from benchmarks.networks import DATA, REPAIRED, SPECS, read_arrays
from jensen.network import FloatArray

ROUNDS = 1000
HALVINGS = 4
NEGLIGIBLE = 1e-3
"""A negative weight that was halved below this is dropped."""


def shrink(weights: Sequence[FloatArray], neuron: jensen.NeuronReport, drop: bool) -> None:
    """Weaken, in place, the negative weights through which a neuron can bend the function down."""
    layer, index = neuron.layer, neuron.index
    column = weights[layer][:, index]
    last = layer == len(weights) - 1
    weakened = column * (0.0 if last or drop else 0.5)
    column[:] = np.where(column < 0, np.where(weakened > -NEGLIGIBLE, 0.0, weakened), column)
    for later in weights[layer + 1 : -1]:
        later[later < 0] *= 0.95


def repair(name: str, time_limit: float) -> str:
    """Repair one network, write it if it changed, and return a line about it."""
    start = time.process_time()
    weights, biases = read_arrays(name)
    before = sum(-w[w < 0].sum() for w in weights[1:])
    rounds = 0
    named: Counter[tuple[int, int]] = Counter()
    while True:
        network = jensen.from_arrays(weights, biases)
        verdict = jensen.check(network, jensen.Box(-1.0, 1.0), time_limit=time_limit)
        if verdict.kind == "convex" or rounds == ROUNDS:
            break
        for neuron in verdict.neurons:
            if neuron.status == "violated" or (neuron.status == "open" and verdict.kind == "unknown"):
                named[neuron.layer, neuron.index] += 1
                shrink(weights, neuron, named[neuron.layer, neuron.index] > HALVINGS)
        weights = [w.astype(np.float32).astype(np.float64) for w in weights]  # what the file will hold
        rounds += 1
    if rounds:
        arrays: dict[str, Any] = {f"weight{k}": w.astype(np.float32) for k, w in enumerate(weights)}
        arrays |= {f"bias{k}": b.astype(np.float32) for k, b in enumerate(biases)}
        np.savez_compressed(DATA / f"{name}{REPAIRED}.npz", **arrays)
    later = np.concatenate([w.ravel() for w in weights[1:]])
    cells = (
        name,
        f"{verdict.kind} after {rounds} rounds",
        f"{(later < 0).mean():.0%}",
        f"{-later[later < 0].sum() / before:.0%}",
        f"{time.process_time() - start:.0f}",
    )
    return f"| {' | '.join(cells)} |"


def main(arguments: Sequence[str] | None = None) -> None:
    """Repair the benchmark networks and print what is left of their negative weights."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("names", nargs="*", default=list(SPECS), help="networks to repair (default: all)")
    parser.add_argument("--time-limit", type=float, default=10.0, help="seconds per check")
    options = parser.parse_args(arguments)
    print("| network | verdict | negative later weights | of their mass left | CPU seconds |")
    print("| --- | --- | --- | --- | --- |")
    for name in options.names:
        print(repair(name, options.time_limit), flush=True)


if __name__ == "__main__":
    main()
