"""Repair of networks whose weights are numbers of their own: of all candidates, the one that fits best."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any, Generic, TypeVar, cast

import numpy as np
import torch
from torch import nn

from jensen.certify import Verdict, check
from jensen.geometry import regions
from jensen.network import Layer, ReLUNetwork
from jensen.training._attack import Attack, from_witness
from jensen.training._cases import Cases
from jensen.training._exact import Frontiers
from jensen.training.mend._cuts import Candidate, Trial, fit_under_cuts
from jensen.training.mend._head import Head, head_of
from jensen.training.mend._problem import Problem
from jensen.training.mend._refit import Refit, dense, rounded
from jensen.training.tape import tape, write

Model = TypeVar("Model", bound=nn.Module | ReLUNetwork)

SMALL = 3, 64, 5000
"""Inputs, neurons and regions up to which all frontiers are enumerated to make cuts."""
ENOUGH = 1.02
"""A candidate whose error is at most this multiple of the unrepaired network's ends the search."""


class PlainSearch(Generic[Model]):
    """Tries candidates, the one that cannot fail first.

    Parameters
    ----------
    model : torch.nn.Module or ReLUNetwork
        A module must be plain.
    problem : Problem
    """

    def __init__(self, model: Model, problem: Problem) -> None:
        self.model, self.problem = model, problem
        self.network = model if isinstance(model, ReLUNetwork) else tape(model).network()
        self.single = isinstance(model, nn.Module) and tape(model).output.bias.dtype == torch.float32
        self.head: Head | None = head_of(model) if isinstance(model, nn.Module) else None
        self.attack = Attack(problem.domain, self.network.input_size, problem.seed)

    def check(self, limit: float) -> Verdict:
        """Check the model as it is."""
        return check(self.model, self.problem.domain, time_limit=limit, exact=True)

    @property
    def is_free(self) -> bool:
        """Whether a convex model may be improved."""
        return True

    def error(self) -> float:
        """Mean squared error of the model."""
        return self._error(self.network)

    def run(self, before: float, first: Verdict, known: Candidate[Model] | None) -> Candidate[Model]:
        """Return the best candidate with a certificate; `known` is the model itself, if it has one."""
        best = self._icnn()
        self.problem.tell(best.how, best.error)
        if known is not None and known.error <= best.error:
            best = known
        try:
            for how, network in self._candidates(first):
                if self.problem.left < 0:
                    break
                found = self._refit(how, network, first if how == "refit" else None, best.error)
                self.problem.tell(how, np.inf if found is None else found.error)
                if found is not None and found.error < best.error:
                    best = found
                if best.error <= ENOUGH * before:  # a convex model is refitted once
                    break
        except KeyboardInterrupt:
            return best
        return best

    def _icnn(self) -> Candidate[Model]:
        """Drop all negative weights between hidden layers, and fit nonnegative output weights."""
        bare = rounded(_shrunk(self.network, 0.0), self.single)
        refit = self._start(bare)
        refit.cut_signs()
        network = refit.solve()
        candidates = [] if network is None else [network]
        # Without fit; and, for activations that decrease somewhere, without the hidden layers.
        candidates += [_outputs(bare, lambda w: np.maximum(w, 0.0)), _outputs(bare, lambda w: 0.0 * w)]
        for changed in (rounded(candidate, self.single) for candidate in candidates):
            model, verdict = self._check(changed, self.problem.limit + 10.0)
            if verdict.kind == "convex":
                return Candidate(model, verdict, "hidden layers x 0", self._error(changed), refit.cuts)
        raise AssertionError("an affine function was not found convex")

    def _check(self, network: ReLUNetwork, limit: float) -> tuple[Model, Verdict]:
        # Verdicts are about what the importer makes of the model: zero weights may change the layers.
        model = _write(self.model, network)
        return model, check(model, self.problem.domain, exact=True, time_limit=limit)

    def _error(self, network: ReLUNetwork) -> float:
        return float(((network(self.problem.x) - self.problem.y) ** 2).mean())

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
        if first.network is not None and first.network.widths == self.network.widths:
            bad |= {(n.layer, n.index) for n in first.neurons if n.status != "proved"}
        return bad

    def _refit(
        self, how: str, network: ReLUNetwork, known: Verdict | None, error: float
    ) -> Candidate[Model] | None:
        """Fit the output's weights, cut by cut, until `check` has a certificate; None if that fails."""
        network = rounded(network, self.single)
        refit = self._start(network)
        enumerated = self._enumerate(network)
        refit.cut(enumerated)
        if known is not None and known.witness is not None:
            refit.cut(from_witness(network, known.witness))
            refit.cut_witness(known.witness)
        attack = None if len(enumerated) else self.attack
        return fit_under_cuts(how, refit, self._trial, attack, error, self.problem.deadline)

    def _trial(self, network: ReLUNetwork) -> Trial[Model]:
        return Trial(network, self._error(network), lambda limit: self._check(network, limit))

    def _start(self, network: ReLUNetwork) -> Refit:
        return Refit(network, self.problem.x, self.problem.y, self.single, self.head)

    def _enumerate(self, network: ReLUNetwork) -> Cases:
        inputs, neurons, most = SMALL
        if network.input_size <= inputs and network.n_neurons <= neurons:
            found = regions(
                network, self.problem.domain, max_regions=most, time_limit=max(self.problem.limit / 10, 1.0)
            )
            if found.complete:
                return Frontiers(network, found).cases
        return Cases.none(network.widths)


def _write(model: Model, network: ReLUNetwork) -> Model:
    if isinstance(model, ReLUNetwork):
        return cast(Model, network)
    changed = copy.deepcopy(model)
    write(changed, network)
    return changed


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
