"""Safe reader of `.pt2` files (`torch.export.save`): the graph is JSON, the weights are raw bytes.

`torch.export.load` unpickles parts of such a file, and so may run whatever code its author put there. This
reader opens only the JSON members and the raw tensors, and calls only operators that the lowering knows.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

import torch

from jensen.errors import JensenError, ModelFileError
from jensen.network._lowered import Lowered
from jensen.network._numbers import as_output, as_shape
from jensen.network._torch import batch_axis
from jensen.network._traced import Traced
from jensen.network.lowering._program import Node, Program, Ref, is_in_place, lower, overload_of

_DTYPES = {
    1: torch.uint8,
    2: torch.int8,
    3: torch.int16,
    4: torch.int32,
    5: torch.int64,
    6: torch.float16,
    7: torch.float32,
    8: torch.float64,
    12: torch.bool,
    13: torch.bfloat16,
}
"""Numbers of the scalar types in the JSON schema."""

_EXPORT_HINT = (
    "save the model with torch.export.save(torch.export.export(model.eval(), (sample,)), 'model.pt2'), "
    "export it to ONNX, or store its network with jensen.network.save_network"
)
_MALFORMED = (
    LookupError, TypeError, ValueError, AttributeError, RuntimeError, ArithmeticError, AssertionError,
    EOFError,
)  # fmt: skip
_UNREADABLE = (zipfile.BadZipFile, OSError, MemoryError, *_MALFORMED)


def from_pt2(
    path: str | Path, output: int | None = None, input_shape: Sequence[int] | None = None
) -> Lowered:
    """Lower an exported program stored by `torch.export.save`, without unpickling anything.

    Parameters
    ----------
    path : str or Path
    output : int, optional
        Which entry of the flattened output of one input, where there are several.
    input_shape : sequence of int, optional
        Shape of one input without the batch, to tell a batch axis of fixed size from a feature axis.

    Returns
    -------
    Lowered

    Raises
    ------
    ModelFileError
        If the file is missing, torn, a plain pickle, of an unknown version, or holds pickled weights.
    NetworkError, UnsupportedOperatorError
        As `from_torch` does.
    """
    input_shape, output = as_shape(input_shape), as_output(output)
    try:
        with zipfile.ZipFile(path) as archive:
            program = _one_input(_read(_Archive(archive, str(path))), str(path), input_shape)
        return lower(program, output)
    except JensenError:
        raise
    except _UNREADABLE as error:
        raise _explained(path, error) from error


def read_pt2(path: str | Path) -> Traced:
    """Read an exported program stored by `torch.export.save`, without unpickling anything.

    Raises
    ------
    ModelFileError
        As `from_pt2` does.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return _read(_Archive(archive, str(path)))
    except JensenError:
        raise
    except _UNREADABLE as error:
        raise _explained(path, error) from error


def _explained(path: str | Path, error: BaseException) -> ModelFileError:
    if isinstance(error, zipfile.BadZipFile):
        return ModelFileError(f"{path} is not a .pt2 file or is torn ({error}); {_EXPORT_HINT}")
    if isinstance(error, OSError):
        return ModelFileError(f"cannot read {path}: {error}")
    if isinstance(error, MemoryError):
        return ModelFileError(f"{path} asks for more memory than there is: {error}")
    return ModelFileError(f"{path} is malformed: {type(error).__name__}: {error}")


def _one_input(program: Traced, path: str, input_shape: Sequence[int] | None) -> Program:
    if len(program.inputs) != 1:
        raise ModelFileError(f"{path}: the model takes {len(program.inputs)} inputs; one is expected")
    ((name, sizes),) = program.inputs.items()
    assert sizes is not None
    shape, batched = batch_axis(sizes, input_shape)
    return Program(program.constants, name, shape, batched, program.nodes, program.outputs, trusted=False)


class _Archive:
    """The members of a `.pt2` file, below its one top folder."""

    def __init__(self, archive: zipfile.ZipFile, path: str) -> None:
        self._archive = archive
        self.path = path
        self._members = {info.filename.partition("/")[2]: info for info in archive.infolist()}
        if len(self._members) != len(archive.infolist()):
            raise ModelFileError(f"{path} holds members twice")
        if "archive_format" not in self._members:
            kind = (
                "a pickle (torch.save)"
                if "data.pkl" in self._members
                else "no .pt2 file that jensen can read"
            )
            raise ModelFileError(
                f"{path} is {kind}; jensen never unpickles a file, since that runs code: {_EXPORT_HINT}"
            )

    def names(self) -> list[str]:
        """Names of the members."""
        return list(self._members)

    def read(self, name: str) -> bytes:
        """Bytes of a member, which must be stored without compression (so that it cannot swell)."""
        info = self._members.get(name)
        if info is None:
            raise ModelFileError(f"{self.path} lacks its member {name!r}")
        if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size:
            raise ModelFileError(
                f"{self.path}: member {name!r} is compressed, which torch.export.save never does"
            )
        return self._archive.read(info)

    def json(self, name: str) -> Any:
        """Parse a JSON member."""
        return json.loads(self.read(name))

    def tensors(self, folder: str, config: str) -> dict[str, torch.Tensor]:
        """Tensors of a folder, by the names in its configuration file."""
        if f"{folder}/{config}" not in self._members:
            return {}
        result = {}
        for name, entry in self.json(f"{folder}/{config}")["config"].items():
            if entry["use_pickle"] is not False:
                raise ModelFileError(
                    f"{self.path}: {name!r} is stored as a pickle, which jensen never opens; "
                    "store a plain tensor"
                )
            result[name] = self._tensor(name, f"{folder}/{entry['path_name']}", entry["tensor_meta"])
        return result

    def _tensor(self, name: str, member: str, meta: Mapping[str, Any]) -> torch.Tensor:
        dtype = _DTYPES.get(meta["dtype"])
        if dtype is None:
            raise ModelFileError(f"{self.path}: {name!r} has an unknown dtype {meta['dtype']!r}")
        sizes = [_whole(n) for n in meta["sizes"]]
        strides = [_whole(n) for n in meta["strides"]]
        offset = _whole(meta["storage_offset"])
        raw = self.read(member)
        available = len(raw) // dtype.itemsize
        extent = offset + 1 + sum((n - 1) * s for n, s in zip(sizes, strides, strict=True))
        if min([*sizes, *strides, offset], default=0) < 0 or (
            prod(sizes) > 0 and (extent > available or prod(sizes) > available)
        ):
            raise ModelFileError(f"{self.path}: {name!r} does not fit its {len(raw)} bytes")
        if prod(sizes) == 0:
            return torch.zeros(sizes, dtype=dtype)
        return torch.frombuffer(bytearray(raw), dtype=dtype).as_strided(sizes, strides, offset).clone()


def _whole(size: Mapping[str, Any]) -> int:
    value = size["as_int"]
    if not isinstance(value, int):
        raise ModelFileError(f"a size is {value!r}")
    return value


def _read(archive: _Archive) -> Traced:
    models = [name for name in archive.names() if name.startswith("models/") and name.endswith(".json")]
    if len(models) != 1:
        raise ModelFileError(f"{archive.path} holds {len(models)} models; one is expected")
    document = archive.json(models[0])
    if document["schema_version"]["major"] != 8:
        version = document["schema_version"]["major"]
        raise ModelFileError(
            f"{archive.path} has schema version {version}; jensen reads 8 (torch 2.8 and later)"
        )
    stem = Path(models[0]).stem
    tensors = {
        **archive.tensors("data/constants", f"{stem}_constants_config.json"),
        **archive.tensors("data/weights", f"{stem}_weights_config.json"),
    }
    module = document["graph_module"]
    graph, signature = module["graph"], module["signature"]
    constants: dict[str, torch.Tensor] = {}
    parameters: dict[str, str] = {}
    inputs: list[str] = []
    for spec in signature["input_specs"]:
        ((kind, value),) = spec.items()
        if kind == "user_input" and "as_tensor" in value["arg"]:
            inputs.append(value["arg"]["as_tensor"]["name"])
        elif kind in ("parameter", "buffer", "tensor_constant"):
            target = value[f"{kind}_name"]
            if target not in tensors:
                raise ModelFileError(f"{archive.path}: no data for {target!r}")
            constants[value["arg"]["name"]] = tensors[target]
            if kind != "tensor_constant":
                parameters[value["arg"]["name"]] = target
        else:
            raise ModelFileError(f"{archive.path}: an input of kind {kind!r} cannot be read")
    outputs = [
        spec["user_output"]["arg"]["as_tensor"]["name"]
        for spec in signature["output_specs"]
        if "as_tensor" in spec.get("user_output", {}).get("arg", {})
    ]
    meta = graph["tensor_values"]
    shapes = {name: tuple(n.get("as_int") for n in meta[name]["sizes"]) for name in inputs}
    nodes = [part for node in graph["nodes"] for part in _nodes(node, meta)]
    _refuse_hidden_writes(nodes, archive.path)
    return Traced(constants, parameters, shapes, nodes, outputs, trusted=False)


def _nodes(node: Mapping[str, Any], meta: Mapping[str, Any]) -> list[Node]:
    """Read a node; several results become one tuple and a node for each of its entries."""
    target = str(node["target"]).removeprefix("torch.ops.")
    args = {}
    for position, item in enumerate(node["inputs"]):
        key = item["name"]
        args[f"#{position}" if not key or key in args else key] = _argument(item["arg"])
    names: list[str] = []
    several = len(node["outputs"]) > 1
    for result in node["outputs"]:
        ((kind, value),) = result.items()
        if kind == "as_tensors":
            several = True
            names += [v["name"] for v in value]
        elif kind in ("as_tensor", "as_sym_int", "as_sym_bool"):
            names.append(value.get("name", value.get("as_name")))
        else:
            names.append("")
    own = names[0] if len(names) == 1 and not several else str(node.get("name") or f"({'+'.join(names)})")
    place = _place(own, node.get("metadata") or {})
    number = meta.get(names[0], {}).get("dtype") if names else None
    dtype = str(_DTYPES[number]).removeprefix("torch.") if number in _DTYPES else ""
    parts = [Node(own, target, args, place, dtype)]
    if several:
        parts += [
            Node(name, "_operator.getitem", {"a": Ref(own), "b": i}, place, "")
            for i, name in enumerate(names)
            if name
        ]
    return parts


def _argument(argument: Mapping[str, Any]) -> Any:
    ((kind, value),) = argument.items()
    simple: dict[str, Any] = {"as_none": None, "as_layout": None, "as_memory_format": None}
    if kind in simple:
        return simple[kind]
    if kind in ("as_tensor", "as_sym_int", "as_sym_bool", "as_sym_float", "as_optional_tensor"):
        return _reference(value)
    if kind in ("as_tensors", "as_sym_ints", "as_optional_tensors"):
        return [_reference(v) for v in value]
    if kind in ("as_int", "as_bool", "as_string", "as_ints", "as_bools"):
        return value
    if kind == "as_float":
        return float(value)
    if kind == "as_floats":
        return [float(v) for v in value]
    if kind == "as_scalar_type":
        return _DTYPES[value]
    if kind == "as_device":
        return "cpu"
    raise ModelFileError(f"an argument of kind {kind!r} cannot be read")


def _reference(value: Mapping[str, Any]) -> Any:
    if "name" in value:
        return Ref(value["name"])
    ((kind, inner),) = value.items()
    if kind == "as_tensor":
        return Ref(inner["name"])
    if kind == "as_name":
        return Ref(inner)
    return None if kind == "as_none" else inner


def _place(name: str, metadata: Mapping[str, str]) -> str:
    entries = [e.split(",") for e in metadata.get("nn_module_stack", "").split(";")]
    path = next((e[1] for e in reversed(entries) if len(e) > 1 and e[1]), "")
    return f"node {name} ({path})" if path else f"node {name}"


def _refuse_hidden_writes(nodes: Sequence[Node], path: str) -> None:
    """Refuse in-place operators on values that share memory: rebinding the name would miss the others."""
    shared: set[str] = set()
    for node in nodes:
        own = node.args.get("self")
        if is_in_place(node.target) and isinstance(own, Ref) and own.name in shared:
            raise ModelFileError(
                f"{path}: {node.place} writes into a view ({node.target}); export with "
                "torch.export.export(...).run_decompositions({}) and save that"
            )
        if is_in_place(node.target) or _aliases(node.target):
            values = [v for v in node.args.values() for v in (v if isinstance(v, list) else [v])]
            refs = [v.name for v in values if isinstance(v, Ref)]
            if not is_in_place(node.target):
                shared.update([node.name, *refs])


def _aliases(target: str) -> bool:
    """Whether an operator's result may share memory with an argument."""
    if not target.startswith("aten."):
        return target == "_operator.getitem"
    if target.startswith(("aten.dropout.", "aten.feature_dropout.", "aten.flatten.", "aten.contiguous.")):
        return True
    try:
        schema = overload_of(target)._schema
    except AttributeError:
        return True
    return any(result.alias_info is not None for result in schema.returns)
