"""Convex networks built on purpose, most of them no ICNN; each function says why its networks are convex."""

from __future__ import annotations

from fractions import Fraction
from random import Random

from jensen.network import Box, Domain, ReLUNetwork
from oracle._draws import form, random_box, random_domain
from oracle._sketch import Expr, Sketch

Built = tuple[ReLUNetwork, Domain | None]


def max_affine(rng: Random) -> Built:
    """The largest of affine functions, by a tree of max(a, b) = b + relu(a - b): weights of both signs."""
    sketch = Sketch(rng.randint(1, 4))
    pieces = [form(rng, sketch) for _ in range(rng.randint(3, 6))]
    while len(pieces) > 1:
        if rng.random() < 0.5:
            rng.shuffle(pieces)
        a, b = pieces.pop(0), pieces.pop(0)
        pieces.append(b + sketch.relu(a - b))
    output = pieces[0]
    if rng.random() < 0.3:
        output = sketch.relu(output) + sketch.relu(form(rng, sketch))
    return sketch.network(output), random_domain(rng, sketch.inputs)


def max_affine_without_skips(rng: Random) -> Built:
    """The same where every layer reads the one before only: b is carried on as relu(b) - relu(-b)."""
    sketch = Sketch(rng.randint(1, 4))
    pieces = [form(rng, sketch) for _ in range(rng.choice([2, 3, 3, 4]))]
    layer = 0
    while len(pieces) > 1 or layer == 0:
        layer += 1
        merged = []
        for pair in (pieces[i : i + 2] for i in range(0, len(pieces), 2)):
            b = pair[0]
            carried = sketch.relu(b, layer) - sketch.relu(-b, layer)
            merged.append(carried + sketch.relu(pair[1] - b, layer) if len(pair) == 2 else carried)
        pieces = merged
    return sketch.network(pieces[0]), random_domain(rng, sketch.inputs)


def _icnn(rng: Random, sketch: Sketch, neurons: int) -> list[Expr]:
    """Add neurons with nonnegative weights on earlier neurons; return them."""
    found: list[Expr] = []
    for _ in range(neurons):
        z = form(rng, sketch)
        for h in found:
            if h.depth < 3 and rng.random() < 0.4:
                z = z + h * rng.choice([1, 1, 2])
        found.append(sketch.relu(z))
    return found


def _sum(rng: Random, sketch: Sketch, parts: list[Expr]) -> Expr:
    total = form(rng, sketch, 0.6)
    for part in parts:
        total = total + part * rng.choice([0, 1, 1, 2])
    return total


def _range(z: Expr, box: Box) -> tuple[Fraction, Fraction]:
    """Smallest and largest value of an affine form of the inputs on a box."""
    low = high = Fraction(0)
    for (_, i), c in z.terms.items():
        ends = c * Fraction(float(box.lo[i])), c * Fraction(float(box.hi[i]))
        low, high = low + min(ends), high + max(ends)
    return low, high


def fixed_neurons(rng: Random) -> Built:
    """Weights of any sign on neurons that never switch: dead, always on, relu(-h) of some h >= 0.

    They are affine on the domain. Where a later neuron reads them it reads h >= 0 besides, and stays convex.
    """
    sketch = Sketch(rng.randint(1, 4))
    box = random_box(rng, sketch.inputs) if rng.random() < 0.75 else None
    convex = _icnn(rng, sketch, rng.randint(2, 4))
    output = _sum(rng, sketch, convex)
    for _ in range(rng.randint(1, 3)):
        weight = rng.choice([-2, -1, -1, 1])
        if box is None or rng.random() < 0.25:
            neuron = sketch.relu(-rng.choice(convex) - rng.choice([0, 0, 1]))
        else:
            slopes = form(rng, sketch)
            low, high = _range(slopes, box)
            slack = rng.choice([0, 0, 1])  # 0: the kink touches the boundary of the box
            shift = slack - low if rng.random() < 0.6 else -slack - high
            neuron = sketch.relu(Expr(slopes.terms, shift))
        term = weight * neuron
        output = output + (sketch.relu(term + rng.choice(convex)) if rng.random() < 0.4 else term)
    return sketch.network(output), box


def cancellation(rng: Random) -> Built:
    """Pairs of neurons whose kinks cancel to an affine function or to zero, beside a convex network."""
    sketch = Sketch(rng.randint(1, 4))
    convex = _icnn(rng, sketch, rng.randint(2, 4))
    output = _sum(rng, sketch, convex)
    for _ in range(rng.randint(1, 2)):
        z, weight, k = form(rng, sketch, 0.2), rng.choice([-2, -1, 1]), rng.choice([1, 2])
        kind = rng.choice(["opposite", "scaled", "deeper", "absolute"])
        if kind in {"scaled", "deeper"} and rng.random() < 0.4:
            z = z + rng.choice(convex)  # the pair vanishes, whatever kinks z has
        if kind == "opposite":
            pair = sketch.relu(k * z) - k * sketch.relu(-z)
        elif kind == "scaled":
            pair = sketch.relu(k * z) - k * sketch.relu(z)
        elif kind == "deeper":
            pair = sketch.relu(k * sketch.relu(z)) - k * sketch.relu(z)
        else:
            pair = sketch.relu(k * z, slope=-1) - k * sketch.relu(z) - k * sketch.relu(-z)
        if rng.random() < 0.35:
            output = output + sketch.relu(weight * pair + rng.choice(convex))
        else:
            output = output + weight * pair
    return sketch.network(output), random_domain(rng, sketch.inputs)


def twins(rng: Random) -> Built:
    """Neurons on one hyperplane z = 0: sum_i c_i relu(s_i z) with sum_i c_i |s_i| >= 0, in several layers."""
    sketch = Sketch(rng.randint(1, 4))
    output = _sum(rng, sketch, _icnn(rng, sketch, rng.randint(1, 3)))
    for _ in range(rng.randint(1, 2)):
        z, total = form(rng, sketch, 0.2), Fraction(0)
        for _ in range(rng.randint(1, 2)):
            s, c = rng.choice([-2, -1, 1, 2]), Fraction(rng.choice([-4, -2, -1, 1, 2]), rng.choice([1, 2, 4]))
            h = sketch.relu(s * z)
            output, total = output + c * (sketch.relu(h) if rng.random() < 0.3 else h), total + c * abs(s)
        needed = max(-total, Fraction(0)) + rng.choice([0, 0, 1])
        output = output + needed * sketch.relu(rng.choice([-1, 1]) * z)
    return sketch.network(output), random_domain(rng, sketch.inputs)


def guarded(rng: Random) -> Built:
    """A negative later weight that acts only where a positive one acts as well.

    f = a relu(A h + p) + b relu(-B h + q) with h = relu(.), a A >= b B > 0, and p >= q both convex. Where the
    second neuron is on, q > 0, hence p > 0 and the first is on; so f is the largest of 0, a(A h + p) and
    a(A h + p) + b(q - B h), all three convex.
    """
    sketch = Sketch(rng.randint(1, 4))
    h = sketch.relu(form(rng, sketch, 0.2))
    others = [sketch.relu(form(rng, sketch)) for _ in range(rng.randint(0, 2))]
    q = form(rng, sketch, rng.choice([0.4, 1.0]))
    p = q + rng.choice([0, 0, 1, 2])
    for other in others:
        shared = rng.choice([0, 1, 1, 2])
        q, p = q + shared * other, p + (shared + rng.choice([0, 0, 1])) * other
    b, B = rng.choice([1, 2]), rng.choice([1, 2])
    a = rng.choice([1, 2])
    A = -(-b * B // a) + rng.choice([0, 0, 1])
    output = a * sketch.relu(A * h + p) + b * sketch.relu(q - B * h)
    if rng.random() < 0.3:
        output = sketch.relu(output + form(rng, sketch)) + h * rng.choice([0, 1])
    return sketch.network(output), random_domain(rng, sketch.inputs)


def disguised_signs(rng: Random) -> Built:
    """Negative weights in pairs along every path, and activations with a slope of their own.

    With slope 1 a neuron is linear, so -act(-h) = h; with slope 2 it is concave and increasing, so -act(-h)
    is convex for a convex h.
    """
    sketch = Sketch(rng.randint(1, 4))
    convex: list[Expr] = []
    for _ in range(rng.randint(2, 5)):
        z = form(rng, sketch)
        if convex and rng.random() < 0.6:
            z = z + rng.choice(convex)
        kind = rng.random()
        if kind < 0.5:
            convex.append(-sketch.relu(-z, slope=rng.randint(1, 2)))
        elif kind < 0.8:
            convex.append(sketch.relu(z, slope=Fraction(rng.randint(0, 1), 2)))
        else:
            convex.append(sketch.relu(form(rng, sketch), slope=-1))
    output = form(rng, sketch, 0.6)
    for part in convex:
        output = output + rng.choice([0, 1, 1, 2]) * part
    return sketch.network(output), random_domain(rng, sketch.inputs)
