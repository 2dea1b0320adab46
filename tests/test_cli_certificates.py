"""Certificates on the command line: `jensen check --certificate`, `--exact`, and `jensen verify`."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jensen
from jensen import cli
from jensen.certify import StageReport, Verdict, verdict_to_dict
from jensen.certify._report import report_text
from jensen.errors import CertificateFileError
from jensen.network import from_arrays, save_network
from jensen.verifier import Certificate

MODELS = Path(__file__).parent.parent / "models"
MARKET = '{"lo": [0, 0, 0.5], "hi": [1, 1, 1.5]}'
Answer = tuple[int, Any, str]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Callable[..., Answer]:
    """Run the command with --json; return its exit code, its one object and standard error."""

    def run(*arguments: str | Path) -> Answer:
        code = cli.main([*map(str, arguments), "--json"])
        captured = capsys.readouterr()
        return code, json.loads(captured.out), captured.err

    return run


@pytest.fixture
def market(tmp_path: Path) -> Path:
    file = tmp_path / "market.json"
    file.write_text(MARKET)
    return file


@pytest.fixture
def dented(tmp_path: Path) -> Path:
    """|x| - relu(y): convex where y keeps its sign, and in x alone."""
    file = tmp_path / "dented.npz"
    save_network(from_arrays([[[1, 0], [-1, 0], [0, 1]], [[1, 1, -1]]]), file)
    return file


@pytest.fixture
def proof(tmp_path: Path, market: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """A certificate with case trees, about models/skip.onnx."""
    file = tmp_path / "proof.json"
    question = ["--domain", str(market), "--wrt", "0,1"]
    assert cli.main(["check", str(MODELS / "skip.onnx"), *question, "-q", "--certificate", str(file)]) == 0
    assert capsys.readouterr() == ("", "")
    return file


def forged(source: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """Alter a certificate by someone who knows how to give it a checksum that fits."""
    content = json.loads(source.read_bytes())
    del content["checksum"]
    change(content)
    content["checksum"] = f"sha256:{sha256(written(content)).hexdigest()}"
    target = source.with_name("forged.json")
    target.write_bytes(written(content) + b"\n")
    return target


def written(content: dict[str, Any]) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()


# There and back


@pytest.mark.parametrize(
    ("model", "question", "code", "in_trees"),
    [
        ("convex_not_icnn.pt2", ["--box", "0", "1"], 0, False),
        ("convex_not_icnn.pt2", [], 1, False),
        ("icnn.pt2", [], 0, False),
        ("icnn.pt2", ["--box", "-1", "1", "--wrt", "0,2-3"], 0, False),
        ("conv.pt2", [], 0, False),
        ("looks_convex.onnx", ["--box", "-1", "1"], 1, False),
        ("looks_convex.onnx", [], 1, False),
        ("skip.onnx", ["--domain", "MARKET", "--wrt", "0,1"], 0, True),
        ("skip.onnx", ["--domain", "MARKET"], 1, False),
    ],
)
def test_what_check_writes_verify_proves(
    model: str,
    question: list[str],
    code: int,
    in_trees: bool,
    market: Path,
    tmp_path: Path,
    call: Callable[..., Answer],
) -> None:
    asked = [str(market) if word == "MARKET" else word for word in question]
    file, path = tmp_path / "proof.json", MODELS / model
    checked, verdict, _ = call("check", path, *asked, "--certificate", file)
    assert checked == code
    assert verdict["verdict"] == ("convex" if code == 0 else "not_convex")
    assert (verdict["certificate"]["trees"] > 0) == in_trees
    assert verdict["certificate"]["leaves"] >= verdict["certificate"]["trees"]
    for demanded in ([], asked):
        verified, answer, errors = call("verify", file, path, *demanded)
        assert (verified, answer["proved"], answer["reason"], errors) == (0, True, "", "")
        for key in ("verdict", "domain", "wrt", "lowering_error", "version"):
            assert answer[key] == verdict[key]
        assert answer["network"] == {**verdict["network"], "digest": Certificate.load(file).network}
        assert answer["proof"]["neurons"] == sum(answer["network"]["widths"])


@settings(max_examples=15, deadline=None)
@given(
    widths=st.lists(st.integers(1, 4), min_size=0, max_size=2),
    seed=st.integers(0, 10_000),
    box=st.booleans(),
    nonnegative=st.booleans(),
)
def test_certificates_of_small_networks(
    widths: list[int], seed: int, box: bool, nonnegative: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Small integer weights make twins, dead neurons and degenerate facets common."""
    rng = np.random.default_rng(seed)
    sizes = [2, *widths, 1]
    weights = [rng.integers(-2, 3, size=(m, n)) for n, m in pairwise(sizes)]
    if nonnegative:
        weights[1:] = [np.maximum(w, -rng.integers(0, 2)) for w in weights[1:]]
    folder = tmp_path_factory.mktemp("small")
    model, file = str(folder / "model.npz"), str(folder / "proof.json")
    save_network(from_arrays(weights, [rng.integers(-1, 2, size=m) for m in sizes[1:]]), model)
    domain = ["--box", "-1", "1"] if box else []
    code = cli.main(["check", model, *domain, "--certificate", file, "-q"])
    assert code in (0, 1)
    assert cli.main(["verify", file, model, *domain, "-q"]) == 0
    assert Certificate.load(file).verdict == ("convex", "not_convex")[code]
    for demand, proved in ((["--box", "-1", "1"], box), (["--box", "-inf", "inf"], not box)):
        assert cli.main(["verify", file, model, *demand, "-q"]) == 1 - proved


# jensen verify


def test_report_of_a_proof(proof: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["verify", str(proof), str(MODELS / "skip.onnx")]) == 0
    text = capsys.readouterr().out
    lines = [line.split(maxsplit=1) for line in text.splitlines()]
    assert text.startswith("PROVED: CONVEX on the box [0, 1] x [0, 1] x [0.5, 1.5], in inputs 0-1\n")
    assert [line[0] for line in lines[2:]] == ["network", "digest", "model", "proof", "time"]
    assert lines[2][1] == "3 inputs, hidden layers 20-12-12, 596 weights"
    assert lines[3][1] == Certificate.load(proof).network
    assert lines[5][1].startswith("20 of 44 neurons by signs of weights, the rest by bounds and ")
    assert text.isascii()


def test_reports_of_simple_proofs(dented: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "proof.json"
    for question, words in (
        (["--wrt", "0"], "in input 0\n"),
        (["--wrt", "0"], "signs of weights alone, for 3 neurons"),
        ([], "PROVED: NOT CONVEX on the whole space R^2\n"),
        ([], "three points at which the exact values violate Jensen's inequality"),
    ):
        cli.main(["check", str(dented), *question, "--certificate", str(file)])
        assert capsys.readouterr().out.endswith(f"\nCertificate written to {file}\n")
        assert cli.main(["verify", str(file), str(dented)]) == 0
        assert words in capsys.readouterr().out


def test_another_model_is_refused(proof: Path, call: Callable[..., Answer]) -> None:
    code, answer, errors = call("verify", proof, MODELS / "icnn.pt2")
    assert (code, answer["proved"], errors) == (1, False, "")
    assert "another network" in answer["reason"]
    assert [answer[key] for key in ("verdict", "domain", "wrt", "proof")] == [None] * 4
    assert answer["network"]["widths"] == [24, 24]
    assert cli.main(["verify", str(proof), str(MODELS / "icnn.pt2"), "-q"]) == 1


@pytest.mark.parametrize(
    ("demand", "code"),
    [
        ([], 0),
        (["--domain", "MARKET"], 0),
        (["--wrt", "1,0"], 0),
        (["--domain", "MARKET", "--wrt", "0-1"], 0),
        (["--box", "0", "1"], 1),
        (["--box", "-inf", "inf"], 1),
        (["--wrt", "0"], 1),
        (["--wrt", "0-2"], 1),
        (["--domain", "MARKET", "--wrt", "2"], 1),
        (["--wrt", "3"], 3),
        (["--domain", "PLANE"], 3),
        (["--domain", "MARKET", "--box", "0", "1"], 3),
        (["--output", "1"], 3),
    ],
)
def test_what_it_must_be_about(
    demand: list[str], code: int, proof: Path, market: Path, tmp_path: Path, call: Callable[..., Answer]
) -> None:
    plane = tmp_path / "plane.json"
    plane.write_text('{"lo": [0, 0], "hi": [1, 1]}')
    names = {"MARKET": str(market), "PLANE": str(plane)}
    got, answer, _ = call("verify", proof, MODELS / "skip.onnx", *[names.get(w, w) for w in demand])
    assert got == code
    assert ("error" in answer) == (code == 3)


def test_altered_certificates_are_refused(proof: Path, call: Callable[..., Answer]) -> None:
    """Without a fitting checksum the file is unreadable; with one, it proves nothing."""
    content, model = proof.read_bytes(), MODELS / "skip.onnx"
    altered = proof.with_name("altered.json")
    for place in range(5, len(content) - 1, 97):
        letter = b"1" if content[place : place + 1] != b"1" else b"2"
        altered.write_bytes(content[:place] + letter + content[place + 1 :])
        code, answer, _ = call("verify", altered, model)
        assert (code, answer["kind"]) == (3, "CertificateFileError")

    def drop_a_leaf(content: dict[str, Any]) -> None:
        max(content["proof"]["trees"], key=lambda tree: len(tree[2]))[2].pop()

    def claim_more(content: dict[str, Any]) -> None:
        content["wrt"] = None

    def claim_elsewhere(content: dict[str, Any]) -> None:
        content["domain"] = {"kind": "box", "lo": [-9.0, -9.0, -9.0], "hi": [9.0, 9.0, 9.0]}

    for change in (drop_a_leaf, claim_more, claim_elsewhere, lambda c: c["proof"]["trees"].clear()):
        code, answer, _ = call("verify", forged(proof, change), model)
        assert (code, answer["proved"]) == (1, False)


def test_an_altered_witness_is_refused(dented: Path, tmp_path: Path, call: Callable[..., Answer]) -> None:
    file = tmp_path / "proof.json"
    assert call("check", dented, "--certificate", file)[0] == 1
    for change in ({"x": ["0", "0"]}, {"t": "2"}, {"x": ["0"]}, {"y": ["0", "-1"]}):
        altered = forged(file, lambda content, change=change: content["proof"].update(change))  # type: ignore[misc]
        code, answer, _ = call("verify", altered, dented)
        assert (code, answer["proved"]) == (1, False)


def test_unreadable_files(proof: Path, tmp_path: Path, call: Callable[..., Answer]) -> None:
    model, torn, later = MODELS / "skip.onnx", tmp_path / "torn.json", tmp_path / "later.json"
    torn.write_bytes(proof.read_bytes()[:-40])
    later.write_text('{"format": "jensen.certificate", "version": 99}')
    for file in (torn, later, tmp_path, tmp_path / "missing.json", model, tmp_path / "market.json"):
        code, answer, errors = call("verify", file, model)
        assert (code, answer["kind"]) == (3, "CertificateFileError")
        assert errors == f"error: {answer['error']}\n"
    code, answer, _ = call("verify", proof, tmp_path / "missing.onnx")
    assert (code, answer["kind"]) == (3, "ModelFileError")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["verify"], "Missing argument"),
        (["verify", "proof.json"], "MODEL"),
        (["verify", "proof.json", "model.onnx", "--time-limit", "1"], "No such option"),
    ],
)
def test_usage_errors_name_the_command(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(arguments) == 3
    captured = capsys.readouterr()
    assert captured.out == ""
    assert words in captured.err
    assert captured.err.endswith("(see jensen verify --help)\n")


@pytest.mark.parametrize(("fault", "code"), [(KeyboardInterrupt, 4), (ZeroDivisionError, 5)])
def test_no_answer(
    fault: type[BaseException],
    code: int,
    proof: Path,
    monkeypatch: pytest.MonkeyPatch,
    call: Callable[..., Answer],
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise fault

    monkeypatch.setattr("jensen.verifier.verify", broken)
    got, answer, _ = call("verify", proof, MODELS / "skip.onnx")
    assert (got, answer["kind"]) == (code, fault.__name__)


def test_progress_on_a_terminal_only(proof: Path) -> None:
    program = "import sys; from jensen.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", program, "verify", str(proof), str(MODELS / "skip.onnx")]
    terminal, side = pty.openpty()
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=side, timeout=60, check=False)
        seen = os.read(terminal, 65536)
    finally:
        os.close(side)
        os.close(terminal)
    assert done.returncode == 0
    assert done.stdout.startswith(b"PROVED")
    assert b"reading proof.json" in seen
    assert b"trees replayed" in seen
    piped = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert (piped.returncode, piped.stderr) == (0, b"")


def test_help() -> None:
    probe = (
        "import sys; from jensen.cli import main; main(['verify', '--help']);"
        "heavy = {'torch', 'matplotlib', 'numba', 'onnx', 'scipy', 'highspy'} & set(sys.modules);"
        "sys.exit(', '.join(sorted(heavy)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stderr.strip() == ""
    for word in ("CERTIFICATE", "MODEL", "--domain", "--wrt", "Exit codes", "0 the certificate proves"):
        assert word in done.stdout


# jensen check --certificate, --exact


def test_exact_follows_from_what_is_asked(
    dented: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    original = jensen.check

    def spy(*arguments: Any, **options: Any) -> Verdict:
        asked.append(options["exact"])
        return original(*arguments, **options)

    monkeypatch.setattr(jensen, "check", spy)
    certificate = ["--certificate", str(tmp_path / "proof.json")]
    for options in ([], ["--exact"], ["--no-exact"], certificate, [*certificate, "--no-exact"]):
        assert cli.main(["check", str(dented), "--wrt", "0", *options, "-q"]) == 3 * (len(options) == 3)
    assert asked == [None, True, False, True, False]


def test_a_missing_certificate_does_not_go_unnoticed(
    dented: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "proof.json"
    certificate = ["--certificate", str(file)]
    assert cli.main(["check", str(dented), "--wrt", "0", "--no-exact"]) == 0
    assert capsys.readouterr().out.startswith("CONVEX (in floating point, no certificate) on the whole space")
    assert cli.main(["check", str(dented), "--wrt", "0", "--no-exact", *certificate]) == 3
    captured = capsys.readouterr()
    assert captured.out.startswith("CONVEX (in floating point, no certificate) on the whole space")
    assert captured.err.startswith("error: no certificate was written")
    assert "--no-exact" in captured.err
    assert cli.main(["check", str(dented), "--time-limit", "0", *certificate, "-q"]) == 2
    assert capsys.readouterr().err.startswith("error: no certificate was written")
    assert not file.exists()
    # A witness is exact, whatever was asked.
    assert cli.main(["check", str(dented), "--no-exact", *certificate]) == 1
    assert cli.main(["verify", str(file), str(dented), "-q"]) == 0


def test_a_certificate_that_fails_does_not_lose_the_verdict(
    dented: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    call: Callable[..., Answer],
) -> None:
    for error, code, reason in (
        (CertificateFileError("no paper"), 3, "no paper"),
        (KeyboardInterrupt(), 4, "interrupted"),
        (ZeroDivisionError("oops"), 5, "oops"),
    ):

        def broken(*_: Any, error: BaseException = error) -> None:
            raise error

        monkeypatch.setattr(Verdict, "save", broken)
        got, answer, errors = call("check", dented, "--certificate", tmp_path / "proof.json")
        assert (got, answer["verdict"]) == (code, "not_convex")
        assert errors == f"error: the certificate was not written: {reason}\n"


def test_files_that_could_not_be_written_are_refused_at_once(
    dented: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def unwanted(*_: Any, **__: Any) -> None:
        raise AssertionError("the check must not start")

    monkeypatch.setattr(jensen, "check", unwanted)
    before = dented.read_bytes()
    picture = str(tmp_path / "x.png")
    for target, words in (
        (str(tmp_path / "no" / "proof.json"), "does not exist"),
        (str(tmp_path), "is a folder"),
        (str(tmp_path / ".." / tmp_path.name / dented.name), "is the model too"),
        (picture, "is the picture too"),
    ):
        assert cli.main(["check", str(dented), "--certificate", target, "--plot", picture]) == 3
        assert words in capsys.readouterr().err
    assert dented.read_bytes() == before


# Reports and JSON of verdicts


def verdict_of(stage: StageReport | None, certificate: Certificate | None) -> Verdict:
    network = from_arrays([[[1.0]], [[1.0]]])
    stages = () if stage is None else (stage,)
    kind = "convex_float" if certificate is None else "convex"
    return Verdict(kind, network, jensen.Box(0, 1), None, None, 1.0, (), stages, "", None, certificate)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("details", "words"),
    [
        (None, "none was made"),
        ({"left out": "too large for rational arithmetic"}, "none: too large for rational arithmetic"),
        ({"nodes": 7}, "none: an exact proof takes longer than the search did"),
    ],
)
def test_why_there_is_no_certificate(details: dict[str, Any] | None, words: str) -> None:
    stage = None if details is None else StageReport("prove", 0.1, 0, 0, details)
    verdict = verdict_of(stage, None)
    text = report_text(verdict)
    assert text.startswith("CONVEX (in floating point, no certificate) on the box [0, 1]\n")
    assert f"\n  certificate  {words}\n" in text
    answer = verdict_to_dict(verdict)
    assert (answer["verdict"], answer["certificate"]) == ("convex_float", None)


def test_how_the_certificate_came_about(proof: Path) -> None:
    by_trees = Certificate.load(proof)
    size = verdict_to_dict(verdict_of(None, by_trees))["certificate"]
    content = json.loads(proof.read_bytes())["proof"]["trees"]
    leaves = sum(isinstance(node, dict) for _, _, nodes in content for node in nodes)
    assert size == {"trees": len(content), "leaves": leaves}
    words = f"{size['trees']} case trees, {leaves} leaves, replayed exactly"
    assert f"\n  certificate  {words}\n" in report_text(verdict_of(None, by_trees))
    icnn = report_text(jensen.check(MODELS / "icnn.pt2"))
    assert "\n  certificate  signs of weights alone\n" in icnn
    square = report_text(jensen.check(MODELS / "convex_not_icnn.pt2", jensen.Box(0, 1)))
    assert "\n  certificate  signs of weights and exact bounds alone\n" in square


def test_resumed_checks_write_the_same_certificate(
    tmp_path: Path, market: Path, proof: Path, call: Callable[..., Answer]
) -> None:
    journal, second = tmp_path / "journal", tmp_path / "second.json"
    words = ["check", MODELS / "skip.onnx", "--domain", market, "--wrt", "0,1", "--resume", journal]
    code, first, _ = call(*words)
    assert (code, first["verdict"]) == (0, "convex")
    lines = journal.read_bytes()
    assert lines.count(b"\n") > 3
    code, _, _ = call(*words, "--certificate", second)
    assert code == 0
    assert journal.read_bytes() == lines
    trees = [jensen.verify(file, MODELS / "skip.onnx").trees for file in (second, proof)]
    assert trees[0] == trees[1] > 0
    code, answer, _ = call("check", MODELS / "icnn.pt2", "--resume", journal)
    assert (code, answer["kind"]) == (3, "JournalError")
    code, answer, _ = call(*words, "--method", "enumerate")
    assert code == 3
    code, answer, _ = call(*words[:-1], market)
    assert code == 3
    assert market.read_text() == MARKET
