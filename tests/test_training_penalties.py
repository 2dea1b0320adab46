"""Penalties: zero exactly where `check` says convex, gradients by finite differences, any module."""

from __future__ import annotations

from typing import cast

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import jensen
from jensen.nn import FICNN, ConvICNN, SkipMLP
from jensen.training import CounterexamplePenalty, ExactConvexityPenalty, SampledConvexityPenalty
from jensen.training._sampled import jumps
from jensen.training.tape import has_tape, tape, write

BOX = jensen.Box(-1.0, 1.0)
TRIANGLE = jensen.Polytope([[-1.0, 0.0], [0.0, -1.0], [1.0, 1.0]], [0.5, 0.5, 0.5])


def mlp(seed: int, widths: tuple[int, ...] = (3, 2), activation: str = "relu", skips: bool = True) -> SkipMLP:
    torch.manual_seed(seed)
    return SkipMLP(2, widths, activation, skips=skips).double()


def _last(net: SkipMLP) -> torch.Tensor:
    return cast(nn.Linear, net.hidden[-1]).weight


def sequential(seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    inner = nn.Sequential(nn.Linear(3, 2), nn.LeakyReLU(0.25))
    return nn.Sequential(nn.Linear(2, 3, bias=False), nn.ReLU(), inner, nn.Linear(2, 1), nn.Flatten(0))


@pytest.mark.parametrize(
    "module", [mlp(0), mlp(1, activation="leaky_relu"), mlp(2, (), skips=False), sequential(3)]
)
def test_tape_is_the_imported_network(module: nn.Module) -> None:
    assert tape(module).network().digest == jensen.as_network(module).network.digest


def test_tape_of_constrained_layers() -> None:
    net = FICNN(2, (3, 3))
    assert tape(net).network().digest == jensen.as_network(net).network.digest
    with pytest.raises(jensen.NetworkError, match="computed"):
        write(net, tape(net).network())


def test_tape_passes_agree_with_the_network() -> None:
    net = mlp(4, (4, 3, 2), "leaky_relu")
    network, x = tape(net).network(), torch.randn(5, 2, dtype=torch.float64)
    z = tape(net).preactivations(x)
    for ours, theirs in zip(z, network.preactivations(x.numpy()), strict=True):
        np.testing.assert_allclose(ours.detach().numpy(), theirs)
    slopes = tape(net).slopes(z)
    expected = network.backward([s.numpy() for s in slopes])
    for ours, theirs in zip(tape(net).backward(slopes), expected, strict=True):
        np.testing.assert_allclose(ours.detach().numpy(), theirs, atol=1e-12)


@pytest.mark.parametrize(
    "net",
    [mlp(4, (4, 3, 2)), mlp(5, (4, 3, 2), "leaky_relu", skips=False), mlp(6, (5,)), sequential(3).double()],
)
def test_jumps_forwards_are_those_backwards(net: nn.Module) -> None:
    """The response to a unit pushed in is the adjoint, and so is its gradient by every weight."""
    weights, x = tape(net), torch.randn(50, 2, dtype=torch.float64)
    z = [v.detach() for v in weights.preactivations(x)]
    slopes = [(v > 0).double() * (1 - a) + a for v, a in zip(z, weights.negative_slopes, strict=True)]
    neurons = torch.arange(50) % sum(weights.widths)
    ours, theirs = jumps(weights, z, neurons), weights.jumps(slopes, neurons)
    torch.testing.assert_close(ours, theirs)
    parameters = list(net.parameters())
    for one, other in zip(
        torch.autograd.grad(ours.square().sum(), parameters, materialize_grads=True, allow_unused=True),
        torch.autograd.grad(theirs.square().sum(), parameters, materialize_grads=True, allow_unused=True),
        strict=True,
    ):
        torch.testing.assert_close(one, other)


def test_every_kink_has_the_same_chance() -> None:
    penalty = SampledConvexityPenalty(mlp(0), BOX, kinks=4)
    drawn = torch.zeros(11)
    for _ in range(1000):
        penalty()
        chosen = penalty._some(11)
        assert len(set(chosen.tolist())) == 4
        drawn[chosen] += 1
    assert float((drawn / 1000 - 4 / 11).abs().max()) < 0.08  # more than five standard deviations


def test_write_copies_every_weight() -> None:
    source, target = mlp(5), mlp(6)
    write(target, tape(source).network())
    for a, b in zip(source.parameters(), target.parameters(), strict=True):
        assert torch.equal(a, b)
    with pytest.raises(jensen.NetworkError, match="structure"):
        write(target, tape(mlp(7, (4, 2))).network())


@pytest.mark.parametrize(
    "module",
    [
        nn.Linear(2, 1),
        nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 1)),
        nn.Sequential(nn.Linear(2, 2), nn.ReLU()),
        SkipMLP(2, (3,), "softplus"),
        SkipMLP(2, (3,), quadratic=1.0),
    ],
)
def test_what_has_no_tape_is_refused(module: nn.Module) -> None:
    assert not has_tape(module)
    with pytest.raises(jensen.NetworkError, match="cannot look inside"):
        ExactConvexityPenalty(module, BOX)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(["box", "triangle", "space"]), st.booleans())
def test_exact_penalty_vanishes_iff_convex(seed: int, where: str, leaky: bool) -> None:
    domain = {"box": BOX, "triangle": TRIANGLE, "space": jensen.WholeSpace()}[where]
    net = mlp(seed, (2, 2), "leaky_relu" if leaky else "relu", skips=seed % 2 == 0)
    verdict = jensen.check(net, domain, exact=False)
    assert (ExactConvexityPenalty(net, domain)().item() == 0) == (verdict.kind != "not_convex")


def test_exact_penalty_sees_neurons_that_make_up_for_each_other() -> None:
    net = SkipMLP(1, (3,)).double()
    with torch.no_grad():
        net.first.weight.copy_(torch.tensor([[1.0], [2.0], [-1.0]]))
        net.first.bias.zero_()
        _last(net).copy_(torch.tensor([[1.0, -0.5, 0.0]]))
    assert ExactConvexityPenalty(net)().item() == 0
    with torch.no_grad():
        _last(net)[0, 1] = -0.75
    penalty = ExactConvexityPenalty(net)()
    assert penalty.item() == pytest.approx(0.5)
    penalty.backward()  # type: ignore[no-untyped-call]


def test_exact_penalty_limits() -> None:
    with pytest.raises(jensen.ArgumentError, match="max_regions"):
        ExactConvexityPenalty(mlp(0, (30, 30)), BOX, max_regions=10)()
    net = mlp(3, (4, 4))
    penalty = ExactConvexityPenalty(net, BOX, refresh=2)
    first = penalty().item()
    with torch.no_grad():
        _last(net).mul_(2.0)
    assert penalty().item() == pytest.approx(2 * first)  # the same patterns
    assert penalty().item() == pytest.approx(ExactConvexityPenalty(net, BOX)().item())


@pytest.mark.parametrize("method", ["kinks", "slopes"])
@pytest.mark.parametrize("domain", [BOX, TRIANGLE, jensen.WholeSpace(), jensen.Box([-1.0, 0.5], [1.0, 0.5])])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sampled_penalty_is_zero_on_convex_networks(
    method: str, domain: jensen.Domain, dtype: torch.dtype
) -> None:
    for seed in range(5):
        torch.manual_seed(seed)
        net = FICNN(2, (8, 8, 8), "relu" if seed % 2 else "leaky_relu").to(dtype)
        penalty = SampledConvexityPenalty(net, domain, method=method, lines=32, seed=seed)  # type: ignore[arg-type]
        assert [penalty().item() for _ in range(3)] == [0.0] * 3


@pytest.mark.parametrize("method", ["kinks", "slopes"])
def test_sampled_penalty_finds_what_is_there(method: str) -> None:
    net = SkipMLP(1, (1,)).double()
    with torch.no_grad():
        net.first.weight.fill_(1.0)
        net.first.bias.zero_()
        _last(net).fill_(-3.0)
    penalty = SampledConvexityPenalty(net, BOX, method=method, lines=400, keep=0.0)  # type: ignore[arg-type]
    # The kink bends down by 3, and every full chord crosses it.
    assert 1.5 <= penalty().item() <= 3.0


@pytest.mark.parametrize("method", ["kinks", "slopes"])
def test_gradients_are_those_of_finite_differences(method: str) -> None:
    net = mlp(11, (4, 4))

    def value() -> torch.Tensor:
        penalty = SampledConvexityPenalty(net, BOX, method=method, lines=8, seed=3)  # type: ignore[arg-type]
        return penalty()

    _compare_gradients(net, value)


def test_exact_gradients_are_those_of_finite_differences() -> None:
    net = mlp(12, (4, 4))
    _compare_gradients(net, ExactConvexityPenalty(net, BOX))


def _compare_gradients(net: nn.Module, value: object) -> None:
    assert callable(value)
    loss = value()
    assert loss.item() > 0
    loss.backward()
    step = 1e-7
    for parameter in net.parameters():
        if parameter.grad is None:
            continue
        with torch.no_grad():
            entry = tuple(
                int(i) for i in np.unravel_index(int(parameter.grad.abs().argmax()), parameter.shape)
            )
            parameter[entry] += step
            above = value().item()
            parameter[entry] -= 2 * step
            below = value().item()
            parameter[entry] += step
        assert float(parameter.grad[entry]) == pytest.approx((above - below) / (2 * step), rel=1e-3, abs=1e-5)


def test_sampled_penalty_on_images() -> None:
    torch.manual_seed(0)
    conv = nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Conv2d(3, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 1)
    )
    penalty = SampledConvexityPenalty(conv, jensen.Box(0.0, 1.0), input_shape=(1, 6, 6), lines=32)
    loss = penalty()
    assert loss.item() > 0
    loss.backward()  # type: ignore[no-untyped-call]
    assert conv[0].weight.grad is not None
    with pytest.raises(jensen.ArgumentError, match="input_shape"):
        SampledConvexityPenalty(conv, jensen.Box(0.0, 1.0))
    icnn = ConvICNN((1, 6, 6), (3,))
    assert float(SampledConvexityPenalty(icnn, jensen.Box(0.0, 1.0), lines=32)()) == 0


def test_sampled_penalty_is_reproducible_and_remembers() -> None:
    net = mlp(9, (8, 8))
    first, second = (SampledConvexityPenalty(net, BOX, seed=5) for _ in range(2))
    assert [first().item() for _ in range(3)] == [second().item() for _ in range(3)]
    net = SkipMLP(1, (1,)).double()
    with torch.no_grad():
        net.first.weight.fill_(1.0)
        net.first.bias.fill_(-0.999999)
        _last(net).fill_(-1.0)
    rare = SampledConvexityPenalty(net, jensen.Box(-1.0, 0.9999995), lines=4, points=4, method="kinks")
    rare.remember(np.array([[0.9999985]]), np.array([[0.9999995]]))
    assert [rare().item() > 0 for _ in range(3)] == [True] * 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"lines": 0}, "lines"),
        ({"points": 2}, "points"),
        ({"kinks": 0}, "kinks"),
        ({"keep": 1.5}, "keep"),
        ({"margin": -1.0}, "margin"),
        ({"method": "magic"}, "method"),
        ({"method": "slopes", "margin": 0.1}, "margin"),
        ({"seed": -1}, "seed"),
    ],
)
def test_bad_arguments(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(jensen.ArgumentError, match=message):
        SampledConvexityPenalty(mlp(0), BOX, **arguments)  # type: ignore[arg-type]


def test_domains_that_do_not_fit() -> None:
    with pytest.raises(jensen.DomainError, match="inputs"):
        SampledConvexityPenalty(mlp(0), jensen.Box([0.0] * 3, [1.0] * 3))
    with pytest.raises(jensen.DomainError, match="point"):
        SampledConvexityPenalty(mlp(0), jensen.Box(0.0, 0.0))


def test_counterexamples_are_charged_until_they_are_gone() -> None:
    net = mlp(9, (8, 8))
    penalty = CounterexamplePenalty(net, BOX, margin=1e-3)
    assert penalty().item() == 0
    verdict = jensen.check(net, BOX)
    assert verdict.witness is not None
    penalty.add(verdict.witness)
    assert len(penalty) > 0
    assert penalty().item() > 1e-3
    assert penalty.search() > 0
    optimiser = torch.optim.Adam(net.parameters(), 1e-2)
    for step in range(400):
        if step % 20 == 0 and penalty.search(starts=4) == 0:
            break
        optimiser.zero_grad()
        penalty().backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    assert penalty.search(starts=4) == 0


def test_counterexamples_are_few_and_recent() -> None:
    penalty = CounterexamplePenalty(mlp(9, (8, 8)), BOX, most=3)
    assert penalty.search() > 3
    assert len(penalty) == 3
    assert CounterexamplePenalty(FICNN(2, (4, 4)), BOX).search() == 0
