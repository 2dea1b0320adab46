"""The fast counts of convex random networks agree with `jensen.check`, and their witnesses are exact."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import jensen
from experiments import count_convex
from experiments.counting._decide import (
    AFFINE,
    BOXED,
    ICNN,
    LETTERS,
    NEITHER,
    WHOLE,
    decide,
    decide_block,
    negated,
    screened,
)
from experiments.counting._draws import INITS, Cell, are_icnns, draw, draw_block, layers, network
from experiments.counting._journal import Journal
from experiments.counting._kernel import CONVEX, OPEN, VIOLATED
from experiments.counting._published import calls_convex

CELLS = [
    Cell("normal", 2, (2, 2)),
    Cell("normal", 2, (3, 5)),
    Cell("uniform", 2, (2, 3)),
    Cell("uniform-half", 5, (2, 2)),
    Cell("normal", 3, (2, 2, 2, 2)),
    Cell("bias-free", 2, (2, 2)),
]
SIDE = 100.0


def is_convex(net: jensen.ReLUNetwork, side: float | None = None) -> bool:
    kind = jensen.check(net, None if side is None else jensen.Box(-side, side), exact=False).kind
    assert kind != "unknown"
    return kind != "not_convex"


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
def test_fast_verdicts_equal_those_of_check(cell: Cell) -> None:
    """Some draws of every letter that occurs in a block, one by one."""
    flats, verdicts = draw_block(cell, 0, 0), decide_block(cell, 0, 0, SIDE).verdicts
    for letter in LETTERS:
        for i in [i for i, given in enumerate(verdicts) if given == letter][:8]:
            net = network(cell, flats[i])
            affine = is_convex(net) and is_convex(network(cell, negated(cell, flats[[i]])[0]))
            assert is_convex(net) == (letter in ICNN + WHOLE + AFFINE)
            assert is_convex(net, SIDE) == (letter != NEITHER)
            assert affine == (letter == AFFINE) or letter == ICNN


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
def test_screening_is_right_where_it_answers(cell: Cell) -> None:
    flats = draw_block(cell, 1, 0)
    kinds, ends = screened(cell, flats, SIDE, 0)
    for i in np.flatnonzero(kinds == VIOLATED)[:60]:
        x, y, middle = ([Fraction(float(v)) for v in point] for point in ends[i])
        witness = jensen.certify.Witness.evaluate(network(cell, flats[i]), x, y)
        assert witness.middle == tuple(middle)
        assert max(map(abs, (*x, *y))) <= SIDE
    for i in np.flatnonzero(kinds == CONVEX)[:10]:
        assert is_convex(network(cell, flats[i]))
    for i in np.flatnonzero(kinds == OPEN)[:10]:
        assert (decide(network(cell, flats[i]), SIDE) in WHOLE + BOXED) == is_convex(
            network(cell, flats[i]), SIDE
        )


@pytest.mark.parametrize("init", INITS)
def test_draws_are_float32_numbers_that_can_be_made_again(init: str) -> None:
    cell = Cell(next(i for i in INITS if i == init), 3, (2, 4))
    flats = draw_block(cell, 2, 5)
    assert (flats == flats.astype(np.float32)).all()
    assert (flats == draw_block(cell, 2, 5)).all()
    assert (flats != draw_block(cell, 3, 5)).any()
    assert ((list(layers(cell, flats))[-1][0] >= 0).all()) == (init != "uniform")
    point = np.array([[0.3, -1.0, 2.0]])
    assert draw(cell, 2 * len(flats) + 7, 5)(point) == network(cell, flats[7])(point)


def test_icnns_are_those_without_negative_later_weights() -> None:
    cell = Cell("normal", 2, (2, 2))
    flats = draw_block(cell, 0, 0)
    expected = [all((w >= 0).all() for w, _ in list(layers(cell, flat))[1:]) for flat in flats]
    assert are_icnns(cell, flats).tolist() == expected
    assert 5 < sum(expected) < 40  # 1 in 16


def test_with_as_many_inputs_as_neurons_only_later_layers_matter() -> None:
    """The first layer is onto then, so convexity on the whole space does not depend on it: nor on d."""
    cell, other = Cell("normal", 3, (3, 3)), Cell("normal", 6, (3, 3))
    flats, others = draw_block(cell, 0, 0)[:40], draw_block(other, 0, 0)[:40]
    first, later = (3 + 1) * 3, (6 + 1) * 3
    others = np.concatenate([others[:, :later], flats[:, first:]], axis=1)
    answers = [decide(network(cell, flat), SIDE) == WHOLE for flat in flats]
    assert answers == [decide(network(other, flat), SIDE) == WHOLE for flat in others]
    assert any(answers)


def test_published_criterion_is_convexity_on_the_box_for_nonnegative_outputs() -> None:
    """Away from degenerate networks, which random weights and biases avoid."""
    for cell in (Cell("normal", 2, (2, 2)), Cell("uniform-half", 2, (2, 2, 2))):
        flats, verdicts = draw_block(cell, 0, 0), decide_block(cell, 0, 0, SIDE).verdicts
        said = [calls_convex(cell, flat, SIDE) for flat in flats]
        assert said == [letter != NEITHER for letter in verdicts]


def test_count_goes_on_where_it_was(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, pictures = tmp_path / "counts.jsonl", tmp_path / "pictures"
    command = ["--figure", "widths", "--draws", "250", "--jobs", "1", "--journal", str(path)]
    assert count_convex.main([*command, "--pictures", str(pictures)]) == 0
    assert (pictures / "count_widths.png").stat().st_size > 1000
    tables = capsys.readouterr().out
    lines = path.read_bytes().splitlines(keepends=True)
    assert len(lines) == 36
    path.write_bytes(b"".join(lines[:30]) + lines[30][:17])  # killed while it wrote
    assert count_convex.main(command) == 0
    again = capsys.readouterr().out
    assert [s for s in again.splitlines() if s.startswith("|")] == [
        s for s in tables.splitlines() if s.startswith("|")
    ]
    journal = Journal(path)
    journal.close()
    assert len(journal.blocks) == 36
    total = Counter("".join(block.verdicts for block in journal.blocks.values()))
    assert sum(total.values()) == 36 * 250
    assert total[WHOLE] > 3 * total[ICNN]  # convex networks outnumber ICNNs by far
