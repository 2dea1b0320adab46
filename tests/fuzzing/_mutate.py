"""Changes to bytes and to JSON values that no writer would make."""

from __future__ import annotations

import copy
from random import Random
from typing import Any

ODD_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 7, 2**31, 2**40, 2**63, 2**70, -(2**63), 10**40, 0.5, -0.0, 1e300, 1e-320,
    float("nan"), float("inf"), "", "x", "NaN", "../../etc/passwd", "/dev/zero", "\x00", "\ud800", "a" * 5000,
    [], {}, [[]], [None], [0], [-1], {"a": 1}, {"as_int": -1}, {"as_int": 2**62}, [[1, 2], [3]],
)  # fmt: skip


def mutate_bytes(rng: Random, data: bytes) -> tuple[bytes, str]:
    """Flip bits, cut, insert, repeat, blank or move parts; say what was done."""
    work = bytearray(data)
    kind = rng.choice(["flip", "flip", "flip", "set", "cut end", "cut", "insert", "repeat", "blank", "move"])
    if not work:
        return b"\x00", "one byte"
    at = rng.randrange(len(work))
    size = rng.choice([1, 2, 4, 16, 100])
    if kind == "flip":
        count = rng.choice([1, 1, 2, 5, 20])
        for _ in range(count):
            work[rng.randrange(len(work))] ^= 1 << rng.randrange(8)
        kind = f"flip {count}"
    elif kind == "set":
        for _ in range(size):
            work[rng.randrange(len(work))] = rng.choice([0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)])
    elif kind == "cut end":
        del work[at:]
    elif kind == "cut":
        del work[at : at + size]
    elif kind == "insert":
        work[at:at] = bytes(rng.choice([0xFF, 0x80, rng.randrange(256)]) for _ in range(size))
    elif kind == "repeat":
        work[at:at] = work[at : at + size] * rng.choice([1, 2, 50])
    elif kind == "blank":
        work[at : at + size] = bytes(len(work[at : at + size]))
    else:
        part = work[at : at + size]
        del work[at : at + size]
        to = rng.randrange(len(work) + 1)
        work[to:to] = part
    return bytes(work), kind


def mutate_wire(rng: Random, data: bytes) -> tuple[bytes, str]:
    """Change one field of a protocol buffer, the lengths around it being kept right."""
    fields = _fields(data)
    if not fields:
        return mutate_bytes(rng, data)
    at = rng.randrange(len(fields))
    tag, value = fields[at]
    number, kind = tag >> 3, tag & 7
    path = f".{number}"
    action = rng.random()
    if action < 0.08:
        del fields[at]
        path += " removed"
    elif action < 0.14:
        fields[at:at] = [fields[rng.randrange(len(fields))]] * rng.choice([1, 3])
        path += " repeated"
    elif isinstance(value, int):
        odd = rng.choice(
            [0, 1, 2, value ^ (1 << rng.randrange(8)), (1 << 31) - 1, 1 << 40, (1 << 63) - 1, 2**64 - 1]
        )
        fields[at] = tag, odd
        path += f" = {odd}"
    elif kind == 2 and (_fields(value) and rng.random() < 0.9):
        inner, step = mutate_wire(rng, value)
        fields[at] = tag, inner
        path += step
    else:
        changed, step = mutate_bytes(rng, value)
        if kind != 2:
            changed = (changed + bytes(8))[: len(value)]
        fields[at] = tag, changed
        path += f" {step}"
    return b"".join(_varint(t) + _written(t, v) for t, v in fields), path


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _written(tag: int, value: int | bytes) -> bytes:
    if isinstance(value, int):
        return _varint(value)
    return _varint(len(value)) + value if tag & 7 == 2 else value


def _fields(data: bytes) -> list[tuple[int, int | bytes]]:
    """Split a message into (tag, value); empty where it is none."""
    fields: list[tuple[int, int | bytes]] = []
    at = 0

    def number() -> int:
        nonlocal at
        total = shift = 0
        while True:
            byte = data[at]
            at += 1
            total |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return total

    try:
        while at < len(data):
            tag = number()
            kind = tag & 7
            if kind == 0:
                fields.append((tag, number()))
                continue
            size = {1: 8, 5: 4}.get(kind, -1) if kind != 2 else number()
            if size < 0 or at + size > len(data) or not 0 < tag >> 3 < 50:
                return []
            fields.append((tag, data[at : at + size]))
            at += size
    except IndexError:
        return []
    return fields


def mutate_json(rng: Random, value: Any) -> tuple[Any, str]:
    """Change one place of a JSON value; say where and how."""
    work = copy.deepcopy(value)
    places: list[tuple[Any, Any, str]] = []

    def walk(node: Any, path: str) -> None:
        items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
        for key, child in items:
            places.append((node, key, f"{path}/{key}"))
            walk(child, f"{path}/{key}")

    walk(work, "")
    if not places or rng.random() < 0.02:
        return copy.deepcopy(rng.choice(ODD_VALUES)), "/ replaced"
    parent, key, path = rng.choice(places)
    kind = rng.choice(["replace", "replace", "replace", "remove", "repeat", "nudge", "copy"])
    if kind == "remove":
        del parent[key]
    elif kind == "repeat" and isinstance(parent, list):
        parent[key:key] = [copy.deepcopy(parent[key])] * rng.choice([1, 3])
    elif kind == "nudge" and isinstance(parent[key], int):
        parent[key] = parent[key] + rng.choice([-1, 1, 2, 1 << 20, 1 << 33])
    elif kind == "copy":
        parent[key] = copy.deepcopy(rng.choice(places)[0])
    else:
        parent[key] = copy.deepcopy(rng.choice(ODD_VALUES))
    return work, f"{kind} at {path}"
