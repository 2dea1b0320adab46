"""Damaged files, with and without a checksum that fits: none may be read, whatever stands in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random
from typing import Any

from attack._content import canonical, sealed
from attack._corpus import Content

Damage = Callable[[Random, Content], bytes]

JUNK: list[Any] = [
    None, True, False, -1, 0.5, 1e308, 10**40, 10**400, "", "1/0", "0/0", "nan", "1e5", " 1", "1\x002", "-0",
    "\ud800", "١", "2/4", [], {}, [[]], [None], {"": 1}, "x" * 10_000,
]  # fmt: skip


def flipped(rng: Random, content: Content) -> bytes:
    """Flip one bit."""
    data = bytearray(sealed(content))
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(data)


def overwritten(rng: Random, content: Content) -> bytes:
    """Overwrite, delete or insert a few bytes."""
    data = bytearray(sealed(content))
    for _ in range(rng.randint(1, 4)):
        i = rng.randrange(len(data))
        noise = bytes(rng.choice(b'0123456789-/.,[]{}":eE \n\x00\xff') for _ in range(rng.randrange(4)))
        data[i : i + rng.randrange(4)] = noise
    return bytes(data) if bytes(data) != sealed(content) else b""


def torn(rng: Random, content: Content) -> bytes:
    """Cut the end off."""
    data = sealed(content)
    return data[: rng.randrange(len(data))]


def retyped(rng: Random, content: Content) -> bytes:
    """Put something else in the place of any value; the checksum fits."""
    place, key = rng.choice(list(_places(content)))
    before = place[key]
    place[key] = rng.choice([v for v in JUNK if canonical(v) != canonical(before)])
    return sealed(content)


def disguised(rng: Random, content: Content) -> bytes:
    """Write a value in another way that Python would take for the same; the checksum fits."""
    found = [(p, k) for p, k in _places(content) if isinstance(p[k], (int, float, str))]
    place, key = rng.choice(found)
    value = place[key]
    if isinstance(value, bool):
        place[key] = int(value)
    elif isinstance(value, int):
        place[key] = rng.choice([float(value), str(value), *([bool(value)] if value in (0, 1) else [])])
    elif isinstance(value, float):
        place[key] = int(value) if value.is_integer() else str(value)
    else:
        place[key] = rng.choice([value + " ", f"+{value}", f"{value}/1", f"{value}\x00", [value]])
    return sealed(content)


def rekeyed(rng: Random, content: Content) -> bytes:
    """Take an entry away, or add one; the checksum fits."""
    found = [place for place, _ in _places(content) if isinstance(place, dict)]
    place = rng.choice(found)
    if rng.random() < 0.5:
        del place[rng.choice(list(place))]
    else:
        place["more"] = 1
    return sealed(content)


def spaced(rng: Random, content: Content) -> bytes:
    """Add what JSON ignores."""
    data = sealed(content)
    i = rng.choice([i for i, c in enumerate(data) if c in b",:[{"]) + 1
    return data[:i] + b" " + data[i:]


def bomb(rng: Random, content: Content) -> bytes:
    """Ask for much memory, a deep stack, or numbers that are none."""
    text = sealed(content)[:-2]
    depth = rng.choice([900, 960, 990, 1000, 100_000])
    extra = rng.choice(
        [
            b'"deep":' + b"[" * depth + b"]" * depth,
            b'"number":1e999',
            b'"number":NaN',
            b'"number":-Infinity',
            b'"number":' + b"9" * 5000,
            b'"format":"jensen.certificate"',
        ]
    )
    if rng.random() < 0.5 and "trees" in content["proof"]:
        content["proof"]["trees"].append([[1, 0], 0, [{"e": 1 << rng.choice([12, 30, 62]), "z": [[1, [1]]]}]])
        return sealed(content)
    if rng.random() < 0.3:
        nested = b"[" * depth + b"1.0" + b"]" * depth
        content["domain"] = {"kind": "box", "lo": "?", "hi": "?"}
        return sealed(content).replace(b'"?"', nested)
    return text + b"," + extra + b"}\n"


def _places(content: Any) -> Iterator[tuple[Any, Any]]:
    for key in content if isinstance(content, dict) else range(len(content)):
        yield content, key
        if isinstance(content[key], (dict, list)):
            yield from _places(content[key])


DAMAGES: dict[str, Damage] = {
    "a bit flipped": flipped,
    "bytes overwritten": overwritten,
    "torn": torn,
    "a value of another type": retyped,
    "a value disguised": disguised,
    "an entry more or less": rekeyed,
    "white space": spaced,
    "bombs": bomb,
}
