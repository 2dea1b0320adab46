"""Finished blocks, one line each, so that an interrupted count goes on where it was."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from experiments.counting._decide import Block

Key = tuple[str, int, int, float]


class Journal:
    """An append-only file of blocks; a torn last line, as a kill leaves it, is cut off.

    Parameters
    ----------
    path : Path
        Created if it does not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.blocks: dict[Key, Block] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        text = path.read_bytes() if path.exists() else b""
        whole = text[: text.rfind(b"\n") + 1]
        if whole != text:
            path.write_bytes(whole)
        for line in whole.decode().splitlines():
            block = Block(**json.loads(line))
            self.blocks[block.key] = block
        self._file = path.open("a", encoding="utf-8")

    def add(self, block: Block) -> None:
        """Take down a block, at once."""
        self.blocks[block.key] = block
        self._file.write(json.dumps(block.to_dict()) + "\n")
        self._file.flush()

    def of(self, keys: Iterable[Key]) -> list[Block]:
        """Give the blocks with these keys, those that are there."""
        return [self.blocks[key] for key in keys if key in self.blocks]

    def close(self) -> None:
        """Close the file."""
        self._file.close()
