"""Compares the arrays of two weights files, and proves `u`; runs inside the guarded process."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from snconvert.archive.contents import Dataset
from snconvert.archive.dataset import numpy_type
from snconvert.archive.extent import Extent
from snconvert.archive.h5 import read_dataset
from snconvert.convolution import Convolution
from snconvert.effective import scale
from snconvert.errors import KernelError
from snconvert.linalg.operator import image_norm, operator_triplet
from snconvert.linalg.pieces import Blocks
from snconvert.linalg.scan import Array
from snconvert.linalg.triplet import leading_triplet
from snconvert.matrix import MatrixView
from snconvert.settings import Settings
from snconvert.tasks import Compared, Pair, Proof, Proved

_STEP = 1 << 20
_HALF = {"float16": 2.0**-10, "bfloat16": 2.0**-7}
_SINGLE = 2.0**-22
"""How far a product may be off, relatively: an ulp of its type, and never less than of float32."""
_EXACT, _ROUGH = 1e-5, 1e-2
"""How far a norm by a stored `u` may be from sigma, and by one that is kept in half precision."""

Report = Callable[[tuple[str, int]], None] | None


def compare(
    before: Extent, after: Extent, pairs: Sequence[Pair], *, report: Report = None
) -> list[Compared]:
    """Compares pairs of arrays.

    Args:
        before: The weights of one model.
        after: The weights of the other.
        pairs: The arrays.
        report: Called with a path and its bytes when a pair is done.
    """
    found: list[Compared] = []
    for pair in pairs:
        one, two = pair.first, pair.second
        if (one.shape, one.dtype) != (two.shape, two.dtype):
            what = f"{one.dtype} {one.shape} before, {two.dtype} {two.shape} after"
            found.append(Compared(None, what))
        else:
            a, b = _numbers(before, pair.before, one), _numbers(after, pair.after, two)
            found.append(_compared(a, b, one.dtype, pair.factors))
        if report is not None:
            report((pair.before, one.nbytes))
    return found


def _compared(a: Array, b: Array, dtype: str, factors: Sequence[float]) -> Compared:
    """Returns which factor explains the one array by the other, or how near the nearest comes."""
    tried: list[tuple[int, str]] = []
    for factor in factors:
        count, what = _differ(a, b, dtype, factor)
        if not count:
            return Compared(factor, None)
        tried.append((count, what))
    return Compared(None, min(tried)[1])


def _differ(a: Array, b: Array, dtype: str, factor: float) -> tuple[int, str]:
    """Returns how many numbers of `b` are not those of `a` times the factor; 1 keeps every bit."""
    count, gap, largest = 0, 0.0, 0.0
    smallest = float(np.finfo("f2" if dtype == "float16" else "f4").tiny)
    for low in range(0, a.size, _STEP):
        x, y = a[low : low + _STEP], b[low : low + _STEP]
        off = _bits(x) != _bits(y)
        if factor == 1.0 and not off.any():
            continue
        # As the copy is written: by a factor in float32.
        with np.errstate(invalid="ignore", over="ignore"):
            wanted, have = _wide(x, dtype) * float(np.float32(factor)), _wide(y, dtype)
            distance = np.abs(have - wanted)
            if factor != 1.0:
                room = _HALF.get(dtype, _SINGLE) * np.abs(wanted) + smallest
                off = ~(distance <= room) & ~(have == wanted)
        count += int(off.sum())
        gap = max(gap, float(np.nan_to_num(distance[off], nan=math.inf).max(initial=0.0)))
        largest = max(largest, float(np.abs(wanted).max(initial=0.0)))
    by = "" if factor == 1.0 else f" from {factor:.6g} times what it was"
    what = f"{count} of {a.size} numbers differ{by}, by up to {gap:.3g} (the largest is"
    return count, f"{what} {largest:.3g})"


def compare_values(after: Extent, expected: Sequence[tuple[str, Array]]) -> list[str | None]:
    """Returns what is wrong with small arrays that should hold certain values, to float rounding.

    Args:
        after: The weights.
        expected: Their paths, and what they should hold.
    """
    found: list[str | None] = []
    for path, wanted in expected:
        have = read_dataset(after, path)
        fits = have.shape == wanted.shape and np.allclose(have, wanted, rtol=1e-6, atol=0.0)
        found.append(None if fits else f"holds {have}, where a fresh optimizer holds {wanted}")
    return found


def prove(
    before: Extent, after: Extent, proofs: Sequence[Proof], *, report: Report = None
) -> list[Proved]:
    """Finds sigma of kernels anew, and whether what is stored with the other model fits it.

    Args:
        before: The weights with the raw kernels.
        after: The weights with `u` and `gamma`.
        proofs: The kernels.
        report: Called with the layer's path and the kernel's bytes when a kernel is done.
    """
    found: list[Proved] = []
    for proof in proofs:
        found.append(_proved(before, after, proof))
        if report is not None:
            report((proof.layer, proof.dataset.nbytes))
    return found


def _proved(before: Extent, after: Extent, proof: Proof) -> Proved:
    kernel = _numbers(before, proof.kernel, proof.dataset).reshape(proof.dataset.shape)
    stored = read_dataset(after, proof.u) if isinstance(proof.u, str) else proof.u
    u = _wide(stored, proof.u_dtype)
    gamma = None if proof.gamma is None else float(read_dataset(after, proof.gamma))
    return judge(
        kernel,
        proof.view,
        proof.settings,
        u,
        gamma,
        conv=proof.convolution,
        bfloat16=proof.dataset.dtype == "bfloat16",
        rough=proof.u_dtype in _HALF,
    )


def judge(
    kernel: Array,
    view: MatrixView,
    settings: Settings,
    u: Array,
    gamma: float | None,
    *,
    conv: Convolution | None = None,
    bfloat16: bool = False,
    rough: bool = False,
) -> Proved:
    """Finds sigma of a kernel anew, and tells whether a stored `u` and `gamma` fit it.

    Args:
        kernel: As for `leading_triplet`.
        view: As for `leading_triplet`.
        settings: How it is said to be normalised.
        u: The stored `u`, float64 `(b, n)`, of a map `(b, *conv.outputs, n)`.
        gamma: The stored `gamma`, in mode `gain`.
        conv: The map whose norm sigma is said to be, if it is not that of the view.
        bfloat16: As for `leading_triplet`.
        rough: Whether `u` is kept in half precision.
    """
    try:
        if conv is None:
            triplet = leading_triplet(kernel, view, bfloat16=bfloat16)
        else:
            triplet = operator_triplet(kernel, view, conv, bfloat16=bfloat16)
    except KernelError as error:
        return Proved(None, None, (error.what,))
    sigma, belongs = triplet.sigma, triplet.u.shape
    if u.shape != belongs:
        return Proved(sigma, None, (f"the shape of its u is {u.shape}, where {belongs} belongs",))
    if not np.isfinite(u).all() or not math.isfinite(gamma or 0.0):
        return Proved(sigma, None, ("its u or gamma holds NaN or infinite numbers",))
    wrong: list[str] = []
    notes: list[str] = []
    exact = _ROUGH if rough else _EXACT
    if conv is None:
        norm, residual = _quality(Blocks(kernel, view, bfloat16=bfloat16), u)
    else:
        norm = image_norm(kernel, view, conv, u.astype(np.float32), bfloat16=bfloat16)
        lengths = np.linalg.norm(u.reshape(len(u), -1), axis=1)
        residual = float(np.abs(lengths - 1.0).max())
    gap = float(np.abs(u - triplet.u).max())
    if residual > exact or not math.isclose(norm, sigma, rel_tol=exact):
        wrong.append(
            f"its u is not the leading singular vector: it misses by {residual:.3g}, and gives a"
            f" norm of {norm:.7g}, where sigma is {sigma:.7g}"
        )
    elif gap and not rough:
        notes.append(f"its u is not to the last bit the one that is found here ({gap:.2g} off)")
    if gamma is not None and not math.isclose(gamma, sigma, rel_tol=1e-6):
        wrong.append(f"its gamma is {gamma:.9g}, where sigma is {sigma:.9g}")
    elif gamma is not None and gamma != float(np.float32(sigma)):
        notes.append("its gamma is not to the last bit the sigma that is found here")
    reached, wanted = sigma * scale(norm, settings, gamma), settings.sigma_after(sigma)
    if not math.isclose(reached, wanted, rel_tol=exact):
        wrong.append(
            f"the norm of its effective kernel is {reached:.7g}, where mode {settings.mode} makes"
            f" it {wanted:.7g}"
        )
    return Proved(sigma, reached, tuple(wrong), tuple(notes))


def _quality(blocks: Blocks, u: Array) -> tuple[float, float]:
    """Returns the largest `|W u|`, and the largest `max(||u| - 1|, |W'W u / s^2 - u|)`."""
    norm = residual = 0.0
    for index in range(blocks.shape[0]):
        block = blocks.block(index)
        residual = max(residual, abs(float(np.linalg.norm(u[index])) - 1.0))
        if block.zero:
            continue
        square, back = 0.0, np.zeros(block.shape[1])
        for _, piece in block.pieces(0, "f8"):
            image = piece @ u[index]
            square += float(image @ image)
            back += image @ piece
        norm = max(norm, math.ldexp(math.sqrt(square), block.exponent))
        miss = np.linalg.norm(back / square - u[index]) if square else math.inf
        residual = max(residual, float(miss))
    return norm, residual


def _numbers(extent: Extent, path: str, dataset: Dataset) -> Array:
    if dataset.offset is None:
        return read_dataset(extent, path).reshape(-1)
    count = math.prod(dataset.shape)
    return np.frombuffer(extent.map(), numpy_type(dataset), count, dataset.offset)


def _bits(array: Array) -> Array:
    native = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("=")))
    return native.view(f"u{array.dtype.itemsize}")


def _wide(array: Array, dtype: str) -> Array:
    if dtype == "bfloat16":
        return (array.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    return array.astype(np.float64)
