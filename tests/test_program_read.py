"""Programs: what is read is what torch computes; nothing else is in them, and names do not matter."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import jensen
from jensen.errors import ArgumentError, ModelFileError, NetworkError, UnsupportedOperatorError
from jensen.nn import FICNN, PICNN, ConvICNN, SkipMLP
from jensen.program import Program, read_program, trace

MODELS: dict[str, Callable[[], nn.Module]] = {
    "ficnn": lambda: FICNN(3, (4, 4), "softplus", quadratic=0.5),
    "exp": lambda: FICNN(3, (4,), "celu", constraint="exp"),
    "picnn": lambda: PICNN(3, 2, (4, 4), x_activation=nn.Tanh()),
    "conv": lambda: ConvICNN((1, 6, 6), (3, 3), "elu", stride=2),
    "conv_mean": lambda: ConvICNN((2, 5, 5), (3,), "squared_relu", head="mean"),
    "mlp": lambda: SkipMLP(2, (4,), "softplus"),
}


def values_of(program: Program, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(leaf.shape) for leaf in program.leaves]


@pytest.mark.parametrize("name", MODELS)
def test_a_program_computes_what_the_model_does(name: str) -> None:
    model = MODELS[name]()
    program = read_program(model)
    values = values_of(program)
    expected = model(*[torch.tensor(v, dtype=torch.float32) for v in values]).double().detach().numpy()
    (found,) = program.evaluate(*values)
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_files_and_exported_programs(name: str, tmp_path: Path) -> None:
    model = MODELS[name]().eval()
    program = read_program(model)
    samples = tuple(torch.zeros(leaf.shape) for leaf in program.inputs)
    exported = torch.export.export(model, samples)
    assert read_program(exported).digest == program.digest
    torch.export.save(exported, tmp_path / "model.pt2")
    stored = read_program(tmp_path / "model.pt2")
    assert stored.digest == program.digest
    values = values_of(program)
    np.testing.assert_array_equal(stored.evaluate(*values)[0], program.evaluate(*values)[0])


def test_a_dynamic_batch(tmp_path: Path) -> None:
    model = FICNN(3, (4,), "softplus").eval()
    batch = torch.export.Dim("batch")
    exported = torch.export.export(model, (torch.zeros(5, 3),), dynamic_shapes=({0: batch},))
    torch.export.save(exported, tmp_path / "model.pt2")
    for program in (read_program(exported), read_program(tmp_path / "model.pt2")):
        assert program.inputs[0].shape == (2, 3)
        assert program.inputs[0].batched
        assert program.digest == read_program(model).digest


def test_the_digest_tells_weights_operators_and_attributes() -> None:
    torch.manual_seed(0)
    model = FICNN(3, (4,), "softplus")
    digest = read_program(model).digest
    assert digest.startswith("program:sha256:")
    assert read_program(model).digest == digest
    with torch.no_grad():
        model.first.weight[0, 0] = torch.nextafter(model.first.weight[0, 0], torch.tensor(9.0))
    assert read_program(model).digest != digest
    plain = nn.Sequential(nn.Linear(3, 4), nn.Softplus(), nn.Linear(4, 1))
    other = nn.Sequential(plain[0], nn.Softplus(beta=2.0), plain[2])
    third = nn.Sequential(plain[0], nn.ELU(), plain[2])
    assert len({read_program(m).digest for m in (plain, other, third)}) == 3


def test_weights_are_what_torch_computes_in_the_models_dtype() -> None:
    model = FICNN(2, (3,), "softplus", constraint="softplus")
    program = read_program(model)
    layer = model.get_submodule("hidden.0")
    assert isinstance(layer, nn.Linear)
    weight = layer.weight.detach().double().numpy()
    assert any(np.array_equal(value, weight) for value in program.constants.values())
    assert any("softplus" in note and "float32" in note for note in program.notes)
    assert not read_program(FICNN(2, (3,), "softplus", constraint="abs")).notes


def test_parameters_become_leaves_where_they_are_named() -> None:
    model = FICNN(2, (3,), "softplus", constraint="exp")
    name = "hidden.0.parametrizations.weight.original"
    program = trace(model, torch.zeros(4, 2), [name, "first.bias"])
    assert [(leaf.kind, leaf.label) for leaf in program.leaves] == [
        ("input", "x"),
        ("parameter", name),
        ("parameter", "first.bias"),
    ]
    assert any(node.packet == "aten.exp" for node in program.nodes)
    with pytest.raises(ArgumentError, match="no parameter called"):
        trace(model, torch.zeros(4, 2), ["first.wait"])


def test_one_tensor_given_twice_is_two_inputs() -> None:
    x = torch.ones(2)
    assert len(trace(lambda a, b: a * b, (x, x)).leaves) == 2


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 1)
        self.register_buffer("scale", torch.tensor([2.0]))

    def forward(self, x: Tensor) -> Tensor:
        value: Tensor = self.layer(x) * self.scale
        return value

    def loss(self, x: Tensor, target: Tensor) -> Tensor:
        return nn.functional.mse_loss(self(x), target)


def test_methods_and_functions() -> None:
    model = Scaled()
    program = trace(model.loss, (torch.zeros(4, 2), torch.zeros(4, 1)), ["layer.weight"])
    assert [leaf.label for leaf in program.leaves] == ["x", "target", "layer.weight"]
    closure = trace(lambda x: model(x).sum(), torch.zeros(3, 2))
    assert [leaf.label for leaf in closure.leaves] == ["x"]
    x = np.ones((3, 2))
    np.testing.assert_allclose(closure.evaluate(x)[0], float(model(torch.ones(3, 2)).sum()), rtol=1e-6)


def test_integers_and_masks_are_part_of_the_program() -> None:
    program = trace(lambda x, i: x[i].sum(), (torch.zeros(4), torch.tensor([2, 0])))
    assert len(program.leaves) == 1
    np.testing.assert_array_equal(program.evaluate([1.0, 2.0, 4.0, 8.0])[0], 5.0)
    mask = torch.tensor([True, False, True, False])
    np.testing.assert_array_equal(trace(lambda x: x[mask].sum(), torch.zeros(4)).evaluate([1, 2, 4, 8])[0], 5)


def test_in_place_operators_and_dead_code() -> None:
    def function(x: Tensor) -> Tensor:
        unused = x.exp()
        y = x.clone()
        y.mul_(2.0).add_(1.0)
        del unused
        return y

    program = trace(function, torch.zeros(3))
    np.testing.assert_array_equal(program.evaluate([1.0, 2.0, 3.0])[0], [3.0, 5.0, 7.0])
    assert "aten.exp" not in {node.packet for node in program.nodes}


def test_what_is_computed_twice_is_one_value() -> None:
    def function(x: Tensor) -> Tensor:
        first, second = x.clone(), x.clone()
        first.relu_().add_(1.0)
        return first * second + x.relu() * x.relu() + x.pow(2) * x.pow(2.0) + x.sum(0) * x.sum(1)

    program = trace(function, torch.zeros(2, 2))
    x = torch.randn(2, 2, dtype=torch.float64)
    np.testing.assert_allclose(program.evaluate(x.numpy())[0], function(x).numpy(), rtol=1e-15)
    packets = [node.packet for node in program.nodes]
    assert [packets.count(f"aten.{name}") for name in ("clone", "relu", "sum")] == [1, 2, 2]


def test_what_cannot_be_read(tmp_path: Path) -> None:
    def random(x: Tensor) -> Tensor:
        return x + torch.rand_like(x)

    with pytest.raises(UnsupportedOperatorError, match="random"):
        trace(random, torch.zeros(2))
    with pytest.raises(UnsupportedOperatorError, match="random"):
        trace(lambda x: x + torch.rand(2), torch.zeros(2))
    with pytest.raises(NetworkError, match="side effects"):
        trace(torch.linalg.inv, torch.zeros(2, 2))
    with pytest.raises(NetworkError, match="input_shape"):
        read_program(nn.Sequential(nn.Conv2d(1, 1, 3), nn.Softplus()))
    with pytest.raises(NetworkError, match="no traced torch program"):
        read_program(3)
    with pytest.raises(ArgumentError, match="cannot be traced"):
        trace(3, torch.zeros(2))  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="example_inputs"):
        trace(torch.exp, 3)
    with pytest.raises(NetworkError, match="cannot trace"):
        read_program(PICNN(2, 2, (2,)), (3,))
    (tmp_path / "no.pt2").write_bytes(b"nothing")
    with pytest.raises(ModelFileError):
        read_program(tmp_path / "no.pt2")
    infinite = Scaled()
    with torch.no_grad():
        infinite.layer.weight[0, 0] = float("nan")
    with pytest.raises(NetworkError, match="NaN"):
        read_program(infinite)


def test_values_must_fit() -> None:
    program = trace(torch.exp, torch.zeros(3))
    with pytest.raises(NetworkError, match="leaves"):
        program.evaluate()
    with pytest.raises(NetworkError, match="shape"):
        program.evaluate(np.zeros(4))


def test_a_model_file_calls_only_harmless_operators(tmp_path: Path) -> None:
    class Sorted(nn.Module):
        def forward(self, x: Tensor) -> Any:
            return torch.special.bessel_j0(x).sum(1)

    exported = torch.export.export(Sorted(), (torch.zeros(2, 3),))
    torch.export.save(exported, tmp_path / "model.pt2")
    with pytest.raises(UnsupportedOperatorError, match="may not call"):
        read_program(tmp_path / "model.pt2")


def test_public_names() -> None:
    assert jensen.curvature is not None
    assert "curvature" in dir(jensen)
