"""The verifier's own rules: what they prove is never refuted, and the calculus proves it too."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from programs import WIDTH, random_recipe, random_weights, written
from torch import nn

import jensen
from jensen.calculus import decide
from jensen.errors import CertificateError
from jensen.program import Program, read_program
from jensen.verifier import replay_rules
from jensen.verifier.rules._replay import RULES

TRIALS = 200
LENGTH = 7


def proved(program: Program, domain: jensen.Domain, output: int) -> bool:
    try:
        replay_rules(program, domain, (0,), None, output)
    except CertificateError:
        return False
    return True


@pytest.mark.filterwarnings("ignore")
def test_what_is_proved_is_never_refuted() -> None:
    told = 0
    for seed in range(150):
        rng = np.random.default_rng(seed)
        steps, weights = random_recipe(rng, LENGTH, RULES), random_weights(rng, LENGTH)
        low = (-np.inf, 0.0)[int(rng.integers(2))]
        domain = jensen.Box(low, np.inf)
        x, y, p = rng.standard_normal((3, TRIALS, WIDTH)) * rng.choice([0.3, 1.0, 3.0], (1, TRIALS, 1))
        if low == 0:
            x, y = np.abs(x), np.abs(y)
        t = rng.choice([0.5, 0.25, 0.9], (TRIALS, 1))
        points = np.concatenate([x, y, t * x + (1 - t) * y])
        with np.errstate(all="ignore"):
            values = written(steps, weights, 3 * TRIALS).evaluate(points, np.concatenate([p] * 3))
        one = written(steps, weights, 1)
        for k, found in enumerate(values):
            program = replace(one, outputs=one.outputs[k : k + 1], nodes=one.nodes[: k + 1])
            fx, fy, fm = np.split(found, 3)
            slack = 1e-9 * (1 + np.abs(fx) + np.abs(fy) + np.abs(fm))
            with np.errstate(all="ignore"):
                violated = (fm > t * fx + (1 - t) * fy + slack) & (np.abs(fm) < 1e8)
            for j in range(found.shape[1]):
                if proved(program, domain, j):
                    assert not violated[:, j].any(), (seed, steps[k], j)
                    assert decide(program, (0,), domain, None, j).kind in ("constant", "affine", "convex")
                    told += 1
    assert told > 500


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("axes", [1, 2, 3])
def test_convolutions_see_every_negative_weight(axes: int, stride: int) -> None:
    """One negative entry of a kernel spoils exactly those outputs that it reaches: here, all but a few."""
    torch.manual_seed(0)
    convolution = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[axes - 1]
    shape = (2, *(7, 5, 3)[:axes])
    inner, outer = (
        convolution(2, 2, 3, padding=1),
        convolution(2, 1, 3, stride, 1, dilation=2 if axes == 1 else 1),
    )
    with torch.no_grad():
        outer.weight.abs_()
        outer.weight[(0, 1, *(0,) * axes)] = -1e-20
    model = nn.Sequential(inner, nn.Softplus(), outer, nn.Flatten())
    program = read_program(model, shape)
    size = model(torch.zeros(1, *shape)).shape[1]
    verdicts = [proved(program, jensen.WholeSpace(), j) for j in range(size)]
    # Whether the entry reaches an output: an output with that weight alone is not constant.
    alone = torch.zeros_like(outer.weight)
    alone[(0, 1, *(0,) * axes)] = 1.0
    with torch.no_grad():
        outer.weight.copy_(alone)
        assert outer.bias is not None
        outer.bias.zero_()
        reached = outer(torch.ones(1, *shape)).flatten() > 0
    assert verdicts == (~reached).tolist()
    assert any(verdicts)
    assert not all(verdicts)


def test_slopes_and_parameters_out_of_range_prove_nothing() -> None:
    convex = (nn.ELU(0.5), nn.CELU(3.0), nn.LeakyReLU(0.2), nn.LeakyReLU(-0.2), nn.Softplus(3.0))
    other = (nn.ELU(1.5), nn.LeakyReLU(1.5), nn.Softplus(1.0, 5.0), nn.SELU(), nn.Tanh(), nn.SiLU())
    for activation in (*convex, *other):
        program = read_program(nn.Sequential(nn.Linear(2, 1), activation))
        assert proved(program, jensen.WholeSpace(), 0) == (activation in convex), activation


def test_questions_that_do_not_fit() -> None:
    program = read_program(nn.Sequential(nn.Linear(2, 1), nn.Softplus()))
    for arguments, output in (((), 0), ((1,), 0), ((-1,), 0), ((0, 0), 0), ((0,), 1), ((0,), -1)):
        with pytest.raises(CertificateError):
            replay_rules(program, jensen.WholeSpace(), arguments, None, output)


def test_what_is_not_finite_is_refused() -> None:
    layer = nn.Linear(2, 1)
    model = nn.Sequential(layer, nn.Softplus())
    with torch.no_grad():
        layer.weight[0, 0] = float("inf")
    with pytest.raises(CertificateError, match="not finite"):
        replay_rules(read_program(model), jensen.WholeSpace(), (0,), None, 0)
    assert jensen.check(model).kind == "unknown"
