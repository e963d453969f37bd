"""The mathematics under the layers: power iteration, norms and scales."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from snconvert.core.matrix_view import MatrixView
from snconvert.layers.power_iteration import current_norm, power_iteration, scale, stacked, times
from snconvert.linalg.power_iteration import Norm


def random_stack(seed: int, shape: tuple[int, ...], exponent: int = 0) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    matrix = (rng.normal(size=shape) * 10.0**exponent).astype("float32")
    u = rng.normal(size=(shape[0] if len(shape) == 3 else 1, shape[-1]))
    return matrix, (u / np.linalg.norm(u, axis=-1, keepdims=True)).astype("float32")


STACKS = st.one_of(
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    st.tuples(st.integers(2, 4), st.integers(1, 9), st.integers(1, 9)),
)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), shape=STACKS, exponent=st.integers(-30, 30))
def test_the_estimate_rises_and_never_exceeds_sigma(
    seed: int, shape: tuple[int, ...], exponent: int
) -> None:
    """|W u| <= the estimate of one round <= that of two <= sigma, to float32, at every scale; the
    new u has unit rows."""
    matrix, u = random_stack(seed, shape, exponent)
    sigma = np.linalg.svd(matrix.astype("float64"), compute_uv=False).max()
    one, u1 = power_iteration(matrix, u, 1)
    two, _ = power_iteration(matrix, u, 2)
    chain = [float(norm.sigma) for norm in (current_norm(matrix, u), one, two)]
    assert all(a <= b * (1 + 1e-5) for a, b in zip(chain, [*chain[1:], sigma], strict=True))
    np.testing.assert_allclose(np.linalg.norm(u1, axis=-1), 1.0, rtol=1e-5)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), shape=STACKS, exponent=st.integers(-30, 30))
def test_the_gradient_is_the_outer_product(
    seed: int, shape: tuple[int, ...], exponent: int
) -> None:
    """Where u is converged, d sigma / d W is v u' in the largest block and zero elsewhere."""
    matrix, _ = random_stack(seed, shape, exponent)
    left, sigmas, right = np.linalg.svd(matrix.astype("float64"), full_matrices=False)
    u = right[..., 0, :].reshape(-1, shape[-1]).astype("float32")
    variable = tf.Variable(matrix)
    with tf.GradientTape() as tape:
        norm = power_iteration(tf.convert_to_tensor(variable), u, 1)[0].sigma
    expected = left[..., :, :1] * right[..., :1, :]
    if matrix.ndim == 3:
        first = sigmas[:, 0]
        second = np.sort(first)[-2]
        expected[np.arange(len(first)) != first.argmax()] = 0.0
        if second > first.max() * (1 - 1e-4):
            return  # a tie has no one gradient
    np.testing.assert_allclose(tape.gradient(norm, variable), expected, atol=2e-4)


def test_zero_and_not_finite() -> None:
    """A block of zeros keeps its u, NaN does not enter u, and W u = 0 does not hold u fast."""
    matrix, u = random_stack(0, (3, 4, 5))
    matrix[1] = 0.0
    new = np.asarray(power_iteration(matrix, u, 2)[1])
    np.testing.assert_array_equal(new[1], u[1])
    assert not np.allclose(new[0], u[0])
    matrix[2, 0, 0] = np.nan
    assert np.isfinite(power_iteration(matrix, u, 2)[1]).all()
    kernel = np.float32([[1.0, 0.0], [0.0, 0.0]])
    stuck = np.float32([[0.0, 1.0]])
    assert float(current_norm(kernel, stuck).sigma) == 0.0
    np.testing.assert_allclose(power_iteration(kernel, stuck, 1)[1], [[1.0, 0.0]])


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("mode", ["hard", "cap", "gain"])
def test_scale_of_zero_is_one(mode: str, training: bool, jit_compile: bool) -> None:
    """A kernel of zeros has scale 1, and no gradient through it is NaN or infinite: XLA, unlike
    TensorFlow's own kernels, does not treat 0 / 0 as 0."""

    @tf.function(jit_compile=jit_compile)
    def gradients(matrix: tf.Tensor, gamma: tf.Tensor) -> tuple[tf.Tensor, list[tf.Tensor]]:
        with tf.GradientTape() as tape:
            tape.watch([matrix, gamma])
            u = tf.constant([[1.0, 0.0]])
            norm = power_iteration(matrix, u, 1)[0] if training else current_norm(matrix, u)
            factor = scale(norm, mode, 1.0, gamma)
        return factor, tape.gradient(factor, [matrix, gamma], unconnected_gradients="zero")

    factor, found = gradients(tf.zeros((3, 2)), tf.zeros(()))
    assert float(factor) == 1.0
    assert all(np.isfinite(gradient).all() for gradient in found)


def test_scale_does_not_leave_float32_on_the_way() -> None:
    """gamma / sigma is 1 for sigma of 1e30 and 1e-30, and so is a cap that does not bind."""
    for unit in (1e30, 1e-30):
        norm = Norm(np.float32(2.0), np.float32(unit), True)
        assert float(scale(norm, "gain", 1.0, np.float32(2 * unit))) == pytest.approx(1.0, rel=1e-6)
        assert float(scale(norm, "hard", 4 * unit)) == pytest.approx(2.0, rel=1e-6)
        assert float(scale(norm, "cap", 4 * unit)) == 1.0
        assert float(scale(norm, "cap", unit)) == pytest.approx(0.5, rel=1e-6)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_left_alone_by_one(dtype: str) -> None:
    """A factor within 1e-6 of 1 leaves every finite half precision number as it is; another is
    rounded once."""
    bits = tf.cast(tf.range(2**16), tf.uint16)
    numbers = tf.bitcast(bits, getattr(tf, dtype))
    numbers = tf.boolean_mask(numbers, tf.math.is_finite(tf.cast(numbers, tf.float32)))
    numbers = tf.boolean_mask(numbers, tf.abs(tf.cast(numbers, tf.float32)) > 1e-37)  # no denormals
    for factor in (1.0 - 1e-6, 1.0, 1.0 + 1e-6):
        after = times(numbers, np.float32(factor))
        assert after.dtype == numbers.dtype
        assert bool(tf.reduce_all(after == numbers))
    small = tf.boolean_mask(numbers, tf.abs(tf.cast(numbers, tf.float32)) < 1e3)
    third = np.float32(1 / 3)
    expected = tf.cast(tf.cast(small, tf.float32) * third, getattr(tf, dtype))
    assert bool(tf.reduce_all(times(small, third) == expected))


def test_float64_is_not_rounded_to_float32() -> None:
    """A float64 tensor is multiplied in float64."""
    numbers = tf.constant([1.0 + 1e-12], "float64")
    np.testing.assert_array_equal(times(numbers, np.float32(1.0)), numbers)


@pytest.mark.parametrize(
    ("shape", "view"),
    [
        ((3, 4), MatrixView.of((3, 4))),
        ((3, 2, 4), MatrixView.of((3, 2, 4))),
        ((2, 3, 4), MatrixView((2, 3, 4), (2, 0, 1), (4, 2, 3))),
        ((5, 4), MatrixView((5, 2, 2), (1, 0, 2), (2, 5, 2))),
    ],
)
def test_stacked_is_the_view(shape: tuple[int, ...], view: MatrixView) -> None:
    """The stack that the layers use is that of numpy, without the axis of a single block."""
    kernel = np.random.default_rng(0).normal(size=shape).astype("float32")
    expected = view.matrix(kernel)
    got = np.asarray(stacked(kernel, view))
    np.testing.assert_array_equal(got, expected if view.shape[0] > 1 else expected[0])


@pytest.mark.parametrize("mode", ["hard", "cap", "gain"])
def test_a_bound_far_above_a_tiny_kernel(mode: str) -> None:
    """Where the quotient of both is no float32 number, cap changes nothing and has no gradient."""
    kernel = tf.Variable(np.diag([1e-36, 0.0, 0.0]).astype("float32"))
    with tf.GradientTape() as tape:
        norm, _ = power_iteration(tf.convert_to_tensor(kernel), [[1.0, 0.0, 0.0]], 1)
        factor = scale(norm, mode, 1e3, 1e-36)
        product = tf.reduce_sum(times(kernel, factor))
    gradient = tape.gradient(product, kernel).numpy()
    if mode == "cap":
        assert float(factor) == 1.0
        np.testing.assert_array_equal(gradient, np.ones((3, 3)))
    elif mode == "gain":
        assert float(factor) == pytest.approx(1.0, rel=1e-6)
        assert np.isfinite(gradient).all()
    else:
        assert np.isinf(float(factor))


def test_a_kernel_with_nan_has_the_norm_nan() -> None:
    kernel = np.array([[1.0, np.nan], [0.0, 1.0]], "float32")
    norm, u = power_iteration(tf.constant(kernel), [[1.0, 0.0]], 1)
    assert np.isnan(float(norm.sigma))
    assert np.isfinite(np.asarray(u)).all()
