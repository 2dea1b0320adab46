"""Import from ONNX: every operator against `onnx.reference`, and models that torch exports."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from torch import Tensor, nn
from torch.nn import functional

from jensen.errors import ModelFileError, NetworkError, UnsupportedOperatorError
from jensen.network import Lowered, as_network, from_onnx, load_model

RNG = np.random.default_rng(0)
Shape = tuple[int | str, ...]


def model(
    nodes: Sequence[onnx.NodeProto],
    shape: Shape,
    constants: dict[str, Any],
    opset: int = 18,
    output: str = "y",
) -> onnx.ModelProto:
    """Build a model in float64 from x to `output`."""
    graph = helper.make_graph(
        list(nodes),
        "test",
        [helper.make_tensor_value_info("x", TensorProto.DOUBLE, shape)],
        [helper.make_tensor_value_info(output, TensorProto.DOUBLE, None)],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])


def compare(proto: onnx.ModelProto, sample_shape: tuple[int, ...], n_outputs: int) -> list[Lowered]:
    x = RNG.standard_normal((7, *sample_shape))
    values: Any = ReferenceEvaluator(proto).run(None, {"x": x})
    expected = np.reshape(values[0], (7, -1))
    assert expected.shape[1] == n_outputs
    results = []
    for index in range(n_outputs):
        lowered = from_onnx(proto, output=index)
        np.testing.assert_allclose(lowered.network(x.reshape(7, -1)), expected[:, index], atol=1e-12)
        assert lowered.deviation < 1e-12
        assert lowered.exact == (not lowered.notes)
        results.append(lowered)
    return results


def make(operator: str, *constants: Any, **attributes: Any) -> tuple[onnx.NodeProto, dict[str, Any]]:
    names = [None if v is None else f"c{i}" for i, v in enumerate(constants)]
    node = helper.make_node(operator, ["x", *(n or "" for n in names)], ["y"], **attributes)
    return node, {n: v for n, v in zip(names, constants, strict=True) if n is not None}


def weights(*shape: int) -> np.ndarray[Any, Any]:
    return RNG.standard_normal(shape)


I64 = np.int64
CASES: dict[str, tuple[tuple[onnx.NodeProto, dict[str, Any]], tuple[int, ...], int, int]] = {
    "Gemm": (make("Gemm", weights(4, 3), weights(3), alpha=0.5, beta=2.0), (4,), 3, 18),
    "Gemm_transB": (make("Gemm", weights(3, 4), transB=1), (4,), 3, 18),
    "MatMul": (make("MatMul", weights(4, 3)), (4,), 3, 18),
    "Conv": (make("Conv", weights(2, 1, 3, 2), weights(2), group=2, pads=[1, 0, 0, 1]), (2, 4, 3), 18, 18),
    "Conv_same": (make("Conv", weights(1, 2, 3), auto_pad="SAME_LOWER", strides=[2]), (2, 5), 3, 18),
    "BatchNormalization": (make("BatchNormalization", *(weights(2) ** 2 for _ in range(4))), (2, 3), 6, 15),
    "Relu": (make("Relu"), (3,), 3, 18),
    "LeakyRelu": (make("LeakyRelu", alpha=0.25), (3,), 3, 18),
    "PRelu": (make("PRelu", weights(3)), (3,), 3, 18),
    "PRelu_channels": (make("PRelu", weights(2, 1)), (2, 3), 6, 18),
    "Clip": (make("Clip", np.array(-0.5), np.array(0.5)), (3,), 3, 18),
    "Clip_one_sided": (make("Clip", None, np.array(0.5)), (3,), 3, 18),
    "Clip_old": (make("Clip", min=-0.25, max=3.4028234663852886e38), (3,), 3, 6),
    "Abs": (make("Abs"), (3,), 3, 18),
    "Max": (make("Max", weights(3), weights(1)), (3,), 3, 18),
    "Min": (make("Min", weights(3)), (3,), 3, 18),
    "MaxPool": (make("MaxPool", kernel_shape=[3], strides=[2], pads=[1, 1]), (2, 6), 6, 18),
    "MaxPool_2d": (make("MaxPool", kernel_shape=[2, 2], strides=[2, 2]), (1, 4, 4), 4, 18),
    "AveragePool": (make("AveragePool", kernel_shape=[3], pads=[1, 1], strides=[2]), (1, 6), 3, 18),
    "AveragePool_padded": (
        make("AveragePool", kernel_shape=[3], pads=[1, 1], strides=[2], count_include_pad=1), (1, 6), 3, 18,
    ),
    "GlobalAveragePool": (make("GlobalAveragePool"), (2, 3, 2), 2, 18),
    "GlobalMaxPool": (make("GlobalMaxPool"), (2, 3, 2), 2, 18),
    "ReduceMean": (make("ReduceMean", np.array([1], I64)), (3, 2), 2, 18),
    "ReduceMean_old": (make("ReduceMean", axes=[2], keepdims=0), (3, 2), 3, 13),
    "ReduceSum": (make("ReduceSum", np.array([-1], I64), keepdims=0), (3, 2), 3, 13),
    "ReduceMax": (make("ReduceMax", np.array([1], I64)), (3, 2), 2, 18),
    "ReduceMin": (make("ReduceMin", np.array([1, 2], I64)), (3, 2), 1, 18),
    "Add": (make("Add", weights(3)), (3,), 3, 18),
    "Sub": (make("Sub", weights(3)), (3,), 3, 18),
    "Mul": (make("Mul", weights(3)), (3,), 3, 18),
    "Div": (make("Div", weights(3)), (3,), 3, 18),
    "Neg": (make("Neg"), (3,), 3, 18),
    "Sum": (make("Sum", weights(3), weights(1)), (3,), 3, 18),
    "Mean": (make("Mean", weights(3)), (3,), 3, 18),
    "Concat": (make("Concat", np.ones((7, 2)), axis=1), (3,), 5, 18),
    "Slice": (make("Slice", *(np.array([v], I64) for v in (-1, -9, 1, -2))), (5,), 3, 18),
    "Slice_old": (make("Slice", starts=[1], ends=[4], axes=[1]), (5,), 3, 9),
    "Gather": (make("Gather", np.array([2, 0, 2], I64), axis=1), (3,), 3, 18),
    "Gather_scalar": (make("Gather", np.array(1, I64), axis=1), (3, 2), 2, 18),
    "Flatten": (make("Flatten"), (3, 2), 6, 18),
    "Reshape": (make("Reshape", np.array([0, -1, 3], I64)), (3, 2), 6, 18),
    "Transpose": (make("Transpose", perm=[0, 2, 1]), (3, 2), 6, 18),
    "Squeeze": (make("Squeeze", np.array([1], I64)), (1, 3), 3, 18),
    "Squeeze_old": (make("Squeeze", axes=[1]), (1, 3), 3, 11),
    "Unsqueeze": (make("Unsqueeze", np.array([1, -1], I64)), (3,), 3, 18),
    "Identity": (make("Identity"), (3,), 3, 18),
    "Dropout": (make("Dropout"), (3,), 3, 18),
    "Cast": (make("Cast", to=TensorProto.DOUBLE), (3,), 3, 18),
    "Pad": (make("Pad", np.array([0, 1, 0, 2], I64), np.array(0.5)), (3,), 6, 18),
    "Pad_reflect": (make("Pad", np.array([0, 1, 0, 2], I64), mode="reflect"), (4,), 7, 18),
    "Expand": (make("Expand", np.array([1, 2, 3], I64)), (1, 3), 6, 18),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_operators(name: str) -> None:
    (node, constants), shape, count, opset = CASES[name]
    for lead in ("N", 7) if name != "Concat" else (7,):
        compare(model([node], (lead, *shape), constants, opset), shape, count)


def test_split_and_dynamic_shapes_and_skip_connections() -> None:
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Gather", ["s", "zero"], ["n"]),
        helper.make_node("Concat", ["n", "rest"], ["t"], axis=0),
        helper.make_node("Reshape", ["x", "t"], ["r"]),
        helper.make_node("Split", ["r"], ["a", "b"], axis=1, num_outputs=2),
        helper.make_node("Constant", [], ["w"], value=numpy_helper.from_array(weights(3, 3))),
        helper.make_node("Softplus", ["w"], ["p"]),
        helper.make_node("Transpose", ["p"], ["pt"]),
        helper.make_node("MatMul", ["a", "pt"], ["m"]),
        helper.make_node("Relu", ["m"], ["h"]),
        helper.make_node("Add", ["h", "b"], ["k"]),
        helper.make_node("Max", ["k", "a"], ["y"]),
    ]
    constants = {"zero": np.array([0], I64), "rest": np.array([6], I64)}
    compare(model(nodes, ("N", 2, 3), constants), (2, 3), 3)


class Skip(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 2, 3, padding=1), nn.BatchNorm2d(2)
        self.a, self.b, self.slope = nn.Linear(8, 6), nn.Linear(16, 6), nn.PReLU(6)
        self.out = nn.Linear(6, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = functional.max_pool2d(torch.relu(self.norm(self.conv(x))), 2).flatten(1)
        h = self.slope(self.a(h) + self.b(x.view(x.shape[0], -1)))
        result: Tensor = self.out(functional.hardtanh(h) + functional.relu6(h) + torch.maximum(h, -h))
        return result


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, Path]:
    torch.manual_seed(0)
    net = Skip().eval()
    path = tmp_path_factory.mktemp("onnx") / "skip.onnx"
    batch = ({0: torch.export.Dim.DYNAMIC},)
    torch.onnx.export(net, (torch.zeros(2, 1, 4, 4),), path, dynamo=True, dynamic_shapes=batch, verbose=False)
    return net, path


def test_model_exported_by_torch(exported: tuple[nn.Module, Path]) -> None:
    net, path = exported
    lowered = load_model(path)
    x = torch.randn(50, 1, 4, 4)
    with torch.no_grad():
        expected = net(x)[:, 0].numpy()
    np.testing.assert_allclose(lowered.network(x.flatten(1).numpy()), expected, atol=1e-5)
    assert as_network(onnx.load(path)).network.widths == lowered.network.widths


def test_torn_and_foreign_files(exported: tuple[nn.Module, Path], tmp_path: Path) -> None:
    content = exported[1].read_bytes()
    torn = tmp_path / "torn.onnx"
    for cut in (0, 1, 10, len(content) // 2, len(content) - 20):
        torn.write_bytes(content[:cut])
        with pytest.raises(ModelFileError):
            load_model(torn)
    torn.write_text("this is no model")
    with pytest.raises(ModelFileError):
        load_model(torn)
    with pytest.raises(ModelFileError, match="no model file"):
        load_model(tmp_path / "missing.onnx")


def test_external_data_only_from_the_models_own_folder(tmp_path: Path) -> None:
    node, constants = make("Gemm", weights(4, 1))
    proto = model([node], ("N", 4), constants)
    (tmp_path / "sub").mkdir()
    path = tmp_path / "sub" / "net.onnx"
    onnx.save(proto, path, save_as_external_data=True, location="net.data", size_threshold=0)
    assert load_model(path).network.depth == 0
    stored = onnx.load(path, load_external_data=False)
    (tmp_path / "net.data").write_bytes((tmp_path / "sub" / "net.data").read_bytes())
    for entry in stored.graph.initializer[0].external_data:
        if entry.key == "location":
            entry.value = "../net.data"
    path.write_bytes(stored.SerializeToString())
    with pytest.raises(ModelFileError, match="outside"):
        load_model(path)


def test_errors_name_operator_and_place() -> None:
    node, _ = make("Sigmoid")
    node.name = "gate"
    with pytest.raises(UnsupportedOperatorError, match=r"'Sigmoid' at node gate.*not piecewise linear"):
        from_onnx(model([node], ("N", 3), {}), output=0)
    custom = helper.make_node("Thing", ["x"], ["y"], domain="my.ops")
    with pytest.raises(UnsupportedOperatorError, match=r"my\.ops::Thing"):
        from_onnx(model([custom], ("N", 3), {}), output=0)
    square = helper.make_node("Mul", ["x", "x"], ["y"])
    with pytest.raises(UnsupportedOperatorError, match="both factors"):
        from_onnx(model([square], ("N", 3), {}), output=0)
    with pytest.raises(NetworkError, match="3 outputs"):
        from_onnx(model([make("Relu")[0]], ("N", 3), {}))
    with pytest.raises(NetworkError, match="batch"):
        from_onnx(
            model([make("ReduceSum", np.array([0], I64))[0]], ("N", 3), {"c0": np.array([0], I64)}), output=0
        )
    open_shape = model([make("Relu")[0]], ("N", "M"), {})
    with pytest.raises(NetworkError, match="input_shape"):
        from_onnx(open_shape, output=0)
    assert from_onnx(open_shape, output=0, input_shape=(4,)).network.input_size == 4


def test_huge_constants_are_refused_before_they_are_made() -> None:
    nodes = [helper.make_node("ConstantOfShape", ["s"], ["c"]), helper.make_node("Add", ["x", "c"], ["y"])]
    with pytest.raises(ModelFileError, match="too large"):
        from_onnx(model(nodes, ("N", 3), {"s": np.array([10**7, 10**7], I64)}), output=0)
    nodes[0] = helper.make_node("RandomNormal", [], ["c"], shape=[3])
    with pytest.raises(UnsupportedOperatorError, match="RandomNormal"):
        from_onnx(model(nodes, ("N", 3), {}), output=0)


def test_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without_onnx(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.split(".", maxsplit=1)[0] == "onnx":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_onnx)
    with pytest.raises(ModelFileError, match=r"pip install 'jensen\[onnx\]'"):
        from_onnx("model.onnx")
