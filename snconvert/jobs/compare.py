"""The comparison of two weights files, and the proof of `u`; runs inside the guarded process."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from snconvert.core.convolution_map import Convolution
from snconvert.core.matrix_view import MatrixView
from snconvert.core.settings import Settings
from snconvert.core.verbs import Way
from snconvert.errors import KernelError
from snconvert.jobs.requests import Compared, Pair, Proof, Proved, StoredState
from snconvert.jobs.spreading import spread
from snconvert.linalg.blocks import Array
from snconvert.linalg.convolution_norm import operator_triplet
from snconvert.linalg.matrix_norm import leading_triplet
from snconvert.linalg.stored_u import Normalisation, kernel_in_use, shortfall
from snconvert.weights.contents import Dataset
from snconvert.weights.extent import Extent
from snconvert.weights.reading import read_dataset, read_kernel
from snconvert.weights.scaling import narrowed, widened

_STEP = 1 << 20
_INTEGERS = {"int32", "int64"}
"""What JAX has no difference between: it counts in 32 bits."""
_KNOWN = 1e-9
"""How far a factor may be from the one that is found here."""
_EXACT = 1e-5
"""How far a norm by a stored `u` may be from sigma."""
_WEAK = 0.05
"""By how much `u` of a block that is not the largest may be short of its norm, of a map: the search
finds it to about 1 %."""
_ROUNDED = {"float16": 2.0**-11, "bfloat16": 2.0**-8}
"""How far rounding moves a unit vector that is kept in half precision."""

Report = Callable[[tuple[str, int]], None] | None


def compare(
    before: Extent, after: Extent, pairs: Sequence[Pair], *, report: Report = None
) -> list[dict[Way, Compared]]:
    """Compares pairs of arrays.

    Args:
        before: The weights of one model.
        after: The weights of the other.
        pairs: The arrays.
        report: Called with a path and its bytes when a pair is done.

    Returns:
        How each pair compares, for each factor that the first may have been multiplied by.
    """

    def work(pair: Pair) -> dict[Way, Compared]:
        old, new = pair.first, pair.second
        same = old.dtype == new.dtype or {old.dtype, new.dtype} == _INTEGERS
        if old.shape != new.shape or not same:
            what = f"{old.dtype} {old.shape} before, {new.dtype} {new.shape} after"
            return dict.fromkeys(pair.factors, Compared(None, what))
        a = read_kernel(before, pair.before, old).reshape(-1)
        b = read_kernel(after, pair.after, new).reshape(-1)
        if old.dtype != new.dtype:
            a, b = a.astype(np.int64), b.astype(np.int64)
        return {way: _multiplied(a, b, old.dtype, by) for way, by in pair.factors.items()}

    return spread(work, pairs, lambda pair: (pair.before, pair.first.nbytes), report)


def _multiplied(a: Array, b: Array, dtype: str, factor: float) -> Compared:
    """Returns whether `b` is `a` times a factor, to the bit, as it is written.

    A factor that is found here is that of whoever wrote `b` to 1e-9, as the search for sigma ends
    when its square is right to that. So it is the same float32 number, or, at times, the next one.
    """
    for by in dict.fromkeys(np.float32(factor * (1 + off)) for off in (0.0, -_KNOWN, _KNOWN)):
        if all(np.array_equal(_bits(_product(x, dtype, by)), _bits(y)) for x, y in _pieces(a, b)):
            return Compared(float(by))
    count, gap, largest = 0, 0.0, 0.0
    for x, y in _pieces(a, b):
        product = _product(x, dtype, np.float32(factor))
        off = _bits(product) != _bits(y)
        wanted, have = _wide(product, dtype), _wide(y, dtype)
        count += int(off.sum())
        with np.errstate(invalid="ignore", over="ignore"):
            distance = np.abs(have - wanted)[off]
        gap = max(gap, float(np.nan_to_num(distance, nan=math.inf).max(initial=0.0)))
        largest = max(largest, float(np.abs(wanted).max(initial=0.0)))
    by_ = "" if factor == 1.0 else f" from {factor:.6g} times what it was"
    what = f"{count} of {a.size} numbers differ{by_}, by up to {gap:.3g} (the largest is"
    return Compared(None, f"{what} {largest:.3g})", count)


def _product(numbers: Array, dtype: str, factor: Any) -> Array:
    """Multiplies numbers as `scaling.scale` does; a factor of 1 leaves any type as it is."""
    if factor == 1.0:
        return numbers
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        return narrowed(widened(numbers, dtype) * factor, dtype)


def _pieces(a: Array, b: Array) -> Iterator[tuple[Array, Array]]:
    for low in range(0, a.size, _STEP):
        yield a[low : low + _STEP], b[low : low + _STEP]


def compare_values(after: Extent, expected: Sequence[tuple[str, Array]]) -> list[str | None]:
    """Returns what is wrong with small arrays that should hold certain values, to the bit.

    Args:
        after: The weights.
        expected: Their paths, and what they should hold.
    """
    return [value_differs(read_dataset(after, path), wanted) for path, wanted in expected]


def compare_constants(
    after: Extent, expected: Sequence[tuple[str, Dataset, float]]
) -> list[str | None]:
    """Returns what is wrong with arrays that should hold one number throughout.

    Args:
        after: The weights.
        expected: Their paths, where they lie, and the number; NaN stands for any.
    """
    results: list[str | None] = []
    for path, dataset, value in expected:
        bits = _bits(read_kernel(after, path, dataset))
        wide = np.float64 if dataset.dtype == "float64" else np.float32
        wanted = _bits(narrowed(np.array([value], wide), dataset.dtype))
        wrong = 0 if math.isnan(value) else int((bits != wanted).sum())
        what = f"{wrong} of {bits.size} numbers are not {value:.6g}, as before the first step"
        results.append(what if wrong else None)
    return results


def value_differs(have: Array, wanted: Array) -> str | None:
    """Returns what is wrong with a slot of an optimizer that should be a fresh one."""
    have = have.astype(have.dtype.newbyteorder("="))
    if (have.dtype, have.shape) != (wanted.dtype, wanted.shape):
        is_, belongs = (f"{x.dtype} {x.shape}" for x in (have, wanted))
        return f"is {is_}, where a fresh optimizer has {belongs}"
    if have.tobytes() != wanted.tobytes():
        return f"holds {have}, where a fresh optimizer holds {wanted}"
    return None


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
    return spread(
        lambda proof: _proved(before, after, proof),
        proofs,
        lambda proof: (proof.layer, proof.dataset.nbytes),
        report,
        alone=any(proof.convolution for proof in proofs),  # whose maps can take much memory
    )


def _proved(before: Extent, after: Extent, proof: Proof) -> Proved:
    u = read_dataset(after, proof.u) if isinstance(proof.u, str) else proof.u
    gamma = None if proof.gamma is None else read_dataset(after, proof.gamma)
    return judge(
        read_kernel(before, proof.kernel, proof.dataset),
        proof.view,
        proof.settings,
        StoredState(u, gamma, proof.u_dtype),
        conv=proof.convolution,
        bfloat16=proof.dataset.dtype == "bfloat16",
    )


def judge(
    kernel: Array,
    view: MatrixView,
    settings: Settings,
    stored: StoredState,
    *,
    conv: Convolution | None = None,
    bfloat16: bool = False,
) -> Proved:
    """Finds sigma of a kernel anew, and tells whether a stored `u` and `gamma` fit it.

    Args:
        kernel: As for `leading_triplet`.
        view: As for `leading_triplet`.
        settings: How it is said to be normalised.
        stored: Its `u` and `gamma`.
        conv: The map whose norm sigma is said to be, if it is not that of the view.
        bfloat16: As for `leading_triplet`.
    """
    try:
        if conv is None:
            triplet = leading_triplet(kernel, view, bfloat16=bfloat16)
        else:
            triplet = operator_triplet(kernel, view, conv, bfloat16=bfloat16)
    except KernelError as error:
        return Proved(None, None, (error.what,))
    sigma, belongs = triplet.sigma, triplet.u.shape
    stored_u, stored_gamma, u_dtype = stored
    wrong = [
        *_unlike("u", stored_u, belongs, u_dtype),
        *([] if stored_gamma is None else _unlike("gamma", stored_gamma, (), "float32")),
    ]
    if wrong:
        return Proved(sigma, None, tuple(wrong))
    u, gamma = _wide(stored_u, u_dtype), None if stored_gamma is None else float(stored_gamma)
    if not np.isfinite(u).all() or not math.isfinite(gamma or 0.0):
        return Proved(sigma, None, ("its u or gamma holds NaN or infinite numbers",))
    notes: list[str] = []
    # Of a vector that is r away, both the image W'W u / s^2 and the vector itself are r away.
    rounding = _ROUNDED.get(u_dtype, 0.0)
    exact = _EXACT + 2 * rounding
    used = kernel_in_use(
        triplet, kernel, view, conv, Normalisation(u, gamma, settings), bfloat16=bfloat16
    )
    lengths = np.linalg.norm(u.reshape(len(u), -1), axis=1)
    residual = max(used.residual, float(np.abs(lengths - 1.0).max()))
    gap = float(np.abs(u - triplet.u).max())
    # Of a large map the u that is found misses by more than of a matrix.
    if residual > exact + 10 * triplet.residual:
        wrong.append(f"its u is not the leading singular vector: it misses by {residual:.3g}")
    elif (
        conv is not None
        and (short := shortfall(kernel, view, conv, u, triplet.u, bfloat16=bfloat16)) > _WEAK
    ):
        wrong.append(f"the u of one of its blocks reaches {short:.2g} less than the block's norm")
    elif gap > rounding:
        notes.append(f"its u is not to the last bit the one that is found here ({gap:.2g} off)")
    if gamma is not None and not math.isclose(gamma, sigma, rel_tol=1e-6):
        wrong.append(f"its gamma is {gamma:.9g}, where sigma is {sigma:.9g}")
    elif gamma is not None and gamma != float(np.float32(sigma)):
        notes.append("its gamma is not to the last bit the sigma that is found here")
    reached, wanted = float(used.after or 0.0), settings.sigma_after(sigma)
    if not math.isclose(reached, wanted, rel_tol=exact):
        wrong.append(
            f"the norm of its effective kernel is {reached:.7g}, where mode {settings.mode} makes"
            f" it {wanted:.7g}"
        )
    return Proved(sigma, reached, tuple(wrong), tuple(notes), gamma, triplet.residual)


def _unlike(name: str, array: Array, shape: tuple[int, ...], dtype: str) -> Iterator[str]:
    """Yields what is wrong with the shape and type of a stored array."""
    if array.shape != shape:
        yield f"the shape of its {name} is {array.shape}, where {shape} belongs"
    stored = "bfloat16" if array.dtype == np.uint16 else array.dtype.name
    if stored != dtype:
        yield f"its {name} is stored as {stored}, where {dtype} belongs"


def _bits(array: Array) -> Array:
    native = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("=")))
    return native.view(f"u{array.dtype.itemsize}")


def _wide(array: Array, dtype: str) -> Array:
    return widened(array, dtype).astype(np.float64) if dtype == "bfloat16" else array.astype("f8")
