from __future__ import annotations

import pickle
import re
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch

import jensen
import jensen.minimize as room

HOME = Path(room.__file__).parent
BELOW = {
    "posed": set(),
    "tensors": set(),
    "walk": {"posed"},
    "exact": {"posed", "walk"},
    "export": {"posed", "exact"},
    "polytopes": {"tensors"},
    "bundle": {"tensors", "polytopes"},
    "batched": {"tensors", "polytopes", "bundle"},
    "layer": {"tensors", "polytopes", "bundle", "batched"},
}


def test_rooms_import_only_from_lower_ones() -> None:
    assert {folder.parent.name for folder in HOME.glob("*/__init__.py")} == set(BELOW)
    for name, below in BELOW.items():
        for file in (HOME / name).glob("*.py"):
            used = set(re.findall(r"jensen\.minimize\.([a-z]+)\.", file.read_text())) - {name}
            assert used <= below, file


@pytest.mark.parametrize("name", sorted(BELOW))
def test_rooms_hide_no_public_name(name: str) -> None:
    import_module(f"jensen.minimize.{name}")
    assert name not in room.__all__
    assert all(callable(getattr(room, public)) for public in room.__all__)


def test_results_and_layers_are_pickled() -> None:
    found = room.argmin(jensen.from_arrays([[[1.0], [-1.0]], [[1.0, 2.0]]], [[-1.0, 1.0], [0.0]]))
    again = pickle.loads(pickle.dumps(found))
    assert again.value == found.value
    assert np.array_equal(again.point, found.point)
    layer = room.ArgminLayer(jensen.nn.PICNN(3, 2, (4,)).double())
    x = torch.randn(5, 3, dtype=torch.double)
    assert torch.equal(pickle.loads(pickle.dumps(layer))(x), layer(x))
