"""Domains: flat, empty, contradictory, huge; and files that describe none."""

from __future__ import annotations

import io
import json
import math
import zipfile
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from fuzzing._judge import ODD_FLOATS, Question, network_case
from fuzzing._mutate import ODD_VALUES, mutate_bytes, mutate_json
from jensen.network import Box, Polytope, load_domain

Rows = list[list[float]]


def _box(rng: Random, d: int) -> tuple[str, Any, Any]:
    lo: Any = [float(rng.randint(-3, 1)) for _ in range(d)]
    hi: Any = [v + rng.randint(0, 3) for v in lo]
    kind = rng.choice(["flat", "point", "thin", "odd", "half", "crossed", "tiny", "huge", "shape", "scalar"])
    j = rng.randrange(d)
    if kind == "flat":
        hi[j] = lo[j]
    elif kind == "point":
        hi = list(lo)
    elif kind == "thin":
        lo[j] = rng.choice([0.0, 1.0, -1.0, 1e300])
        hi[j] = math.nextafter(lo[j], math.inf)
    elif kind == "odd":
        rng.choice([lo, hi])[j] = rng.choice(ODD_FLOATS)
    elif kind == "half":
        lo[j], hi[rng.randrange(d)] = -math.inf, math.inf
    elif kind == "crossed":
        lo[j], hi[j] = hi[j] + 1, lo[j]
    elif kind == "tiny":
        lo, hi = [-5e-324] * d, [5e-324] * d
    elif kind == "huge":
        lo, hi = [-1.7e308] * d, [1.7e308] * d
    elif kind == "shape":
        lo = rng.choice([[], [lo], lo[:-1], [*lo, 0.0], None, "x", [None] * d])
    else:
        lo, hi = rng.choice([-1.0, 0.0, -math.inf, math.nan]), rng.choice([0.0, 1.0, math.inf])
    return f"box, {kind}", lo, hi


def _polytope(rng: Random, d: int) -> tuple[str, Any, Any]:
    """A bounded polytope with something odd added."""
    rows: Rows = [[s * float(i == k) for k in range(d)] for i in range(d) for s in (1.0, -1.0)]
    right = [float(rng.randint(1, 3)) for _ in rows]
    normal = [float(rng.randint(-2, 2)) for _ in range(d)]
    offset = float(rng.randint(-1, 1))
    kind = rng.choice(
        ["equality", "two equalities", "empty", "contradiction", "point", "zero row", "bad zero row",
         "duplicate",
         "scaled duplicate", "odd", "none", "unbounded", "shape", "huge rows", "thin", "almost empty",
         "touch"]
    )  # fmt: skip
    opposite = [-v for v in normal]
    if kind in ("equality", "two equalities"):
        rows += [normal, opposite]
        right += [offset, -offset]
        if kind == "two equalities":
            other = [float(rng.randint(-2, 2)) for _ in range(d)]
            rows += [other, [-3 * v for v in other]]
            right += [1.0, -3.0]
    elif kind == "empty":
        rows.append([1.0] * d)
        right.append(-100.0)
    elif kind == "contradiction":
        rows += [normal, opposite]
        right += [offset, -offset - rng.choice([1.0, 1e-300, 5e-324])]
    elif kind == "point":
        right = [s * v for v in [float(rng.randint(-1, 1)) for _ in range(d)] for s in (1.0, -1.0)]
    elif kind in ("zero row", "bad zero row"):
        rows.append([0.0] * d)
        right.append(rng.choice([0.0, 1.0]) if kind == "zero row" else rng.choice([-1.0, -5e-324]))
    elif kind in ("duplicate", "scaled duplicate"):
        factor = 1.0 if kind == "duplicate" else rng.choice([0.1, 3.0, 1e300, 1e-300, 2.0**-1000])
        rows += [[factor * v for v in row] for row in rows]
        right += [factor * v for v in right]
    elif kind == "odd":
        at = rng.randrange(len(rows))
        if rng.random() < 0.5:
            right[at] = rng.choice(ODD_FLOATS)
        else:
            rows[at][rng.randrange(d)] = rng.choice(ODD_FLOATS)
    elif kind == "none":
        rows, right = [], []
    elif kind == "unbounded":
        rows, right = rows[:d], right[:d]
    elif kind == "shape":
        return "polytope, shape", *rng.choice(
            [([[]], [1.0]), (rows, right[:-1]), (right, right), ([rows], right), (rows, [right]), ([], []),
             (np.zeros((0, d)), np.zeros(0)), (np.zeros((0, d + 1)), []), ([[1.0], [1.0, 2.0]], [1, 2]),
             ("x", "y")]
        )  # fmt: skip
    elif kind == "huge rows":
        rows = [[1e300 * v for v in row] for row in rows]
        right = [rng.choice([1e300, 1e-300, 1.7e308]) for _ in right]
    elif kind == "thin":
        rows += [normal, opposite]
        right += [offset + rng.choice([1e-12, 1e-300, 2.0**-52]), -offset]
    elif kind == "almost empty":
        right = [rng.choice([0.0, 5e-324, 1e-310]) for _ in right]
    else:
        rows += [[1.0] * d, [-1.0] * d]
        right += [sum(right[0::2]), -sum(right[0::2])]
    return f"polytope, {kind}", np.array(rows).reshape(len(rows), d) if kind == "none" else rows, right


def domains(rng: Random, folder: Path) -> Question:
    """Ask about a small network on an odd domain."""
    del folder
    network, _ = network_case(rng)
    d, options = network.input_size, {}
    if rng.random() < 0.25:
        options["wrt"] = tuple(rng.sample(range(d), rng.randint(1, d)))
    if rng.random() < 0.4:
        note, lo, hi = _box(rng, d)
        return Question(note, lambda: network, lambda: Box(lo, hi), options)
    note, A, b = _polytope(rng, d)
    return Question(note, lambda: network, lambda: Polytope(A, b), options)


def domain_text(rng: Random, d: int) -> tuple[str, bytes, str]:
    """Draw a damaged domain file: suffix, content, what is odd."""
    if rng.random() < 0.5:
        note, lo, hi = _box(rng, d)
        entries: Any = {"lo": lo, "hi": hi}
    else:
        note, A, b = _polytope(rng, d)
        entries = {"A": np.asarray(A).tolist() if isinstance(A, np.ndarray) else A, "b": b}
        if isinstance(b, np.ndarray):
            entries["b"] = b.tolist()
    kind = rng.choice(
        ["as is", "json", "json", "bytes", "deep", "keys", "text", "npz", "npz bytes", "npz odd", "npy"]
    )
    suffix, text = ".json", json.dumps(entries).encode()
    if kind == "json":
        changed, step = mutate_json(rng, entries)
        text, note = json.dumps(changed).encode(), f"{note}; {step}"
    elif kind == "bytes":
        text, note = mutate_bytes(rng, text)
    elif kind == "deep":
        text = rng.choice(
            [b"[" * 100_000, b'{"lo":' + b"[" * 3000 + b"]" * 3000 + b', "hi": 1}', b'{"lo":' * 9000]
        )
    elif kind == "keys":
        text = rng.choice(
            [b'{"lo": 0, "lo": -1, "hi": 1}', b'{"lo": 0, "hi": 1, "A": [], "b": []}', b"{}",
             b'{"LO": 0, "hi": 1}',
             b'{"lo": 0}', b'{"": 0}', b'{"A": [[1, 1]], "b": [1], "b": [2]}']
        )  # fmt: skip
    elif kind == "text":
        text = rng.choice(
            [b"", b"null", b"NaN", b"[]", b'"x"', b"\xff\xfe{}", b'{"lo": 1e999, "hi": 1e999}', b"1" * 5000,
             b'{"lo": ' + b"9" * 5000 + b', "hi": 1}', b'{"lo": ' + b"9" * 400 + b', "hi": 1}',
             b'{"lo": -Infinity, "hi": Infinity}', b'\xef\xbb\xbf{"lo": 0, "hi": 1}',
             b'{"lo": "0", "hi": "1"}',
             b'{"lo": true, "hi": true}', b'{"lo": [1, "a"], "hi": 2}', b'{"A": {}, "b": {}}',
             b'{"lo": 99999999999999999999999, "hi": 999999999999999999999999}', b'{"lo": null, "hi": null}']
        )  # fmt: skip
    elif kind != "as is":
        suffix, text, note = ".npz", *_npz(rng, kind, note, entries)
    return suffix, text, f"{kind}: {note}"


def _npz(rng: Random, kind: str, note: str, entries: Any) -> tuple[bytes, str]:
    stream = io.BytesIO()
    if kind == "npy":
        np.save(stream, np.zeros(3))
        return stream.getvalue(), "one array"
    arrays: dict[str, Any] = {}
    for name, value in entries.items():
        try:
            arrays[name] = np.asarray(value)
        except ValueError:
            arrays[name] = np.array([value, None], dtype=object)
    name = rng.choice(list(arrays))
    if kind == "npz odd":
        odd = rng.choice(
            [np.array(rng.choice(ODD_VALUES), dtype=object), np.zeros(2, "c16"), np.zeros(2, "U3"),
             np.zeros(2, "M8[s]"),
             np.zeros(2, [("a", "f8")]), np.zeros((0, 2)), np.zeros(1 << 22), np.zeros((1,) * 30),
             np.array(True)]
        )  # fmt: skip
        arrays[name], note = odd, f"{name}: {odd.dtype}, {odd.shape}"
    np.savez_compressed(stream, **arrays)
    data = stream.getvalue()
    if kind == "npz bytes":
        return mutate_bytes(rng, data)
    if rng.random() < 0.1:
        bomb = io.BytesIO()
        np.save(bomb, np.zeros(1))
        raw = bomb.getvalue().replace(b"(1,), ", b"(134217728,), ", 1) + bytes(1 << 28)
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
            for key in arrays:
                archive.writestr(f"{key}.npy", raw)
        return stream.getvalue(), "swells"
    return data, note


def domain_files(rng: Random, folder: Path) -> Question:
    """Ask about a small network on the domain of a damaged file."""
    network, _ = network_case(rng)
    suffix, content, note = domain_text(rng, network.input_size)
    file = folder / f"domain{suffix}"
    file.write_bytes(content)
    return Question(note, lambda: network, lambda: load_domain(file))
