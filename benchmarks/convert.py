"""Whole-process time and memory of `snconvert apply` beside `cp` and beside the usual script.

    python benchmarks/convert.py [--runs N] [NAME ...]

For each model, with random weights and with a spectrum that decays as that of trained kernels does,
it runs `cp`, `snconvert apply`, `benchmarks/peer.py` and `import h5py`, the least that a Python
program for these files does, in turns, each as a process of its own from start to exit, and prints
medians, ratios and the peak of anonymous memory (RssAnon, summed over the process and its
children), which one more run of each shows, as watching costs time. The models are made once, in
`benchmarks/out`.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
OUT = HERE / "out"
DECAY = 0.75
RANK = 256
LARGE = 4_000_000
FULL_SVD = 1024


def mlp(widths: list[int]) -> object:
    """Returns a multilayer perceptron."""
    import keras  # noqa: PLC0415

    stack = [keras.Input((widths[0],))]
    return keras.Sequential(
        stack + [keras.layers.Dense(width, activation="relu") for width in widths[1:]]
    )


def application(name: str) -> Callable[[], object]:
    """Returns a builder of a `keras.applications` model with random weights."""

    def build() -> object:
        import keras  # noqa: PLC0415

        return getattr(keras.applications, name)(weights=None)

    return build


MODELS: dict[str, tuple[Callable[[], object], list[str]]] = {
    "mlp": (lambda: mlp([784, 512, 512, 64, 10]), []),
    "efficientnetb0": (application("EfficientNetB0"), []),
    "resnet50": (application("ResNet50"), []),
    "resnet50 --conv": (application("ResNet50"), ["--conv"]),
    "convnexttiny": (application("ConvNeXtTiny"), []),
    "vgg16": (application("VGG16"), []),
    "2gb": (lambda: mlp([8192] * 9), []),
}


def decaying(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Returns a kernel whose singular values fall like `i ** -DECAY`, as trained ones do."""
    rows, columns = int(np.prod(shape[:-1])), shape[-1]
    rank = min(rows, columns, RANK if rows * columns > LARGE else FULL_SVD)
    left = rng.normal(size=(rows, rank)).astype("float32") / np.sqrt(rows)
    right = rng.normal(size=(rank, columns)).astype("float32") / np.sqrt(columns)
    values = np.arange(1, rank + 1, dtype="float32") ** -DECAY
    return ((left * values) @ right).reshape(shape)


def make(name: str, spectrum: str) -> Path:
    """Builds and saves a model once; returns its file."""
    path = OUT / f"{name.split(maxsplit=1)[0]}-{spectrum}.keras"
    if not path.exists():
        OUT.mkdir(exist_ok=True)
        model = MODELS[name][0]()
        if spectrum == "decaying":
            rng = np.random.default_rng(0)
            for layer in model._flatten_layers():  # noqa: SLF001
                kernel = getattr(layer, "kernel", None)
                if kernel is not None and len(kernel.shape) > 1:
                    kernel.assign(decaying(tuple(kernel.shape), rng))
        model.save(path)
    return path


@dataclass(frozen=True)
class Run:
    """One process from start to exit."""

    seconds: float
    anonymous: float
    output: str


def tree(pid: int) -> list[int]:
    """Returns a process and its descendants."""
    found, pending = [], [pid]
    while pending:
        current = pending.pop()
        found.append(current)
        try:
            for task in os.listdir(f"/proc/{current}/task"):
                children = Path(f"/proc/{current}/task/{task}/children").read_text()
                pending += map(int, children.split())
        except OSError:
            continue
    return found


def run(command: list[str], *, watched: bool = False) -> Run:
    """Runs a command; watches its anonymous memory if asked."""
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    # An installed package is compiled once; a checkout must be allowed to keep what it compiled.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    started = time.perf_counter()
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        cwd=OUT,
    )
    peak = 0

    def watch() -> None:
        nonlocal peak
        while process.poll() is None:
            total = 0
            for pid in tree(process.pid):
                try:
                    status = Path(f"/proc/{pid}/status").read_text()
                except OSError:
                    continue
                total += int((re.findall(r"RssAnon:\s+(\d+)", status) or ["0"])[0])
            peak = max(peak, total)
            time.sleep(0.01)

    watcher = threading.Thread(target=watch)
    if watched:
        watcher.start()
    output = process.communicate()[0]
    seconds = time.perf_counter() - started
    if watched:
        watcher.join()
    if process.returncode:
        raise RuntimeError(f"{command} failed: {output}")
    return Run(seconds, peak / 1000, output)


def measure(name: str, spectrum: str, runs: int) -> str:
    """Measures one model; returns the row of the table."""
    source, target = make(name, spectrum), OUT / "result.keras"
    source.read_bytes()  # all start with the file in the page cache
    flags = MODELS[name][1]
    commands = {
        "cp": ["cp", str(source), str(target)],
        "ours": [
            sys.executable,
            "-m",
            "snconvert",
            "apply",
            str(source),
            "-o",
            str(target),
            *flags,
        ],
        "script": [sys.executable, str(HERE / "peer.py"), str(source), str(target), *flags],
        "start": [sys.executable, "-c", "import h5py"],
    }
    results: dict[str, list[Run]] = {key: [] for key in commands}
    for _ in range(runs):
        for key, command in commands.items():
            target.unlink(missing_ok=True)
            results[key].append(run(command))
    cp, ours, script, start = (
        statistics.median(r.seconds for r in results[key]) for key in commands
    )
    sigma = statistics.median(
        float(re.findall(r"([\d.]+) s of it", r.output)[0]) for r in results["ours"]
    )
    target.unlink(missing_ok=True)
    memory = run(commands["ours"], watched=True).anonymous
    target.unlink(missing_ok=True)
    peer_memory = run(commands["script"], watched=True).anonymous
    allowed = 1.5 * cp + 0.3
    spread = max(r.seconds for r in results["ours"]) - min(r.seconds for r in results["ours"])
    return (
        f"| {name} | {source.stat().st_size / 1e6:.0f} MB | {spectrum} | {cp:.2f} | {ours:.2f}"
        f" ± {spread / 2:.2f} | {sigma:.2f} | {ours - sigma:.2f} of {allowed:.2f} | {start:.2f} |"
        f" {script:.2f} | {script / ours:.1f} | {memory:.0f} MB | {peer_memory:.0f} MB |"
    )


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*", default=list(MODELS))
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    print(
        "| model | size | spectrum | cp s | ours s | of it u s | rest of allowed s |"
        " import h5py s | script s | script / ours | ours RssAnon | script RssAnon |"
    )
    print(f"|{'---|' * 12}")
    for name in arguments.names:
        for spectrum in ("random", "decaying"):
            print(measure(name, spectrum, arguments.runs), flush=True)


if __name__ == "__main__":
    main()
