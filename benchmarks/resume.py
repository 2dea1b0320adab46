"""Kill a long check again and again: is the verdict the same, and what do the kills cost.

    python benchmarks/resume.py --network 5x16-16-16-16 --factor 0.9 --kills 20

Runs the check once undisturbed, then once more with a progress file, killed by SIGKILL at random moments and
resumed each time. Counts wall seconds and, because others may share the machine, processor seconds. Exits
with 1 if the verdict changes or a certificate is refused.
"""

from __future__ import annotations

import argparse
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import jensen
from benchmarks.certificates import largest
from benchmarks.networks import load
from jensen.network import Domain, ReLUNetwork

PROGRAM = """
import sys
import jensen
model, lo, hi, certificate, *resume = sys.argv[1:]
domain = jensen.WholeSpace() if lo == "-inf" else jensen.Box(float(lo), float(hi))
verdict = jensen.check(model, domain, method="branch", exact=True, resume=resume[0] if resume else None)
print(verdict.kind)
if verdict.certificate is not None:
    verdict.save(certificate)
"""


def start(arguments: list[str]) -> subprocess.Popen[str]:
    """Start the check in a process of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", PROGRAM, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def processor_seconds() -> float:
    """Processor time of all children that have ended, killed ones included."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", default="5x16-16-16-16")
    parser.add_argument("--largest", type=int, help="or the largest of 8 affine functions of so many inputs")
    parser.add_argument("--factor", type=float, default=0.9)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng = Random(args.seed)
    question: tuple[ReLUNetwork, Domain] = load(args.network, args.factor)
    if args.largest:
        question = largest(args.largest, 8).network, jensen.WholeSpace()
    network, domain = question
    ends = [str(float(end[0])) for end in domain.bounds(network.input_size)]
    with tempfile.TemporaryDirectory() as folder:
        model, journal, certificate = (
            Path(folder, name) for name in ("network.npz", "journal", "certificate")
        )
        jensen.save_network(network, model)
        began = time.perf_counter()
        expected = start([str(model), *ends, str(certificate)]).communicate()[0].strip()
        whole, busy = time.perf_counter() - began, processor_seconds()
        print(f"undisturbed: {expected}, {whole:.1f} s, processor {busy:.1f} s", flush=True)
        moments = sorted(rng.uniform(0, whole) for _ in range(args.kills))
        waits = [b - a for a, b in zip([0.0, *moments], moments, strict=False)]
        spent, killed, found = 0.0, 0, ""
        for wait in [*waits, None]:
            began = time.perf_counter()
            process = start([str(model), *ends, str(certificate), str(journal)])
            try:
                found = process.communicate(timeout=wait)[0].strip()
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.communicate()
                killed += 1
            spent += time.perf_counter() - began
            cases = journal.read_bytes().count(b"\n") - 1 if journal.exists() else 0
            print(f"after {spent:.1f} s: {found or 'killed'}, {cases} cases on disk", flush=True)
            if found:
                break
        replayed = jensen.verify(certificate, network, domain).leaves if expected == found == "convex" else 0
        work = processor_seconds() - busy
        print(f"{killed} kills: {found}, {spent:.1f} s, {spent / whole:.2f} times the undisturbed run;")
        print(f"processor {work:.1f} s, {work / busy:.2f} times")
        print(f"certificate replayed: {replayed} leaves")
    return int(found != expected or (found == "convex" and not replayed))


if __name__ == "__main__":
    sys.exit(main())
