"""Measures everything that the pages say of time, and writes `benchmarks/RESULTS.md`.

    python benchmarks/all.py [--quick] [--output FILE [PART ...]]

Each part is a script of this folder, run by itself. The page says of which commit, day, machine and
versions its figures are, and how busy the machine was before each part: it must be idle. A part
that fails says so in its place; the exit code is 1 then. `--quick` takes fewer rounds, and leaves
out what is far from any change; the commands in the page show both. What the page has under
"On an accelerator" stays: another machine measured it (`accelerator.py`).
"""

from __future__ import annotations

import argparse
import datetime as dt
import importlib.metadata
import os
import platform
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
KEPT = "## On an accelerator"
PACKAGES = ("numpy", "h5py", "keras", "tensorflow", "torch", "jax")
MONITORED = ("MLP 64-128-64-32-10", "the same, converted", "MLP 784-256-256-10")


@dataclass(frozen=True)
class Part:
    """A kind of work: the words of its command in both cases; without words it is left out."""

    title: str
    full: str
    quick: str = ""
    more: tuple[str, ...] = ()  # arguments with spaces, in quick runs


PARTS = {
    "conversion": Part(
        "Conversion, verify, inspect",
        "convert.py --rounds 9",
        "convert.py --rounds 3 --no-memory mlp-random efficientnetb0-random resnet50-random",
        ("resnet50-random --conv", "vgg16-random", "2gb-decaying"),
    ),
    "training": Part("A training step", "training.py --rounds 41", "training.py --rounds 7"),
    "inference": Part(
        "Inference of a converted model",
        "training.py --inference --rounds 41",
        "training.py --inference --rounds 7",
    ),
    "loading": Part("Loading", "loading.py --rounds 5", "loading.py --rounds 3 tensorflow"),
    "older": Part("Older files", "older.py --rounds 5"),
    "lipschitz": Part("inspect --lipschitz", "lipschitz.py", "lipschitz.py"),
    "chains": Part("Bounds of random networks", "lipschitz.py --chains"),
    "monitor": Part("SigmaMonitor", "monitor.py --rounds 4", "monitor.py --rounds 2", MONITORED),
    "constraint": Part("The constraint", "constraint.py"),
    "spectra": Part("Spectra", "spectra.py"),
    "page": Part("The report's page", "page.py", "page.py"),
    "scaling": Part("Growth with the model", "scaling.py", "scaling.py --runs 1 chain"),
}


def processor() -> str:
    """Returns the processor's name and the number of its cores that are ours."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{len(os.sched_getaffinity(0))} cores of {(*names, platform.processor())[0]}"


def git(*words: str) -> str:
    """Returns what git says of this checkout."""
    return subprocess.run(
        ["git", "-C", HERE, *words], capture_output=True, text=True, check=True
    ).stdout.strip()


def busy(seconds: float = 2.0) -> float:
    """Returns how many cores others keep busy; the load would count the part before."""

    def ticks() -> tuple[int, int]:
        first = Path("/proc/stat").read_text(encoding="utf-8").splitlines()[0]
        numbers = [int(word) for word in first.split()[1:9]]
        return sum(numbers), numbers[3] + numbers[4]

    everything, idle = ticks()
    time.sleep(seconds)
    more, rested = ticks()
    return (1 - (rested - idle) / (more - everything)) * (os.cpu_count() or 1)


def preamble() -> str:
    """Returns where the figures come from."""
    versions = ["Python " + platform.python_version()]
    for name in PACKAGES:
        try:
            versions.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            versions.append(f"no {name}")
    changed = " with changes" if git("status", "--porcelain", "-uno") else ""
    now = dt.datetime.now(dt.UTC)
    return (
        f"# What `python {' '.join(['benchmarks/all.py', *sys.argv[1:]])}` measured\n\n"
        f"Commit {git('rev-parse', '--short=12', 'HEAD')}{changed}, {now:%Y-%m-%d %H:%M} UTC,"
        f" {processor()}, {platform.system()} {platform.release()}. {', '.join(versions)}.\n\n"
        "Figures are medians, in parentheses with their quartiles. Ratios are of the same round;"
        " `control` is the same thing a second time: its distance from 1 is the noise.\n"
    )


def measured(part: Part, *, quick: bool) -> tuple[str, bool]:
    """Runs a part; returns its section, and whether it worked."""
    words = (part.quick or part.full) if quick else part.full
    command = [*words.split(), *(part.more if quick else ())]
    before, started = busy(), time.monotonic()
    environment = os.environ | {"PYTHONPATH": str(HERE.parent), "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        [sys.executable, HERE / command[0], *command[1:]],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    said = done.stdout.strip("\n")
    if said and not said.startswith("|"):
        said = f"```text\n{said}\n```"
    if done.returncode:
        wrong = (done.stderr.strip().splitlines() or ["nothing was said"])[-1]
        said += f"\n\nIt ended with exit code {done.returncode}: `{wrong[:200]}`"
    shown = " ".join(f'"{word}"' if " " in word else word for word in command)
    minutes = (time.monotonic() - started) / 60
    head = f"`python benchmarks/{shown}`, {minutes:.1f} minutes, {before:.2f} cores busy before:"
    return f"## {part.title}\n\n{head}\n\n{said}\n", not done.returncode


def main() -> int:
    """Runs the parts, and writes the page anew after each."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--output", type=Path, help="by default benchmarks/RESULTS.md")
    options = parser.parse_args()
    if options.parts and not options.output:
        parser.error("say --output: RESULTS.md is for all parts, of one commit")
    quick, output = options.quick, options.output or HERE / "RESULTS.md"
    old = output.read_text(encoding="utf-8") if output.exists() else ""
    kept = "".join(old.partition(KEPT)[1:])
    chosen = options.parts or [name for name, part in PARTS.items() if part.quick or not quick]
    sections, worked = [preamble()], True
    for name in chosen:
        section, fine = measured(PARTS[name], quick=quick)
        sections, worked = [*sections, section], worked and fine
        print(section.splitlines()[2], "" if fine else "It failed.", flush=True)
        output.write_text("\n".join([*sections, kept]).rstrip() + "\n", encoding="utf-8")
    return 0 if worked else 1


if __name__ == "__main__":
    sys.exit(main())
