"""A verdict as plain data: what `jensen check --json` prints."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from importlib.metadata import version
from typing import Any

import flint
import numpy as np

from jensen.certify._verdict import NeuronReport, StageReport, Verdict, Witness
from jensen.network import ReLUNetwork
from jensen.program import Program
from jensen.verifier import Certificate, Proof


def verdict_to_dict(verdict: Verdict) -> dict[str, Any]:
    """Describe a verdict as plain data that is strictly valid JSON.

    Parameters
    ----------
    verdict : Verdict

    Returns
    -------
    dict
        Keys ``verdict`` ("convex", "convex_float", "convex_rules", "not_convex" or "unknown"), ``domain``,
        ``wrt`` (None means all inputs), ``witness``, ``certificate``, ``margin``, ``reason``, ``network``
        (None where the verdict is about a ``program``), ``program``, ``lowering_error``, ``seconds``,
        ``version``, ``stages`` and ``neurons``. Numbers that are not finite become None; the witness holds
        its numbers as floats and, under ``exact``, as rationals "p/q". Of the certificate only its size is
        told (``trees`` and ``leaves``); it is None where there is none.
    """
    return {
        "verdict": verdict.kind,
        "domain": plain(verdict.domain.to_dict()),
        "wrt": None if verdict.wrt is None else list(verdict.wrt),
        "witness": None if verdict.witness is None else _witness(verdict.witness),
        "certificate": None if verdict.certificate is None else certificate_size(verdict.certificate),
        "margin": plain(verdict.margin),
        "reason": verdict.reason,
        "network": None if verdict.program is not None else network_to_dict(verdict.network),
        "program": None if verdict.program is None else program_to_dict(verdict.program, verdict.arguments),
        "lowering_error": plain(verdict.lowering_error),
        "seconds": plain(verdict.seconds),
        "version": version("jensen"),
        "stages": [_stage(stage) for stage in verdict.stages],
        "neurons": [_neuron(neuron) for neuron in verdict.neurons],
    }


def network_to_dict(network: ReLUNetwork) -> dict[str, Any]:
    """Describe a network's size as plain data."""
    return {
        "inputs": network.input_size,
        "input_shape": list(network.input_shape),
        "widths": list(network.widths),
        "weights": network.n_weights,
    }


def program_to_dict(program: Program, arguments: Sequence[int]) -> dict[str, Any]:
    """Describe a program's size, and the inputs in which convexity was asked, as plain data."""
    return {
        "inputs": [
            {"name": leaf.label, "shape": list(leaf.sample_shape), "asked": i in arguments}
            for i, leaf in enumerate(program.inputs)
        ],
        "operators": len(program.nodes),
        "weights": program.n_weights,
    }


def certificate_size(certificate: Certificate) -> dict[str, int]:
    """Count the case trees that a certificate holds, and their leaves; witnesses and rules need none."""
    if not isinstance(certificate.proof, Proof):
        return {"trees": 0, "leaves": 0}
    trees = certificate.proof.trees.values()
    # Every split has two sides, so that a tree has one leaf more than splits.
    return {"trees": len(trees), "leaves": sum((len(tree) + 1) // 2 for tree in trees)}


def to_float(value: Fraction) -> float:
    """Round a rational to float64; beyond its range, to an infinity."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def plain(value: Any) -> Any:
    """Turn numbers, arrays and containers into what JSON knows; what is not finite becomes None."""
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, Fraction):
        return _rational(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str | int | None):
        return value
    if isinstance(value, Sequence | set | frozenset):
        return [plain(entry) for entry in value]
    return str(value)


def _rational(value: Fraction) -> str:
    """Write a rational as "p/q"; through flint, because Python refuses to print very long integers."""
    text = str(flint.fmpz(value.numerator))
    return text if value.denominator == 1 else f"{text}/{flint.fmpz(value.denominator)}"


def _witness(witness: Witness) -> dict[str, Any]:
    points = {"x": witness.x, "y": witness.y}
    numbers = {
        "t": witness.t,
        "fx": witness.fx,
        "fy": witness.fy,
        "fm": witness.fm,
        "violation": witness.violation,
    }
    rounded = {name: [to_float(v) for v in point] for name, point in points.items()}
    values = {name: to_float(v) for name, v in numbers.items()}
    exact: dict[str, Any] = {name: [_rational(v) for v in point] for name, point in points.items()}
    exact.update({name: _rational(v) for name, v in numbers.items()})
    neurons = [{"layer": layer, "index": index} for layer, index in witness.neurons]
    return {**plain(rounded), **plain(values), "neurons": neurons, "exact": exact}


def _neuron(neuron: NeuronReport) -> dict[str, Any]:
    return {
        "layer": int(neuron.layer),
        "index": int(neuron.index),
        "status": neuron.status,
        "stage": neuron.stage,
        "lower_bound": plain(neuron.lower_bound),
        "worst_jump": plain(neuron.worst_jump),
    }


def _stage(stage: StageReport) -> dict[str, Any]:
    return {
        "name": stage.name,
        "seconds": plain(stage.seconds),
        "settled": int(stage.settled),
        "left": int(stage.left),
        "details": plain(stage.details),
    }
