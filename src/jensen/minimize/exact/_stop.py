"""Ctrl-C while HiGHS runs."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import highspy


class Stop:
    """Tells HiGHS to stop when Ctrl-C was pressed.

    An exception on its way through HiGHS leaves it in ruins. So while HiGHS runs the signal only sets a flag;
    Python looks for signals while its own code runs, and that is HiGHS's callback.
    """

    def __init__(self, highs: Any) -> None:
        self.asked = False
        highs.setCallback(self._look, None)
        highs.startCallback(highspy.cb.HighsCallbackType.kCallbackSimplexInterrupt)

    def _look(self, kind: Any, message: str, out: Any, back: Any, data: Any) -> None:
        back.user_interrupt = self.asked

    def _ask(self, number: int, frame: Any) -> None:
        self.asked = True

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take Ctrl-C for a wish to stop, unless the program has plans of its own for it."""
        self.asked = False
        before = signal.getsignal(signal.SIGINT)
        if (
            before is not signal.default_int_handler
            or threading.current_thread() is not threading.main_thread()
        ):
            yield
            return
        signal.signal(signal.SIGINT, self._ask)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)
