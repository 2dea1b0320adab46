"""The code on the page about blocks runs, and so does the experiment."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.block_training import main

PAGE = Path(__file__).parents[1] / "docs" / "blocks.md"


def test_all_code_of_the_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert blocks
    names: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)
    text = capsys.readouterr().out
    assert "CONVEX in 2.weight, 2.bias\n  proof: rules" in text
    assert "NOT CONVEX in 0.weight\n" in text
    assert "maximal convex blocks:\n  2.weight + 2.bias\n" in text


def test_experiment_on_a_csv_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((40, 3))
    target = np.abs(x).sum(1) + rng.standard_normal(40)
    np.savetxt(tmp_path / "table.csv", np.column_stack([x, target]), delimiter=",")
    options = ["--table", str(tmp_path / "table.csv"), "--losses", "squared", "--hidden", "4"]
    main([*options, "--starts", "1", "--seconds", "0.3", "--picture", str(tmp_path / "picture.png")])
    text = capsys.readouterr().out
    assert "30 rows, 3 features, 4 hidden neurons" in text
    rows = [
        line.split("|")
        for line in text.splitlines()
        if line.startswith(("| lin", "| alt", "| red", "| Adam"))
    ]
    assert [row[1].split(",")[0].strip() for row in rows] == ["linearised", "alternating", "reduced", "Adam"]
    assert all(0 < float(row[-3]) < 1 for row in rows)
    assert (tmp_path / "picture.png").stat().st_size > 5000
