"""A penalty on counterexamples that were found: neurons and activation patterns."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from jensen.certify import Witness
from jensen.network import Domain
from jensen.network._numbers import as_amount, as_count
from jensen.training._attack import Attack, from_witness
from jensen.training._cases import Cases, jumps_of
from jensen.training.tape import tape


class CounterexamplePenalty:
    """Charges max(0, margin - jump) for neurons and patterns that were found to bend the function down.

    Parameters
    ----------
    module : torch.nn.Module
        A piecewise-linear `SkipMLP` or `FICNN`, or an `nn.Sequential` of `Linear` and `ReLU`.
    domain : Domain, optional
        The whole space by default.
    margin : float, default 0.0
    most : int, default 512
        How many cases are kept: the latest, since patterns change as the network does.
    seed : int, default 0

    Raises
    ------
    ArgumentError
        If an argument makes no sense.
    NetworkError
        If the module is of another kind.
    DomainError
        If the domain is empty or does not fit the module.
    """

    def __init__(
        self,
        module: nn.Module,
        domain: Domain | None = None,
        *,
        margin: float = 0.0,
        most: int = 512,
        seed: int = 0,
    ) -> None:
        network = tape(module).network()
        self.module = module
        self.margin, self.most = as_amount(margin, "margin"), as_count(most, "most")
        self._attack = Attack(domain, network.input_size, as_count(seed, "seed", 0))
        self._cases = Cases.none(network.widths)

    def __len__(self) -> int:
        return len(self._cases)

    def search(self, starts: int = 2) -> int:
        """Descend the jumps of all neurons that bounds do not settle, and add what is negative.

        Parameters
        ----------
        starts : int, default 2
            Random starts per neuron.

        Returns
        -------
        int
            Neurons and patterns with a negative jump that were found. None found proves nothing.
        """
        cases = self._attack(tape(self.module).network(), as_count(starts, "starts"), most=512)
        self._add(cases)
        return len(cases)

    def add(self, witness: Witness) -> None:
        """Add what bends down at a witness that `jensen.check` returned for the module as it is now."""
        self._add(from_witness(tape(self.module).network(), witness))

    def _add(self, cases: Cases) -> None:
        self._cases = (cases[slice(self.most)] + self._cases)[slice(self.most)].distinct()

    def __call__(self) -> Tensor:
        """Mean charge per case, a scalar; zero where there is none."""
        weights = tape(self.module)
        if not len(self):
            return torch.zeros_like(weights.output.bias).sum()
        return torch.relu(self.margin - jumps_of(weights, self._cases)).mean()
