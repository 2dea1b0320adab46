"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import IO


@contextlib.contextmanager
def written_at_once(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Open a file beside `path` that takes its place when the block ends, and never if it fails.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    target = Path(path)
    name = target.with_name(f".{target.name}.{secrets.token_hex(8)}.part")
    try:
        with open(name, "xb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(name, target)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
