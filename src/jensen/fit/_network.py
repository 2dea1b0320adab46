"""From solutions of convex programmes to networks and back.

A coefficient u of a group (gate, sign) is the neuron w = u / sqrt|u| with output weight sign sqrt|u|: both
have equal norms, whose product is |u|.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from jensen.errors import ArgumentError
from jensen.fit._losses import Floats
from jensen.fit._patterns import Gates

if TYPE_CHECKING:
    from torch import nn

_ON_BOUNDARY = 1e-12
"""Products x_j . w this small relative to |x_j| |w| count as zero when neurons are compared."""
_BALANCE_STEPS = 100


def neurons_of(coefficients: Floats, signs: NDArray[np.int8]) -> tuple[Floats, Floats]:
    """Turn the coefficients of groups into neurons; groups with coefficient 0 give none.

    Parameters
    ----------
    coefficients : (P, d) array
    signs : (P,) array of 1 and -1

    Returns
    -------
    weights : (m, d) array
    outputs : (m,) array
    """
    norms = np.linalg.norm(coefficients, axis=1)
    used = norms > 0
    root = np.sqrt(norms[used])
    return coefficients[used] / root[:, None], signs[used] * root


def coefficients_of(weights: Floats, outputs: Floats) -> tuple[Floats, NDArray[np.int8]]:
    """Return |a| w and the sign of a of every neuron."""
    return np.abs(outputs)[:, None] * weights, np.where(outputs < 0, -1, 1).astype(np.int8)


def merge_neurons(x: Floats, weights: Floats, outputs: Floats) -> tuple[Floats, Floats]:
    """Join neurons of one sign that no sample tells apart; outputs on X stay, norms do not grow.

    Two neurons whose products with every sample have no opposite signs are both linear on the
    same cone of weights, which holds their sum; the norm of a sum is at most the sum of norms.

    Parameters
    ----------
    x : (n, d) array
    weights : (m, d) array
    outputs : (m,) array

    Returns
    -------
    weights : (m', d) array
    outputs : (m',) array
        |w_i| = |a_i| for every neuron; neurons that are zero everywhere are gone.
    """
    coefficients, signs = coefficients_of(weights, outputs)
    sizes = np.linalg.norm(x, axis=1)[None] * np.linalg.norm(coefficients, axis=1)[:, None]
    products = coefficients @ x.T
    sides = np.where(np.abs(products) <= _ON_BOUNDARY * sizes, 0, np.sign(products)).astype(np.int8)
    joined: list[tuple[Floats, int, NDArray[np.int8]]] = []
    for u, sign, side in zip(coefficients, signs.tolist(), sides, strict=True):
        if not (side > 0).any():
            continue
        for at, (sum_, other, known) in enumerate(joined):
            if other == sign and not (known * side < 0).any():
                joined[at] = (sum_ + u, sign, np.where(known == 0, side, known))
                break
        else:
            joined.append((u, sign, side))
    merged = np.array([u for u, _, _ in joined]).reshape(-1, x.shape[1])
    return neurons_of(merged, np.array([sign for _, sign, _ in joined], dtype=np.int8))


def _least(rows: Floats, right: Floats) -> Floats | None:
    """Return the shortest z with rows @ z >= right (Lawson and Hanson), None if there is none."""
    d = rows.shape[1]
    system = np.concatenate([rows.T, right[None]])
    target = np.zeros(d + 1)
    target[d] = 1
    multipliers, distance = nnls(system, target, maxiter=30 * (d + len(rows)))
    residual = system @ multipliers - target
    if distance <= 1e-13 or residual[d] >= 0:
        return None
    return np.asarray(-residual[:d] / residual[d])


def split_coefficient(x: Floats, gate: NDArray[np.bool_], u: Floats) -> tuple[Floats, Floats]:
    """Write u = a - b with a and b active on the gate's samples and inactive on the others.

    Among all such pairs |a| + |b| is least, up to rounding. A gated neuron with coefficient u is then the
    difference of two ReLU neurons.

    Parameters
    ----------
    x : (n, d) array
    gate : (n,) bool array
    u : (d,) array

    Returns
    -------
    a, b : (d,) arrays

    Raises
    ------
    ArgumentError
        If there is no such pair: the gate is not that of a direction.
    """
    length = float(np.linalg.norm(u))
    if length == 0:
        return np.zeros_like(u), np.zeros_like(u)
    unit = u / length
    norms = np.linalg.norm(x, axis=1)
    some = norms > 0
    rows = np.where(gate[some], 1.0, -1.0)[:, None] * x[some] / norms[some][:, None]
    along = rows @ unit
    if (along >= 0).all():
        return u, np.zeros_like(u)
    if (along <= 0).all():
        return np.zeros_like(u), -u
    # |b + u| + |b| by majorisation: with both norms frozen, the best b is the point of the polyhedron
    # {A b >= max(0, -A u)} nearest to -k u, where k = |b| / (|b + u| + |b|).
    share, best, least = 0.5, None, np.inf
    for _ in range(_BALANCE_STEPS):
        step = _least(rows, np.maximum(0, -along) + share * along)
        if step is None:
            break
        b = step - share * unit
        one, two = float(np.linalg.norm(b + unit)), float(np.linalg.norm(b))
        if not one + two < least - 1e-14:
            break
        best, least = b, one + two
        share = two / (one + two)
    if best is None:
        raise ArgumentError(
            "a gated coefficient cannot be split into ReLU neurons: its gate is not the gate of a direction"
        )
    return length * (best + unit), length * best


def ungate(x: Floats, gates: Gates, coefficients: Floats) -> tuple[Floats, Floats]:
    """Turn a gated solution into ReLU neurons with the same outputs on X.

    Parameters
    ----------
    x : (n, d) array
    gates : (P, n) bool array
    coefficients : (P, d) array
        The gated network's outputs are sum_p D_p X u_p.

    Returns
    -------
    weights : (m, d) array
    outputs : (m,) array

    Raises
    ------
    ArgumentError
        If a gate is not that of a direction.
    """
    parts, signs = [np.zeros((0, x.shape[1]))], []
    for gate, u in zip(gates, coefficients, strict=True):
        for part, sign in zip(split_coefficient(x, gate, u), (1, -1), strict=True):
            if part.any():
                parts.append(part[None])
                signs.append(sign)
    return neurons_of(np.concatenate(parts), np.array(signs, dtype=np.int8))


def to_torch(weights: Floats, outputs: Floats, *, bias: bool = False) -> nn.Module:
    """Make the network a `torch.nn.Sequential` of Linear, ReLU, Linear in float64.

    Parameters
    ----------
    weights : (m, d) array
    outputs : (m,) or (m, c) array
    bias : bool, default False
        The last column of X is of ones: its weights become the bias of the first layer, and the
        module takes d - 1 inputs.

    Returns
    -------
    torch.nn.Module
        Maps (batch, d) to (batch, 1) or (batch, c). A network without neurons gets one that is zero.

    Raises
    ------
    ArgumentError
        If shapes do not fit.
    """
    import torch
    from torch import nn

    last = outputs[:, None] if outputs.ndim == 1 else outputs
    if weights.ndim != 2 or last.ndim != 2 or len(weights) != len(last) or weights.shape[1] < 1 + bias:
        raise ArgumentError(
            f"weights (m, d) and outputs (m,) or (m, c) do not fit: {weights.shape} and {outputs.shape}"
        )
    if not len(weights):
        weights, last = np.zeros((1, weights.shape[1])), np.zeros((1, last.shape[1]))
    d = weights.shape[1] - bias
    first = nn.Linear(d, len(weights), bias=bias, dtype=torch.float64)
    second = nn.Linear(len(weights), last.shape[1], bias=False, dtype=torch.float64)
    with torch.no_grad():
        first.weight.copy_(torch.tensor(weights[:, :d]))
        if bias:
            first.bias.copy_(torch.tensor(weights[:, d]))
        second.weight.copy_(torch.tensor(last.T.copy()))
    return nn.Sequential(first, nn.ReLU(), second)


def read_network(model: nn.Module, x: Floats) -> tuple[Floats, Floats]:
    """Read the neurons of a module that is Linear, ReLU, Linear.

    Parameters
    ----------
    model : torch.nn.Module
    x : (n, d) array
        The data that the neurons are to act on. Where the first layer has a bias, its last column must be of
        ones beyond the module's inputs.

    Returns
    -------
    weights : (m, d) array
    outputs : (m,) or (m, c) array

    Raises
    ------
    ArgumentError
        If the module is something else, or does not fit X.
    """
    from torch import nn

    if not isinstance(model, nn.Module):
        raise ArgumentError(f"expected a torch.nn.Module, got {type(model).__name__}")
    parts = [m for m in model.modules() if not any(m.children()) and not isinstance(m, nn.Flatten)]
    if [type(m) for m in parts] != [nn.Linear, nn.ReLU, nn.Linear]:
        kinds = ", ".join(type(m).__name__ for m in parts)
        raise ArgumentError(f"expected a module of Linear, ReLU, Linear; this one holds {kinds or 'nothing'}")
    first, _, second = parts
    assert isinstance(first, nn.Linear)
    assert isinstance(second, nn.Linear)
    if second.bias is not None and second.bias.detach().any():
        raise ArgumentError("the last layer has a bias, which these networks do not: train with bias=False")
    weights = first.weight.detach().cpu().double().numpy()
    if x.shape[1] == weights.shape[1] + 1 and (x[:, -1] == 1).all():
        shift = np.zeros(len(weights)) if first.bias is None else first.bias.detach().cpu().double().numpy()
        weights = np.concatenate([weights, shift[:, None]], axis=1)
    elif x.shape[1] != weights.shape[1] or (first.bias is not None and first.bias.detach().any()):
        raise ArgumentError(
            f"the first layer takes {weights.shape[1]} inputs"
            + ("" if first.bias is None else " and has a bias")
            + f"; X has {x.shape[1]} columns (a bias needs a last column of ones)"
        )
    last = second.weight.detach().cpu().double().numpy().T
    return weights.copy(), last[:, 0].copy() if last.shape[1] == 1 else last.copy()
