"""Zip archives with members changed: .pt2 programs and .npz networks."""

from __future__ import annotations

import io
import json
import struct
import tempfile
import zipfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor, nn
from torch.nn import functional

from fuzzing._judge import ODD_FLOATS, Question, network_case, pick_entry
from fuzzing._mutate import ODD_VALUES, mutate_bytes, mutate_json
from jensen.network import Layer, ReLUNetwork, save_network

Members = dict[str, bytes]


def pack(members: Mapping[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    """Write an archive."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return stream.getvalue()


def unpack(data: bytes) -> Members:
    """Read an archive."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _bomb(rng: Random, members: Members, name: str) -> tuple[bytes, str]:
    """Swell a member, compressed, or claim a size that it does not have."""
    if rng.random() < 0.5:
        return pack(
            {**members, name: bytes(1 << rng.choice([20, 28]))}, zipfile.ZIP_DEFLATED
        ), f"{name} swells"
    data = bytearray(pack(members))
    size = struct.pack("<I", rng.choice([0, 1, 0x7FFFFFFF, 0xFFFFFFFF, 0xFFFFFFFE]))
    start = data.rfind(b"PK\x01\x02")
    for at in (start + 20, start + 24)[rng.randrange(2) :]:
        data[at : at + 4] = size
    return bytes(data), f"size {size.hex()} in the directory"


def _members(rng: Random, members: Members) -> tuple[bytes, str]:
    """Change the archive as such."""
    name = rng.choice(list(members))
    kind = rng.choice(
        ["remove", "bytes", "empty", "rename", "swap", "bomb", "twice", "compress", "zip bytes"]
    )
    if kind == "zip bytes":
        return mutate_bytes(rng, pack(members))
    if kind == "bomb":
        return _bomb(rng, members, name)
    if kind == "compress":
        return pack(members, zipfile.ZIP_DEFLATED), kind
    if kind == "twice":
        stream = io.BytesIO(pack(members))
        with zipfile.ZipFile(stream, "a") as archive:
            archive.writestr(name, members[rng.choice(list(members))])
        return stream.getvalue(), f"{name} twice"
    if kind == "bytes":
        members[name], note = mutate_bytes(rng, members[name])
        return pack(members), f"{name}: {note}"
    if kind == "swap":
        other = rng.choice(list(members))
        members[name], members[other] = members[other], members[name]
    elif kind == "empty":
        members[name] = b""
    else:
        data = members.pop(name)
        if kind == "rename":
            members[rng.choice(["a", "../" + name, name.upper(), name + "/", "/" + name, "a\x00b"])] = data
    return pack(members), f"{kind} {name}"


class _Small(nn.Module):
    """A few operators, buffers and a folded constant."""

    shift: Tensor

    def __init__(self, kind: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(kind)
        self.kind = kind
        self.first, self.out = nn.Linear(2, 4), nn.Linear(4, 1)
        for parameter in self.parameters():
            parameter.data = torch.randint(-2, 3, parameter.shape, generator=generator).float()
        if kind == 0:
            self.out.weight.data.abs_()
        self.register_buffer("shift", torch.arange(4.0), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        h = functional.relu(self.first(x))
        if self.kind == 1:
            a, b = torch.split(h, 2, 1)
            h = torch.cat([a - b, torch.max(a, b)], 1) * self.shift + torch.full((4,), 2.0)
            h = h.view(x.shape[0], -1)[:, [1, 0, 2, 3]].clamp(-1, 3)
        elif self.kind == 2:
            h = functional.avg_pool1d(functional.leaky_relu(h[:, None], 0.25), 1)[:, 0].t().t()
        result: Tensor = self.out(h)
        return result


@cache
def programs() -> tuple[bytes, ...]:
    """Stored programs."""
    stored = []
    for kind, dynamic in ((0, True), (1, False), (2, True)):
        dims = ({0: torch.export.Dim.DYNAMIC},) if dynamic else None
        exported = torch.export.export(_Small(kind).eval(), (torch.zeros(3, 2),), dynamic_shapes=dims)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "p.pt2"
            torch.export.save(exported, file)
            stored.append(file.read_bytes())
    return tuple(stored)


def pt2(rng: Random, folder: Path) -> Question:
    """Change the archive's bytes, its members, the program's JSON, or the tensors' sizes and strides."""
    which = rng.randrange(len(programs()))
    members = unpack(programs()[which])
    kind = rng.choice(["members", "program", "program", "tensors", "tensors", "weights"])
    documents = {n: json.loads(d) for n, d in members.items() if n.endswith(".json")}
    program = next(n for n in documents if "/models/" in n)
    tensors = next(n for n in documents if n.endswith("weights_config.json"))
    if kind == "members":
        data, note = _members(rng, members)
    else:
        name = program if kind == "program" else tensors
        document, note = documents[name], ""
        if kind == "weights":
            weight = rng.choice([n for n in members if "/weights/weight" in n])
            values = np.frombuffer(members[weight], dtype=np.float32).copy()
            values[rng.randrange(values.size)] = np.float32(np.clip(rng.choice(ODD_FLOATS), -3e38, 3e38))
            members[weight] = values.tobytes()
            note = f"{weight} = {values.tolist()}"
        for _ in range(0 if kind == "weights" else rng.choice([1, 1, 2])):
            document, step = mutate_json(rng, document)
            note += step + "; "
        members[name] = json.dumps(document).encode()
        if rng.random() < 0.02:
            members[name] = b"[" * 200_000
            note = f"{name} nests deeply"
        data = pack(members)
    file = folder / "model.pt2"
    file.write_bytes(data)
    return Question(f"program {which}, {kind}: {note}", lambda: file)


def _array(value: Any) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.asarray(value), allow_pickle=True)
    return stream.getvalue()


def _header(rng: Random) -> bytes:
    """An array whose header says something odd."""
    text = rng.choice(
        ["{'descr': '<f8', 'fortran_order': False, 'shape': (1152921504606846976,), }",
         "{'descr': '<f8', 'fortran_order': False, 'shape': (-1,), }",
         "{'descr': '<f8', 'fortran_order': False, 'shape': (0, 99999999999999999999), }",
         "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }",
         "{'descr': '<f8', 'fortran_order': True, 'shape': (2, 1), }",
         "{'descr': [('a', '<f8')], 'fortran_order': False, 'shape': (1,), }",
         "{'descr': '|V0', 'fortran_order': False, 'shape': (1, 1), }",
         "{'descr': '<M8[ns]', 'fortran_order': False, 'shape': (1,), }",
         "{'descr': '<f8', 'shape': (1,), }", "__import__('os')", "(" * 3000, "[]", "{}", "\x00", "{1: 2}",
         "{'descr': '<f8', 'fortran_order': False, 'shape': 1, }",
         "{'descr': '<f8', 'fortran_order': False, 'shape': (True,), }",
         "{'descr': '>f8', 'fortran_order': False, 'shape': (1,), }"]
    )  # fmt: skip
    version = rng.choice([b"\x01\x00", b"\x01\x00", b"\x02\x00", b"\x09\x09"])
    raw = text.encode()
    return b"\x93NUMPY" + version + struct.pack("<H", len(raw)) + raw + bytes(rng.choice([0, 8, 16, 64]))


def npz(rng: Random, folder: Path) -> Question:
    """Change the header, an array, a sparse matrix or the archive of a stored network."""
    network, _ = network_case(rng)
    if rng.random() < 0.4:
        layers = [
            Layer({k: sparse.csr_array(w) for k, w in lay.weights.items()}, lay.bias, lay.negative_slope)
            for lay in network.layers
        ]
        network = ReLUNetwork(network.input_size, layers, network.output_weights, network.output_bias)
    file = folder / "model.npz"
    save_network(network, file)
    members = unpack(file.read_bytes())
    kind = rng.choice(["members", "header", "header", "value", "array", "npy header", "pickle"])
    arrays = [n for n in members if n != "header.npy"]
    name = rng.choice(arrays)
    note = name
    if kind == "members":
        data, note = _members(rng, members)
        file.write_bytes(data)
        return Question(f"{kind}: {note}", lambda: file)
    if kind == "header":
        document = json.loads(np.load(io.BytesIO(members["header.npy"])).tobytes())
        for _ in range(rng.choice([1, 1, 2])):
            document, note = mutate_json(rng, document)
        text = json.dumps(document)
        if rng.random() < 0.1:
            sizes = rng.choice([1 << 24, 1 << 28, 1 << 40, 0, -1])
            document = {"format": "jensen.network", "version": 1, "input_size": sizes, "input_shape": [sizes]}
            text, note = (
                json.dumps({**document, "layers": [], "output": {}}),
                f"{sizes} inputs and no weights",
            )
        if rng.random() < 0.03:
            text, note = (
                rng.choice(['{"a":' * 100_000, "\ufeff{}", text[:-1] + ', "version": 1e400}']),
                "odd JSON",
            )
        members["header.npy"] = _array(np.frombuffer(text.encode("utf-8", "surrogatepass"), dtype=np.uint8))
    elif kind == "value":
        array = np.load(io.BytesIO(members[name])).copy()
        if (entry := pick_entry(rng, array)) is not None:
            odd = rng.choice(ODD_FLOATS) if array.dtype.kind == "f" else rng.choice([-1, 0, 1, 99, 2**31 - 1])
            array[entry] = odd
            note = f"{name}{list(entry)} = {odd}"
        members[name] = _array(array)
    elif kind == "array":
        shape = rng.choice([(), (0,), (1,), (2, 3), (0, 0), (1, 1, 1), (1000,)])
        dtype = rng.choice(["f8", "f4", "f2", "i8", "u1", "c16", "S3", "U2", "?", ">f8", "g"])
        members[name] = _array(np.zeros(shape, dtype=dtype))
        note = f"{name}: zeros of shape {shape}, {dtype}"
    elif kind == "npy header":
        members[name] = _header(rng)
    else:
        members[name] = _array(np.array([rng.choice(ODD_VALUES), object], dtype=object))
    file.write_bytes(pack(members))
    return Question(f"{kind}: {note}", lambda: file)
