"""The file format of `ReLUNetwork`: an uncompressed .npz of plain arrays, no pickle, written atomically."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from io import BytesIO
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray
from scipy import sparse

from jensen.errors import JensenError, ModelFileError
from jensen.network._atomic import written_at_once
from jensen.network._npy import read_header
from jensen.network._numbers import MAX_INPUTS
from jensen.network._relu_network import Layer, Matrix, ReLUNetwork

FORMAT, VERSION = "jensen.network", 1
_MAX_HEADER = 1 << 24


def save_network(network: ReLUNetwork, path: str | Path) -> None:
    """Store a network; `load_network` gives back exactly the same.

    The file appears whole or not at all: it is written beside its place and then moved there.

    Parameters
    ----------
    network : ReLUNetwork
    path : str or Path
        Conventionally with the suffix ``.npz``; no suffix is added.

    Raises
    ------
    ModelFileError
        If the file cannot be written.
    """
    arrays: dict[str, NDArray[Any]] = {}
    groups = [_store(arrays, f"layer{i}", layer.weights) for i, layer in enumerate(network.layers, 1)]
    for i, layer in enumerate(network.layers, 1):
        arrays[f"layer{i}.bias"] = layer.bias
        arrays[f"layer{i}.negative_slope"] = layer.negative_slope
    header = {
        "format": FORMAT,
        "version": VERSION,
        "input_size": network.input_size,
        "input_shape": list(network.input_shape),
        "layers": groups,
        "output": _store(arrays, "output", network.output_weights),
    }
    arrays["output.bias"] = np.array(network.output_bias)
    arrays["header"] = np.frombuffer(json.dumps(header).encode(), dtype=np.uint8)
    try:
        with written_at_once(path) as stream:
            np.savez(stream, allow_pickle=False, **arrays)
    except OSError as error:
        raise ModelFileError(f"cannot write {path}: {error}") from error


def _store(
    arrays: dict[str, NDArray[Any]], prefix: str, weights: Mapping[int, Matrix]
) -> dict[str, list[int]]:
    """Add weights to the arrays; return the shapes by source."""
    for k, w in weights.items():
        if sparse.issparse(w):
            for part in ("data", "indices", "indptr"):
                arrays[f"{prefix}.{k}.{part}"] = getattr(w, part)
        else:
            arrays[f"{prefix}.{k}"] = np.asarray(w)
    return {str(k): list(w.shape) for k, w in weights.items()}


def load_network(path: str | Path) -> ReLUNetwork:
    """Load a network that `save_network` stored.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    ReLUNetwork

    Raises
    ------
    ModelFileError
        If the file is missing, torn, of another kind, or of a later version.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return _network(_Reader(archive, str(path)))
    except ModelFileError:
        raise
    except OSError as error:
        raise ModelFileError(f"cannot read {path}: {error}") from error
    except zipfile.BadZipFile as error:
        raise ModelFileError(f"{path} is not a stored network or is torn: {error}") from error
    except JensenError as error:
        raise ModelFileError(f"{path} is not a well-formed network: {error}") from error
    except MemoryError as error:
        raise ModelFileError(f"{path} asks for more memory than there is: {error}") from error
    except (
        LookupError, TypeError, ValueError, AttributeError, EOFError, RuntimeError, ArithmeticError,
    ) as error:  # fmt: skip
        raise ModelFileError(f"{path} is malformed: {type(error).__name__}: {error}") from error


class _Reader:
    """Arrays of an .npz file; every size is checked against the file before memory is taken."""

    def __init__(self, archive: zipfile.ZipFile, path: str) -> None:
        self._archive = archive
        self.path = path
        self._members = {info.filename: info for info in archive.infolist()}
        if len(self._members) < len(archive.infolist()):
            raise ModelFileError(f"{path} holds an array twice")
        if "header.npy" not in self._members:
            raise ModelFileError(f"{path} is not a network stored by jensen.network.save_network")
        if self._members["header.npy"].file_size > _MAX_HEADER:
            raise ModelFileError(f"{path}: its header is too large")

    def has(self, name: str) -> bool:
        """Whether an array is there."""
        return f"{name}.npy" in self._members

    def array(self, name: str, kinds: str = "f") -> NDArray[Any]:
        """Read an array of one of the dtype kinds."""
        info = self._members.get(f"{name}.npy")
        if info is None:
            raise ModelFileError(f"{self.path} lacks {name!r}")
        if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size:
            raise ModelFileError(f"{self.path}: {name!r} is compressed, which save_network never does")
        stream = BytesIO(self._archive.read(info))
        shape, dtype = read_header(stream)
        if dtype.kind not in kinds or stream.tell() + prod(shape) * dtype.itemsize != info.file_size:
            raise ModelFileError(f"{self.path}: {name!r} does not fit its {info.file_size} bytes")
        stream.seek(0)
        return np.asarray(npy.read_array(stream, allow_pickle=False))

    def weights(self, prefix: str, shapes: Mapping[str, Any]) -> dict[int, Any]:
        """Weights by source, sparse where they were."""
        weights: dict[int, Any] = {}
        for k, shape in shapes.items():
            key = f"{prefix}.{int(k)}"
            if not self.has(f"{key}.data"):
                matrix = self.array(key)
                if list(matrix.shape) != shape:
                    raise ModelFileError(f"{self.path}: {key!r} has shape {matrix.shape}, not {shape}")
                weights[int(k)] = matrix
                continue
            parts = (
                self.array(f"{key}.data"),
                self.array(f"{key}.indices", "iu"),
                self.array(f"{key}.indptr", "iu"),
            )
            rows, columns = shape
            if len(parts[2]) != rows + 1:
                raise ModelFileError(f"{self.path}: {key!r} has {len(parts[2])} row ends for {rows} rows")
            sparse_matrix = sparse.csr_array(parts, shape=(rows, columns))
            sparse_matrix.check_format(full_check=True)
            weights[int(k)] = sparse_matrix
        return weights


def _network(reader: _Reader) -> ReLUNetwork:
    header = json.loads(reader.array("header", "u").tobytes())
    if header["format"] != FORMAT:
        raise ModelFileError(f"{reader.path} is not a network stored by jensen.network.save_network")
    if header["version"] > VERSION:
        raise ModelFileError(
            f"{reader.path} has version {header['version']}; this jensen reads up to {VERSION}"
        )
    input_size, input_shape = int(header["input_size"]), tuple(int(n) for n in header["input_shape"])
    if not 0 < input_size <= MAX_INPUTS or prod(input_shape) != input_size:
        raise ModelFileError(f"{reader.path}: {input_size} inputs of shape {input_shape}")
    layers = [
        Layer(
            reader.weights(f"layer{i}", shapes),
            reader.array(f"layer{i}.bias"),
            reader.array(f"layer{i}.negative_slope"),
        )
        for i, shapes in enumerate(header["layers"], 1)
    ]
    weights = reader.weights("output", header["output"])
    return ReLUNetwork(input_size, layers, weights, float(reader.array("output.bias")), input_shape)
