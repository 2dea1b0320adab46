"""Reading and writing certificates' files as plain data: what an adversary with a text editor can do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from hashlib import sha256
from random import Random
from typing import Any

from flint import fmpq

from attack._corpus import Content
from jensen.errors import JensenError
from jensen.verifier._format import from_dict, to_dict

MALFORMED = (JensenError, KeyError, TypeError, ValueError, IndexError, AttributeError, ArithmeticError)

Node = list[int] | dict[str, Any]
Tree = list[Node]


def canonical(content: Any) -> bytes:
    """Write data as jensen writes a certificate's."""
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()


def sealed(content: Content) -> bytes:
    """Write a file with a checksum that fits."""
    checksum = f"sha256:{sha256(canonical(content)).hexdigest()}"
    return canonical({**content, "checksum": checksum}) + b"\n"


def normal(content: Content) -> Content:
    """Write numbers as jensen writes them where possible, so that the loader lets the content pass."""
    try:
        return to_dict(from_dict(content))
    except MALFORMED:
        return content


def trees(content: Content) -> list[list[Any]]:
    """Entries [neuron, piece, nodes] of a proof."""
    found: list[list[Any]] = content["proof"].get("trees", [])
    return found


def leaves(content: Content, key: str) -> list[dict[str, Any]]:
    """All leaves that have some entry."""
    return [
        node for _, _, tree in trees(content) for node in tree if isinstance(node, dict) and node.get(key)
    ]


def multipliers(content: Content) -> list[dict[str, Any]]:
    """All leaves of the kind that holds multipliers."""
    return [
        node
        for _, _, tree in trees(content)
        for node in tree
        if isinstance(node, dict) and not {"thin", "point", "uncrossed"} & node.keys()
    ]


def vectors(leaf: dict[str, Any]) -> Iterator[list[int]]:
    """All vectors of multipliers of a leaf."""
    for name in "zg":
        for _, values in leaf.get(name, []):
            yield values
    if leaf.get("rows"):
        yield leaf["rows"]


def end(tree: Tree, start: int) -> int:
    """Where the subtree ends that starts somewhere in a tree in preorder."""
    open_cases, position = 1, start
    while open_cases:
        open_cases += 1 if isinstance(tree[position], list) else -1
        position += 1
    return position


def disturbed(rng: Random, text: str) -> str:
    """Change a rational: a digit, its sign, a neighbour, or another number."""
    value = fmpq(*map(int, text.split("/")))
    return str(
        rng.choice(
            [
                -value,
                value + rng.choice([-1, 1]),
                value * rng.choice([2, -3]),
                value + fmpq(rng.choice([-1, 1]), 1 << rng.choice([1, 10, 60])),
                fmpq(rng.choice([0, 1, -1])),
            ]
        )
    )


def disturbed_whole(rng: Random, value: int) -> int:
    """Change an integer."""
    return rng.choice([value + 1, value - 1, 0, 2 * value, -value, value ^ (1 << rng.randrange(12))])


def disturbed_float(rng: Random, value: float | None) -> float | None:
    """Change a number or a missing one."""
    if value is None:
        return rng.choice([-100.0, -1.0, 0.0, 1.0, 100.0])
    options = [None, -value, value + 1, value - 1, value / 2, 2 * value, value + 2.0**-40, 0.0, 1e300, 5e-324]
    return rng.choice(options)
