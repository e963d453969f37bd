"""How the cost of `snconvert apply` grows with the number of layers.

    python benchmarks/scaling.py [--runs N] [--units N] [SHAPE ...]

Shapes: `chain` (one Sequential of 1000, 2000, 5000 and 10 000 Dense layers), `functional` (as many
in a Functional model), `nested` (60, 120 and 240 models inside each other), `config` (4, 16 and
63 MiB of config.json). Prints the median time of whole processes from start to exit, the time for
each layer, model or MiB once that of a model of one layer is taken off, and the largest resident
memory of any of their processes. The models are made once, in `benchmarks/out`.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests" / "support"))

import handmade  # noqa: E402 - it lies beside the tests
from limited import run  # noqa: E402 - as above

OUT = HERE / "out"
MIB = 1 << 20
LAYERS = (1000, 2000, 5000, 10_000)
SHAPES: dict[str, tuple[Callable[[Path, int, int], None], tuple[int, ...], str]] = {
    "chain": (handmade.chain, LAYERS, "layer"),
    "functional": (handmade.functional_chain, LAYERS, "layer"),
    "nested": (handmade.nested, (60, 120, 240), "model"),
    "config": (
        lambda path, size, units: handmade.wide(path, size * MIB, units),
        (4, 16, 63),
        "MiB",
    ),
}
LIMIT = 120.0


def measure(source: Path, runs: int) -> tuple[float, float, str]:
    """Returns median seconds, megabytes and what went wrong."""
    outcomes = []
    for _ in range(runs):
        with tempfile.TemporaryDirectory(dir=OUT) as folder:
            command = [sys.executable, "-m", "snconvert", "apply", str(source)]
            command += ["-q", "-o", str(Path(folder) / "out.keras")]
            outcomes.append(run({"command": command, "seconds": LIMIT}))
    seconds = statistics.median(outcome["seconds"] for outcome in outcomes)
    wrong = next((outcome["stderr"] for outcome in outcomes if outcome["code"]), "")
    return seconds, max(outcome["megabytes"] for outcome in outcomes), wrong


def main() -> int:
    """Makes the models, runs and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("shapes", nargs="*", metavar="SHAPE", default=list(SHAPES))
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--units", type=int, default=4)
    options = parser.parse_args()
    OUT.mkdir(exist_ok=True)
    failed = False
    start = OUT / f"chain-1-{options.units}.keras"
    handmade.chain(start, 1, options.units)
    base, _, _ = measure(start, options.runs)
    print(f"{'shape':12}{'size':>8}{'seconds':>10}{'ms each':>10}{'MB':>8}")
    print(f"{'one layer':12}{1:8}{base:10.2f}")
    for shape in options.shapes:
        make, sizes, each = SHAPES[shape]
        for size in sizes:
            path = OUT / f"{shape}-{size}-{options.units}.keras"
            if not path.exists():
                make(path, size, options.units)
            seconds, megabytes, wrong = measure(path, options.runs)
            step = 1000 * (seconds - base) / size
            print(f"{shape:12}{size:8}{seconds:10.2f}{step:10.3f}{megabytes:8.0f}  per {each}")
            if wrong:
                failed = True
                print(f"  failed: {wrong.strip()}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
