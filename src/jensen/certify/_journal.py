"""A check's progress on disk, one closed case a line: a kill at any moment loses nothing that is proved.

Each line carries its own checksum. What follows the first line that does not fit was torn, and is cut
off. Which cases are still open is not written: they are those that the closed ones leave.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

from jensen.certify._programme import Neuron
from jensen.certify._prover import ROOT, Node, ProvedLeaf
from jensen.errors import JournalError
from jensen.network import Domain, ReLUNetwork
from jensen.verifier import domain_to_json

FORMAT, VERSION = "jensen.journal", 1
LARGEST_HEADER = 1 << 26
"""Bytes; polytopes are written out."""


class Journal:
    """An append-only file of closed cases, and those that earlier runs wrote.

    Parameters
    ----------
    path : path
        Created if it does not exist, continued if it does.
    network, domain, wrt
        What is asked; a journal only goes on with the same question.

    Attributes
    ----------
    known : dict of (neuron, piece) to list of ProvedLeaf
        What earlier runs closed.
    done : set of str
        Stages that earlier runs ended without finding a violation.
    torn : int
        Bytes at the end of the file that could not be used.

    Raises
    ------
    JournalError
        If the file cannot be read or written, belongs to another question, or is in use.
    """

    def __init__(
        self, path: str | os.PathLike[str], network: ReLUNetwork, domain: Domain, wrt: tuple[int, ...] | None
    ) -> None:
        self.path = Path(path)
        self.known: dict[tuple[Neuron, int], list[ProvedLeaf]] = {}
        self.done: set[str] = set()
        header = {
            "format": FORMAT,
            "version": VERSION,
            "network": network.digest,
            "domain": domain_to_json(domain),
            "wrt": None if wrt is None else list(wrt),
        }
        try:
            self._file = open(self.path, "a+b", buffering=0)  # noqa: SIM115 - it stays open
            _lock(self._file.fileno(), self.path)
            self.torn = self._read(header)
        except OSError as error:
            raise JournalError(f"cannot use {self.path} for progress: {error}") from error

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def leaf(self, neuron: Neuron, piece: int, leaf: ProvedLeaf) -> None:
        """Write down a closed case."""
        node = [[*u, side] for u, side in leaf.node]
        bound = leaf.bound if leaf.bound < float("inf") else None
        self._write({"case": [*neuron, piece], "node": node, "bound": bound, "by": json.loads(leaf.text)})

    def end(self, stage: str) -> None:
        """Write down that a stage has found no violation and need not be repeated."""
        if stage not in self.done:
            self.done.add(stage)
            self._write({"done": stage})

    def _write(self, record: dict[str, Any]) -> None:
        text = json.dumps(record, separators=(",", ":"), allow_nan=False).encode()
        try:
            self._file.write(b"%08x %s\n" % (crc32(text), text))
        except OSError as error:
            raise JournalError(f"cannot write to {self.path}: {error}") from error

    def _read(self, header: dict[str, Any]) -> int:
        """Take in what the file holds and cut off what is torn; return how many bytes that were."""
        self._file.seek(0)
        whole, size = 0, self._file.seek(0, os.SEEK_END)
        self._file.seek(0)
        for record, end in _records(self._file.readall()):
            if not whole:
                self._check(record, header)
            elif "done" in record:
                self.done.add(record["done"])
            else:
                self._take(record)
            whole = end
        if not whole and size and not _starts_like_ours(self._file, size):
            raise JournalError(f"{self.path} exists and is no progress file of jensen; name another one")
        self._file.truncate(whole)
        if not whole:
            self._write(header)
        return size - whole

    def _check(self, found: dict[str, Any], header: dict[str, Any]) -> None:
        if found.get("format") != FORMAT:
            raise JournalError(f"{self.path} exists and is no progress file of jensen; name another one")
        for name, what in (
            ("version", "format"),
            ("network", "network"),
            ("domain", "domain"),
            ("wrt", "choice of inputs (wrt)"),
        ):
            if found.get(name) != header[name]:
                raise JournalError(
                    f"{self.path} holds the progress of a check with another {what}; name another file"
                )

    def _take(self, record: dict[str, Any]) -> None:
        layer, i, piece = record["case"]
        node = tuple(((k, u), side) for k, u, side in record["node"])
        bound = float("inf") if record["bound"] is None else float(record["bound"])
        text = json.dumps(record["by"], separators=(",", ":"))
        self.known.setdefault(((layer, i), piece), []).append(ProvedLeaf(node, text, bound))


def open_cases(leaves: Sequence[ProvedLeaf]) -> list[Node]:
    """List the cases that closed ones leave open.

    Closed cases are leaves of one tree: those that share their first decisions go on with the same
    neuron. Wherever only one side of a split was entered, the other is open.
    """
    if not leaves:
        return [ROOT]
    closed = {leaf.node for leaf in leaves}
    entered = {node[:depth] for node in closed for depth in range(len(node) + 1)}
    found = []
    for node in entered:
        if node:
            neuron, side = node[-1]
            other = (*node[:-1], (neuron, 1 - side))
            if other not in entered:
                found.append(other)
    return sorted(found)


def _records(content: bytes) -> Iterator[tuple[dict[str, Any], int]]:
    """Yield the intact lines from the start, each with the offset of its end."""
    start = 0
    while (end := content.find(b"\n", start)) >= 0:
        line = content[start:end]
        try:
            if int(line[:8], 16) != crc32(line[9:]):
                return
            record = json.loads(line[9:])
        except ValueError:
            return
        if not isinstance(record, dict):
            return
        start = end + 1
        yield record, start


def _starts_like_ours(file: Any, size: int) -> bool:
    """Whether a file without one intact line can be a header that was cut short."""
    file.seek(0)
    head = file.read(64)
    start = b'{"format":"%s"' % FORMAT.encode()
    checksum = all(c in b"0123456789abcdef" for c in head[:8]) and head[8:9] in (b"", b" ")
    return bool(checksum and head[9:].startswith(start[: len(head[9:])]) and size < LARGEST_HEADER)


def _lock(descriptor: int, path: Path) -> None:
    """Keep a second check away from the same file; the lock ends with the process, however that ends."""
    if sys.platform != "win32":
        import fcntl

        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise JournalError(f"{path} is in use by another check") from error
