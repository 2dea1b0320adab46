"""Image completion: the loader explains itself, completions minimise, gradients are right."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import savemat

from experiments.completion import Energy, Member, augment, error, fit, halves, load, main, ridge
from jensen.errors import ArgumentError

SIZES = {"planes": 4, "code": 6, "width": 5}


def faces(count: int) -> torch.Tensor:
    """Round spots of different width and light, not quite symmetric."""
    random = torch.Generator().manual_seed(0)
    r = torch.linspace(-1, 1, 64)
    width, light, side = (0.3 + 0.5 * torch.rand(count, 1, 1, generator=random) for _ in range(3))
    spot = (-(r[:, None] ** 2 + (r - 0.2 * side) ** 2) / width).exp()
    return (light * spot * (1 + 0.2 * side * r)).clamp(0, 1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("faces")
    columns = (faces(400) * 255).round().transpose(1, 2).reshape(400, 4096).T
    savemat(path / "olivettifaces.mat", {"faces": columns.numpy()})
    return path


def energy(member: Member, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    guess, code = member.predictor(x)
    value: torch.Tensor = member.convex(code, y.flatten(1)) + (y - guess).flatten(1).square().sum(1) / 2
    return value


def test_loader_keeps_rows_and_columns(folder: Path) -> None:
    found = load(folder)
    assert torch.equal(found, load(folder / "olivettifaces.mat"))
    assert float((found - faces(400)).abs().max()) <= 0.5 / 255 + 1e-6
    x, y = halves(found)
    assert torch.equal(torch.cat([y, x.flip(2)], 2), found)


def test_loader_says_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ArgumentError, match=r"no .*olivettifaces\.mat.*nothing is downloaded"):
        load(tmp_path)
    file = tmp_path / "olivettifaces.mat"
    file.write_bytes(b"no matrix " * 40)
    with pytest.raises(ArgumentError, match="cannot be read as a MATLAB 5 file"):
        load(tmp_path)
    savemat(file, {"faces": np.zeros((7, 3))})
    with pytest.raises(ArgumentError, match=r"shape \(4096, 400\), found \(7, 3\)"):
        load(tmp_path)
    with pytest.raises(SystemExit, match="2"):
        main([str(tmp_path)])
    assert "shape (4096, 400)" in capsys.readouterr().err


def test_ridge_regression_solves_its_normal_equations() -> None:
    sample = faces(12)
    x, y = (half.flatten(1).double().numpy() for half in halves(sample))
    a, b = x - x.mean(0), y - y.mean(0)
    weight = np.linalg.solve(a.T @ a + 3 * np.eye(2048), a.T @ b)
    found = ridge(sample, 3.0)(halves(sample)[0]).flatten(1).numpy()
    assert np.abs(found - (a @ weight + y.mean(0))).max() < 1e-6


def test_completions_minimise_the_energy() -> None:
    torch.manual_seed(0)
    sample = faces(6)
    x, y = halves(sample)
    member = Member(y.mean(0), **SIZES).eval()
    with torch.no_grad():
        found = member(x)
        assert float(found.min()) >= 0
        assert float(found.max()) <= 1
        assert float((found - member.predictor(x)[0]).abs().max()) > 1e-3
        # Around the minimiser a function that is strongly convex with modulus 1 grows at least so fast.
        for other in (
            y,
            member.predictor(x)[0].clamp(0, 1),
            (found + 0.02 * torch.randn_like(y)).clamp(0, 1),
        ):
            least = energy(member, x, found) + (other - found).flatten(1).square().sum(1) / 2
            assert bool((energy(member, x, other) >= least - 1e-3).all())
        # Equal members and no ridge regression: the same minimiser.
        both = Energy([member, member], ridge(sample, 1.0), share=0.0)
        assert float((both(x) - found).abs().max()) < 1e-3
        alone = Energy([member], ridge(sample, 1.0), share=1.0)
        assert float((alone(x) - ridge(sample, 1.0)(x).clamp(0, 1)).abs().max()) < 1e-5


def test_gradient_through_the_minimiser() -> None:
    torch.manual_seed(1)
    x, y = (half.double() for half in halves(faces(3)))
    member = Member(y.mean(0), **SIZES).double().eval()

    def loss() -> torch.Tensor:
        value: torch.Tensor = (member(x) - y).square().sum()
        return value

    loss().backward()  # type: ignore[no-untyped-call]
    for weight in (member.predictor.last.weight, member.convex.skips[0].weight):
        assert isinstance(weight, torch.nn.Parameter)
        assert weight.grad is not None
        place, step, values = int(weight.grad.abs().argmax()), 1e-6, []
        for sign in (1, -1):
            with torch.no_grad():
                weight.view(-1)[place] += sign * step
                values.append(float(loss()))
                weight.view(-1)[place] -= sign * step
        slope = (values[0] - values[1]) / (2 * step)
        assert float(weight.grad.view(-1)[place]) == pytest.approx(slope, rel=1e-3)


def test_training_lowers_the_error() -> None:
    sample = faces(60)
    x, y = halves(sample[40:])
    errors = []
    for steps in (1, 20):
        model = fit(sample[:40], 1, steps, print, **SIZES)
        model.share = 0.0
        errors.append(error(model(x), y))
    assert errors[1] < errors[0]
    assert model.verdicts() == ["convex"]


def test_changed_faces_are_reproducible() -> None:
    changed = [augment(faces(5), torch.Generator().manual_seed(7)) for _ in range(2)]
    assert torch.equal(*changed)
    assert changed[0].shape == (5, 64, 64)
    assert float(changed[0].min()) >= 0
    assert float(changed[0].max()) <= 1


def test_command(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "pictures" / "faces.png"
    main([str(folder), "--given", "left", "--members", "1", "--steps", "2", "--picture", str(file)])
    text = capsys.readouterr().out
    assert "| FCN, published | 795.4 |" in text
    assert "| ours |" in text
    assert "1 of 1 PICNNs proved convex" in text
    assert file.read_bytes().startswith(b"\x89PNG")


def test_validation_holds_people_out(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main([str(folder), "--members", "1", "--steps", "1", "--validate", "6"])
    text = capsys.readouterr().out
    assert "| 31-35 |" in text
    assert "| mean |" in text
