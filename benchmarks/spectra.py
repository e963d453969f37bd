"""Time of `spectrum_of`, what it was said to take, and its errors beside LAPACK's float64 SVD.

    python benchmarks/spectra.py [SHAPE ...]

`plain` kernels are Gaussian; in `faint` ones columns are up to 1e9 times smaller, so that the
smallest values take a QR factorisation. Errors are the largest of a value, relative to itself.
"""

from __future__ import annotations

import argparse
import os
import sys
import time

SHAPES = ["64x64", "512x512", "768x3072", "4608x512", "2048x2048", "50000x256", "30000x1024"]
LARGEST_SVD = 2048


def main() -> None:
    """Prints one line for each shape and kind of kernel."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shapes", nargs="*", default=SHAPES, metavar="SHAPE")
    options = parser.parse_args()
    if os.environ.get("OPENBLAS_NUM_THREADS") != "1":
        os.environ["OPENBLAS_NUM_THREADS"] = "1"  # read once, when numpy is imported
        os.execv(sys.executable, [sys.executable, *sys.argv])  # noqa: S606
    print(f"{'kernel':20}{'seconds':>9}{'said':>9}{'SVD':>9}{'condition':>11}{'error':>9}")
    for text in options.shapes:
        m, n = (int(size) for size in text.split("x"))
        for kind in ("plain", "faint"):
            print(f"{text + ' ' + kind:20}" + line(m, n, kind), flush=True)


def line(m: int, n: int, kind: str) -> str:
    """Measures one kernel; returns the columns of its line."""
    import numpy as np  # noqa: PLC0415

    from snconvert.core.matrix_view import MatrixView  # noqa: PLC0415
    from snconvert.core.spectrum import seconds_for  # noqa: PLC0415
    from snconvert.linalg.spectrum import spectrum_of  # noqa: PLC0415

    rng = np.random.default_rng(0)
    kernel = rng.standard_normal((m, n), "f4")
    if kind == "faint":
        kernel *= 10.0 ** -rng.uniform(0, 9, n).astype("f4")
    view = MatrixView.of((m, n))
    started = time.perf_counter()
    found = spectrum_of(kernel, view)
    taken = time.perf_counter() - started
    columns = f"{taken:9.3f}{seconds_for(view.shape):9.3f}"
    if min(m, n) > LARGEST_SVD:
        return f"{columns}{'-':>9}{found.condition:11.3g}{'-':>9}"
    started = time.perf_counter()
    exact = np.linalg.svd(kernel.astype("f8"), compute_uv=False)
    taken = time.perf_counter() - started
    ranks = np.linspace(0, len(exact) - 1, len(found.values)).round().astype(int)
    error = np.abs(found.values / exact[ranks] - 1).max()
    return f"{columns}{taken:9.3f}{found.condition:11.3g}{error:9.1e}"


if __name__ == "__main__":
    main()
