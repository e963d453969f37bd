"""Time and memory of `snconvert apply` and `upgrade` on `.h5` files, beside the `.keras` files.

    python benchmarks/older.py [--rounds N]

Of models of several sizes, each saved in both formats, it runs the commands in turns, each as a
process of its own from start to exit, and prints medians, the ratio of the two formats, and the
peak of anonymous memory. The models are made once, in `benchmarks/out`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from convert import OUT, decaying, mlp, run
from rounds import head, in_turns, ratios, row, shown

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
    parser.add_argument("--rounds", type=int, default=5)
    rounds, target = parser.parse_args().rounds, OUT / "result.keras"
    heads = ["model", "apply .keras s", "apply .h5 s", "ratio", "control", "RssAnon"]
    print(head(*heads, "upgrade .h5 s", "RssAnon"))
    for size in WIDTHS:
        archive, hdf5 = map(str, make(size))
        work = {
            "keras": ("apply", archive),
            "control": ("apply", archive),
            "h5": ("apply", hdf5),
            "upgrade": ("upgrade", hdf5),
        }
        start, end = [sys.executable, "-m", "snconvert"], ["-o", str(target), "--force"]
        commands = {key: [*start, *words, *end] for key, words in work.items()}
        taken = in_turns({k: lambda c=c: run(c).seconds for k, c in commands.items()}, rounds)
        memory = [
            f"{run(commands[key], watched=True).anonymous:.0f} MB" for key in ("h5", "upgrade")
        ]
        cells = [size, shown(taken["keras"]), shown(taken["h5"])]
        cells += [shown(ratios(taken, key, "keras")) for key in ("h5", "control")]
        print(row([*cells, memory[0], shown(taken["upgrade"]), memory[1]]), flush=True)


if __name__ == "__main__":
    main()
