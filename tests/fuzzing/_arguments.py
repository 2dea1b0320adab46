"""Arguments of `check` that make no sense, and the command called with damaged files."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from fuzzing._archives import npz, pt2
from fuzzing._domains import domain_text
from fuzzing._judge import Command, Question, network_case
from fuzzing._onnx import onnx_bytes, onnx_fields
from jensen.network import load_domain, save_network

NAN, INF = float("nan"), float("inf")
ODD: dict[str, tuple[Any, ...]] = {
    "wrt": (
        (), [], [0], [0, 0], [-1], [99], [2**70], "0", "", "abc", [0.5], [NAN], [INF], [None], ["0"], [[0]],
        0, 1.5,
        True, [True], {0}, {"a": 1}, np.array([0]), np.array([[0]]), range(10**12), np.array(0), object(),
        b"0",
        np.array([0.0]), iter([0]), [np.int64(0)], ["x"], [1e400], [10**5000],
    ),
    "time_limit": (
        0, 0.0, -1, -0.0, NAN, INF, -INF, 1e-300, "1", "", None, [], [1], True, 10**400, np.float64(1), 1j,
        object(),
        np.array([1.0, 2.0]), 5e-324, 1e308, {"a": 1},
    ),
    "input_shape": (
        (), (0,), (-1,), (2,), (1, 2), (2**20, 2**20), (2**62, 4), "2", "ab", 2, 2.5, (2.5,), (None,),
        (NAN,), (INF,),
        [[2]], ("2",), (True,), [2] * 100, object(), {2}, (10**30,), np.array([2]), [1e400],
    ),
    "output": (0, 1, -1, -2, 99, 10**30, 0.0, 0.5, NAN, "0", "x", [], [0], True, None, np.int64(0),
    object(), 1j),
    "seed": (0, -1, 2**70, 0.5, "0", "x", None, NAN, [], [1, 2], True, object(), np.int64(3), 10**400),
    "n_jobs": (None, 1, 0, 0.5, "1", "x", NAN, [], object(), True),
    "method": ("auto", "branch", "enumerate", "", "AUTO", None, 0, [], object(), ["auto"], np.array("auto")),
    "progress": (None, 0, "x", print, [], object()),
    "exact": (None, True, False),
    "domain": (None, 0, "x", (), (0, 1), [[0], [1]], object(), {"lo": 0, "hi": 1}, np.zeros(2), True, NAN,
    dict),
}  # fmt: skip


def _quiet(_: Any) -> None:
    """Take a report of progress."""


def _told(value: Any) -> str:
    try:
        return str(value)[:60]
    except ValueError:  # Python writes no integers of more than 4300 digits
        return "very many digits"


def arguments(rng: Random, folder: Path) -> Question:
    """Ask about a small network, given in some way, with one or two arguments that make no sense."""
    network, domain = network_case(rng)
    chosen = {name: rng.choice(ODD[name]) for name in rng.sample(list(ODD), rng.choice([1, 1, 2]))}
    if chosen.get("progress") is print:
        chosen["progress"] = _quiet
    note = ", ".join(f"{k}={_told(v)!r}" for k, v in chosen.items())
    where = chosen.pop("domain", domain)
    kind = rng.choice(["network", "network", "file", "onnx", "module"])
    model: Any = network
    if kind == "file":
        model = folder / "net.npz"
        save_network(network, model)
    elif kind == "onnx":
        from fuzzing._onnx_models import templates

        model, where = folder / "net.onnx", None if where is domain else where
        model.write_bytes(templates()[0].SerializeToString())
    elif kind == "module":
        from torch import nn

        model, where = (
            nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)),
            None if where is domain else where,
        )
    return Question(f"{kind}: {note}", lambda: model, lambda: where, chosen)


WORDS: dict[str, tuple[str, ...]] = {
    "--wrt": (
        "0",
        "",
        "-1",
        "99",
        "0-99999999",
        "a",
        "0,,1",
        "1-0",
        "٣",
        "0-",
        "999999999999",
        "0 , 1",
        "0-0",
    ),
    "--time-limit": ("0", "-1", "nan", "inf", "1e999", "x", "", "1e-300", "3"),
    "--output": ("0", "1", "-1", "x", "99999999999999999999", ""),
    "--input-shape": ("2", "0", "2,2", "x", "", "-1", "999999999,999999999", "2,", "1,2"),
    "--jobs": ("1", "0", "x"),
    "--seed": ("0", "-1", "99999999999999999999999", "x"),
    "--method": ("auto", "branch", "enumerate", "x"),
    "--box": ("-1 1", "1 -1", "nan 1", "inf inf", "-inf inf", "0 0", "x y", "1e400 1e401", "-1e308 1e308"),
    "--plot": ("x.png", "x.exe", "", "/nonexistent/x.png", "."),
}


def commands(rng: Random, folder: Path) -> Command:
    """Run `jensen check` on damaged files, with options that make no sense."""
    words, options, question = ["check"], {}, None
    kind = rng.choice(
        ["onnx bytes", "onnx fields", "pt2", "npz", "fine", "fine", "fine", "missing", "folder", "text"]
    )
    file = folder / "model.npz"
    makers = {"onnx bytes": onnx_bytes, "onnx fields": onnx_fields, "pt2": pt2, "npz": npz}
    note, d = kind, rng.randint(1, 3)
    if kind in makers:
        made = makers[kind](rng, folder)
        file, note = made.model(), f"{kind}: {made.note}"
        if rng.random() < 0.2:
            file = file.rename(file.with_suffix(rng.choice(["", ".npz", ".pt2", ".onnx", ".bin"])))
    elif kind == "fine":
        network, _ = network_case(rng)
        save_network(network, file)
        d = network.input_size
    elif kind == "folder":
        file = folder
    elif kind == "text":
        file = folder / rng.choice(["a.json", "b.onnx", "c.pt2", "d.npz", "e"])
        file.write_bytes(
            rng.choice([b"", b"{}", b"PK\x05\x06" + bytes(18), b"\x80\x04K\x01.", b"\x08\x07", b"x" * 99])
        )
    words.append(str(file))
    if rng.random() < (0.25 if kind == "fine" else 0.5):
        suffix, content, odd = domain_text(rng, d)
        where = folder / f"domain{suffix}"
        where.write_bytes(content)
        words += ["--domain", str(where)]
        note += f"; domain {odd}"
        question = Question(note, lambda: file, lambda: load_domain(where))
    else:
        question = Question(note, lambda: file)
    for name in rng.sample(list(WORDS), rng.choice([0, 0, 1, 1, 2])):
        value = rng.choice(WORDS[name])
        words += [name, *(value.split() if name == "--box" else [value])]
        if name == "--plot" and value == "x.png":
            words[-1] = str(folder / value)
        options[name] = value
    if "--time-limit" not in options:
        words += ["--time-limit", "3"]
    words += rng.choice([[], ["--json"], ["--quiet"], ["--json", "--quiet"]])
    harmless = {"--seed", "--time-limit", "--jobs", "--method", "--plot"}
    return Command(f"{note} {json.dumps(options)}", words, question if set(options) <= harmless else None)
