"""Kernels in use are read exactly, with a factor that is never below the layer's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from linear_networks import Builder

from snconvert.core.convolution_map import at_size
from snconvert.linalg.convolution_apply import adjoint
from snconvert.lipschitz import network as n
from snconvert.lipschitz.arrays import Arrays, Kernel, norm_below


def read(b: Builder, place: int) -> Kernel | str:
    network = b.output(place)
    does = network.operations[place].does
    assert isinstance(does, n.Linear)
    return Arrays(b.extent).kernel(does.kernel)


def spectral(folder: Path, kernel: np.ndarray, **state) -> Kernel | str:
    with Builder(folder) as b:
        return read(b, b.dense(b.input(len(kernel)), kernel.shape[1], kernel, **state))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("power", [0, -20, 14])
def test_a_kernel_is_read_exactly(tmp_path: Path, dtype: str, power: int) -> None:
    """The stack times its power of two is the stored kernel."""
    rng = np.random.default_rng(0)
    kernel = np.ldexp(rng.normal(size=(4, 3)), power).astype(dtype)
    if dtype == "float32":
        kernel[0, 0] = 1e-44
    result = spectral(tmp_path, kernel)
    assert isinstance(result, Kernel)
    assert np.array_equal(np.ldexp(result.stack[0], result.exponent), kernel.astype(float))
    assert np.abs(result.stack).max() < 1


def factor_of(kernel: np.ndarray, u: np.ndarray, mode: str, bound: float, gamma: float) -> float:
    """What the layer multiplies by, in float64."""
    direction = u.astype(float) / (np.linalg.norm(u.astype(float)) or 1.0)
    sigma = float(np.linalg.norm(kernel.astype(float) @ direction[0]))
    if not sigma:
        return 1.0
    factor = (gamma if mode == "gain" else bound) / sigma
    return min(1.0, factor) if mode == "cap" else factor


@pytest.mark.parametrize("mode", ["hard", "cap", "gain"])
@pytest.mark.parametrize("case", ["leading", "stale", "short", "zero kernel", "zero u"])
def test_the_factor_of_a_spectral_kernel(tmp_path: Path, mode: str, case: str) -> None:
    """The factor is the layer's, by its own `u`, and not below it."""
    rng = np.random.default_rng(1)
    kernel = rng.normal(size=(6, 4)).astype("f4")
    u = np.linalg.svd(kernel)[2][:1].astype("f4")
    if case == "stale":
        u = rng.normal(size=(1, 4)).astype("f4")
    elif case == "short":
        u *= np.float32(1e-3)
    elif case == "zero kernel":
        kernel *= 0
    elif case == "zero u":
        u *= 0
    gamma = {"gamma": -2.5} if mode == "gain" else {}
    result = spectral(tmp_path, kernel, u=u, mode=mode, bound=0.7, **gamma)
    assert isinstance(result, Kernel)
    wanted = factor_of(kernel, u, mode, 0.7, 2.5)
    factor = result.factor.value
    assert factor is not None
    assert wanted * (1 - 1e-15) <= factor <= wanted * (1 + 1e-13)
    sign = -1.0 if mode == "gain" and "zero" not in case else 1.0
    assert np.array_equal(sign * np.ldexp(result.stack[0], result.exponent), kernel)


@pytest.mark.parametrize(
    ("mode", "state", "reason"),
    [
        ("hard", {"u": np.full((1, 3), np.nan, "f4")}, "its u holds NaN"),
        ("hard", {"u": np.ones((1, 5), "f4")}, "its u cannot be used"),
        ("hard", {"u": np.array([[0, 0, 1]], "f4")}, "its u cannot be used"),
        ("gain", {"u": np.ones((1, 3), "f4")}, "no gamma"),
        ("gain", {"u": np.ones((1, 3), "f4"), "gamma": np.inf}, "its gamma holds NaN"),
    ],
)
def test_a_state_that_cannot_be_used(tmp_path: Path, mode: str, state: dict, reason: str) -> None:
    """What cannot be used gives the reason, also a `u` that the kernel maps to zero."""
    kernel = np.array([[1, 2, 0], [3, 4, 0]], "f4")
    result = spectral(tmp_path, kernel, mode=mode, **state)
    assert isinstance(result, str)
    assert reason in result


def test_a_cap_needs_no_sigma(tmp_path: Path) -> None:
    """A cap shrinks, whatever `u` is."""
    kernel = np.array([[1, 2, 0], [3, 4, 0]], "f4")
    result = spectral(tmp_path, kernel, mode="cap", u=np.array([[0, 0, 1]], "f4"))
    assert isinstance(result, Kernel)
    assert result.factor.value == 1.0


def test_a_kernel_of_nan(tmp_path: Path) -> None:
    """A kernel that is not finite gives the reason."""
    result = spectral(tmp_path, np.array([[np.nan]], "f4"))
    assert result == "its kernel holds NaN or infinite numbers"


@given(st.integers(0, 2**32 - 1))
def test_norms_by_u_are_from_below(seed: int) -> None:
    """The norm by `u` is never above the exact one, and within 1e-12 of it."""
    rng = np.random.default_rng(seed)
    conv = at_size((5, 4), (3, 2), (1, 1), (1, 1), "same", (1, 12, 3))
    taps, u = rng.uniform(-1, 1, (6, 2, 3)), rng.normal(size=(1, 5, 4, 3))
    exact = np.linalg.norm(adjoint(u.astype("g"), taps.astype("g"), conv).ravel().astype("g"))
    exact /= np.sqrt((u.astype("g") ** 2).sum())
    below = norm_below(taps.reshape(1, 12, 3), conv, u.reshape(1, -1))
    assert exact * (1 - 1e-12) <= below <= exact
