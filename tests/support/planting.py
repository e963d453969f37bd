"""Errors to plant in converted files: what `verify` is tried on.

An error is one number, one field, one entry of the record or one asset that is not what the
conversion promises: with it Keras would load, compute, train or save otherwise, or `remove` would.
What does not matter is in `planting_contents.REWRITES`.

    python tests/support/planting.py FOLDER STEP FILE ...

converts files there, plants an error of every kind, or of each STEP-th, once, and prints what came
of it as JSON. No backend is loaded, so that the guarded process of `verify` is there at once.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import planting_arrays
import planting_configs
from planting_contents import Contents

import snconvert

PLANTERS = {**planting_arrays.PLANTERS, **planting_configs.PLANTERS}
"""What an error is, and what plants it: given both files, of which it changes the second one."""

WAYS: dict[str, dict[str, Any]] = {
    "hard": {"mode": "hard", "bound": 0.7},
    "cap": {"mode": "cap", "bound": 0.7, "power_iterations": 2},
    "gain": {"mode": "gain"},
    "operator": {"mode": "hard", "norm": "operator"},
    "operator-gain": {"mode": "gain", "norm": "operator"},
    "keras": {"target": "keras"},
    "constraint": {"target": "constraint", "bound": 0.7},
    "constraint-cap": {"target": "constraint", "mode": "cap", "bound": 0.9},
}
"""The conversions that errors are planted in, as options of `apply`."""
VERBS = ("apply", "bake", "remove")


class Ground:
    """A pair of files to plant errors in.

    Args:
        before: What the other one was made of.
        after: The other one, of which copies are changed.
    """

    def __init__(self, before: Path, after: Path) -> None:
        self._after = after
        self._one, self._two = Contents.read(before), Contents.read(after)
        self._meaning = self._two.meaning()

    def plant(self, kind: str, path: Path, seed: int = 0) -> str | None:
        """Writes a copy with an error of one kind.

        Args:
            kind: One of `PLANTERS`.
            path: Where the copy goes.
            seed: Chooses among the places where it can be planted.

        Returns:
            Where the error is, or `None` where there is no place for it; nothing is written then.
        """
        place = PLANTERS[kind](self._one, self._two, Random(f"{kind} {seed}"))
        if place is None:
            return None
        copy, self._two = self._two, Contents.read(self._after)
        if copy.meaning() == self._meaning:
            return None
        copy.write(path)
        return place


class Tally:
    """How much was planted and found, how many sound pairs were verified and blamed, by kind.

    Attributes:
        tried: How often a place for an error was looked for.
        planted: The errors.
        found: Those of them that `verify` told.
        sound: The sound pairs.
        blamed: Those of them that `verify` told a difference of.
        failures: What it judged wrongly, in words.
    """

    def __init__(self) -> None:
        self.tried: Counter[str] = Counter()
        self.planted: Counter[str] = Counter()
        self.found: Counter[str] = Counter()
        self.sound: Counter[str] = Counter()
        self.blamed: Counter[str] = Counter()
        self.failures: list[str] = []

    def add(self, counts: dict[str, Any]) -> None:
        """Adds what another one has counted, as `vars` gives it."""
        for name, value in vars(self).items():
            (value.extend if isinstance(value, list) else value.update)(counts[name])

    def order(self, kinds: Iterable[str], rng: Random, name: str = "{}") -> list[str]:
        """Returns kinds in the order in which to try them, by their names in the counts.

        Those first that were tried least; one that had no place yet is tried more often.
        """
        order = list(kinds)
        rng.shuffle(order)
        weights = {kind: 1 if self.planted[name.format(kind)] else 5 for kind in order}
        return sorted(order, key=lambda kind: self.tried[name.format(kind)] / weights[kind])

    def error(self, kind: str, where: str, differences: list[str]) -> bool:
        """Counts a planted error; returns whether it was found."""
        self.planted[kind] += 1
        self.found[kind] += bool(differences)
        if not differences:
            self.failures.append(f"missed, {kind}: {where}")
        return bool(differences)

    def pair(self, kind: str, where: str, differences: list[str]) -> bool:
        """Counts a sound pair; returns whether it was accepted."""
        self.sound[kind] += 1
        self.blamed[kind] += bool(differences)
        if differences:
            self.failures.append(f"blamed, {kind}: {where}: {differences[0]}")
        return not differences


class Pair(NamedTuple):
    """Two files, of which the second was made of the first.

    Attributes:
        name: The model and how it was converted.
        verb: What was done then.
        before: The one file.
        after: The other.
    """

    name: str
    verb: str
    before: Path
    after: Path

    def __str__(self) -> str:
        return f"{self.name}, {self.verb}"


def pairs_of(source: Path, way: str, folder: Path) -> list[Pair]:
    """Converts a file in one way, and back in both; where that cannot be, there is no pair."""
    name = f"{source.stem}-{way}"
    patched = folder / f"{name}.keras"
    try:
        snconvert.apply_file(source, patched, kinds="all", **WAYS[way])
    except snconvert.SnconvertError:
        return []
    pairs = [Pair(name, "apply", source, patched)]
    for verb in ("bake", "remove"):
        back = folder / f"{name}-{verb}.keras"
        try:
            getattr(snconvert, f"{verb}_file")(patched, back)
        except snconvert.SnconvertError:
            continue
        pairs.append(Pair(name, verb, patched, back))
    return pairs


def differences(before: Any, after: Any) -> list[str]:
    """Returns the differences that `verify` tells, or why it refuses one of the models."""
    try:
        return [str(difference) for difference in snconvert.verify(before, after).differences]
    except snconvert.SnconvertError as error:
        return [str(error)]


def each_kind(folder: Path, step: int, sources: list[Path]) -> Tally:
    """Plants an error of each kind in the first pair that has a place for it.

    Args:
        folder: Where files go.
        step: 1 for every kind, 2 for each second one.
        sources: The models.
    """
    tally = Tally()
    left = dict.fromkeys(list(PLANTERS)[::step])
    ways = ("gain", "keras", "constraint")
    for pair in (x for source in sources for way in ways for x in pairs_of(source, way, folder)):
        tally.pair("as it is", str(pair), differences(pair.before, pair.after))
        ground, path = Ground(pair.before, pair.after), folder / "planted.keras"
        for kind in list(left):
            place = ground.plant(kind, path)
            if place is not None:
                tally.error(kind, f"{pair}: {place}", differences(pair.before, path))
                del left[kind]
    return tally


if __name__ == "__main__":
    place, every, *files = sys.argv[1:]
    results = each_kind(Path(place), int(every), [Path(name) for name in files])
    json.dump(vars(results), sys.stdout)
