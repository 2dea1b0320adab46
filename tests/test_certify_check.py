"""`check` as a whole: soundness at the edges of floating point, interrupts, time, parallel work, verdicts."""

from __future__ import annotations

from fractions import Fraction
from itertools import count
from random import Random
from time import perf_counter
from typing import Any

import numpy as np
import plain
import pytest
from oracle import oracle_is_convex, witness_complaint

import jensen
from jensen.certify import _branch
from jensen.certify._branch import Search, Tree
from jensen.certify._choice import complete_stages
from jensen.certify._exact_domain import ExactDomain
from jensen.certify._falsify import Falsifier
from jensen.certify._pieces import pieces
from jensen.certify._probe import Probe
from jensen.certify._programme import Programme
from jensen.certify._progress import Progress
from jensen.certify._prover import ROOT, Node
from jensen.certify._tasks import Ground
from jensen.certify._twins import JumpWeights
from jensen.certify._verdict import Witness
from jensen.network import Box, Domain, Layer, ReLUNetwork

METHODS = ["auto", "branch", "enumerate"]


@pytest.fixture
def unaided(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave everything to the stages that prove."""
    monkeypatch.setattr(Falsifier, "along_lines", lambda *_: None)
    monkeypatch.setattr(Falsifier, "descend", lambda *_: None)
    monkeypatch.setattr(Probe, "__call__", lambda *_: False)


def _net(inputs: int, layers: list[tuple[dict[int, Any], Any, Any]], output: dict[int, Any]) -> ReLUNetwork:
    return ReLUNetwork(inputs, [Layer(w, b, a) for w, b, a in layers], output)


CONCAVE: dict[str, tuple[ReLUNetwork, Domain | None]] = {
    "a linear twin comes first": (
        _net(1, [({0: [[1.0], [1.0]]}, [0.0, 0.0], [1.0, 0.0])], {1: [1.0, -1.0]}),
        None,
    ),
    "a linear neuron is negative on the facet": (
        _net(1, [({0: [[1.0]]}, [0.0], 1.0), ({1: [[1.0]]}, [1.0], 0.0)], {2: [-1.0]}),
        None,
    ),
    "adjoints underflow": (
        _net(1, [({0: [[1.0]]}, [0.0], 0.0), ({1: [[-1e-200]]}, [1.0], 0.0)], {2: [1e-200]}),
        None,
    ),
    "pre-activations underflow": (
        _net(1, [({0: [[1e-200]]}, [0.0], 0.0), ({1: [[1e-200]]}, [0.0], 0.0)], {2: [-1.0]}),
        Box(-1.0, 1.0),
    ),
    "a leaky jump underflows": (_net(1, [({0: [[1.0]]}, [0.0], 0.75)], {1: [-5e-324]}), None),
    "intervals overflow": (
        _net(
            1,
            [({0: [[1e200], [1e200]]}, [0.0, 0.0], 0.0), ({0: [[1.0]], 1: [[1e200, -1e200]]}, [-1.5], 0.0)],
            {2: [-1.0]},
        ),
        Box(1.0, 2.0),
    ),
    "linear chains overflow": (
        _net(
            1,
            [({0: [[1e200], [-1e200]]}, [0.0, 0.0], 1.0), ({0: [[1.0]], 1: [[1e200, 1e200]]}, [1.5], 0.0)],
            {2: [-1.0]},
        ),
        Box(-2.0, -1.0),
    ),
    "relaxations overflow": (
        _net(
            1,
            [({0: [[1e200], [1e200]]}, [0.0, 0.0], 0.0), ({0: [[1.0]], 1: [[1e200, -1e200]]}, [-0.5], 0.0)],
            {2: [-1.0]},
        ),
        Box(-1.0, 2.0),
    ),
    "a kink beyond the largest float": (_net(1, [({0: [[1e-300]]}, [1e10], 0.0)], {1: [-1.0]}), None),
    "a box as large as floats allow": (
        _net(1, [({0: [[1.0]]}, [0.0], 0.0)], {1: [-1.0]}),
        Box(-1.7e308, 1.7e308),
    ),
    "a slope just below zero": (_net(1, [({0: [[1.0]]}, [0.0], -1e-20)], {1: [-1.0]}), None),
}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("method", ["branch", "enumerate"])
@pytest.mark.parametrize("name", CONCAVE)
@pytest.mark.usefixtures("unaided")
def test_concave_functions_are_never_called_convex(name: str, method: Any) -> None:
    network, domain = CONCAVE[name]
    assert not oracle_is_convex(network, domain).convex
    verdict = jensen.check(network, domain, method=method, time_limit=30)
    assert verdict.kind == "not_convex"
    assert verdict.witness is not None
    found = verdict.witness
    assert not witness_complaint(network, domain, None, (found.x, found.y, found.t))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("chunk", range(4))
@pytest.mark.usefixtures("unaided")
def test_branching_alone_agrees_with_the_oracle_on_slopes_and_skips(chunk: int) -> None:
    for seed in range(10 * chunk, 10 * chunk + 10):
        rng = Random(seed)
        network = plain.random_network(rng, wild=seed % 5 == 0, width=2 if seed % 5 == 0 else 3)
        domain = rng.choice([None, Box(-2.0, 1.0), Box(0.0, np.inf)])
        verdict = jensen.check(network, domain, method="branch", time_limit=30)
        expected = "convex" if oracle_is_convex(network, domain).convex else "not_convex"
        assert verdict.kind == expected, seed


def test_deep_networks_have_integer_forms_beyond_floats() -> None:
    numbers = np.random.default_rng(0)
    layers = [({k: np.abs(numbers.normal(size=(2, 2)))}, numbers.normal(size=2), 0.0) for k in range(30)]
    network = _net(2, layers, {30: [1.0, 1.0], 1: [-1e6, 0.0]})
    assert jensen.check(network, method="branch").kind == "not_convex"


def undecided(seed: int = 4) -> ReLUNetwork:
    """A network that keeps branch and bound busy for some nodes: with seed 4 convex, with seed 10 not."""
    numbers, n = np.random.default_rng(seed), 14
    first, second = numbers.normal(size=(n, 4)), np.abs(numbers.normal(size=(n, n)))
    second[numbers.random((n, n)) < 0.3] *= -0.5
    layers: Any = [({0: first}, numbers.normal(size=n), 0.0), ({1: second}, numbers.normal(size=n), 0.0)]
    return _net(4, layers, {1: np.ones(n), 2: np.ones(n)})


def test_a_tree_may_pause_after_every_node(monkeypatch: pytest.MonkeyPatch) -> None:
    network = undecided()
    jumps, domain = JumpWeights(network), Box(-2.0, 2.0)
    ground, exact = Ground(pieces(network, domain)[0][0]), ExactDomain(domain, 4)
    most = 0
    for i in range(network.widths[0]):
        kink = ground.kink((1, i))
        if kink is None:
            continue

        def tree() -> Tree:
            programme = Programme(ground.piece, (1, i), kink, jumps)  # noqa: B023
            return Tree(programme, network, exact, lambda *_: False)

        def one_node(tree: Tree, nodes: list[Node]) -> Search:
            ticks = count()
            with monkeypatch.context() as patch:
                patch.setattr(_branch, "perf_counter", lambda: next(ticks))
                return tree.search(nodes, 1.0)

        through = tree().search([ROOT], np.inf)
        nodes, steps, found = [ROOT], 0, through.kink if through.stopped else None
        while nodes and found is None:
            part = one_node(tree(), nodes)
            nodes, found, steps = part.open, part.kink, steps + part.nodes
        assert (found is None) == (through.kink is None)
        assert not tree().search([ROOT], perf_counter() - 1).nodes
        most = max(most, steps)
    assert most > 1


def test_an_interrupt_passes_through_a_search(monkeypatch: pytest.MonkeyPatch) -> None:
    network = undecided()
    ground = Ground(pieces(network, Box(-2.0, 2.0))[0][0])
    kink = ground.kink((1, 0))
    assert kink is not None
    programme = Programme(ground.piece, (1, 0), kink, JumpWeights(network))
    tree = Tree(programme, network, ExactDomain(Box(-2.0, 2.0), 4), lambda *_: False)

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(tree, "_expand", interrupt)
    with pytest.raises(KeyboardInterrupt):
        tree.search([ROOT], np.inf)


@pytest.mark.parametrize("stage", ["rules", "falsify", "bound", "descend", "branch"])
def test_ctrl_c_in_any_stage_leaves_what_was_established(stage: str) -> None:
    def interrupt(progress: Progress) -> None:
        if progress.stage == stage:
            raise KeyboardInterrupt

    verdict = jensen.check(undecided(), Box(-2.0, 2.0), method="branch", progress=interrupt)
    if verdict.kind == "unknown":
        assert verdict.reason == "interrupted"
        assert verdict.stages[-1].name == stage
        assert verdict.open_neurons
        proved = sum(s.settled for s in verdict.stages)
        assert proved == sum(n.status == "proved" for n in verdict.neurons)
    else:  # decided before that stage
        assert stage not in [s.name for s in verdict.stages]


def _hard(n: int = 24) -> ReLUNetwork:
    """A convex function that bounds and branching cannot prove quickly: no frontier has a margin."""
    numbers = np.random.default_rng(0)
    first = numbers.normal(size=(n, 8))
    second = np.abs(numbers.normal(size=(n, n))) * np.where(numbers.random((n, n)) < 0.3, -0.2, 1.0)
    return _net(
        8,
        [({0: first}, 0.1 * numbers.normal(size=n), 0.0), ({1: second}, np.zeros(n), 0.0)],
        {1: np.full(n, 4.0), 2: np.ones(n)},
    )


@pytest.mark.parametrize("limit", [0.0, 0.3])
def test_time_limits_are_kept(limit: float) -> None:
    began = perf_counter()
    verdict = jensen.check(_hard(), Box(-1.0, 1.0), time_limit=limit, method="branch")
    assert perf_counter() - began < limit + 3.0
    assert verdict.kind != "unknown" or verdict.reason == "time limit"


@pytest.mark.parametrize("limit", [-1.0, float("nan")])
def test_senseless_time_limits_are_refused(limit: float) -> None:
    with pytest.raises(ValueError, match="time_limit"):
        jensen.check(undecided(), time_limit=limit)


def _agree(**options: Any) -> None:
    for seed, kind in ((4, "convex"), (10, "not_convex")):
        network = undecided(seed)
        for settings in ({}, options):
            verdict = jensen.check(network, Box(-2.0, 2.0), method="branch", **settings)
            assert verdict.kind == kind
            assert "branch" in [stage.name for stage in verdict.stages]


def test_two_workers_say_the_same() -> None:
    _agree(n_jobs=2)


def test_a_dask_cluster_says_the_same() -> None:
    distributed = pytest.importorskip("distributed")
    import joblib

    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster),
        joblib.parallel_config(backend="dask"),
    ):
        _agree(n_jobs=2)


def test_a_witness_is_a_proof() -> None:
    network = _net(1, [({0: [[1.0]]}, [0.0], 0.0)], {1: [-1.0]})
    witness = Witness.evaluate(network, [-1], [2], Fraction(1, 3))
    assert witness.middle == (Fraction(1),)
    assert witness.violation == Fraction(-1) - (0 * Fraction(1, 3) + Fraction(2, 3) * -2)
    with pytest.raises(ValueError, match="violate"):
        Witness.evaluate(network, [1], [2])
    with pytest.raises(ValueError, match="0 < t < 1"):
        Witness.evaluate(network, [-1], [2], Fraction(1))
    with pytest.raises(ValueError, match="violate"):
        Witness((Fraction(0),), (Fraction(1),), Fraction(1, 2), Fraction(0), Fraction(0), Fraction(0))


@pytest.mark.parametrize("seed", range(12))
def test_verdicts_are_consistent(seed: int) -> None:
    verdict = jensen.check(plain.random_network(Random(seed)))
    assert (verdict.witness is not None) == (verdict.kind == "not_convex")
    assert verdict.seconds == pytest.approx(sum(s.seconds for s in verdict.stages))
    if verdict.kind == "convex":
        assert verdict.margin >= 0
        assert all(n.status == "proved" and n.lower_bound >= 0 and n.stage for n in verdict.neurons)
    else:
        assert verdict.margin < 0
        assert verdict.kind == "not_convex"


@pytest.mark.parametrize(
    ("weights", "biases"),
    [
        ([[[1.0], [1.0]], [[-1.0, 1e300]]], [[0.0, -5e-324], [0.0]]),
        ([[[1e300], [-1e300], [1e300]], [[-1.0, 1e300, 1e300]]], [[0.0, -5e-324, -5e-324], [0.0]]),
        ([[[1.7e308], [1.7e308]], [[-1e308, -1e308]]], [[0.0, 1e308], [0.0]]),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid value")
def test_witnesses_at_the_ends_of_the_range_of_floats(weights: Any, biases: Any) -> None:
    verdict = jensen.check(jensen.from_arrays(weights, biases))
    assert verdict.kind == "not_convex"
    assert "NOT CONVEX" in str(verdict)


def test_domains_with_many_corners_are_not_enumerated() -> None:
    """65,536 corners of a box would be found before any clock is read."""
    for d, expected in ((4, "enumerate"), (16, "branch")):
        network = jensen.from_arrays([np.ones((3, d)), np.ones((3, 3)), np.ones((1, 3))])
        assert complete_stages("auto", network, jensen.Box(0.0, 1.0))[-1][0] == expected
        cube = jensen.Polytope(np.concatenate([np.eye(d), -np.eye(d)]), np.ones(2 * d))
        assert complete_stages("auto", network, cube)[-1][0] == expected
        assert complete_stages("auto", network, jensen.WholeSpace())[-1][0] == "enumerate"
