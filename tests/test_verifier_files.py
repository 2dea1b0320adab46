"""Files of certificates: what is written is read again, whole, and nothing else is."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from attack import content_of, sealed
from attack._content import canonical
from flint import fmpq

import jensen
from jensen.errors import CertificateError, CertificateFileError
from jensen.network import Box, Domain, Layer, Polytope, ReLUNetwork, WholeSpace
from jensen.verifier import (
    Bends,
    Certificate,
    Cover,
    Hull,
    Multipliers,
    Proof,
    Thin,
    Twins,
    Uncrossed,
    Violation,
)

NET = ReLUNetwork(2, [Layer({0: [[1.0, -1.0]]}, [0.5])], {1: [1.0]})
HUGE = fmpq(3**500, 2**1000 + 1)
FULL = Proof(
    Twins({1: [{0: fmpq(1), 3: fmpq(-2, 3)}]}),
    Cover(0.125, True, ((1, -1, 0.1, [(0, fmpq(1, 3)), (2, HUGE)]),)),
    Hull({2: fmpq(1, 7)}, [HUGE, -HUGE]),
    {
        ((1, 0), 0): [
            (1, 1),
            Thin({(1, 2): fmpq(5, 3)}, {0: fmpq(1)}),
            (1, 3),
            Uncrossed(),
            (1, 2),
            Bends([HUGE, fmpq(0)], [fmpq(1), fmpq(-1)]),
            Multipliers(False, {1: [fmpq(1, 2**30), fmpq(-3)]}, {2: [fmpq(7)]}, [fmpq(2**70)]),
        ],
        ((1, 2), 4): [Multipliers()],
    },
)


@pytest.mark.parametrize(
    "domain",
    [
        WholeSpace(),
        Box(-1.0, 1.0),
        Box([-np.inf, -0.0], [0.1, np.inf]),
        Polytope([[1.0, 5e-324], [-1e308, 0.1]], [1 / 3, -0.0]),
    ],
)
def test_what_is_saved_is_loaded(domain: Domain, tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    for verdict, proof in (
        ("convex", FULL),
        ("convex", Proof()),
        ("not_convex", Violation((Fraction(10**5000, 3), Fraction(0)), (Fraction(-1),) * 2, Fraction(1, 3))),
    ):
        for wrt in (None, (0,), (1, 0)):
            made = Certificate("sha256:0", domain, wrt, verdict, proof)  # type: ignore[arg-type]
            made.save(path)
            read = Certificate.load(path)
            assert (read.network, read.wrt, read.verdict, read.proof) == ("sha256:0", wrt, verdict, proof)
            ends = zip((*domain.bounds(2), *domain.inequalities(2)),
                       (*read.domain.bounds(2), *read.domain.inequalities(2)), strict=True)  # fmt: skip
            assert all(np.array_equal(a, b) for a, b in ends)
    assert list(tmp_path.iterdir()) == [path]


def test_a_polytope_without_rows_is_the_whole_space(tmp_path: Path) -> None:
    domain = Polytope(np.zeros((0, 2)), np.zeros(0))
    jensen.check(NET, domain, exact=True).save(tmp_path / "c.json")
    assert jensen.verify(tmp_path / "c.json", NET, domain).verdict == "convex"
    assert jensen.verify(tmp_path / "c.json", NET, WholeSpace()).verdict == "convex"


def test_what_cannot_be_written_is_not() -> None:
    third = Proof(trees={((1, 0), 0): [Multipliers(z={1: [fmpq(1, 3)]})]})

    with pytest.raises(CertificateFileError, match="power of two"):
        content_of(Certificate("sha256:0", WholeSpace(), None, "convex", third))
    made = Certificate("sha256:0", WholeSpace(), None, "convex", Proof())
    with pytest.raises(CertificateFileError, match="cannot write"):
        made.save("no/such/folder/c.json")


def test_files_that_are_no_certificates(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    for data in (
        b"", b"{", b"null", b"[]", b"{}", b"\xff\xfe\x00", b"\x00", b"1e999", b"NaN", b'{"format":"jensen"}',
        b"[" * 100_000, b'{"format":' + b"[" * 990 + b"]" * 990 + b"}", b'{"a":' + b"9" * 10_000 + b"}",
    ):  # fmt: skip
        path.write_bytes(data)
        with pytest.raises(CertificateFileError):
            Certificate.load(path)
    for missing in (tmp_path / "none.json", tmp_path, "/dev/null", "a\x00b", b"c.json", 3, None):
        with pytest.raises(CertificateFileError):
            Certificate.load(missing)  # type: ignore[arg-type]


def altered(path: Path, **entries: Any) -> None:
    made = Certificate(NET.digest, WholeSpace(), None, "convex", Proof())
    path.write_bytes(sealed({**content_of(made), **entries}))


def test_other_versions_and_kinds(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    altered(path)
    assert jensen.verify(path, NET).verdict == "convex"
    for entries, match in (
        ({"version": 2}, "version 2; this jensen reads 1"),
        ({"version": True}, "altered"),
        ({"version": 1.0}, "altered"),
        ({"format": "jensen.journal"}, "not a certificate"),
        ({"verdict": "maybe"}, "malformed"),
        ({"wrt": [True]}, "malformed"),
        ({"wrt": [-1]}, "malformed"),
        ({"wrt": {}}, "altered"),
        ({"domain": {"kind": "ball"}}, "malformed"),
        ({"domain": {"kind": "box", "lo": [1.0], "hi": [0.0]}}, "malformed"),
        ({"domain": {"kind": "box", "lo": [0], "hi": [1]}}, "altered"),
        ({"domain": {"kind": "box", "lo": [True], "hi": [1.0]}}, "malformed"),
        ({"more": 1}, "altered"),
        ({"network": 1}, "altered"),
        ({"proof": {}}, "malformed"),
        ({"proof": {"x": ["1/0", "0"], "y": ["0", "0"], "t": "1/2"}, "verdict": "not_convex"}, "malformed"),
        ({"proof": {"x": ["2/4", "0"], "y": ["0", "0"], "t": "1/2"}, "verdict": "not_convex"}, "altered"),
    ):
        altered(path, **entries)
        with pytest.raises(CertificateFileError, match=match):
            Certificate.load(path)


def test_the_checksum_tells_what_jensen_did_not_write(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    altered(path)
    whole = path.read_bytes()
    content = json.loads(whole)
    for data in (
        whole[:-1],
        whole + b"\n",
        canonical({**content, "checksum": "sha256:" + "0" * 64}) + b"\n",
        canonical({k: v for k, v in content.items() if k != "checksum"}) + b"\n",
        json.dumps(content, indent=1).encode(),
    ):
        path.write_bytes(data)
        with pytest.raises(CertificateFileError, match="altered or is torn"):
            Certificate.load(path)


def test_a_small_file_asks_for_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    proof = content_of(Certificate(NET.digest, WholeSpace(), None, "convex", Proof()))["proof"]
    for exponent in (1 << 12, 1 << 40, 10**400):
        leaf = {"e": exponent, "z": [[1, [1]]]}
        altered(path, proof={**proof, "trees": [[[1, 0], 0, [leaf]]]})
        with pytest.raises(CertificateFileError, match="malformed"):
            jensen.verify(path, NET)
    altered(path, proof={**proof, "trees": [[[1 << 60, 0], 0, [{}]]]})
    with pytest.raises(CertificateError, match="does not have"):
        jensen.verify(path, NET)
