"""Random programs of all that the verifier's rules know, and models that are convex with a certificate."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from verifier_campaign import Counts, accepted, judge

import jensen
from jensen.program import read_program


@pytest.mark.filterwarnings("ignore")
def test_what_is_accepted_is_claimed_by_the_calculus_and_never_refuted() -> None:
    counts = Counts()
    for seed in range(100):
        judge(seed, 6, counts, replayed=0.1)
    assert counts.refuted == ()
    assert counts.unclaimed == ()
    assert counts.accepted > 0.9 * counts.claimed > 0
    assert counts.bent > 100


class Model(nn.Module):
    """A function of three numbers as a module."""

    in_features = 3

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        value: Tensor = self.function(x)
        return value


MATRIX = torch.tensor([[2.0, 1.0, 0.0], [1.0, 3.0, 1.0], [0.0, 1.0, 4.0]])
WHOLE, POSITIVE = jensen.WholeSpace(), jensen.Box(0.5, np.inf)
FUNCTIONS: dict[str, tuple[jensen.Domain, Callable[[Tensor], Tensor]]] = {
    "largest entry": (WHOLE, lambda x: x.max(1).values),
    "logsumexp": (WHOLE, lambda x: torch.logsumexp(3 * x, 1)),
    "log(sum(exp))": (WHOLE, lambda x: (x @ MATRIX).exp().sum(1).log()),
    "posynomials of exponentials": (
        WHOLE,
        lambda x: ((x @ MATRIX).exp().sum(1) * (x.exp() @ MATRIX).amax(1)).sqrt().log(),
    ),
    "norm": (WHOLE, lambda x: torch.linalg.vector_norm(x @ MATRIX + 1, 2, 1)),
    "quadratic form": (WHOLE, lambda x: (x @ MATRIX * x).sum(1)),
    "sum of the two largest": (WHOLE, lambda x: x.topk(2, 1).values.sum(1)),
    "entropy": (POSITIVE, lambda x: (x * x.log()).sum(1)),
    "barrier": (POSITIVE, lambda x: -x.log().sum(1) + (1 / x).sum(1)),
    "inverse square root": (POSITIVE, lambda x: x.rsqrt().sum(1) - x.sqrt().sum(1) + x.pow(1.5).sum(1)),
    "variance": (WHOLE, lambda x: x.var(1)),
    "hinge": (WHOLE, lambda x: (1 - x @ MATRIX).clamp(min=0).sum(1)),
    "negative log softmax": (WHOLE, lambda x: -torch.log_softmax(x, 1)[:, 0]),
    "negative log sigmoid": (WHOLE, lambda x: -torch.sigmoid(x).log().sum(1)),
    "pieces, stacked": (WHOLE, lambda x: torch.stack([x[:, 0], x[:, 1] ** 2, -x[:, 2]], 1).amax(1)),
    "one over a sigmoid": (WHOLE, lambda x: (1 / torch.sigmoid(x)).sum(1)),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_are_convex_with_a_certificate_and_their_opposites_are_not(name: str) -> None:
    domain, function = FUNCTIONS[name]
    model = Model(function)
    verdict = jensen.check(model, domain)
    assert verdict.kind == "convex", verdict.reason
    assert verdict.certificate is not None
    assert jensen.verify(verdict.certificate, model).verdict == "convex"
    assert not accepted(read_program(Model(lambda x: -function(x))), domain, None, 0)


def test_a_convolutional_network_with_pools_and_normalisation() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.Softplus(),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 4, 3, padding="same", groups=2),
        nn.BatchNorm2d(4),
        nn.Softplus(),
        nn.AvgPool2d(2, ceil_mode=True, padding=1, count_include_pad=False),
        nn.ConvTranspose2d(4, 2, 2, stride=2),
        nn.AdaptiveMaxPool2d(2),
        nn.Flatten(),
        nn.Linear(8, 1),
    ).eval()
    with torch.no_grad():
        for layer in list(model)[4:]:
            for parameter in layer.parameters():
                parameter.abs_()
        for layer in (model[1], model[5]):
            assert isinstance(layer, nn.BatchNorm2d)
            assert layer.running_var is not None
            layer.running_var.uniform_(0.5, 2)
    verdict = jensen.check(model, input_shape=(2, 6, 6))
    assert verdict.kind == "convex", verdict.reason
    assert verdict.certificate is not None
    assert jensen.verify(verdict.certificate, model, input_shape=(2, 6, 6)).verdict == "convex"
    for index in (4, 5, 8, 11):
        weight = model[index].weight
        assert isinstance(weight, Tensor)
        place = (0,) * weight.ndim
        with torch.no_grad():
            before = float(weight[place])
            weight[place] = -1e-3
            assert not accepted(read_program(model, (2, 6, 6)), WHOLE, None, 0), index
            weight[place] = before
