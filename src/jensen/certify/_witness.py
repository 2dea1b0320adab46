"""From a place where f looks concave to three points that prove it, exactly."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from jensen.certify._exact_domain import to_float
from jensen.certify._facet import Kink
from jensen.certify._verdict import Witness
from jensen.network import Domain, FloatArray, ReLUNetwork

Neuron = tuple[int, int]

_STEPS = 2.0 ** np.arange(0, -48, -1, dtype=np.float64)


def confirm(
    network: ReLUNetwork, domain: Domain, point: FloatArray, direction: FloatArray, neuron: Neuron | None
) -> Witness | None:
    """Look for a witness on the line through a float point; None if exact arithmetic finds no violation.

    Parameters
    ----------
    network : ReLUNetwork
    domain : Domain
    point, direction : (d,) arrays
    neuron : (layer, index) or None
        The neuron that is believed to switch there.
    """
    scale = float(np.abs(direction).max())
    if not (scale > 0 and np.isfinite(scale) and np.isfinite(point).all()):
        return None
    moves = _STEPS[:, None] * (direction / scale) * max(1.0, float(np.abs(point).max()))
    left, right = point - moves, point + moves
    with np.errstate(over="ignore", invalid="ignore"):
        middle = network((left + right) / 2)
        ends = (network(left) + network(right)) / 2
        gain = middle - ends
        doubt = 1e-13 * (np.abs(middle) + np.abs(ends))
    gain = np.where(np.isfinite(gain) & (gain > doubt), gain, -np.inf)
    for k in np.argsort(-gain)[:40]:
        if not np.isfinite(gain[k]):
            return None
        x, y = _rationals(left[k]), _rationals(right[k])
        if domain.contains(x) and domain.contains(y):
            return _violation(network, x, y, neuron)
    return None


def from_kink(network: ReLUNetwork, domain: Domain, kink: Kink, neuron: Neuron) -> Witness:
    """Build the witness of an exact kink: its step shrinks until both ends lie on affine pieces.

    Faster and faster, because with weights near the ends of the floats' range it may take 2**-1000s.
    """
    point, direction = (np.array([to_float(v) for v in p]) for p in (kink.point, kink.direction))
    found = confirm(network, domain, point, direction, neuron)
    if found is not None:
        return found

    def at(halvings: int) -> Witness | None:
        step = Fraction(1, 1 << halvings)
        x = [p - step * n for p, n in zip(kink.point, kink.direction, strict=True)]
        y = [p + step * n for p, n in zip(kink.point, kink.direction, strict=True)]
        return _violation(network, x, y, neuron) if domain.contains(x) and domain.contains(y) else None

    failed, halvings = -1, 0
    while (found := at(halvings)) is None:
        failed, halvings = halvings, 2 * halvings + 1
    while halvings - failed > 1:  # back to the longest step that does, for points that can be told apart
        middle = (failed + halvings) // 2
        closer = at(middle)
        if closer is None:
            failed = middle
        else:
            found, halvings = closer, middle
    return found


def _rationals(point: FloatArray) -> list[Fraction]:
    return [Fraction(float(v)) for v in point]


def _violation(
    network: ReLUNetwork, x: Sequence[Fraction], y: Sequence[Fraction], neuron: Neuron | None
) -> Witness | None:
    half = Fraction(1, 2)
    middle = [half * (a + b) for a, b in zip(x, y, strict=True)]
    fx, fy, fm = network.exact.evaluate([x, y, middle])
    if not fm > half * (fx + fy):
        return None
    return Witness(tuple(x), tuple(y), half, fx, fy, fm, () if neuron is None else (neuron,))


def jump_at(network: ReLUNetwork, witness: Witness, neuron: Neuron) -> float:
    """Measure the slope change per unit of the neuron's pre-activation at a witness.

    The adjoint at the middle point, unless other neurons switch there with it: then the violation over
    the change of the pre-activation.
    """
    layer, i = neuron
    points = np.array([[to_float(v) for v in p] for p in (witness.x, witness.y, witness.middle)])
    gain = 1.0 - network.layers[layer - 1].negative_slope[i]
    jump = float(gain * network.adjoint(points)[layer - 1][2, i])
    if jump < 0:
        return jump
    z = network.preactivations(points)[layer - 1][:, i]
    change = abs(float(z[0] - z[1]))
    return -4.0 * to_float(witness.violation) / change if change > 0 else float("-inf")
