"""Training with our layers is training with PyTorch's spectral_norm, where it takes our matrix.

PyTorch keeps its vector on the columns of its matrix, and moves it as we do: for the matrix of a
kernel, `(m, n)`, as its weight, its `_v` is our `u`. Its own modules hold the transpose of that
matrix, so there the vector is on the other side: the same once it has converged.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import torch
from spectral_cases import Example, inputs_for, make, paths_of, stack_of
from torch import nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

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
)


def applied(example: Example, x: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
    """Applies a kernel in Keras' order of axes, with PyTorch's operations."""
    kind, config, _ = example
    if kind == "Embedding":
        return functional.embedding(x, kernel)
    if kind in {"Dense", "EinsumDense"}:
        return torch.einsum(config.get("equation", "ab,bc->ac"), x, kernel)
    rank = x.dim() - 2
    # Both last axes go in front: `(out, in, *k)`, and `(in, out, *k)` of a transposed one.
    weight = kernel.movedim((-1, -2), (0, 1))
    name = f"conv_transpose{rank}d" if "Transpose" in kind else f"conv{rank}d"
    return getattr(functional, name)(x.movedim(-1, 1), weight).movedim(1, -1)


class Matrix(nn.Module):
    """A layer whose weight is the matrix `(m, n)` of a kernel."""

    def __init__(self, example: Example, layer: Any) -> None:
        super().__init__()
        self.example, self.shape = example, tuple(kernel_of(layer).shape)
        self.weight = nn.Parameter(torch.tensor(stack_of(layer, kernel_of(layer))[0]).float())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return applied(self.example, x, self.weight.reshape(self.shape))


def kernel_of(layer: Any) -> np.ndarray:
    return np.array(getattr(layer, paths_of(layer)[0]))


def trained(layer: Any, x: np.ndarray, y: np.ndarray) -> None:
    """Trains a spectral layer for that many steps of plain gradient descent."""
    model = keras.Sequential([keras.Input(x.shape[1:], dtype=str(x.dtype)), layer])
    model.compile(keras.optimizers.SGD(RATE), "mse", run_eagerly=True)
    model.fit(x, y, batch_size=len(x), epochs=STEPS, shuffle=False, verbose=0)


def trained_by_torch(
    module: nn.Module, forward: Callable[..., Any], x: np.ndarray, y: np.ndarray
) -> list[float]:
    """Trains a module in the same way, and returns its losses."""
    module.train()
    losses = []
    for _ in range(STEPS):
        loss = functional.mse_loss(forward(torch.from_numpy(x)), torch.from_numpy(y))
        module.zero_grad()
        loss.backward()
        with torch.no_grad():  # torch.optim takes seconds to import
            for parameter in module.parameters():
                parameter.sub_(RATE * parameter.grad)
        losses.append(float(loss.detach()))
    return losses


def spread(layer: Any) -> np.ndarray:
    """Gives a layer a `u` far from converged, and returns it."""
    u = np.random.default_rng(5).normal(size=layer.u.shape).astype("float32")
    layer.u.assign(u / np.linalg.norm(u))
    return np.array(layer.u)


@pytest.mark.parametrize("rounds", [1, 3])
@pytest.mark.parametrize("example", MATRICES, ids=[example[0] for example in MATRICES])
def test_the_same_training(example: Example, rounds: int) -> None:
    """From the same kernel and the same `u`, far from converged, 20 steps give the same kernel and
    the same `u`, to 2e-5, while the kernel moves by a hundred times that."""
    bias = {} if example[0] in {"Embedding", "EinsumDense"} else {"use_bias": False}
    example = example[0], {**example[1], **bias}, example[2]
    layer, x = make(example, power_iterations=rounds), inputs_for(example, batch=8)
    before, u = kernel_of(layer), spread(layer)
    module = spectral_norm(Matrix(example, layer), n_power_iterations=rounds)
    (norm,) = module.parametrizations.weight
    norm._v.copy_(torch.from_numpy(u[0]))
    y = np.random.default_rng(7).normal(size=layer(x).shape).astype("float32")
    trained(layer, x, y)
    losses = trained_by_torch(module, module, x, y)
    assert losses[-1] < losses[0]
    theirs = module.parametrizations.weight.original.detach().numpy()
    np.testing.assert_allclose(stack_of(layer, kernel_of(layer))[0], theirs, rtol=2e-5, atol=2e-5)
    np.testing.assert_allclose(np.array(layer.u)[0], norm._v.numpy(), atol=2e-5)
    assert np.abs(kernel_of(layer) - before).max() > 2e-3


MODULES: dict[str, tuple[Example, Callable[[], nn.Module], tuple[int, ...], int]] = {
    "Linear": (
        ("Dense", {"units": 6, "use_bias": False}, (None, 5)),
        lambda: nn.Linear(5, 6, bias=False),
        (1, 0),
        0,
    ),
    "Conv2d": (
        ("Conv2D", {"filters": 4, "kernel_size": 3, "use_bias": False}, (None, 6, 6, 2)),
        lambda: nn.Conv2d(2, 4, 3, bias=False),
        (3, 2, 0, 1),
        0,
    ),
    # By default PyTorch takes `(out, in * k)` here, which is not the matrix of the adjoint.
    "ConvTranspose2d": (
        ("Conv2DTranspose", {"filters": 4, "kernel_size": 3, "use_bias": False}, (None, 6, 6, 2)),
        lambda: nn.ConvTranspose2d(2, 4, 3, bias=False),
        (3, 2, 0, 1),
        0,
    ),
}


@pytest.mark.parametrize("name", MODULES)
def test_the_modules_of_pytorch(name: str) -> None:
    """With PyTorch's own modules, converged and with enough rounds, 20 steps give the same kernel
    to 1e-4."""
    example, build, axes, dim = MODULES[name]
    layer, x = make(example, power_iterations=8), inputs_for(example, batch=8)
    before, module = kernel_of(layer), build()
    with torch.no_grad():
        module.weight.copy_(torch.from_numpy(before.transpose(axes)))
    spectral_norm(module, n_power_iterations=8, dim=dim)
    y = np.random.default_rng(7).normal(size=layer(x).shape).astype("float32")
    trained(layer, x, y)

    def forward(x: torch.Tensor) -> torch.Tensor:
        return module(x.movedim(-1, 1)).movedim(1, -1)

    trained_by_torch(module, forward, x, y)
    theirs = module.parametrizations.weight.original.detach().numpy()
    np.testing.assert_allclose(kernel_of(layer).transpose(axes), theirs, rtol=1e-4, atol=1e-4)
    assert np.abs(kernel_of(layer) - before).max() > 2e-3
