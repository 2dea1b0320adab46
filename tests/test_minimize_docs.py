"""The code on the page about minimisation runs, and ONNX files of networks come back as they were."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import jensen
from jensen.minimize import argmin

PAGE = Path(__file__).parents[1] / "docs" / "minimise.md"


def test_all_code_of_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("cvxpy")
    pytest.importorskip("onnxscript")
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) >= 5
    names: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)


@pytest.mark.parametrize("kind", ["ficnn", "picnn at x", "relay"])
def test_onnx_files(kind: str, tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    torch.manual_seed(0)
    net: torch.nn.Module
    if kind == "ficnn":
        net = jensen.nn.FICNN(4, (8, 8))
    elif kind == "relay":
        net = jensen.nn.RelayICNN(4, (8, 8)).skip_mlp()
    else:
        net = jensen.nn.PICNN(3, 4, (8, 8)).at(torch.randn(3))
    path, batch = tmp_path / "net.onnx", torch.export.Dim("batch", min=1)
    torch.onnx.export(
        net.eval(), (torch.zeros(2, 4),), path, dynamo=True, dynamic_shapes=({0: batch},), verbose=False
    )
    y = torch.randn(7, 4)
    session = runtime.InferenceSession(path)
    (values,) = session.run(None, {session.get_inputs()[0].name: y.numpy()})
    truth = net(y).detach().numpy()
    np.testing.assert_allclose(values.ravel(), truth, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(jensen.from_onnx(path).network(y.double().numpy()), truth, atol=1e-4)
    domain = jensen.Box(-1, 1)
    assert argmin(path, domain).value == pytest.approx(argmin(net, domain).value, abs=1e-5)
