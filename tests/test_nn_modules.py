"""Networks of jensen.nn as modules: shapes, states, copies, exporters, functions, dtypes, devices."""

from __future__ import annotations

import copy
import io
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import jensen
from jensen.errors import ArgumentError, NetworkError, UnsupportedOperatorError
from jensen.nn import FICNN, PICNN, Architecture, ConvICNN, SkipMLP

Make = Callable[..., Architecture]
NETWORKS: dict[str, Make] = {
    "ficnn": lambda **o: FICNN(3, (6, 5), **o),
    "ficnn_smooth": lambda **o: FICNN(3, (6, 5), "softplus", quadratic=0.5, constraint="exp", **o),
    "ficnn_plain": lambda **o: FICNN(3, (6, 5), skips=False, constraint="clamp", **o),
    "affine": lambda **o: FICNN(3, (), **o),
    "picnn": lambda **o: PICNN(2, 3, (6, 5), constraint="softplus", **o),
    "conv": lambda **o: ConvICNN((2, 5, 4), (3, 4), stride=(1, 2), **o),
    "conv_mean": lambda **o: ConvICNN((2, 5, 4), (3, 4), head="mean", skips=False, **o),
    "skip": lambda **o: SkipMLP(3, (6, 5), **o),
}
every = pytest.mark.parametrize("name", NETWORKS)


def make(name: str, **options: object) -> Architecture:
    torch.manual_seed(0)
    return NETWORKS[name](**options)


def inputs(net: nn.Module, batch: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, ...]:
    torch.manual_seed(1)
    if isinstance(net, PICNN):
        return torch.randn(batch, 2, dtype=dtype), torch.randn(batch, 3, dtype=dtype)
    shape = net.input_shape if isinstance(net, ConvICNN) else (3,)
    return (torch.randn(batch, *shape, dtype=dtype),)


@every
@pytest.mark.parametrize("batch", [0, 1, 4])
def test_one_value_for_each_entry_of_the_batch(name: str, batch: int) -> None:
    net = make(name)
    given = inputs(net, batch)
    values = net(*given)
    assert values.shape == (batch,)
    for i in range(batch):
        torch.testing.assert_close(net(*[v[i : i + 1] for v in given])[0], values[i])


@every
def test_other_shapes_are_refused(name: str) -> None:
    net = make(name)
    good = inputs(net, 4)
    for position, value in enumerate(good):
        wrong = (value[0], value[:, :1], value[:, None], torch.tensor(0.0), value.numpy(), None)
        for bad in wrong:
            with pytest.raises(NetworkError, match=r"must (have shape|be a tensor)"):
                net(*[bad if i == position else v for i, v in enumerate(good)])


def test_single_point_gets_a_hint() -> None:
    with pytest.raises(NetworkError, match="unsqueeze"):
        make("ficnn")(torch.zeros(3))


@every
def test_state_dict_goes_both_ways(name: str) -> None:
    net, other = make(name), NETWORKS[name]()
    given = inputs(net, 4)
    other.load_state_dict(net.state_dict(), strict=True)
    torch.testing.assert_close(other(*given), net(*given), rtol=0, atol=0)
    plain = jensen.nn.plain_state_dict(net)
    assert not any("parametrizations" in key for key in plain)
    another = NETWORKS[name]()
    another.load_state_dict(plain, strict=True)
    torch.testing.assert_close(another(*given), net(*given), rtol=1e-5, atol=1e-5)


@every
def test_copies_and_pickles(name: str) -> None:
    net = make(name)
    given = inputs(net, 4)
    expected = net(*given).detach()
    saved = io.BytesIO()
    torch.save(net, saved)
    saved.seek(0)
    twins = [
        copy.deepcopy(net),
        copy.deepcopy(copy.deepcopy(net)),
        pickle.loads(pickle.dumps(net)),
        torch.load(saved, weights_only=False),
    ]
    for twin in twins:
        assert type(twin) is type(net)
        assert twin.convex_arguments == net.convex_arguments
        torch.testing.assert_close(twin(*given), expected, rtol=0, atol=0)
        assert twin.state_dict().keys() == net.state_dict().keys()
        with torch.no_grad():
            for p in twin.parameters():
                p.add_(0.5)
    torch.testing.assert_close(net(*given), expected, rtol=0, atol=0)


@every
def test_functions_of_parameters(name: str) -> None:
    net = make(name)
    given = inputs(net, 4)
    parameters: dict[str, Tensor] = dict(net.named_parameters())

    def single(values: dict[str, Tensor], *point: Tensor) -> Tensor:
        batch = [v.unsqueeze(0) for v in point]
        result: Tensor = torch.func.functional_call(net, values, tuple(batch))[0]
        return result

    axes = (None, *[0] * len(given))
    values = torch.func.vmap(single, axes)(parameters, *given)
    torch.testing.assert_close(values, net(*given))
    slopes = torch.func.vmap(torch.func.grad(single), axes)(parameters, *given)
    net(*given).sum().backward()
    for key, p in net.named_parameters():
        torch.testing.assert_close(slopes[key].sum(0), p.grad)


@every
def test_export(name: str) -> None:
    net = make(name)
    given = inputs(net, 4)
    batch = torch.export.Dim("batch", min=1)
    program = torch.export.export(net, given, dynamic_shapes=tuple({0: batch} for _ in given))
    for size in (1, 4, 6):
        other = inputs(net, size)
        torch.testing.assert_close(program.module()(*other), net(*other))


@pytest.mark.parametrize("name", ["ficnn_smooth", "picnn", "conv"])
def test_onnx(name: str, tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    net = make(name).eval()
    given = inputs(net, 4)
    path = tmp_path / "net.onnx"
    batch = torch.export.Dim("batch", min=1)
    shapes = tuple({0: batch} for _ in given)
    torch.onnx.export(net, given, path, dynamo=True, dynamic_shapes=shapes, verbose=False)
    session = runtime.InferenceSession(path)
    for size in (1, 6):
        other = inputs(net, size)
        feed = {i.name: v.numpy() for i, v in zip(session.get_inputs(), other, strict=True)}
        torch.testing.assert_close(torch.from_numpy(session.run(None, feed)[0]), net(*other).detach())
    if net.piecewise_linear and name != "picnn":
        assert jensen.check(path).kind == "convex"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ficnn_smooth", "picnn"])
def test_compile(name: str) -> None:
    if sys.platform == "win32" or shutil.which("c++") is None:
        pytest.skip("torch.compile needs a C++ compiler")
    net = make(name)
    given = inputs(net, 4)
    torch.testing.assert_close(torch.compile(net)(*given), net(*given))


@every
def test_graph_is_captured_whole_with_gradients(name: str) -> None:
    net, twin = make(name), make(name)
    given = inputs(net, 4)
    compiled = torch.compile(twin, fullgraph=True, backend="aot_eager")
    compiled(*given).sum().backward()
    net(*given).sum().backward()
    for p, q in zip(net.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad)


@every
def test_precisions(name: str) -> None:
    for dtype in (torch.float64, torch.float16, torch.bfloat16):
        net = make(name, dtype=dtype)
        assert all(p.dtype == dtype for p in net.parameters())
        values = net(*inputs(net, 4, dtype))
        assert values.dtype == dtype
        assert values.isfinite().all()
        assert net.convex_arguments == make(name).convex_arguments
    reference = make(name, dtype=torch.float64)
    for dtype in (torch.float16, torch.bfloat16):
        cast = copy.deepcopy(reference).to(dtype)
        found = cast(*inputs(cast, 4, dtype)).double()
        expected = reference(*[v.double() for v in inputs(cast, 4, dtype)])
        torch.testing.assert_close(found, expected, rtol=0.2, atol=0.2)


@every
def test_meta_device(name: str) -> None:
    net = make(name, device="meta")
    assert net(*[v.to("meta") for v in inputs(net, 4)]).shape == (4,)
    net.to_empty(device="cpu")
    torch.manual_seed(0)
    net.reset_parameters()
    given = inputs(net, 4)
    assert net(*given).isfinite().all()
    net.load_state_dict(make(name).state_dict(), assign=True)
    torch.testing.assert_close(net(*given), make(name)(*given), rtol=0, atol=0)
    with torch.device("meta"):
        assert all(p.is_meta for p in make(name).parameters())


@every
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_gpu(name: str) -> None:
    net = make(name, device="cuda")
    given = inputs(net, 4)
    found = net(*[v.cuda() for v in given])
    torch.testing.assert_close(found.cpu(), net.cpu()(*given), rtol=1e-4, atol=1e-4)


@every
def test_lowering(name: str) -> None:
    """Piecewise-linear networks convert without rounding; the others say what stands in the way."""
    net = make(name)
    plane: Architecture = net.at(torch.randn(2)) if isinstance(net, PICNN) else net
    shape = net.input_shape if isinstance(net, ConvICNN) else None
    if not net.piecewise_linear:
        with pytest.raises(UnsupportedOperatorError, match="not piecewise linear"):
            jensen.from_torch(plane, shape)
        return
    lowered = jensen.from_torch(plane, shape)
    x = inputs(plane, 30)[0]
    expected = plane(x).double().detach().numpy()
    assert abs(lowered.network(x.flatten(1).double().numpy()) - expected).max() < 1e-4
    assert lowered.exact or name == "conv_mean"


def test_quadratic_is_named_where_it_cannot_be_lowered() -> None:
    with pytest.raises(UnsupportedOperatorError, match="quadratic"):
        jensen.from_torch(FICNN(2, (3,), quadratic=1.0))


@pytest.mark.parametrize(
    "call",
    [
        lambda: FICNN(0, (3,)),
        lambda: FICNN(2, (3, -1)),
        lambda: FICNN(2, 3),  # type: ignore[arg-type]
        lambda: FICNN(2, "33"),  # type: ignore[arg-type]
        lambda: FICNN(2, (3,), constraint="tanh"),
        lambda: FICNN(2, (3,), quadratic=-1.0),
        lambda: FICNN(2, (3,), quadratic=float("nan")),
        lambda: FICNN(2, (3,), initialisation="he"),  # type: ignore[arg-type]
        lambda: ConvICNN((3, 3), (2,)),
        lambda: ConvICNN((1, 3, 3), ()),
        lambda: ConvICNN((1, 3, 3), (2,), kernel_size=2),
        lambda: ConvICNN((1, 3, 3), (2,), stride=(1, 2)),
        lambda: ConvICNN((1, 3, 3), (2,), head="max"),  # type: ignore[arg-type]
    ],
)
def test_arguments(call: Callable[[], object]) -> None:
    with pytest.raises(ArgumentError):
        call()


def test_lazy() -> None:
    code = "import sys, jensen; assert 'torch' not in sys.modules; jensen.nn.FICNN(2, (3,))"
    subprocess.run([sys.executable, "-c", code], check=True)
