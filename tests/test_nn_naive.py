"""The examples of docs/networks.md, among them the construction that is convex only when it is built."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jensen

PAGE = Path(__file__).parents[1] / "docs" / "networks.md"


def test_examples() -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 3
    first: dict[str, Any] = {}
    exec(blocks[0], first)
    assert first["values"].shape == (4,)
    relay: dict[str, Any] = {}
    exec(blocks[1], relay)
    assert jensen.check(relay["plain"], exact=True).kind == "convex"
    second: dict[str, Any] = {}
    exec(blocks[2], second)
    kinds = {name: [verdict.kind for verdict in second[name]] for name in ("before", "after", "ours")}
    assert kinds["before"] == kinds["ours"] == ["convex"] * 4
    assert "not_convex" in kinds["after"]
    for verdict in second["after"]:
        if verdict.kind == "not_convex":
            assert isinstance(verdict.witness, jensen.Witness)
            assert verdict.witness.violation > 0
