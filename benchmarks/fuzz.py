"""Runs `snconvert apply` and `snconvert inspect` on random mutants of genuine files.

    python benchmarks/fuzz.py [--older] [--lipschitz] [--count 6000] [--seed 0] [--jobs 2]

Mutant number i of a seed is always the same. Each is one of five genuine files with bits flipped,
cut off, or blocks swapped, overwritten or doubled: in the archive as it is, in its headers only, or
in `config.json`, `metadata.json` or the HDF5 file with all checksums right; JSON is also changed as
a tree. With `--older` each is one of four genuine whole models in HDF5: changed anywhere, in its
structure only, in the configurations that its attributes hold, or with a piece of another one in
it. Every run is a process of its own and must end within 10 s and 600 MB, with exit code 0 or 1
and nothing but `error:` and `warning:` lines on stderr. Where `apply` succeeds, so must `inspect`,
the output must load in Keras with every variable of the input bit for bit, and what Keras makes of
neither is no matter; else there is no output. With `--lipschitz` `inspect` reads the network,
too, and may refuse a graph that `apply` does not look at. What fails is kept and listed (`--keep`);
exit code 1 then.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import re
import struct
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py

HERE = Path(__file__).resolve().parent
TESTS = HERE.parent / "tests" / "support"
sys.path.insert(0, str(TESTS))

from forked import Outcome, run  # noqa: E402 - it lies beside the tests
from keras_judge import Judge  # noqa: E402 - as above
from places import MODELS  # noqa: E402 - as above

SOURCES = (
    "a02_seq_adam.keras",
    "a11_bfloat16.keras",
    "a18_assets.keras",
    "a30_multiple_models_same_layer_nested.keras",
    "v3.0.5_func.keras",
)
OLDER = ("a02_seq_adam_k3legacy.h5", "k2.12.0_seq.keras", "k215_seq.h5", "tfk221_seq.h5")
SECONDS, MEGABYTES = 10.0, 600.0
CONFIG, METADATA, WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
ODD_BYTES = (0x00, 0x01, 0x7F, 0x80, 0xFF)
ODD_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 3, 2**31, 2**63, 10**30, 0.5, -1.5e300, "", "a", "a/b", "..",
    "\0", "\ud800", "é", "x" * 300, [], {}, [[]], [None], [0, 0, 0], {"a": 1}, "Dense", "float16",
    "keras.layers", "os", "builtins", "Lambda", "__lambda__", "__tuple__", "__keras_tensor__",
)  # fmt: skip


def read(name: str) -> dict[str, bytes]:
    """Returns the members of one of the sources."""
    with zipfile.ZipFile(MODELS / name) as archive:
        return {member: archive.read(member) for member in archive.namelist()}


def pack(members: dict[str, bytes]) -> bytes:
    """Returns an archive of the members with right checksums, as Keras writes it."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data)
    return file.getvalue()


def places(data: bytes, spans: list[tuple[int, int]] | None, rng: random.Random) -> int:
    """Returns a random position in `data`, or in one of `spans`."""
    if not spans:
        return rng.randrange(len(data))
    low, high = rng.choice(spans)
    return min(rng.randrange(low, max(high, low + 1)), len(data) - 1)


def mutate(data: bytes, rng: random.Random, spans: list[tuple[int, int]] | None = None) -> bytes:
    """Returns `data` with one to eight random changes."""
    found = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        if not found:
            break
        at = places(found, spans, rng)
        size = rng.choice((1, 2, 4, 8, 16, 64, 512))
        match rng.choice(("flip",) * 6 + ("odd",) * 4 + ("word", "cut", "swap", "zero", "double")):
            case "flip":
                found[at] ^= 1 << rng.randrange(8)
            case "odd":
                found[at] = rng.choice(ODD_BYTES)
            case "word":
                value = rng.choice((0, 1, 2**32 - 1, 2**31, 2**63, 2**64 - 1, len(data), at))
                layout = "<I" if value < 2**32 and rng.random() < 0.5 else "<Q"
                word = struct.pack(layout, value)
                found[at : at + len(word)] = word
            case "cut":
                del found[at:]
            case "swap":
                other = places(found, spans, rng)
                low, high = sorted((at, other))
                size = min(size, high - low, len(found) - high)
                found[low : low + size], found[high : high + size] = (
                    found[high : high + size],
                    found[low : low + size],
                )
            case "zero":
                size = min(size, len(found) - at)
                found[at : at + size] = bytes(size)
            case "double":
                found[at:at] = found[at : at + size]
    return bytes(found)


def headers(archive: bytes) -> list[tuple[int, int]]:
    """Returns where an archive holds headers: of its members, and the directory."""
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        spans = [
            (info.header_offset, info.header_offset + 30 + len(info.filename))
            for info in opened.infolist()
        ]
        spans.append((opened.start_dir, len(archive)))
    return spans


def structure(weights: bytes) -> list[tuple[int, int]]:
    """Returns where an HDF5 file holds anything but data, roughly: where text and zeros are."""
    signs = (
        *(b"TREE", b"HEAP", b"SNOD", b"GCOL", b"vars", b"_names"),
        *(b"\x01\x00\x01\x00", b"\x08\x00\x18\x00\x00"),
    )
    spans = [(0, 96)]
    for sign in signs:
        spans += [
            (max(0, match.start() - 32), match.start() + 96)
            for match in re.finditer(re.escape(sign), weights)
        ]
    return spans


def nodes(tree: Any) -> list[tuple[Any, Any]]:
    """Returns every place in a JSON tree: the container and the key or index."""
    found, stack = [], [tree]
    while stack:
        value = stack.pop()
        if isinstance(value, (dict, list)):
            keys = list(value) if isinstance(value, dict) else list(range(len(value)))
            found += [(value, key) for key in keys]
            stack += [value[key] for key in keys]
    return found


def mutate_tree(data: bytes, rng: random.Random) -> bytes:
    """Returns JSON in which values were replaced, swapped, moved, dropped or renamed."""
    tree = json.loads(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        everything = nodes(tree)
        if not everything:
            break
        owner, key = rng.choice(everything)
        other, other_key = rng.choice(everything)
        match rng.choice(
            ("replace", "replace", "swap", "copy", "drop", "rename", "nudge", "double")
        ):
            case "replace":
                owner[key] = rng.choice(ODD_VALUES)
            case "swap":
                # Copies, because one may lie in the other.
                owner[key], other[other_key] = _copied(other[other_key]), _copied(owner[key])
            case "copy":
                owner[key] = _copied(other[other_key])
            case "drop":
                del owner[key]
            case "rename" if isinstance(owner, dict):
                owner[str(rng.choice(ODD_VALUES))] = owner.pop(key)
            case "nudge" if type(owner[key]) in (int, float):
                owner[key] += rng.choice((-1, 1, 1000, 0.5))
            case "double" if isinstance(owner, list):
                owner.append(_copied(owner[key]))
    return json.dumps(tree).encode("utf-8", "surrogatepass")


def _copied(tree: Any) -> Any:
    return json.loads(json.dumps(tree))


def mutant(index: int, seed: int) -> tuple[str, str, bytes]:
    """Returns source, kind and bytes of mutant number `index`."""
    rng = random.Random(f"{seed}-{index}")  # noqa: S311 - not for secrets
    name = SOURCES[index % len(SOURCES)]
    members = read(name)
    original = pack(members)
    kind = rng.choice(("zip", "headers", "json", "tree", "tree", "hdf5", "structure", "structure"))
    if kind == "zip":
        return name, kind, mutate(original, rng)
    if kind == "headers":
        return name, kind, mutate(original, rng, headers(original))
    if kind in ("json", "tree"):
        member = rng.choice((CONFIG,) * 7 + (METADATA,))
        change: Callable[[bytes, random.Random], bytes] = mutate_tree if kind == "tree" else mutate
        members[member] = change(members[member], rng)
        return name, kind, pack(members)
    spans = structure(members[WEIGHTS]) if kind == "structure" else None
    members[WEIGHTS] = mutate(members[WEIGHTS], rng, spans)
    return name, kind, pack(members)


def older_mutant(index: int, seed: int) -> tuple[str, str, bytes]:
    """Returns source, kind and bytes of mutant number `index` of the older files."""
    rng = random.Random(f"{seed}-{index}-older")  # noqa: S311 - not for secrets
    name, other = OLDER[index % len(OLDER)], rng.choice(OLDER)
    data = (MODELS / name).read_bytes()
    kind = rng.choice(("file", "structure", "structure", "structure", "json", "tree", "splice"))
    if kind == "file":
        return name, kind, mutate(data, rng)
    if kind == "structure":
        return name, kind, mutate(data, rng, structure(data))
    if kind == "splice":
        piece = (MODELS / other).read_bytes()
        low, high = sorted(rng.randrange(min(len(data), len(piece))) for _ in range(2))
        return name, kind, data[:low] + piece[low:high] + data[high:]
    change: Callable[[bytes, random.Random], bytes] = mutate_tree if kind == "tree" else mutate
    copy = io.BytesIO(data)
    with h5py.File(copy, "r+") as file:
        where = rng.choice(("model_config", "model_config", "training_config"))
        text = change(file.attrs[where].encode(), rng).replace(b"\0", b" ")
        file.attrs[where] = text.decode("utf-8", "replace")
    return name, kind, copy.getvalue()


def fault(outcome: Outcome) -> str:
    """Returns what is wrong with a run as such, an empty string if nothing is."""
    lines = outcome.stderr.splitlines()
    if outcome.timeout or outcome.seconds > SECONDS:
        return f"it took {outcome.seconds:.1f} s"
    if 2 * outcome.megabytes > MEGABYTES:  # the guarded process is never larger than the largest
        return f"it took {2 * outcome.megabytes:.0f} MB"
    if outcome.code not in (0, 1):
        return f"exit code {outcome.code}"
    errors = [line for line in lines if line.startswith("error: ")]
    if len(errors) != outcome.code or (errors and lines[-1:] != errors):
        return f"exit code {outcome.code} with {len(errors)} errors"
    if not all(line.startswith(("error: ", "warning: ")) and line.isprintable() for line in lines):
        return "stderr is not clean"
    return ""


def check(
    path: Path, folder: Path, judge: Judge, *, lipschitz: bool = False
) -> tuple[str, str, list[Outcome]]:
    """Runs both commands on a mutant; returns the verdict, what is wrong, and the outcomes."""
    out = folder / "out"
    out.mkdir(exist_ok=True)
    output = out / "out.keras"
    output.unlink(missing_ok=True)
    applied = run(["apply", path, "-o", output, "-q"], seconds=SECONDS)
    flags = ["--lipschitz", "--spectrum"] if lipschitz else []
    inspected = run(["inspect", path, "-q", *flags], seconds=SECONDS)
    outcomes = [applied, inspected]
    wrong = fault(applied) or fault(inspected)
    left = sorted(os.listdir(out)) + sorted(set(os.listdir(folder)) - {"out", path.name})
    if not wrong and left != ["out.keras"] * (applied.code == 0):
        wrong = f"left behind: {left}"
    if not wrong and not lipschitz and applied.code < inspected.code:
        wrong = "apply succeeds, but inspect does not"
    if not wrong and applied.code == 0:
        wrong = judge.ask(path, output)
    verdict = "converted" if applied.code == 0 else "refused"
    if "crashed" in applied.stderr or "did not finish" in applied.stderr:
        verdict = "HDF5 died"
    return verdict, wrong, outcomes


def work(part: int, options: argparse.Namespace) -> dict[str, Any]:
    """Checks every `jobs`-th mutant."""
    counts: Counter[str] = Counter()
    failures: list[str] = []
    slowest = largest = 0.0
    with tempfile.TemporaryDirectory() as name, Judge(seconds=40.0) as judge:
        folder = Path(name)
        os.environ["TMPDIR"] = tempfile.tempdir = str(folder)
        path = folder / ("mutant.h5" if options.older else "mutant.keras")
        for index in range(part, options.count, options.jobs):
            make = older_mutant if options.older else mutant
            source, kind, data = make(options.first + index, options.seed)
            path.write_bytes(data)
            verdict, wrong, outcomes = check(path, folder, judge, lipschitz=options.lipschitz)
            counts[f"{kind} {verdict}"] += 1
            slowest = max(slowest, *(outcome.seconds for outcome in outcomes))
            largest = max(largest, *(2 * outcome.megabytes for outcome in outcomes))
            if wrong:
                kept = (
                    Path(options.keep)
                    / f"{options.seed}-{options.first + index}-{kind}{path.suffix}"
                )
                kept.parent.mkdir(parents=True, exist_ok=True)
                kept.write_bytes(data)
                said = " | ".join(outcome.stderr[-300:] for outcome in outcomes)
                failures.append(f"{kept} ({source}): {wrong} | {said}")
    return {"counts": counts, "failures": failures, "seconds": slowest, "megabytes": largest}


def main() -> int:
    """Runs the parts side by side and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--older", action="store_true", help="Mutants of older files.")
    parser.add_argument("--lipschitz", action="store_true", help="Read the network, too.")
    parser.add_argument("--count", type=int, default=6000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--keep", default=str(HERE / "out" / "fuzz"))
    parser.add_argument("--part", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part is not None:
        json.dump(work(options.part, options), sys.stdout)
        return 0
    started = time.monotonic()
    parts = [
        subprocess.Popen(
            [sys.executable, __file__, *sys.argv[1:], "--part", str(part)], stdout=subprocess.PIPE
        )
        for part in range(options.jobs)
    ]
    results = [json.loads(part.communicate()[0]) for part in parts]
    counts: Counter[str] = Counter()
    for result in results:
        counts.update(result["counts"])
        print(*result["failures"], sep="\n", end="\n" * bool(result["failures"]))
    failures = sum(len(result["failures"]) for result in results)
    for key, count in sorted(counts.items()):
        print(f"{key:24} {count:6}")
    print(
        f"{sum(counts.values())} mutants, seed {options.seed}: {failures} failures; "
        f"slowest run {max(result['seconds'] for result in results):.2f} s, "
        f"largest {max(result['megabytes'] for result in results):.0f} MB "
        f"({time.monotonic() - started:.0f} s)"
    )
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
