"""Arguments that nobody should pass: networks, domains, modules and options of `check` that are none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from fuzzing._onnx_models import templates
from scipy import sparse
from torch import nn

import jensen
from jensen.errors import ArgumentError, DomainError, JensenError, NetworkError
from jensen.network import Box, Layer, Polytope, ReLUNetwork, from_arrays, from_onnx, from_torch

# Domains


@pytest.mark.parametrize("bad", ["x", None, [[1], [1, 2]], 1j, object(), ["a"]])
def test_domains_of_anything_but_numbers_are_refused(bad: Any) -> None:
    with pytest.raises(DomainError):
        Box(bad, 1.0)
    with pytest.raises(DomainError):
        Polytope(bad, [1.0])


def test_a_domain_does_not_change_with_the_arrays_it_was_made_from() -> None:
    lo, A = np.zeros(2), np.ones((1, 2))
    box, polytope = Box(lo, 1.0), Polytope(A, [1.0])
    lo[0], A[0, 0] = 9.0, 9.0
    assert box.bounds(2)[0].tolist() == [0.0, 0.0]
    assert polytope.inequalities(2)[0].tolist() == [[1.0, 1.0]]


# Arrays


ANY: Any = ReLUNetwork
LAYER: Any = Layer
BAD_NETWORKS: dict[str, Callable[[], Any]] = {
    "text": lambda: from_arrays([[["a"]], [[1.0]]]),
    "digits": lambda: from_arrays([np.array([["1"]]), [[1.0]]]),
    "ragged": lambda: from_arrays([[[1.0], [1.0, 2.0]], [[1.0]]]),
    "complex": lambda: from_arrays([np.ones((1, 1), complex), [[1.0]]]),
    "too large": lambda: from_arrays([[[10**400]], [[1.0]]]),
    "bias": lambda: from_arrays([[[1.0]], [[1.0]]], [["x"], [0.0]]),
    "source": lambda: LAYER({"a": [[1.0]]}, [0.0]),
    "list": lambda: LAYER([[1.0]], [0.0]),
    "slope": lambda: Layer({0: [[1.0], [1.0]]}, [0.0, 0.0], [0.0, 0.5, 1.0]),
    "layer": lambda: ANY(1, [[[1.0]]], {}),
    "size": lambda: ANY("2", [], {}),
    "output bias": lambda: ANY(1, [], {}, "x"),
    "sparse complex": lambda: Layer({0: sparse.csr_array(np.ones((1, 1), complex))}, [0.0]),
}


@pytest.mark.parametrize("name", BAD_NETWORKS)
def test_networks_of_anything_but_real_numbers_are_refused(name: str) -> None:
    with pytest.raises(NetworkError):
        BAD_NETWORKS[name]()


def test_a_sparse_matrix_with_broken_indices_is_refused() -> None:
    matrix = sparse.csr_array(np.eye(2))
    matrix.indices[0] = 1 << 20
    with pytest.raises(NetworkError, match="indices are broken"):
        Layer({0: matrix}, [0.0, 0.0])


# Modules


class _Returns(nn.Module):
    def __init__(self, function: Callable[[torch.Tensor], Any]) -> None:
        super().__init__()
        self.first, self.function = nn.Linear(2, 1), function

    def forward(self, x: torch.Tensor) -> Any:
        return self.function(self.first(x))


def _divide(_: torch.Tensor) -> Any:
    return 1 // 0


@pytest.mark.filterwarnings("ignore:Complex modules")
@pytest.mark.parametrize(
    ("module", "message"),
    [
        (nn.Linear(2, 1, device="meta"), "meta device"),
        (nn.Linear(2, 1, dtype=torch.complex64), "complex"),
        (_Returns(lambda t: None), "no tensor as output"),
        (_Returns(lambda t: "x"), "no tensor as output"),
        (_Returns(_divide), "cannot trace"),
    ],
)
def test_modules_that_are_no_networks_are_refused(module: nn.Module, message: str) -> None:
    with pytest.raises(NetworkError, match=message):
        from_torch(module, (2,))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_every_width_keep_their_values(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)).to(dtype).train()
    lowered = from_torch(module)
    assert lowered.exact
    assert module.training
    first = module[0]
    assert isinstance(first, nn.Linear)
    expected = first.weight.detach().double().numpy()
    assert sorted(np.asarray(lowered.network.layers[0].weights[0]).ravel()) == sorted(expected.ravel())


# Arguments


BAD_VALUES: dict[str, tuple[type[JensenError], tuple[Any, ...]]] = {
    "time_limit": (ArgumentError, ("1", float("nan"), -1, True, [], 1j)),
    "method": (ArgumentError, ("x", None, ["auto"], np.array("auto"))),
    "seed": (ArgumentError, (-1, 0.5, "0", None, [1])),
    "n_jobs": (ArgumentError, (0, 0.5, "1", True)),
    "progress": (ArgumentError, (0, "x", [])),
    "domain": (DomainError, ((0, 1), "x", 0, {"lo": 0, "hi": 1})),
    "wrt": (
        DomainError,
        ("0", [0.5], ["0"], [True], [None], 0, [2], [-1], range(10**12), [10**5000], [], np.array([0.0])),
    ),
    "output": (NetworkError, (1, 0.0, "0", True, 10**5000)),
}


@pytest.mark.parametrize("name", BAD_VALUES)
def test_arguments_that_make_no_sense_are_refused(name: str) -> None:
    kind, values = BAD_VALUES[name]
    for value in values:
        options: dict[str, Any] = {name: value}
        with pytest.raises(kind):
            jensen.check(from_arrays([[[1.0]], [[1.0]]]), **options)


@pytest.mark.parametrize(
    "shape", ["2", 2, (2.5,), (0,), (-1,), (None,), (True,), (10**30,), (2**62, 4), (2**20, 2**20)]
)
def test_input_shapes_that_make_no_sense_are_refused(shape: Any) -> None:
    with pytest.raises(NetworkError):
        from_torch(nn.Linear(2, 1), shape)
    with pytest.raises(NetworkError):
        from_onnx(templates()[0], input_shape=shape)


WRT: Any = np.array([0])


def test_a_time_limit_beyond_all_times_is_none() -> None:
    net = from_arrays([[[1.0]], [[1.0]]])
    assert jensen.check(net, time_limit=10**400, wrt=WRT).kind == "convex"
