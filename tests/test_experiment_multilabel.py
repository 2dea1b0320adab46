"""Multi-label prediction: the file is read as it is, predictions minimise the energy, runs go on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import jensen
from experiments.multilabel import Journal, main
from experiments.tagging._data import Rows, load
from experiments.tagging._models import Energy, FeedForward, Settings
from experiments.tagging._training import (
    KINDS,
    LOSSES,
    Figures,
    best_threshold,
    decide,
    example_f1,
    label_f1,
    loss_of,
    run,
)
from jensen.errors import ArgumentError

SMALL = Settings(
    width=12,
    label_width=8,
    epochs=25,
    tuning_epochs=2,
    rate=2e-2,
    tuning_rate=1e-3,
    word_dropout=0.0,
    dropout=0.1,
    batch=16,
    tuning_batch=16,
)
N_WORDS, N_LABELS, TRAINING, TEST = 12, 4, 80, 40


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Rows whose labels are those of their words."""
    random = np.random.default_rng(0)
    lines = ["% made up", "@relation synthetic", ""]
    lines += [f"@attribute word{k} {{0,1}}" for k in range(N_WORDS)]
    lines += [f"@attribute TAG_{k} {{0,1}}" for k in range(N_LABELS)] + ["", "@data", ""]
    for _ in range(TRAINING + TEST):
        words = sorted(random.choice(N_WORDS, size=3, replace=False).tolist())
        labels = sorted({N_WORDS + word % N_LABELS for word in words})
        lines.append("{" + ",".join(f"{place} 1" for place in words + labels) + "}")
    path = tmp_path / "bibtex.arff"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def rows(file: Path) -> tuple[Rows, Rows]:
    return load(file.parent, TRAINING)


def test_reads_words_and_labels(rows: tuple[Rows, Rows]) -> None:
    training, test = rows
    assert (len(training), len(test), training.n_words) == (TRAINING, TEST, N_WORDS)
    for words, labels in zip(test.words.tolist(), test.labels, strict=True):
        assert {word % N_LABELS for word in words} == set(torch.nonzero(labels).ravel().tolist())
    assert training.weights.norm(dim=1).allclose(torch.ones(TRAINING))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "needs bibtex.arff"),
        ("@attribute a {0,1}\n{0 1}\n", "words and labels"),
        ("@attribute a {0,1}\n@attribute TAG_b {0,1}\n{0 1}\n", "1 sparse rows"),
        ("@attribute a {0,1}\n@attribute TAG_b {0,1}\n{0 1,7 1}\n", "line 3"),
        ("@attribute a {0,1}\n@attribute TAG_b {0,1}\n{zero 1}\n", "line 3"),
    ],
)
def test_says_what_is_missing(tmp_path: Path, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / "bibtex.arff").write_text(text)
    with pytest.raises(ArgumentError, match=message):
        load(tmp_path)


def test_f1_is_that_of_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    generator = torch.Generator().manual_seed(0)
    y, target = torch.rand(50, 7, generator=generator), torch.rand(50, 7, generator=generator) < 0.3
    target[:, 0] = True
    labels = decide(y, 0.6)
    for ours, average in ((example_f1, "samples"), (label_f1, "macro")):
        expected = metrics.f1_score(target.numpy(), labels.numpy() > 0, average=average, zero_division=0)
        assert ours(labels, target.double()) == pytest.approx(expected, abs=1e-12)
    threshold, value = best_threshold(y, target.float())
    assert value == example_f1(decide(y, threshold), target.float())


def test_predictions_minimise_a_convex_energy(rows: tuple[Rows, Rows]) -> None:
    _, test = rows
    torch.manual_seed(0)
    start = FeedForward(N_WORDS, N_LABELS, SMALL).eval()
    energy = Energy(start, SMALL).eval()
    with torch.no_grad():
        energy.net.hidden[-1].weight = 5 * torch.rand(1, SMALL.label_width)
        y, u = energy(test), energy.encoder(test)
    assert not y.allclose(start(test), atol=1e-2)
    for k in range(3):
        assert jensen.check(energy.net.at(u[k])).kind == "convex"
    point = y
    entropy = torch.special.entr(point) + torch.special.entr(1 - point)
    value = energy.net(u, point) - entropy.sum(1)
    for _ in range(20):
        other = (y + 0.1 * torch.randn(y.shape)).clamp(0, 1)
        there = torch.special.entr(other) + torch.special.entr(1 - other)
        assert bool((energy.net(u, other) - there.sum(1) >= value - 1e-4).all())


def test_training_goes_through_the_minimiser(rows: tuple[Rows, Rows]) -> None:
    training, _ = rows
    torch.manual_seed(0)
    energy = Energy(FeedForward(N_WORDS, N_LABELS, SMALL), SMALL).train()
    loss_of(0.9)(energy(training), training.labels).backward()  # type: ignore[no-untyped-call]
    # Offsets of ReLUs have no derivative here: steps see slopes alone.
    trained = (energy.encoder.bias, energy.net.scales[-1].weight, *energy.net.skips.parameters())
    for part in trained:
        assert isinstance(part, torch.nn.Parameter)
        assert part.grad is not None
        assert int(part.grad.count_nonzero()) > 0


@pytest.mark.parametrize("loss", LOSSES)
def test_learns_what_can_be_learnt(rows: tuple[Rows, Rows], loss: str) -> None:
    ticks: list[None] = []
    first = run(loss, 0, *rows, SMALL, lambda: ticks.append(None))
    assert [figures.model for figures in first] == [f"{kind}, {loss}" for kind in KINDS]
    assert all(figures.example_f1 > 0.8 for figures in first)
    assert len(ticks) == SMALL.epochs + SMALL.tuning_epochs
    again = run(loss, 0, *rows, SMALL, lambda: None)
    assert [replace(figures, seconds=0.0) for figures in again] == [replace(f, seconds=0.0) for f in first]


def test_finished_runs_are_kept(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = tmp_path / "kept" / "runs.jsonl"
    command = [str(file), "--seeds", "2", "--training-rows", str(TRAINING), "--journal", str(journal)]
    command += ["--epochs", "1", "--tuning-epochs", "1", "--losses", "F1"]
    assert main(command) == 0
    first = capsys.readouterr().out
    assert "SPEN" in first
    # What was cut off while it was written is run again; the rest is not.
    lines = journal.read_text().splitlines()
    journal.write_text("\n".join(lines[:-1]) + "\n" + lines[-1][:20])
    ran: list[int] = []

    def again(loss: str, seed: int, *rest: object) -> list[Figures]:
        ran.append(seed)
        return [Figures(f"{kind}, {loss}", seed, 0.5, 0.5, 0.5, 0.5, 1, 0.5, 1.0) for kind in KINDS]

    monkeypatch.setattr("experiments.multilabel.run", again)
    assert main(command) == 0
    assert ran == [1]
    with pytest.raises(ArgumentError, match="other settings"):
        Journal(journal, {"width": 1})
