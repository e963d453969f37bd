"""Whole-process time and memory of `snconvert apply` beside `cp` and beside the usual script.

    python benchmarks/convert.py [--rounds N] [--no-memory] [MODEL ...]

`MODEL` has random weights (`resnet50-random`), or a spectrum that decays as that of trained kernels
does (`resnet50-decaying`). It runs `cp`, `snconvert apply` twice (the second is the control),
`benchmarks/peer.py`, `snconvert verify`, `snconvert inspect`, and `import numpy`, the least that a
Python program for these files does, in turns, each as a process of its own from start to exit, and
prints medians, ratios within the round with quartiles, and the peak of anonymous memory (RssAnon,
summed over the process and its children), which one more run of each shows, as watching costs time.
`rest` is what `apply` takes for all but `u`, beside its aim: 1.5 `cp` + 0.1 s + `import numpy`.
Models are made once, in `benchmarks/out`; those above 500 MB take a third of the rounds.
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
from rounds import head, in_turns, ratios, row, shown

HERE = Path(__file__).resolve().parent
OUT = HERE / "out"
DECAY = 0.75
RANK = 256
LARGE = 4_000_000
BIG = 500_000_000
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


MODELS: dict[str, Callable[[], object]] = {
    "mlp": lambda: mlp([784, 512, 512, 64, 10]),
    "efficientnetb0": application("EfficientNetB0"),
    "resnet50": application("ResNet50"),
    "convnexttiny": application("ConvNeXtTiny"),
    "vgg16": application("VGG16"),
    "2gb": lambda: mlp([8192] * 9),
}
ROWS = (
    "mlp-random",
    "efficientnetb0-random",
    "resnet50-random",
    "resnet50-decaying",
    "resnet50-random --conv",
    "vgg16-random",
    "vgg16-decaying",
    "2gb-decaying",
)


def decaying(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Returns a kernel whose singular values fall like `i ** -DECAY`, as trained ones do."""
    rows, columns = int(np.prod(shape[:-1])), shape[-1]
    rank = min(rows, columns, RANK if rows * columns > LARGE else FULL_SVD)
    left = rng.normal(size=(rows, rank)).astype("float32") / np.sqrt(rows)
    right = rng.normal(size=(rank, columns)).astype("float32") / np.sqrt(columns)
    values = np.arange(1, rank + 1, dtype="float32") ** -DECAY
    return ((left * values) @ right).reshape(shape)


def make(name: str) -> Path:
    """Builds and saves a model once; returns its file."""
    path = OUT / f"{name}.keras"
    if not path.exists():
        OUT.mkdir(exist_ok=True)
        kind, _, spectrum = name.partition("-")
        model = MODELS[kind]()
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


def run(command: list[str], *, watched: bool = False, **more: str) -> Run:
    """Runs a command; watches its anonymous memory if asked."""
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **more}
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


def measure(name: str, rounds: int, *, memory: bool) -> str:
    """Measures one model; returns the row of the table."""
    model, *flags = name.split()
    source, target, converted = make(model), OUT / "result.keras", OUT / "converted.keras"
    source.read_bytes()  # all start with the file in the page cache
    start, sides = [sys.executable, "-m", "snconvert"], [str(source), str(target)]
    apply = [*start, "apply", sides[0], "--force", *flags, "-o"]
    commands = {
        "cp": ["cp", *sides],
        "ours": [*apply, sides[1]],
        "control": [*apply, sides[1]],
        "script": [sys.executable, str(HERE / "peer.py"), *sides, *flags],
        "verify": [*start, "verify", sides[0], str(converted)],
        "inspect": [*start, "inspect", sides[0]],
        "numpy": [sys.executable, "-c", "import numpy"],
    }
    run([*apply, str(converted)])
    said: list[str] = []

    def seconds(key: str) -> float:
        if key not in ("verify", "inspect", "numpy"):
            target.unlink(missing_ok=True)
        done = run(commands[key])
        if key == "ours":
            said.append(done.output)
        return done.seconds

    if source.stat().st_size > BIG:
        rounds = max(2, rounds // 3)
    taken = in_turns({key: lambda k=key: seconds(k) for key in commands}, rounds)
    middle = {key: statistics.median(times) for key, times in taken.items()}
    sigma = statistics.median(float(re.findall(r"([\d.]+) s of it", text)[0]) for text in said)
    peaks = []
    for key in ("ours", "script"):
        target.unlink(missing_ok=True)
        peak = f"{run(commands[key], watched=True).anonymous:.0f} MB" if memory else "-"
        peaks.append(peak)
    for path in (target, converted):
        path.unlink(missing_ok=True)
    aim = 1.5 * middle["cp"] + 0.1 + middle["numpy"]
    cells = [name, f"{source.stat().st_size / 1e6:.0f} MB", f"{middle['cp']:.2f}"]
    cells += [f"{middle['numpy']:.2f}", shown(taken["ours"]), f"{sigma:.2f}"]
    cells += [f"{middle['ours'] - sigma:.2f} of {aim:.2f}", shown(taken["script"])]
    cells += [shown(ratios(taken, "script", "ours")), shown(ratios(taken, "control", "ours"))]
    return row([*cells, *(shown(taken[key]) for key in ("verify", "inspect")), *peaks])


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", default=ROWS, metavar="MODEL")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-memory", action="store_true")
    arguments = parser.parse_args()
    heads = ["model", "size", "cp s", "import numpy s", "ours s", "of it u s", "rest s of aim"]
    heads += ["script s", "script / ours", "control", "verify s", "inspect s", "ours RssAnon"]
    print(head(*heads, "script RssAnon"))
    for name in arguments.names:
        print(measure(name, arguments.rounds, memory=not arguments.no_memory), flush=True)


if __name__ == "__main__":
    main()
