"""One door for every kind of model: modules, exported programs, files, arrays."""

from __future__ import annotations

import struct
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jensen.errors import ModelFileError, NetworkError
from jensen.network._arrays import from_arrays
from jensen.network._lowered import Lowered
from jensen.network._numbers import as_output
from jensen.network._onnx import from_onnx
from jensen.network._relu_network import ReLUNetwork
from jensen.network._storage import load_network


def load_model(
    path: str | Path, output: int | None = None, input_shape: Sequence[int] | None = None
) -> Lowered:
    """Load a model file: ONNX (``.onnx``), an exported program (``.pt2``) or a stored network (``.npz``).

    A file with another suffix is recognised by its content. Nothing is ever unpickled.

    Parameters
    ----------
    path : str or Path
    output : int, optional
        Which entry of the flattened output of one input, where there are several.
    input_shape : sequence of int, optional
        Shape of one input without the batch, where the file leaves it open.

    Returns
    -------
    Lowered

    Raises
    ------
    ModelFileError
        If the file is missing, torn, or of an unknown or unsafe kind.
    NetworkError, UnsupportedOperatorError
        If the model cannot be lowered.
    """
    file = Path(path)
    try:
        if not file.is_file():
            raise ModelFileError(f"there is no model file {file}")
    except OSError as error:
        raise ModelFileError(f"cannot read {file}: {error}") from error
    kind = _kind(file)
    if kind == "onnx":
        return from_onnx(file, output, input_shape)
    if kind == "pt2":
        from jensen.network._pt2 import from_pt2  # imports torch

        return from_pt2(file, output, input_shape)
    return _checked(Lowered(load_network(file), True), output)


def _kind(file: Path) -> str:
    known = {".onnx": "onnx", ".pt2": "pt2", ".pt": "pt2", ".pth": "pt2", ".npz": "npz"}
    if file.suffix.lower() in known:
        return known[file.suffix.lower()]
    try:
        if not zipfile.is_zipfile(file):
            return "onnx"
        with zipfile.ZipFile(file) as archive:
            return "npz" if "header.npy" in archive.namelist() else "pt2"
    except (OSError, zipfile.BadZipFile, RuntimeError, ValueError, struct.error) as error:
        raise ModelFileError(f"cannot read {file}: {error}") from error


def _checked(lowered: Lowered, output: int | None) -> Lowered:
    if as_output(output) not in (None, 0, -1):
        raise NetworkError(f"output={output} is out of range: the network has one output")
    return lowered


def as_network(model: Any, output: int | None = None, input_shape: Sequence[int] | None = None) -> Lowered:
    """Turn any kind of model into a network.

    Parameters
    ----------
    model : ReLUNetwork, torch.nn.Module, torch.export.ExportedProgram, str, Path, or sequence of arrays
        A sequence of arrays is the list of weights of `from_arrays`.
    output : int, optional
        Which entry of the flattened output of one input, where there are several.
    input_shape : sequence of int, optional
        Shape of one input without the batch, where the model leaves it open.

    Returns
    -------
    Lowered

    Raises
    ------
    NetworkError
        If the model is of none of these kinds, or cannot be lowered.
    UnsupportedOperatorError, ModelFileError
        As `from_torch` and `load_model` do.
    """
    if isinstance(model, Lowered):
        return _checked(model, output)
    if isinstance(model, ReLUNetwork):
        return _checked(Lowered(model, True), output)
    if isinstance(model, (str, Path)):
        return load_model(model, output, input_shape)
    if isinstance(model, (list, tuple)):
        return _checked(Lowered(from_arrays(model), True), output)
    # A torch model cannot exist unless torch is loaded already; jensen itself starts without it.
    if (torch := sys.modules.get("torch")) is not None:
        from jensen.network._torch import from_torch

        if isinstance(model, (torch.nn.Module, torch.export.ExportedProgram)):
            return from_torch(model, input_shape, output)
    if (onnx := sys.modules.get("onnx")) is not None and isinstance(model, onnx.ModelProto):
        return from_onnx(model, output, input_shape)
    raise NetworkError(
        f"a {type(model).__name__} is no model: pass a torch.nn.Module, an ExportedProgram, a ReLUNetwork, "
        "the path of a .onnx, .pt2 or .npz file, or a list of weight matrices"
    )
