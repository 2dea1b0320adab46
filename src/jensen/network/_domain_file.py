"""Domains from files: what `--domain FILE` reads."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from jensen.errors import DomainError
from jensen.network._domain import Box, Domain, Polytope

_FORMS = 'a box needs "lo" and "hi", a polytope needs "A" and "b" (A x <= b)'


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
        content = json.loads(file.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise DomainError(f"the domain file {file} is not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise DomainError(f"the domain file {file} must hold one JSON object; {_FORMS}")
    return content


def _read_archive(file: Path) -> Mapping[str, Any]:
    try:
        content = np.load(file, allow_pickle=False)
        if isinstance(content, np.lib.npyio.NpzFile):
            with content:
                return {name: content[name] for name in content.files}
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DomainError(f"the domain file {file} is no archive of plain arrays: {error}") from error
    raise DomainError(f"the domain file {file} is a single array, not an .npz archive; {_FORMS}")


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
