"""Nonnegative weights: maps, right inverses, assignment, loading, removal."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils import parametrize

from jensen.errors import ArgumentError, NetworkError
from jensen.nn import (
    CONSTRAINTS,
    FICNN,
    NonnegativeConv2d,
    NonnegativeLinear,
    NonnegativeMap,
    SkipMLP,
    is_nonnegative,
    nonnegative,
    plain_state_dict,
)
from jensen.nn._nonnegative import as_map

maps = pytest.mark.parametrize("constraint", CONSTRAINTS)
DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(CONSTRAINTS), st.sampled_from(DTYPES), st.floats(allow_nan=False, allow_infinity=False)
)
def test_every_finite_parameter_gives_a_nonnegative_weight(
    constraint: str, dtype: torch.dtype, value: float
) -> None:
    largest = torch.finfo(dtype).max
    raw = torch.tensor([min(max(value, -largest), largest)], dtype=dtype)
    assert float(as_map(constraint)(raw)) >= 0


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(CONSTRAINTS), st.sampled_from(DTYPES), st.floats(0, 1e4))
def test_right_inverse(constraint: str, dtype: torch.dtype, value: float) -> None:
    weight = torch.tensor([value], dtype=dtype)
    mapping = as_map(constraint)
    raw = mapping.right_inverse(weight)
    assert raw.dtype == dtype
    assert raw.isfinite().all()
    numbers = torch.finfo(dtype)
    # A logarithm of size 700 is rounded to 700 units of the last place.
    factor = 16 + 4 * float(raw.abs()) if constraint in ("exp", "softplus") else 8
    torch.testing.assert_close(mapping(raw), weight, rtol=factor * numbers.eps, atol=4 * numbers.tiny)
    if constraint in ("clamp", "abs"):
        assert torch.equal(mapping(raw), weight)


@maps
@pytest.mark.parametrize("dtype", DTYPES)
def test_zero_is_reached_and_finite(constraint: str, dtype: torch.dtype) -> None:
    mapping = as_map(constraint)
    raw = mapping.right_inverse(torch.zeros(3, dtype=dtype))
    assert raw.isfinite().all()
    assert torch.equal(mapping(raw), torch.zeros(3, dtype=dtype))


@maps
def test_gradients(constraint: str) -> None:
    raw = torch.tensor([-30.0, -2.0, -0.5, 0.3, 1.0, 4.0, 30.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(as_map(constraint), raw)
    zero = torch.zeros(1, requires_grad=True)
    as_map(constraint)(zero).sum().backward()
    assert zero.grad is not None
    assert zero.grad.isfinite().all()


@maps
def test_assignment(constraint: str) -> None:
    layer = NonnegativeLinear(4, 3, constraint=constraint)
    raw = layer.parametrizations.weight.original  # type: ignore[union-attr]
    for value in (torch.rand(3, 4), nn.Parameter(torch.rand(3, 4)), nn.init.uniform_(torch.empty(3, 4))):
        layer.weight = value
        torch.testing.assert_close(layer.weight, value.detach())
        value.detach().fill_(-1.0)  # the layer has a copy
        assert bool((layer.weight > 0).any())
    # An optimiser still has the parameter that it was given.
    assert any(p is raw for p in layer.parameters())


@pytest.mark.parametrize(
    "bad", [-torch.ones(3, 4), torch.full((3, 4), torch.nan), torch.full((3, 4), torch.inf)]
)
def test_impossible_weights_are_refused(bad: Tensor) -> None:
    layer = NonnegativeLinear(4, 3)
    before = layer.weight.detach().clone()
    with pytest.raises(NetworkError, match="nonnegative"):
        layer.weight = bad
    with pytest.raises(NetworkError, match="nonnegative"):
        layer.load_state_dict({"weight": bad, "bias": torch.zeros(3)})
    assert torch.equal(layer.weight, before)


def test_other_shapes_are_refused() -> None:
    layer = NonnegativeLinear(4, 3)
    for shape in ((1, 4), (4, 3), (3,)):
        with pytest.raises(NetworkError, match="shape"):
            layer.weight = torch.ones(shape)


def test_plain_weights_between_networks() -> None:
    """An ICNN's weights go into a free network, and come back as long as they are nonnegative."""
    icnn, free = FICNN(3, (5, 4), constraint="softplus"), SkipMLP(3, (5, 4))
    free.load_state_dict(plain_state_dict(icnn), strict=True)
    x = torch.randn(10, 3)
    torch.testing.assert_close(free(x), icnn(x))
    again = FICNN(3, (5, 4), constraint="square")
    again.load_state_dict(free.state_dict(), strict=True)
    torch.testing.assert_close(again(x), icnn(x))
    with torch.no_grad():
        free.get_parameter("hidden.0.weight")[0, 0] = -0.1
    with pytest.raises(NetworkError, match="SkipMLP"):
        again.load_state_dict(free.state_dict())


def test_removing_a_constraint_is_noticed_and_leaves_copies_alone() -> None:
    net = FICNN(3, (5, 4))
    twin = copy.deepcopy(net)
    x = torch.randn(10, 3)
    before = net(x)
    parametrize.remove_parametrizations(net.hidden[0], "weight")
    assert net.convex_arguments == ()
    assert twin.convex_arguments == (0,)
    torch.testing.assert_close(net(x), before)
    torch.testing.assert_close(twin(x), before)
    torch.testing.assert_close(copy.deepcopy(net)(x), before)


def test_map_on_top_of_a_constraint_is_noticed() -> None:
    net = FICNN(3, (5, 4))
    parametrize.register_parametrization(net.hidden[0], "weight", nn.Tanhshrink(), unsafe=True)
    assert net.convex_arguments == ()


def test_any_module() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(4, 3)
    weight = layer.weight.detach().clone()
    assert nonnegative(layer) is layer
    assert is_nonnegative(layer)
    torch.testing.assert_close(layer.weight, weight.clamp(min=0))
    assert not is_nonnegative(nn.Linear(2, 2))
    with pytest.raises(ArgumentError, match="no parameter"):
        nonnegative(nn.Linear(2, 2), "weights")
    with pytest.raises(ArgumentError, match="constraint"):
        nonnegative(nn.Linear(2, 2), constraint="no such map")


def test_own_map() -> None:
    class Fourth(NonnegativeMap):
        def forward(self, raw: Tensor) -> Tensor:
            return raw.square().square()

        def invert(self, weight: Tensor) -> Tensor:
            return weight.sqrt().sqrt()

    net = FICNN(2, (4, 4), constraint=Fourth)
    assert net.convex_arguments == (0,)
    assert min(float(w.min()) for name, w in plain_state_dict(net).items() if "hidden.0.w" in name) >= 0


def test_convolution() -> None:
    torch.manual_seed(0)
    layer = NonnegativeConv2d(3, 4, 3, stride=2, padding=1)
    plain = nn.Conv2d(3, 4, 3, stride=2, padding=1)
    plain.load_state_dict(plain_state_dict(layer))
    x = torch.randn(2, 3, 6, 6)
    torch.testing.assert_close(layer(x), plain(x))
    assert bool((layer.weight >= 0).all())
    twin = copy.deepcopy(layer)
    twin.reset_parameters()
    assert not torch.equal(twin.weight, layer.weight)
