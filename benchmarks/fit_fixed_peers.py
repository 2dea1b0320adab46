"""Runs adelie or scnn on a problem of `benchmarks.fit_fixed`, in an environment that need not have jensen.

`python fit_fixed_peers.py SOLVER GIVEN FOLDER REPEATS`. Writes run00.npz, run01.npz, ... with what was asked
for, seconds of the processor and coefficients, for ever smaller tolerances.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np

Given = dict[str, Any]
Run = tuple[str, Callable[[], Any], Callable[[Any], Any]]
"""What is asked for; what is timed; how coefficients are read from its result."""


def adelie(given: Given) -> Iterator[Run]:
    """Coordinate descent; a group with linear constraints for each pattern and sign."""
    ad: Any = import_module("adelie")
    x, y, gates, strength = given["x"], given["y"], given["gates"], float(given["regularisation"])
    (n, d), cones = x.shape, bool(given["cones"])
    count = len(gates) * (2 if cones else 1)

    def solve(tolerance: float, points: int) -> Any:
        matrix = ad.matrix.convex_relu(np.asfortranarray(x), np.asfortranarray(gates.T), gated=not cones)
        constraints = None
        if cones:
            rows = [np.where(gate, 1.0, -1.0)[:, None] * x for gate in gates]
            constraints = [
                ad.constraint.linear(rows[g % len(gates)], np.zeros(n), np.full(n, np.inf))
                for g in range(count)
            ]
        return ad.grpnet(
            matrix,
            ad.glm.gaussian(y),
            constraints=constraints,
            groups=np.arange(count) * d,
            penalty=np.ones(count),
            lmda_path=strength * np.geomspace(10 if points > 1 else 1, 1, points),
            intercept=False,
            early_exit=False,
            tol=tolerance,
            progress_bar=False,
        )

    def read(state: Any) -> Any:
        return np.asarray(state.betas[-1].todense()).reshape(count, d)

    for tolerance in (1e-7, 1e-9, 1e-11, 1e-13, 1e-15):
        for points in (1, 10):
            yield (
                f"{tolerance:g}, {points} lambdas",
                partial(solve, tolerance, points),
                read,
            )


def scnn(given: Given) -> Iterator[Run]:
    """R-FISTA for gated networks, the augmented Lagrangian method for ReLU networks; in float64."""
    models, solvers = import_module("scnn.models"), import_module("scnn.solvers")
    optimize, metrics = import_module("scnn.optimize"), import_module("scnn.metrics")
    penalties, cones = import_module("scnn.regularizers"), bool(given["cones"])
    x, y, directions = given["x"], given["y"], given["directions"].T

    def solve(tolerance: float) -> Any:
        model: Any = (models.ConvexReLU if cones else models.ConvexGatedReLU)(directions, c=1)
        solver: Any = (
            solvers.AL(model, tol=tolerance, constraint_tol=tolerance)
            if cones
            else solvers.RFISTA(model, tol=tolerance)
        )
        return optimize.optimize_model(
            model,
            solver,
            metrics.Metrics(),
            x,
            y[:, None],
            regularizer=penalties.NeuronGL1(float(given["regularisation"])),
            return_convex=True,
            unitize_data=False,
            dtype="float64",
        )[0]

    def read(model: Any) -> Any:
        # Patterns come back sorted, each once.
        places = {gate.tobytes(): g for g, gate in enumerate(given["gates"])}
        order = [places[gate.tobytes()] for gate in np.ascontiguousarray((x @ model.G > 0).T)]
        parts = [np.asarray(part)[0] for part in model.get_parameters()]
        found = np.zeros((len(parts), len(given["gates"]), x.shape[1]))
        for part, values in enumerate(parts):
            found[part, order] = values
        return np.concatenate(found)

    for tolerance in (1e-6, 1e-8, 1e-10, 1e-12):
        yield f"{tolerance:g}", partial(solve, tolerance), read


def main() -> None:
    solver, source, folder, repeats = sys.argv[1:]
    with np.load(source) as file:
        given = {name: file[name] for name in file.files}
    for number, (asked, run, read) in enumerate({"adelie": adelie, "scnn": scnn}[solver](given)):
        seconds, found = np.inf, None
        for _ in range(int(repeats)):
            begin = process_time()
            found = run()
            seconds = min(seconds, process_time() - begin)
        np.savez(Path(folder) / f"run{number:02}.npz", asked=asked, seconds=seconds, coefficients=read(found))


if __name__ == "__main__":
    main()
