"""`ReLUNetwork`: the one representation of a piecewise-linear network that all of jensen reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from jensen.errors import NetworkError
from jensen.network._digest import digest
from jensen.network._exact import ExactNetwork
from jensen.network._numbers import as_floats, as_whole

FloatArray: TypeAlias = NDArray[np.float64]
Matrix: TypeAlias = FloatArray | sparse.csr_array
"""A weight matrix: dense, or compressed sparse rows (convolutions)."""


def _frozen(array: FloatArray) -> FloatArray:
    array.flags.writeable = False
    return array


def _as_vector(value: ArrayLike, size: int, what: str) -> FloatArray:
    given = as_floats(value, what)
    if given.shape not in ((), (1,), (size,)):
        raise NetworkError(f"{what} has shape {given.shape} for {size} neurons")
    vector = np.array(np.broadcast_to(given, (size,)))
    if not np.isfinite(vector).all():
        raise NetworkError(f"{what} holds NaN or infinity")
    return _frozen(vector)


def _as_matrix(value: Any, what: str) -> Matrix:
    matrix: Any
    if bool(sparse.issparse(value)):
        if value.dtype.kind not in "biuf" or value.ndim != 2:
            raise NetworkError(f"{what} must be a matrix of real numbers, got {value!r}")
        matrix = sparse.csr_array(value, dtype=np.float64, copy=True)
        try:
            matrix.check_format(full_check=True)
        except ValueError as error:
            raise NetworkError(f"{what} is a sparse matrix whose indices are broken: {error}") from error
        matrix.sum_duplicates()
        data = matrix.data
    else:
        matrix = as_floats(value, what)
        if matrix.ndim != 2:
            raise NetworkError(f"{what} must be a matrix, got an array of shape {matrix.shape}")
        if matrix.flags.writeable:
            matrix = _frozen(matrix.copy())
        data = matrix
    if not np.isfinite(data).all():
        raise NetworkError(f"{what} holds NaN or infinity")
    checked: Matrix = matrix
    return checked


def _by_source(weights: Mapping[int, Any], what: str) -> list[tuple[int, Any]]:
    """Weights with their sources, in order."""
    if not isinstance(weights, Mapping):
        raise NetworkError(
            f"{what} must be a mapping from sources to matrices, such as {{0: W}}, "
            f"not a {type(weights).__name__}"
        )
    pairs = [(as_whole(k, "a source"), w) for k, w in weights.items()]
    return sorted(pairs, key=lambda pair: pair[0])


@dataclass(frozen=True, eq=False)
class Layer:
    """A hidden layer: z = sum_k weights[k] @ h_k + bias, h = z where z > 0, negative_slope * z elsewhere.

    Parameters
    ----------
    weights : mapping of int to (n, n_k) array or sparse array
        Keyed by the source: 0 is the input x, k >= 1 is the output of hidden layer k.
        Sources that are left out have weight zero.
    bias : (n,) array
    negative_slope : (n,) array or float, default 0
        Slope left of the kink: 0 is ReLU, 0.01 a leaky ReLU, -1 the absolute value. Keeping the slope
        with the neuron lowers these activations exactly, with one neuron and no rounding.
    """

    weights: Mapping[int, Matrix]
    bias: FloatArray
    negative_slope: FloatArray

    def __init__(self, weights: Mapping[int, Any], bias: ArrayLike, negative_slope: ArrayLike = 0.0) -> None:
        bias = as_floats(bias, "a bias")
        if bias.ndim != 1:
            raise NetworkError(f"a layer's bias must be a vector, got an array of shape {bias.shape}")
        checked = {
            k: _as_matrix(w, f"the weight from source {k}")
            for k, w in _by_source(weights, "a layer's weights")
        }
        for k, w in checked.items():
            if w.shape[0] != bias.size:
                raise NetworkError(f"the weight from source {k} has {w.shape[0]} rows, the bias {bias.size}")
        object.__setattr__(self, "weights", MappingProxyType(checked))
        object.__setattr__(self, "bias", _as_vector(bias, bias.size, "a bias"))
        object.__setattr__(self, "negative_slope", _as_vector(negative_slope, bias.size, "a negative slope"))

    @property
    def size(self) -> int:
        """Number of neurons."""
        return int(self.bias.size)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (dict(self.weights), self.bias, self.negative_slope)


class ReLUNetwork:
    """An immutable scalar piecewise-linear network: any DAG of affine maps and ReLUs.

    ``z_l = sum_{k<l} W_{l,k} h_k + b_l``, ``h_0 = x``, ``h_l = relu(z_l)`` for l = 1..L, and the output
    ``f(x) = c + sum_k C_k h_k``. Weights are float64 and *are* the network: every float is a dyadic
    rational, so that exact statements about it make sense.

    Parameters
    ----------
    input_size : int
        d, the number of inputs.
    layers : iterable of Layer
        Hidden layers in topological order; layer l (counted from 1) may read the sources 0..l-1.
    output_weights : mapping of int to (1, n_k) or (n_k,) array
        Weights of the output, keyed by source as in `Layer`.
    output_bias : float
    input_shape : tuple of int, optional
        Shape of one input of the model this was lowered from; ``(d,)`` by default. For display only.

    Raises
    ------
    NetworkError
        If shapes do not fit, or a weight is NaN or infinite.

    Examples
    --------
    >>> net = ReLUNetwork(1, [Layer({0: [[1.0], [-1.0]]}, [0.0, 0.0])], {1: [1.0, 1.0]})
    >>> net([[-2.0], [3.0]])
    array([2., 3.])
    """

    def __init__(
        self,
        input_size: int,
        layers: Iterable[Layer],
        output_weights: Mapping[int, Any],
        output_bias: float = 0.0,
        input_shape: tuple[int, ...] | None = None,
    ) -> None:
        self.input_size = as_whole(input_size, "input_size")
        if input_size < 1:
            raise NetworkError(f"a network needs at least one input, got input_size={input_size}")
        self.layers = tuple(layers)
        stray = next((layer for layer in self.layers if not isinstance(layer, Layer)), None)
        if stray is not None:
            raise NetworkError(f"hidden layers are given as Layer objects, got a {type(stray).__name__}")
        self.input_shape = (self.input_size,) if input_shape is None else tuple(input_shape)
        sizes = [self.input_size, *(layer.size for layer in self.layers)]
        for position, layer in enumerate(self.layers, start=1):
            self._check_sources(layer.weights, sizes[:position], f"hidden layer {position}")
        outputs: dict[int, Matrix] = {}
        for k, w in _by_source(output_weights, "the output's weights"):
            what = f"the output's weight from source {k}"
            outputs[k] = _as_matrix(w if sparse.issparse(w) else np.atleast_2d(as_floats(w, what)), what)
            if outputs[k].shape[0] != 1:
                raise NetworkError("the output must be a single number; choose one component of the model")
        self._check_sources(outputs, sizes, "the output")
        self.output_weights: Mapping[int, Matrix] = MappingProxyType(outputs)
        shift = as_floats(output_bias, "the output's bias")
        if shift.size != 1 or not np.isfinite(shift).all():
            raise NetworkError(
                f"the output's bias is no single number, or NaN or infinite: {output_bias!r:.80}"
            )
        self.output_bias = float(shift.ravel()[0])

    @staticmethod
    def _check_sources(weights: Mapping[int, Matrix], sizes: list[int], where: str) -> None:
        for k, w in weights.items():
            if not 0 <= k < len(sizes):
                raise NetworkError(f"{where} reads source {k}, but only 0..{len(sizes) - 1} come before it")
            if w.shape[1] != sizes[k]:
                raise NetworkError(
                    f"{where} reads source {k} with {w.shape[1]} columns, but that source has size {sizes[k]}"
                )

    def __reduce__(self) -> tuple[Any, ...]:
        state = (self.input_size, self.layers, dict(self.output_weights), self.output_bias, self.input_shape)
        return type(self), state

    def __repr__(self) -> str:
        widths = "-".join(str(w) for w in self.widths) or "affine"
        return f"ReLUNetwork(inputs={self.input_size}, hidden={widths}, weights={self.n_weights})"

    @property
    def depth(self) -> int:
        """Number of hidden layers."""
        return len(self.layers)

    @property
    def widths(self) -> tuple[int, ...]:
        """Numbers of neurons of the hidden layers."""
        return tuple(layer.size for layer in self.layers)

    @property
    def n_neurons(self) -> int:
        """Number of hidden neurons."""
        return sum(self.widths)

    @property
    def n_weights(self) -> int:
        """Number of stored weights and biases."""
        count = sum(w.size for w in self.output_weights.values()) + 1
        return int(count + sum(sum(w.size for w in lay.weights.values()) + lay.size for lay in self.layers))

    @cached_property
    def exact(self) -> ExactNetwork:
        """The same network in exact rational arithmetic."""
        return ExactNetwork(self)

    @cached_property
    def digest(self) -> str:
        """Fingerprint of the exact weights and structure, "sha256:..."; it names the network in certificates.

        How matrices are stored (dense or sparse) and `input_shape` do not enter.
        """
        return digest(self)

    @cached_property
    def readers(self) -> tuple[tuple[int, ...], ...]:
        """For each source k = 0..L, the hidden layers that read it (L + 1 stands for the output)."""
        result: list[tuple[int, ...]] = []
        for k in range(self.depth + 1):
            reading = [position for position, layer in enumerate(self.layers, 1) if k in layer.weights]
            result.append((*reading, self.depth + 1) if k in self.output_weights else tuple(reading))
        return tuple(result)

    def weight(self, target: int, source: int) -> Matrix:
        """Weight matrix from a source into layer `target` (L + 1 is the output)."""
        if target == self.depth + 1:
            return self.output_weights[source]
        return self.layers[target - 1].weights[source]

    def _inputs(self, x: ArrayLike) -> FloatArray:
        points = np.asarray(x, dtype=np.float64)
        if points.ndim == 1 and points.size == self.input_size:
            points = points[None, :]
        if points.ndim != 2 or points.shape[1] != self.input_size:
            raise NetworkError(f"inputs must have shape (batch, {self.input_size}), got {points.shape}")
        return points

    def preactivations(self, x: ArrayLike) -> list[FloatArray]:
        """Pre-activations z_l of every hidden layer.

        Parameters
        ----------
        x : (batch, d) array

        Returns
        -------
        list of (batch, n_l) arrays
        """
        return self.forward(self._inputs(x))[0]

    def forward(self, points: FloatArray) -> tuple[list[FloatArray], FloatArray]:
        """Return pre-activations (as `preactivations`) and outputs in one pass over (batch, d) points."""
        values: list[FloatArray] = [points]
        preactivations: list[FloatArray] = []
        for layer in self.layers:
            z = np.broadcast_to(layer.bias, (len(points), layer.size)).copy()
            for k, w in layer.weights.items():
                z += times_transpose(values[k], w)
            preactivations.append(z)
            values.append(np.where(z > 0, z, layer.negative_slope * z))
        out = np.full(len(points), self.output_bias)
        for k, w in self.output_weights.items():
            out += times_transpose(values[k], w)[:, 0]
        return preactivations, out

    def __call__(self, x: ArrayLike) -> FloatArray:
        """Evaluate the network in float64.

        Parameters
        ----------
        x : (batch, d) array

        Returns
        -------
        (batch,) array
        """
        return self.forward(self._inputs(x))[1]

    def slopes(self, preactivations: list[FloatArray]) -> list[FloatArray]:
        """Slopes of every activation at given pre-activations; a neuron at zero counts as inactive."""
        return [
            np.where(z > 0, 1.0, layer.negative_slope)
            for z, layer in zip(preactivations, self.layers, strict=True)
        ]

    def adjoint(self, x: ArrayLike) -> list[FloatArray]:
        """Compute the derivatives g_v = df/dh_v of the output by every hidden neuron's activation.

        One backward pass with the activation pattern at x (a neuron at zero counts as inactive). These
        are the numbers <a, Phi^{v->}> of the path-lifting formulation, with no path enumerated.

        Parameters
        ----------
        x : (batch, d) array

        Returns
        -------
        list of (batch, n_l) arrays
        """
        return self.backward(self.slopes(self.preactivations(x)))[1:]

    def gradient(self, x: ArrayLike) -> FloatArray:
        """Gradient of the output by the inputs, as (batch, d); a neuron at zero counts as inactive."""
        return self.backward(self.slopes(self.preactivations(x)))[0]

    def backward(self, slopes: list[FloatArray]) -> list[FloatArray]:
        """Compute the derivatives of the output by every source, for given activation slopes.

        Parameters
        ----------
        slopes : list of (batch, n_l) arrays
            Slope of every neuron's activation: 1 where active, its negative slope elsewhere.

        Returns
        -------
        list of (batch, n_k) arrays
            For k = 0 (the gradient by the input) to L (the adjoints of hidden layer k).

        Notes
        -----
        With no hidden layer the gradient is one row, since no batch size can be read off the slopes.
        """
        batch = slopes[0].shape[0] if slopes else 1
        sizes = [self.input_size, *self.widths]
        grads: list[FloatArray] = [np.zeros((batch, n)) for n in sizes]
        for k, w in self.output_weights.items():
            grads[k] += w.toarray() if sparse.issparse(w) else w
        for position in range(self.depth, 0, -1):
            layer = self.layers[position - 1]
            dz = grads[position] * slopes[position - 1]
            for k, w in layer.weights.items():
                grads[k] += times(dz, w)
        return grads


def times_transpose(rows: FloatArray, w: Matrix) -> FloatArray:
    """Compute rows @ w.T as a dense array."""
    return np.asarray((w @ rows.T).T) if sparse.issparse(w) else rows @ w.T


def times(rows: FloatArray, w: Matrix) -> FloatArray:
    """Compute rows @ w as a dense array."""
    return np.asarray((w.T @ rows.T).T) if sparse.issparse(w) else rows @ w
