"""Parallel networks of three layers and more."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from test_fit_extensions import descend_any

from jensen.errors import ArgumentError
from jensen.fit import (
    ParallelNetwork,
    ParallelPatterns,
    all_parallel_patterns,
    fit_parallel_network,
    join_parallel_patterns,
    make_problem,
    network_parallel_patterns,
    random_parallel_network,
    solve_cone_lasso,
)
from jensen.fit.extensions._parallel_network import widths_of
from jensen.fit.extensions._parallel_patterns import linear_parts

Floats = NDArray[np.float64]
STRENGTH = 0.05


def table(seed: int, n: int, d: int) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)), rng.normal(size=n)


def training(x: Floats, y: Floats, fan_ins: tuple[int, ...], m: int) -> Any:
    """The objective of training m sub-networks, of a vector of all weights, and the vector's length."""
    import torch

    (n, d), data, target = x.shape, torch.tensor(x), torch.tensor(y)
    widths = widths_of(fan_ins)
    sizes = [m * widths[0] * d, *(m * width for width in widths)]

    def value(z: Any, tiny: float = 1e-14) -> Any:
        w, *edges, c = torch.split(z, sizes)
        level = torch.relu(torch.einsum("nd,skd->nsk", data, w.reshape(m, -1, d)))
        squares = (w.reshape(m, -1, d) ** 2).sum(2)
        for h, edge in zip(fan_ins, edges, strict=True):
            b = edge.reshape(m, -1)
            level = torch.relu((level * b).reshape(n, m, -1, h).sum(3))
            squares = (squares * b**2).reshape(m, -1, h).sum(2)
        paths = c.abs() * torch.sqrt(squares[:, 0] + tiny)
        return ((level[:, :, 0] @ c - target) ** 2).sum() / (2 * n) + STRENGTH * paths.sum()

    return value, sum(sizes)


def flat(network: ParallelNetwork, m: int) -> Floats:
    """All weights of a network as a vector, with sub-networks that are zero up to m."""
    room = m - len(network.outputs)
    assert room >= 0
    parts = (network.weights.reshape(len(network.outputs), -1), *network.edges, network.outputs[:, None])
    return np.concatenate([np.pad(part, ((0, room), (0, 0))).ravel() for part in parts])


def unflat(z: Floats, fan_ins: tuple[int, ...], m: int, d: int) -> ParallelNetwork:
    widths = widths_of(fan_ins)
    w, *edges, c = np.split(z, np.cumsum([m * widths[0] * d, *(m * width for width in widths[:-1])]))
    return ParallelNetwork(fan_ins, w.reshape(m, -1, d), tuple(e.reshape(m, -1) for e in edges), c)


def canonical(patterns: ParallelPatterns, i: int) -> Any:
    """Sort the children of every node."""

    def tree(layer: int, node: int) -> Any:
        gate = patterns.gates[layer][i, node].tobytes()
        if layer == 0:
            return (gate,)
        h = patterns.fan_ins[layer - 1]
        signs = patterns.signs[layer - 1][i]
        children = [(tree(layer - 1, node * h + j), int(signs[node * h + j])) for j in range(h)]
        return (gate, *sorted(children))

    return tree(len(patterns.fan_ins), 0)


@pytest.mark.parametrize("loss", ["squared", "logistic"])
def test_the_cone_programme_agrees_with_an_interior_point_solver(loss: str) -> None:
    cp: Any = pytest.importorskip("cvxpy")
    rng = np.random.default_rng(6)
    p, n, k, q = 6, 7, 3, 4
    y = rng.normal(size=n) if loss == "squared" else rng.choice([-1.0, 1.0], n)
    problem = make_problem(np.ones((n, 1)), y, 0.03, loss)
    designs, inside = rng.normal(size=(p, n, k)), rng.normal(size=(p, k))
    cones = rng.normal(size=(p, q, k))
    cones *= np.sign(np.einsum("pqk,pk->pq", cones, inside))[:, :, None]
    cones[0, 1] = 0
    found = solve_cone_lasso(problem, designs, cones, inside)
    u = cp.Variable((p, k))
    o = sum(designs[g] @ u[g] for g in range(p))
    value = cp.sum_squares(o - y) / 2 if loss == "squared" else cp.sum(cp.logistic(-cp.multiply(y, o)))
    norm = cp.sum(cp.norm(u, axis=1))
    programme = cp.Problem(cp.Minimize(value / n + 0.03 * norm), [cones[g] @ u[g] >= 0 for g in range(p)])
    programme.solve(solver=cp.CLARABEL)
    assert found.status == "optimal"
    assert found.objective == pytest.approx(programme.value, rel=1e-6)
    assert found.lower_bound <= programme.value * (1 + 1e-7)
    assert (np.einsum("pqk,pk->pq", cones, found.coefficients) >= 0).all()


@pytest.mark.parametrize(
    ("seed", "n", "d", "fan_ins"), [(0, 4, 2, (2,)), (1, 3, 2, (2,)), (0, 3, 1, (2, 2)), (2, 2, 2, (2, 2))]
)
def test_no_descent_ends_below_the_optimum_and_the_best_approaches_it(
    seed: int, n: int, d: int, fan_ins: tuple[int, ...]
) -> None:
    import torch

    x, y = table(seed, n, d)
    found, m = fit_parallel_network(make_problem(x, y, STRENGTH), all_parallel_patterns(x, fan_ins)), 16
    assert found.solution.status == "optimal"
    value, size = training(x, y, fan_ins, m)
    of_network = float(value(torch.tensor(flat(found.network, m)), 0.0))
    assert of_network == pytest.approx(found.solution.objective, rel=1e-9)
    rng = np.random.default_rng(0)
    ends = [descend_any(value, 0.5 * rng.normal(size=size), 500) for _ in range(6)]
    assert min(ends) >= found.solution.lower_bound
    assert min(ends) <= found.solution.objective * 1.1
    # Starting at the optimum, descent stays there.
    assert descend_any(value, flat(found.network, m), 100) >= found.solution.lower_bound


@pytest.mark.parametrize(("n", "d", "fan_ins"), [(4, 2, 2), (2, 2, (2, 2)), (4, 1, (2, 2)), (3, 2, (1, 3))])
def test_the_list_holds_the_patterns_of_all_networks(n: int, d: int, fan_ins: int | tuple[int, ...]) -> None:
    x, _ = table(3, n, d)
    everything = all_parallel_patterns(x, fan_ins)
    listed = {canonical(everything, i) for i in range(len(everything))}
    assert len(listed) == len(everything)
    some = network_parallel_patterns(random_parallel_network(d, fan_ins, 500), x)
    for i in range(len(some)):
        # The list leaves leaves and inner nodes out that are inactive everywhere: they can be dropped.
        if all(g[i].any(1).all() for g in some.gates):
            assert canonical(some, i) in listed


def test_linear_parts_are_the_network() -> None:
    x, _ = table(4, 6, 3)
    network = random_parallel_network(3, (2, 3), 40)
    patterns = network_parallel_patterns(network, x)
    designs, cones = linear_parts(x, patterns)
    assert (np.einsum("pqk,pk->pq", cones, patterns.inside)[cones.any(2)] > 0).all()
    values = np.maximum(network.sums(x)[-1][:, :, 0], 0) * np.abs(network.outputs)
    mine = np.einsum("pnk,pk->np", designs, patterns.inside)
    for column in mine.T:
        assert np.abs(values - column[:, None]).max(0).min() < 1e-10


def test_shared_neurons_are_copied_ones() -> None:
    """A layered sub-network d - 3 - 2 - 1 is a tree with fan-ins 3 and 2: same outputs, same path norm."""
    rng = np.random.default_rng(5)
    first, second, third = (rng.normal(size=shape) for shape in ((4, 3), (3, 2), (2,)))
    tree = ParallelNetwork(
        (3, 2),
        np.concatenate([first.T, first.T])[None],
        (second.T.reshape(1, -1), third[None]),
        np.array([-2.0]),
    )
    x = rng.normal(size=(10, 4))
    layered = -2 * np.maximum(np.maximum(np.maximum(x @ first, 0) @ second, 0) @ third, 0)
    assert tree.predict(x) == pytest.approx(layered, abs=1e-12)
    squares = (first**2).sum(0) @ second**2 @ third**2
    assert tree.path_norm() == pytest.approx(2 * np.sqrt(squares), rel=1e-12)


def test_the_patterns_of_a_trained_network_give_at_most_its_objective() -> None:
    import torch
    from scipy.optimize import minimize

    x, y = table(6, 20, 3)
    fan_ins, m = (2, 2), 8
    value, size = training(x, y, fan_ins, m)

    def objective(z: Floats) -> tuple[float, Floats]:
        at = torch.tensor(z, requires_grad=True)
        value(at).backward()
        assert at.grad is not None
        return float(value(at).detach()), at.grad.numpy()

    start = 0.7 * np.random.default_rng(0).normal(size=size)
    end = minimize(objective, start, jac=True, method="L-BFGS-B", options={"maxiter": 200})
    trained = unflat(end.x, fan_ins, m, 3)
    patterns = join_parallel_patterns(
        network_parallel_patterns(trained, x, spread=1e-9),
        network_parallel_patterns(trained, x, spread=1e-2, copies=4),
    )
    found = fit_parallel_network(make_problem(x, y, STRENGTH), patterns)
    assert found.solution.status == "optimal"
    assert found.solution.objective <= end.fun * (1 + 1e-6)
    assert found.solution.lower_bound <= found.solution.objective
    random = network_parallel_patterns(random_parallel_network(3, fan_ins, 30), x)
    more = fit_parallel_network(make_problem(x, y, STRENGTH), join_parallel_patterns(patterns, random))
    assert more.solution.objective <= found.solution.objective * (1 + 1e-6)


def test_the_module_predicts_the_same() -> None:
    import torch

    x, y = table(7, 5, 2)
    patterns = network_parallel_patterns(random_parallel_network(2, (2, 2), 30), x)
    found = fit_parallel_network(make_problem(x, y, 0.02), patterns)
    assert len(found.network.outputs) > 0
    for network in (found.network, random_parallel_network(2, (3, 2), 4)):
        with torch.no_grad():
            module = network.to_torch()(torch.tensor(x)).numpy()[:, 0]
        assert module == pytest.approx(network.predict(x), abs=1e-12)
    dead = ParallelNetwork((1,), np.ones((1, 1, 2)), (-np.ones((1, 1)),), np.ones(1))
    nothing = network_parallel_patterns(dead, x)
    assert len(nothing) == 0
    assert not fit_parallel_network(make_problem(x, y, 0.02), nothing).predict(x).any()
    empty = fit_parallel_network(make_problem(x, y, 100.0), patterns)
    assert len(empty.network.outputs) == 0
    assert not empty.predict(x).any()
    assert not empty.network.to_torch()(torch.tensor(x)).any()


def test_what_makes_no_sense_is_refused() -> None:
    x, y = table(8, 4, 2)
    network = random_parallel_network(2, 2, 3)
    patterns = network_parallel_patterns(network, x)
    with pytest.raises(ArgumentError, match="columns"):
        network_parallel_patterns(network, x[:, :1])
    with pytest.raises(ArgumentError, match="kink"):
        network_parallel_patterns(
            ParallelNetwork((1,), np.array([[[1.0, 0.0]]]), (np.ones((1, 1)),), np.ones(1)), np.eye(2)
        )
    halved = ParallelNetwork((2,), np.array([[x[0], np.zeros(2)]]), (np.ones((1, 2)),), np.ones(1))
    with pytest.raises(ArgumentError, match="kink"):
        network_parallel_patterns(halved, x)
    assert len(network_parallel_patterns(halved, x, spread=1e-6)) == 1
    with pytest.raises(ArgumentError, match="more than 5"):
        all_parallel_patterns(x, 2, limit=5)
    with pytest.raises(ArgumentError, match="patterns are of 4 samples"):
        fit_parallel_network(make_problem(x[:3], y[:3], 0.1), patterns)
    with pytest.raises(ArgumentError, match="fan_ins"):
        random_parallel_network(2, (), 3)
    with pytest.raises(ArgumentError, match="same fan_ins"):
        join_parallel_patterns(patterns, network_parallel_patterns(random_parallel_network(2, 3, 3), x))
