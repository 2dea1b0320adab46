"""`repair` always ends with a certificate, and what it does to the output's weights is optimal."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import NonlinearConstraint, minimize
from torch import nn

import jensen
from jensen.network import FloatArray
from jensen.nn import FICNN, SkipMLP
from jensen.training import repair
from jensen.training._attack import Attack
from jensen.training._cases import Cases, jumps_of
from jensen.training.mend._refit import Refit
from jensen.training.tape import tape

BOX = jensen.Box(-1.0, 1.0)


def mlp(seed: int, inputs: int = 2, widths: tuple[int, ...] = (4, 4), activation: str = "relu") -> SkipMLP:
    torch.manual_seed(seed)
    return SkipMLP(inputs, widths, activation)


def random_network(seed: int, slopes: tuple[float, ...] = (0.0,)) -> jensen.ReLUNetwork:
    rng = np.random.default_rng(seed)
    layers = []
    for position in range(2):
        weights = {k: rng.normal(size=(4, n)) for k, n in ((0, 2), (1, 4)) if k <= position}
        layers.append(jensen.Layer(weights, rng.normal(size=4), rng.choice(slopes, size=4)))
    return jensen.ReLUNetwork(2, layers, {k: rng.normal(size=n) for k, n in ((0, 2), (1, 4), (2, 4))})


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(["box", "space", "polytope"]), st.integers(0, 2))
def test_modules_end_convex(seed: int, where: str, kind: int) -> None:
    triangle = jensen.Polytope([[-1.0, 0.0], [0.0, -1.0], [1.0, 1.0]], [0.5, 0.5, 0.5])
    domain = {"box": BOX, "space": jensen.WholeSpace(), "polytope": triangle}[where]
    net: nn.Module = mlp(seed, widths=(3, 3))
    if kind == 1:
        net = mlp(seed, widths=(2, 2, 2), activation="leaky_relu").double()
    if kind == 2:
        torch.manual_seed(seed)
        net = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 1))
    before = [p.detach().clone() for p in net.parameters()]
    result = repair(net, domain, time_limit=5.0)
    assert result.verdict.kind == "convex"
    assert result.verdict.certificate is not None
    jensen.verify(result.verdict.certificate, result.model)
    assert all(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))
    assert type(result.model) is type(net)


@pytest.mark.parametrize("slopes", [(0.0,), (0.0, -1.0, 0.5), (2.0, -3.0)])
def test_networks_of_any_slopes_end_convex(slopes: tuple[float, ...]) -> None:
    for seed in range(3):
        result = repair(random_network(seed, slopes), BOX, time_limit=5.0)
        assert result.verdict.kind == "convex"
        assert result.verdict.certificate is not None
        jensen.verify(result.verdict.certificate, result.model)
        assert result.error_after <= min(error for _, error in result.tried)


def test_convex_networks_stay_as_they_are() -> None:
    net = FICNN(2, (4, 4))
    result = repair(net, BOX)
    assert result.how == "none"
    assert result.error_before == result.error_after
    x = torch.rand(5, 2)
    assert torch.equal(net(x), result.model(x))


def test_a_convex_network_can_be_refitted() -> None:
    net = mlp(3)
    with torch.no_grad():
        for layer in net.hidden:
            layer.get_parameter("weight").abs_()
    x = 2 * torch.rand(300, 2) - 1
    data = x, x.square().sum(1)
    assert repair(net, BOX, data).how == "none"
    result = repair(net, BOX, data, improve=True)
    assert result.error_after < result.error_before
    assert result.verdict.certificate is not None
    jensen.verify(result.verdict.certificate, result.model)
    assert repair(FICNN(2, (4, 4)), BOX, data, improve=True).how == "none"


def test_repair_improves_on_an_icnn_of_the_same_features() -> None:
    torch.manual_seed(2)
    net = mlp(2, widths=(10, 10))
    x = 2 * torch.rand(500, 2) - 1
    y = x.square().sum(1)
    optimiser = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(200):
        optimiser.zero_grad()
        (net(x) - y).square().mean().backward()
        optimiser.step()
    result = repair(net, BOX, (x, y), time_limit=20.0)
    with torch.no_grad():
        assert float((result.model(x) - y).square().mean()) == pytest.approx(result.error_after, rel=1e-3)
    assert result.error_after <= dict(result.tried)["hidden layers x 0"]


def test_sensitivities_give_jumps() -> None:
    network = random_network(5, (0.0, 0.25))
    cases = Attack(BOX, 2, 0)(network)
    assert len(cases) > 0
    assert (cases.jumps(network) < 0).all()
    rates = cases.sensitivities(network)
    gain = np.array(
        [
            1 - network.layers[k - 1].negative_slope[i]
            for k, i in zip(cases.layers, cases.indices, strict=True)
        ]
    )
    total = sum(rates[k - 1] @ np.asarray(network.weight(3, k))[0] for k in (1, 2))
    np.testing.assert_allclose(gain * total, cases.jumps(network), rtol=1e-9, atol=1e-12)


def test_torch_and_numpy_agree_on_jumps() -> None:
    net = mlp(3, activation="leaky_relu").double()
    cases = Attack(BOX, 2, 0)(tape(net).network())
    expected = cases.jumps(tape(net).network())
    np.testing.assert_allclose(jumps_of(tape(net), cases).detach().numpy(), expected)


def test_attack_finds_nothing_in_convex_networks() -> None:
    for seed in range(3):
        torch.manual_seed(seed)
        assert len(Attack(BOX, 3, seed)(tape(FICNN(3, (5, 5))).network())) == 0


def test_refit_is_optimal() -> None:
    network = random_network(1)
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, size=(300, 2))
    y = (x**2).sum(axis=1)
    refit = Refit(network, x, y, single=False)
    free = refit.solve()
    assert free is not None
    cases = Attack(BOX, 2, 0)(network)
    refit.cut(cases)
    fitted = refit.solve()
    assert fitted is not None
    assert (cases.jumps(fitted) >= 0).all()

    def with_weights(c: FloatArray) -> jensen.ReLUNetwork:
        outputs = {0: c[:2], 1: c[2:6], 2: c[6:10]}
        return jensen.ReLUNetwork(2, network.layers, outputs, c[10])

    def error(c: FloatArray) -> float:
        return float(((with_weights(c)(x) - y) ** 2).mean())

    start = np.concatenate(
        [*(np.asarray(fitted.output_weights[k])[0] for k in range(3)), [fitted.output_bias]]
    )
    constraint = NonlinearConstraint(lambda c: cases.jumps(with_weights(c)), 0.0, np.inf)
    other = minimize(error, start.copy(), constraints=[constraint], method="SLSQP", options={"ftol": 1e-13})
    assert error(start) <= other.fun * 1.001 + 1e-9
    assert error(start) >= float(((free(x) - y) ** 2).mean()) - 1e-12


def test_bad_arguments() -> None:
    with pytest.raises(jensen.ArgumentError, match="data"):
        repair(mlp(0), BOX, (np.zeros((3, 2)), np.zeros(4)))
    with pytest.raises(jensen.ArgumentError, match="NaN"):
        repair(mlp(0), BOX, (np.full((3, 2), np.nan), np.zeros(3)))
    with pytest.raises(jensen.ArgumentError, match="time_limit"):
        repair(mlp(0), BOX, time_limit=-1.0)
    with pytest.raises(jensen.ArgumentError, match="float32"):
        repair(mlp(0).half(), BOX)
    with pytest.raises(jensen.ArgumentError, match="input_shape"):
        repair(nn.Conv2d(1, 1, 3), BOX)
    with pytest.raises(jensen.ArgumentError, match="input_shape"):
        repair(nn.Linear(2, 1), BOX, input_shape=(0,))
    with pytest.raises(jensen.JensenError, match="tanh"):
        repair(nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1)), BOX)


def test_an_output_without_bias_stays_without() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(2, 6), nn.ReLU(), nn.Linear(6, 1, bias=False))
    x = 2 * torch.rand(200, 2) - 1
    y = x.square().sum(1) + 1
    result = repair(net, BOX, (x, y), time_limit=5.0)
    with torch.no_grad():
        error = float((result.model(x).reshape(-1) - y).square().mean())
    assert error == pytest.approx(result.error_after, rel=1e-3)


def test_no_cases() -> None:
    network = random_network(0)
    none = Cases.none(network.widths)
    assert len(none.distinct() + none) == 0
    assert none.jumps(network).shape == (0,)
