"""What `jensen.verify` says of an altered certificate, and whether it may."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
from oracle import oracle_is_convex
from oracle._networks import change_weights

import jensen
from attack._alterations import ALTERATIONS
from attack._content import normal, sealed
from attack._corpus import Sample
from attack._damage import DAMAGES
from jensen.errors import CertificateError, CertificateFileError
from jensen.network import Layer, ReLUNetwork
from jensen.verifier import Verification


@dataclass(frozen=True)
class Outcome:
    """How an alteration was answered.

    Attributes
    ----------
    answer : "file", "logic", "true" or "FALSE"
        Refused when read, refused when replayed, accepted and true, or accepted and false.
    detail : str
        The error's message, or what was accepted.
    """

    answer: str
    detail: str


def answer(network: ReLUNetwork, data: bytes, path: Path) -> Outcome:
    """Verify a file; anything raised but a `CertificateError` comes through."""
    path.write_bytes(data)
    try:
        found = jensen.verify(path, network)
    except CertificateFileError as error:
        return Outcome("file", str(error))
    except CertificateError as error:
        return Outcome("logic", str(error))
    return Outcome("true" if is_true(found) else "FALSE", f"{found.verdict} {found.domain} {found.wrt}")


def is_true(found: Verification) -> bool:
    """Whether the oracle agrees with what a certificate was found to prove."""
    try:
        convex = oracle_is_convex(found.network, found.domain, found.wrt).convex
    except ValueError as error:
        if str(error) != "the domain is empty":
            raise
        convex = True
    return convex == (found.verdict == "convex")


Attempt = Callable[[Random, Sample, Path], Outcome | None]


def _altered(name: str) -> Attempt:
    alteration = ALTERATIONS[name]

    def attempt(rng: Random, sample: Sample, path: Path) -> Outcome | None:
        content = deepcopy(sample.content)
        for _ in range(1 + (rng.random() < 0.2)):
            if not alteration(rng, content, sample):
                return None
        content = normal(content)
        return None if content == sample.content else answer(sample.network, sealed(content), path)

    return attempt


def _damaged(name: str) -> Attempt:
    def attempt(rng: Random, sample: Sample, path: Path) -> Outcome | None:
        data = DAMAGES[name](rng, deepcopy(sample.content))
        return None if data == sealed(sample.content) else answer(sample.network, data, path)

    return attempt


def _other_network(change: Callable[[Random, ReLUNetwork], ReLUNetwork], named: bool) -> Attempt:
    def attempt(rng: Random, sample: Sample, path: Path) -> Outcome | None:
        network = change(rng, sample.network)
        if network.digest == sample.network.digest:
            return None
        content = {**sample.content, "network": network.digest if named else sample.network.digest}
        return answer(network, sealed(content), path)

    return attempt


def by_one_ulp(rng: Random, network: ReLUNetwork) -> ReLUNetwork:
    """Move one weight, bias or slope to the next float."""
    parts = [
        ({k: np.array(w) for k, w in lay.weights.items()}, np.array(lay.bias), np.array(lay.negative_slope))
        for lay in network.layers
    ]
    outputs = {k: np.array(w) for k, w in network.output_weights.items()}
    arrays = [a for weights, bias, slope in parts for a in (*weights.values(), bias, slope)]
    array = rng.choice([a for a in [*arrays, *outputs.values()] if a.size])
    place = rng.randrange(array.size)
    array.flat[place] = np.nextafter(array.flat[place], rng.choice([-np.inf, np.inf]))
    return ReLUNetwork(
        network.input_size,
        [Layer(*part) for part in parts],
        outputs,
        network.output_bias,
        network.input_shape,
    )


def changed(rng: Random, network: ReLUNetwork) -> ReLUNetwork:
    """Change a few weights; slopes stay."""
    return change_weights(rng, network)


ATTEMPTS: dict[str, Attempt] = {
    **{name: _altered(name) for name in ALTERATIONS},
    "a weight by one ulp": _other_network(by_one_ulp, False),
    "a weight by one ulp, renamed": _other_network(by_one_ulp, True),
    "other weights": _other_network(changed, False),
    "other weights, renamed": _other_network(changed, True),
    **{name: _damaged(name) for name in DAMAGES},
}
"""By kind: alter a sample's certificate, or network, and verify; None where there is nothing to alter."""
