"""Convolutional modules: tapes, repair and training, with kernels that stay shared."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import jensen
from jensen.nn import ConvICNN
from jensen.training import (
    BoundConvexityPenalty,
    CounterexamplePenalty,
    SampledConvexityPenalty,
    fit_convex,
    repair,
)
from jensen.training.mend._head import head_of, write_head
from jensen.training.mend._refit import Refit
from jensen.training.tape import flattened, has_tape, tape

UNIT = jensen.Box(0.0, 1.0)


def normed(*layers: nn.Module) -> nn.Sequential:
    """Give batch normalisations statistics and weights of both signs."""
    net = nn.Sequential(*layers)
    for part in net.modules():
        if isinstance(part, (nn.BatchNorm1d, nn.BatchNorm2d)):
            assert part.running_mean is not None
            assert part.running_var is not None
            with torch.no_grad():
                part.running_mean.normal_()
                part.running_var.uniform_(0.5, 2.0)
                part.weight.normal_()
                part.bias.normal_()
    return net


def shaped(shape: tuple[int, ...], *layers: nn.Module) -> nn.Sequential:
    return normed(nn.Unflatten(1, shape), *layers).double().eval()


MODULES: dict[str, Any] = {
    "conv2d": lambda: shaped(
        (2, 5, 4), nn.Conv2d(2, 3, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(3, 2, (2, 1), bias=False),
        nn.LeakyReLU(0.25), nn.Flatten(), nn.Linear(2 * 2 * 2, 1),
    ),
    "conv1d": lambda: shaped(
        (2, 9), nn.Conv1d(2, 4, 3, dilation=2, padding=1, groups=2), nn.ReLU(), nn.AvgPool1d(2),
        nn.Conv1d(4, 2, 3, padding="same"), nn.ReLU(), nn.Flatten(), nn.Linear(6, 1, bias=False),
    ),
    "norms": lambda: shaped(
        (2, 4, 4), nn.BatchNorm2d(2), nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(),
        nn.BatchNorm2d(4), nn.AvgPool2d(2, padding=1, stride=2), nn.Conv2d(4, 2, 2, groups=2),
        nn.AvgPool2d(2),
        nn.BatchNorm2d(2), nn.ReLU(), nn.Dropout(), nn.Flatten(), nn.BatchNorm1d(2), nn.Linear(2, 3),
        nn.BatchNorm1d(3), nn.ReLU(), nn.Linear(3, 1),
    ),
    "flattened_norm": lambda: shaped(
        (2, 3, 3), nn.Conv2d(2, 2, 2), nn.ReLU(), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3), nn.ReLU(),
        nn.Linear(3, 1),
    ),
    "adaptive": lambda: shaped(
        (1, 4, 6), nn.Conv2d(1, 3, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d((2, None)),
        nn.Conv2d(3, 3, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 1),
    ),
    "pooled_output": lambda: shaped(
        (1, 4, 4), nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Conv2d(2, 1, 1), nn.AvgPool2d(2)
    ),
    "icnn": lambda: shaped((2, 5, 4), ConvICNN((2, 5, 4), (3, 2), stride=(1, 2))),
    "icnn_mean": lambda: shaped((1, 4, 4), ConvICNN((1, 4, 4), (3, 2), "leaky_relu", head="mean")),
    "icnn_bare": lambda: nn.Sequential(
        nn.Unflatten(1, (1, 4, 4)), ConvICNN((1, 4, 4), (3, 2), skips=False)
    ).double(),
    "norm_between_linear": lambda: normed(
        nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.BatchNorm1d(4), nn.Linear(4, 1)
    ).double().eval(),
}  # fmt: skip


@pytest.mark.parametrize("name", MODULES)
def test_tape_is_the_module(name: str) -> None:
    torch.manual_seed(0)
    module = MODULES[name]()
    assert has_tape(module)
    network = tape(module).network()
    x = torch.randn(6, network.input_size, dtype=torch.float64, requires_grad=True)
    expected = module(x).reshape(-1)
    np.testing.assert_allclose(network(x.detach().numpy()), expected.detach().numpy(), atol=1e-12)
    (gradient,) = torch.autograd.grad(expected.sum(), x)
    z = tape(module).preactivations(x)
    for ours, theirs in zip(z, network.preactivations(x.detach().numpy()), strict=True):
        np.testing.assert_allclose(ours.detach().numpy(), theirs, atol=1e-12)
    backward = tape(module).backward(tape(module).slopes(z))
    np.testing.assert_allclose(backward[0].detach().numpy(), gradient.numpy(), atol=1e-12)
    for ours, theirs in zip(
        backward, network.backward([s.numpy() for s in tape(module).slopes(z)]), strict=True
    ):
        np.testing.assert_allclose(ours.detach().numpy(), theirs, atol=1e-12)
    for p in module.parameters():
        assert all(
            g is None or bool(g.isfinite().all())
            for g in torch.autograd.grad(backward[1].sum(), p, allow_unused=True, retain_graph=True)
        )


def data_of(shape: tuple[int, ...], rows: int = 300) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(rows, *shape, generator=generator)
    slopes = torch.randn(4, x[0].numel(), generator=generator)
    return x, (x.flatten(1) @ slopes.T).amax(1)


def certified(result: Any, shape: tuple[int, ...]) -> None:
    """Check the returned module as a user would, and replay its certificate."""
    verdict = jensen.check(result.model, UNIT, exact=True, input_shape=shape)
    assert verdict.kind == result.verdict.kind == "convex"
    jensen.verify(result.verdict.certificate, jensen.as_network(result.model, input_shape=shape).network)


class Residual(nn.Module):
    """A graph that no tape knows."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1, bias=False)
        self.scale = nn.Parameter(torch.randn(3, 1, 1))
        self.last = nn.Linear(3, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.first(x).relu()
        h = (h + self.scale * self.second(h)).relu()
        value: torch.Tensor = self.last(h.mean((2, 3)))
        return value


def tied(kernel: nn.Module) -> nn.Sequential:
    """Use one convolution twice."""
    return nn.Sequential(kernel, nn.ReLU(), kernel, nn.ReLU(), nn.Flatten(), nn.Linear(32, 1))


NETS: dict[str, Any] = {
    "conv2d": ((1, 5, 5), lambda: nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Conv2d(3, 2, 2), nn.LeakyReLU(0.1), nn.Flatten(), nn.Linear(8, 1))),
    "conv1d": ((2, 6), lambda: nn.Sequential(
        nn.Conv1d(2, 3, 3), nn.ReLU(), nn.Conv1d(3, 2, 2, bias=False), nn.ReLU(), nn.AvgPool1d(3),
        nn.Flatten(), nn.Linear(2, 1, bias=False)).double()),
    "norms": ((1, 4, 4), lambda: normed(
        nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 3, 2), nn.BatchNorm2d(3),
        nn.ReLU(), nn.BatchNorm2d(3), nn.AvgPool2d(3), nn.Flatten(), nn.Linear(3, 1))),
    "tied": ((2, 4, 4), lambda: tied(nn.Conv2d(2, 2, 3, padding=1))),
    "residual": ((1, 4, 4), Residual),
    "constrained": ((1, 4, 4), lambda: nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.ReLU(), jensen.nn.NonnegativeConv2d(2, 2, 2), nn.ReLU(), nn.Flatten(),
        nn.Linear(2, 1))),
}  # fmt: skip


@pytest.mark.parametrize("name", NETS)
def test_modules_with_shared_weights_end_convex(name: str) -> None:
    torch.manual_seed(1)
    shape, build = NETS[name]
    net = build()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    told: list[tuple[str, float]] = []
    result = repair(net, UNIT, data_of(shape), time_limit=6.0, progress=lambda *line: told.append(line))
    certified(result, shape)
    assert told == list(result.tried)
    assert type(result.model) is type(net)
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert {k: v.shape for k, v in result.model.state_dict().items()} == {
        k: v.shape for k, v in before.items()
    }
    x, y = data_of(shape)
    with torch.no_grad():
        values = result.model(x.to(next(net.parameters()).dtype)).reshape(-1)
    assert float((values - y).square().mean()) == pytest.approx(result.error_after, rel=1e-3)
    assert result.error_after <= min(error for _, error in result.tried)


def test_no_time_and_no_data() -> None:
    torch.manual_seed(2)
    shape, build = NETS["conv2d"]
    net = build()
    result = repair(net, UNIT, time_limit=0.0, input_shape=shape)
    certified(result, shape)
    assert result.how == "negative weights x 0"
    with pytest.raises(jensen.ArgumentError, match="input_shape"):
        repair(net, UNIT)


def test_an_interrupt_leaves_a_certificate(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("jensen.training.mend._tune.torch.optim.Adam.step", interrupted)
    shape, build = NETS["conv2d"]
    torch.manual_seed(3)
    certified(repair(build(), UNIT, data_of(shape), time_limit=60.0), shape)


def test_a_convex_convolution_stays() -> None:
    net = ConvICNN((1, 4, 4), (2, 2))
    assert not has_tape(net)  # whose input would be vectors
    assert repair(net, UNIT, data_of((1, 4, 4)), improve=True).how == "none"
    torch.manual_seed(0)
    free = NETS["conv2d"][1]()
    with torch.no_grad():
        for name in ("2.weight", "5.weight"):
            free.get_parameter(name).abs_()
    x, y = data_of((1, 5, 5))
    assert repair(free, UNIT, (x, y)).how == "none"
    better = repair(free, UNIT, (x, y), improve=True, time_limit=10.0)
    certified(better, (1, 5, 5))
    assert better.error_after < better.error_before  # by how much is a matter of time
    # Vectors are taken for images too.
    assert repair(free, UNIT, (x.flatten(1), y), input_shape=(1, 5, 5)).how == "none"


def test_the_last_layer_is_refitted_under_cuts() -> None:
    """On a small image the exact check sees a network that is no ICNN."""
    torch.manual_seed(4)
    net = nn.Sequential(nn.Conv1d(1, 3, 2), nn.ReLU(), nn.AvgPool1d(2), nn.Flatten(), nn.Linear(3, 1))
    flat = nn.Sequential(nn.Unflatten(1, (1, 3)), net)
    x, y = data_of((1, 3))
    network, head = tape(flat).network(), head_of(flat)
    assert head is not None
    refit = Refit(
        network, x.flatten(1).double().numpy(), y.double().numpy(), True, head
    )  # with a small ridge
    free = refit.solve()
    assert free is not None
    features = net[:-1](x).detach().double().numpy()
    matrix = np.concatenate([features, np.ones((len(x), 1))], axis=1)
    best = np.linalg.lstsq(matrix, y.double().numpy(), rcond=None)[0]
    np.testing.assert_allclose(refit.weights[1], best[:-1], rtol=1e-2)
    refit.cut_signs()
    fitted = refit.solve()
    assert fitted is not None
    assert (refit.weights[1] >= 0).all()
    write_head(flat, refit.weights, fitted.output_bias)
    np.testing.assert_allclose(
        tape(flat).network()(x.flatten(1).numpy()), fitted(x.flatten(1).numpy()), atol=1e-5
    )


def conv() -> nn.Module:
    return nn.Conv2d(1, 2, 3)


REFUSED: dict[str, Any] = {
    "layer '0' \\(BatchNorm2d\\): without": lambda: [nn.BatchNorm2d(1, track_running_stats=False), conv()],
    "layer '0' \\(Conv2d\\): it takes 3 channels": lambda: [nn.Conv2d(3, 2, 3)],
    "layer '0' \\(Conv2d\\): only padding": lambda: [nn.Conv2d(1, 2, 3, padding=1, padding_mode="circular")],
    "layer '1' \\(MaxPool2d\\)": lambda: [conv(), nn.MaxPool2d(2)],
    "layer '2' \\(BatchNorm1d\\): its channels": lambda: [conv(), nn.Flatten(), nn.BatchNorm1d(18)],
    "layers: '0', '1'": lambda: [conv(), nn.Conv2d(2, 2, 1)],
    "layer '0' \\(AvgPool2d\\): windows": lambda: [nn.AvgPool2d(2, ceil_mode=True), nn.Conv2d(1, 2, 1)],
    "layer '1' \\(Linear\\): it takes vectors": lambda: [nn.Identity(), nn.Linear(5, 1)],
}  # fmt: skip


@pytest.mark.parametrize("words", REFUSED)
def test_what_a_tape_cannot_read_is_named(words: str) -> None:
    net = flattened(nn.Sequential(*REFUSED[words](), nn.ReLU(), nn.Flatten()), (1, 5, 5))
    assert not has_tape(net)
    with pytest.raises(jensen.NetworkError, match=words):
        tape(net)


def test_modules_that_no_signs_make_convex_are_refused() -> None:
    class Difference(Residual):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            value: torch.Tensor = self.last((x - self.first(x).relu()).relu().mean((2, 3)))
            return value

    torch.manual_seed(0)
    with pytest.raises(jensen.NetworkError, match=r"sub.*subtracts what an activation has bent"):
        repair(Difference(), UNIT, data_of((1, 4, 4)), time_limit=4.0)
    steep = nn.Sequential(nn.Conv1d(1, 3, 2), nn.LeakyReLU(-1.0), nn.Flatten(), nn.Linear(6, 1))
    with pytest.raises(jensen.NetworkError, match="slope -1"):
        repair(steep, UNIT, data_of((1, 3)), time_limit=4.0)
    computed = nn.Sequential(
        nn.Conv1d(1, 3, 2), nn.ReLU(), nn.Flatten(), nn.utils.parametrizations.weight_norm(nn.Linear(6, 1))
    )
    with pytest.raises(jensen.NetworkError, match="'3' are computed from other parameters"):
        repair(computed, UNIT, data_of((1, 3)), time_limit=4.0)


def test_penalties_and_training_see_kernels() -> None:
    torch.manual_seed(5)
    shape = (1, 4, 4)
    net = nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Conv2d(3, 2, 2), nn.ReLU(), nn.Flatten(), nn.Linear(2, 1)
    )
    flat = nn.Sequential(nn.Unflatten(1, shape), net)
    for penalty in (SampledConvexityPenalty(flat, UNIT), BoundConvexityPenalty(flat, UNIT)):
        net.zero_grad()
        penalty().backward()  # type: ignore[no-untyped-call]
        kernel = net.get_parameter("2.weight").grad
        assert kernel is not None
        assert float(kernel.abs().sum()) > 0
    found = CounterexamplePenalty(flat, UNIT)
    assert found.search() > 0
    x, y = data_of(shape)
    result = fit_convex(flat, (x.flatten(1), y), UNIT, steps=60, check_limit=1.0, repair_limit=5.0)
    assert result.verdict.kind == "convex"
    verdict = jensen.check(net, UNIT, exact=True, input_shape=shape)
    assert verdict.kind == "convex"
