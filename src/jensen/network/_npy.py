"""The header of an array in NumPy's file format, read before memory is taken for the array."""

from __future__ import annotations

from io import BytesIO
from tokenize import TokenError
from typing import Any

import numpy as np
from numpy.lib import format as npy


def read_header(stream: BytesIO) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Read shape and dtype from the start of a stream, and leave it where the data begin.

    Raises
    ------
    ValueError
        If the header is torn, of an unknown version, or says something impossible.
    """
    version = npy.read_magic(stream)
    readers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    if version not in readers:
        raise ValueError(f"an unknown array format {version}")
    try:
        shape, _, dtype = readers[version](stream)
    except (TokenError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise ValueError(f"a torn array header: {error}") from error
    if min(shape, default=0) < 0:
        raise ValueError(f"an array of shape {shape}")
    return shape, dtype
