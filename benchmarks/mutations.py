"""Altered and forged certificates, and how `jensen.verify` answers them, as a table.

    python benchmarks/mutations.py --alterations 10000 --forgeries 3000

Every alteration is one of a valid certificate, of its network, or of its file; where the file is not what is
damaged, its checksum is made to fit, so that the replay decides. What is accepted is put to the brute-force
oracle. Forgeries are proofs for networks that are not convex, grown with the checker's own help. Exits with 1
if a false claim is accepted or anything but a `CertificateError` is raised.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
import traceback
from collections import Counter, defaultdict
from pathlib import Path
from random import Random

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from attack import ATTEMPTS, Forger, Sample, frontiers, other_domain, other_inputs, samples
from oracle import case, oracle_is_convex

from jensen.errors import CertificateError
from jensen.network import Domain

COLUMNS = (
    "alteration",
    "tried",
    "refused when read",
    "refused when replayed",
    "still true",
    "FALSE",
    "raised",
)
ANSWERS = ("file", "logic", "true", "FALSE", "raised")
PLAIN = 0.2
"""Share of alterations of certificates without trees."""


def alter(seed: int, cases: int, count: int, folder: Path) -> dict[str, Counter[str]]:
    """Alter certificates; the kinds take turns."""
    pool: tuple[list[Sample], list[Sample]] = [], []
    for sample in samples(seed, 0, cases):
        pool[bool(sample.trees)].append(sample)
    print(f"{len(pool[1])} certificates with trees, {len(pool[0])} without", file=sys.stderr)
    table: dict[str, Counter[str]] = defaultdict(Counter)
    names, rng, done = list(ATTEMPTS), Random(seed), 0
    for turn in range(20 * count):
        if done == count:
            break
        name = names[turn % len(names)]
        sample = rng.choice(pool[rng.random() >= PLAIN] or pool[0])
        try:
            outcome = ATTEMPTS[name](rng, sample, folder / "altered.json")
        except Exception:  # noqa: BLE001 - that nothing else is raised is what is measured
            table[name]["raised"] += 1
            traceback.print_exc()
            continue
        if outcome is not None:
            done += 1
            table[name][outcome.answer] += 1
            if outcome.answer == "FALSE":
                print(f"{name} of {sample.name} accepted: {outcome.detail}", file=sys.stderr)
    return table


def forge(seed: int, count: int) -> Counter[str]:
    """Try to prove frontiers away where the slope falls."""
    table: Counter[str] = Counter()
    index = 0
    while table["tried"] < count:
        question, rng = case(seed, index), Random(f"forger/{seed}/{index}")
        network, d = question.network, question.network.input_size
        asked: list[tuple[Domain | None, tuple[int, ...] | None]] = [(question.domain, question.wrt)]
        asked.append((other_domain(rng, d), other_inputs(rng, d)))
        index += 1
        for domain, wrt in asked:
            if oracle_is_convex(network, domain, wrt).convex:
                continue
            known = frontiers(network, domain, wrt)
            forger = Forger(rng, network, domain, wrt, known)
            table["networks"] += 1
            for _ in range(4):
                table["tried"] += 1
                try:
                    forged = forger.attempt(forger.proof(), sorted(rng.choice(known.guilty)), effort=20)
                except CertificateError:
                    table["refused before any tree"] += 1
                    continue
                table["left open" if forged is None else "FORGED"] += 1
    return table


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--alterations", type=int, default=10_000)
    parser.add_argument("--cases", type=int, default=400, help="networks whose certificates are altered")
    parser.add_argument("--forgeries", type=int, default=3_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        table = alter(options.seed, options.cases, options.alterations, Path(folder))
    total: Counter[str] = sum(table.values(), Counter())
    print("| " + " | ".join(COLUMNS) + " |")
    print("|---|" + "---:|" * (len(COLUMNS) - 1))
    for name, answers in [*table.items(), ("all", total)]:
        print(f"| {name} | {answers.total()} | " + " | ".join(str(answers[a]) for a in ANSWERS) + " |")
    print(f"\n{time.perf_counter() - began:.0f} s")
    began = time.perf_counter()
    forged = forge(options.seed, options.forgeries)
    print("\nForgeries: " + ", ".join(f"{n} {what}" for what, n in forged.items()))
    print(f"{time.perf_counter() - began:.0f} s")
    return int(bool(total["FALSE"] or total["raised"] or forged["FORGED"]))


if __name__ == "__main__":
    sys.exit(main())
