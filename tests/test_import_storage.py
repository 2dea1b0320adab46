"""Storage of networks, and the doors `load_model` and `as_network`."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import sparse

from jensen.errors import ModelFileError, NetworkError
from jensen.network import (
    Layer,
    Lowered,
    ReLUNetwork,
    as_network,
    from_arrays,
    load_model,
    load_network,
    save_network,
)


def example() -> ReLUNetwork:
    rng = np.random.default_rng(0)
    dense = Layer({0: rng.standard_normal((3, 6))}, rng.standard_normal(3), [0.0, -1.0, 0.01])
    pattern = sparse.random_array((40, 6), density=0.1, rng=rng, format="csr")
    thin = Layer({0: pattern, 1: rng.standard_normal((40, 3))}, rng.standard_normal(40))
    return ReLUNetwork(6, [dense, thin], {0: np.ones(6), 2: rng.standard_normal(40)}, 1 / 3, (2, 3))


def assert_same(a: ReLUNetwork, b: ReLUNetwork) -> None:
    assert (a.input_size, a.input_shape, a.depth, a.output_bias) == (
        b.input_size,
        b.input_shape,
        b.depth,
        b.output_bias,
    )
    weights = [(x.weights, y.weights) for x, y in zip(a.layers, b.layers, strict=True)]
    for left, right in [*weights, (a.output_weights, b.output_weights)]:
        assert left.keys() == right.keys()
        for k, w in left.items():
            assert sparse.issparse(w) == sparse.issparse(right[k])
            difference = w - right[k]
            assert difference.shape == w.shape
            assert not np.any(difference.data if sparse.issparse(difference) else difference)
    for x, y in zip(a.layers, b.layers, strict=True):
        assert np.array_equal(x.bias, y.bias)
        assert np.array_equal(x.negative_slope, y.negative_slope)


def test_round_trip_is_exact(tmp_path: Path) -> None:
    path = tmp_path / "net.npz"
    save_network(example(), path)
    assert_same(load_network(path), example())
    assert_same(load_model(path).network, example())
    path.rename(tmp_path / "net.stored")
    assert_same(load_model(tmp_path / "net.stored").network, example())
    save_network(from_arrays([[[1.0]]]), path)
    assert load_network(path).depth == 0
    assert sorted(os.listdir(tmp_path)) == ["net.npz", "net.stored"]


@settings(max_examples=30, deadline=None)
@given(hnp.arrays(np.float64, (2, 3), elements=st.floats(allow_nan=False, allow_infinity=False)))
def test_every_float_survives(tmp_path_factory: pytest.TempPathFactory, weight: np.ndarray) -> None:
    path = tmp_path_factory.mktemp("net") / "net.npz"
    network = from_arrays([weight, [[1.0, -1.0]]])
    save_network(network, path)
    assert_same(load_network(path), network)


def test_writing_is_atomic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "net.npz"
    save_network(example(), path)
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ModelFileError, match="no space left"):
        save_network(from_arrays([[[1.0]]]), path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["net.npz"]
    with pytest.raises(ModelFileError, match="cannot write"):
        save_network(example(), tmp_path / "missing" / "net.npz")


def test_torn_and_foreign_files(tmp_path: Path) -> None:
    path = tmp_path / "net.npz"
    save_network(example(), path)
    content = path.read_bytes()
    for cut in (0, 10, len(content) // 2, len(content) - 10):
        path.write_bytes(content[:cut])
        with pytest.raises(ModelFileError):
            load_network(path)
    for place in range(0, len(content), 61):  # damaged bytes: refused, or read if they do not matter
        path.write_bytes(content[:place] + bytes([content[place] ^ 0x55]) + content[place + 1 :])
        with contextlib.suppress(ModelFileError):
            load_network(path)
    np.savez(path, a=np.ones(3))
    with pytest.raises(ModelFileError, match="not a network"):
        load_network(path)
    with pytest.raises(ModelFileError):
        load_network(tmp_path / "missing.npz")


def edited(path: Path, name: str, content: bytes) -> None:
    with zipfile.ZipFile(path) as archive:
        members = {n: archive.read(n) for n in archive.namelist()}
    members[name] = content
    with zipfile.ZipFile(path, "w") as archive:
        for n, c in members.items():
            archive.writestr(n, c)


def npy(array: np.ndarray, tmp_path: Path) -> bytes:
    np.save(tmp_path / "array.npy", array, allow_pickle=True)
    return (tmp_path / "array.npy").read_bytes()


def test_hostile_files(tmp_path: Path) -> None:
    path = tmp_path / "net.npz"
    save_network(example(), path)
    bias = npy(np.zeros(3), tmp_path)
    hostile = {
        "claims terabytes": (
            "layer1.bias.npy",
            bias.replace(b"(3,)", b"(9999999999999,)")[:128] + bias[128:],
        ),
        "pickled objects": ("layer1.bias.npy", npy(np.array([{}, {}, {}], dtype=object), tmp_path)),
        "indices outside": ("layer2.0.indices.npy", npy(np.full(24, 99, dtype=np.int32), tmp_path)),
        "not finite": ("layer1.bias.npy", npy(np.full(3, np.nan), tmp_path)),
        "too short": ("layer1.bias.npy", npy(np.zeros(2), tmp_path)),
    }
    original = path.read_bytes()
    for name, content in hostile.values():
        path.write_bytes(original)
        edited(path, name, content)
        with pytest.raises(ModelFileError):
            load_network(path)
    header = {"format": "jensen.network", "version": 99}
    path.write_bytes(original)
    edited(path, "header.npy", npy(np.frombuffer(json.dumps(header).encode(), dtype=np.uint8), tmp_path))
    with pytest.raises(ModelFileError, match="version 99"):
        load_network(path)


def test_as_network_takes_networks_and_arrays(tmp_path: Path) -> None:
    network = example()
    lowered = as_network(network)
    assert lowered.network is network
    assert lowered.exact
    assert lowered.deviation == 0.0
    assert as_network(lowered) is lowered
    assert isinstance(as_network([np.ones((2, 3)), np.ones((1, 2))]), Lowered)
    save_network(network, tmp_path / "net.npz")
    assert_same(as_network(str(tmp_path / "net.npz")).network, network)
    with pytest.raises(NetworkError, match="no model"):
        as_network(3.0)
    with pytest.raises(NetworkError, match="out of range"):
        as_network(network, output=1)


def test_networks_load_without_torch(tmp_path: Path) -> None:
    save_network(example(), tmp_path / "net.npz")
    script = (
        "import sys; from jensen.network import load_model; load_model(sys.argv[1]); "
        "assert 'torch' not in sys.modules and 'onnx' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "net.npz")], check=True)
