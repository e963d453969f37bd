"""Time and memory of `snconvert apply` and `upgrade` on `.h5` files, beside the `.keras` files.

    python benchmarks/older.py [--runs N]

Of models of several sizes, each saved in both formats, it runs the commands in turns, each as a
process of its own from start to exit, and prints medians, the ratio of the two formats, and the
peak of anonymous memory. The models are made once, in `benchmarks/out`.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path

import numpy as np
from convert import OUT, decaying, mlp, run

WIDTHS = {"10 MB": [1000] * 4, "100 MB": [2500] * 5, "500 MB": [2500] * 21}


def make(size: str) -> list[Path]:
    """Builds and saves a model once in both formats; returns its files."""
    paths = [OUT / f"older-{size.replace(' ', '')}{suffix}" for suffix in (".keras", ".h5")]
    if not all(path.exists() for path in paths):
        OUT.mkdir(exist_ok=True)
        model, rng = mlp(WIDTHS[size]), np.random.default_rng(0)
        for layer in model.layers:
            layer.kernel.assign(decaying(tuple(layer.kernel.shape), rng))
        for path in paths:
            model.save(path)
    return paths


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=5)
    runs, target = parser.parse_args().runs, OUT / "result.keras"
    print("| model | apply .keras s | apply .h5 s | ratio | RssAnon | upgrade .h5 s | RssAnon |")
    print(f"|{'---|' * 7}")
    for size in WIDTHS:
        archive, hdf5 = make(size)
        work = [("apply", archive), ("apply", hdf5), ("upgrade", hdf5)]
        start = [sys.executable, "-m", "snconvert"]
        commands = [[*start, verb, str(path), "-o", str(target), "--force"] for verb, path in work]
        seconds: list[list[float]] = [[] for _ in commands]
        for _ in range(runs):
            for times, command in zip(seconds, commands, strict=True):
                times.append(run(command).seconds)
        old, new, upgrade = map(statistics.median, seconds)
        memory = [run(command, watched=True).anonymous for command in commands]
        print(
            f"| {size} | {old:.2f} | {new:.2f} | {new / old:.2f} | {memory[1]:.0f} MB |"
            f" {upgrade:.2f} | {memory[2]:.0f} MB |",
            flush=True,
        )


if __name__ == "__main__":
    main()
