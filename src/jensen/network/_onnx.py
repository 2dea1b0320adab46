"""Import from ONNX files; the extra `onnx` is needed."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jensen.errors import JensenError, ModelFileError, NetworkError, UnsupportedOperatorError
from jensen.network._lowered import Lowered, measured
from jensen.network._numbers import as_output, as_shape
from jensen.network._onnx_file import MAX_NODES, inlined, load, malformed
from jensen.network._relu_network import FloatArray
from jensen.network.lowering._budget import FoldingBudget
from jensen.network.lowering._onnx_ops import OnnxCall
from jensen.network.lowering._onnx_table import HANDLERS
from jensen.network.lowering._output import chosen_output
from jensen.network.lowering._tape import MAX_ELEMENTS, Tape
from jensen.network.lowering._tensor import SENTINEL_BATCH, Tensor

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, TensorProto

_ELEMENTWISE_NAMES = """Add Sub Mul Div Pow Max Min And Or Xor Equal Less Greater LessOrEqual GreaterOrEqual
    Where Mod PRelu"""
_SHRINKING_NAMES = """Abs Neg Exp Log Sqrt Reciprocal Softplus Sigmoid Tanh Relu LeakyRelu Clip Floor Ceil
    Round Sign Not Erf Cast CastLike Identity Transpose Reshape Squeeze Unsqueeze Flatten Shape Size Slice
    Split Softmax LogSoftmax ReduceSum ReduceMean ReduceMax ReduceMin ReduceProd ReduceL1 ReduceL2
    ReduceLogSumExp ReduceSumSquare Constant Concat Sum Dropout"""
_SMOOTH_NAMES = """Sigmoid Tanh Softplus Softsign Gelu Elu Celu Selu Exp Log Sqrt Pow Softmax LogSoftmax Mish
    Swish Erf LayerNormalization InstanceNormalization GroupNormalization Reciprocal"""
_ELEMENTWISE = frozenset(_ELEMENTWISE_NAMES.split())
_SHRINKING = frozenset(_SHRINKING_NAMES.split())
"""Operators whose result is no larger than their inputs together."""
_SMOOTH = frozenset(_SMOOTH_NAMES.split())


def from_onnx(
    model: str | Path | ModelProto, output: int | None = None, input_shape: Sequence[int] | None = None
) -> Lowered:
    """Lower an ONNX model to a `ReLUNetwork`.

    Parameters
    ----------
    model : str, Path or onnx.ModelProto
        With one input whose first axis is the batch (an input of rank 1, and one whose first axis has size
        1, is a single sample).
    output : int, optional
        Which entry of the flattened output of one input, where there are several.
    input_shape : sequence of int, optional
        Shape of one input without the batch; needed where the file leaves it open.

    Returns
    -------
    Lowered
        Its deviation compares with `onnx.reference` run in float64.

    Raises
    ------
    ModelFileError
        If `onnx` is not installed, or the file is missing, torn, or refers to data outside its folder.
    NetworkError
        If the model has several inputs or outputs, or mixes the batch.
    UnsupportedOperatorError
        If an operator is not piecewise linear or not known; it names the operator and its place.
    """
    try:
        import onnx  # noqa: F401
        from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    except ImportError as error:
        raise ModelFileError(
            "reading ONNX files needs the package onnx: pip install 'jensen[onnx]'"
        ) from error
    input_shape, output = as_shape(input_shape), as_output(output)
    source = str(model) if isinstance(model, (str, Path)) else "the ONNX model"
    try:
        proto = load(Path(model)) if isinstance(model, (str, Path)) else model
        return _Reader(inlined(proto, source), source, input_shape).lower(output)
    except JensenError:
        raise
    except DecodeError as error:
        raise ModelFileError(f"{source} is not an ONNX file or is torn: {error}") from error
    except OSError as error:
        raise ModelFileError(f"cannot read {source}: {error}") from error
    except MemoryError as error:
        raise ModelFileError(f"{source} asks for more memory than there is: {error}") from error
    except malformed() as error:
        raise ModelFileError(f"{source} is malformed: {type(error).__name__}: {error}") from error


class _Reader:
    """Walks a graph, folding what is constant and lowering what is not."""

    def __init__(self, proto: ModelProto, source: str, input_shape: Sequence[int] | None) -> None:
        from onnx import numpy_helper

        self.proto, self.source = proto, source
        graph = proto.graph
        if len(graph.node) > MAX_NODES:
            raise ModelFileError(f"{source} has {len(graph.node)} nodes; the limit is {MAX_NODES}")
        if graph.sparse_initializer:
            raise ModelFileError(f"{source}: sparse initialisers are not read; store them dense")
        self.env: dict[str, Any] = {}
        for tensor in graph.initializer:
            self._make(tensor.name, self._array(tensor, numpy_helper))
        self.budget = FoldingBudget(sum(np.size(v) for v in self.env.values()))
        inputs = [i for i in graph.input if i.name not in self.env]
        if len(inputs) != 1:
            raise NetworkError(f"the model takes {len(inputs)} inputs; only models of one can be lowered")
        self.input_name = inputs[0].name
        dims = [d.dim_value or None for d in inputs[0].type.tensor_type.shape.dim]
        self.shape, self.batched = self._axes(dims, None if input_shape is None else tuple(input_shape))
        single = len(self.shape) > 1 and self.shape[0] == 1
        self.sample_shape = self.shape[1:] if self.batched or single else self.shape
        self.tape = Tape(prod(self.sample_shape))
        self.symbolic: list[NodeProto] = []

    def _array(self, tensor: TensorProto, helper: Any) -> Any:
        dims = list(tensor.dims)
        if min(dims, default=0) < 0 or prod(dims) > MAX_ELEMENTS:
            raise ModelFileError(
                f"{self.source}: {tensor.name!r} of shape {dims} is impossible or too large (the limit is "
                f"{MAX_ELEMENTS} entries)"
            )
        try:
            return helper.to_array(tensor)
        except (ValueError, TypeError, LookupError) as error:
            raise ModelFileError(
                f"{self.source}: the data of {tensor.name!r} do not fit its shape {dims} and type "
                f"{tensor.data_type}: {error}"
            ) from error

    def _make(self, name: str, value: Any) -> None:
        """Name a value; a name stands for one value only."""
        if name in self.env:
            raise ModelFileError(f"{self.source}: {name!r} is made twice")
        self.env[name] = value

    def _known(self, name: str, reader: str) -> Any:
        if name not in self.env:
            raise ModelFileError(
                f"{self.source}: {reader} reads {name!r}, which nothing before it makes: an initialiser is "
                "missing, or the nodes are out of order or run in a circle"
            )
        return self.env[name]

    @staticmethod
    def _axes(dims: list[int | None], wanted: tuple[int, ...] | None) -> tuple[tuple[int, ...], bool]:
        """Shape of the input as the model is to see it, and whether its first axis is the batch."""
        if wanted is not None and len(wanted) == len(dims) and dims:
            shape, batched = wanted, False
        else:
            first = dims[0] if dims else None
            lead = SENTINEL_BATCH if first is None else first
            rest = tuple(dims[1:]) if wanted is None else wanted
            batched = lead != 1 and (len(dims) > 1 or first is None)
            if wanted is not None and dims and len(rest) != len(dims) - 1:
                raise NetworkError(
                    f"the model's input has {len(dims) - 1} axes beside the batch, not {len(rest)}"
                )
            if any(n is None for n in rest) or not dims:
                raise NetworkError(
                    "the model leaves the shape of its input open; pass input_shape, the shape of one input "
                    "without the batch"
                )
            shape = (lead, *(n for n in rest if n is not None))
        if any(n is not None and n != m for n, m in zip(dims, shape, strict=True)):
            raise NetworkError(f"the model's input has shape {tuple(dims)}, which does not fit {shape}")
        return shape, batched

    def lower(self, output: int | None) -> Lowered:
        """Lower the graph and measure its deviation."""
        inner = (1, *self.shape[1:]) if self.batched else self.shape
        size = self.shape[0] if self.batched else 1
        source = Tensor(self.tape, self.tape.input(), inner, 0 if self.batched else None, size)
        self._make(self.input_name, source)
        for number, node in enumerate(self.proto.graph.node):
            self._node(number, node)
        outputs = [o.name for o in self.proto.graph.output]
        values = [self._known(name, "the graph's end") for name in outputs]
        network, index = chosen_output(self.tape, values, output, self.sample_shape)
        return measured(network, tuple(self.tape.notes), lambda x: self._replay(x, outputs, index))

    def _node(self, number: int, node: NodeProto) -> None:
        from onnx.helper import get_attribute_value

        name = f"{node.domain}::{node.op_type}" if node.domain not in ("", "ai.onnx") else node.op_type
        self.tape.place = f"node {node.name or f'{node.op_type}_{number}'}"
        inputs = [self._known(i, self.tape.place) if i else None for i in node.input]
        if any(isinstance(v, Tensor) for v in inputs):
            handler = HANDLERS.get(name)
            if handler is None:
                hint = (
                    "it is not piecewise linear"
                    if name in _SMOOTH
                    else "express it by Gemm, Conv, pools, Relu-like activations, Max and Min"
                )
                raise UnsupportedOperatorError(name, self.tape.place, hint)
            attributes = {a.name: get_attribute_value(a) for a in node.attribute}
            count = sum(1 for o in node.output if o)
            result = handler(OnnxCall(name, inputs, attributes, self.tape, count))
            self.symbolic.append(node)
        else:
            result = self._fold(node, name, inputs)
        results = result if isinstance(result, (tuple, list)) else (result,)
        names = [o for o in node.output if o]
        if len(names) != len(results):
            raise ModelFileError(
                f"{self.source}: {self.tape.place} has {len(results)} results and names {len(names)}"
            )
        for name, value in zip(names, results, strict=True):
            self._make(name, value)

    def _fold(self, node: NodeProto, name: str, inputs: Sequence[Any]) -> Sequence[Any]:
        """Evaluate a node that does not depend on the input, in the model's own dtype."""
        from onnx import helper
        from onnx.reference import ReferenceEvaluator

        size, products = _folded_size(name, inputs, self.tape.place), 0.0
        if name in ("MatMul", "Gemm"):
            products = size * max((n for v in inputs[:2] for n in np.shape(v)), default=1)
        self.budget.spend(self.tape.place, size, products)
        given = {n: v for n, v in zip(node.input, inputs, strict=True) if n}
        graph = helper.make_graph(
            [node],
            "constant",
            [helper.make_empty_tensor_value_info(n) for n in given],
            [helper.make_empty_tensor_value_info(o) for o in node.output if o],
        )
        evaluator = ReferenceEvaluator(helper.make_model(graph, opset_imports=self.proto.opset_import))
        results = list(evaluator.run(None, given))
        if name == "Constant":
            self.budget.earn(sum(np.size(v) for v in results))
        return results

    def _replay(self, points: FloatArray, outputs: Sequence[str], index: int) -> FloatArray:
        """Run the nodes that read the input on samples, by `onnx.reference` in float64."""
        from onnx import TensorProto, helper
        from onnx.reference import ReferenceEvaluator

        nodes = []
        for node in self.symbolic:
            twin = type(node)()
            twin.CopyFrom(node)
            for attribute in twin.attribute:
                if twin.op_type == "Cast" and attribute.name == "to":
                    attribute.i = TensorProto.DOUBLE
            nodes.append(twin)
        made = {o for node in nodes for o in node.output} | {self.input_name}
        constants = {n: _double(self.env[n]) for node in nodes for n in node.input if n and n not in made}
        graph = helper.make_graph(
            nodes,
            "replay",
            [helper.make_empty_tensor_value_info(n) for n in (self.input_name, *constants)],
            [helper.make_empty_tensor_value_info(o) for o in outputs],
        )
        evaluator = ReferenceEvaluator(helper.make_model(graph, opset_imports=self.proto.opset_import))
        size = self.shape[0] if self.batched else 1
        results = []
        for start in range(0, len(points), size):
            chunk = points[start : start + size]
            full = np.concatenate([chunk, np.zeros((size - len(chunk), points.shape[1]))]).reshape(self.shape)
            values = evaluator.run(None, {self.input_name: full, **constants})
            flat = np.concatenate([np.reshape(v, (size, -1)) for v in values], axis=1)
            results.append(flat[: len(chunk), index].astype(np.float64))
        return np.concatenate(results)


def _double(value: Any) -> Any:
    array = np.asarray(value)
    return array if array.dtype.kind in "biu" else array.astype(np.float64)


def _folded_size(name: str, inputs: Sequence[Any], place: str) -> int | float:
    """Bound the size of a constant before it is computed; only known, pure operators are."""
    sizes = [int(np.size(v)) for v in inputs if v is not None]
    shapes = [tuple(int(n) for n in np.shape(v)) for v in inputs if v is not None]
    if name in _ELEMENTWISE:
        return prod(np.broadcast_shapes(*shapes))
    if name == "Gather":
        return prod(shapes[0]) * max(sizes[1], 1)
    if name in _SHRINKING:
        return sum(sizes)
    if name == "ConstantOfShape":
        return prod(int(n) for n in np.ravel(inputs[0]))
    if name == "Expand":
        return prod(np.broadcast_shapes(shapes[0], tuple(int(n) for n in np.ravel(inputs[1]))))
    if name == "Tile":
        return sizes[0] * prod(int(n) for n in np.ravel(inputs[1]))
    if name == "Range":
        start, limit, step = (float(np.ravel(v)[0]) for v in inputs)
        length = abs((limit - start) / step) + 1 if step else float("inf")
        return length if length >= 0 else float("inf")
    if name == "Gemm":
        return max(shapes[0], default=1) * max(shapes[1], default=1)
    if name == "MatMul":
        rows, columns = shapes[0][-2:-1], shapes[1][1:][-1:]
        return prod(np.broadcast_shapes(shapes[0][:-2], shapes[1][:-2])) * prod(rows) * prod(columns)
    if name == "Pad":
        return prod(n + sum(abs(int(p)) for p in np.ravel(inputs[1])) for n in shapes[0])
    raise UnsupportedOperatorError(
        name, place, "an ONNX file may not compute its constants with this operator"
    )
