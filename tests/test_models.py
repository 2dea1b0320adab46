"""The models of the repository: files as small as promised, and verdicts as `models/README.md` tells them."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import jensen
from jensen.network import load_model
from models.penalty import SkipMLP, frontier_adjoints, max_affine, random_chords

MODELS = Path(__file__).parent.parent / "models"
SQUARE = jensen.Box(0.0, 1.0)
CUBE = jensen.Box(-1.0, 1.0)
MARKET = jensen.Box([0.0, 0.0, 0.5], [1.0, 1.0, 1.5])


@pytest.mark.parametrize(
    ("file", "domain", "wrt", "kind"),
    [
        ("convex_not_icnn.pt2", SQUARE, None, "convex"),
        ("convex_not_icnn.pt2", None, None, "not_convex"),
        ("icnn.pt2", None, None, "convex"),
        ("conv.pt2", None, None, "convex"),
        ("looks_convex.onnx", CUBE, None, "not_convex"),
        ("looks_convex.onnx", None, None, "not_convex"),
        ("skip.onnx", MARKET, (0, 1), "convex"),
        ("skip.onnx", MARKET, None, "not_convex"),
    ],
)
def test_verdicts(file: str, domain: jensen.Domain | None, wrt: tuple[int, ...] | None, kind: str) -> None:
    verdict = jensen.check(MODELS / file, domain, wrt, time_limit=60)
    assert verdict.kind == kind
    if verdict.witness is not None:
        assert verdict.witness.violation > 0
        where = domain or jensen.WholeSpace()
        assert all(where.contains(p) for p in (verdict.witness.x, verdict.witness.y))
        assert isinstance(verdict.witness.violation, Fraction)


def test_icnns_are_judged_by_rules_alone() -> None:
    for file in ("icnn.pt2", "conv.pt2"):
        assert [stage.name for stage in jensen.check(MODELS / file).stages] == ["rules"]


@pytest.mark.parametrize("file", ["convex_not_icnn.pt2", "looks_convex.onnx", "skip.onnx"])
def test_a_third_of_the_later_weights_are_negative(file: str) -> None:
    network = load_model(MODELS / file).network
    later = [
        np.ravel(w if isinstance(w, np.ndarray) else w.toarray())
        for k, targets in enumerate(network.readers)
        for w in (network.weight(target, k) for target in targets)
        if k
    ]
    weights = np.concatenate(later)
    assert (weights[weights != 0] < 0).mean() > 1 / 3


def test_looks_convex_passes_random_midpoint_tests() -> None:
    network = load_model(MODELS / "looks_convex.onnx").network
    x, y = np.random.default_rng(0).uniform(-1, 1, (2, 100_000, 10))
    excess = network((x + y) / 2) - (network(x) + network(y)) / 2
    assert excess.max() < 1e-12


def test_files_are_small() -> None:
    sizes = [file.stat().st_size for file in MODELS.iterdir() if file.is_file()]
    assert max(sizes) < 200_000
    assert sum(sizes) < 1_000_000


def test_the_penalty_sees_the_adjoints_of_the_lowered_network() -> None:
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    net = SkipMLP(3, (6, 5, 4), skips=True)
    lo, hi = -torch.ones(3), torch.ones(3)
    p, q = random_chords(30, lo, hi, torch.Generator().manual_seed(0))
    assert bool(((p >= lo - 1e-5) & (p <= hi + 1e-5) & (q >= lo - 1e-5) & (q <= hi + 1e-5)).all())
    g, segment = frontier_adjoints(net, p, q, steps=400)
    network = jensen.network.from_torch(net, (3,)).network
    grid = np.linspace(0, 1, 401)
    expected: list[float] = []
    for a, b in zip(p.double().numpy(), q.double().numpy(), strict=True):
        points = a + grid[:, None] * (b - a)
        for z, adjoint in zip(network.preactivations(points), network.adjoint(points), strict=True):
            step, neuron = np.nonzero((z[:-1] > 0) != (z[1:] > 0))
            expected.extend(adjoint[step, neuron])
    assert len(segment) == len(g) == len(expected)
    close = np.abs(np.sort(g.detach().numpy()) - np.sort(expected)) < 1e-5
    assert close.mean() > 0.9  # a later neuron may switch within the same grid interval


def test_max_affine_is_convex_along_segments() -> None:
    torch = pytest.importorskip("torch")
    target = max_affine(4, 30, seed=0)
    x, y = torch.rand(2, 1000, 4)
    assert bool((target((x + y) / 2) <= (target(x) + target(y)) / 2 + 1e-6).all())
