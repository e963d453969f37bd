"""Tries `snconvert verify` on planted errors and on sound pairs, of files and of live models.

    python benchmarks/verify.py [--each 4] [--live 3] [--seed 0] [--jobs 2] [--kind TEXT]
                                [--models "NAME ..."] [--keep FOLDER]

Models of every kind, type and optimizer, and files of earlier versions, are converted, baked and
made plain again. In each pair of files errors of `--each` kinds are planted, in each pair of live
models of `--live` kinds, those first that were tried least: all must be found. And each pair must
be accepted as it is, written in another way that means the same, loaded and saved again by Keras on
TensorFlow, JAX or PyTorch, and against what the conversion in memory makes. Prints kinds, planted
and found; what was judged wrongly is listed and kept; exit code 1 then.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from random import Random
from typing import Any

HERE = Path(__file__).resolve().parent
TESTS = HERE.parent / "tests" / "support"
sys.path.insert(0, str(TESTS))

from planting import (  # noqa: E402 - it lies beside the tests
    PLANTERS,
    WAYS,
    Ground,
    Pair,
    Tally,
    differences,
    pairs_of,
)
from planting_contents import REWRITES, rewrite  # noqa: E402 - as above

OLD = TESTS.parent / "data" / "models"
BACKENDS = ("tensorflow", "jax", "torch")


def names() -> list[list[str]]:
    """Returns the names of the models that are files, and of those that stay in memory."""
    code = "import planted_models as m; print(*m.MODELS); print(*m.LIVE)"
    command = [sys.executable, "-c", code]
    run = subprocess.run(command, cwd=TESTS, stdout=subprocess.PIPE, text=True, check=True)
    files, models = (line.split() for line in run.stdout.splitlines())
    return [[*files, *sorted(path.name for path in OLD.glob("*.keras"))], models]


def keras(task: str, folder: Path, *arguments: Any, backend: str = "tensorflow") -> None:
    """Lets Keras do a task of `planted_models`."""
    folder.mkdir(exist_ok=True)
    environment = os.environ | {"KERAS_BACKEND": backend, "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, TESTS / "planted_models.py", task, folder, *map(str, arguments)]
    run = subprocess.run(command, env=environment, stderr=subprocess.PIPE, text=True, check=False)
    if run.returncode:
        raise SystemExit(run.stderr[-2000:])


def ways_of(model: str, number: int) -> list[str]:
    """Returns in which ways a model is converted: an older or trained one in two of them."""
    ways = list(WAYS)
    if not model.endswith(("-optimizer", ".keras")):
        return ways
    return list(dict.fromkeys(("gain", ways[number % len(ways)])))


class Trial:
    """What comes out of files.

    Args:
        options: Those of the command line.
        folder: Where the files go.
    """

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self.tally = Tally()
        self._options, self._folder = options, folder
        self._old: tuple[str, ...] = ()

    def run(self, models: list[str]) -> dict[str, Any]:
        """Tries everything on some models; returns the counts."""
        old = [model for model in models if model.endswith(".keras")]
        self._old = tuple(Path(model).stem for model in old)
        keras("build", self._folder, *(model for model in models if model not in old))
        pairs = [
            pair
            for number, model in enumerate(models)
            for source in [OLD / model if model in old else self._folder / f"{model}.keras"]
            for way in ways_of(model, number)
            for pair in pairs_of(source, way, self._folder)
        ]
        if not self._options.kind:
            self._sound(pairs)
            self._against_memory(pairs)
        self._plant(pairs)
        return vars(self.tally)

    def _plant(self, pairs: list[Pair]) -> None:
        kinds = [kind for kind in PLANTERS if self._options.kind in kind]
        path = self._folder / "planted.keras"
        for pair in pairs:
            left, ground = self._options.each, Ground(pair.before, pair.after)
            rng = Random(f"{self._options.seed} {pair}")  # noqa: S311 - not for secrets
            for kind in self.tally.order(kinds, rng):
                if not left:
                    break
                self.tally.tried[kind] += 1
                place = ground.plant(kind, path, self._options.seed)
                if place is not None:
                    left -= 1
                    told = differences(pair.before, path)
                    if not self.tally.error(kind, f"{pair}: {place}", told):
                        self._keep(pair.before, path)

    def _accept(self, kind: str, where: object, before: Path, after: Path) -> None:
        if not self.tally.pair(kind, str(where), differences(before, after)):
            self._keep(before, after)

    def _keep(self, before: Path, after: Path) -> None:
        name = f"{os.getpid()}-{len(self.tally.failures)}"
        place = Path(self._options.keep) / name
        place.mkdir(parents=True, exist_ok=True)
        for side, path in (("before", before), ("after", after)):
            if path.is_dir():
                shutil.copytree(path, place / side, dirs_exist_ok=True)
            else:
                shutil.copyfile(path, place / f"{side}.keras")
        self.tally.failures[-1] += f" ({place})"
        sys.stderr.write(f"{self.tally.failures[-1]}\n")

    def _sound(self, pairs: list[Pair]) -> None:
        for number, pair in enumerate(pairs):
            self._accept("as it is", pair, pair.before, pair.after)
            kind = REWRITES[number % len(REWRITES)]
            rng = Random(number)  # noqa: S311 - as above
            other = rewrite(kind, pair.after, self._folder / "rewritten.keras", rng)
            self._accept(kind, pair, pair.before, other)
            if "-keras" not in pair.name and "-constraint" not in pair.name and pair.verb != "bake":
                self._accept("the other way round", pair, pair.after, pair.before)
        conversions = sorted({pair.name for pair in pairs})
        for index, backend in enumerate(BACKENDS):
            chosen = conversions[index :: len(BACKENDS)]
            mine = [pair for pair in pairs if pair.name in chosen]
            files = sorted({path for pair in mine for path in (pair.before, pair.after)})
            place = self._folder / backend
            keras("again", place, *files, backend=backend)
            for pair in mine:
                before, after = (place / path.name for path in (pair.before, pair.after))
                kind = f"saved again on {backend}"
                # A file of an earlier version comes back with the fields of this one.
                if after.exists() and not pair.name.startswith(self._old):
                    self._accept(kind, pair, pair.before, after)
                    self._accept(f"{kind}, itself", pair, pair.after, after)
                # Keras drops the record, and with it what a wrapped kernel was divided by.
                if before.exists() and after.exists() and "-keras" not in pair.name:
                    self._accept(f"{kind}, both", pair, before, after)

    def _against_memory(self, pairs: list[Pair]) -> None:
        applied = [pair for pair in pairs if pair.verb == "apply"][:: len(WAYS) + 1]
        place = self._folder / "memory"
        ways = [(pair.before, pair.name.partition(f"{pair.before.stem}-")[2]) for pair in applied]
        keras("convert", place, *(argument for way in ways for argument in way))
        for pair in pairs:
            before, after = (place / path.name for path in (pair.before, pair.after))
            if after.exists() and not pair.name.startswith(self._old):
                kind = "converted in memory"
                self._accept(kind, pair, pair.before, after)
                self._accept(f"{kind}, itself", pair, pair.after, after)
                if before.exists() and "-keras" not in pair.name:
                    self._accept(f"{kind}, both", pair, before, after)


def work(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Tries some files and some live models; returns the counts of both."""
    part = json.loads(options.part)
    counts = []
    with tempfile.TemporaryDirectory() as place:
        if part["files"]:
            counts.append(Trial(options, Path(place)).run(part["files"]))
        if part["live"]:
            task = (options.live, options.seed, options.kind, *part["live"])
            keras("live", Path(place), *task)
            counts.append(json.loads(Path(place, "live.json").read_text()))
    return counts


def parts(options: argparse.Namespace) -> list[dict[str, list[str]]]:
    """Returns which files and which live models each job tries."""
    files, models = names()
    if options.models:
        files, models = (
            [x for x in each if x in options.models.split()] for each in (files, models)
        )
    ways = list(WAYS)
    pairs = [
        (model, way)
        for number, model in enumerate(models)
        for way in dict.fromkeys(("gain", "keras", "constraint", ways[number % len(ways)]))
    ]
    jobs = options.jobs
    return [
        {"files": files[i::jobs], "live": [x for pair in pairs[i::jobs] for x in pair]}
        for i in range(jobs)
    ]


def main() -> int:
    """Runs the parts side by side and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--each", type=int, default=4)
    parser.add_argument("--live", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--kind", default="")
    parser.add_argument("--models", default="")
    parser.add_argument("--keep", default=str(HERE / "out" / "verify"))
    parser.add_argument("--part", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        json.dump(work(options), sys.stdout)
        return 0
    started = time.monotonic()
    command = [sys.executable, __file__, *sys.argv[1:], "--part"]
    jobs = [
        subprocess.Popen([*command, json.dumps(part)], stdout=subprocess.PIPE)
        for part in parts(options)
    ]
    total = Tally()
    for job in jobs:
        output = job.communicate()[0]
        if job.returncode:
            raise SystemExit(f"a part of it failed with exit code {job.returncode}")
        for counts in json.loads(output):
            total.add(counts)
    for kind, count in sorted(total.planted.items()):
        print(f"{kind:64} {count:5} planted {total.found[kind]:5} found")
    for kind, count in sorted(total.sound.items()):
        print(f"{kind:64} {count:5} sound   {total.blamed[kind]:5} blamed")
    print(*sorted(total.failures), sep="\n", end="\n" * bool(total.failures))
    planted, sound = total.planted.total(), total.sound.total()
    print(
        f"{planted} errors of {len(total.planted)} kinds: {planted - total.found.total()} missed;"
        f" {sound} sound pairs: {total.blamed.total()} blamed"
        f" ({time.monotonic() - started:.0f} s)"
    )
    return 1 if total.failures else 0


if __name__ == "__main__":
    sys.exit(main())
