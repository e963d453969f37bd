"""What models of gigabytes cost: time and memory of each verb, beside a copy of the file.

    python benchmarks/large.py [--spectrum random] [--verbs apply,verify] [GB ...]

Each model is a chain of Dense layers of 8192 units without bias, 268 MB a kernel; sizes are 0.5, 1,
2, 4 and 8 GB. It is made by a script, without Keras, and deleted afterwards; a size for which the
disk has no room is left out, and the table says so. The kernels are random (the search for `u`
takes longest, about 90 passes) or `decaying` (about 10). `cp` writes and flushes the file, as the
verbs do. Memory is that of all processes together, taken 20 times a second: resident, pages of the
mapped file included, and anonymous. The last line fits seconds = fixed + rate * GB.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests" / "support"))

import handmade  # noqa: E402 - it lies beside the tests

OUT = HERE / "out"
UNITS = 8192
SIZES = (0.5, 1.0, 2.0, 4.0, 8.0)
VERBS = ("cp", "apply", "inspect", "verify", "bake")
COPY = (
    "import os, shutil, sys; shutil.copyfile(*sys.argv[1:]);"
    " os.fsync(os.open(sys.argv[2], os.O_RDWR))"
)


def kernel(index: int, spectrum: str) -> np.ndarray:
    """Returns a kernel whose norm is about 2: each another, and none takes a minute to make."""
    rng = np.random.default_rng(index)
    matrix = rng.standard_normal((UNITS, UNITS), dtype=np.float32)
    matrix *= np.float32(UNITS**-0.5)
    if spectrum == "decaying":
        matrix *= (np.arange(1, UNITS + 1, dtype=np.float32) ** -0.5)[:, None]
    return matrix


def make(path: Path, layers: int, spectrum: str) -> None:
    """Writes the model; one kernel at a time is in memory."""
    dense = [handmade.dense(f"d{index}", UNITS) for index in range(layers)]
    for entry in dense:
        entry["config"]["use_bias"] = False
    config = handmade.sequential("large", dense, UNITS)
    weights = path.with_suffix(".h5")
    try:
        with h5py.File(weights, "w") as h5:
            for index in range(layers):
                h5[f"layers/{handmade.snake(index)}/vars/0"] = kernel(index, spectrum)
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("metadata.json", json.dumps({"keras_version": "3.15.1"}))
            archive.writestr("config.json", json.dumps(config))
            archive.write(weights, "model.weights.h5")
    finally:
        weights.unlink(missing_ok=True)


def processes(root: int) -> Iterator[int]:
    """Yields a process and all below it."""
    yield root
    for children in Path(f"/proc/{root}/task").glob("*/children"):
        for child in children.read_text().split():
            yield from processes(int(child))


def memory(root: int) -> tuple[int, int]:
    """Returns resident and anonymous bytes of a process and those below it."""
    resident = anonymous = 0
    for number in processes(root):
        for line in Path(f"/proc/{number}/status").read_text().splitlines():
            name, _, value = line.partition(":")
            if name in {"RssAnon", "RssFile", "RssShmem"}:
                size = int(value.split()[0]) * 1024
                resident += size
                anonymous += size if name == "RssAnon" else 0
    return resident, anonymous


def run(*command: object) -> tuple[float, int, int]:
    """Returns seconds, and the largest resident and anonymous memory, of a command that works."""
    started, most = time.perf_counter(), (0, 0)
    with subprocess.Popen([*map(str, command)], stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            try:
                now = memory(process.pid)
            except OSError:  # one of them has just ended
                continue
            most = max(most[0], now[0]), max(most[1], now[1])
            time.sleep(0.05)
    if process.returncode:
        raise SystemExit(f"{command} ended with {process.returncode}")
    return time.perf_counter() - started, *most


def measured(size: float, spectrum: str, verbs: list[str]) -> dict[str, float]:
    """Prints the rows of one size, and returns the seconds of each verb."""
    layers = max(1, round(size * 1e9 / (4 * UNITS**2)))
    seconds: dict[str, float] = {}
    with tempfile.TemporaryDirectory(dir=OUT) as name:
        folder = Path(name)
        source, result, extra = (folder / x for x in ("m.keras", "m-sn.keras", "x.keras"))
        make(source, layers, spectrum)
        tool = (sys.executable, "-m", "snconvert")
        commands: dict[str, tuple[object, ...]] = {
            "cp": (sys.executable, "-c", COPY, source, extra),
            "apply": (*tool, "apply", source, "-q", "-o", result),
            "inspect": (*tool, "inspect", source, "-q"),
            "verify": (*tool, "verify", source, result, "-q"),
            "bake": (*tool, "bake", result, "-q", "-o", extra),
        }
        for verb in verbs:
            seconds[verb], resident, anonymous = run(*commands[verb])
            rate = seconds[verb] / (layers * 4 * UNITS**2 / 1e9)
            print(
                f"{layers * 4 * UNITS**2 / 1e9:6.2f} {verb:8} {seconds[verb]:8.1f} s"
                f" {rate:7.2f} s/GB {resident / 1e6:8.0f} MB {anonymous / 1e6:8.0f} MB anonymous",
                flush=True,
            )
            extra.unlink(missing_ok=True)
    return seconds


def main() -> None:
    """Prints the table and the fitted lines."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("sizes", nargs="*", type=float, metavar="GB", default=list(SIZES))
    parser.add_argument("--spectrum", choices=("random", "decaying"), default="random")
    parser.add_argument("--verbs", default=",".join(VERBS))
    options = parser.parse_args()
    verbs = [verb for verb in VERBS if verb in options.verbs.split(",")]
    OUT.mkdir(exist_ok=True)
    rows: dict[float, dict[str, float]] = {}
    for size in options.sizes:
        room = shutil.disk_usage(OUT).free
        if room < 2.1e9 * size:  # the model, and its result or the copy
            print(f"{size:6.2f} left out: the disk has {room / 1e9:.1f} GB of room")
            continue
        rows[size] = measured(size, options.spectrum, verbs)
    if len(rows) > 1:
        for verb in verbs:
            rate, fixed = np.polyfit([*rows], [row[verb] for row in rows.values()], 1)
            print(f"{verb:8} {fixed:.1f} s + {rate:.2f} s/GB")


if __name__ == "__main__":
    main()
