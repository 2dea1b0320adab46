"""The `jensen` command: exit codes, reports, JSON, errors, silence in a pipe, interruption."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import jensen
from jensen import cli
from jensen.certify import NeuronReport, StageReport, Verdict, Witness, verdict_to_dict
from jensen.certify._report import describe_domain, describe_inputs, report_text
from jensen.errors import DomainError
from jensen.network import Box, Polytope, ReLUNetwork, WholeSpace, from_arrays, save_network
from jensen.network._domain_file import load_domain

KEYS = {
    "verdict",
    "domain",
    "wrt",
    "witness",
    "certificate",
    "margin",
    "reason",
    "network",
    "program",
    "lowering_error",
    "seconds",
    "version",
    "stages",
    "neurons",
}


def convex() -> ReLUNetwork:
    """|x| + relu(y), with a neuron of layer 2."""
    return from_arrays([[[1, 0], [-1, 0], [0, 1]], [[1, 1, 1]], [[1]]])


def dented() -> ReLUNetwork:
    """|x| - relu(y): convex in x alone, and wherever y keeps its sign."""
    return from_arrays([[[1, 0], [-1, 0], [0, 1]], [[1, 1, -1]]])


def hard() -> ReLUNetwork:
    """A network that takes branch and bound far longer than a test lasts."""
    rng = np.random.default_rng(0)
    d, width = 24, 96
    first = rng.normal(size=(width, d)) * np.sqrt(2 / d)
    second = rng.normal(size=(width, width)) * np.sqrt(2 / width)
    second = np.where(second < 0, 0.05 * second, second)
    last = np.abs(rng.normal(size=(1, width)))
    biases = [0.5 * rng.normal(size=width), 0.5 * rng.normal(size=width), np.zeros(1)]
    return from_arrays([first, second, last], biases)


@pytest.fixture
def models(tmp_path: Path) -> dict[str, str]:
    paths = {}
    for name, network in (("convex", convex()), ("dented", dented())):
        paths[name] = str(tmp_path / f"{name}.npz")
        save_network(network, paths[name])
    return paths


def strict_json(text: str) -> Any:
    """Read exactly one JSON value, refusing NaN and Infinity."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "import sys; from jensen.cli import main; sys.exit(main())", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


# Exit codes and answers


def test_exit_codes_are_the_answers(models: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", models["convex"]]) == 0
    assert capsys.readouterr().out.startswith("CONVEX on the whole space R^2\n")
    assert cli.main(["check", models["dented"]]) == 1
    assert capsys.readouterr().out.startswith("NOT CONVEX on the whole space R^2\n")


def test_box_takes_negative_numbers(models: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", models["dented"], "--box", "-1", "1"]) == 1
    assert "NOT CONVEX on the box [-1, 1]^2" in capsys.readouterr().out
    assert cli.main(["check", "--box", "-2.5e0", "-1", models["dented"]]) == 0
    assert "CONVEX on the box [-2.5, -1]^2" in capsys.readouterr().out
    assert cli.main(["check", models["dented"], "--box", "-inf", "0"]) == 0


def test_wrt_asks_about_some_inputs(models: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", models["dented"], "--wrt", "0"]) == 0
    assert "in input 0" in capsys.readouterr().out
    assert cli.main(["check", models["dented"], "--wrt", "0-1"]) == 1


def test_domain_file(models: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "domain.json"
    file.write_text('{"lo": [-1, 0.5], "hi": [1, null]}')
    assert cli.main(["check", models["dented"], "--domain", str(file), "--json"]) == 0
    answer = strict_json(capsys.readouterr().out)
    assert answer["domain"] == {"kind": "box", "lo": [-1, 0.5], "hi": [1, None]}


def test_time_limit_of_zero_is_unknown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = str(tmp_path / "hard.npz")
    save_network(hard(), file)
    assert cli.main(["check", file, "--time-limit", "0", "--json"]) == 2
    answer = strict_json(capsys.readouterr().out)
    assert (answer["verdict"], answer["reason"]) == ("unknown", "time limit")
    assert {n["status"] for n in answer["neurons"]} == {"open", "proved"}


def test_quiet_says_nothing(models: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", models["dented"], "--quiet"]) == 1
    assert capsys.readouterr() == ("", "")


def test_the_command_itself_in_a_pipe(models: dict[str, str]) -> None:
    done = run("check", models["dented"])
    assert done.returncode == 1
    assert done.stderr.strip() == ""
    assert done.stdout.isascii()
    assert done.stdout.startswith("NOT CONVEX")


# JSON


def test_json_is_one_object_with_every_key(
    models: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["check", models["dented"], "--json"]) == 1
    captured = capsys.readouterr()
    answer = strict_json(captured.out)
    assert captured.err == ""
    assert answer.keys() == KEYS
    assert answer["verdict"] == "not_convex"
    assert answer["domain"] == {"kind": "whole_space"}
    assert answer["wrt"] is None
    assert answer["margin"] < 0
    assert answer["network"] == {"inputs": 2, "input_shape": [2], "widths": [3], "weights": 13}
    assert answer["lowering_error"] == 0
    assert [(n["layer"], n["index"]) for n in answer["neurons"]] == [(1, 0), (1, 1), (1, 2)]
    assert answer["neurons"][2]["status"] == "violated"
    assert {"name", "seconds", "settled", "left", "details"} == answer["stages"][0].keys()


def test_json_witness_replays_exactly(models: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["check", models["dented"], "--json"])
    witness = strict_json(capsys.readouterr().out)["witness"]
    exact = witness["exact"]
    x, y = ([Fraction(v) for v in exact[name]] for name in ("x", "y"))
    again = Witness.evaluate(dented(), x, y, Fraction(exact["t"]))
    for name in ("fx", "fy", "fm", "violation"):
        assert Fraction(exact[name]) == getattr(again, name)
        assert witness[name] == float(getattr(again, name))
    assert witness["x"] == [float(v) for v in x]
    assert witness["t"] == float(again.t)


def sample_verdict(**changes: Any) -> Verdict:
    values: dict[str, Any] = {
        "kind": "unknown",
        "subject": dented(),
        "domain": Box([-1.0, -np.inf], 1.0),
        "wrt": (0, 1),
        "witness": None,
        "margin": float("-inf"),
        "neurons": (
            NeuronReport(1, 0, "proved", "rules", float("inf")),
            NeuronReport(1, 1, "proved", "bound", 0.5, 0.75),
            NeuronReport(1, 2, "open", "", float("-inf"), 0.25),
        ),
        "stages": (StageReport("rules", 0.5, 2, 1, {"worst": np.float64("inf"), "list": np.arange(2)}),),
        "reason": "interrupted",
    }
    return Verdict(**{**values, **changes})


def test_json_of_what_is_not_finite_is_null() -> None:
    answer = strict_json(json.dumps(verdict_to_dict(sample_verdict()), allow_nan=False))
    assert answer["margin"] is None
    assert answer["domain"]["lo"] == [-1, None]
    assert [n["lower_bound"] for n in answer["neurons"]] == [None, 0.5, None]
    assert answer["stages"][0]["details"] == {"worst": None, "list": [0, 1]}
    assert answer["wrt"] == [0, 1]


def test_json_of_enormous_rationals() -> None:
    network = from_arrays([[[1]], [[-1]]])
    far = Fraction(10) ** 6000
    witness = Witness.evaluate(network, [-far], [far])
    answer = verdict_to_dict(
        sample_verdict(kind="not_convex", subject=network, domain=WholeSpace(), witness=witness)
    )
    assert answer["witness"]["exact"]["y"] == ["1" + 6000 * "0"]
    assert answer["witness"]["y"] == [None]
    json.dumps(answer, allow_nan=False)


# Reports


def test_report_of_a_witness() -> None:
    witness = Witness.evaluate(dented(), [0, -1], [0, 1], Fraction(1, 2), ((1, 2),))
    text = report_text(
        sample_verdict(kind="not_convex", domain=WholeSpace(), witness=witness, margin=-1.0, wrt=None)
    )
    for words in (
        "NOT CONVEX on the whole space R^2",
        "2 inputs, hidden layer 3, 13 weights",
        "x  (0, -1)  f(x) = 0",
        "y  (0, 1)   f(y) = -1",
        "m  (0, 0)   f(m) = 0",
        "t = 1/2",
        "f(m) exceeds the chord's value -0.5 by 0.5",
        "f bends downwards where neuron 2 of layer 1 switches",
        "-1, the smallest jump of slope found",
    ):
        assert words in text
    assert text.isascii()


def test_report_tells_a_small_violation_from_the_chord() -> None:
    network = from_arrays([[[1.0]], [[-1.0]]], [[0.0], [1000.0]])
    witness = Witness.evaluate(network, [Fraction(-1, 10**6)], [Fraction(1, 10**6)])
    text = report_text(
        sample_verdict(kind="not_convex", subject=network, domain=WholeSpace(), witness=witness)
    )
    assert "f(m) exceeds the chord's value 999.9999995 by 5e-07" in text


def test_report_of_unknown_says_what_was_established() -> None:
    text = report_text(sample_verdict())
    assert text.startswith("UNKNOWN on the box [-1, 1] x (-inf, 1], in inputs 0-1: interrupted\n")
    assert "Established: 2 of 3 neurons proved" in text
    assert "Open: layer 1 neuron 2 (0.25)" in text
    assert "none proved" in text


@pytest.mark.parametrize(
    ("domain", "d", "words"),
    [
        (WholeSpace(), 1, "the whole space R"),
        (Box(-1, 1), 784, "the box [-1, 1]^784"),
        (Box([0, 0], [1, 2]), 2, "the box [0, 1] x [0, 2]"),
        (Box(np.zeros(6), np.arange(6.0)), 6, "a box of 6 different sides within [0, 5] (1 variable fixed)"),
        (Polytope([[1, 1]], [1]), 2, "a polytope in R^2 with 1 inequality"),
    ],
)
def test_domains_in_words(domain: jensen.Domain, d: int, words: str) -> None:
    assert describe_domain(domain, d) == words


def test_inputs_in_words_read_back() -> None:
    assert describe_inputs([0, 2, 5, 6, 7]) == "0, 2, 5-7"


# Errors


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["check"], "Missing argument"),
        (["frobnicate"], "frobnicate"),
        (["check", "MODEL", "--frobnicate"], "No such option"),
        (["check", "MODEL", "--box", "1"], "--box"),
        (["check", "MODEL", "--box", "one", "two"], "--box"),
        (["check", "MODEL", "--box", "0", "1", "--domain", "x.json"], "not both"),
        (["check", "MODEL", "--wrt", "0,,1"], "not a list of inputs"),
        (["check", "MODEL", "--wrt", "5-2"], "runs backwards"),
        (["check", "MODEL", "--wrt", "-1"], "not a list of inputs"),
        (["check", "MODEL", "--input-shape", "1,x"], "not a shape"),
        (["check", "MODEL", "--input-shape", "0"], "not a shape"),
        (["check", "MODEL", "--time-limit", "-1"], "not a time"),
        (["check", "MODEL", "--time-limit", "nan"], "not a time"),
        (["check", "MODEL", "--jobs", "0"], "0 workers"),
        (["check", "MODEL", "--method", "magic"], "magic"),
        (["check", "MODEL", "--plot", "/no/such/folder/x.png"], "does not exist"),
    ],
)
def test_usage_errors_exit_with_3(
    arguments: list[str], words: str, models: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    filled = [models["convex"] if word == "MODEL" else word for word in arguments]
    assert cli.main(filled) == 3
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    assert words in captured.err


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        (["check", "missing.onnx"], "ModelFileError"),
        (["check", "MODEL", "--box", "1", "-1"], "DomainError"),
        (["check", "MODEL", "--box", "nan", "1"], "DomainError"),
        (["check", "MODEL", "--wrt", "7"], "DomainError"),
        (["check", "MODEL", "--domain", "missing.json"], "DomainError"),
        (["check", "MODEL", "--plot", "picture.gif"], "PlotError"),
        (["check", "MODEL", "--output", "5"], "NetworkError"),
        (["check", "MODEL", "--jobs", "0"], "UsageError"),
    ],
)
def test_errors_are_objects_in_json_mode(
    arguments: list[str], kind: str, models: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    filled = [models["convex"] if word == "MODEL" else word for word in arguments]
    assert cli.main([*filled, "--json"]) == 3
    captured = capsys.readouterr()
    answer = strict_json(captured.out)
    assert answer.keys() == {"error", "kind"}
    assert answer["kind"] == kind
    assert captured.err == f"error: {answer['error']}\n"


def test_internal_errors_exit_with_5(
    models: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(jensen, "check", broken)
    assert cli.main(["check", models["convex"]]) == 5
    captured = capsys.readouterr()
    assert captured.err == "error: internal error: ZeroDivisionError: oops (--debug shows where)\n"
    assert cli.main(["check", models["convex"], "--debug", "--json"]) == 5
    captured = capsys.readouterr()
    assert "Traceback" in captured.err
    assert strict_json(captured.out)["kind"] == "ZeroDivisionError"


def test_interrupted_before_an_answer_exits_with_4(
    models: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(jensen, "check", interrupted)
    assert cli.main(["check", models["convex"], "--json"]) == 4
    assert strict_json(capsys.readouterr().out)["kind"] == "KeyboardInterrupt"


def test_a_picture_that_fails_does_not_lose_the_verdict(
    models: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise jensen.plot.PlotError("no ink")

    import jensen.plot

    monkeypatch.setattr(jensen.plot, "plot_verdict", broken)
    arguments = ["check", models["convex"], "--json", "--plot", str(tmp_path / "x.png")]
    assert cli.main(arguments) == 3
    captured = capsys.readouterr()
    assert strict_json(captured.out)["verdict"] == "convex"
    assert captured.err == "error: the picture was not written: no ink\n"


# Help, version, speed


def test_version_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"jensen {verdict_to_dict(sample_verdict())['version']}\n"
    assert cli.main(["check", "--help"]) == 0
    text = capsys.readouterr().out
    for word in ("--box", "--domain", "--wrt", "--time-limit", "--plot", "--json", "Exit codes", "Examples"):
        assert word in text


def test_help_imports_nothing_heavy() -> None:
    probe = (
        "import sys; from jensen.cli import main; main(['check', '--help']);"
        "heavy = {'torch', 'matplotlib', 'numba', 'onnx', 'scipy', 'highspy'} & set(sys.modules);"
        "sys.exit(', '.join(sorted(heavy)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stderr.strip() == ""


def test_plot_option_writes_a_picture(
    models: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "verdict.svg"
    assert cli.main(["check", models["dented"], "--plot", str(file)]) == 1
    assert f"Picture written to {file}" in capsys.readouterr().out
    assert "<svg" in file.read_text()


# Interruption, seen on a terminal


def read_until(descriptor: int, word: bytes, seconds: float) -> bytes:
    seen, deadline = b"", time.monotonic() + seconds
    while word not in seen:
        ready, _, _ = select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))
        assert ready, f"never saw {word!r}; saw {seen[-400:]!r}"
        seen += os.read(descriptor, 65536)
    return seen


def interrupt_a_check(arguments: Sequence[str]) -> tuple[int, str]:
    """Start the command with a terminal as standard error, press Ctrl-C once it branches."""
    terminal, side = pty.openpty()
    # Background jobs of a shell, which may run these tests, inherit an interrupt that is ignored.
    program = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from jensen.cli import main; sys.exit(main())"
    )
    command = [sys.executable, "-c", program, *arguments]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=side, text=True, start_new_session=True
    ) as child:
        os.close(side)
        try:
            read_until(terminal, b"branch", 90)
            os.killpg(child.pid, signal.SIGINT)
            os.set_blocking(terminal, False)
            out, _ = child.communicate(timeout=60)
        finally:
            child.kill()
            os.close(terminal)
    return child.returncode, out


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_ctrl_c_prints_what_was_established(jobs: str, tmp_path: Path) -> None:
    file = str(tmp_path / "hard.npz")
    save_network(hard(), file)
    code, out = interrupt_a_check(["check", file, "--json", "--method", "branch", "--jobs", jobs])
    answer = strict_json(out)
    assert (code, answer["verdict"], answer["reason"]) == (2, "unknown", "interrupted")
    assert answer["stages"][-1]["name"] == "branch"
    assert any(n["status"] == "proved" for n in answer["neurons"])


# Domains from files


def test_domains_from_files(tmp_path: Path) -> None:
    polytope = tmp_path / "p.npz"
    np.savez(polytope, A=np.eye(2), b=np.ones(2))
    loaded = load_domain(polytope)
    assert isinstance(loaded, Polytope)
    assert loaded.A.tolist() == [[1, 0], [0, 1]]
    box = tmp_path / "b.json"
    box.write_text('{"lo": -1, "hi": [1, 2]}')
    loaded = load_domain(box)
    assert isinstance(loaded, Box)
    assert loaded.hi.tolist() == [1, 2]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "not valid JSON"),
        ("[1, 2]", "one JSON object"),
        ("{}", "holds nothing"),
        ('{"lo": [0]}', 'needs "lo" and "hi"'),
        ('{"lo": [0], "hi": [1], "A": [[1]], "b": [1]}', "holds A, b, hi, lo"),
        ('{"lo": ["0"], "hi": [1]}', "numbers only"),
        ('{"lo": [true], "hi": [1]}', "numbers only"),
        ('{"A": [[1, 2], [3]], "b": [1, 2]}', "ragged"),
        ('{"A": [[1, null]], "b": [1]}', "numbers only"),
        ('{"lo": [2], "hi": [1]}', "empty"),
        ('{"lo": [NaN], "hi": [1]}', "NaN"),
    ],
)
def test_bad_domain_files(content: str, words: str, tmp_path: Path) -> None:
    file = tmp_path / "domain.json"
    file.write_text(content)
    with pytest.raises(DomainError, match=words):
        load_domain(file)


def test_domain_archives_are_never_unpickled(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return (os.mkdir, (str(tmp_path / "boom"),))

    pickled, torn, single = tmp_path / "p.npz", tmp_path / "t.npz", tmp_path / "s.npz"
    np.savez(pickled, lo=np.array([Bomb()], dtype=object), hi=np.ones(1))
    torn.write_bytes(pickled.read_bytes()[:40])
    with single.open("wb") as handle:
        np.save(handle, np.ones(2))
    for file in (pickled, torn, single):
        with pytest.raises(DomainError):
            load_domain(file)
    assert not (tmp_path / "boom").exists()
