"""The same check in one process, in two processes, and on a local Dask cluster of two workers.

Run `python -m benchmarks.cluster [network] [factor]`. A cluster of several machines differs only in the
address that is given to `Client`.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

import joblib
from distributed import Client, LocalCluster

import jensen
from benchmarks.networks import load


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a table of verdicts and seconds."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("network", nargs="?", default="10x40-40")
    parser.add_argument("factor", nargs="?", type=float, default=0.4)
    options = parser.parse_args(arguments)
    network, box = load(options.network, options.factor)

    def timed(where: str, n_jobs: int) -> None:
        start = time.perf_counter()
        verdict = jensen.check(network, box, n_jobs=n_jobs, method="branch")
        nodes = next(stage.details["nodes"] for stage in verdict.stages if stage.name == "branch")
        print(f"| {where} | {verdict.kind} | {nodes} | {time.perf_counter() - start:.2f} |", flush=True)

    print("| where | verdict | nodes | seconds |\n| --- | --- | --- | --- |")
    timed("one process", 1)
    timed("two processes (loky), cold", 2)
    timed("two processes (loky), warm", 2)
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,  # type: ignore[no-untyped-call]
        Client(cluster),  # type: ignore[no-untyped-call]
        joblib.parallel_config(backend="dask"),
    ):
        timed("Dask cluster of two workers, cold", 2)
        timed("Dask cluster of two workers, warm", 2)


if __name__ == "__main__":
    main()
