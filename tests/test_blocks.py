"""Convexity of training losses in blocks of parameters, against losses in rational arithmetic."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

import jensen
from jensen.blocks import LOSSES, BlockVerdict, BlockWitness, check_block, convex_blocks
from jensen.errors import ArgumentError, DomainError, NetworkError

Row = list[Fraction]


def net(*sizes: int, seed: int = 0, leak: float | None = None) -> nn.Sequential:
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for a, b in itertools.pairwise(sizes):
        layers += [nn.Linear(a, b), nn.ReLU() if leak is None else nn.LeakyReLU(leak)]
    return nn.Sequential(*layers[:-1])


def table(rows: int, features: int, seed: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, features, generator=generator), torch.randn(rows, generator=generator)


def positive(x: Fraction) -> Fraction:
    return max(x, Fraction(0))


def outputs(model: nn.Sequential, x: torch.Tensor, changed: Mapping[str, Any]) -> list[Row]:
    """Outputs of an MLP for all samples, in Fractions, with some parameters replaced."""
    rows = [[Fraction(v) for v in row] for row in x.double().tolist()]
    state = {
        name: np.vectorize(Fraction)(p.detach().double().numpy()) for name, p in model.named_parameters()
    }
    state.update(changed)
    for number, layer in enumerate(model):
        if isinstance(layer, nn.Linear):
            w, b = state[f"{number}.weight"], state[f"{number}.bias"]
            rows = [
                [
                    sum((a * v for a, v in zip(line, row, strict=True)), c)
                    for line, c in zip(w, b, strict=True)
                ]
                for row in rows
            ]
        else:
            slope = Fraction(getattr(layer, "negative_slope", 0.0))
            rows = [[v if v > 0 else slope * v for v in row] for row in rows]
    return rows


EXACT: dict[str, Callable[[Row, Any], Fraction]] = {
    "absolute": lambda o, t: abs(o[0] - Fraction(t)),
    "squared": lambda o, t: (o[0] - Fraction(t)) ** 2,
    "hinge": lambda o, t: positive(1 - Fraction(t) * o[0]),
    "epsilon_insensitive": lambda o, t: positive(abs(o[0] - Fraction(t)) - Fraction(1, 8)),
    "pinball": lambda o, t: max(7 * (Fraction(t) - o[0]), o[0] - Fraction(t)) / 8,
    "multiclass_hinge": lambda o, t: max(v + (k != t) for k, v in enumerate(o)) - o[t],
}  # fmt: skip


def exact_loss(
    name: str, model: nn.Sequential, data: Sequence[torch.Tensor], changed: Mapping[str, Any]
) -> Fraction:
    rows, targets = outputs(model, data[0], changed), data[1].tolist()
    return sum((EXACT[name](o, t) for o, t in zip(rows, targets, strict=True)), Fraction(0)) / len(rows)


def assert_witness(
    name: str, model: nn.Sequential, data: Sequence[torch.Tensor], witness: BlockWitness
) -> None:
    fx, fm, fy = (exact_loss(name, model, data, p) for p in (witness.x, witness.middle, witness.y))
    assert fm > witness.t * fx + (1 - witness.t) * fy
    assert fm >= witness.fm
    assert fx <= witness.fx
    assert fy <= witness.fy


def setting(
    name: str, seed: int, hidden: Sequence[int] = (3,), leak: float | None = None
) -> tuple[nn.Sequential, tuple[torch.Tensor, torch.Tensor]]:
    x, y = table(6, 2, seed)
    if name in ("multiclass_hinge", "cross_entropy"):
        return net(2, *hidden, 3, seed=seed, leak=leak), (x, torch.tensor([0, 1, 2, 0, 1, 2]))
    return net(2, *hidden, 1, seed=seed, leak=leak), (x, y.sign() if name in ("hinge", "logistic") else y)


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("wrt", ["0.weight", "0", ["0", "2"]])
def test_witness_violates_the_loss_in_rational_arithmetic(name: str, wrt: Any) -> None:
    model, data = setting(name, 0)
    verdict = check_block(model, name, data, wrt)
    assert verdict.kind == "not_convex"
    assert verdict.witness is not None
    assert_witness(name, model, data, verdict.witness)


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_is_convex_in_the_last_layer(name: str) -> None:
    model, data = setting(name, 0)
    assert check_block(model, name, data, "2").kind == "convex"


def margins(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return (output + 1 - functional.one_hot(target, 3)).amax(1) - output[range(6), target]


@pytest.mark.parametrize("name", LOSSES)
def test_named_losses_are_those_of_torch(name: str) -> None:
    model, data = setting(name, 3)
    output, target = model(data[0]), data[1]
    flat = output[:, 0]
    values: dict[str, Callable[[], torch.Tensor]] = {
        "absolute": lambda: functional.l1_loss(flat, target),
        "squared": lambda: functional.mse_loss(flat, target),
        "hinge": lambda: functional.margin_ranking_loss(flat, torch.zeros(6), target, margin=1.0),
        "logistic": lambda: functional.soft_margin_loss(flat, target),
        "epsilon_insensitive": lambda: ((flat - target).abs() - 0.125).clamp(min=0).mean(),
        "pinball": lambda: torch.maximum(0.875 * (target - flat), -0.125 * (target - flat)).mean(),
        "multiclass_hinge": lambda: margins(output, target).mean(),
        "cross_entropy": lambda: functional.cross_entropy(output, target),
    }
    assert torch.allclose(LOSSES[name](output, target), values[name]())


def sampled(
    name: str,
    model: nn.Sequential,
    data: Sequence[torch.Tensor],
    verdict: BlockVerdict,
    count: int,
    low: float = -np.inf,
) -> None:
    """Compare the loss at the middle of random segments with the chord, in float64."""
    rng = np.random.default_rng(0)
    copy = {n: p.detach().double() for n, p in model.named_parameters()}
    layers = [layer for layer in model if isinstance(layer, nn.Linear)]
    twin = net(
        *(layer.in_features for layer in layers),
        layers[-1].out_features,
        leak=getattr(model[1], "negative_slope", None),
    ).double()
    twin.load_state_dict(copy)

    def value(points: dict[str, torch.Tensor]) -> torch.Tensor:
        def one(part: dict[str, torch.Tensor]) -> torch.Tensor:
            out = torch.func.functional_call(twin, part, (data[0].double(),))
            target = data[1].double() if data[1].is_floating_point() else data[1]
            return LOSSES[name](out, target)

        return torch.func.vmap(one)(points)

    def drawn() -> dict[str, torch.Tensor]:
        scale = rng.choice([0.1, 1.0, 10.0], size=(count, 1))
        return {
            n: torch.from_numpy(
                np.maximum(rng.standard_normal((count, copy[n].numel())) * scale, low)
            ).reshape(count, *copy[n].shape)
            for n in verdict.block
        }

    x, y = drawn(), drawn()
    fx, fy, fm = value(x), value(y), value({n: (x[n] + y[n]) / 2 for n in x})
    assert (fm <= (fx + fy) / 2 + 1e-9 * (1 + fx.abs() + fy.abs())).all()


@settings(deadline=None, max_examples=15)
@given(
    seed=st.integers(0, 10**6),
    name=st.sampled_from([n for n in EXACT if n not in ("multiclass_hinge", "squared")]),
    wrt=st.sampled_from(["0.weight", "0.bias", "0", "2.weight", "2", ["0", "2.bias"]]),
    signs=st.sampled_from(["free", "nonnegative", "nonpositive"]),
    targets=st.sampled_from(["free", "below", "above"]),
    leak=st.sampled_from([None, 0.25]),
)  # fmt: skip
def test_verdicts_agree_with_sampling_and_exact_witnesses(
    seed: int, name: str, wrt: Any, signs: str, targets: str, leak: float | None
) -> None:
    model, (x, y) = setting(name, seed % 50, leak=leak)
    with torch.no_grad():
        if signs != "free":
            model.get_parameter("2.weight").copy_(
                model.get_parameter("2.weight").abs() * (1 if signs == "nonnegative" else -1)
            )
        if targets != "free" and name == "hinge":
            y = torch.full_like(y, -1.0 if targets == "below" else 1.0)
        elif targets != "free":
            y = y - 50 if targets == "below" else y + 50
    verdict = check_block(model, name, (x, y), wrt, time_limit=20)
    if verdict.kind == "not_convex":
        assert verdict.witness is not None
        assert_witness(name, model, (x, y), verdict.witness)
    else:
        assert verdict.convex
        sampled(name, model, (x, y), verdict, 10_000)


def test_first_layer_is_convex_where_signs_allow() -> None:
    model, (x, _) = setting("hinge", 0)
    with torch.no_grad():
        model.get_parameter("2.weight").abs_()
    below, above = (x, -torch.ones(6)), (x, torch.ones(6))
    verdict = check_block(model, "hinge", below, "0", exact=True)
    assert verdict.kind == "convex"
    assert verdict.proof == "certificate"
    assert verdict.verdict is not None
    assert verdict.network is not None
    assert verdict.verdict.certificate is not None
    replayed = jensen.verify(verdict.verdict.certificate, verdict.network.network)
    assert replayed.verdict == "convex"
    sampled("hinge", model, below, verdict, 10_000)
    assert check_block(model, "hinge", above, "0").kind == "not_convex"


def test_check_decides_what_rules_do_not() -> None:
    """Two neurons read the same weight: relu(w x) - relu(2 w x) / 2 is no bend at all."""

    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.ones(2))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            z = x @ self.w
            return (z.relu() - (2 * z).relu() / 2).sum() + z.abs().mean()

    x = torch.tensor([[1.0, 2.0], [3.0, -1.0]])
    verdict = check_block(Shared(), None, [x], "w")
    assert verdict.curvature.kind == "unknown"
    assert verdict.kind == "convex"
    assert verdict.proof == "certificate"


def test_the_network_is_the_loss_exactly() -> None:
    for name in ("absolute", "hinge", "pinball", "multiclass_hinge"):
        model, data = setting(name, 4)
        verdict = check_block(model, name, data, "0", time_limit=5)
        lowered = verdict.network
        assert lowered is not None
        assert lowered.exact
        rng = np.random.default_rng(0)
        for _ in range(3):
            point = [Fraction(int(v), 8) for v in rng.integers(-20, 20, lowered.network.input_size)]
            changed = {
                "0.weight": np.array(point[:6], dtype=object).reshape(3, 2),
                "0.bias": np.array(point[6:], dtype=object),
            }
            (value,) = lowered.network.exact.evaluate([point])
            assert lowered.scale * value == exact_loss(name, model, data, changed)


def test_a_mean_over_three_samples_does_not_round() -> None:
    model, (x, y) = setting("absolute", 0)
    verdict = check_block(model, "absolute", (x[:3], y[:3]), "0")
    assert verdict.network is not None
    assert verdict.network.scale == Fraction(1, 3)
    assert verdict.network.exact


def test_means_with_penalties_share_a_factor() -> None:
    model, data = setting("absolute", 0)

    def loss(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return (output[:, 0] - target).abs().mean() / 3 + 0.5 * output.abs().sum() - 2.0

    verdict = check_block(model, loss, data, "2", exact=True)
    assert verdict.kind == "convex"
    assert verdict.network is not None
    assert verdict.network.scale == Fraction(1, 18)


def test_smooth_losses_are_refuted_by_enclosures() -> None:
    model, data = setting("cross_entropy", 0)
    for wrt in ("0", ["0", "2"]):
        verdict = check_block(model, "cross_entropy", data, wrt)
        assert verdict.kind == "not_convex"
        assert verdict.network is None
        witness = verdict.witness
        assert witness is not None
        assert witness.violation > 0
        values = []
        for state in witness.states():
            twin = net(2, 3, 3).double()
            twin.load_state_dict({**{k: v.double() for k, v in model.state_dict().items()}, **state})
            values.append(functional.cross_entropy(twin(data[0].double()), data[1]).item())
        assert values[1] > (values[0] + values[2]) / 2


def test_modules_with_parametrised_and_convolutional_layers() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 2, 2), nn.ReLU(), nn.Flatten(), nn.Linear(8, 1))
    x, y = torch.randn(3, 1, 3, 3), torch.tensor([-1.0, -1.0, -1.0])
    assert check_block(model, "hinge", (x, y), "3").kind == "convex"
    verdict = check_block(model, "hinge", (x, y), "0")
    assert verdict.kind == "not_convex"
    assert verdict.network is not None
    assert verdict.network.exact
    with torch.no_grad():
        model.get_parameter("3.weight").abs_()
    assert check_block(model, "hinge", (x, y), "0", exact=True).proof == "certificate"


def test_batch_normalisation_is_written_out() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.ReLU(), nn.Linear(3, 1))
    x, y = table(6, 2)
    with torch.no_grad():
        model(x)
    found = convex_blocks(model, "absolute", (x, y))
    assert found.maximal == (("3.weight", "3.bias"),)
    assert not found.open
    deep = net(2, 3, 3, 1)
    assert not convex_blocks(deep, "hinge", (x, y.sign())).open


def test_tied_layers_are_one_parameter() -> None:
    torch.manual_seed(0)
    shared = nn.Linear(2, 2)
    model = nn.Sequential(shared, nn.ReLU(), shared, nn.Linear(2, 1))
    x, y = table(6, 2)
    found = convex_blocks(model, "absolute", (x, y))
    assert found.names == ("0.weight", "0.bias", "3.weight", "3.bias")
    assert found.maximal == (("3.weight", "3.bias"),)
    witness = found.verdicts[frozenset(["0.weight"])].witness
    assert witness is not None
    state = {
        name: np.vectorize(Fraction)(p.detach().double().numpy()) for name, p in model.named_parameters()
    }
    values = []
    for point in (witness.x, witness.middle, witness.y):
        w, b = point["0.weight"], state["0.bias"]
        h = np.vectorize(Fraction)(x.double().numpy()) @ w.T + b
        h = np.vectorize(positive)(h) @ w.T + b
        output = (h @ state["3.weight"].T + state["3.bias"])[:, 0]
        gaps = [abs(o - Fraction(t)) for o, t in zip(output, y.tolist(), strict=True)]
        values.append(sum(gaps, Fraction(0)) / 6)
    assert values[1] > witness.t * values[0] + (1 - witness.t) * values[2]


def test_fills_are_not_scaled() -> None:
    """A mean is pulled through everything that is positively homogeneous, and through nothing else."""
    model, data = setting("absolute", 0)

    def loss(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        filled = functional.pad(output / 3, (1, 1), value=3.0)
        return (filled.relu() + filled.clamp(-1, 1).sum(1, keepdim=True)).mean() / 7

    verdict = check_block(model, loss, data, "2")
    assert verdict.network is not None
    assert verdict.network.exact or verdict.network.deviation < 1e-12


def test_torch_losses_are_read() -> None:
    model, data = setting("cross_entropy", 0)
    for loss in (
        nn.CrossEntropyLoss(),
        nn.MultiMarginLoss(),
        lambda o, t: functional.nll_loss(o.log_softmax(1), t),
    ):
        assert check_block(model, loss, data, "2").kind in ("convex", "convex_float")
        assert check_block(model, loss, data, "0").kind == "not_convex"
    model, data = setting("absolute", 0)
    for loss in (
        lambda o, t: functional.l1_loss(o[:, 0], t),
        lambda o, t: functional.mse_loss(o[:, 0], t),
        lambda o, t: functional.smooth_l1_loss(o[:, 0], t),
    ):
        assert check_block(model, loss, data, "2").kind == "convex"
    clipped = check_block(model, lambda o, t: (o[:, 0] - t).clamp(-1, 1).mean(), data, "2")
    assert clipped.kind == "not_convex"


def test_blocks_of_a_nonnegative_network() -> None:
    """Convex in each layer, and not jointly: w1 w2 x is bilinear."""
    model, (x, y) = setting("absolute", 0)
    with torch.no_grad():
        for p in model.parameters():
            p.abs_()
    found = convex_blocks(model, lambda o, t: o.mean(), (x.abs(), y))
    assert found.maximal == (("0.weight", "0.bias", "2.bias"), ("2.weight", "2.bias"))
    assert found.status(["0.weight", "2.weight"]) == "not_convex"
    assert found.status(["0.bias"]) == "convex"
    assert not found.open
    assert "maximal convex blocks" in str(found)
    low = {name: (0.0, np.inf) for name in found.names}
    assert convex_blocks(model, lambda o, t: o.mean(), (x.abs(), y), domain=low).maximal == found.maximal
    with pytest.raises(ArgumentError, match="asked about"):
        found.status(["3.weight"])


def test_domains_matter() -> None:
    model, (x, y) = setting("absolute", 0)
    with torch.no_grad():
        model.get_parameter("2.weight").fill_(-1.0)
        model.get_parameter("0.bias").fill_(0.0)
    loss = lambda o, t: o.mean()  # noqa: E731
    assert check_block(model, loss, (x.abs(), y), "0").kind == "not_convex"
    inside = check_block(model, loss, (x.abs(), y), "0", {"0.weight": (0, 1), "0.bias": jensen.Box(0, 1)})
    assert inside.kind == "convex"
    edge = check_block(model, loss, (x.abs(), y), "0", jensen.Box(-1, 1))
    assert edge.kind == "not_convex"
    assert edge.witness is not None
    points = (edge.witness.x, edge.witness.y)
    assert all(abs(v) <= 1 for point in points for part in point.values() for v in part.ravel())
    assert "on a box" in str(inside) or "on the box" in str(inside)
    with pytest.raises(DomainError):
        check_block(model, loss, (x, y), "0", {"2.weight": (0, 1)})
    with pytest.raises(DomainError):
        check_block(model, loss, (x, y), "0", jensen.Box(np.zeros(2), np.ones(2)))


def test_polytopes_are_kept_to() -> None:
    """A corner of width one at a distance of a thousand, in which a product bends down all the same."""

    class Product(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.ones(2))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (self.w[0] * self.w[1] * x).sum()

    corner = jensen.Polytope([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]], [1000.0, 1000.0, -1999.0])
    verdict = check_block(Product(), None, [torch.ones(1)], "w", corner)
    assert verdict.kind == "not_convex"
    assert verdict.witness is not None
    x, y = (point["w"].tolist() for point in (verdict.witness.x, verdict.witness.y))
    assert corner.contains(x)
    assert corner.contains(y)
    assert x[0] * x[1] + y[0] * y[1] < (x[0] + y[0]) * (x[1] + y[1]) / 2
    assert check_block(Product(), None, [torch.ones(1)], "w").kind == "not_convex"


def test_bad_arguments_say_so() -> None:
    model, data = setting("absolute", 0)
    with pytest.raises(ArgumentError, match="no parameter"):
        check_block(model, "absolute", data, "5")
    with pytest.raises(ArgumentError, match="loss must be"):
        check_block(model, "nonsense", data, "0")
    with pytest.raises(ArgumentError, match="data must be"):
        check_block(model, "absolute", {"x": data[0]}, "0")
    with pytest.raises(ArgumentError, match="must be a torch"):
        check_block(model.forward, "absolute", data, "0")  # type: ignore[arg-type]
    with pytest.raises(NetworkError, match="one number"):
        check_block(model, lambda o, t: o[:, 0] - t, data, "0")
    with pytest.raises(ArgumentError, match="no variable"):
        check_block(model, "absolute", data, [])
    with pytest.raises(ArgumentError, match="no parameters"):
        check_block(nn.ReLU(), "absolute", (data[1], data[1]), "0")


def test_what_does_not_matter_is_constant() -> None:
    model, data = setting("absolute", 0)
    verdict = check_block(model, lambda o, t: t.mean() + 0 * o.sum(), data, "0")
    assert verdict.kind == "convex"
    untouched = (model.get_parameter("0.weight").dtype, model.training)
    check_block(model, "absolute", data, "0")
    assert untouched == (model.get_parameter("0.weight").dtype, model.training) == (torch.float32, True)
