"""The file format of certificates: JSON with exact numbers, and a checksum that tells torn files."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from fractions import Fraction
from hashlib import sha256
from itertools import starmap
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from flint import fmpq, fmpq_mat, fmpz

from jensen.errors import CertificateFileError, JensenError
from jensen.network import Box, Domain, Polytope, WholeSpace
from jensen.network._atomic import written_at_once
from jensen.verifier._certificate import Certificate, Enclosed, Leaf, Proof, Rules, Tree, Violation
from jensen.verifier._facet import Bends, Hull, Thin, Uncrossed
from jensen.verifier._kink import Multipliers
from jensen.verifier._pieces import Cover
from jensen.verifier._rational import Neuron, Vector
from jensen.verifier._twins import Twins

FORMAT, VERSION = "jensen.certificate", 1
_LARGEST_FILE = 1 << 31
_LARGEST_EXPONENT = 1 << 11
"""Of denominators 2^e; floats need less."""


def save(certificate: Certificate, path: str | PathLike[str]) -> None:
    """Write a certificate."""
    content = _dumped(certificate)
    try:
        with written_at_once(path) as stream:
            stream.write(content)
    except OSError as error:
        raise CertificateFileError(f"cannot write the certificate {path}: {error}") from error


def load(path: str | PathLike[str]) -> Certificate:
    """Read a certificate."""
    data = _read(path)
    try:
        content = json.loads(data, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise CertificateFileError(f"{path} is no certificate, or is torn: {error!s:.200}") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise CertificateFileError(f"{path} is not a certificate that jensen wrote")
    if content.get("version") != VERSION:
        raise CertificateFileError(
            f"{path} has version {content.get('version')!r:.80}; this jensen reads {VERSION}"
        )
    try:
        certificate = from_dict(content)
        expected = _dumped(certificate)
    except (
        JensenError, KeyError, TypeError, ValueError, IndexError, AttributeError, ArithmeticError,
        RecursionError,
    ) as error:  # fmt: skip
        raise CertificateFileError(f"{path} is malformed: {error!r:.200}") from error
    # A certificate has exactly one file: its checksum fits, and nothing stands there that was not read.
    if data != expected:
        raise CertificateFileError(f"{path} was altered or is torn: its checksum does not fit its content")
    return certificate


def _read(path: str | PathLike[str]) -> bytes:
    try:
        file = Path(path)
        regular, size = file.is_file(), file.stat().st_size
        data = file.read_bytes() if regular and size <= _LARGEST_FILE else b""
    except (OSError, TypeError, ValueError) as error:
        raise CertificateFileError(f"cannot read the certificate {path!r:.200}: {error}") from error
    if not regular or size > _LARGEST_FILE:
        raise CertificateFileError(f"{path} is no file of at most {_LARGEST_FILE} bytes")
    return data


def _dumped(certificate: Certificate) -> bytes:
    """Write a certificate as one line of JSON with sorted keys; the checksum hashes all else."""
    text = _canonical(to_dict(certificate))  # "checksum" is the first key by name
    return b'{"checksum":"sha256:%s",' % sha256(text).hexdigest().encode() + text[1:] + b"\n"


def to_dict(certificate: Certificate) -> dict[str, Any]:
    """Describe a certificate as plain JSON data, without its checksum."""
    proof = certificate.proof
    return {
        "format": FORMAT,
        "version": VERSION,
        "network": certificate.network,
        "domain": domain_to_json(certificate.domain),
        "wrt": None if certificate.wrt is None else list(certificate.wrt),
        "verdict": certificate.verdict,
        "proof": _any_proof_to(proof),
    }


def from_dict(content: Mapping[str, Any]) -> Certificate:
    """Build a certificate from plain data; raises whatever malformed data makes it raise."""
    verdict, proof = content["verdict"], content["proof"]
    if verdict not in ("convex", "not_convex"):
        raise ValueError(f"unknown verdict {verdict!r}")
    wrt = None if content["wrt"] is None else tuple(map(_index, content["wrt"]))
    found: Proof | Violation | Rules | Enclosed
    if "arguments" in proof:
        asked = tuple(map(_index, proof["arguments"])), _index(proof["output"])
        found = Rules(*asked) if verdict == "convex" else Enclosed(*asked, _violation_from(proof))
    else:
        found = _proof_from(proof) if verdict == "convex" else _violation_from(proof)
    return Certificate(
        str(content["network"]),
        _domain_from(content["domain"]),
        wrt,
        verdict,
        found,
    )


def _any_proof_to(proof: Proof | Violation | Rules | Enclosed) -> dict[str, Any]:
    if isinstance(proof, Rules | Enclosed):
        asked = {"arguments": list(proof.arguments), "output": proof.output}
        return asked if isinstance(proof, Rules) else {**asked, **_violation_to(proof.points)}
    return _violation_to(proof) if isinstance(proof, Violation) else _proof_to(proof)


def _canonical(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is no number")


def _index(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"{value!r:.80} is no index")
    return value


def _text(value: fmpq | Fraction) -> str:
    """Write a rational; through flint, because Python refuses to print very long integers."""
    q = value if isinstance(value, fmpq) else fmpq(value.numerator, value.denominator)
    return str(q)


def _number(text: Any) -> fmpq:
    if type(text) is not str:
        raise ValueError(f"{text!r:.80} is no rational")
    numerator, slash, denominator = text.partition("/")
    return fmpq(fmpz(numerator), fmpz(denominator) if slash else fmpz(1))


def _fraction(text: Any) -> Fraction:
    q = _number(text)
    return Fraction(int(q.p), int(q.q))


def _ends(values: np.ndarray) -> Any:
    """Write bounds; null where there is none."""
    return [v if np.isfinite(v) else None for v in values.tolist()] if values.ndim else _ends(values[None])[0]


def domain_to_json(domain: Domain) -> dict[str, Any]:
    if isinstance(domain, WholeSpace) or (isinstance(domain, Polytope) and not domain.b.size):
        return {"kind": "whole_space"}
    if isinstance(domain, Box):
        return {"kind": "box", "lo": _ends(domain.lo), "hi": _ends(domain.hi)}
    if isinstance(domain, Polytope):
        return {"kind": "polytope", "A": domain.A.tolist(), "b": domain.b.tolist()}
    raise CertificateFileError(f"a certificate cannot hold a domain of type {type(domain).__name__}")


def _domain_from(content: Mapping[str, Any]) -> Domain:
    def numbers(values: Any, missing: float) -> Any:
        if isinstance(values, list):
            return [numbers(v, missing) for v in values]
        if values is None:
            return missing
        if type(values) not in (int, float):
            raise ValueError(f"{values!r} is no number")
        return float(values)

    if content["kind"] == "whole_space":
        return WholeSpace()
    if content["kind"] == "box":
        return Box(numbers(content["lo"], -np.inf), numbers(content["hi"], np.inf))
    if content["kind"] == "polytope":
        A = np.array(numbers(content["A"], np.nan), dtype=np.float64)
        return Polytope(A, numbers(content["b"], np.nan))
    raise ValueError(f"unknown kind of domain {content['kind']!r}")


def _violation_to(violation: Violation) -> dict[str, Any]:
    return {
        "x": list(map(_text, violation.x)),
        "y": list(map(_text, violation.y)),
        "t": _text(violation.t),
    }


def _violation_from(content: Mapping[str, Any]) -> Violation:
    x, y = (tuple(map(_fraction, content[name])) for name in "xy")
    return Violation(x, y, _fraction(content["t"]))


def _pairs(values: Mapping[int, fmpq]) -> list[Any]:
    return [[k, _text(v)] for k, v in values.items()]


def _mapping(pairs: Iterable[Any]) -> dict[int, fmpq]:
    return {_index(k): _number(v) for k, v in pairs}


def _proof_to(proof: Proof) -> dict[str, Any]:
    cover = proof.cover
    hull = proof.hull
    return {
        "twins": [[layer, [_pairs(g) for g in groups]] for layer, groups in proof.twins.groups.items()],
        "cover": {
            "radius": cover.radius,
            "row_space": cover.row_space,
            "implied": [[j, s, bound, _pairs(dict(by))] for j, s, bound, by in cover.implied],
        },
        "hull": hull and {"rows": _pairs(hull.multipliers), "interior": list(map(_text, hull.interior))},
        "trees": [[list(v), piece, list(map(node_to_json, t))] for (v, piece), t in proof.trees.items()],
    }


def _proof_from(content: Mapping[str, Any]) -> Proof:
    cover, hull = content["cover"], content["hull"]
    implied = tuple(
        (_index(j), 1 if s > 0 else -1, float(bound), list(_mapping(by).items()))
        for j, s, bound, by in cover["implied"]
    )
    trees: dict[tuple[Neuron, int], Tree] = {}
    for neuron, piece, nodes in content["trees"]:
        key = _neuron(neuron), _index(piece)
        if key in trees:
            raise ValueError(f"two trees for neuron {key[0]} on piece {key[1]}")
        trees[key] = [node_from_json(node) for node in nodes]
    return Proof(
        Twins({_index(layer): [_mapping(g) for g in groups] for layer, groups in content["twins"]}),
        Cover(float(cover["radius"]), bool(cover["row_space"]), implied),
        hull and Hull(_mapping(hull["rows"]), list(map(_number, hull["interior"]))),
        trees,
    )


def _neuron(value: Any) -> Neuron:
    layer, i = map(_index, value)
    return layer, i


def node_to_json(node: Neuron | Leaf) -> Any:
    """Write a split as [layer, index] and a leaf as an object; {} is closed by signs and bounds alone."""
    if isinstance(node, tuple):
        return list(node)
    if isinstance(node, Uncrossed):
        return {"uncrossed": True}
    if isinstance(node, Thin):
        return {
            "thin": [[*u, _text(y)] for u, y in node.signs.items()],
            "rows": _pairs(node.rows),
        }
    if isinstance(node, Bends):
        return {"point": list(map(_text, node.point)), "direction": list(map(_text, node.direction))}
    return _multipliers_to(node)


def node_from_json(node: Any) -> Neuron | Leaf:
    if isinstance(node, list):
        return _neuron(node)
    if "uncrossed" in node:
        return Uncrossed()
    if "thin" in node:
        return Thin({(_index(k), _index(i)): _number(y) for k, i, y in node["thin"]}, _mapping(node["rows"]))
    if "point" in node:
        return Bends(list(map(_number, node["point"])), list(map(_number, node["direction"])))
    return _multipliers_from(node)


def _multipliers_to(leaf: Multipliers) -> dict[str, Any]:
    """Write multipliers as integers over a common power of two."""
    everything = [v for part in (*leaf.z.values(), *leaf.g.values(), leaf.rows) for v in part]
    whole, denominator = fmpq_mat(1, len(everything), everything).numer_denom()
    exponent = int(denominator).bit_length() - 1
    if denominator != 1 << exponent:
        raise CertificateFileError("a certificate writes multipliers as integers over a power of two")
    numbers = iter(whole.entries())

    def integers(values: Vector) -> list[int]:
        return [int(next(numbers)) for _ in values]

    result: dict[str, Any] = {} if leaf.jump else {"empty": True}
    if everything:
        result["e"] = exponent
    for name, part in (("z", leaf.z), ("g", leaf.g)):
        if part:
            result[name] = [[layer, integers(values)] for layer, values in part.items()]
    if leaf.rows:
        result["rows"] = integers(leaf.rows)
    return result


def _multipliers_from(node: Mapping[str, Any]) -> Multipliers:
    exponent = _index(node.get("e", 0))
    if exponent > _LARGEST_EXPONENT:
        raise ValueError(f"the exponent {exponent} is out of range")
    scale = fmpz(1) << exponent

    def rationals(values: Iterable[Any]) -> Vector:
        return list(starmap(fmpq, ((v, scale) for v in values)))

    z, g = ({_index(k): rationals(values) for k, values in node.get(name, [])} for name in "zg")
    return Multipliers("empty" not in node, z, g, rationals(node.get("rows", [])))
