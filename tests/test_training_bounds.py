"""The bound penalty: sound, the same numbers as the check's own bounds, differentiable."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import jensen
from jensen.certify._bounds import interval_bounds
from jensen.certify._pieces import Piece
from jensen.certify._rules import jump_lower_bounds
from jensen.certify._tasks import Ground
from jensen.certify._twins import JumpWeights
from jensen.nn import FICNN, SkipMLP
from jensen.training import BoundConvexityPenalty
from jensen.training._exact import Frontiers
from jensen.training.tape import tape

BOX = jensen.Box(-1.0, 1.0)


def mlp(seed: int, skips: bool = True, activation: str = "relu") -> SkipMLP:
    torch.manual_seed(seed)
    return SkipMLP(2, (4, 3, 3), activation, skips=skips).double()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.booleans(), st.booleans())
def test_bounds_are_those_of_the_check(seed: int, skips: bool, leaky: bool) -> None:
    net = mlp(seed, skips, "leaky_relu" if leaky else "relu")
    network = tape(net).network()
    lo, hi = BOX.bounds(2)
    ground = Ground(Piece("domain", network, lo, hi, *BOX.inequalities(2)))
    jumps = JumpWeights(network, merge=False)
    for layer, values in enumerate(BoundConvexityPenalty(net, BOX).lower_bounds(), start=1):
        expected = [ground.jump_bound((layer, i), jumps) for i in range(len(values))]
        np.testing.assert_allclose(values.detach().numpy(), expected, rtol=1e-9, atol=1e-9)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.booleans())
def test_bounds_lie_below_every_frontier(seed: int, skips: bool) -> None:
    net = mlp(seed, skips)
    network = tape(net).network()
    cases = Frontiers(network, jensen.regions(network, BOX)).cases
    lower = [low.detach().numpy() for low in BoundConvexityPenalty(net, BOX).lower_bounds()]
    pairs = zip(cases.layers, cases.indices, strict=True)
    bounds = np.array([lower[layer - 1][i] for layer, i in pairs])
    assert (bounds <= cases.jumps(network) + 1e-9).all()


def test_on_the_whole_space_bounds_are_those_of_signs() -> None:
    net = mlp(3)
    network = tape(net).network()
    expected = jump_lower_bounds(
        network, interval_bounds(network, *jensen.WholeSpace().bounds(2)), JumpWeights(network, merge=False)
    )
    for ours, theirs in zip(BoundConvexityPenalty(net).lower_bounds(), expected, strict=True):
        np.testing.assert_allclose(ours.detach().numpy(), theirs, atol=1e-12)


def test_where_the_penalty_vanishes_the_network_is_convex() -> None:
    assert BoundConvexityPenalty(FICNN(2, (5, 5)), BOX)().item() == 0
    seen = 0
    for seed in range(30):
        net = mlp(seed, skips=False)
        with torch.no_grad():
            for layer in net.hidden:
                weight = layer.get_parameter("weight")
                weight.copy_(weight.abs() - 0.05)
        if BoundConvexityPenalty(net, BOX)().item() == 0:
            seen += any(
                (w < 0).any() for k, w in net.named_parameters() if k.startswith("hidden") and w.ndim > 1
            )
            assert jensen.check(net, BOX, exact=False).kind == "convex_float"
    assert seen > 0


def test_descent_on_the_penalty() -> None:
    net = mlp(1)
    penalty = BoundConvexityPenalty(net, BOX, refresh=5)
    before = penalty().item()
    optimiser = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(100):
        optimiser.zero_grad()
        penalty().backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    assert BoundConvexityPenalty(net, BOX)().item() < 0.05 * before


def test_gradients_are_those_of_finite_differences() -> None:
    net = mlp(2)
    penalty = BoundConvexityPenalty(net, BOX)
    penalty().backward()  # type: ignore[no-untyped-call]
    for parameter in net.parameters():
        if parameter.grad is None:
            continue
        with torch.no_grad():
            entry = tuple(
                int(i) for i in np.unravel_index(int(parameter.grad.abs().argmax()), parameter.shape)
            )
            parameter[entry] += 1e-6
            above = penalty().item()
            parameter[entry] -= 2e-6
            below = penalty().item()
            parameter[entry] += 1e-6
        assert float(parameter.grad[entry]) == pytest.approx((above - below) / 2e-6, rel=1e-4, abs=1e-6)


def test_an_affine_network_has_nothing_to_charge() -> None:
    assert BoundConvexityPenalty(SkipMLP(2, ()), BOX)().item() == 0
