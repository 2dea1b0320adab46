"""Small well-formed ONNX models that use most operators, and a program that is not jensen's to run them."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from jensen.network import FloatArray


def _model(
    nodes: list[NodeProto], shape: tuple[int | str, ...], constants: dict[str, Any], opset: int = 18
) -> ModelProto:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def _weights(rng: np.random.Generator, *shape: int) -> np.ndarray[Any, Any]:
    return rng.integers(-2, 3, shape).astype(np.float32)


@cache
def templates() -> tuple[ModelProto, ...]:
    """Small well-formed models that use most operators."""
    rng = np.random.default_rng(1)
    make = helper.make_node
    dense = _model(
        [
            make("Gemm", ["x", "a", "p"], ["h"], transB=1, alpha=0.5),
            make("Relu", ["h"], ["r"]),
            make("Gemm", ["r", "b", "q"], ["k"]),
            make("LeakyRelu", ["k"], ["s"], alpha=0.25),
            make("MatMul", ["s", "c"], ["y"]),
        ],
        ("N", 2),
        {
            "a": _weights(rng, 3, 2), "p": _weights(rng, 3), "b": _weights(rng, 3, 3), "q": _weights(rng, 3),
            "c": _weights(rng, 3, 1),
        },
    )  # fmt: skip
    image = _model(
        [
            make("Conv", ["x", "k", "c"], ["h"], strides=[1, 1], pads=[1, 0, 0, 0], dilations=[1, 1],
            group=1),
            make("BatchNormalization", ["h", "g", "b", "m", "v"], ["n"], epsilon=0.5),
            make("Relu", ["n"], ["r"]),
            make("AveragePool", ["r"], ["p"], kernel_shape=[2, 1], strides=[1, 1], count_include_pad=1),
            make("MaxPool", ["p"], ["o"], kernel_shape=[2, 1], ceil_mode=1),
            make("Flatten", ["o"], ["f"], axis=1),
            make("Gemm", ["f", "w"], ["y"]),
        ],
        ("N", 1, 3, 2),
        {
            "k": _weights(rng, 2, 1, 2, 2), "c": _weights(rng, 2), "g": _weights(rng, 2), "b": _weights(rng,
            2),
            "m": _weights(rng, 2), "v": np.array([0.5, 3.5], np.float32), "w": _weights(rng, 2, 1),
        },
    )  # fmt: skip
    shapes = _model(
        [
            make("Shape", ["x"], ["s"]),
            make("Gather", ["s", "zero"], ["n"], axis=0),
            make("Unsqueeze", ["n", "axes"], ["u"]),
            make("Concat", ["u", "minus"], ["t"], axis=0),
            make("Reshape", ["x", "t"], ["z"]),
            make("Slice", ["z", "from", "to", "axis"], ["first"]),
            make("Pad", ["first", "pads", "fill"], ["wide"], mode="constant"),
            make("ConstantOfShape", ["axis"], ["e"], value=helper.make_tensor("v", TensorProto.FLOAT, [1],
            [2.0])),
            make("Expand", ["e", "axis"], ["ee"]),
            make("Max", ["wide", "e"], ["m"]),
            make("Clip", ["m", "low", "high"], ["cl"]),
            make("Tile", ["w", "twice"], ["ww"]),
            make("Transpose", ["ww"], ["wt"], perm=[1, 0]),
            make("MatMul", ["cl", "wt"], ["l"]),
            make("Abs", ["l"], ["ab"]),
            make("ReduceSum", ["ab", "axis"], ["rs"], keepdims=1),
            make("Range", ["r0", "r1", "r2"], ["ra"]),
            make("Sub", ["rs", "ra"], ["y"]),
        ],
        ("N", 3),
        {
            "zero": np.int64(0), "axes": np.array([0]), "minus": np.array([-1]), "from": np.array([0]),
            "to": np.array([2]), "axis": np.array([1]), "pads": np.array([0, 1, 0, 0]), "fill": np.float32(1),
            "low": np.float32(-1), "high": np.float32(2), "w": _weights(rng, 2, 3), "twice": np.array([1, 1]),
            "r0": np.float32(0), "r1": np.float32(1), "r2": np.float32(1),
        },
    )  # fmt: skip
    return dense, image, shapes


def run(data: bytes, points: FloatArray) -> FloatArray | None:
    """Run a model by onnxruntime; None where that refuses it."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    try:
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        entry = session.get_inputs()[0]
        features = [n for n in entry.shape[1:] if isinstance(n, int)]
        kind = np.float64 if "double" in entry.type else np.float32
        values = session.run(None, {entry.name: points.reshape(-1, *features).astype(kind)})
    except Exception:  # noqa: BLE001 - it has a class of exceptions for every reason to refuse a model
        return None
    flat = np.concatenate([np.reshape(v, (len(points), -1)) for v in values], axis=1)
    return np.asarray(flat[:, 0], dtype=np.float64) if flat.shape[1] == 1 else None
