"""ONNX files, with bytes changed and with fields set to what no exporter writes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, ModelProto, TensorProto, helper, numpy_helper

from fuzzing._judge import ODD_FLOATS, Question, pick_entry
from fuzzing._mutate import mutate_bytes, mutate_wire
from fuzzing._onnx_models import run, templates


def onnx_bytes(rng: Random, folder: Path) -> Question:
    """Change a file's bytes, once or a few times."""
    which = rng.randrange(len(templates()))
    data, notes = templates()[which].SerializeToString(), []
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        data, note = (mutate_wire if rng.random() < 0.75 else mutate_bytes)(rng, data)
        notes.append(note)
    if rng.random() < 0.05:
        data, notes = templates()[which].SerializeToString() * 2, ["file twice"]
    return _question(folder, data, f"template {which}: {', '.join(notes)}")


def _question(folder: Path, data: bytes, note: str) -> Question:
    file = folder / "model.onnx"
    file.write_bytes(data)
    return Question(note, lambda: file, replay=lambda points: run(data, points))


HUGE = (0, -1, 1 << 20, 1 << 28, 1 << 31, 1 << 40, 1 << 62, (1 << 63) - 1)
Change = Callable[[Random, ModelProto], str]


def _dims(rng: Random, proto: ModelProto) -> str:
    tensor = rng.choice(list(proto.graph.initializer))
    value = rng.choice(HUGE)
    if tensor.dims and rng.random() < 0.7:
        tensor.dims[rng.randrange(len(tensor.dims))] = value
    else:
        tensor.dims.append(value)
    return f"dims of {tensor.name}: {list(tensor.dims)}"


def _no_initializer(rng: Random, proto: ModelProto) -> str:
    at = rng.randrange(len(proto.graph.initializer))
    name = proto.graph.initializer[at].name
    del proto.graph.initializer[at]
    return f"without {name}"


def _cycle(rng: Random, proto: ModelProto) -> str:
    nodes = proto.graph.node
    at = rng.randrange(len(nodes))
    node, other = nodes[at], nodes[rng.randrange(at, len(nodes))]
    node.input[rng.randrange(len(node.input))] = other.output[0]
    return f"{node.op_type} reads the later {other.op_type}"


def _shuffle(rng: Random, proto: ModelProto) -> str:
    nodes = list(proto.graph.node)
    rng.shuffle(nodes)
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    return "nodes in another order"


def _tensor_type(rng: Random, proto: ModelProto) -> str:
    tensor = rng.choice(list(proto.graph.initializer))
    tensor.data_type = rng.choice([*range(-1, 28), 99])
    return f"type of {tensor.name}: {tensor.data_type}"


def _tensor_value(rng: Random, proto: ModelProto) -> str:
    tensor = rng.choice(list(proto.graph.initializer))
    array = np.array(numpy_helper.to_array(tensor))
    if (entry := pick_entry(rng, array)) is not None:
        odd = rng.choice(
            ODD_FLOATS if array.dtype.kind == "f" else (0, -1, -5, 9, 1 << 31, 1 << 62, -(1 << 63))
        )
        with np.errstate(over="ignore"):
            array[entry] = odd
    dtype = rng.choice(
        [array.dtype, array.dtype, np.dtype("f8"), np.dtype("f2"), np.dtype("i8"), np.dtype("?")]
    )
    tensor.CopyFrom(numpy_helper.from_array(array.astype(dtype), tensor.name))
    return f"{tensor.name} = {array.tolist()} as {dtype}"


def _external(rng: Random, proto: ModelProto) -> str:
    tensor = rng.choice(list(proto.graph.initializer))
    where = rng.choice(
        ["../w", "/etc/passwd", "/dev/zero", "w", "", "model.onnx", ".", "a/../../w", "\x00", "a/w"]
    )
    tensor.data_location = TensorProto.EXTERNAL
    if rng.random() < 0.7:
        tensor.ClearField("raw_data")
    for key, value in (
        ("location", where),
        ("offset", rng.choice(["0", "-1", "99999999999999", "x", ""])),
        ("length", rng.choice(["8", "24", "-1", "99999999999999999", "x"])),
    ):
        if key == "location" or rng.random() < 0.6:
            tensor.external_data.add(key=key, value=value)
    return f"{tensor.name} outside, in {where!r}"


def _operator(rng: Random, proto: ModelProto) -> str:
    node = rng.choice(list(proto.graph.node))
    old = node.op_type
    node.op_type = rng.choice(
        ["Sigmoid", "", "Nonsense", "If", "Loop", "Scan", "Softmax", "Mul", "Div", "Pow", "Relu", "Add",
         "Identity",
         "Dropout", "Cast", "Split", "TopK", "Max", "Min", "Sum", "Mean", "Squeeze", "Transpose",
         "GlobalMaxPool",
         "RandomNormal", "Where", "Concat", "Reshape", "PRelu", "Resize", "Einsum", "Neg", "Pad", "Size"]
    )  # fmt: skip
    if rng.random() < 0.2:
        node.domain = rng.choice(["ai.onnx.ml", "my", "ai.onnx", "\x00"])
    return f"{old} becomes {node.domain}::{node.op_type}"


def _attribute(rng: Random, proto: ModelProto) -> str:
    node = rng.choice([n for n in proto.graph.node if n.attribute])
    attribute = rng.choice(list(node.attribute))
    name = attribute.name
    value: Any = rng.choice(
        [0, -1, 3, 1 << 31, 1 << 62, -(1 << 63), 0.5, float("nan"), float("inf"), -1e38, "SAME_UPPER", "x",
         [0, 0],
         [1], [-1, -1], [1 << 40, 1 << 40], [1, 1], [1 << 16, 1 << 16], [0.5], [3, 3, 3, 3], [1 << 31] * 4,
         [-9] * 4]
    )  # fmt: skip
    if rng.random() < 0.15:
        attribute.type = rng.choice(
            [AttributeProto.FLOAT, AttributeProto.INTS, AttributeProto.GRAPH, AttributeProto.TENSOR,
             AttributeProto.STRINGS, AttributeProto.UNDEFINED]
        )  # fmt: skip
        return f"{node.op_type}.{name} of type {attribute.type}"
    attribute.CopyFrom(helper.make_attribute(name, value))
    return f"{node.op_type}.{name} = {value!r}"


def _extra_attribute(rng: Random, proto: ModelProto) -> str:
    node = rng.choice(list(proto.graph.node))
    name = rng.choice(
        ["axis", "axes", "to", "auto_pad", "ceil_mode", "group", "keepdims", "allowzero", "mode", "alpha",
         "beta",
         "noop_with_empty_axes", "kernel_shape", "perm", "training_mode", "starts", "split", "transA",
         "dilations"]
    )  # fmt: skip
    value = rng.choice(
        [0, 1, -1, 5, "SAME_LOWER", "reflect", "wrap", [0], [1, 1], [-1], [2, 2], 1.5, 1 << 40]
    )
    node.attribute.append(helper.make_attribute(name, value))
    return f"{node.op_type}.{name} = {value!r} added"


def _ends(rng: Random, proto: ModelProto) -> str:
    node = rng.choice(list(proto.graph.node))
    kind = rng.choice(["input", "input", "output", "no input", "no output", "same output", "blank"])
    names = (
        [i.name for i in proto.graph.initializer]
        + [o for n in proto.graph.node for o in n.output]
        + ["x", "?"]
    )
    if kind == "input":
        node.input[rng.randrange(len(node.input))] = rng.choice(names)
    elif kind == "blank":
        node.input[rng.randrange(len(node.input))] = ""
    elif kind == "output":
        node.output.append("extra")
    elif kind == "no input":
        node.input.pop()
    elif kind == "no output":
        node.output.pop()
    else:
        node.output[0] = rng.choice(names)
    return f"{node.op_type}: {kind}"


def _graph_ends(rng: Random, proto: ModelProto) -> str:
    graph = proto.graph
    kind = rng.choice(
        ["no output", "no input", "two inputs", "two outputs", "unknown output", "shape", "no shape"]
    )
    if kind == "no output":
        del graph.output[:]
    elif kind == "no input":
        del graph.input[:]
    elif kind == "two inputs":
        graph.input.append(helper.make_tensor_value_info("x2", TensorProto.FLOAT, [1]))
    elif kind == "two outputs":
        graph.output.append(helper.make_tensor_value_info(rng.choice(["x", "h", "r", "?", "y"]), 1, None))
    elif kind == "unknown output":
        graph.output[0].name = rng.choice(["?", "", "x", "a"])
    elif kind == "no shape":
        graph.input[0].type.tensor_type.ClearField("shape")
    else:
        dims = graph.input[0].type.tensor_type.shape.dim
        new = [rng.choice([*HUGE, 1, 2, 3, 7]) for _ in range(rng.choice([0, 1, len(dims), len(dims)]))]
        del dims[:]
        for n in new:
            dims.add(dim_value=n)
        kind = f"shape {new}"
    return f"graph: {kind}"


def _versions(rng: Random, proto: ModelProto) -> str:
    opsets = rng.choice([[], [0], [-1], [1], [7], [11], [13], [99], [1 << 40]])
    del proto.opset_import[:]
    for version in opsets:
        proto.opset_import.append(helper.make_opsetid("", version))
    if rng.random() < 0.3:
        proto.ir_version = rng.choice([0, -1, 99])
    return f"opset {opsets}, ir {proto.ir_version}"


def _growth(rng: Random, proto: ModelProto) -> str:
    """Put something before the output that swells."""
    nodes, make = proto.graph.node, helper.make_node
    nodes[-1].output[0] = "b0"
    count = rng.choice([3, 30, 200])
    kind = rng.choice(
        ["concat", "add", "constant concat", "relu", "tile", "mul", "sum", "expand", "max", "outer"]
    )
    source = "b0"
    if kind in ("constant concat", "tile", "expand", "outer"):
        size = rng.choice([2, 1 << 12, 1 << 20, 1 << 26, 1 << 29, 1 << 62])
        constants = {
            "n": np.array([size]),
            "nn": np.array([1, 1 << 14]),
            "col": np.ones((1 << 14, 1), np.float32),
        }
        proto.graph.initializer.extend(numpy_helper.from_array(v, k) for k, v in constants.items())
        if kind == "tile":
            nodes.append(make("Tile", ["n", "n"], ["big"]))
        elif kind == "expand":
            nodes.append(make("Expand", ["b0", "n"], ["big"]))
        elif kind == "outer":
            nodes.append(make("Expand", ["col", "nn"], ["e1"]))
            nodes.append(make("MatMul", ["e1", "e1"], ["big"]))
        else:
            nodes.append(make("ConstantOfShape", ["n"], ["big"]))
            for i in range(count):
                nodes.append(make("Concat", ["big" if i == 0 else f"g{i - 1}"] * 2, [f"g{i}"], axis=0))
            nodes.append(make("Identity", [f"g{count - 1}"], ["big2"]))
        nodes.append(make("Add", ["b0", "big"], ["y"]))
        return f"{kind} of {size}"
    for i in range(count):
        target = "y" if i == count - 1 else f"b{i + 1}"
        if kind == "concat":
            nodes.append(make("Concat", [source, source], [target], axis=1))
        elif kind == "relu":
            nodes.append(make("Neg", [source], [f"n{i}"]))
            nodes.append(make("Relu", [f"n{i}"], [target]))
        elif kind == "max":
            nodes.append(make("Neg", [source], [f"n{i}"]))
            nodes.append(make("Max", [source, f"n{i}", "b0"], [target]))
        else:
            name = {"add": "Add", "mul": "Mul", "sum": "Sum"}[kind]
            nodes.append(make(name, [source] * (40 if kind == "sum" else 2), [target]))
        source = target
    return f"{kind}, {count} times"


def _functions(rng: Random, proto: ModelProto) -> str:
    """Functions that call each other, themselves, or nothing."""
    make, opsets = helper.make_node, [helper.make_opsetid("", 18), helper.make_opsetid("f", 1)]
    kind = rng.choice(["itself", "each other", "fine", "swell", "missing"])
    callee = {"itself": "F", "each other": "G", "missing": "H"}.get(kind)
    body = [make(callee, ["a"], ["b"], domain="f")] if callee else [make("Relu", ["a"], ["b"])]
    proto.functions.append(helper.make_function("f", "F", ["a"], ["b"], body, opsets))
    if kind == "each other":
        again = [make("F", ["a"], ["b"], domain="f")]
        proto.functions.append(helper.make_function("f", "G", ["a"], ["b"], again, opsets))
    last = "F"
    if kind == "swell":
        for i in range(rng.choice([5, 16])):
            twice = [make(last, ["a"], ["t"], domain="f"), make(last, ["t"], ["b"], domain="f")]
            last = f"S{i}"
            proto.functions.append(helper.make_function("f", last, ["a"], ["b"], twice, opsets))
    proto.opset_import.append(helper.make_opsetid("f", 1))
    proto.graph.node[-1].output[0] = "b0"
    proto.graph.node.append(make(last, ["b0"], ["y"], domain="f"))
    return f"functions: {kind}"


def _sparse(rng: Random, proto: ModelProto) -> str:
    values = helper.make_tensor("a", TensorProto.FLOAT, [1], [1.0])
    indices = helper.make_tensor("i", TensorProto.INT64, [1], [1 << 40])
    sparse = helper.make_sparse_tensor(values, indices, [1 << rng.choice([3, 40])])
    if rng.random() < 0.5:
        proto.graph.sparse_initializer.append(sparse)
        return "sparse initialiser"
    node = helper.make_node("Constant", [], ["a"], sparse_value=sparse)
    proto.graph.node.insert(0, node)
    return "sparse constant"


def _twice(rng: Random, proto: ModelProto) -> str:
    proto.graph.initializer.append(rng.choice(list(proto.graph.initializer)))
    if rng.random() < 0.5:
        proto.graph.initializer[-1].name = rng.choice(["x", "y", "h", ""])
    return "an initialiser twice or under a wrong name"


CHANGES: tuple[Change, ...] = (
    _dims, _no_initializer, _cycle, _shuffle, _tensor_type, _tensor_value, _tensor_value, _external,
    _operator,
    _operator, _attribute, _attribute, _extra_attribute, _ends, _graph_ends, _versions, _growth, _functions,
    _sparse, _twice,
)  # fmt: skip


def onnx_fields(rng: Random, folder: Path) -> Question:
    """Set one or two of a model's fields to what no exporter writes."""
    which = rng.randrange(len(templates()))
    proto = onnx.ModelProto()
    proto.CopyFrom(templates()[which])
    notes = []
    for change in rng.sample(CHANGES, rng.choice([1, 1, 1, 2])):
        try:
            notes.append(change(rng, proto))
        except (IndexError, ValueError, TypeError) as error:  # an earlier change left nothing to change
            notes.append(f"{change.__name__} not possible ({type(error).__name__})")
    return _question(folder, proto.SerializeToString(), f"template {which}: {'; '.join(notes)}")
