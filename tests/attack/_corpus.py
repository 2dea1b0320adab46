"""Certificates to alter: of oracle cases, and of their networks on other domains and in other inputs."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from oracle import case, oracle_is_convex
from oracle._draws import random_domain, small

import jensen
from jensen.network import Box, Domain, Polytope, ReLUNetwork, WholeSpace
from jensen.verifier import Certificate

Content = dict[str, Any]
"""A certificate's file as plain data, without its checksum."""


@dataclass(frozen=True)
class Sample:
    """A network, a certificate about it, and the certificate's file as data."""

    network: ReLUNetwork
    certificate: Certificate
    content: Content
    name: str

    @property
    def trees(self) -> int:
        """How many case trees it holds."""
        return len(self.content["proof"].get("trees", []))


def content_of(certificate: Certificate) -> Content:
    """Return what stands in a certificate's file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "certificate.json"
        certificate.save(path)
        content: Content = json.loads(path.read_bytes())
    del content["checksum"]
    return content


def certified(
    network: ReLUNetwork, domain: Domain | None, wrt: tuple[int, ...] | None, name: str = ""
) -> Sample:
    """Check with a certificate, and confirm that the certificate is accepted and the verdict the oracle's."""
    verdict = jensen.check(network, domain, wrt, exact=True)
    assert verdict.certificate is not None, verdict.reason
    truth = oracle_is_convex(network, domain, wrt).convex
    assert verdict.kind == ("convex" if truth else "not_convex")
    return Sample(network, verdict.certificate, content_of(verdict.certificate), name)


def samples(seed: int, start: int, stop: int) -> Iterator[Sample]:
    """Certify the cases start..stop - 1, and their networks on two more domains each."""
    for index in range(start, stop):
        question, rng = case(seed, index), Random(f"corpus/{seed}/{index}")
        network, d = question.network, question.network.input_size
        asked = [(question.domain, question.wrt)]
        asked += [(other_domain(rng, d), other_inputs(rng, d)) for _ in range(2)]
        for position, (domain, wrt) in enumerate(asked):
            yield certified(network, domain, wrt, f"{index}/{position}")


def other_domain(rng: Random, d: int) -> Domain:
    """Draw a domain: the whole space, boxes with open and flat sides, polyhedra with flat and open ones."""
    kind = rng.random()
    if kind < 0.5:
        return random_domain(rng, d) or WholeSpace()
    if kind < 0.6:
        ends = [sorted(rng.sample([-2.0, -0.5, 0.0, 1.0, 3.0], 2)) for _ in range(d)]
        lo = [-float("inf") if rng.random() < 0.3 else low for low, _ in ends]
        return Box(lo, [float("inf") if rng.random() < 0.3 else high for _, high in ends])
    center = [rng.randint(-1, 1) for _ in range(d)]
    rows, right = [], []
    for _ in range(rng.randint(1, d + 3)):
        row = [small(rng, 0.3) for _ in range(d)]
        slack = rng.choice([0, 1, 2])
        rows.append(row)
        right.append(sum(a * c for a, c in zip(row, center, strict=True)) + slack)
        if rng.random() < 0.3:  # a slab, or a hyperplane
            rows.append([-a for a in row])
            right.append(slack - right[-1])
    return Polytope(rows, right)


def other_inputs(rng: Random, d: int) -> tuple[int, ...] | None:
    """Draw the moving inputs, mostly all."""
    if d == 1 or rng.random() < 0.7:
        return None
    return tuple(sorted(rng.sample(range(d), rng.randint(1, d - 1))))
