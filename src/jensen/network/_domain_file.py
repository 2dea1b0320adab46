"""Domains from files: what `--domain FILE` reads."""

from __future__ import annotations

import json
import lzma
import struct
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from io import BytesIO
from math import prod
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy

from jensen.errors import DomainError
from jensen.network._domain import Box, Domain, Polytope
from jensen.network._npy import read_header

_FORMS = 'a box needs "lo" and "hi", a polytope needs "A" and "b" (A x <= b)'
_MAX_BYTES = 1 << 28


def load_domain(path: str | PathLike[str]) -> Domain:
    """Read a box or a polytope from a JSON or .npz file.

    Parameters
    ----------
    path : path
        A JSON object, or a NumPy archive (suffix ``.npz``), with the entries ``lo`` and ``hi`` (numbers or
        vectors; null or an infinite number where there is no bound) or ``A`` (m, d) and ``b`` (m,). Archives
        are never unpickled.

    Returns
    -------
    Box or Polytope

    Raises
    ------
    DomainError
        If the file is missing or torn, or holds anything else than one box or one polytope.
    """
    file = Path(path)
    try:
        entries = _read_archive(file) if file.suffix.lower() == ".npz" else _read_json(file)
    except OSError as error:
        raise DomainError(f"cannot read the domain file {file}: {error.strerror or error}") from error
    keys = frozenset(entries)
    if keys not in (frozenset({"lo", "hi"}), frozenset({"A", "b"})):
        found = ", ".join(sorted(keys)) or "nothing"
        raise DomainError(f"the domain file {file} holds {found}; {_FORMS}")
    arrays = {name: _as_numbers(name, value, file) for name, value in entries.items()}
    if "lo" in arrays:
        return Box(arrays["lo"], arrays["hi"])
    return Polytope(arrays["A"], arrays["b"])


def _read_json(file: Path) -> Mapping[str, Any]:
    try:
        if file.stat().st_size > _MAX_BYTES:
            raise DomainError(f"the domain file {file} is larger than {_MAX_BYTES} bytes")
        content = json.loads(file.read_text(encoding="utf-8-sig"), object_pairs_hook=_entries)
    except DomainError:
        raise
    except (ValueError, RecursionError) as error:
        raise DomainError(f"the domain file {file} is not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise DomainError(f"the domain file {file} must hold one JSON object; {_FORMS}")
    return content


def _entries(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Build a JSON object, and refuse one that says a thing twice."""
    entries = dict(pairs)
    if len(entries) < len(pairs):
        raise ValueError("an entry stands there twice")
    return entries


def _read_archive(file: Path) -> Mapping[str, Any]:
    try:
        with zipfile.ZipFile(file) as archive:
            infos = archive.infolist()
            names = [info.filename.removesuffix(".npy") for info in infos]
            if len(set(names)) < len(names):
                raise DomainError(f"the domain file {file} holds an entry twice")
            if sum(info.file_size for info in infos) > _MAX_BYTES:
                raise DomainError(f"the domain file {file} holds more than {_MAX_BYTES} bytes")
            return {name: _array(archive.read(info)) for name, info in zip(names, infos, strict=True)}
    except DomainError:
        raise
    except (
        ValueError, EOFError, RuntimeError, LookupError, struct.error, zipfile.BadZipFile, zlib.error,
        lzma.LZMAError,
    ) as error:  # fmt: skip
        raise DomainError(
            f"the domain file {file} is no .npz archive of plain arrays: {error}; {_FORMS}"
        ) from error


def _array(data: bytes) -> np.ndarray[Any, Any]:
    """Read one array; its size is compared with the data before memory is taken."""
    stream = BytesIO(data)
    shape, dtype = read_header(stream)
    if dtype.hasobject:
        raise ValueError("an array of Python objects would have to be unpickled")
    if stream.tell() + prod(shape) * dtype.itemsize != len(data):
        raise ValueError(f"an array of shape {shape} and type {dtype} does not fit its {len(data)} bytes")
    stream.seek(0)
    return np.asarray(npy.read_array(stream, allow_pickle=False))


def _as_numbers(name: str, value: Any, file: Path) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Turn an entry into float64; null stands for "no bound" in lo and hi."""
    missing = {"lo": -np.inf, "hi": np.inf}.get(name)
    if missing is not None:
        if value is None:
            value = missing
        elif isinstance(value, list):
            value = [missing if entry is None else entry for entry in value]
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise DomainError(f'"{name}" in {file} is ragged: its rows differ in length') from error
    # Strings and booleans would convert silently, and integers beyond 2**64 become objects.
    if array.dtype.kind not in "iuf" and array.size:
        raise DomainError(f'"{name}" in {file} must hold numbers only')
    return array.astype(np.float64)
