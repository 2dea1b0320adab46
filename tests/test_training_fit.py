"""`fit_convex` ends with a certificate, whatever happens on the way; and the examples of its page."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import jensen
from jensen.nn import FICNN, SkipMLP
from jensen.training import FitResult, Progress, Schedule, fit_convex

BOX = jensen.Box(-1.0, 1.0)
PENALTIES = Schedule(construct=0.0, rounds=0)
PAGE = Path(__file__).parents[1] / "docs" / "training.md"


def data(seed: int, inputs: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = 2 * torch.rand(400, inputs, generator=generator) - 1
    slopes = torch.randn(8, inputs, generator=generator)
    return x, (x @ slopes.T + 0.3 * torch.randn(8, generator=generator)).amax(1)


def mlp(seed: int, inputs: int = 2, widths: tuple[int, ...] = (6, 6)) -> SkipMLP:
    torch.manual_seed(seed)
    return SkipMLP(inputs, widths)


def is_certified(result: FitResult) -> bool:
    assert result.verdict.kind == "convex"
    assert result.verdict.certificate is not None
    jensen.verify(result.verdict.certificate, result.module)
    return True


@pytest.mark.parametrize("loss", ["mse", "l1", nn.functional.smooth_l1_loss])
def test_ends_with_a_certificate_and_fits(loss: Any) -> None:
    x, y = data(0)
    net = mlp(0)
    result = fit_convex(net, (x, y), BOX, loss=loss, steps=600)
    assert is_certified(result)
    assert result.module is net
    with torch.no_grad():
        assert float((net(x) - y).square().mean()) < 0.15 * float(y.var())


@pytest.mark.parametrize(
    ("module", "domain"),
    [
        (mlp(1), jensen.WholeSpace()),
        (mlp(2).double(), jensen.Polytope([[-1.0, 0.0], [0.0, -1.0], [1.0, 1.0]], [1.0, 1.0, 1.0])),
        (FICNN(2, (5,)), BOX),
        (nn.Sequential(nn.Linear(2, 5), nn.LeakyReLU(), nn.Linear(5, 5), nn.ReLU(), nn.Linear(5, 1)), BOX),
    ],
)
def test_domains_and_modules(module: nn.Module, domain: jensen.Domain) -> None:
    assert is_certified(fit_convex(module, data(1), domain, steps=150))


def test_untrained_networks_end_convex_too() -> None:
    for seed in range(4):
        result = fit_convex(mlp(seed, 5, (8, 8, 8)), data(seed, 5), BOX, steps=1, schedule=PENALTIES)
        assert is_certified(result)
        assert result.repair.how != "none"


def test_reproducible_from_the_seed() -> None:
    runs = []
    for _ in range(2):
        net = mlp(4)
        fit_convex(net, data(4), BOX, steps=150, seed=7)
        runs.append([p.detach() for p in net.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))


@pytest.mark.parametrize("phase", ["fit", "polish"])
def test_an_interrupt_still_ends_with_a_certificate(phase: str) -> None:
    def stop(progress: Progress) -> None:
        if progress.phase == phase:
            raise KeyboardInterrupt

    result = fit_convex(mlp(5), data(5), BOX, steps=200, progress=stop)
    assert result.interrupted
    assert is_certified(result)


def test_time_limit_and_progress() -> None:
    seen: list[Progress] = []
    result = fit_convex(mlp(6), data(6), BOX, steps=10_000, time_limit=0.0, progress=seen.append)
    assert is_certified(result)
    assert seen == list(result.history)
    assert [p.phase for p in seen] == ["construct", "repair", "repair"]
    assert seen[0].step == 100
    assert seen[-1].proved == seen[-1].neurons == 12


@pytest.mark.slow
def test_large_networks_are_convex_by_construction_and_beat_icnns_of_their_shape() -> None:
    x = 2 * torch.rand(4000, 8, generator=torch.Generator().manual_seed(0)) - 1
    y = (x @ torch.randn(8, 24, generator=torch.Generator().manual_seed(1))).amax(1)
    net, icnn = mlp(0, 8, (16, 16)), FICNN(8, (16, 16))
    result = fit_convex(net, (x, y), steps=1500, rate=1e-2)  # on the whole space
    other = fit_convex(icnn, (x, y), steps=1500, rate=1e-2, schedule=PENALTIES)
    assert is_certified(result)
    assert is_certified(other)
    assert {p.phase for p in result.history} == {"construct", "repair"}
    assert (net.get_parameter("hidden.0.weight") < 0).any()
    assert result.repair.error_after < other.repair.error_after


def test_what_has_learnt_something_is_not_begun_anew() -> None:
    x, y = data(3, 4)
    net = mlp(3, 4, (12, 12))
    optimiser = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(300):
        optimiser.zero_grad()
        (net(x) - y).square().mean().backward()
        optimiser.step()
    result = fit_convex(net, (x, y), BOX, steps=100, repair_limit=5.0)
    assert is_certified(result)
    assert result.history[0].phase == "fit"


def test_all_frontiers_are_charged_in_two_inputs() -> None:
    result = fit_convex(mlp(4), data(4), BOX, steps=600, rate=1e-2)
    assert is_certified(result)
    assert [p.phase for p in result.history][:3] == ["construct", "construct", "fit"]


def test_bounds_enter_where_the_check_proves_nothing() -> None:
    net = mlp(7, 4, (10, 10))
    result = fit_convex(
        net, data(7, 4), BOX, steps=120, check_limit=0.0, repair_limit=2.0, schedule=Schedule(construct=0.0)
    )
    assert is_certified(result)
    assert sum(p.phase == "polish" for p in result.history) >= 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"loss": "absolute"}, "loss"),
        ({"loss": 3}, "loss"),
        ({"steps": 0}, "steps"),
        ({"batch": 0}, "batch"),
        ({"rate": -1.0}, "rate"),
        ({"time_limit": float("nan")}, "time_limit"),
        ({"seed": -1}, "seed"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(jensen.ArgumentError, match=message):
        fit_convex(mlp(0), data(0), BOX, **arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weight": 0.0}, "weight"),
        ({"margin": -1.0}, "margin"),
        ({"warm_up": 2.0}, "warm_up"),
        ({"grow_from": 0.5, "grow_to": 0.5}, "grow_from"),
        ({"attack_every": 0}, "attack_every"),
        ({"rounds": -1}, "rounds"),
    ],
)
def test_bad_schedules(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(jensen.ArgumentError, match=message):
        Schedule(**arguments)


def test_the_weight_rises() -> None:
    plan = Schedule(weight=1.0, final_weight=100.0, warm_up=0.1, grow_from=0.4, grow_to=0.8)
    weights = [plan.at(share) for share in (0.0, 0.05, 0.1, 0.4, 0.6, 0.8, 1.0)]
    assert weights == pytest.approx([0.0, 0.5, 1.0, 1.0, 10.0, 100.0, 100.0])


def test_bad_data() -> None:
    x, y = data(0)
    with pytest.raises(jensen.ArgumentError, match="data"):
        fit_convex(mlp(0), (x, y[:-1]), BOX)
    with pytest.raises(jensen.ArgumentError, match="NaN"):
        fit_convex(mlp(0), (x, y * float("nan")), BOX)
    with pytest.raises(jensen.NetworkError, match="look inside"):
        fit_convex(SkipMLP(2, (3,), "softplus"), (x, y), BOX)


def test_examples_of_the_page() -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 3
    for block in blocks:
        names: dict[str, Any] = {}
        exec(block, names)
        assert names["verdict"].kind == "convex"


def test_what_needs_no_certified_training() -> None:
    with pytest.raises(jensen.NetworkError, match="train it in a loop of your own"):
        fit_convex(jensen.nn.RelayICNN(2, (3, 3)), data(0))
