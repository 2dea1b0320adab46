"""The fuzzing campaign: how jensen answers inputs that nobody should pass to it, as a table.

    python benchmarks/fuzz.py --count 500

Every case runs in a process that is killed when it takes too long or too much memory. Exits with 1 if any
answer is bad: an exception that is not jensen's own, a crash, a hang, too much memory, a wrong verdict.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter, defaultdict
from multiprocessing.connection import Connection
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from fuzzing import CLASSES, Command, Outcome, Question, draw, judge

START_SECONDS = 300.0
COLUMNS = ("class", "cases", "convex", "not convex", "unknown", "compared", "errors", "bad", "slowest s")


def serve(pipe: Connection, memory: int, folder: Path) -> None:
    """Judge the cases that come through a pipe, within a limit of memory."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    for name in CLASSES:  # what is built once, and code that is compiled, is no case's fault
        place = folder / "first"
        place.mkdir()
        _judge(draw(name, 0, 0, place))
        shutil.rmtree(place)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    pipe.send("ready")
    while True:
        name, seed, index = pipe.recv()
        place = folder / f"{index}"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        try:
            case = draw(name, seed, index, place)
        except Exception:  # noqa: BLE001 - the parent shows it and ends
            pipe.send(traceback.format_exc())
            return
        pipe.send((case.note,))
        began = time.perf_counter()
        outcome = _judge(case)
        pipe.send((outcome, time.perf_counter() - began))
        shutil.rmtree(place, ignore_errors=True)


def _judge(case: Question | Command) -> Outcome:
    try:
        return judge(case)
    except BaseException as error:  # noqa: BLE001 - whatever comes through is what this looks for
        return Outcome("bad", error=type(error).__name__, message=f"{type(error).__name__}: {error}"[:500])


class Worker:
    """A process that judges cases one at a time, and is replaced when it dies."""

    def __init__(self, memory: int, seconds: float, folder: Path) -> None:
        self.memory, self.seconds, self.folder = memory, seconds, folder
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["fuzzing"])
        self._start()

    def _start(self) -> None:
        self._pipe, theirs = self._context.Pipe()
        arguments = (theirs, self.memory, self.folder)
        self._process = self._context.Process(target=serve, args=arguments, daemon=True)
        self._process.start()
        theirs.close()
        if not self._pipe.poll(START_SECONDS) or self._pipe.recv() != "ready":
            raise SystemExit("a worker does not start")

    def judge(self, name: str, seed: int, index: int) -> tuple[str, Outcome, float]:
        """Judge a case; a process that does not answer in time is killed. Return the case's note, too."""
        self._pipe.send((name, seed, index))
        drawn = self._pipe.recv()
        if isinstance(drawn, str):
            raise SystemExit(f"{name} {seed}/{index} cannot be drawn:\n{drawn}")
        (note,) = drawn
        try:
            if self._pipe.poll(self.seconds):
                outcome, seconds = self._pipe.recv()
                return note, outcome, seconds
            outcome = Outcome("bad", message=f"no answer within {self.seconds} s")
        except (EOFError, ConnectionResetError):
            self._process.join()
            outcome = Outcome("bad", message=f"the process died: {self._process.exitcode}")
        self.stop()
        self._start()
        return note, outcome, self.seconds

    def stop(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.join()
        self._pipe.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=300, help="cases per class")
    parser.add_argument("--start", type=int, default=0, help="number of the first case")
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--seconds", type=float, default=20.0, help="limit per case")
    parser.add_argument("--memory", type=float, default=4.0, help="address space of a case's process, in GiB")
    parser.add_argument("--classes", nargs="*", choices=list(CLASSES), default=list(CLASSES))
    parser.add_argument("--messages", action="store_true", help="print every message once")
    args = parser.parse_args()
    rows: dict[str, Counter[str]] = defaultdict(Counter)
    errors: dict[str, Counter[str]] = defaultdict(Counter)
    slowest: dict[str, float] = defaultdict(float)
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        worker = Worker(int(args.memory * 2**30), args.seconds, Path(folder))
        for name in args.classes:
            for index in range(args.start, args.start + args.count):
                note, outcome, seconds = worker.judge(name, args.seed, index)
                slowest[name] = max(slowest[name], seconds)
                for row in (rows[name], rows["all"]):
                    row.update(("cases", outcome.kind))
                    row["compared"] += outcome.compared
                if outcome.error:
                    errors[name][outcome.error] += outcome.kind == "error"
                if outcome.kind == "bad":
                    print(f"BAD {name} {args.seed}/{index}: {note[:1500]}")
                    print(f"    {outcome.message}", flush=True)
                elif args.messages and outcome.message:
                    print(f"{name} {index}: {outcome.error}: {outcome.message[:300]}")
        worker.stop()
    slowest["all"] = max(slowest.values())
    _print(rows, errors, slowest)
    print(f"\nseed {args.seed}, {time.perf_counter() - began:.0f} s; compared: with the brute-force oracle")
    return int(rows["all"]["bad"] > 0)


def _print(rows: dict[str, Counter[str]], errors: dict[str, Counter[str]], slowest: dict[str, float]) -> None:
    keys = ("cases", "convex", "not_convex", "unknown", "compared", "error", "bad")
    table: list[tuple[str, ...]] = [COLUMNS]
    table += [(name, *(str(row[k]) for k in keys), f"{slowest[name]:.1f}") for name, row in rows.items()]
    table.append(table.pop(1 + list(rows).index("all")))
    widths = [max(len(line[i]) for line in table) for i in range(len(COLUMNS))]
    print()
    for line in table:
        cells = [v.rjust(w) for v, w in zip(line[1:], widths[1:], strict=True)]
        print(line[0].ljust(widths[0]), *cells, sep="  ")
    print("\nerrors by type")
    for name, counts in errors.items():
        print(f"  {name}:", ", ".join(f"{kind} {n}" for kind, n in counts.most_common() if n))


if __name__ == "__main__":
    sys.exit(main())
