"""Classification: inference minimises the energy, its gradient is right, everything is proved convex."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from experiments.classification import (
    CLASSIFIERS,
    DATA,
    Joint,
    Partial,
    accuracy,
    data,
    log_odds,
    main,
    train,
)

pytest.importorskip("sklearn")


@pytest.mark.parametrize("kind", [Joint, Partial])
def test_inference_minimises_the_energy(kind: type[Joint] | type[Partial]) -> None:
    torch.manual_seed(0)
    model, x = kind().double(), torch.randn(7, 2, dtype=torch.float64)
    y = torch.linspace(1e-3, 1 - 1e-3, 9999, dtype=torch.float64)
    entropy = -(y * y.log() + (1 - y) * (1 - y).log())
    found = torch.sigmoid(model(x)).tolist()
    for point, best in zip(x, found, strict=True):
        energies = model.energy(point.expand(len(y), 2), y[:, None]).detach() - entropy
        assert best == pytest.approx(float(y[energies.argmin()]), abs=2e-4)


def test_gradient_through_the_minimiser() -> None:
    torch.manual_seed(1)
    model, x = Partial().double(), torch.randn(3, 2, dtype=torch.float64)
    log_odds(model.energy, x, halvings=50).sum().backward()  # type: ignore[no-untyped-call]
    weight = model.net.skips[0].weight
    assert isinstance(weight, torch.nn.Parameter)
    assert weight.grad is not None
    step, place = 1e-5, int(weight.grad.abs().argmax())
    values = []
    for sign in (1, -1):
        with torch.no_grad():
            weight.view(-1)[place] += sign * step
        values.append(float(log_odds(model.energy, x, halvings=50).sum().detach()))
        with torch.no_grad():
            weight.view(-1)[place] -= sign * step
    assert float(weight.grad.view(-1)[place]) == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-5)


@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_trained_classifiers_are_convex(kind: type[Joint]) -> None:
    torch.manual_seed(0)
    known, fresh = data("circles", 0)
    model = kind()
    train(model, known, 40, 0.5)
    assert set(model.verdicts(fresh[0])) == {"convex"}
    assert accuracy(model, known) > 0.6


@pytest.mark.parametrize("name", DATA)
def test_data_is_reproducible(name: str) -> None:
    (x, y), fresh = data(name, 3)
    assert x.shape == (100, 2)
    assert len(fresh[0]) == 1000
    assert set(y.tolist()) == {0.0, 1.0}
    assert torch.equal(x, data(name, 3)[0][0])
    assert not torch.equal(x, data(name, 4)[0][0])


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--data", "moons", "--seeds", "1", "--steps", "2", "--picture", str(tmp_path / "surfaces.png")])
    assert (tmp_path / "surfaces.png").stat().st_size > 10_000
    assert "| moons | PICNN, f(x, y) |" in capsys.readouterr().out
