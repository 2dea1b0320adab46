"""Random programs: what the calculus claims of any intermediate, random trials never refute."""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import dataclass

import numpy as np
import pytest
from programs import WIDTH, random_recipe, random_weights, written

from jensen.calculus import Analysis, analyse
from jensen.calculus._value import (
    AFFINE,
    ANY_SIGN,
    CONSTANT,
    DOWN,
    NEGATIVE,
    NONNEGATIVE,
    NONPOSITIVE,
    POSITIVE,
    UP,
    VARIES,
    Value,
)
from jensen.program import Name

TRIALS = 300
LENGTH = 8


def _drawn(rng: np.random.Generator, sign: int) -> np.ndarray:
    values = rng.standard_normal((TRIALS, WIDTH)) * rng.choice([0.3, 1.0, 3.0], (TRIALS, 1))
    if sign in (NONNEGATIVE, POSITIVE):
        values = np.abs(values)
    elif sign == NONPOSITIVE:
        values = -np.abs(values)
    return np.asarray(values)


def _granted(analysis: Analysis, values: dict[str, np.ndarray]) -> np.ndarray:
    """Samples at which what the rules take for granted holds, and no number is beyond comparison."""
    ok = np.ones(len(values["x"]), dtype=bool)
    for node in analysis.program.nodes:
        result = values[node.name]
        ok &= (np.isfinite(result) & (np.abs(result) < 1e8)).all(axis=1)
        if any(c.node == node.name for c in analysis.conditions):
            argument = node.args["other" if node.packet == "aten.div" else "self"]
            assert isinstance(argument, Name)
            number = values[argument.name]
            known = analysis.values[argument.name]
            assert isinstance(known, Value)
            negative = (known.sign & POSITIVE == 0) & (node.packet in ("aten.div", "aten.reciprocal"))
            ok &= np.where(negative, number < 0, number > 0).all(axis=1)
    return ok


def complaints(seed: int) -> tuple[list[str], int]:
    """Refuted claims about one random program, and how many of its entries are claimed to bend one way."""
    rng = np.random.default_rng(seed)
    steps, weights = random_recipe(rng, LENGTH), random_weights(rng, LENGTH)
    sign_x = (ANY_SIGN, NONNEGATIVE, POSITIVE)[int(rng.integers(3))]
    sign_p = (ANY_SIGN, NONNEGATIVE, NONPOSITIVE)[int(rng.integers(3))]
    leaves = {
        "x": Value(np.full((1, WIDTH), sign_x, np.int8), np.full((1, WIDTH), AFFINE, np.int8)),
        "p": Value(np.full((1, WIDTH), sign_p, np.int8), np.full((1, WIDTH), CONSTANT, np.int8)),
    }
    analysis = analyse(written(steps, weights, 1), leaves)
    x, y, p = _drawn(rng, sign_x), _drawn(rng, sign_x), _drawn(rng, sign_p)
    near = x + 0.2 * rng.standard_normal(x.shape)
    y = np.where(rng.random((TRIALS, 1)) < 0.5, y, near if sign_x == ANY_SIGN else np.abs(near))
    t = rng.choice([0.5, 0.25, 0.9], (TRIALS, 1))
    points = np.concatenate([x, y, t * x + (1 - t) * y])
    held = np.concatenate([p] * 3)
    with np.errstate(all="ignore"):
        found = written(steps, weights, 3 * TRIALS).evaluate(points, held)
    values = {"x": points, "p": held, **{name: f for (name, *_), f in zip(steps, found, strict=True)}}
    ok = _granted(analysis, values).reshape(3, TRIALS).all(axis=0)
    wrong, told = [], 0
    for (name, operator, _), value, f in zip(steps, analysis.outputs, found, strict=True):
        fx, fy, fm = (part[ok] for part in np.split(f, 3))
        gap = fm - (t[ok] * fx + (1 - t[ok]) * fy)
        slack = 1e-9 * (1 + np.abs(fx) + np.abs(fy) + np.abs(fm))
        for j in range(f.shape[1]):
            bits, sign = int(value.curvature[0, j]), int(value.sign[0, j])
            told += bits & (UP | DOWN) in (UP, DOWN)
            seen = {
                "bends up": not bits & UP and (gap[:, j] < -slack[:, j]).any(),
                "bends down": not bits & DOWN and (gap[:, j] > slack[:, j]).any(),
                "varies": not bits & VARIES and (np.abs(fx - fy)[:, j] > slack[:, j]).any(),
                "is negative": not sign & NEGATIVE
                and min(fx[:, j].min(initial=0), fm[:, j].min(initial=0)) < 0,
                "is positive": not sign & POSITIVE
                and max(fx[:, j].max(initial=0), fm[:, j].max(initial=0)) > 0,
            }
            wrong += [
                f"program {seed}: {operator} ({name}, entry {j}) {what}"
                for what, is_so in seen.items()
                if is_so
            ]
    return wrong, told


@dataclass(frozen=True)
class Tried:
    """An entry of a random program's value at many pairs of points and weighted means of these."""

    where: str
    claims: int
    varies: bool
    fx: np.ndarray
    fy: np.ndarray
    fm: np.ndarray
    weight: np.ndarray


def tried_entries(seed: int, operators: Container[str]) -> Iterator[Tried]:
    """Evaluate all entries of a random program of these operators, for claims about logarithms and roots."""
    rng = np.random.default_rng(seed)
    steps, weights = random_recipe(rng, LENGTH, operators), random_weights(rng, LENGTH)
    sign = (ANY_SIGN, NONNEGATIVE)[int(rng.integers(2))]
    shape = (1, WIDTH)
    leaves = {
        "x": Value(np.full(shape, sign, np.int8), np.full(shape, AFFINE, np.int8)),
        "p": Value(np.full(shape, sign, np.int8), np.full(shape, CONSTANT, np.int8)),
    }
    analysis = analyse(written(steps, weights, 1), leaves)
    x, y, p = (_drawn(rng, sign) for _ in range(3))
    t = rng.choice([0.5, 0.25, 0.9], (TRIALS, 1))
    points, held = np.concatenate([x, y, t * x + (1 - t) * y]), np.concatenate([p] * 3)
    with np.errstate(all="ignore"):
        found = written(steps, weights, 3 * TRIALS).evaluate(points, held)
    values = {"x": points, "p": held, **{name: f for (name, *_), f in zip(steps, found, strict=True)}}
    ok = _granted(analysis, values).reshape(3, TRIALS).all(axis=0)
    for (name, operator, _), value, f in zip(steps, analysis.outputs, found, strict=True):
        for j in range(f.shape[1]):
            fx, fy, fm = (part[ok, j] for part in np.split(f, 3))
            claims, varies = int(value.logarithm[0, j]), bool(value.varies[0, j])
            yield Tried(f"{seed} {operator} {name} {j}", claims, varies, fx, fy, fm, t[ok, 0])


@pytest.mark.filterwarnings("ignore")
def test_no_claim_is_refuted() -> None:
    found = [complaints(seed) for seed in range(250)]
    assert [text for wrong, _ in found for text in wrong] == []
    assert sum(told for _, told in found) > 500  # the calculus does say something
