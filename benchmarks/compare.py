"""Says what one revision made slower than another, beyond the noise.

    python benchmarks/compare.py OLD NEW [--rounds N] [ROW ...]

Both are taken out of git into temporary folders, and measured by the scripts that lie here. In each
round every row is measured once with OLD, NEW, and OLD again as the control, in a drawn order. The
ratio is NEW to OLD. A row is `slower` if the median's interval of 99 % lies above 1 by more than
the control's median is from 1, and at least 2 %; `faster` the other way. With fewer than 8 rounds
it is `undecided`. The exit code is 1 if any row is slower, 2 if any could not be measured.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

from rounds import enough, head, in_turns, interval, ratios, row, shown, timed, verdict

HERE = Path(__file__).resolve().parent
SIDES = ("old", "new", "control")
COMMANDS = {
    "apply mlp": "apply mlp-random",
    "apply resnet50": "apply resnet50-random",
    "apply resnet50, convolutions too": "apply resnet50-random --conv",
    "inspect resnet50": "inspect resnet50-random",
    "verify resnet50": "verify resnet50-random",
}
STEPS = {
    f"{kind} {case}, {mode}": [case, mode, kind == "inference"]
    for kind in ("training", "inference")
    for case, modes in {
        "dense-1024-1": ("graph", "xla", "eager"),
        "dense-1024-32": ("graph",),
        "dense-1024-256": ("graph",),
        "dense-4096-32": ("graph",),
        "conv2d": ("graph",),
        "lstm": ("graph",),
        "transformer": ("graph", "eager"),
        "resnet50": ("graph",),
    }.items()
    for mode in modes
}


def extract(revision: str, folder: Path) -> Path:
    """Writes what a revision holds into a folder; returns the folder."""
    command = ["git", "-C", HERE.parent, "archive", "--format=tar", revision]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        raise SystemExit(f"{revision}: git cannot read it: {done.stderr.decode().strip()}")
    with tarfile.open(fileobj=BytesIO(done.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return folder


def command_times(name: str, trees: dict[str, Path], rounds: int) -> dict[str, list[float]]:
    """Returns the seconds of whole processes of each side."""
    from convert import make, run  # noqa: PLC0415 - needs numpy, and the steps do not

    verb, model, *flags = COMMANDS[name].split()
    source = str(make(model))
    with tempfile.TemporaryDirectory() as place:

        def side(key: str) -> Callable[[], float]:
            target = str(Path(place, f"{key}.keras"))
            start, path = [sys.executable, "-m", "snconvert"], {"PYTHONPATH": str(trees[key])}
            apply = [*start, "apply", source, "-o", target, "--force", *flags]
            others = {"inspect": [source], "verify": [source, target]}
            command = [*start, verb, *others[verb]] if verb in others else apply
            for words in (apply, command):  # once, so that all is compiled and in the page cache
                run(words, **path)
            return lambda: run(command, **path).seconds

        return in_turns({key: side(key) for key in SIDES}, rounds)


@contextmanager
def worker(tree: Path, asked: list[Any]) -> Iterator[Callable[[], float]]:
    """Starts a process that takes steps of a tree's layers when it is told to; yields the order."""
    process = subprocess.Popen(
        [sys.executable, __file__, "--steps", json.dumps(asked)],
        env=os.environ | {"PYTHONPATH": str(tree), "TF_CPP_MIN_LOG_LEVEL": "3"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    def order(line: str = "") -> float:
        print(line, file=process.stdin, flush=True)
        answer = process.stdout.readline()
        if not answer:
            raise RuntimeError(f"it ended with exit code {process.wait()}")
        return float(answer)

    try:
        yield order
    finally:
        process.kill()
        process.communicate()


def step_times(name: str, trees: dict[str, Path], rounds: int) -> dict[str, list[float]]:
    """Returns the seconds of steps of each side, each in a process of its own."""
    with ExitStack() as stack:
        sides = {key: stack.enter_context(worker(trees[key], STEPS[name])) for key in SIDES}
        counts = [int(order()) for order in sides.values()]
        return in_turns(
            {key: lambda o=order: o(str(max(counts))) for key, order in sides.items()}, rounds
        )


def serve(case: str, mode: str, *, inference: bool) -> None:
    """Takes steps as the lines of stdin say, how many; answers first how many are enough."""
    import tensorflow as tf  # noqa: PLC0415 - only these processes need it
    from training import CASES, step_of  # noqa: PLC0415 - as above

    import snconvert  # noqa: PLC0415 - as above

    plain = CASES[case].make(lambda layer: layer)
    x = tf.random.normal(CASES[case].shape, seed=1)
    step = step_of(snconvert.apply(plain, kinds="all"), x, mode, inference=inference)
    timed(step, 3)
    for line in sys.stdin:
        print(timed(step, int(line)) if line.strip() else enough(step), flush=True)


def line(name: str, taken: dict[str, list[float]]) -> tuple[str, str]:
    """Returns the row of the table, and its verdict."""
    changes, control = (ratios(taken, key, "old") for key in ("new", "control"))
    low, high = interval(changes)
    said = verdict(changes, control)
    once = f"{1e3 * statistics.median(taken['old']):.2f}"
    return row([name, once, shown(changes), f"{low:.2f} to {high:.2f}", shown(control), said]), said


def main() -> int:
    """Prints a row for each kind of work, and what has become slower."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("old", metavar="OLD")
    parser.add_argument("new", metavar="NEW")
    parser.add_argument("rows", nargs="*", metavar="ROW", help="; ".join([*COMMANDS, *STEPS]))
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_intermixed_args()
    verdicts: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as place:
        old, new = (extract(getattr(options, s), Path(place, s)) for s in SIDES[:2])
        trees = {"old": old, "new": new, "control": old}
        print(head("work", "old ms", "new / old", "99 % of the median", "control", "verdict"))
        for name in options.rows or [*COMMANDS, *STEPS]:
            measure = command_times if name in COMMANDS else step_times
            try:
                text, verdicts[name] = line(name, measure(name, trees, options.rounds))
            except (RuntimeError, ValueError, BrokenPipeError) as error:
                verdicts[name] = "failed"
                text = row([name, *"----", f"failed: {str(error).strip().splitlines()[-1]}"])
            print(text, flush=True)
    slower = [name for name, said in verdicts.items() if said == "slower"]
    print(f"\nSlower: {'; '.join(slower) or 'nothing'}.")
    return 1 if slower else 2 if "failed" in verdicts.values() else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--steps"]:
        asked_case, asked_mode, asked_inference = json.loads(sys.argv[2])
        serve(asked_case, asked_mode, inference=asked_inference)
    else:
        sys.exit(main())
