"""What the shell sees where there is no answer, and errors that come after one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum


class ExitCode(IntEnum):
    """Codes of 3 and above say that there is no answer; those below are each command's own."""

    BAD_INPUT = 3
    INTERRUPTED = 4
    INTERNAL = 5


class LateError(Exception):
    """Something failed after the answer was printed; the cause says what."""


@contextmanager
def late(what: str) -> Iterator[None]:
    """Turn whatever fails in the body, an interrupt included, into a `LateError` that begins with `what`."""
    try:
        yield
    except (Exception, KeyboardInterrupt) as error:
        reason = "interrupted" if isinstance(error, KeyboardInterrupt) else str(error)
        raise LateError(f"{what}: {reason}") from error
