"""Following the leading vectors of a kernel that changes."""

from __future__ import annotations

import numpy as np
import pytest

from snconvert.core.convolution_map import at_size
from snconvert.core.matrix_view import MatrixView
from snconvert.errors import KernelError
from snconvert.linalg import following
from snconvert.linalg.following import Follower, norm_along
from snconvert.linalg.kernel_norm import kernel_triplet
from snconvert.linalg.stored_u import norm_by

SHAPES = [(300, 200), (40, 900), (900, 40), (256, 256)]


def kernels(shape: tuple[int, int], steps: int = 6) -> list[np.ndarray]:
    """A kernel that is trained: noise, on which a direction grows until it leads."""
    rng = np.random.default_rng(0)
    kernel, rank_one = rng.normal(size=shape), np.outer(*(rng.normal(size=n) for n in shape))
    return [
        (kernel + 0.004 * i * rank_one + 0.05 * rng.normal(size=shape)).astype("float32")
        for i in range(steps)
    ]


@pytest.mark.parametrize("shape", SHAPES)
def test_close_from_below(shape: tuple[int, int]) -> None:
    """Each look is right to 1e-3 and, but for float32 rounding, not above the norm."""
    follower = Follower(MatrixView.of(shape), None)
    for kernel in kernels(shape):
        assert -3e-7 < 1 - follower(kernel) / np.linalg.norm(kernel.astype(float), 2) < 1e-3


def test_a_later_look_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel that moves little takes a few products, and one that stays takes one round."""
    rounds = []
    products = following._products
    monkeypatch.setattr(
        following, "_products", lambda *args: rounds.append(None) or products(*args)
    )
    follower, counts = Follower(MatrixView.of((300, 200)), None), []
    first, *_, last = kernels((300, 200), 20)
    for kernel in (first, first, last, last + 1e-4 * first):
        rounds.clear()
        follower(kernel)
        counts.append(len(rounds))
    assert counts[0] > 8
    assert counts[1] == 1
    assert max(counts[2:]) <= 6


def test_a_vector_that_is_overtaken() -> None:
    """The leading vector is left where another one overtakes it, orthogonal to all that is known:
    within a few looks."""
    kernel = np.zeros((200, 150), "float32")
    np.fill_diagonal(kernel, np.linspace(3, 1, 150))
    follower = Follower(MatrixView.of((200, 150)), None)
    assert follower(kernel) == pytest.approx(3, rel=1e-3)
    kernel[100, 100] = 5
    looks = [follower(kernel) for _ in range(4)]
    assert looks[-1] == pytest.approx(5, rel=1e-3)


@pytest.mark.parametrize("rank", [0, 1, 2])
@pytest.mark.parametrize("shape", [(200, 150), (20_000, 1), (1, 20_000), (2, 9_000), (9_000, 2)])
def test_few_dimensions(shape: tuple[int, int], rank: int) -> None:
    """Kernels of low rank, and with few rows or columns, have their norm, zeros have 0."""
    rng = np.random.default_rng(0)
    kernel = sum(
        (np.outer(*(rng.normal(size=n) for n in shape)) for _ in range(rank)), np.zeros(shape)
    ).astype("float32")
    follower = Follower(MatrixView.of(shape), None)
    for _ in range(2):
        assert follower(kernel) == pytest.approx(np.linalg.norm(kernel, 2), rel=1e-5, abs=0)
    assert follower(kernel + 1) == pytest.approx(np.linalg.norm(kernel + 1, 2), rel=1e-3)


@pytest.mark.parametrize("size", [1e-30, 1e30])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_extreme_numbers(dtype: str, size: float) -> None:
    """Neither squares of 1e-30 nor of 1e30 are lost."""
    kernel = (kernels((300, 200))[0].astype(float) * size).astype(dtype)
    exact = np.linalg.norm(kernel.astype(float), 2)
    assert Follower(MatrixView.of((300, 200)), None)(kernel) == pytest.approx(exact, rel=1e-3)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_numbers_that_are_none(bad: float) -> None:
    """A kernel that is not finite is refused, and followed again when it is."""
    (kernel,) = kernels((300, 200), 1)
    follower = Follower(MatrixView.of((300, 200)), None)
    sigma = follower(kernel)
    broken = kernel.copy()
    broken[3, 4] = bad
    with pytest.raises(KernelError, match="1 NaN or infinite number among"):
        follower(broken)
    assert follower(kernel) == pytest.approx(sigma, rel=1e-6)


def test_a_convolution_as_a_map() -> None:
    """Of a convolution with a map sigma is that of the exact search, to 1e-3."""
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(3, 3, 8, 6)).astype("float32")
    view = MatrixView.of(kernel.shape)
    conv = at_size((10, 10), (3, 3), (1, 1), (1, 1), "same", view.shape)
    follower = Follower(view, conv)
    for _ in range(3):
        kernel = kernel + 0.02 * rng.normal(size=kernel.shape).astype("float32")
        exact = kernel_triplet(kernel, view, conv).sigma
        assert follower(kernel) == pytest.approx(exact, rel=1e-3)
        assert exact > 1.2 * np.linalg.norm(kernel.reshape(-1, 6), 2)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "bfloat16"])
def test_small_kernels_and_stacks(dtype: str) -> None:
    """Small kernels and stacks of matrices have the largest norm to the rounding of float64, and
    by a `u` what `norm_by` finds."""
    rng = np.random.default_rng(0)
    for b, m, n in [(1, 64, 128), (64, 9, 1), (3, 5, 7), (4, 300, 40)]:
        view = MatrixView((m, b, n), (1, 0, 2), (b, m, n))
        kernel = rng.normal(size=(m, b, n)).astype("float32" if dtype == "bfloat16" else dtype)
        if dtype == "bfloat16":
            kernel = (kernel.view("u4") & 0xFFFF0000).view("f4")
        exact = np.linalg.norm(kernel.astype(float).transpose(1, 0, 2), 2, axis=(1, 2)).max()
        bits = (kernel.view("u4") >> 16).astype("u2") if dtype == "bfloat16" else kernel
        half, u = dtype == "bfloat16", rng.normal(size=(b, n)).astype("float32")
        assert Follower(view, None)(bits, bfloat16=half) == pytest.approx(exact, rel=1e-9)
        along = norm_along(bits, view, None, u, bfloat16=half)
        assert along == pytest.approx(norm_by(bits, view, None, u, bfloat16=half), rel=1e-12)
        assert along <= exact * (1 + 1e-12)
