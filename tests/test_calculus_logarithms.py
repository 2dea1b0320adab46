"""Log-convexity in the calculus: products, posynomials, and what atoms declare of logarithms."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from test_calculus_atoms import CASES, assert_shape, declared, evaluate
from test_calculus_soundness import tried_entries
from torch import Tensor

import jensen
from jensen.calculus import Atom
from jensen.calculus._elementary import exponential, power
from jensen.calculus._value import LOG_CONCAVE, LOG_CONVEX

X = torch.ones(3)
WEIGHTS = (torch.ones(4, 3), torch.ones(2, 4))

KINDS: list[tuple[str, Callable[..., Tensor], str]] = [
    ("product of exponentials", lambda x: x[0].exp() * x[1].exp(), "convex"),
    ("product with a log-convex factor", lambda x: x.square().sum().exp() * x.exp().sum(), "convex"),
    ("product with one that is only convex", lambda x: x.square().sum() * x.exp().sum(), "unknown"),
    ("difference of posynomials", lambda x: x[0].exp() - x[1].exp(), "unknown"),
    ("log of a sum of exponentials", lambda x: (1 + x.exp().sum()).log(), "convex"),
    ("log of a difference", lambda x: (x[0].exp() - 1).log(), "unknown"),
    ("over a monomial", lambda x: x.exp().sum() / x[0].exp(), "convex"),
    ("over a posynomial", lambda x: x[0].exp() / x.exp().sum(), "unknown"),
    ("log of a ratio", lambda x: -(x[0].exp() / x.exp().sum()).log(), "convex"),
    ("soft max written out", lambda x: -x.softmax(0)[1].log(), "convex"),
    ("soft max of convex", lambda x: -x.square().softmax(0)[1].log(), "unknown"),
    ("log of a sigmoid", lambda x: -x.sigmoid().log().sum(), "convex"),
    ("log of a softplus", lambda x: torch.nn.functional.softplus(x).log().sum(), "concave"),
    ("root of a posynomial", lambda x: x.exp().sum().sqrt(), "convex"),
    ("a power of a posynomial", lambda x: x.exp().sum().pow(0.1), "convex"),
    ("root of a convex function", lambda x: x.square().sum().pow(0.4), "unknown"),
    ("maximum", lambda x: (x.exp().amax() * x.exp().sum()).log(), "convex"),
    ("clamped", lambda x: (x.exp().clamp_min(2.0) * x.exp()).sum(), "convex"),
    ("norm", lambda x: torch.linalg.vector_norm(x.exp()) * x.exp().sum(), "convex"),
    ("moved", lambda x: torch.cat([x.exp().flip(0), x.exp()])[1:4].prod(), "convex"),
    (
        "product of entries, one of which is not",
        lambda x: torch.stack([x[0].exp(), x[1].abs() + 1]).prod(),
        "unknown",
    ),
    ("product of entries of any sign", lambda x: x.prod(), "unknown"),
    ("running product", lambda x: x.exp().cumprod(0).log(), "affine"),
    ("matrix product", lambda x: x.exp() @ x.exp(), "convex"),
    ("one over a concave function", lambda x: (1 / x.log()).sum().log(), "convex"),
    ("padded", lambda x: torch.nn.functional.pad(x.exp(), (1, 1), value=2.0)[1:3].log().sum(), "affine"),
]


@pytest.mark.parametrize(("name", "function", "kind"), KINDS, ids=[k[0] for k in KINDS])
def test_kinds(name: str, function: Callable[..., Tensor], kind: str) -> None:
    found = jensen.curvature(function, X)
    assert found.kind == kind, (name, str(found))


def test_a_network_with_exponential_weights_is_convex_in_all_of_them() -> None:
    def network(first: Tensor, last: Tensor, x: Tensor) -> Tensor:
        return last.exp() @ (first.exp() @ x).relu()

    found = jensen.curvature(network, (*WEIGHTS, X), wrt=[0, 1], nonnegative=2)
    assert found.kind == "convex"
    assert found.intermediates[-1].logarithm == "log-convex"
    assert "log-affine" in str(found)
    # For inputs of any sign the first layer is no posynomial.
    assert jensen.curvature(network, (*WEIGHTS, X), wrt=[0, 1]).kind == "unknown"


def test_a_foreign_sign_spoils_the_claim() -> None:
    weight = torch.tensor([1.0, -1e-30, 1.0])
    found = jensen.curvature(lambda x: ((x.exp() * weight).sum() * x.exp()).sum(), X)
    assert found.kind == "unknown"


def logarithm_holds(atom: Atom, function: Callable[[np.ndarray], np.ndarray]) -> None:
    """Compare what an atom declares of logarithms with values on even grids."""
    h = np.linspace(-5, 3, 1601)
    with np.errstate(all="ignore"):
        if atom.log is not None:
            x = np.linspace(1e-3 if atom.domain != "real" else -6, 6, 1601)
            values = np.log(function(x))
            inside = np.isfinite(values)
            assert_shape(atom.log, values[inside])
        if atom.of_exp is not None:
            assert_shape(atom.of_exp, function(np.exp(h)))
        if atom.log_of_exp is not None:
            assert_shape(atom.log_of_exp, np.log(function(np.exp(h))))


@pytest.mark.parametrize(("packet", "arguments"), CASES, ids=str)
def test_an_atom_keeps_its_word_about_logarithms(packet: str, arguments: dict[str, float]) -> None:
    atom = declared(packet, arguments)
    logarithm_holds(atom, lambda x: evaluate(packet, arguments, x))


def test_powers_and_exponentials_keep_theirs() -> None:
    for p in (0.5, 1, 2, 3, 2.5, -0.5, -1, -2):
        logarithm_holds(power(p), lambda x, p=p: np.power(x, float(p)))  # type: ignore[misc]
    for base in (0.5, 1.0, 3.0):
        logarithm_holds(exponential(base), lambda x, base=base: np.power(base, x))  # type: ignore[misc]


_NAMES = """exp mul add sum mean amax maximum minimum log square pow sqrt div reciprocal softplus relu
    sigmoid cosh sinh softmax linalg_vector_norm clamp flip cumsum leaky_relu tanh expm1 erfc"""
POSITIVE_OPERATORS = frozenset(f"aten.{name}" for name in _NAMES.split())


@pytest.mark.filterwarnings("ignore")
def test_no_claim_about_a_logarithm_is_refuted() -> None:
    told = 0
    for entry in (entry for seed in range(250) for entry in tried_entries(seed, POSITIVE_OPERATORS)):
        claims = entry.claims & (LOG_CONVEX | LOG_CONCAVE)
        parts = entry.fx, entry.fy, entry.fm
        assert not claims or all((part >= 0).all() for part in parts), entry.where
        usable = np.all([(part > 1e-30) & (part < 1e30) for part in parts], axis=0)
        fx, fy, fm = (np.log(part[usable]) for part in parts)
        weight = entry.weight[usable]
        gap = fm - (weight * fx + (1 - weight) * fy)
        assert not claims & LOG_CONVEX or (gap < 1e-6).all(), entry.where
        assert not claims & LOG_CONCAVE or (gap > -1e-6).all(), entry.where
        told += entry.varies and claims in (LOG_CONVEX, LOG_CONCAVE)
    assert told > 500
