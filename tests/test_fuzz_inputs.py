"""Inputs that nobody should pass: a small campaign of every class, and every bug that a large one found.

The large one is benchmarks/fuzz.py.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from fuzzing import CLASSES, draw, judge
from fuzzing._archives import pack, unpack
from fuzzing._onnx_models import templates
from onnx import TensorProto, helper, numpy_helper

from jensen import cli
from jensen.errors import DomainError, JensenError, ModelFileError, NetworkError
from jensen.network import (
    from_arrays,
    from_onnx,
    load_domain,
    load_network,
    save_network,
)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CLASSES)
def test_every_answer_is_right_or_a_clear_error(name: str, tmp_path: Path) -> None:
    for index in range(10):
        folder = tmp_path / str(index)
        folder.mkdir()
        case = draw(name, 2026, index, folder)
        outcome = judge(case)
        assert outcome.kind != "bad", f"{name} {index}: {case.note}: {outcome.message}"


# ONNX files


def copy_of(which: int) -> onnx.ModelProto:
    proto = onnx.ModelProto()
    proto.CopyFrom(templates()[which])
    return proto


def swollen(depth: int) -> onnx.ModelProto:
    """A model whose functions call each other twice each, `depth` deep."""
    proto, last = copy_of(0), "Relu"
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("f", 1)]
    for level in range(depth):
        domain = "f" if level else ""
        body = [
            helper.make_node(last, ["a"], ["t"], domain=domain),
            helper.make_node(last, ["t"], ["b"], domain=domain),
        ]
        last = f"S{level}"
        proto.functions.append(helper.make_function("f", last, ["a"], ["b"], body, opsets))
    proto.opset_import.append(helper.make_opsetid("f", 1))
    proto.graph.node[-1].output[0] = "before"
    proto.graph.node.append(helper.make_node(last, ["before"], ["y"], domain="f"))
    return proto


def test_functions_that_swell_are_refused_before_they_do() -> None:
    assert from_onnx(swollen(3)).network.widths == (2, 3, 1)
    with pytest.raises(ModelFileError, match="swell to 1099511627"):
        from_onnx(swollen(40))


def test_functions_that_call_themselves_are_refused() -> None:
    proto = swollen(2)
    proto.functions[0].node[0].op_type, proto.functions[0].node[0].domain = "S1", "f"
    with pytest.raises(ModelFileError, match="calls itself"):
        from_onnx(proto)


def appended(*nodes: onnx.NodeProto, **constants: Any) -> onnx.ModelProto:
    """The dense template with nodes between its output, now "before", and "y"."""
    proto = copy_of(0)
    proto.graph.node[-1].output[0] = "before"
    proto.graph.node.extend(nodes)
    proto.graph.initializer.extend(numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items())
    return proto


MAKE = helper.make_node
BAD_GRAPHS: dict[str, tuple[Callable[[], onnx.ModelProto], str]] = {
    "expand": (lambda: appended(MAKE("Expand", ["before", "n"], ["y"]), n=[1 << 26]), "too large"),
    "constant": (
        lambda: appended(
            MAKE("ConstantOfShape", ["n"], ["c9"]), MAKE("Add", ["before", "c9"], ["y"]), n=[1 << 27]
        ),
        "too large",
    ),
    "hours of products": (
        lambda: appended(
            MAKE("Expand", ["one", "n"], ["e"]),
            *(MAKE("MatMul", [f"e{i}" if i else "e", "e"], [f"e{i + 1}"]) for i in range(9)),
            MAKE("Add", ["before", "e9"], ["y"]),
            one=np.ones((1, 1), np.float32),
            n=[1 << 12, 1 << 12],
        ),
        "too large",
    ),
    "range": (
        lambda: appended(
            MAKE("Range", ["r9", "r9", "r9"], ["e"]), MAKE("Add", ["before", "e"], ["y"]), r9=np.float32(0)
        ),
        "too large",
    ),
    "circle": (lambda: appended(MAKE("Add", ["before", "y"], ["y"])), "reads 'y', which nothing before"),
    "twice": (lambda: appended(MAKE("Relu", ["before"], ["h"])), "'h' is made twice"),
    "results": (lambda: appended(MAKE("Relu", ["before"], ["y", "z"])), "1 results and names 2"),
    "no axis": (lambda: appended(MAKE("Concat", ["before", "before"], ["y"])), "'axis' is missing"),
    "window": (
        lambda: appended(
            MAKE("Unsqueeze", ["before", "ax"], ["u"]),
            MAKE("MaxPool", ["u"], ["y"], kernel_shape=[2], pads=[1 << 40, 0]),
            ax=[2],
        ),
        "too many",
    ),
}


@pytest.mark.parametrize("name", BAD_GRAPHS)
def test_bad_graphs_are_refused(name: str) -> None:
    make, message = BAD_GRAPHS[name]
    with pytest.raises(JensenError, match=message):
        from_onnx(make())


def test_missing_and_misshapen_initialisers_are_named() -> None:
    proto = copy_of(0)
    del proto.graph.initializer[0]
    with pytest.raises(ModelFileError, match="reads 'a', which nothing before it makes"):
        from_onnx(proto)
    for dims, message in (([-1, -3], "impossible"), ([3, 10], "do not fit"), ([1 << 40], "too large")):
        proto = copy_of(0)
        del proto.graph.initializer[0].dims[:]
        proto.graph.initializer[0].dims.extend(dims)
        with pytest.raises(ModelFileError, match=message):
            from_onnx(proto)


@pytest.mark.parametrize("place", ["initializer", "function"])
def test_weights_of_a_model_in_memory_are_never_read_from_a_file(place: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(24))
    tensor = helper.make_tensor("w", TensorProto.FLOAT, [3, 2], np.zeros(6))
    tensor.ClearField("float_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=str(secret))
    proto = copy_of(0)
    if place == "initializer":
        tensor.name = proto.graph.initializer[0].name
        proto.graph.initializer[0].CopyFrom(tensor)
    else:
        body = [MAKE("Constant", [], ["b"], value=tensor)]
        opset = [helper.make_opsetid("", 18)]
        proto.functions.append(helper.make_function("f", "F", [], ["b"], body, opset))
    with pytest.raises(ModelFileError, match="outside the model"):
        from_onnx(proto)
    onnx.save(proto, tmp_path / "m.onnx")
    with pytest.raises(ModelFileError, match="outside the model's own folder"):
        from_onnx(tmp_path / "m.onnx")


def test_a_model_is_read_as_binary_whatever_its_suffix(tmp_path: Path) -> None:
    file = tmp_path / "model.json"
    file.write_bytes(templates()[0].SerializeToString())
    assert from_onnx(file).network.n_neurons == 5
    file.write_text("{")
    with pytest.raises(ModelFileError, match="not an ONNX file"):
        from_onnx(file)


@pytest.mark.parametrize("shape", [(1 << 20, 1 << 20), (1 << 40,)])
def test_absurd_input_shapes_take_no_memory(shape: tuple[int, ...]) -> None:
    graph = helper.make_graph(
        [MAKE("Relu", ["x"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", *(None for _ in shape)])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )
    with pytest.raises(NetworkError, match="inputs"):
        from_onnx(helper.make_model(graph), input_shape=shape)


# Stored networks and domains


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    file = tmp_path / "net.npz"
    save_network(from_arrays([[[1.0], [-1.0]], [[1.0, 1.0]]]), file)
    return file


def test_a_torn_array_header_is_told(stored: Path) -> None:
    members = unpack(stored.read_bytes())
    members["layer1.bias.npy"] = members["layer1.bias.npy"].replace(b"(2,)", b"(2,(")
    stored.write_bytes(pack(members))
    with pytest.raises(ModelFileError, match=r"malformed.*header"):
        load_network(stored)


def test_a_stored_network_of_absurd_size_takes_no_memory(stored: Path) -> None:
    members = unpack(stored.read_bytes())
    header = json.dumps(
        {"format": "jensen.network", "version": 1, "input_size": 1 << 28, "input_shape": [1 << 28],
         "layers": [], "output": {}}
    )  # fmt: skip
    stream = io.BytesIO()
    np.save(stream, np.frombuffer(header.encode(), dtype=np.uint8))
    stored.write_bytes(pack({**members, "header.npy": stream.getvalue()}))
    with pytest.raises(ModelFileError, match="268435456 inputs"):
        load_network(stored)


def test_an_array_that_is_stored_twice_is_refused(stored: Path) -> None:
    with zipfile.ZipFile(stored, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("layer1.bias.npy", archive.read("layer1.bias.npy"))
    with pytest.raises(ModelFileError, match="twice"):
        load_network(stored)


BAD_DOMAINS: dict[str, tuple[bytes, str]] = {
    "digits": (b'{"lo": ' + b"9" * 5000 + b', "hi": 1}', "not valid JSON"),
    "twice": (b'{"lo": 0, "lo": -1, "hi": 1}', "twice"),
    "deep": (b'{"lo":' + b"[" * 100_000, "not valid JSON"),
    "huge": (b'{"lo": ' + b"9" * 400 + b', "hi": 1}', "numbers only"),
    "text": (b'{"lo": "0", "hi": "1"}', "numbers only"),
}


@pytest.mark.parametrize("name", BAD_DOMAINS)
def test_bad_domain_files_are_refused(name: str, tmp_path: Path) -> None:
    content, message = BAD_DOMAINS[name]
    file = tmp_path / "domain.json"
    file.write_bytes(content)
    with pytest.raises(DomainError, match=message):
        load_domain(file)


@pytest.mark.parametrize("claimed", [1 << 20, 1 << 40, -1])
def test_domain_arrays_that_claim_more_than_they_hold_take_no_memory(claimed: int, tmp_path: Path) -> None:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        stream, {"descr": "<f8", "fortran_order": False, "shape": (claimed,)}
    )
    file = tmp_path / "domain.npz"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("lo", "hi"):
            archive.writestr(f"{name}.npy", stream.getvalue() + bytes(8))
    with pytest.raises(DomainError, match="shape"):
        load_domain(file)


def test_a_domain_archive_that_swells_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jensen.network._domain_file._MAX_BYTES", 1 << 20)
    file = tmp_path / "domain.npz"
    np.savez_compressed(file, lo=np.zeros(1 << 17), hi=np.ones(1 << 17))
    assert file.stat().st_size < 1 << 12
    with pytest.raises(DomainError, match="holds more than"):
        load_domain(file)


@pytest.mark.parametrize("wrt", ["0-999999999", "999999999"])
def test_the_command_does_not_count_inputs_that_no_network_has(
    wrt: str, stored: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["check", str(stored), "--wrt", wrt]) == 3
    assert "beyond every network" in capsys.readouterr().err
