"""A check goes on where an earlier one was cut off, whatever has become of its file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from itertools import product
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_certify_check import undecided

import jensen
from jensen.certify._journal import Journal, open_cases
from jensen.certify._prover import Node, ProvedLeaf
from jensen.network import Box, ReLUNetwork

BOX = Box(-2.0, 2.0)
DONE = float("inf")


def resumed(verdict: jensen.Verdict) -> tuple[int, int]:
    """Count the closed cases that a check took from its file, and the bytes that it could not use."""
    details = next(stage.details for stage in verdict.stages if stage.name == "branch")
    return details["resumed"], details["torn"]


@pytest.fixture(scope="module")
def network() -> ReLUNetwork:
    """A convex network that takes branch and bound."""
    return undecided(4)


@pytest.fixture(scope="module")
def journal(network: ReLUNetwork, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The file of a check that came to its end."""
    path = tmp_path_factory.mktemp("journal") / "whole"
    verdict = jensen.check(network, BOX, resume=path)
    assert verdict.kind == "convex"
    assert resumed(verdict) == (0, 0)
    content = path.read_bytes()
    assert content.count(b"\n") > 10
    return content


def grow(rng: Random, node: Node, free: list[int]) -> list[Node]:
    """Grow a random case tree and list its leaves."""
    if not free or rng.random() < 0.2:
        return [node]
    i = rng.choice(free)
    rest = [j for j in free if j != i]
    return [leaf for side in (0, 1) for leaf in grow(rng, (*node, ((1, i), side)), rest)]


@given(st.integers(0, 2**32))
def test_open_cases_and_closed_ones_cover_every_sign_once(seed: int) -> None:
    rng = Random(seed)
    leaves = grow(rng, (), list(range(5)))
    closed = [leaf for leaf in leaves if rng.random() < 0.5]
    cases = closed + open_cases([ProvedLeaf(node, "{}", DONE) for node in closed])
    for signs in product((0, 1), repeat=5):
        assert sum(all(signs[i] == side for (_, i), side in case) for case in cases) == 1


def test_a_second_check_has_nothing_left_to_do(network: ReLUNetwork, journal: bytes, tmp_path: Path) -> None:
    path = tmp_path / "journal"
    path.write_bytes(journal)
    verdict = jensen.check(network, BOX, resume=path)
    assert verdict.kind == "convex"
    assert path.read_bytes() == journal
    assert sum(stage.details.get("nodes", 0) for stage in verdict.stages) == 0
    assert verdict.certificate is not None
    assert jensen.verify(verdict.certificate, network, BOX).leaves > 0


@pytest.mark.parametrize("seed", range(12))
def test_torn_files_are_cut_to_what_is_whole(
    seed: int, network: ReLUNetwork, journal: bytes, tmp_path: Path
) -> None:
    rng = Random(seed)
    path, cut = tmp_path / "journal", rng.randrange(len(journal))
    damage = [b"", b"\n", b"deadbeef {}\n", bytes(100), journal[cut + 1 :]][seed % 5]
    path.write_bytes(journal[:cut] + damage)
    verdict = jensen.check(network, BOX, resume=path)
    assert verdict.kind == "convex"
    taken, torn = resumed(verdict)
    assert taken <= journal[:cut].count(b"\n")
    assert torn > 0 or journal[:cut].endswith(b"\n")
    again = jensen.check(network, BOX, resume=path)
    assert resumed(again)[1] == 0
    assert again.kind == "convex"


def test_altered_cases_are_found_out(network: ReLUNetwork, journal: bytes, tmp_path: Path) -> None:
    """A line whose checksum was redone by hand still has to prove its case."""
    path = tmp_path / "journal"
    path.write_bytes(journal)
    book = Journal(path, network, BOX, None)
    (neuron, piece), leaves = next((key, known) for key, known in book.known.items() if len(known) > 1)
    book.close()
    lines = journal.splitlines(keepends=True)
    path.write_bytes(b"".join(line for line in lines if b'"case":[%d,%d,' % neuron not in line))
    book = Journal(path, network, BOX, None)
    for leaf in leaves:
        book.leaf(neuron, piece, leaf._replace(text="{}"))
    book.close()
    with pytest.raises(jensen.JournalError, match="prove nothing"):
        jensen.check(network, BOX, resume=path)


def test_a_file_goes_on_with_its_own_question_only(
    network: ReLUNetwork, journal: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "journal"
    path.write_bytes(journal)
    for other, domain, wrt, what in (
        (undecided(10), BOX, None, "network"),
        (network, Box(-2.0, 1.0), None, "domain"),
        (network, BOX, (0,), "wrt"),
    ):
        with pytest.raises(jensen.JournalError, match=what):
            jensen.check(other, domain, wrt, resume=path)
    assert path.read_bytes() == journal


def test_other_files_are_left_alone(network: ReLUNetwork, tmp_path: Path) -> None:
    for content in (b"my thesis", b"{}\n", b"0", b"00000000 [1]\n" * 3, bytes(1000)):
        path = tmp_path / "thesis"
        path.write_bytes(content)
        if content == b"0":  # may be the first byte of a header
            assert jensen.check(network, BOX, resume=path).kind == "convex"
            continue
        with pytest.raises(jensen.JournalError, match="no progress file"):
            jensen.check(network, BOX, resume=path)
        assert path.read_bytes() == content
    with pytest.raises(jensen.JournalError, match="cannot use"):
        jensen.check(network, BOX, resume=tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="files are not locked there")
def test_two_checks_do_not_share_a_file(network: ReLUNetwork, tmp_path: Path) -> None:
    book = Journal(tmp_path / "journal", network, BOX, None)
    with pytest.raises(jensen.JournalError, match="in use"):
        jensen.check(network, BOX, resume=tmp_path / "journal")
    book.close()


def test_time_limits_and_workers_lose_nothing(network: ReLUNetwork, tmp_path: Path) -> None:
    path, taken = tmp_path / "journal", 0
    for n_jobs in (1, 2, 1):
        jensen.check(network, BOX, resume=path, time_limit=0.3, n_jobs=n_jobs)
        lines = path.read_bytes().count(b"\n")
        assert lines >= taken
        taken = lines
    assert jensen.check(network, BOX, resume=path).kind == "convex"


def test_violations_are_found_with_a_file_too(tmp_path: Path) -> None:
    verdict = jensen.check(undecided(10), BOX, resume=tmp_path / "journal")
    assert verdict.kind == "not_convex"
    assert verdict.witness is not None


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_killed_checks_go_on(network: ReLUNetwork, tmp_path: Path) -> None:
    rng, path, model = Random(0), tmp_path / "journal", tmp_path / "network.npz"
    jensen.save_network(network, model)
    program = (
        "import jensen, sys\n"
        "verdict = jensen.check(sys.argv[1], jensen.Box(-2.0, 2.0), resume=sys.argv[2])\n"
        "print(verdict.kind)\n"
    )
    command = [sys.executable, "-c", program, str(model), str(path)]
    size = 0
    for _ in range(4):
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, env={**os.environ, "OMP_NUM_THREADS": "1"}
        )
        while process.poll() is None and (not path.exists() or path.stat().st_size <= size):
            time.sleep(0.005)
        time.sleep(rng.random() * 0.2)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert path.stat().st_size > 0
        size = path.stat().st_size
    assert subprocess.run(command, capture_output=True, check=True).stdout.strip() == b"convex"
