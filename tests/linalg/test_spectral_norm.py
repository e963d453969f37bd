"""`snconvert.spectral_norm` on the arrays of every backend, whatever backend Keras uses."""

from __future__ import annotations

import importlib
import subprocess
import sys
from functools import cache

import keras
import numpy as np
import pytest

import snconvert
from snconvert.errors import OptionError

RNG = np.random.default_rng(0)
START = RNG.normal(size=6).astype("float32")
# The largest singular values, of the matrix and of each block, stand out: few rounds are enough,
# and compilers unroll them.
KERNEL = np.multiply.outer(RNG.uniform(1, 2, (3, 4)), RNG.normal(size=6))
KERNEL = (KERNEL + 0.3 * RNG.normal(size=(3, 4, 6))).astype("float32")
ROUNDS = 8


def triplet(matrix):
    left, sigmas, right = np.linalg.svd(np.asarray(matrix, "float64"), full_matrices=False)
    return sigmas[0], left[:, 0], right[0]


def with_numpy(kernel, u, rounds):
    """Numpy has no gradients: by finite differences, in float64."""
    kernel = kernel.astype("float64")
    sigma, u = snconvert.spectral_norm(kernel, u, rounds)
    slopes = np.zeros(kernel.shape)
    for index in np.ndindex(kernel.shape):
        step = np.zeros(kernel.shape)
        step[index] = 1e-6
        ends = [snconvert.spectral_norm(kernel + s * step, u, rounds)[0] for s in (1, -1)]
        slopes[index] = (ends[0] - ends[1]) / 2e-6
    return sigma, u, slopes


def with_tensorflow(kernel, u, rounds):
    tf = importlib.import_module("tensorflow")
    return _compiled_by_tensorflow(rounds)(tf.constant(kernel), tf.constant(u))


@cache
def _compiled_by_tensorflow(rounds):
    tf = importlib.import_module("tensorflow")

    @tf.function
    def compiled(kernel, u):
        with tf.GradientTape() as tape:
            tape.watch(kernel)
            sigma, u = snconvert.spectral_norm(kernel, u, rounds)
        return sigma, u, tape.gradient(sigma, kernel)

    return compiled


def with_jax(kernel, u, rounds):
    jax = importlib.import_module("jax")
    (sigma, u), slope = _compiled_by_jax(rounds)(jax.numpy.array(kernel), u)
    return sigma, u, slope


@cache
def _compiled_by_jax(rounds):
    jax = importlib.import_module("jax")

    def norm(kernel, u):
        return snconvert.spectral_norm(kernel, u, rounds)

    return jax.jit(jax.value_and_grad(norm, has_aux=True))


def with_torch(kernel, u, rounds):
    torch = importlib.import_module("torch")
    kernel = torch.tensor(kernel, requires_grad=True)
    # Traced as ever, but not compiled to machine code, which would take half a minute.
    compiled = torch.compile(snconvert.spectral_norm, fullgraph=True, backend="aot_eager")
    sigma, u = compiled(kernel, torch.tensor(u), rounds)
    sigma.backward()
    assert not u.requires_grad
    return sigma.detach(), u, kernel.grad


WAYS = [with_numpy, with_tensorflow, with_jax, with_torch]


@pytest.mark.parametrize("way", WAYS)
def test_sigma_and_its_gradient(way):
    """Sigma, `u` and Miyato's gradient `v u'` are those of a float64 SVD."""
    sigma, u, slope = way(KERNEL, START, ROUNDS)
    exact, left, right = triplet(KERNEL.reshape(12, 6))
    np.testing.assert_allclose(np.asarray(sigma), exact, rtol=1e-6)
    np.testing.assert_allclose(np.abs(np.asarray(u) @ right), 1.0, atol=1e-6)
    expected = np.outer(left, right).reshape(KERNEL.shape)
    np.testing.assert_allclose(np.asarray(slope), expected, atol=2e-5)


@pytest.mark.parametrize("way", WAYS)
def test_stacks(way):
    """A `u` of several rows reads the kernel as a stack; the largest block has all the gradient."""
    sigma, u, slope = way(KERNEL, RNG.normal(size=(3, 6)).astype("float32"), ROUNDS)
    found = [triplet(block) for block in KERNEL]
    largest = int(np.argmax([sigma for sigma, _, _ in found]))
    np.testing.assert_allclose(np.asarray(sigma), found[largest][0], rtol=1e-6)
    rights = np.stack([right for _, _, right in found])
    np.testing.assert_allclose(np.abs(np.sum(np.asarray(u) * rights, -1)), 1.0, atol=1e-6)
    expected = np.zeros(KERNEL.shape)
    expected[largest] = np.outer(*found[largest][1:])
    np.testing.assert_allclose(np.asarray(slope), expected, atol=2e-5)


@pytest.mark.parametrize("way", WAYS[1:])
@pytest.mark.parametrize("size", [0.0, 1e-30, 1e30])
def test_extreme_kernels(way, size):
    """Kernels of zeros have sigma 0, no gradient and the same `u`; large and small ones work.

    Numpy runs the same lines as these.
    """
    sigma, u, slope = way(KERNEL * np.float32(size), START, ROUNDS)
    np.testing.assert_allclose(
        np.asarray(sigma, "float64"), size * triplet(KERNEL.reshape(12, 6))[0], rtol=1e-5
    )
    assert np.isfinite(np.asarray(slope)).all()
    if not size:
        np.testing.assert_array_equal(np.asarray(u), START)
        np.testing.assert_array_equal(np.asarray(slope), np.zeros(KERNEL.shape))


def test_u_may_be_changed_before_the_gradient_is_taken():
    """PyTorch's backward pass needs nothing of the returned `u`: a broadcast may write to it."""
    torch = importlib.import_module("torch")
    kernel = torch.tensor(KERNEL, requires_grad=True)
    sigma, u = snconvert.spectral_norm(kernel, torch.tensor(START))
    u.zero_()
    sigma.backward()
    assert kernel.grad.abs().sum() > 0


def test_rounds_and_types():
    """No round takes `|W u|` and keeps `u`; halves are computed in float32, NaN is told."""
    kernel = KERNEL.reshape(12, 6)
    exact, _, right = triplet(kernel)
    sigma, u = snconvert.spectral_norm(kernel, right[None], 0)
    np.testing.assert_allclose(sigma, exact, rtol=1e-6)
    np.testing.assert_array_equal(u, right[None].astype("float32"))
    half, u = snconvert.spectral_norm(kernel.astype("float16"), START, ROUNDS)
    assert (half.dtype, u.dtype, u.shape) == (np.float32, np.float32, (6,))
    np.testing.assert_allclose(half, exact, rtol=1e-3)
    sigma, u = snconvert.spectral_norm(kernel * np.nan, START)
    assert np.isnan(sigma)
    np.testing.assert_array_equal(u, START)


def test_variables():
    """Variables of Keras and of its backends are kernels too."""
    exact = triplet(KERNEL.reshape(12, 6))[0]
    for make in (keras.Variable, importlib.import_module("tensorflow").Variable):
        sigma, _ = snconvert.spectral_norm(make(KERNEL), keras.Variable(START), 60)
        np.testing.assert_allclose(np.asarray(sigma), exact, rtol=1e-6)


@pytest.mark.parametrize(
    ("kernel", "u", "rounds", "what"),
    [
        (KERNEL, START[:5], 1, "the kernel has the shape"),
        (KERNEL, np.ones((2, 6)), 1, "the kernel has the shape"),
        (KERNEL[0], np.ones((4, 6)), 1, "the kernel has the shape"),
        (KERNEL[0, 0], START, 1, "the kernel has the shape"),
        (KERNEL, START, -1, "iterations is -1"),
        ("kernel", START, 1, "no array"),
    ],
)
def test_refusals(kernel, u, rounds, what):
    """What cannot work is refused."""
    with pytest.raises(OptionError, match=what):
        snconvert.spectral_norm(kernel, u, rounds)


def test_numpy_needs_no_keras():
    """On numpy arrays neither keras nor a backend is imported."""
    code = """
import sys
import numpy as np
import snconvert
snconvert.spectral_norm(np.eye(3), np.ones(3))
print(sorted({"keras", "tensorflow", "jax", "torch"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
