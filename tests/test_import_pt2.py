"""Import from `.pt2` files, read without `torch.export.load`: nothing in them may run."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from jensen.errors import JensenError, ModelFileError, UnsupportedOperatorError
from jensen.network import from_pt2, from_torch, load_model


class Mixed(nn.Module):
    """One of everything that the JSON schema writes in its own way."""

    shift: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.out = nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, 1)
        self.register_buffer("shift", torch.arange(8.0), persistent=False)
        self.act, self.slope = nn.ReLU(inplace=True), nn.PReLU(8)
        nn.utils.parametrizations.weight_norm(self.out)

    def forward(self, x: Tensor) -> Tensor:
        a, b = torch.split(self.norm(self.first(x)), 4, 1)
        b = b + torch.max(a, dim=1, keepdim=True).values + torch.tensor([1.0, 2.0, 3.0, 4.0])
        h = torch.cat([a, b], 1) * self.shift
        h = h.view(x.shape[0], -1)[:, [1, 0, 2, 3, 4, 5, 6, 7]]
        first, second = torch.chunk(h, 2, 1)
        h = torch.cat([second, first.to(torch.float32)], 1) + torch.zeros(x.shape[0], 1)
        result: Tensor = self.out(self.slope(self.act(h) - x[:, :1]))
        return result


def save(model: nn.Module, path: Path, batch: int | None = 3, decompose: bool = False) -> Path:
    dims = None if batch is not None else ({0: torch.export.Dim.DYNAMIC},)
    exported = torch.export.export(model.eval(), (torch.zeros(batch or 3, 6),), dynamic_shapes=dims)
    torch.export.save(exported.run_decompositions() if decompose else exported, path)
    return path


@pytest.fixture(scope="module")
def model() -> nn.Module:
    torch.manual_seed(0)
    return Mixed().eval()


@pytest.fixture(scope="module")
def stored(model: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(model, tmp_path_factory.mktemp("pt2") / "mixed.pt2")


@pytest.mark.parametrize("batch", [1, 4, None])
@pytest.mark.parametrize("decompose", [False, True])
def test_same_network_as_from_the_module(
    model: nn.Module, tmp_path: Path, batch: int | None, decompose: bool
) -> None:
    lowered = load_model(save(model, tmp_path / "mixed.pt2", batch, decompose))
    x = torch.randn(40, 6)
    with torch.no_grad():
        expected = model(x)[:, 0].numpy()
    np.testing.assert_allclose(lowered.network(x.numpy()), expected, atol=1e-4)
    np.testing.assert_allclose(
        lowered.network(x.numpy()), from_torch(model, (6,)).network(x.numpy()), atol=1e-12
    )
    assert lowered.deviation < 1e-12


def rewrite(source: Path, target: Path, change: Callable[[dict[str, bytes]], None], **options: Any) -> Path:
    """Copy an archive with its members changed."""
    with zipfile.ZipFile(source) as archive:
        members = {n: archive.read(n) for n in archive.namelist()}
    change(members)
    with zipfile.ZipFile(target, "w", **options) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return target


class Bomb:
    """A pickle that creates a file when it is opened."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def test_pickled_members_are_never_opened(stored: Path, tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    payload = pickle.dumps(Bomb(trap))

    def poison_samples(members: dict[str, bytes]) -> None:
        members["mixed/data/sample_inputs/model.pt"] = payload

    lowered = load_model(rewrite(stored, tmp_path / "samples.pt2", poison_samples))
    assert lowered.network.input_size == 6

    def poison_weights(members: dict[str, bytes]) -> None:
        config = json.loads(members["mixed/data/weights/model_weights_config.json"])
        entry = config["config"]["first.weight"]
        entry["use_pickle"] = True
        members["mixed/data/weights/model_weights_config.json"] = json.dumps(config).encode()
        members[f"mixed/data/weights/{entry['path_name']}"] = payload

    with pytest.raises(ModelFileError, match="pickle"):
        load_model(rewrite(stored, tmp_path / "weights.pt2", poison_weights))
    for name in ("plain.pt", "plain.pth", "plain.pt2", "plain"):
        (tmp_path / name).write_bytes(payload)
        with pytest.raises(ModelFileError):
            load_model(tmp_path / name)
    torch.save(Bomb(trap), tmp_path / "zipped.pt")
    with pytest.raises(ModelFileError, match=r"never unpickles.*torch.export.save"):
        load_model(tmp_path / "zipped.pt")
    assert not trap.exists()


def edit_graph(change: Callable[[dict[str, Any]], None]) -> Callable[[dict[str, bytes]], None]:
    def apply(members: dict[str, bytes]) -> None:
        document = json.loads(members["mixed/models/model.json"])
        change(document)
        members["mixed/models/model.json"] = json.dumps(document).encode()

    return apply


def tensor_argument(name: str, value: Any) -> dict[str, Any]:
    return {"name": name, "arg": value, "kind": 1}


def new_constant(target: str, *inputs: dict[str, Any]) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        node = {
            "target": target,
            "inputs": inputs,
            "outputs": [{"as_tensor": {"name": "new"}}],
            "metadata": {},
        }
        document["graph_module"]["graph"]["nodes"].insert(0, node)

    return change


def test_a_file_cannot_call_what_it_likes(stored: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    calls = [
        new_constant(
            "torch.ops.aten.from_file.default",
            tensor_argument("filename", {"as_string": str(victim)}),
            tensor_argument("shared", {"as_bool": True}),
            tensor_argument("size", {"as_int": 8}),
        ),
        new_constant("os.system", tensor_argument("command", {"as_string": f"touch {victim}"})),
        new_constant("torch.ops.higher_order.cond", tensor_argument("pred", {"as_bool": True})),
    ]
    for i, call in enumerate(calls):
        with pytest.raises(UnsupportedOperatorError, match="may not compute"):
            load_model(rewrite(stored, tmp_path / f"call{i}.pt2", edit_graph(call)))
    assert not victim.exists()
    huge = new_constant("torch.ops.aten.zeros.default", tensor_argument("size", {"as_ints": [10**9, 10**9]}))
    with pytest.raises(ModelFileError):
        load_model(rewrite(stored, tmp_path / "huge.pt2", edit_graph(huge)))


def test_torn_and_malformed_files(stored: Path, tmp_path: Path) -> None:
    content = stored.read_bytes()
    torn = tmp_path / "torn.pt2"
    for cut in (0, 10, len(content) // 2, len(content) - 30):
        torn.write_bytes(content[:cut])
        with pytest.raises(ModelFileError):
            load_model(torn)
    for place in range(0, len(content), 997):  # damaged bytes: refused, or read if they do not matter
        torn.write_bytes(content[:place] + bytes([content[place] ^ 0x55]) + content[place + 1 :])
        with contextlib.suppress(JensenError):
            load_model(torn)

    def short_weights(members: dict[str, bytes]) -> None:
        members["mixed/data/weights/weight_0"] = members["mixed/data/weights/weight_0"][:-4]

    def no_weights(members: dict[str, bytes]) -> None:
        del members["mixed/data/weights/weight_0"]

    def newer(document: dict[str, Any]) -> None:
        document["schema_version"]["major"] = 99

    def no_graph(document: dict[str, Any]) -> None:
        del document["graph_module"]["graph"]["nodes"]

    def bad_sizes(members: dict[str, bytes]) -> None:
        name = "mixed/data/weights/model_weights_config.json"
        config = json.loads(members[name])
        config["config"]["first.weight"]["tensor_meta"]["sizes"] = [{"as_int": 2**40}, {"as_int": 2**40}]
        config["config"]["first.weight"]["tensor_meta"]["strides"] = [{"as_int": 0}, {"as_int": 0}]
        members[name] = json.dumps(config).encode()

    changes = (short_weights, no_weights, edit_graph(newer), edit_graph(no_graph), bad_sizes)
    for i, change in enumerate(changes):
        with pytest.raises(ModelFileError):
            load_model(rewrite(stored, tmp_path / f"bad{i}.pt2", change))
    with pytest.raises(ModelFileError, match="compressed"):
        load_model(rewrite(stored, tmp_path / "z.pt2", lambda _: None, compression=zipfile.ZIP_DEFLATED))


def test_in_place_operators_on_views_are_refused(tmp_path: Path) -> None:
    class Views(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.out = nn.Linear(6, 4), nn.Linear(4, 1)

        def forward(self, x: Tensor) -> Tensor:
            h = self.first(x)
            functional.relu_(h[:, :2])
            result: Tensor = self.out(h)
            return result

    with pytest.raises(ModelFileError, match="view"):
        from_pt2(save(Views(), tmp_path / "views.pt2"))
    lowered = from_pt2(save(Views(), tmp_path / "views.pt2", decompose=True))
    assert lowered.network.widths == (2,)
