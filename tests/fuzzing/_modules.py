"""torch modules of every dtype, mode and device, with odd numbers in them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import torch
from torch import Tensor, nn

from fuzzing._judge import ODD_FLOATS, Question
from jensen.network import Box


class _Cast(nn.Module):
    """A layer whose weights are integers."""

    weight: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weight", torch.tensor([[1, -1], [2, 1]], dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x @ self.weight.to(x.dtype)).sum(1, keepdim=True)


class _Apply(nn.Module):
    """A function of the input, after one layer."""

    def __init__(self, function: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.first, self.function = nn.Linear(2, 2), function

    def forward(self, x: Tensor) -> Any:
        return self.function(self.first(x))


def _perceptron(*layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Linear(2, 3), *(layers or (nn.ReLU(),)), nn.Linear(3, 1))


def _raising(_: Tensor) -> Tensor:
    raise ZeroDivisionError("no")


def _huge(t: Tensor) -> Tensor:
    return torch.relu(t[:, :1].expand(-1, 1 << 29)).sum(1)


_quantize: Any = torch.ao.quantization.quantize_dynamic
MODELS: dict[str, Callable[[], Any]] = {
    "perceptron": _perceptron,
    "float16": lambda: _perceptron().half(),
    "bfloat16": lambda: _perceptron().bfloat16(),
    "float64": lambda: _perceptron().double(),
    "mixed": lambda: nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1).double()),
    "integers": _Cast,
    "training": lambda: _perceptron(nn.BatchNorm1d(3), nn.Dropout(0.5), nn.ReLU()).train(),
    "meta": lambda: _perceptron().to("meta"),
    "half meta": lambda: nn.Sequential(nn.Linear(2, 3, device="meta"), nn.ReLU(), nn.Linear(3, 1)),
    "complex": lambda: _perceptron().to(torch.complex64),
    "empty": nn.Sequential,
    "identity": nn.Identity,
    "lazy": lambda: nn.Sequential(nn.LazyLinear(3), nn.ReLU(), nn.Linear(3, 1)),
    "width zero": lambda: nn.Sequential(nn.Linear(2, 0), nn.ReLU(), nn.Linear(0, 1)),
    "no inputs": lambda: nn.Sequential(nn.Linear(0, 2), nn.ReLU(), nn.Linear(2, 1)),
    "no hidden": lambda: nn.Linear(2, 1),
    "two outputs": lambda: nn.Linear(2, 2),
    "sigmoid": lambda: _perceptron(nn.Sigmoid()),
    "misfit": lambda: nn.Sequential(nn.Linear(2, 3), nn.Linear(4, 1)),
    "batch norm": lambda: _perceptron(nn.BatchNorm1d(3), nn.ReLU()),
    "no statistics": lambda: _perceptron(nn.BatchNorm1d(3, track_running_stats=False), nn.ReLU()),
    "no forward": nn.Module,
    "raises": lambda: _Apply(_raising),
    "data dependent": lambda: _Apply(lambda t: t if t.sum() > 0 else -t),
    "item": lambda: _Apply(lambda t: t * t.sum().item()),
    "text": lambda: _Apply(lambda t: "x"),
    "none": lambda: _Apply(lambda t: None),
    "pair": lambda: _Apply(lambda t: (t[:, 0], {"a": t[:, 1]})),
    "constant": lambda: _Apply(lambda t: torch.zeros(3)),
    "random": lambda: _Apply(lambda t: t[:, 0] + torch.rand(1)),
    "mixes": lambda: _Apply(lambda t: t.sum(0)),
    "sorted": lambda: _Apply(lambda t: t.sort(1).values[:, 0]),
    "huge": lambda: _Apply(_huge),
    "square": lambda: _Apply(lambda t: (t * t).sum(1)),
    "divides": lambda: _Apply(lambda t: (t / 0).sum(1)),
    "int": lambda: _Apply(lambda t: t.int().sum(1)),
    "empty result": lambda: _Apply(lambda t: t[:, :0]),
    "strided": lambda: _Apply(lambda t: torch.as_strided(t, (1,), (1,))),
    "sparse": lambda: _Apply(lambda t: t.to_sparse().to_dense().sum(1)),
    "tied": lambda: nn.Sequential(*[nn.Linear(2, 2), nn.ReLU()] * 2, nn.Linear(2, 1)),
    "prelu": lambda: _perceptron(nn.PReLU(3)),
    "quantized": lambda: _quantize(_perceptron(), {nn.Linear}),
    "script": lambda: torch.jit.script(_perceptron()),
    "lstm": lambda: nn.LSTM(2, 2),
    "class": lambda: nn.Linear,
    "tensor": lambda: torch.zeros(2, 2),
    "number": lambda: 3,
    "nothing": lambda: None,
}


def modules(rng: Random, folder: Path) -> Question:
    """Ask about an odd module, or one with an odd number among its weights."""
    del folder
    name = rng.choice(list(MODELS))
    seed, odd = rng.randrange(1 << 30), rng.choice(ODD_FLOATS) if rng.random() < 0.4 else None
    options: dict[str, Any] = {}
    if rng.random() < 0.5:
        options["input_shape"] = (2,)
    if rng.random() < 0.15:
        options["output"] = rng.choice([0, 1, -1, 5])

    def model() -> Any:
        torch.manual_seed(seed)
        made = MODELS[name]()
        if isinstance(made, nn.Module) and odd is not None:
            real = [p for p in made.parameters() if p.device.type == "cpu" and p.is_floating_point()]
            real = [p for p in real if not nn.parameter.is_lazy(p) and p.numel()]
            if real:
                with torch.no_grad():
                    real[seed % len(real)].view(-1)[0] = torch.tensor(odd, dtype=torch.float64)
        return made

    domain = rng.choice([None, None, Box(-1, 1)])
    return Question(name if odd is None else f"{name} with {odd}", model, lambda: domain, options)
