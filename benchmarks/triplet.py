"""Time and accuracy of `leading_triplet` beside ARPACK, power iteration and a float32 SVD.

    python benchmarks/triplet.py [--runs N] [--threads N] [SHAPE ...]

Kernels are Gaussian, or have the spectrum `k**-0.7`, as trained kernels roughly do. `snconvert`
reads them as it finds them in a file: unaligned. The peers get an aligned array in the heap. Times
are medians in ms, each peer's with its ratio to `snconvert`; errors are those of sigma relative to
float64 (LAPACK, above order 1024 ARPACK). `--threads` is the number of BLAS threads, by default 1:
the converter works on as many kernels at once as there are cores.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable

LARGEST_SVD = 1024
LARGEST_LAPACK = 1024
SHAPES = ["64x64", "512x512", "768x3072", "4608x512", "1024x1024", "4096x4096", "25088x4096"]


def main() -> None:
    """Prints one line for each shape and spectrum."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("shapes", nargs="*", default=SHAPES, metavar="SHAPE")
    options = parser.parse_args()
    if os.environ.get("OPENBLAS_NUM_THREADS") != str(options.threads):
        # OpenBLAS reads it once, when numpy is imported.
        os.environ["OPENBLAS_NUM_THREADS"] = str(options.threads)
        os.execv(sys.executable, [sys.executable, *sys.argv])  # noqa: S606
    names = ["snconvert", "ARPACK", "15 power it.", "float32 SVD"]
    print(f"{'kernel':24}" + "".join(f"{name:>26}" for name in names))
    for text in options.shapes:
        m, n = (int(size) for size in text.split("x"))
        for spectrum in ("Gaussian", "trained"):
            print(f"{text + ' ' + spectrum:24}" + line(m, n, spectrum, options.runs), flush=True)


def line(m: int, n: int, spectrum: str, runs: int) -> str:
    """Measures one kernel; returns the columns of its line."""
    import numpy as np  # noqa: PLC0415
    from scipy.sparse.linalg import svds  # noqa: PLC0415

    from snconvert.core.matrix_view import MatrixView  # noqa: PLC0415
    from snconvert.linalg.matrix_norm import leading_triplet  # noqa: PLC0415

    kernel = make(m, n, spectrum)
    room = np.empty(kernel.nbytes + 1, "u1")
    found = room[1:].view("f4").reshape(m, n)
    found[...] = kernel
    wide = kernel.astype("f8")
    if min(m, n) <= LARGEST_LAPACK:
        reference = float(np.linalg.svd(wide, compute_uv=False)[0])
    else:
        reference = float(svds(wide, k=1, return_singular_vectors=False, rng=0)[0])
    del wide

    def power_iterations() -> float:
        u = np.random.default_rng(0).standard_normal(n).astype("f4")
        for _ in range(15):
            v = kernel @ u
            v /= np.linalg.norm(v)
            u = v @ kernel
            u /= np.linalg.norm(u)
        return float(np.linalg.norm(kernel @ u))

    peers: list[Callable[[], float]] = [
        lambda: leading_triplet(found, MatrixView.of((m, n))).sigma,
        lambda: float(svds(kernel, k=1, rng=0)[1][0]),
        power_iterations,
    ]
    if min(m, n) <= LARGEST_SVD:
        peers.append(lambda: float(np.linalg.svd(kernel, full_matrices=False)[1][0]))
    columns, first = [], 0.0
    for peer in peers:
        times, sigma = measure(peer, runs if m * n < 1 << 25 else min(runs, 2))
        first = first or times
        error = sigma / reference - 1
        ratio = f" ({times / first:.2f}x)" if columns else ""
        columns.append(f"{times:.4g}{ratio} {error:+.0e}".rjust(26))
    return "".join(columns)


def make(m: int, n: int, spectrum: str) -> object:
    """Returns a float32 kernel; the trained-like one has full rank 512 at most."""
    import numpy as np  # noqa: PLC0415

    rng = np.random.default_rng(0)
    if spectrum == "Gaussian":
        return rng.standard_normal((m, n), "f4")
    rank = min(m, n, 512)
    left = np.linalg.qr(rng.standard_normal((m, rank), "f4"))[0]
    right = np.linalg.qr(rng.standard_normal((n, rank), "f4"))[0]
    return (left * np.arange(1, rank + 1, dtype="f4") ** -0.7) @ right.T


def measure(function: Callable[[], float], runs: int) -> tuple[float, float]:
    """Returns the median time in ms and the function's last result."""
    times = []
    result = function()
    for _ in range(runs):
        start = time.perf_counter()
        result = function()
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times), result


if __name__ == "__main__":
    main()
