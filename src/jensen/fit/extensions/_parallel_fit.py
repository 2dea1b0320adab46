"""Training of parallel networks of three layers and more: a group lasso over products of activation matrices.

With gates and signs fixed (see `ParallelPatterns`) a sub-network's outputs are linear in u, its path norm is
|u|, and gates are cones. So training over given combinations is a convex programme; over all of them it is
training itself. (Ergen and Pilanci, "Global optimality beyond two layers", ICML 2021, for three layers, and
"Path regularization", NeurIPS 2023, for any number.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jensen.errors import ArgumentError
from jensen.fit._losses import Floats
from jensen.fit._problem import Problem
from jensen.fit.extensions._cone_lasso import ConeSolution, solve_cone_lasso
from jensen.fit.extensions._parallel_network import ParallelNetwork
from jensen.fit.extensions._parallel_patterns import ParallelPatterns, linear_parts


@dataclass(frozen=True)
class ParallelFit:
    """A parallel network, optimal over the patterns that were given.

    Attributes
    ----------
    solution : ConeSolution
        Objective, lower bound, gap. The bound is one for all networks if all patterns were given.
    network : ParallelNetwork
        Edges and outputs are 1 or -1; the norms are those of the leaves.
    """

    solution: ConeSolution
    network: ParallelNetwork

    def predict(self, x: object) -> Floats:
        """Evaluate the network: (n, d) to (n,). Errors are those of `ParallelNetwork.predict`."""
        return self.network.predict(x)


def fit_parallel_network(
    problem: Problem, patterns: ParallelPatterns, *, tolerance: float = 1e-7
) -> ParallelFit:
    """Train a parallel network to the optimum over given patterns.

    Parameters
    ----------
    problem : Problem
        With scalar outputs and a smooth loss; lambda multiplies the path norms.
    patterns : ParallelPatterns
        For instance `all_parallel_patterns(problem.x, (2,))`, or `network_parallel_patterns` of a
        network that was trained otherwise, than which the result is not worse.
    tolerance : float, default 1e-7
        Relative duality gap.

    Returns
    -------
    ParallelFit

    Raises
    ------
    ArgumentError
        If patterns and problem do not fit.

    Examples
    --------
    Four layers, over the gates of 40 random sub-networks:

    >>> import numpy as np
    >>> from jensen.fit import fit_parallel_network, make_problem
    >>> from jensen.fit import network_parallel_patterns, random_parallel_network
    >>> x = np.column_stack([np.linspace(-1, 1, 9), np.ones(9)])
    >>> patterns = network_parallel_patterns(random_parallel_network(2, (2, 2), 40), x)
    >>> fit = fit_parallel_network(make_problem(x, np.abs(x[:, 0]), 0.01), patterns)
    >>> fit.solution.status, len(fit.network.to_torch())
    ('optimal', 7)
    """
    x, count = problem.x, len(patterns)
    samples = patterns.gates[-1].shape[2]
    if samples != len(x) or patterns.inside.shape[1] != patterns.gates[0].shape[1] * x.shape[1]:
        raise ArgumentError(
            f"patterns are of {samples} samples in {patterns.inside.shape[1] // patterns.gates[0].shape[1]} "
            f"dimensions, X is {x.shape[0]} x {x.shape[1]}"
        )
    designs, cones = linear_parts(x, patterns)
    solution = solve_cone_lasso(
        problem,
        np.concatenate([designs, -designs]),
        np.concatenate([cones, cones]),
        np.concatenate([patterns.inside, patterns.inside]),
        tolerance=tolerance,
    )
    used = np.flatnonzero(solution.coefficients.any(1))
    network = ParallelNetwork(
        patterns.fan_ins,
        solution.coefficients[used].reshape(len(used), patterns.gates[0].shape[1], x.shape[1]),
        tuple(signs[used % max(count, 1)].astype(np.float64) for signs in patterns.signs),
        np.where(used < count, 1.0, -1.0),
    )
    return ParallelFit(solution, network)
