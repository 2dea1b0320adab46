"""Import from PyTorch: every operator against the module itself, in float64."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations, parametrize

from jensen.errors import NetworkError, UnsupportedOperatorError
from jensen.network import Lowered, as_network, from_torch


class Body(nn.Module):
    """A function of the input, between two layers that mix everything, so that each entry matters."""

    def __init__(self, function: Callable[[Tensor], Tensor], shape: tuple[int, ...], parts: nn.Module | None):
        super().__init__()
        self.function, self.shape, self.part = function, shape, parts
        size = int(np.prod(shape))
        self.first = nn.Linear(size, size)
        with torch.no_grad():
            probe = self.body(torch.zeros(3, *shape))
        self.last = nn.Linear(probe[0].numel(), 1)

    def body(self, x: Tensor) -> Tensor:
        result: Tensor = self.function(x) if self.part is None else self.part(x)
        return result

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x.flatten(1)).reshape(-1, *self.shape)
        result: Tensor = self.last(self.body(h).flatten(1))
        return result


def compare(module: nn.Module, shape: tuple[int, ...], lowered: Lowered | None = None) -> Lowered:
    module = module.eval()
    lowered = lowered or from_torch(module, shape)
    dtype = next(module.parameters()).dtype
    x = torch.randn(40, *shape, dtype=dtype, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = module(x).reshape(40).double().numpy()
    found = lowered.network(x.reshape(40, -1).double().numpy())
    tolerance = 1e-11 if dtype == torch.float64 else 1e-4
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)
    assert lowered.exact == (not lowered.notes)
    assert lowered.deviation == 0.0 if lowered.exact else lowered.deviation < 1e-10
    return lowered


FUNCTIONS: dict[str, tuple[tuple[int, ...], Callable[[Tensor], Tensor]]] = {
    "relu": ((6,), torch.relu),
    "leaky_relu": ((6,), lambda x: functional.leaky_relu(x, 0.2)),
    "rrelu": ((6,), lambda x: functional.rrelu(x, training=False)),
    "relu6": ((6,), lambda x: functional.relu6(4 * x)),
    "hardtanh": ((6,), lambda x: functional.hardtanh(x, -0.3, 0.6)),
    "clamp": ((6,), lambda x: x.clamp(-0.5, 0.25)),
    "clamp_min": ((6,), lambda x: x.clamp(min=-0.1)),
    "clamp_max": ((6,), lambda x: x.clamp(max=0.1)),
    "clamp_crossed": ((6,), lambda x: x.clamp(0.5, -0.5) + x),
    "clamp_tensor": ((3,), lambda x: torch.clamp(x, torch.tensor([-1.0, 0.0, 0.1]), torch.ones(3))),
    "abs": ((6,), torch.abs),
    "max_of_two": ((6,), lambda x: torch.maximum(x, x.flip(1))),
    "min_of_two": ((6,), lambda x: torch.minimum(x, 2 * x.flip(1))),
    "max_constant": ((3,), lambda x: torch.maximum(x, torch.tensor([0.1, -0.2, 0.0]))),
    "max_dim": ((3, 5), lambda x: x.max(dim=2).values),
    "max_all_dims": ((3, 5), lambda x: torch.amax(x, (1, 2), keepdim=True)),
    "amin": ((3, 5), lambda x: x.amin(1)),
    "maxout": ((12,), lambda x: x.view(-1, 4, 3).max(-1)[0]),
    "sum": ((3, 4), lambda x: x.sum(1)),
    "mean": ((3, 4), lambda x: x.mean((1, 2), keepdim=True)),
    "arithmetic": ((4,), lambda x: (3 - x) * 0.3 + (x + 2.5) / 7 - (-x) * torch.arange(4.0)),
    "alpha": ((4,), lambda x: torch.add(x, x.flip(1), alpha=0.3) - torch.sub(x, torch.ones(4), alpha=2)),
    "rsub": ((4,), lambda x: torch.rsub(torch.relu(x), 1.5, alpha=2)),
    "matmul": ((4,), lambda x: x @ torch.arange(12.0).reshape(4, 3)),
    "matmul_left": ((4, 2), lambda x: torch.arange(12.0).reshape(3, 4) @ x),
    "matmul_vector": ((4,), lambda x: (x @ torch.arange(4.0)).unsqueeze(1)),
    "einsum": ((4,), lambda x: torch.einsum("bi,ji->bj", x, torch.arange(8.0).reshape(2, 4))),
    "linear_on_rows": (
        (3, 4),
        lambda x: functional.linear(x, torch.arange(8.0).reshape(2, 4), torch.ones(2)),
    ),
    "transpose": ((4,), lambda x: (torch.arange(8.0).reshape(2, 4) @ x.T).T),
    "cat": ((4,), lambda x: torch.cat([x, torch.relu(x), -x], 1)),
    "cat_constant": ((4,), lambda x: torch.cat([x, torch.ones(x.shape[0], 2)], 1).relu()),
    "stack": ((4,), lambda x: torch.stack([x, torch.relu(x)], 2)),
    "slice": ((9,), lambda x: x[:, 1:8:2]),
    "slice_negative": ((9,), lambda x: x[:, -3:]),
    "select": ((3, 4), lambda x: x[:, 1] + x[:, -1]),
    "narrow": ((9,), lambda x: x.narrow(1, 2, 3)),
    "index": ((5,), lambda x: x[:, [3, 0, 0]]),
    "index_pairs": ((3, 4), lambda x: x[:, [0, 2], [1, 3]]),
    "index_select": ((5,), lambda x: torch.index_select(x, 1, torch.tensor([4, 1]))),
    "split": ((6,), lambda x: torch.split(x, 4, 1)[1] + torch.split(x, [1, 2, 3], 1)[1]),
    "chunk": ((6,), lambda x: torch.chunk(x, 2, 1)[0] * 2 + x.chunk(2, 1)[1].relu()),
    "unbind": ((3, 2), lambda x: x.unbind(1)[2] - x.unbind(1)[0]),
    "permute": ((2, 3, 4), lambda x: x.permute(0, 3, 1, 2)[:, 1].relu()),
    "movedim": ((2, 3, 4), lambda x: x.movedim(1, 3)[:, 1]),
    "swap": ((2, 3), lambda x: x.transpose(1, 2)[:, 0]),
    "squeeze": ((4,), lambda x: x.unsqueeze(1).unsqueeze(-1).squeeze()),
    "unflatten": ((6,), lambda x: torch.unflatten(x, 1, (2, -1))[:, 0]),
    "expand": ((3,), lambda x: x.unsqueeze(2).expand(-1, -1, 4) * torch.arange(4.0)),
    "repeat": ((3,), lambda x: x.repeat(1, 2) * torch.arange(6.0)),
    "pad": ((3, 3), lambda x: functional.pad(x, (1, 2, 0, 1), value=0.5).relu()),
    "pad_crop": ((3, 3), lambda x: functional.pad(x, (-1, 1))),
    "pad_reflect": ((2, 4), lambda x: functional.pad(x, (2, 1), mode="reflect")),
    "pad_circular": ((2, 4), lambda x: functional.pad(x, (2, 1), mode="circular")),
    "dropout": ((4,), lambda x: functional.dropout(x, 0.5, training=False)),
    "float": ((4,), lambda x: x.to(torch.float64).contiguous().clone()),
    "zeros_like": ((4,), lambda x: torch.maximum(x, torch.zeros_like(x)) + torch.ones_like(x)),
    "detach_literal": ((3,), lambda x: x * torch.tensor([1.0, 2.0, -3.0]).detach()),
    "in_place": ((4,), lambda x: functional.relu(x * 2, inplace=True)),
    "in_place_shared": ((4,), lambda x: torch.cat([y := x * 1.5, y.relu_()], 1)),
    "in_place_view": ((4,), lambda x: _zero_first(x * 1)),
    "where": ((4,), lambda x: torch.where(x > 0, x, 0.3 * x)),
    "where_less": ((4,), lambda x: torch.where(x <= 0, 0.3 * x, 2 * x)),
}


def _zero_first(x: Tensor) -> Tensor:
    x[:, :2].clamp_(min=0)
    return x


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name: str) -> None:
    torch.manual_seed(0)
    shape, function = FUNCTIONS[name]
    torch.set_default_dtype(torch.float64)
    try:
        compare(Body(function, shape, None), shape)
    finally:
        torch.set_default_dtype(torch.float32)


MODULES: dict[str, tuple[tuple[int, ...], Callable[[], nn.Module]]] = {
    "conv1d": ((2, 9), lambda: nn.Conv1d(2, 3, 3, stride=2, padding=1, dilation=2)),
    "conv2d": ((2, 6, 5), lambda: nn.Conv2d(2, 4, (3, 2), padding=(1, 0), groups=2)),
    "conv2d_same": ((2, 6, 5), lambda: nn.Conv2d(2, 2, 4, padding="same", bias=False)),
    "conv2d_circular": ((1, 5, 5), lambda: nn.Conv2d(1, 2, 3, padding=1, padding_mode="circular")),
    "conv3d": ((1, 3, 4, 3), lambda: nn.Conv3d(1, 2, 2)),
    "prelu": ((3, 4), lambda: nn.PReLU(3, init=0.1)),
    "prelu_single": ((5,), nn.PReLU),
    "batch_norm_1d": ((5,), lambda: _warm(nn.BatchNorm1d(5), (5,))),
    "batch_norm_2d": ((3, 4, 4), lambda: _warm(nn.BatchNorm2d(3), (3, 4, 4))),
    "batch_norm_plain": ((3, 4, 4), lambda: _warm(nn.BatchNorm2d(3, affine=False), (3, 4, 4))),
    "max_pool1d": ((2, 9), lambda: nn.MaxPool1d(3, 2, padding=1)),
    "max_pool2d": ((2, 6, 6), lambda: nn.MaxPool2d(2)),
    "max_pool2d_overlap": ((1, 7, 6), lambda: nn.MaxPool2d(3, 2, padding=1)),
    "max_pool2d_dilated": ((1, 7, 7), lambda: nn.MaxPool2d(2, 1, dilation=2, ceil_mode=True)),
    "max_pool2d_ceil": ((1, 5, 5), lambda: nn.MaxPool2d(2, 2, ceil_mode=True)),
    "avg_pool1d": ((2, 8), lambda: nn.AvgPool1d(4)),
    "avg_pool2d": ((2, 5, 5), lambda: nn.AvgPool2d(3, 2, padding=1)),
    "avg_pool2d_inside": ((2, 5, 5), lambda: nn.AvgPool2d(3, 2, padding=1, count_include_pad=False)),
    "avg_pool2d_ceil": ((1, 6, 6), lambda: nn.AvgPool2d(3, 2, padding=1, ceil_mode=True)),
    "avg_pool2d_divisor": ((1, 4, 4), lambda: nn.AvgPool2d(2, divisor_override=3)),
    "adaptive_avg_pool1d": ((2, 7), lambda: nn.AdaptiveAvgPool1d(3)),
    "adaptive_avg_pool2d": ((2, 5, 7), lambda: nn.AdaptiveAvgPool2d((3, 2))),
    "global_avg_pool": ((2, 5, 7), lambda: nn.AdaptiveAvgPool2d(1)),
    "adaptive_max_pool2d": ((1, 5, 4), lambda: nn.AdaptiveMaxPool2d((2, 3))),
    "zero_pad": ((1, 3, 3), lambda: nn.ZeroPad2d(1)),
    "reflection_pad": ((1, 3, 3), lambda: nn.ReflectionPad2d(1)),
    "replication_pad": ((1, 3, 3), lambda: nn.ReplicationPad2d(1)),
    "softplus_weights": ((4,), lambda: _parametrised(nn.Linear(4, 3), nn.Softplus())),
    "weight_norm": ((4,), lambda: parametrizations.weight_norm(nn.Linear(4, 3))),
    "threshold_free_dropout": (
        (4,),
        lambda: nn.Sequential(nn.Dropout(0.3), nn.AlphaDropout(0.2), nn.Identity()),
    ),
}


def _warm(layer: nn.Module, shape: tuple[int, ...]) -> nn.Module:
    for parameter in layer.parameters():
        nn.init.uniform_(parameter, 0.5, 2.0)
    layer(torch.randn(20, *shape) * 2 + 1)
    return layer


def _parametrised(layer: nn.Module, rule: nn.Module) -> nn.Module:
    return parametrize.register_parametrization(layer, "weight", rule)


@pytest.mark.parametrize("name", MODULES)
def test_modules(name: str) -> None:
    torch.manual_seed(0)
    shape, build = MODULES[name]
    torch.set_default_dtype(torch.float64)
    try:
        compare(Body(torch.relu, shape, nn.Sequential(build(), nn.ReLU())).eval(), shape)
    finally:
        torch.set_default_dtype(torch.float32)


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.again = nn.Conv2d(4, 4, 3, padding=1)
        self.skip = nn.Linear(36, 5)
        self.dense = nn.Linear(36, 5)
        self.out = nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.norm(self.conv(x)))
        h = torch.relu(self.again(h) + h)
        h = functional.max_pool2d(h, 2).flatten(1)
        h = functional.relu6(self.dense(h) + self.skip(x.view(x.size(0), -1)))
        result: Tensor = self.out(h)
        return result


def test_residual_network_and_choice_of_output() -> None:
    torch.manual_seed(0)
    model = Residual().double()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(NetworkError, match=r"2 outputs.*output="):
        from_torch(model, (1, 6, 6))
    with pytest.raises(NetworkError, match="out of range"):
        from_torch(model, (1, 6, 6), output=2)
    lowered = from_torch(model, (1, 6, 6), output=1)
    assert model.training
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    assert not lowered.exact
    assert any("norm" in note for note in lowered.notes)
    x = torch.randn(30, 1, 6, 6, dtype=torch.float64)
    expected = model.eval()(x)[:, 1].detach().numpy()
    np.testing.assert_allclose(lowered.network(x.flatten(1).numpy()), expected, atol=1e-12)
    assert lowered.network.input_shape == (1, 6, 6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_plain_network_is_exact_and_keeps_its_weights(dtype: torch.dtype) -> None:
    model = nn.Sequential(nn.Linear(4, 7), nn.ReLU(), nn.Linear(7, 5), nn.LeakyReLU(), nn.Linear(5, 1)).to(
        dtype
    )
    lowered = from_torch(model)
    network = lowered.network
    assert lowered == Lowered(network, True) or (lowered.exact and lowered.deviation == 0.0)
    assert network.widths == (7, 5)
    for layer, position in ((0, 0), (1, 2)):
        weight, bias = model[position].weight, model[position].bias
        assert isinstance(weight, Tensor)
        assert isinstance(bias, Tensor)
        stored = network.layers[layer].weights[layer]
        assert isinstance(stored, np.ndarray)
        assert np.array_equal(stored, weight.detach().double().numpy())
        assert np.array_equal(network.layers[layer].bias, bias.detach().double().numpy())
    slope = 0.01 if dtype == torch.float64 else float(np.float32(0.01))
    assert (network.layers[1].negative_slope == slope).all()
    stored = network.layers[0].weights[0]
    assert isinstance(stored, np.ndarray)
    assert not stored.flags.writeable
    with torch.no_grad():
        model[0].weight.zero_()  # type: ignore[operator]
    assert stored.any()


def test_convolution_is_exact_and_sparse() -> None:
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(200, 1)
    )
    lowered = from_torch(model, (1, 10, 10))
    assert lowered.exact
    assert lowered.network.widths == (800, 400, 200)
    assert lowered.network.layers[0].weights[0].shape == (800, 100)


def test_neurons_are_shared_and_spared() -> None:
    first, out = nn.Linear(3, 4), nn.Linear(4, 1)

    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.out = first, out

        def forward(self, x: Tensor) -> Tensor:
            h = torch.relu(self.first(x)) + torch.relu(self.first(x))
            h = functional.leaky_relu(torch.relu(h / 2), 1.0)
            result: Tensor = self.out(h)
            return result

    assert from_torch(Twice()).network.widths == (4,)


def test_layers_are_as_shallow_as_possible() -> None:
    class Skip(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.out = nn.Linear(3, 4), nn.Linear(4, 4), nn.Linear(11, 1)

        def forward(self, x: Tensor) -> Tensor:
            h = torch.relu(self.b(torch.relu(self.a(x))))
            result: Tensor = self.out(torch.relu(torch.cat([h, -x, self.a(x)], 1)))
            return result

    lowered = from_torch(Skip(), (3,))
    # a, and relu(-x), read the input alone; so does relu(a), which is there already.
    assert lowered.network.widths == (7, 4)
    compare(Skip(), (3,))


def test_exported_programs() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1)).eval()
    x = torch.randn(5, 3)
    batch = torch.export.Dim("batch")
    for exported in (
        torch.export.export(model, (x,)),
        torch.export.export(model, (x,), dynamic_shapes=({0: batch},)),
        torch.export.export(model, (x[:1],)),
        torch.export.export(model, (x[0],)),
        torch.export.export(model, (x,)).run_decompositions(),
    ):
        assert compare(model, (3,), as_network(exported)).exact


SMOOTH: dict[str, Callable[[Tensor], Tensor]] = {
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "softplus": functional.softplus,
    "square": lambda x: x * x,
}


@pytest.mark.parametrize("name", SMOOTH)
def test_unsupported_operators_are_named(name: str) -> None:
    body = Body(SMOOTH[name], (3,), None)
    with pytest.raises(UnsupportedOperatorError, match="node ") as caught:
        from_torch(body, (3,))
    assert caught.value.operator == ("aten.mul.Tensor" if name == "square" else f"aten.{name}.default")
    nested = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.ReLU(), nn.Sigmoid()), nn.Linear(2, 1))
    with pytest.raises(UnsupportedOperatorError, match=r"\(1\.1\)"):
        from_torch(nested)


MIXING: dict[str, Callable[[Tensor], Tensor]] = {
    "mean_over_batch": lambda x: x - x.mean(0, keepdim=True),
    "first_entry": lambda x: x + x[0],
    "flatten_all": lambda x: x + x.flatten().sum(),
    "reshape": lambda x: x.reshape(-1, 2 * x.shape[0]).reshape(x.shape),
    "cat_batch": lambda x: torch.cat([x, x], 0)[: x.shape[0]],
    "pairwise": lambda x: (x.sum(1, keepdim=True) + x.sum(1)).sum(1, keepdim=True),
    "reverse": lambda x: x.flip(0),
}


@pytest.mark.parametrize("name", MIXING)
def test_mixing_the_batch_is_refused(name: str) -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            return MIXING[name](self.first(x))

    with pytest.raises(NetworkError, match="batch"):
        from_torch(Model(), output=0)


def test_unknown_shape_and_several_inputs() -> None:
    with pytest.raises(NetworkError, match="input_shape"):
        from_torch(nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 1)))
    with pytest.raises(NetworkError, match="cannot trace"):
        from_torch(nn.Linear(3, 1), (4,))

    class Two(nn.Module):
        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return x + y

    exported = torch.export.export(Two(), (torch.zeros(2, 1), torch.zeros(2, 1)))
    with pytest.raises(NetworkError, match="2 inputs"):
        from_torch(exported)


def test_comparisons_alone_are_refused() -> None:
    body = Body(lambda x: x * (x > 0), (3,), None)
    with pytest.raises(UnsupportedOperatorError, match="not continuous"):
        from_torch(body, (3,))


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_module_that_cannot_be_copied_as_it_stands() -> None:
    layer = nn.utils.weight_norm(nn.Linear(4, 3))
    model = nn.Sequential(layer, nn.ReLU(), nn.Linear(3, 1))
    model(torch.ones(1, 4)).backward()
    gradients = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    compare(model, (4,))
    assert all(
        torch.equal(p.grad, g)
        for p, g in zip(model.parameters(), gradients, strict=True)
        if p.grad is not None
    )


def test_parametrised_weights_fold_in_the_models_own_dtype() -> None:
    layer = _parametrised(nn.Linear(4, 3), nn.Softplus())
    lowered = from_torch(nn.Sequential(layer, nn.ReLU(), nn.Linear(3, 1)), (4,))
    assert lowered.exact
    weight = layer.weight
    assert isinstance(weight, Tensor)
    assert np.array_equal(lowered.network.layers[0].weights[0], weight.detach().double().numpy())  # type: ignore[arg-type]


@st.composite
def architectures(draw: st.DrawFn) -> tuple[list[str], list[int], int]:
    kinds = draw(
        st.lists(st.sampled_from(["relu", "leaky", "abs", "clamp", "max", "skip", "cat"]), max_size=5)
    )
    widths = draw(st.lists(st.integers(1, 4), min_size=len(kinds), max_size=len(kinds)))
    return kinds, widths, draw(st.integers(0, 2**16))


class Random(nn.Module):
    """Layers with integer weights, so that nothing rounds."""

    def __init__(self, kinds: list[str], widths: list[int]) -> None:
        super().__init__()
        self.kinds = kinds
        self.layers = nn.ModuleList()
        size = 3
        for kind, width in zip(kinds, widths, strict=True):
            self.layers.append(nn.Linear(size, 2 * width))
            size = {"cat": 4 * width, "max": width}.get(kind, 2 * width)
        self.layers.append(nn.Linear(size, 1))
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(torch.randint(-2, 3, parameter.shape))

    def forward(self, x: Tensor) -> Tensor:
        h = x
        for kind, layer in zip(self.kinds, self.layers, strict=False):
            z = layer(h)
            if kind == "relu":
                h = torch.relu(z)
            elif kind == "leaky":
                h = functional.leaky_relu(z, 0.5)
            elif kind == "abs":
                h = z.abs()
            elif kind == "clamp":
                h = z.clamp(-1, 2)
            elif kind == "max":
                h = torch.unflatten(z, 1, (-1, 2)).amax(2)
            elif kind == "skip":
                h = torch.relu(z) - z
            else:
                h = torch.cat([torch.relu(z), z], 1)
        result: Tensor = self.layers[-1](h)
        return result


@settings(max_examples=25, deadline=None)
@given(architectures())
def test_random_architectures_with_integer_weights_are_exact(
    architecture: tuple[list[str], list[int], int],
) -> None:
    kinds, widths, seed = architecture
    torch.manual_seed(seed)
    model = Random(kinds, widths).double()
    lowered = from_torch(model, (3,))
    assert lowered.exact
    x = torch.randint(-8, 9, (40, 3)).double()
    assert np.array_equal(lowered.network(x.numpy()), model(x)[:, 0].detach().numpy())


@pytest.mark.filterwarnings("error")
def test_in_place_operators_make_no_noise_and_a_list_of_one_shape_is_a_shape() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(inplace=True), nn.Linear(8, 1))
    one, listed = (from_torch(model, shape) for shape in ((4,), [(4,)]))  # type: ignore[arg-type]
    assert one.network.digest == listed.network.digest


class WrittenBehindDropout(nn.Module):
    """relu(x), negated through the other name that dropout gives it in eval mode."""

    def __init__(self) -> None:
        super().__init__()
        self.dropout, self.last = nn.Dropout(), nn.Linear(1, 1)

    def forward(self, x: Tensor) -> Tensor:
        hidden = x.relu()
        self.dropout(hidden).neg_()
        result: Tensor = self.last(hidden)
        return result


def test_writes_that_torch_loses_are_refused() -> None:
    with pytest.raises(UnsupportedOperatorError, match="written in place"):
        from_torch(WrittenBehindDropout(), (1,))
    plain = nn.Sequential(nn.Linear(3, 4), nn.ReLU(inplace=True), nn.Dropout(inplace=True), nn.Linear(4, 1))
    compare(plain, (3,))
