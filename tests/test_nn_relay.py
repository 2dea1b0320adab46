"""A RelayICNN is convex whatever its parameters are, exactly, with negative inner weights."""

from __future__ import annotations

import copy
import io

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import jensen
from jensen.nn import FICNN, RelayICNN, SkipMLP, plain_state_dict

SHAPES = [(3,), (4, 2), (5, 4), (3, 4, 3), (2, 3, 3, 2), (4, 1)]


def scrambled(seed: int, inputs: int, widths: tuple[int, ...], skips: bool, dtype: torch.dtype) -> RelayICNN:
    """Parameters of all sizes and signs, some of them zero."""
    torch.manual_seed(seed)
    net = RelayICNN(inputs, widths, skips=skips, dtype=dtype)
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(torch.randn_like(p) * 10.0 ** torch.randint(-3, 3, p.shape) * (torch.rand_like(p) < 0.8))
    return net


def has_negative_weights(net: RelayICNN) -> bool:
    return bool((net.skip_mlp().get_parameter("hidden.0.weight") < 0).any())


@given(
    st.integers(0, 10**6),
    st.integers(1, 3),
    st.sampled_from(SHAPES),
    st.booleans(),
    st.sampled_from([torch.float32, torch.float64]),
)
@settings(max_examples=60, deadline=None)
def test_convex_on_the_whole_space_with_a_certificate(
    seed: int, inputs: int, widths: tuple[int, ...], skips: bool, dtype: torch.dtype
) -> None:
    net = scrambled(seed, inputs, widths, skips, dtype).skip_mlp()
    verdict = jensen.check(net, exact=True, time_limit=60.0)
    assert verdict.kind == "convex"
    assert verdict.certificate is not None
    jensen.verify(verdict.certificate, net)


@pytest.mark.parametrize("widths", SHAPES)
@pytest.mark.parametrize("skips", [True, False])
def test_a_skip_mlp_with_its_weights_computes_the_same(widths: tuple[int, ...], skips: bool) -> None:
    net = scrambled(1, 2, widths, skips, torch.float64)
    x = 3 * torch.randn(50, 2, dtype=torch.float64)
    torch.testing.assert_close(net.skip_mlp()(x), net(x), rtol=1e-12, atol=1e-12)


def test_check_reads_the_module_itself() -> None:
    net = RelayICNN(6, (9, 8, 7))
    with torch.no_grad():
        net.get_parameter("hidden.0.weight").copy_(torch.randn(8, 9))
    assert jensen.check(net, exact=True).kind == "convex"
    assert has_negative_weights(net)


def test_an_icnn_with_one_neuron_less_is_a_special_case() -> None:
    icnn = FICNN(3, (5, 4, 3))
    net = RelayICNN(3, (5, 5, 4))
    state, plain = net.state_dict(), plain_state_dict(icnn)
    for name, value in state.items():
        value.zero_()
        part = plain[name]
        value[tuple(slice(n) for n in part.shape)] = part
    x = torch.randn(40, 3)
    torch.testing.assert_close(net(x) - net(torch.zeros(1, 3)), icnn(x) - icnn(torch.zeros(1, 3)))


def test_negative_weights_survive_training_and_pay_off() -> None:
    torch.manual_seed(0)
    x = 2 * torch.rand(2000, 2) - 1
    y = (x[:, 0].abs() + x[:, 1].abs()).maximum(2 * (x[:, 0] + x[:, 1]).relu() + 0.2)
    errors: dict[type[FICNN] | type[RelayICNN], float] = {}
    nets = {}
    for kind in (FICNN, RelayICNN):
        torch.manual_seed(0)
        net = nets[kind] = kind(2, (4, 4))
        optimiser = torch.optim.Adam(net.parameters(), 1e-2)
        for _ in range(1000):
            optimiser.zero_grad()
            loss = (net(x) - y).square().mean()
            loss.backward()
            optimiser.step()
        errors[kind] = loss.item()
    assert errors[RelayICNN] < errors[FICNN]
    trained = nets[RelayICNN]
    assert isinstance(trained, RelayICNN)
    assert has_negative_weights(trained)
    assert jensen.check(trained, exact=True).kind == "convex"


@pytest.mark.parametrize("batch", [0, 1, 4])
def test_one_number_for_each_entry_of_a_batch(batch: int) -> None:
    assert RelayICNN(3, (4, 4))(torch.randn(batch, 3)).shape == (batch,)
    with pytest.raises(jensen.NetworkError, match=r"\(batch, 3\)"):
        RelayICNN(3, (4, 4))(torch.randn(batch, 2))


def test_it_travels() -> None:
    net = RelayICNN(3, (6, 5))
    x = torch.randn(7, 3)
    file = io.BytesIO()
    torch.save(net.state_dict(), file)
    file.seek(0)
    other = RelayICNN(3, (6, 5))
    other.load_state_dict(torch.load(file, weights_only=True))
    for twin in (other, copy.deepcopy(net), torch.export.export(net, (x,)).module()):
        torch.testing.assert_close(twin(x), net(x))
    values = torch.func.vmap(
        lambda v: torch.func.functional_call(net, dict(net.named_parameters()), v[None])[0]
    )
    torch.testing.assert_close(values(x), net(x))
    assert torch.autograd.gradcheck(
        RelayICNN(2, (3, 3), dtype=torch.float64), torch.randn(3, 2).double().requires_grad_()
    )


def test_it_begins_with_the_output_of_a_network() -> None:
    torch.manual_seed(2)
    given = SkipMLP(8, (16, 16))
    net = RelayICNN.from_skip_mlp(given)
    x = torch.randn(4000, 8)
    with torch.no_grad():
        assert 0.5 < float(net(x).std() / given(x).std()) < 2.0
    for layer, other in zip(net.hidden, given.hidden, strict=True):
        assert isinstance(layer, nn.Linear)
        assert isinstance(other, nn.Linear)
        assert bool((layer.weight.sign() == other.weight.sign()).all())


def test_bad_arguments() -> None:
    with pytest.raises(jensen.ArgumentError, match="ReLU"):
        RelayICNN.from_skip_mlp(SkipMLP(2, (3, 3), "softplus"))
    with pytest.raises(jensen.ArgumentError, match="widths"):
        RelayICNN(2, (3, 0))
    with pytest.raises(jensen.ArgumentError, match="initialisation"):
        RelayICNN(2, (3, 3), initialisation="other")  # type: ignore[arg-type]
