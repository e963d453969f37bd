from __future__ import annotations

import mmap
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snconvert.core.matrix_view import MatrixView
from snconvert.core.triplet import Triplet
from snconvert.errors import KernelError
from snconvert.linalg import blocks, lanczos, matrix_norm
from snconvert.linalg.blocks import Block, Scan, read, scan
from snconvert.linalg.lanczos import top_pair
from snconvert.linalg.matrix_norm import leading_triplet

SIGMA = 1e-6  # relative, against LAPACK's float64 SVD
RESIDUAL = 1e-6

# One shape for each way that a kernel is worked on.
SHAPES = [
    (1, 1), (1, 300), (300, 1), (9, 2), (64, 64), (128, 500), (500, 128),
    (140, 140), (256, 300), (300, 256), (257, 257), (300, 900), (900, 300),
]  # fmt: skip


def exact(matrix: np.ndarray) -> float:
    return float(np.linalg.svd(matrix.astype("f8"), compute_uv=False)[..., 0].max())


def plain(kernel: np.ndarray, **options: bool) -> Triplet:
    return leading_triplet(kernel, MatrixView.of(kernel.shape), **options)


def gaussian(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype("f4")


def of_spectrum(values: np.ndarray, m: int, n: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    left = np.linalg.qr(rng.standard_normal((m, len(values))))[0]
    right = np.linalg.qr(rng.standard_normal((n, len(values))))[0]
    return ((left * values) @ right.T).astype("f4")


def unaligned(kernel: np.ndarray) -> np.ndarray:
    room = np.zeros(kernel.nbytes + 1, "u1")
    copy = room[1:].view(kernel.dtype).reshape(kernel.shape)
    copy[...] = kernel
    assert not copy.flags.aligned
    return copy


def same(one: Triplet, other: Triplet) -> bool:
    return (one.sigma, one.u.tobytes(), one.residual) == (
        other.sigma, other.u.tobytes(), other.residual,
    )  # fmt: skip


@pytest.fixture
def streamed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Takes small kernels the way of large ones: read again on each pass, never copied whole."""
    monkeypatch.setattr(matrix_norm, "_KEPT", 0)
    monkeypatch.setattr(matrix_norm, "_GRAM", {True: 0, False: 0})
    monkeypatch.setattr(matrix_norm, "_TINY", 0)
    monkeypatch.setattr(blocks, "_COPY", 0)
    monkeypatch.setattr(blocks, "_PIECE", 1 << 12)
    monkeypatch.setattr(blocks, "_STRIP", 16)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", ["gaussian", "trained"])
def test_sigma_is_that_of_the_float64_svd(shape: tuple[int, int], kind: str) -> None:
    """Sigma is LAPACK's to 1e-6, `u` is a unit vector, and the residual is small."""
    kernel = gaussian(shape)
    if kind == "trained":
        kernel = of_spectrum(np.arange(1, min(shape) + 1) ** -0.7, *shape)
    found = plain(kernel)
    assert found.sigma == pytest.approx(exact(kernel), rel=SIGMA)
    assert found.u.shape == (1, shape[1])
    assert found.u.dtype == np.float32
    assert np.linalg.norm(found.u.astype("f8")) == pytest.approx(1, abs=1e-7)
    assert found.residual <= RESIDUAL
    assert not found.zero


@pytest.mark.usefixtures("streamed")
@pytest.mark.parametrize("shape", [(140, 140), (200, 350), (200, 700), (700, 200), (300, 299)])
def test_streaming_finds_the_same_sigma(shape: tuple[int, int]) -> None:
    """A kernel that is read again on each pass, in rows or in strips, has LAPACK's sigma."""
    found = plain(gaussian(shape))
    assert found.sigma == pytest.approx(exact(gaussian(shape)), rel=SIGMA)
    assert found.residual <= RESIDUAL


@given(st.integers(1, 20), st.integers(1, 20), st.integers(0, 2**32 - 1), st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_sigma_bounds_every_image(m: int, n: int, seed: int, decades: int) -> None:
    """`|W x| <= sigma |x|` for any `x`, and `|W u| = sigma`."""
    rng = np.random.default_rng(seed)
    kernel = (rng.standard_normal((m, n)) * 10.0 ** rng.uniform(-decades, decades, n)).astype("f4")
    found = plain(kernel)
    wide = kernel.astype("f8")
    x = rng.standard_normal((n, 50))
    images = np.linalg.norm(wide @ x, axis=0) / np.linalg.norm(x, axis=0)
    assert images.max() <= found.sigma * (1 + 1e-12)
    assert np.linalg.norm(wide @ found.u[0].astype("f8")) == pytest.approx(found.sigma, rel=1e-6)


@given(st.integers(-90, 90), st.sampled_from([(7, 5), (150, 140), (300, 280)]))
@settings(max_examples=25, deadline=None)
def test_powers_of_two_scale_sigma_exactly(power: int, shape: tuple[int, int]) -> None:
    """`sigma(2**k W) = 2**k sigma(W)` and `u` is the same, to the bit."""
    kernel = gaussian(shape)
    one, other = plain(kernel), plain(np.ldexp(kernel, power))
    assert other.sigma == np.ldexp(one.sigma, power)
    assert other.u.tobytes() == one.u.tobytes()


@pytest.mark.parametrize("shape", [(40, 30), (150, 200), (300, 280), (1100, 1024)])
@pytest.mark.parametrize("dtype", ["<f2", "<f4", ">f4", "<f8", ">f2"])
def test_alignment_and_byte_order_change_no_bit(shape: tuple[int, int], dtype: str) -> None:
    """An unaligned kernel, or one in another format or byte order, gives the same bytes."""
    kernel = gaussian(shape).astype("f2").astype("f4")
    assert same(plain(kernel), plain(unaligned(kernel.astype(dtype))))


@pytest.mark.usefixtures("streamed")
@pytest.mark.parametrize("dtype", ["<f2", "<f4", ">f4", ">f8"])
def test_alignment_changes_no_bit_when_streaming(dtype: str) -> None:
    """The same holds for a kernel that is read again on each pass."""
    kernel = gaussian((170, 330)).astype("f2").astype("f4")
    assert same(plain(kernel), plain(unaligned(kernel.astype(dtype))))


def test_bfloat16_is_read_as_float32_reads_it() -> None:
    """uint16 with the upper half of float32 numbers gives the bytes of these numbers."""
    bits = gaussian((300, 280)).view("u4") >> 16
    kernel = (bits << 16).astype("u4").view("f4")
    for stored in (bits.astype("<u2"), unaligned(bits.astype(">u2"))):
        assert same(plain(kernel), plain(stored, bfloat16=True))


@pytest.mark.parametrize("shape", [(12, 30), (150, 400), (300, 280)])
def test_a_transposed_kernel_has_the_same_sigma(shape: tuple[int, int]) -> None:
    """`sigma(W') = sigma(W)`, and `u` of one is `v` of the other."""
    kernel = gaussian(shape)
    one, other = plain(kernel), plain(np.ascontiguousarray(kernel.T))
    assert other.sigma == pytest.approx(one.sigma, rel=1e-12)
    image = kernel.astype("f8") @ one.u[0] / one.sigma
    assert abs(image @ other.u[0]) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("shape", [(30, 20), (150, 200), (300, 280)])
def test_the_residual_is_that_of_the_returned_u(shape: tuple[int, int]) -> None:
    """The residual is `|W' v - sigma u| / sigma` of the stored `u`, computed by itself here."""
    kernel = gaussian(shape)
    found = plain(kernel)
    wide, u = kernel.astype("f8"), found.u[0].astype("f8")
    v = wide @ u / np.linalg.norm(wide @ u)
    defects = [
        np.linalg.norm(wide @ u - found.sigma * v), np.linalg.norm(wide.T @ v - found.sigma * u)
    ]  # fmt: skip
    assert found.residual == pytest.approx(max(defects) / found.sigma, rel=1e-4, abs=1e-12)


def test_the_largest_entry_of_u_is_positive() -> None:
    """The sign of `u` follows from `u`, not from the way to it."""
    for shape in SHAPES:
        kernel = gaussian(shape)
        u = plain(kernel).u[0]
        assert u[np.abs(u).argmax()] > 0
        np.testing.assert_allclose(plain(-kernel).u[0], u, rtol=0, atol=2e-6)


@pytest.mark.parametrize("size", [16, 200, 300])
@pytest.mark.parametrize(
    "values",
    [
        pytest.param(np.ones, id="orthogonal"),
        pytest.param(lambda n: np.ones(1) * n, id="rank one"),
        pytest.param(lambda n: np.r_[1, 1 - 3e-6, np.full(n - 2, 0.9)], id="close pair"),
        pytest.param(lambda n: np.r_[np.full(5, 1.0), np.linspace(0.99, 0, n - 5)], id="five-fold"),
        pytest.param(lambda n: 1 - 1e-3 * np.linspace(0, 1, n), id="flat"),
        pytest.param(lambda n: np.repeat([1, 0.999, 0.5, 1e-3], n // 4), id="four values"),
        pytest.param(lambda n: np.exp(-np.arange(n) / 3.0), id="steep"),
        pytest.param(lambda n: np.r_[1, np.full(n - 1, 0.999999)], id="one above many"),
    ],
)
def test_hard_spectra(values, size: int) -> None:
    """Repeated, clustered and flat spectra have LAPACK's sigma."""
    kernel = of_spectrum(values(size), size + 3, size)
    found = plain(kernel)
    assert found.sigma == pytest.approx(exact(kernel), rel=SIGMA)
    assert found.residual <= 1e-5


def test_restarts_find_the_leading_vector(monkeypatch: pytest.MonkeyPatch) -> None:
    """A basis of 32 vectors gets there by restarts."""
    monkeypatch.setattr("snconvert.linalg.lanczos._LONGEST", 32)
    kernel = gaussian((500, 400))
    progress: list[int] = []
    found = leading_triplet(kernel, MatrixView.of(kernel.shape), progress=progress.append)
    assert found.sigma == pytest.approx(exact(kernel), rel=SIGMA)
    assert progress[-1] > 16  # rounds of two vectors that fit the basis
    assert progress == sorted(progress)


@pytest.mark.parametrize("size", [6, 140, 300])
@pytest.mark.parametrize(
    ("dtype", "factor"),
    [
        ("f4", 1e-30), ("f4", 1e30), ("f4", 7e37), ("f4", 1e-39), ("f8", 1e-30), ("f8", 1e250),
        ("f8", 1e-290), ("f2", 1e4), ("f2", 1e-4),
    ],
)  # fmt: skip
def test_extreme_scales(dtype: str, factor: float, size: int) -> None:
    """Kernels near both ends of their format have the sigma of their numbers."""
    kernel = (np.clip(gaussian((size + 4, size)), -4, 4).astype("f8") * factor).astype(dtype)
    largest = np.abs(kernel).max().astype("f8")
    reference = exact(kernel.astype("f8") / largest)
    found = plain(kernel)
    assert found.sigma / largest == pytest.approx(reference, rel=SIGMA)
    assert found.residual <= RESIDUAL


def test_the_smallest_and_the_largest_numbers() -> None:
    """One subnormal number is its own sigma; sigma beyond float64 is infinite, not wrong."""
    for number in (np.float16(6e-8), np.float32(1e-45), np.float64(5e-324)):
        kernel = np.zeros((5, 3), number.dtype)
        kernel[2, 1] = -number
        found = plain(kernel)
        assert found.sigma == float(number)
        np.testing.assert_allclose(found.u, [[0, 1, 0]], rtol=0, atol=1e-20)
    assert plain(np.full((4, 4), 3e38, "f4")).sigma == pytest.approx(1.2e39, rel=1e-6)
    assert plain(np.full((4, 4), 1.7e308)).sigma == np.inf


def test_a_kernel_of_zeros() -> None:
    """Zero has sigma 0, a fixed unit `u` and no residual, negative zeros too."""
    for kernel in (np.zeros((30, 4), "f4"), np.full((3, 300, 4), -0.0, "f2")):
        found = plain(kernel)
        assert (found.sigma, found.residual, found.zero) == (0.0, 0.0, True)
        assert found.u.tolist() == [[0.5] * 4]


@pytest.mark.parametrize("shape", [(40, 9, 1), (6, 3, 5), (3, 150, 140), (2, 300, 20)])
@pytest.mark.usefixtures("streamed")
@pytest.mark.parametrize("tiny", [0, 1 << 13])
def test_blocks(shape: tuple[int, int, int], tiny: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each block has its own `u`, whatever the scale of the others; sigma is the largest."""
    monkeypatch.setattr(matrix_norm, "_TINY", tiny)
    kernel = gaussian(shape).astype("f8")
    kernel[0] = 0
    kernel[1] *= 1e-200
    found = leading_triplet(kernel, MatrixView(shape, (0, 1, 2), shape))
    assert found.sigma == pytest.approx(exact(kernel), rel=SIGMA)
    assert found.residual <= RESIDUAL
    np.testing.assert_array_equal(found.u[0], np.float32(1 / np.sqrt(shape[2])))
    for block, u in zip(kernel.astype("f8"), found.u.astype("f8"), strict=True):
        assert np.linalg.norm(u) == pytest.approx(1, abs=1e-7)
        assert np.linalg.norm(block @ u) == pytest.approx(exact(block), rel=SIGMA)


@pytest.mark.parametrize(
    "view",
    [
        MatrixView((6, 40, 5), (1, 0, 2), (40, 6, 5)),
        MatrixView((150, 200), (1, 0), (1, 200, 150)),
        MatrixView((20, 30, 25), (2, 0, 1), (1, 25, 600)),
        MatrixView((20, 30, 25), (1, 2, 0), (1, 750, 20)),
        MatrixView((15, 12, 13, 14), (2, 0, 3, 1), (1, 195, 168)),
        MatrixView((15, 12, 13, 14), (3, 1, 0, 2), (1, 168, 195)),
        MatrixView((2, 15, 12, 3, 13), (3, 0, 2, 4, 1), (6, 156, 15)),
        MatrixView((150, 3, 140), (1, 0, 2), (3, 150, 140)),
        MatrixView((150,), (0,), (1, 150, 1)),
    ],
    ids=str,
)
@pytest.mark.parametrize("copy", [0, 1 << 24])
def test_permuted_views(view: MatrixView, copy: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any view of a kernel gives sigma and `u` of the stack it stands for, copied or gathered."""
    monkeypatch.setattr(matrix_norm, "_KEPT", 0)
    monkeypatch.setattr(blocks, "_COPY", copy)
    monkeypatch.setattr(blocks, "_PIECE", 1 << 12)
    kernel = unaligned(gaussian(view.split))
    found = leading_triplet(kernel, view)
    stack = view.matrix(kernel).astype("f8")
    assert found.sigma == pytest.approx(exact(stack), rel=SIGMA)
    images = np.linalg.norm(np.einsum("bmn,bn->bm", stack, found.u), axis=1)
    np.testing.assert_allclose(images, [exact(block) for block in stack], rtol=SIGMA)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_pieces_hold_the_matrix(side: int, dtype: str, transposed: bool) -> None:
    """The pieces of rows or of columns, put together, are the matrix, or its transpose."""
    matrix = gaussian((700, 900)).astype(dtype)
    array = np.asfortranarray(matrix) if transposed else matrix
    block = Block(array, matrix.shape, 1, bfloat16=False)
    for number in ("f4", "f8"):
        parts = [piece.copy() for _, piece in block.pieces(side, number)]
        assert len(parts) > 1
        whole = np.concatenate(parts)
        np.testing.assert_array_equal(whole, (matrix.T if side else matrix).astype(number))


def test_every_half_precision_number_is_read_exactly() -> None:
    """The bit shifts for float16 and bfloat16 agree with numpy's own conversion."""
    halves = np.arange(1 << 16, dtype="u2").view("f2")
    halves = halves[np.isfinite(halves)]
    out = read(halves, 0, np.empty(halves.shape, "f4"), bfloat16=False)
    np.testing.assert_array_equal(out.view("u4"), halves.astype("f4").view("u4"))
    bits = np.arange(1 << 16, dtype="u2")
    out = read(bits, 0, np.empty(bits.shape, "f4"), bfloat16=True)
    np.testing.assert_array_equal(out.view("u4"), bits.astype("u4") << 16)


@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_top_pair_is_the_last_of_eigh(size: int, count: int, seed: int) -> None:
    """The top eigenpairs of a stack are those that LAPACK finds with all others."""
    rows = np.random.default_rng(seed).standard_normal((count, size + 2, size))
    gram = rows.transpose(0, 2, 1) @ rows
    values, vectors = top_pair(gram)
    np.testing.assert_allclose(values, np.linalg.eigvalsh(gram)[:, -1], rtol=1e-12)
    images = np.einsum("bij,bj->bi", gram, vectors)
    np.testing.assert_allclose(
        images, values[:, None] * vectors, rtol=0, atol=1e-9 * float(values.max())
    )


def test_threads_give_the_same_bytes() -> None:
    """Kernels worked on side by side come out as one after the other."""
    kernels = [gaussian(shape) for shape in [(300, 280), (700, 600), (900, 300), (150, 150)] * 2]
    alone = [plain(kernel) for kernel in kernels]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(plain, kernels))
    assert all(same(*pair) for pair in zip(alone, together, strict=True))


@pytest.mark.parametrize("pairs", [False, True])
def test_both_forms_of_product(pairs: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """With and without AVX-512, sigma is LAPACK's."""
    monkeypatch.setattr(lanczos, "PAIRS", pairs)
    kernel = gaussian((700, 300))
    assert plain(kernel).sigma == pytest.approx(exact(kernel), rel=SIGMA)


@pytest.mark.parametrize("dtype", ["<f2", ">f2", "<f4", ">f4", "<f8", ">f8"])
def test_scan_counts_what_is_not_finite(dtype: str) -> None:
    """NaN of either sign and both infinities count; the largest finite number does not."""
    kernel = np.zeros((1000, 700), dtype)
    kernel[3, 3] = np.finfo(kernel.dtype).max
    assert scan(kernel) == Scan(0, int(np.frexp(np.float64(kernel[3, 3]))[1]), zero=False)
    for place, value in enumerate([np.nan, -np.nan, np.inf, -np.inf]):
        kernel[place * 300, -1] = value
    for array in (kernel, unaligned(kernel), kernel.T, kernel[:, None, 5:], kernel[None, ::1]):
        assert scan(array).nonfinite == 4


def test_scan_counts_bfloat16() -> None:
    """bfloat16 has the infinities and NaN of float32's upper half."""
    numbers = np.array([1, np.inf, -np.inf, np.nan, 3e38, 0], "f4")
    bits = (numbers.view("u4") >> 16).astype("<u2")
    assert scan(bits, bfloat16=True).nonfinite == 3
    assert scan(bits[[0, 5]], bfloat16=True) == Scan(0, 1, zero=False)


def test_kernels_that_cannot_be_measured() -> None:
    """NaN, integers and empty kernels are errors that say what was found."""
    with pytest.raises(KernelError, match="holds 2 NaN or infinite numbers among 4"):
        plain(np.array([[1, np.nan], [np.inf, 0]], "f4"))
    with pytest.raises(KernelError, match="numbers of type int8"):
        plain(np.ones((3, 3), "i1"))
    with pytest.raises(KernelError, match="numbers of type float32"):
        plain(np.ones((3, 3), "f4"), bfloat16=True)
    with pytest.raises(KernelError, match=r"shape \(0, 3\) holds no numbers"):
        plain(np.ones((0, 3), "f4"))


_MEASURE = """
import mmap, sys, threading, time
import numpy as np
from snconvert.linalg.matrix_norm import leading_triplet
from snconvert.core.matrix_view import MatrixView

def anonymous():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("RssAnon"))

with open(sys.argv[1], "rb") as file:
    mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
kernel = np.frombuffer(mapped, sys.argv[2], 6144 * 2048, 37).reshape(6144, 2048)
view = MatrixView.of((6144, 2048))
if sys.argv[3] == "permuted":
    view = MatrixView((96, 64, 2048), (1, 0, 2), (1, 64, 96 * 2048))
leading_triplet(np.eye(200), MatrixView.of((200, 200)))
before, peak, done = anonymous(), [0], threading.Event()

def watch():
    while not done.wait(0.002):
        peak[0] = max(peak[0], anonymous())

thread = threading.Thread(target=watch)
thread.start()
leading_triplet(kernel, view)
done.set()
thread.join()
print(peak[0] - before)
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="reads /proc")
@pytest.mark.parametrize("order", ["plain", "permuted"])
def test_memory_does_not_grow_with_the_kernel(tmp_path, order: str) -> None:
    """A kernel of 48 MB in a memory map takes less than 24 MB of anonymous memory."""
    block = of_spectrum(np.arange(1, 65) ** -1.0, 64, 2048)
    with (tmp_path / "kernel").open("wb") as file:
        file.write(bytes(37))
        for _ in range(96):
            file.write(block.tobytes())
    grown = subprocess.run(
        [sys.executable, "-c", _MEASURE, str(tmp_path / "kernel"), "<f4", order],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert int(grown) < 24 * 1024


@pytest.mark.parametrize("shape", [(30, 20), (150, 140), (300, 280)])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("offset", [3, 8])
def test_a_map_is_only_read(tmp_path, shape: tuple[int, int], dtype: str, offset: int) -> None:
    """A kernel in a read-only memory map is measured where it lies, and left as it is."""
    kernel = gaussian(shape).astype(dtype)
    kernel *= 0.75 / np.abs(kernel).max()  # needs no scaling, so that it may be used in place
    (tmp_path / "kernel").write_bytes(bytes(offset) + kernel.tobytes())
    with (tmp_path / "kernel").open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    array = np.frombuffer(mapped, dtype, kernel.size, offset).reshape(shape)
    before = kernel.tobytes()
    assert same(plain(array), plain(kernel))
    assert kernel.tobytes() == before
