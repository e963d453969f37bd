"""Laws of following the leading singular vector."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from snconvert.layers.power_iteration import power_iteration
from snconvert.layers.projection import follow

RNG = np.random.default_rng(0)


def start(blocks, n):
    u = RNG.normal(size=(blocks, n)).astype("float32")
    return u / np.linalg.norm(u, axis=1, keepdims=True)


@pytest.mark.parametrize("size", [1e-30, 1.0, 1e30])
@pytest.mark.parametrize("shape", [(1, 40, 30), (3, 20, 10), (2, 5, 1)])
def test_it_converges(shape, size):
    """Enough rounds find sigma and `u` of the largest block, whatever the scale."""
    matrix = (RNG.normal(size=shape) * size).astype("float32")
    u = start(shape[0], shape[2])
    norm, u, _ = follow(matrix, u, np.zeros_like(u), 40)
    exact = np.linalg.svd(matrix.astype("float64"), compute_uv=False).max()
    assert float(norm.sigma) == pytest.approx(exact, rel=1e-5)
    images = np.einsum("bmn,bn->bm", matrix.astype("float64"), keras.ops.convert_to_numpy(u))
    assert np.linalg.norm(images, axis=1).max() == pytest.approx(exact, rel=1e-5)


def test_zeros():
    """A block of zeros has norm 0 and leaves its `u` as it is, and the other blocks alone."""
    matrix = np.stack([np.zeros((4, 3)), np.eye(4, 3)]).astype("float32")
    u = start(2, 3)
    norm, new, p = follow(matrix, u, np.zeros_like(u), 3)
    assert float(norm.sigma) == pytest.approx(1.0, rel=1e-6)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(new)[0], u[0])
    assert np.isfinite(keras.ops.convert_to_numpy(p)).all()


def test_it_leaves_a_vector_that_was_overtaken():
    """Where another singular value grows past the first by 2.4 % a step, it is never more than 3 %
    behind; as many rounds of power iteration fall behind by 30 %."""
    rows, columns = np.linalg.qr(RNG.normal(size=(30, 30)))[0], np.eye(30)
    spectrum = np.r_[1.0, 0.9, np.linspace(0.8, 0.1, 28)]
    u = slow = columns[:1].astype("float32") + 1e-4
    p = np.zeros_like(u)
    worst = {"follow": 0.0, "power": 0.0}
    for growth in np.linspace(0.9, 1.6, 30):
        spectrum[1] = growth
        matrix = (rows * spectrum @ columns).astype("float32")
        exact = spectrum.max()
        norm, u, p = follow(matrix, u, p, 1)
        worst["follow"] = max(worst["follow"], 1 - float(norm.sigma) / exact)
        norm, slow = power_iteration(matrix, slow, 1)
        worst["power"] = max(worst["power"], 1 - float(norm.sigma) / exact)
    assert worst["follow"] < 0.03
    assert worst["power"] > 0.25
