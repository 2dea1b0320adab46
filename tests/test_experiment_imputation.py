"""Data imputation: tables are read as they are, imputations minimise a convex energy, runs go on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from experiments.imputation import Journal, main
from experiments.imputing._data import ONE, Split, hide, load, split
from experiments.imputing._models import Energy, conditional_mean, precision_of
from experiments.imputing._runs import METHODS, TRAINED, Figures, Settings, run
from experiments.imputing._training import LOOKS, Plan, rmse, train
from jensen.errors import ArgumentError

SMALL = Settings(energy=Plan(24, 3e-2, 0.0, 32), network=Plan(200, 1e-2, 0.0, 32), neurons=8, width=16)
ROWS = 120


@pytest.fixture(scope="module")
def table() -> torch.Tensor:
    """Rows (u, |u| + noise, sum of both): no Gaussian."""
    random = torch.Generator().manual_seed(0)
    u, noise = torch.randn(2, ROWS, generator=random, dtype=torch.float64)
    bent = u.abs() + 0.1 * noise
    return torch.stack([u, bent, u + bent], 1)


@pytest.fixture(scope="module")
def parts(table: torch.Tensor) -> Split:
    return split(table, 0)


@pytest.fixture(scope="module")
def folder(table: torch.Tensor, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tables")
    lines = [",".join(["red", *map(repr, row)]) for row in table.tolist()]
    (path / "bent.csv").write_text("\n".join([*lines, *lines[:7], ""]))
    return path


def energy(parts: Split) -> Energy:
    torch.manual_seed(0)
    model = Energy(precision_of(parts.training, 1e-2), parts.lo, parts.hi, 8).double()
    with torch.no_grad():
        model.f.first.bias.add_(0.3)
    return model.eval()


def test_reads_numbers_and_keeps_repetitions_once(folder: Path, table: torch.Tensor) -> None:
    found = load(folder / "bent.csv")
    assert sorted(found.tolist()) == sorted(table.tolist())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "Nothing is downloaded"),
        ("1,2\n", "1 rows; at least"),
        ("1,2\n" * 40 + "1\n", "differ in their number of columns"),
        ("1,2\n" * 40 + "1,b\n", "both numbers and words"),
        ("1,b\n" * 40, "at least two columns"),
        ("1,nan\n" * 40, "finite numbers"),
    ],
)
def test_says_what_is_missing(tmp_path: Path, text: str | None, message: str) -> None:
    file = tmp_path / "table.csv"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ArgumentError, match=message):
        load(file)


def test_parts_are_all_rows_standardised(parts: Split, table: torch.Tensor) -> None:
    whole = torch.cat([parts.training, parts.validation, parts.test])
    assert [len(parts.training), len(parts.validation), len(parts.test)] == [72, 24, 24]
    assert parts.training.mean(0).abs().max() < 1e-12
    scale = (table.amax(0) - table.amin(0)) / (whole.amax(0) - whole.amin(0))
    back = (whole - whole.amin(0)) * scale + table.amin(0)
    assert torch.tensor(sorted(back.tolist())).allclose(torch.tensor(sorted(table.tolist())))
    constant = torch.cat([table, torch.ones(ROWS, 1)], 1)
    with pytest.raises(ArgumentError, match="one value"):
        split(constant, 0)


def test_hides_what_was_asked_for() -> None:
    rows, random = torch.zeros(4000, 5, dtype=torch.float64), torch.Generator().manual_seed(0)
    assert (hide(rows, ONE, random).isnan().sum(1) == 1).all()
    assert float(hide(rows, 0.3, random).isnan().double().mean()) == pytest.approx(0.3, abs=0.02)


def test_conditional_mean_is_that_of_the_textbook(parts: Split) -> None:
    """Sigma_mo Sigma_oo^-1 y_o, from the covariance instead of its inverse."""
    precision = precision_of(parts.training, 1e-2)
    covariance, y = torch.linalg.inv(precision), parts.test[:5]
    given = y.clone()
    given[:, 1] = torch.nan
    known = [0, 2]
    wanted = covariance[1, known] @ torch.linalg.solve(covariance[known][:, known], y[:, known].T)
    assert conditional_mean(precision, given)[:, 1].allclose(wanted)
    assert conditional_mean(precision, given)[:, known].equal(y[:, known])


def test_energy_begins_as_the_gaussian(parts: Split) -> None:
    precision = precision_of(parts.training, 1e-2)
    model = Energy(precision, parts.lo - 100, parts.hi + 100, 0).double().eval()
    given = hide(parts.test, 0.5, torch.Generator().manual_seed(0))
    assert model(given).allclose(conditional_mean(precision, given), atol=1e-6)
    value = torch.einsum("bi,ij,bj->b", parts.test, precision, parts.test) / 2
    assert (model.f(parts.test) - model.f(torch.zeros(1, 3).double())).allclose(value)


def test_imputations_minimise_a_convex_energy(parts: Split) -> None:
    model = energy(parts)
    assert model.verdict() == "convex"
    given = hide(parts.test, 0.5, torch.Generator().manual_seed(0))
    found, missing = model.minimise(given), given.isnan()
    assert bool(found.converged.all())
    assert found.point[~missing].equal(given[~missing])
    for seed in range(20):
        noise = torch.randn(given.shape, generator=torch.Generator().manual_seed(seed)).double()
        other = torch.where(missing, (found.point + 0.1 * noise).clamp(parts.lo, parts.hi), given)
        assert bool((model.f(other) >= found.lower_bound - 1e-12).all())


def test_training_goes_through_the_minimiser(parts: Split) -> None:
    model = energy(parts)
    given = hide(parts.training, 0.4, torch.Generator().manual_seed(0))

    def loss() -> torch.Tensor:
        # In training tolerances are wide, but two Newton steps follow; pieces are quadratic.
        value: torch.Tensor = (model.train()(given) - parts.training).square().sum()
        return value

    loss().backward()  # type: ignore[no-untyped-call]
    weight = model.f.first.weight
    assert weight.grad is not None
    place, step, values = int(weight.grad.abs().argmax()), 1e-5, []
    for sign in (1, -1):
        with torch.no_grad():
            weight.view(-1)[place] += sign * step
            values.append(float(loss()))
            weight.view(-1)[place] -= sign * step
    assert float(weight.grad.view(-1)[place]) == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-3)


def test_training_passes_the_gaussian(parts: Split) -> None:
    precision = precision_of(parts.training, 1e-2)
    given = hide(parts.validation, 0.4, torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    ticks: list[None] = []
    model = train(
        Energy(precision, parts.lo, parts.hi, 16),
        parts,
        Plan(60, 3e-2, 0.0, 32),
        lambda model: rmse(model(given), parts.validation, given),
        0,
        lambda: ticks.append(None),
    )
    ours, theirs = model(given), conditional_mean(precision, given)
    assert rmse(ours, parts.validation, given) < 0.9 * rmse(theirs, parts.validation, given)
    assert len(ticks) == LOOKS


@pytest.mark.parametrize("method", METHODS)
def test_every_method_imputes(table: torch.Tensor, method: str) -> None:
    ticks: list[None] = []
    first = run(table, "bent", method, 0, (0.3,), SMALL, lambda: ticks.append(None))
    assert list(first.rmse) == ["30%", ONE]
    assert first.rmse[ONE] < (1.2 if method == "column means" else 0.7)
    assert len(ticks) == (LOOKS if method in TRAINED else 0)
    assert (first.verdict, first.gap is not None) == (
        ("convex", True) if method == "convex energy" else (None, False)
    )
    again = run(table, "bent", method, 0, (0.3,), SMALL, lambda: None)
    assert replace(again, seconds=0.0, microseconds=0.0) == replace(first, seconds=0.0, microseconds=0.0)


def test_finished_runs_are_kept(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = tmp_path / "kept" / "runs.jsonl"
    command = ["--data", str(folder), "--table", "bent", "--seeds", "2", "--missing", "0.2"]
    command += ["--journal", str(journal)]
    ran: list[tuple[str, int]] = []

    def instead(table: torch.Tensor, name: str, method: str, seed: int, *rest: object) -> Figures:
        ran.append((method, seed))
        return Figures(name, method, seed, {"20%": 0.5 + seed, ONE: 0.25}, 10.0, 1.0, "convex", 1e-9)

    monkeypatch.setattr("experiments.imputation.run", instead)
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "| bent, 120 rows, 3 columns | 20% | one column |" in printed
    assert "| convex energy | 1.000 ± 0.707 | 0.250 ± 0.000 | 10 | 1.0 |" in printed
    assert "2 of 2 energies proved convex" in printed
    lines = journal.read_text().splitlines()
    journal.write_text("\n".join(lines[:-1]) + "\n" + lines[-1][:20])
    ran.clear()
    assert main(command) == 0
    assert ran == [(METHODS[-1], 1)]
    with pytest.raises(ArgumentError, match="other settings"):
        Journal(journal, {"width": 1})


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--table", "none"], "there is no file"),
        (["--missing", "1.5"], "between 0 and 1"),
        (["--seeds", "0"], "at least 1"),
    ],
)
def test_command_explains_itself(
    folder: Path, more: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["--data", str(folder), "--table", "bent", *more])
    assert message in capsys.readouterr().err
