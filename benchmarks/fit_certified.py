"""Global optimality proved: seconds and gaps beside what was published and prototyped.

Data are planted (as in `fit_price`; five ReLUs, Gaussian inputs, noise of a tenth) or the diabetes table of
scikit-learn; lambda is a share of the least one for which the best network is zero. One run of `fit_network`
with proof, to the tolerance or until the limit; seconds of the processor, one thread, without compilation.
The gap is rigorous. "published" is what the comparison gives for data of this size: seconds, gap reached.

`OMP_NUM_THREADS=1 python -m benchmarks.fit_certified`
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from time import process_time

from benchmarks.fit_all_patterns import critical
from benchmarks.fit_price import data
from jensen.fit import fit_network, make_problem


@dataclass(frozen=True)
class Case:
    """Data, the gap that is wanted, the limit in seconds, and what was published."""

    kind: str
    n: int
    d: int
    tolerance: float
    limit: float
    published: str = ""

    @property
    def name(self) -> str:
        """As `--case` has it."""
        return f"{self.kind}-{self.n}x{self.d}"


CASES = [
    Case("planted", 100, 4, 1e-6, 60.0, "82 s, enumeration, 1e-6"),
    Case("planted", 300, 4, 1e-6, 60.0, "15 s, branch and bound, 1e-3"),
    Case("diabetes", 442, 4, 1e-6, 60.0, "37 s, branch and bound, 1e-3"),
    Case("planted", 100, 5, 1e-6, 60.0, "11.5 s, branch and bound"),
    Case("planted", 60, 6, 1e-6, 60.0, "8.6 s, branch and bound, 1e-2"),
    Case("planted", 100, 6, 1e-3, 120.0, "goal: 120 s, 1e-3"),
    Case("planted", 100, 10, 1e-3, 120.0),
]
SHARES = (0.1, 0.01)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--case", action="append", metavar="NAME", help="as planted-100x4; all by default")
    parser.add_argument("--share", type=float, action="append", help="of the critical lambda; .1 and .01")
    parser.add_argument("--limit", type=float, help="seconds, instead of the cases' own")
    options = parser.parse_args(arguments)
    x, y = data("planted", 20, 3)
    fit_network(make_problem(x, y, 0.01))  # compiles
    print(
        f"{'data':16}{'lambda':>7}{'wanted':>8}{'CPU s':>9}{'gap':>9}{'objective':>12}{'neurons':>8} "
        f"{'status':>11}  published"
    )
    for case in CASES:
        if options.case and case.name not in options.case:
            continue
        for share in options.share or SHARES:
            problem = make_problem(*data(case.kind, case.n, case.d), 1.0)
            problem = replace(problem, regularisation=share * critical(problem))
            begin = process_time()
            fit = fit_network(problem, tolerance=case.tolerance, time_limit=options.limit or case.limit)
            seconds = process_time() - begin
            print(
                f"{case.name:16}{share:7g}{case.tolerance:8.0e}{seconds:9.2f}{fit.gap:9.1e}"
                f"{fit.objective:12.6f}{fit.n_neurons:8} {fit.status:>11}  {case.published}",
                flush=True,
            )


if __name__ == "__main__":
    main()
