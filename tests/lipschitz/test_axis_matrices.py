"""Bounds of averages and of resizing are above what Keras computes, and close."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from snconvert.lipschitz.axis_matrices import axis_norm

AVERAGES = [
    (size, pool, stride, padding)
    for size in (1, 2, 5, 9)
    for pool in (1, 2, 3, 5)
    for stride in (1, 2, 3)
    for padding in ("valid", "same")
    if padding == "same" or pool <= size
]
SIZES = [(4, 8), (9, 5), (5, 9), (3, 3), (2, 7), (8, 2), (7, 3), (1, 4)]
METHODS = ("nearest", "bilinear", "bicubic", "lanczos3", "lanczos5")


def value(name: str, *arguments: int | str | None) -> float:
    norm = axis_norm(name, arguments)
    assert norm is not None
    assert norm.value is not None
    return norm.value


def matrices() -> dict[str, np.ndarray]:
    """The matrices of the backend that Keras uses, by rule and arguments."""
    import keras

    found = {}
    for size, pool, stride, padding in AVERAGES:
        x = np.eye(size, dtype="float32")[:, :, None]
        y = keras.ops.average_pool(x, pool, stride, padding)
        found[repr(("average", size, pool, stride, padding))] = y[:, :, 0]
    for size, outputs in SIZES:
        x = np.eye(size, dtype="float32")[:, :, None, None]
        for method in METHODS:
            if method.startswith("lanczos") and keras.backend.backend() == "torch":
                continue
            y = keras.ops.image.resize(x, (outputs, 1), interpolation=method)
            found[repr(("resize", size, outputs, method))] = y[:, :, 0, 0]
            if outputs == 2 * size:
                found[repr(("upsample", None, 2, method))] = y[:, :, 0, 0]
        if outputs <= size:
            x = np.eye(size, dtype="float32")[:, :, None]
            y = keras.ops.adaptive_average_pool(keras.ops.convert_to_tensor(x), outputs)
            found[repr(("adaptive_average", size, outputs))] = y[:, :, 0]
    return {key: keras.ops.convert_to_numpy(y) for key, y in found.items()}


def check() -> dict[str, float]:
    """Checks all of them; returns by how much each bound is above."""
    above = {}
    for key, matrix in matrices().items():
        name, *arguments = eval(key)  # noqa: S307 - ours
        norm = float(np.linalg.norm(matrix.astype(float), 2))
        bound = value(name, *arguments)
        assert norm <= bound * (1 + 1e-6), (key, norm, bound)
        above[key] = bound / norm
    return above


@pytest.mark.keras
def test_the_matrices_of_keras() -> None:
    """Keras' own matrices are at most the bounds; those of averages are met."""
    above = check()
    worst = {key: ratio for key, ratio in above.items() if "average" in key and ratio > 1 + 1e-5}
    assert all(ratio < 1.06 for ratio in worst.values()), worst  # PyTorch's border is another
    assert max(ratio for key, ratio in above.items() if "None" not in key) < 1.5


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_other_backends(backend: str) -> None:
    """So are those of the other backends."""
    subprocess.run(
        [sys.executable, "-c", "import test_axis_matrices as t; t.check()"],
        check=True,
        env=os.environ | {"KERAS_BACKEND": backend},
        cwd=os.path.dirname(__file__),
    )


def test_known_norms() -> None:
    """A window at the border of `same` divides by fewer; repeating costs a root."""
    assert value("average", 9, 3, 1, "same") ** 2 == pytest.approx(1.0129, abs=1e-4)
    assert value("average", 8, 2, 2, "valid") == pytest.approx(0.5**0.5, rel=2e-6)
    assert value("upsample", 5, 3, "nearest") == pytest.approx(3**0.5, rel=1e-12)
    assert value("average", None, 3, 1, "valid") == 1.0


@pytest.mark.parametrize("padding", ["valid", "same"])
def test_unknown_sizes(padding: str) -> None:
    """The bound for sizes that are not known is above that of each size."""
    for pool in (2, 3, 4):
        for stride in (1, 2, 3):
            most = max(value("average", size, pool, stride, padding) for size in range(pool, 14))
            assert most <= value("average", None, pool, stride, padding) * (1 + 3e-6)


def test_sizes_beyond_the_proof() -> None:
    """A long axis is bounded by its rows and columns; a strange rule has no bound."""
    assert 1.0 <= value("average", 3000, 3, 1, "same") < 1.3
    assert axis_norm("average", (10**9, 3, 1, "same")) is None
    assert axis_norm("resize", (None, 5, "bilinear")) is None
    assert axis_norm("resize", (4, 5, "magic")) is None
    assert axis_norm("magic", ()) is None
