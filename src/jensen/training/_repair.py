"""From a trained network to one with a certificate of convexity, changed as little as can be found."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Generic, TypeVar, cast

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import nn

from jensen.certify import Verdict, check
from jensen.errors import ArgumentError
from jensen.geometry import regions
from jensen.network import Domain, FloatArray, Layer, ReLUNetwork
from jensen.training._attack import Attack, from_witness
from jensen.training._cases import Cases
from jensen.training._chords import Chords
from jensen.training._exact import Frontiers
from jensen.training._options import as_amount, as_count
from jensen.training._refit import Refit, dense, rounded
from jensen.training._tape import is_plain, tape, write

Model = TypeVar("Model", bound=nn.Module | ReLUNetwork)

ROUNDS = 200
"""Rounds of cuts and refits per candidate."""
SMALL = 3, 64, 5000
"""Inputs, neurons and regions up to which all frontiers are enumerated to make cuts."""
ENOUGH = 1.02
"""A candidate whose error is at most this multiple of the unrepaired network's ends the search."""


@dataclass(frozen=True, eq=False)
class Repair(Generic[Model]):
    """What `repair` returns.

    Attributes
    ----------
    model : torch.nn.Module or ReLUNetwork
        Of the same kind and shape as what was given, which itself is unchanged.
    verdict : Verdict
        Of kind "convex", with a certificate, about `model`.
    how : str
        "none" where nothing had to change; otherwise which negative weights of hidden layers were multiplied
        by which factor before the output's weights were fitted.
    error_before, error_after : float
        Mean squared error on the data; without data, mean squared difference from the given model.
    cuts : int
        Linear constraints on the output's weights that were needed.
    tried : tuple of (how, error) pairs
        All candidates; infinite where no certificate came.
    seconds : float
    """

    model: Model
    verdict: Verdict
    how: str
    error_before: float
    error_after: float
    cuts: int
    tried: tuple[tuple[str, float], ...]
    seconds: float


def repair(
    model: Model,
    domain: Domain | None = None,
    data: tuple[Any, Any] | None = None,
    *,
    time_limit: float = 60.0,
    improve: bool = False,
    seed: int = 0,
) -> Repair[Model]:
    """Make a network provably convex on a domain, changing it as little as can be found in the time.

    With the hidden layers fixed, frontiers are fixed too, and every jump is linear in the output's weights.
    So these are fitted by least squares under the constraints that the frontiers seen so far impose;
    `jensen.check` proves the result or adds the frontier that it finds. Where that costs too much, negative
    weights of hidden layers shrink first, those of neurons with violations before all. With none left
    the network is an ICNN, so that there is always an end.

    Parameters
    ----------
    model : torch.nn.Module or ReLUNetwork
        A module must be a piecewise-linear `SkipMLP` or `FICNN`, or an `nn.Sequential` of `Linear` and
        `ReLU`.
    domain : Domain, optional
        The whole space by default.
    data : pair of (batch, d) and (batch,) arrays or tensors, optional
        Inputs and targets. By default inputs are drawn from the domain and targets are the model's values.
    time_limit : float, default 60.0
        Seconds after which no new candidate is begun; the best so far is returned, and so it is
        after an interrupt (Ctrl-C).
    improve : bool, default False
        Whether to fit the output's weights to the data even where the model is convex as it is; without
        effect where weights are computed from other parameters.
    seed : int, default 0

    Returns
    -------
    Repair

    Raises
    ------
    ArgumentError
        If an argument makes no sense.
    NetworkError
        If the module is of another kind.
    DomainError
        If the domain is empty or does not fit the model.
    """
    limit = as_amount(time_limit, "time_limit")
    begin = perf_counter()
    network, single = _read(model)
    x, y = _data(network, domain, data, as_count(seed, "seed", 0))
    before = _error(network, x, y)
    first = check(model, domain, time_limit=max(limit / 4, 1.0), exact=True)
    search = _Search(model, network, domain, x, y, single, limit, begin, seed)
    known = None
    if first.kind == "convex":
        known = _Candidate(copy.deepcopy(model), first, "none", before, 0)
        search.tried.append((known.how, before))
    free = isinstance(model, ReLUNetwork) or is_plain(model)
    best = known if known is not None and not (improve and free) else search.run(before, first, known)
    seconds = perf_counter() - begin
    return Repair(
        best.model, best.verdict, best.how, before, best.error, best.cuts, tuple(search.tried), seconds
    )


def _read(model: nn.Module | ReLUNetwork) -> tuple[ReLUNetwork, bool]:
    if isinstance(model, ReLUNetwork):
        return model, False
    weights = tape(model)
    if weights.output.bias.dtype not in (torch.float32, torch.float64):
        raise ArgumentError(
            f"only modules in float32 and float64 can be repaired, not {weights.output.bias.dtype}"
        )
    return weights.network(), weights.output.bias.dtype == torch.float32


def _write(model: Model, network: ReLUNetwork) -> Model:
    if isinstance(model, ReLUNetwork):
        return cast(Model, network)
    changed = copy.deepcopy(model)
    write(changed, network)
    return changed


def _data(
    network: ReLUNetwork, domain: Domain | None, data: tuple[Any, Any] | None, seed: int
) -> tuple[FloatArray, FloatArray]:
    d = network.input_size
    if data is None:
        p, q = Chords(domain, d, seed).draw(max(2000, 8 * network.n_neurons))
        share = np.random.default_rng(seed).random((len(p), 1))
        x = p + share * (q - p)
        return x, network(x)
    x, y = (_as_array(part) for part in data)
    y = y.reshape(-1)
    if x.ndim != 2 or x.shape[1] != d or len(x) != len(y) or not len(x):
        raise ArgumentError(
            f"data must be inputs (batch, {d}) and targets (batch,), got {x.shape}, {y.shape}"
        )
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ArgumentError("data holds NaN or infinity")
    return x, y


def _as_array(part: ArrayLike | torch.Tensor) -> FloatArray:
    if isinstance(part, torch.Tensor):
        return part.detach().cpu().to(torch.float64).numpy().astype(np.float64)
    return np.asarray(part, dtype=np.float64)


def _error(network: ReLUNetwork, x: FloatArray, y: FloatArray) -> float:
    return float(((network(x) - y) ** 2).mean())


@dataclass(frozen=True, eq=False)
class _Candidate(Generic[Model]):
    model: Model
    verdict: Verdict
    how: str
    error: float
    cuts: int


class _Search(Generic[Model]):
    """Tries candidates, the one that cannot fail first."""

    def __init__(
        self,
        model: Model,
        network: ReLUNetwork,
        domain: Domain | None,
        x: FloatArray,
        y: FloatArray,
        single: bool,
        limit: float,
        begin: float,
        seed: int,
    ) -> None:
        self.model, self.network, self.domain = model, network, domain
        self.x, self.y, self.single = x, y, single
        self.limit, self.deadline = limit, begin + limit
        self.attack = Attack(domain, network.input_size, seed)
        self.tried: list[tuple[str, float]] = []

    def run(self, before: float, first: Verdict, known: _Candidate[Model] | None) -> _Candidate[Model]:
        """Return the best candidate with a certificate; `known` is the model itself, if it has one."""
        best = self._icnn()
        self.tried.append((best.how, best.error))
        if known is not None and known.error <= best.error:
            best = known
        try:
            for how, network in self._candidates(first):
                if perf_counter() > self.deadline:
                    break
                found = self._refit(how, network, first if how == "refit" else None, best.error)
                self.tried.append((how, np.inf if found is None else found.error))
                if found is not None and found.error < best.error:
                    best = found
                if best.error <= ENOUGH * before:  # a convex model is refitted once
                    break
        except KeyboardInterrupt:
            return best
        return best

    def _icnn(self) -> _Candidate[Model]:
        """Drop all negative weights between hidden layers, and fit nonnegative output weights."""
        bare = rounded(_shrunk(self.network, 0.0), self.single)
        refit = Refit(bare, self.x, self.y, self.single)
        refit.cut_signs()
        network = refit.solve()
        candidates = [] if network is None else [network]
        # Without fit; and, for activations that decrease somewhere, without the hidden layers.
        candidates += [_outputs(bare, lambda w: np.maximum(w, 0.0)), _outputs(bare, lambda w: 0.0 * w)]
        for changed in (rounded(candidate, self.single) for candidate in candidates):
            model, verdict = self._check(changed, self.limit + 10.0)
            if verdict.kind == "convex":
                return _Candidate(model, verdict, "hidden layers x 0", self._error(changed), refit.cuts)
        raise AssertionError("an affine function was not found convex")

    def _check(self, network: ReLUNetwork, limit: float) -> tuple[Model, Verdict]:
        # Verdicts are about what the importer makes of the model: zero weights may change the layers.
        model = _write(self.model, network)
        return model, check(model, self.domain, exact=True, time_limit=limit)

    def _error(self, network: ReLUNetwork) -> float:
        return _error(network, self.x, self.y)

    def _candidates(self, first: Verdict) -> Iterator[tuple[str, ReLUNetwork]]:
        yield "refit", self.network
        bad = self._violated(first)
        for factor in (0.5, 0.0):
            yield f"weights of violated neurons x {factor:g}", _shrunk(self.network, factor, bad)
        for factor in (0.75, 0.5, 0.25):
            yield f"hidden layers x {factor:g}", _shrunk(self.network, factor)

    def _violated(self, first: Verdict) -> set[tuple[int, int]]:
        cases = self.attack(self.network, starts=8)
        bad = set(zip(cases.layers.tolist(), cases.indices.tolist(), strict=True))
        if first.network.widths == self.network.widths:
            bad |= {(n.layer, n.index) for n in first.neurons if n.status != "proved"}
        return bad

    def _refit(
        self, how: str, network: ReLUNetwork, known: Verdict | None, error: float
    ) -> _Candidate[Model] | None:
        """Fit the output's weights, cut by cut, until `check` has a certificate; None if that fails."""
        network = rounded(network, self.single)
        refit = Refit(network, self.x, self.y, self.single)
        enumerated = self._enumerate(network)
        refit.cut(enumerated)
        if known is not None and known.witness is not None:
            refit.cut(from_witness(network, known.witness))
            refit.cut_witness(known.witness)
        starts = 4
        for _ in range(ROUNDS):
            fitted = refit.solve()
            # More cuts only make it worse.
            if fitted is None or self._error(fitted) >= error or perf_counter() > self.deadline:
                return None
            found = self.attack(fitted, starts) if not len(enumerated) else Cases.none(network.widths)
            before = refit.cuts
            refit.cut(found)
            if refit.cuts > before:
                continue
            left = self.deadline - perf_counter()
            model, verdict = self._check(fitted, max(left / 2, 1.0))
            if verdict.kind == "convex":
                return _Candidate(model, verdict, how, self._error(fitted), refit.cuts)
            if verdict.reason == "interrupted":
                raise KeyboardInterrupt
            if verdict.witness is None:
                return None
            refit.cut(from_witness(fitted, verdict.witness))
            refit.cut_witness(verdict.witness)
            if refit.cuts == before:
                return None
        return None

    def _enumerate(self, network: ReLUNetwork) -> Cases:
        inputs, neurons, most = SMALL
        if network.input_size <= inputs and network.n_neurons <= neurons:
            found = regions(network, self.domain, max_regions=most, time_limit=max(self.limit / 10, 1.0))
            if found.complete:
                return Frontiers(network, found).cases
        return Cases.none(network.widths)


def _shrunk(network: ReLUNetwork, factor: float, only: set[tuple[int, int]] | None = None) -> ReLUNetwork:
    """Multiply negative weights between hidden layers, of some neurons or all."""
    layers = []
    for layer in network.layers:
        weights: dict[int, Any] = {}
        for k, w in layer.weights.items():
            weights[k] = w
            if k > 0:
                chosen = [only is None or (k, i) in only for i in range(w.shape[1])]
                full = dense(w)
                weights[k] = np.where((full < 0) & np.array(chosen), factor * full, full)
        layers.append(Layer(weights, layer.bias, layer.negative_slope))
    return ReLUNetwork(
        network.input_size, layers, network.output_weights, network.output_bias, network.input_shape
    )


def _outputs(network: ReLUNetwork, change: Any) -> ReLUNetwork:
    outputs = {k: w if k == 0 else change(dense(w)) for k, w in network.output_weights.items()}
    return ReLUNetwork(network.input_size, network.layers, outputs, network.output_bias, network.input_shape)
