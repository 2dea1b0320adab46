"""Alterations that leave a certificate a certificate: each asks the checker whether it still holds.

An alteration changes content in place and tells whether it found something to change.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from attack._content import (
    disturbed,
    disturbed_float,
    disturbed_whole,
    end,
    leaves,
    multipliers,
    trees,
    vectors,
)
from attack._corpus import Content, Sample

Alteration = Callable[[Random, Content, Sample], bool]


def _multiplier(rng: Random, content: Content, _: Sample) -> bool:
    found = [v for leaf in multipliers(content) for v in vectors(leaf)]
    if not found:
        return False
    values = rng.choice(found)
    i = rng.randrange(len(values))
    values[i] = disturbed_whole(rng, values[i])
    return True


def _multiplier_sign(rng: Random, content: Content, _: Sample) -> bool:
    found = [(v, i) for leaf in multipliers(content) for v in vectors(leaf) for i, m in enumerate(v) if m]
    if not found:
        return False
    values, i = rng.choice(found)
    values[i] = -values[i]
    return True


def _scale(rng: Random, content: Content, _: Sample) -> bool:
    found = [leaf for leaf in multipliers(content) if leaf.get("e")]
    if not found:
        return False
    leaf = rng.choice(found)
    leaf["e"] = max(leaf["e"] + rng.choice([-1, 1, 7]), 0)
    return True


def _claim(rng: Random, content: Content, _: Sample) -> bool:
    """A leaf that shows emptiness claims to bound the jump, or the other way round."""
    found = multipliers(content)
    if not found:
        return False
    leaf = rng.choice(found)
    if not leaf.pop("empty", False):
        leaf["empty"] = True
    return True


def _parts_of_leaf(rng: Random, content: Content, _: Sample) -> bool:
    """A vector of multipliers goes to another layer, or is left out."""
    found = [leaf for leaf in multipliers(content) if leaf.get("z") or leaf.get("g")]
    if not found:
        return False
    leaf = rng.choice(found)
    name = rng.choice([n for n in "zg" if leaf.get(n)])
    entry = rng.choice(leaf[name])
    if rng.random() < 0.5:
        leaf[name].remove(entry)
    else:
        entry[0] += rng.choice([-1, 1])
    return True


def _sizes(rng: Random, content: Content, _: Sample) -> bool:
    """A vector, of multipliers or of a point, grows or shrinks."""
    found: list[list[Any]] = [v for leaf in multipliers(content) for v in vectors(leaf)]
    found += [leaf[name] for leaf in leaves(content, "point") for name in ("point", "direction")]
    found += [content["proof"][name] for name in "xy" if name in content["proof"]]
    found += [hull["interior"] for hull in [content["proof"].get("hull")] if hull]
    if not found:
        return False
    values = rng.choice(found)
    if values and rng.random() < 0.5:
        values.pop(rng.randrange(len(values)))
    else:
        values.append(values[-1] if values else 1)
    return True


def _tree(rng: Random, content: Content, at_least: int) -> list[Any] | None:
    found: list[list[Any]] = [tree for _, _, tree in trees(content) if len(tree) >= at_least]
    return rng.choice(found) if found else None


def _leaf_dropped(rng: Random, content: Content, _: Sample) -> bool:
    tree = _tree(rng, content, 1)
    if tree is None:
        return False
    del tree[rng.choice([i for i, node in enumerate(tree) if isinstance(node, dict)])]
    return True


def _leaf_doubled(rng: Random, content: Content, _: Sample) -> bool:
    tree = _tree(rng, content, 1)
    if tree is None:
        return False
    i = rng.choice([i for i, node in enumerate(tree) if isinstance(node, dict)])
    tree.insert(i, tree[i])
    return True


def _leaves_swapped(rng: Random, content: Content, _: Sample) -> bool:
    tree = _tree(rng, content, 3)
    if tree is None:
        return False
    i, j = rng.sample([i for i, node in enumerate(tree) if isinstance(node, dict)], 2)
    tree[i], tree[j] = tree[j], tree[i]
    return bool(tree[i] != tree[j])


def _leaf_replaced(rng: Random, content: Content, _: Sample) -> bool:
    tree = _tree(rng, content, 1)
    if tree is None:
        return False
    i = rng.choice([i for i, node in enumerate(tree) if isinstance(node, dict)])
    others: list[Any] = [{}, {"empty": True}, {"uncrossed": True}, {"thin": [], "rows": []}]
    others += [node for _, _, t in trees(content) for node in t if isinstance(node, dict)]
    before, tree[i] = tree[i], rng.choice(others)
    return bool(tree[i] != before)


def _subtree_cut(rng: Random, content: Content, _: Sample) -> bool:
    """A split is replaced by one of its sides."""
    tree = _tree(rng, content, 3)
    if tree is None:
        return False
    i = rng.choice([i for i, node in enumerate(tree) if isinstance(node, list)])
    middle = end(tree, i + 1)
    last = end(tree, middle)
    tree[i:last] = tree[i + 1 : middle] if rng.random() < 0.5 else tree[middle:last]
    return True


def _split(rng: Random, content: Content, sample: Sample) -> bool:
    tree = _tree(rng, content, 3)
    if tree is None:
        return False
    i = rng.choice([i for i, node in enumerate(tree) if isinstance(node, list)])
    before, tree[i] = tree[i], _neuron(rng, sample)
    return bool(tree[i] != before)


def _sides_swapped(rng: Random, content: Content, _: Sample) -> bool:
    tree = _tree(rng, content, 3)
    if tree is None:
        return False
    i = rng.choice([i for i, node in enumerate(tree) if isinstance(node, list)])
    middle = end(tree, i + 1)
    last = end(tree, middle)
    tree[i + 1 : last] = tree[middle:last] + tree[i + 1 : middle]
    return True


def _neuron(rng: Random, sample: Sample) -> list[int]:
    widths = sample.network.widths
    layer = rng.choice([k for k, n in enumerate(widths, 1) if n])
    return [layer, rng.randrange(widths[layer - 1] + (rng.random() < 0.1))]


def _tree_dropped(rng: Random, content: Content, _: Sample) -> bool:
    found = trees(content)
    if found:
        found.remove(rng.choice(found))
    return bool(found)


def _tree_renamed(rng: Random, content: Content, sample: Sample) -> bool:
    """A tree is said to be another neuron's or another piece's."""
    found = trees(content)
    if not found:
        return False
    entry = rng.choice(found)
    if rng.random() < 0.5:
        entry[0] = _neuron(rng, sample)
    else:
        entry[1] = rng.randrange(2 * sample.network.input_size + 2)
    return True


def _trees_swapped(rng: Random, content: Content, _: Sample) -> bool:
    if len(trees(content)) < 2:
        return False
    first, second = rng.sample(trees(content), 2)
    first[2], second[2] = second[2], first[2]
    return bool(first[2] != second[2])


def _thin(rng: Random, content: Content, sample: Sample) -> bool:
    found = leaves(content, "thin") + leaves(content, "rows")
    found = [leaf for leaf in found if "thin" in leaf]
    if not found:
        return False
    leaf = rng.choice(found)
    entry = rng.choice(leaf["thin"] + leaf["rows"])
    kind = rng.randrange(3)
    if kind == 0:
        entry[-1] = disturbed(rng, entry[-1])
    elif kind == 1:
        entry[:-1] = _neuron(rng, sample) if len(entry) == 3 else [disturbed_whole(rng, entry[0])]
    else:
        part = leaf["thin"] if entry in leaf["thin"] else leaf["rows"]
        part.remove(entry)
    return True


def _point(rng: Random, content: Content, _: Sample) -> bool:
    found = leaves(content, "point")
    if not found:
        return False
    values = rng.choice(found)[rng.choice(["point", "point", "direction"])]
    i = rng.randrange(len(values))
    values[i] = disturbed(rng, values[i])
    return True


def _hull(rng: Random, content: Content, _: Sample) -> bool:
    hull = content["proof"].get("hull")
    if not hull:
        return False
    if hull["rows"] and rng.random() < 0.5:
        entry = rng.choice(hull["rows"])
        if rng.random() < 0.5:
            entry[1] = disturbed(rng, entry[1])
        elif rng.random() < 0.5:
            entry[0] = disturbed_whole(rng, entry[0])
        else:
            hull["rows"].remove(entry)
    else:
        i = rng.randrange(len(hull["interior"]))
        hull["interior"][i] = disturbed(rng, hull["interior"][i])
    return True


def _radius(rng: Random, content: Content, _: Sample) -> bool:
    cover = content["proof"].get("cover")
    if cover is None:
        return False
    cover["radius"] = rng.choice([cover["radius"] / 2, 1e-300, 5e-324, 1e300, 0.0, -1.0, 1.0, 0.1, 4096.0])
    return True


def _row_space(_: Random, content: Content, __: Sample) -> bool:
    cover = content["proof"].get("cover")
    if cover is None:
        return False
    cover["row_space"] = not cover["row_space"]
    return True


def _implied(rng: Random, content: Content, _: Sample) -> bool:
    implied = content["proof"].get("cover", {}).get("implied")
    if not implied:
        return False
    entry = rng.choice(implied)
    kind = rng.randrange(6)
    if kind == 0:
        entry[0] = disturbed_whole(rng, entry[0])
    elif kind == 1:
        entry[1] = -entry[1]
    elif kind == 2:
        entry[2] = disturbed_float(rng, entry[2]) or 0.0
    elif kind == 3:
        implied.remove(entry)
    elif entry[3]:
        pair = rng.choice(entry[3])
        if kind == 4:
            pair[0] = disturbed_whole(rng, pair[0])
        else:
            pair[1] = disturbed(rng, pair[1])
    return True


def _twins(rng: Random, content: Content, sample: Sample) -> bool:
    """A factor, the leader, the members or the layer of a group; or a group that is none."""
    if "twins" not in content["proof"]:
        return False
    twins = content["proof"]["twins"]
    groups = [group for _, groups in twins for group in groups]
    kind = rng.randrange(6) if groups else 5
    if kind == 0:
        group = rng.choice(groups)
        entry = rng.choice(group)
        entry[1] = disturbed(rng, entry[1])
    elif kind == 1:
        group = rng.choice(groups)
        group.reverse()
        if rng.random() < 0.5:
            group[0][1] = "1"
    elif kind == 2:
        group = rng.choice(groups)
        del group[rng.randrange(len(group))]
    elif kind == 3:
        twins.remove(rng.choice(twins))
    elif kind == 4:
        rng.choice(twins)[0] += rng.choice([-1, 1])
    else:
        layer, i = _neuron(rng, sample)
        group = [[i, "1"], [_neuron(rng, sample)[1], rng.choice(["1", "-1", "2", "1/2"])]]
        known = next((groups for k, groups in twins if k == layer), None)
        if known is None:
            twins.append([layer, [group]])
        else:
            known.append(group)
    return True


def _domain(rng: Random, content: Content, sample: Sample) -> bool:
    domain = content["domain"]
    d = sample.network.input_size
    if domain["kind"] == "whole_space" or rng.random() < 0.1:
        other: dict[str, Any] = {"kind": "whole_space"}
        if domain == other:
            other = {"kind": "box", "lo": [-1.0] * d, "hi": [rng.choice([1.0, None])] * d}
        content["domain"] = other
        return True
    name = rng.choice([key for key in domain if key != "kind"])
    part = domain[name]
    if isinstance(part, list) and isinstance(part[0], list):
        part = rng.choice(part)
    if not isinstance(part, list):
        domain[name] = disturbed_float(rng, part)
        return True
    i = rng.randrange(len(part))
    part[i] = disturbed_float(rng, part[i])
    return True


def _wrt(rng: Random, content: Content, sample: Sample) -> bool:
    d = sample.network.input_size
    before = content["wrt"]
    content["wrt"] = rng.choice(
        [None, sorted(rng.sample(range(d), rng.randint(1, d))), [0, 0], list(range(d))[::-1], [d], []]
    )
    return bool(before != content["wrt"])


def _witness(rng: Random, content: Content, _: Sample) -> bool:
    proof = content["proof"]
    if "x" not in proof:
        return False
    name = rng.choice("xyt")
    if name == "t":
        proof["t"] = disturbed(rng, proof["t"])
    elif rng.random() < 0.2:
        proof["x"], proof["y"] = proof["y"], proof["x"]
    else:
        i = rng.randrange(len(proof[name]))
        proof[name][i] = disturbed(rng, proof[name][i])
    return True


def _verdict(_: Random, content: Content, __: Sample) -> bool:
    content["verdict"] = "convex" if content["verdict"] == "not_convex" else "not_convex"
    return True


ALTERATIONS: dict[str, Alteration] = {
    "a multiplier": _multiplier,
    "a multiplier's sign": _multiplier_sign,
    "a leaf's scale": _scale,
    "what a leaf claims": _claim,
    "a leaf's parts": _parts_of_leaf,
    "sizes": _sizes,
    "a leaf dropped": _leaf_dropped,
    "a leaf doubled": _leaf_doubled,
    "leaves swapped": _leaves_swapped,
    "a leaf replaced": _leaf_replaced,
    "a side cut off": _subtree_cut,
    "a split's neuron": _split,
    "a split's sides": _sides_swapped,
    "a tree dropped": _tree_dropped,
    "a tree renamed": _tree_renamed,
    "trees swapped": _trees_swapped,
    "a thin facet": _thin,
    "a facet's point": _point,
    "the hull": _hull,
    "the radius": _radius,
    "the row space": _row_space,
    "an implied bound": _implied,
    "twins": _twins,
    "the domain": _domain,
    "wrt": _wrt,
    "the witness": _witness,
    "the verdict": _verdict,
}
