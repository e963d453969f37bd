"""Training with our layers is training with PyTorch's spectral_norm, where it takes our matrix.

PyTorch keeps its vector on the columns of its matrix, and moves it as we do: for the matrix of a
kernel, `(m, n)`, as its weight, its `_v` is our `u`. Its own modules hold the transpose of that
matrix, so there the vector is on the other side: the same once it has converged. That is so of
`nn.Linear`, convolutions without groups, `nn.RNN`, `nn.LSTM` and `nn.GRU` (whose gates come in
another order, which changes no norm), and `nn.MultiheadAttention` where keys or values are of
another width than queries. `nn.Embedding` holds our matrix itself.

Of these kinds PyTorch takes another matrix, so that there is nothing to compare: a convolution in
groups, and so a depthwise one and that part of a separable one, is to it one matrix
`(out, in / groups * k)`, not a block for each group; a transposed convolution is `(out, in * k)`
unless it is told `dim=0`; and `nn.MultiheadAttention` with all widths equal has queries, keys and
values in one matrix. An EinsumDense with blocks, a ConvLSTM and grouped queries it does not have.
It has no mode but `hard`, with the bound 1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import torch
from spectral_cases import Example, at, inputs_for, make, paths_of, stack_of, state_of
from spectral_cases import run as run_on_itself
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import spectral_norm

from snconvert import layers

STEPS, RATE = 20, 0.05
MATRICES = (
    ("Dense", {"units": 6}, (None, 5)),
    ("EinsumDense", {"equation": "abc,cd->abd", "output_shape": (None, 4)}, (None, 3, 6)),
    ("Conv1D", {"filters": 4, "kernel_size": 3}, (None, 9, 2)),
    ("Conv2D", {"filters": 4, "kernel_size": (3, 2)}, (None, 7, 6, 2)),
    ("Conv3D", {"filters": 2, "kernel_size": 2}, (None, 4, 4, 4, 3)),
    ("Conv1DTranspose", {"filters": 4, "kernel_size": 3}, (None, 5, 2)),
    ("Conv2DTranspose", {"filters": 4, "kernel_size": (3, 2)}, (None, 5, 5, 3)),
    ("Conv3DTranspose", {"filters": 2, "kernel_size": 2}, (None, 3, 3, 3, 4)),
    ("Embedding", {"input_dim": 9, "output_dim": 4}, (None, 5)),
    ("SimpleRNN", {"units": 4}, (None, 4, 3)),
    ("LSTM", {"units": 3}, (None, 4, 5)),
    ("GRU", {"units": 3}, (None, 4, 5)),
    ("MultiHeadAttention", {"num_heads": 2, "key_dim": 3}, (None, 5, 6)),
)
GRU_ORDER = (1, 0, 2)
"""Where PyTorch has the gates of Keras' GRU."""


def applied(example: Example, x: torch.Tensor, kernels: dict[str, torch.Tensor]) -> torch.Tensor:
    """Applies kernels in Keras' order of axes, with PyTorch's operations."""
    kind, config, _ = example
    if kind in {"SimpleRNN", "LSTM", "GRU"}:
        return recurrent(kind, x, kernels["cell/kernel"], kernels["cell/recurrent_kernel"])
    if kind == "MultiHeadAttention":
        query, key, value = (
            torch.einsum("abc,cde->adbe", x, kernels[f"{part}_dense/kernel"])
            for part in ("query", "key", "value")
        )
        heads = functional.scaled_dot_product_attention(query, key, value)
        return torch.einsum("adbe,dec->abc", heads, kernels["output_dense/kernel"])
    (kernel,) = kernels.values()
    if kind == "Embedding":
        return functional.embedding(x, kernel)
    if kind in {"Dense", "EinsumDense"}:
        return torch.einsum(config.get("equation", "ab,bc->ac"), x, kernel)
    rank = x.dim() - 2
    # Both last axes go in front: `(out, in, *k)`, and `(in, out, *k)` of a transposed one.
    weight = kernel.movedim((-1, -2), (0, 1))
    name = f"conv_transpose{rank}d" if "Transpose" in kind else f"conv{rank}d"
    return getattr(functional, name)(x.movedim(-1, 1), weight).movedim(1, -1)


def recurrent(
    kind: str, x: torch.Tensor, kernel: torch.Tensor, along: torch.Tensor
) -> torch.Tensor:
    """Does all time steps from a state of zeros, and returns the last output."""
    weights = [matrix.T for matrix in (kernel, along)]
    if kind == "GRU":
        weights = [torch.cat([matrix.chunk(3)[gate] for gate in GRU_ORDER]) for matrix in weights]
    h = c = x.new_zeros(len(x), len(along))
    for inputs in x.unbind(1):
        if kind == "LSTM":
            h, c = torch.lstm_cell(inputs, (h, c), *weights)
        else:
            cell = torch.gru_cell if kind == "GRU" else torch.rnn_tanh_cell
            h = cell(inputs, h, *weights)
    return h


class Matrices(nn.Module):
    """A layer whose weights are the matrices `(m, n)` of its kernels."""

    def __init__(self, example: Example, layer: Any) -> None:
        super().__init__()
        self.example = example
        self.shapes = {path: kernel.shape for path, kernel in kernels_of(layer).items()}
        for path, matrix in matrices_of(layer).items():
            setattr(self, named(path), nn.Parameter(torch.from_numpy(matrix)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # Each is read once, as reading moves its vectors.
        kernels = {p: getattr(self, named(p)).reshape(shape) for p, shape in self.shapes.items()}
        return applied(self.example, x, kernels)


def named(path: str) -> str:
    """The name of a PyTorch parameter."""
    return path.replace("/", "_")


def run(layer: Any, *inputs: Any) -> Any:
    """Calls a layer, attention on itself if there is one input."""
    return run_on_itself(layer, *inputs) if len(inputs) == 1 else layer(*inputs)


def kernels_of(layer: Any) -> dict[str, np.ndarray]:
    return {path: np.array(at(layer, path)) for path in paths_of(layer)}


def matrices_of(layer: Any) -> dict[str, np.ndarray]:
    kernels = kernels_of(layer)
    return {p: stack_of(layer, kernel, p)[0].astype("float32") for p, kernel in kernels.items()}


def trained(layer: Any, inputs: list[np.ndarray], y: np.ndarray) -> None:
    """Trains a spectral layer for that many steps of plain gradient descent."""
    symbols = [keras.Input(x.shape[1:], dtype=str(x.dtype)) for x in inputs]
    model = keras.Model(symbols, run(layer, *symbols))
    model.compile(keras.optimizers.SGD(RATE), "mse")
    for _ in range(STEPS):
        model.train_on_batch(inputs, y)


def trained_by_torch(
    module: nn.Module, forward: Callable[..., Any], inputs: list[np.ndarray], y: np.ndarray
) -> list[float]:
    """Trains a module in the same way, and returns its losses."""
    module.train()
    losses = []
    for _ in range(STEPS):
        with parametrize.cached():  # one round a step, however often a module reads a weight
            loss = functional.mse_loss(forward(*map(torch.from_numpy, inputs)), torch.from_numpy(y))
        module.zero_grad()
        loss.backward()
        with torch.no_grad():  # torch.optim takes seconds to import
            for parameter in module.parameters():
                parameter.sub_(RATE * parameter.grad)
        losses.append(float(loss.detach()))
    return losses


def spread(layer: Any) -> dict[str, np.ndarray]:
    """Gives a layer vectors far from converged, and returns them."""
    rng, found = np.random.default_rng(5), {}
    for path in paths_of(layer):
        u = state_of(layer, path, "u")
        value = rng.normal(size=u.shape).astype("float32")
        u.assign(value / np.linalg.norm(value))
        found[path] = np.array(u)
    return found


@pytest.mark.turns
@pytest.mark.parametrize("rounds", [1, 3])
@pytest.mark.parametrize("example", MATRICES, ids=[example[0] for example in MATRICES])
def test_the_same_training(example: Example, rounds: int) -> None:
    """From the same kernels and the same `u`, far from converged, 20 steps give the same kernels
    and the same `u`, to 2e-5, while each kernel moves by a hundred times that."""
    bias = {} if example[0] in {"Embedding", "EinsumDense"} else {"use_bias": False}
    example = example[0], {**example[1], **bias}, example[2]
    layer, x = make(example, power_iterations=rounds), inputs_for(example, batch=8)
    before, us = matrices_of(layer), spread(layer)
    module = Matrices(example, layer)
    norms = {}
    for path, u in us.items():
        spectral_norm(module, named(path), n_power_iterations=rounds)
        (norms[path],) = module.parametrizations[named(path)]
        norms[path]._v.copy_(torch.from_numpy(u[0]))
    y = np.random.default_rng(7).normal(size=run(layer, x).shape).astype("float32")
    trained(layer, [x], y)
    losses = trained_by_torch(module, module, [x], y)
    assert losses[-1] < losses[0]
    for path, ours in matrices_of(layer).items():
        theirs = module.parametrizations[named(path)].original.detach().numpy()
        np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=2e-5)
        u = np.array(state_of(layer, path, "u"))[0]
        np.testing.assert_allclose(u, norms[path]._v.numpy(), atol=2e-5)
        assert np.abs(ours - before[path]).max() > 2e-3, path


def _turned(*axes: int) -> Callable[[np.ndarray], np.ndarray]:
    return lambda kernel: kernel.transpose(axes)


def _gates(kernel: np.ndarray) -> np.ndarray:
    """The weight of a GRU."""
    blocks = np.split(kernel.T, 3)
    return np.concatenate([blocks[gate] for gate in GRU_ORDER])


def _recurrent(turned: Callable[[np.ndarray], np.ndarray]) -> dict[str, Any]:
    names = {"cell/kernel": "weight_ih_l0", "cell/recurrent_kernel": "weight_hh_l0"}
    return {path: (name, turned, 0) for path, name in names.items()}


BARE = {"bias": False}
LAST = {"batch_first": True, **BARE}
MODULES: dict[str, tuple[Example, Callable[[], nn.Module], dict[str, Any]]] = {
    "Linear": (
        ("Dense", {"units": 6}, (None, 5)),
        lambda: nn.Linear(5, 6, **BARE),
        {"kernel": ("weight", _turned(1, 0), 0)},
    ),
    "Conv2d": (
        ("Conv2D", {"filters": 4, "kernel_size": 3}, (None, 6, 6, 2)),
        lambda: nn.Conv2d(2, 4, 3, **BARE),
        {"kernel": ("weight", _turned(3, 2, 0, 1), 0)},
    ),
    # By default PyTorch takes `(out, in * k)` here, which is not the matrix of the adjoint.
    "ConvTranspose2d": (
        ("Conv2DTranspose", {"filters": 4, "kernel_size": 3}, (None, 6, 6, 2)),
        lambda: nn.ConvTranspose2d(2, 4, 3, **BARE),
        {"kernel": ("weight", _turned(3, 2, 0, 1), 0)},
    ),
    "Embedding": (
        ("Embedding", {"input_dim": 9, "output_dim": 4}, (None, 5)),
        lambda: nn.Embedding(9, 4),
        {"embeddings": ("weight", _turned(0, 1), 0)},
    ),
    "RNN": (
        ("SimpleRNN", {"units": 4}, (None, 4, 3)),
        lambda: nn.RNN(3, 4, **LAST),
        _recurrent(_turned(1, 0)),
    ),
    "LSTM": (
        ("LSTM", {"units": 3}, (None, 4, 5)),
        lambda: nn.LSTM(5, 3, **LAST),
        _recurrent(_turned(1, 0)),
    ),
    "GRU": (
        ("GRU", {"units": 3}, (None, 4, 5)),
        lambda: nn.GRU(5, 3, **LAST),
        _recurrent(_gates),
    ),
}
"""Layer, module, and for each kernel the name of its weight, how it is laid out, and `dim`."""


def compare(layer: Any, module: nn.Module, weights: dict[str, Any], inputs: list[Any]) -> None:
    """Makes sure that 20 steps give layer and module the same kernels, to 1e-4.

    Args:
        layer: Converged, and with 8 rounds of power iteration.
        module: Of PyTorch's own.
        weights: As above; a name may lead to a module inside.
        inputs: What both are called with.
    """
    before, norms = kernels_of(layer), {}
    for path, (name, laid, dim) in weights.items():
        group, _, last = name.rpartition(".")
        owner = module.get_submodule(group)
        with torch.no_grad():
            getattr(owner, last).copy_(torch.from_numpy(laid(before[path]).copy()))
        spectral_norm(owner, last, n_power_iterations=8, dim=dim)
        norms[path] = owner.parametrizations[last]

    def forward(*inputs: torch.Tensor) -> Any:
        if isinstance(module, nn.modules.conv._ConvNd):
            return module(inputs[0].movedim(-1, 1)).movedim(1, -1)
        if isinstance(module, nn.RNNBase):
            return module(*inputs)[0][:, -1]
        if isinstance(module, nn.MultiheadAttention):
            return module(inputs[0], inputs[1], inputs[1], need_weights=False)[0]
        return module(*inputs)

    shape = run(layer, *inputs).shape
    y = np.random.default_rng(7).normal(size=shape).astype("float32")
    trained(layer, inputs, y)
    trained_by_torch(module, forward, inputs, y)
    for path, kernel in kernels_of(layer).items():
        _, laid, _ = weights[path]
        theirs = norms[path].original.detach().numpy()
        np.testing.assert_allclose(laid(kernel), theirs, rtol=1e-4, atol=1e-4)
        assert np.abs(kernel - before[path]).max() > 2e-3, path


@pytest.mark.parametrize("name", MODULES)
def test_the_modules_of_pytorch(name: str) -> None:
    """With PyTorch's own modules, converged and with enough rounds, 20 steps give the same kernels
    to 1e-4."""
    (kind, config, shape), build, weights = MODULES[name]
    bias = {} if kind == "Embedding" else {"use_bias": False}
    layer = make((kind, {**config, **bias}, shape), power_iterations=8)
    compare(layer, build(), weights, [inputs_for((kind, config, shape), batch=8)])


def test_the_attention_of_pytorch() -> None:
    """So it is of attention to what is of another width."""
    layer = layers.SpectralMultiHeadAttention(2, 3, use_bias=False, power_iterations=8)
    layer.build((None, 5, 6), (None, 3, 4))
    rng = np.random.default_rng(0)
    for path in paths_of(layer):
        at(layer, path).assign(rng.normal(size=at(layer, path).shape) * 0.5)
    layer.converge()
    module = nn.MultiheadAttention(6, 2, kdim=4, vdim=4, **LAST)
    names = {part: f"{part[0]}_proj_weight" for part in ("query", "key", "value")}
    names["output"] = "out_proj.weight"
    weights = {
        f"{part}_dense/kernel": (name, lambda kernel: kernel.reshape(-1, 6).T, 0)
        for part, name in names.items()
    }
    inputs = [rng.normal(size=(8, *shape)).astype("float32") for shape in ((5, 6), (3, 4))]
    compare(layer, module, weights, inputs)
