"""Judges what becomes of older files, by what the old Keras computed.

Called as `python judge_older.py [--upgrade] FOLDER [NAME...]`, for what `older_models.py` wrote to
FOLDER. Each file is upgraded, and without `--upgrade` also converted, verified and made plain
again, without Keras; then Keras 3 loads the result, predicts and takes one step of training.
"""

from __future__ import annotations

import fnmatch
import io
import json
import os
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from places import ROOT

FORMS = ("h5/{}.h5", "keras/{}.keras", "weights/{}.h5", "weights/{}.weights.h5")
KINDS = ("dense", "conv", "attention", "recurrent", "embedding")


@dataclass
class Older:
    """An older file.

    Attributes:
        file: Its path.
        values: What the old Keras computed.
        config: The configuration beside it, of weights only.
        output: Where the model of Keras 3 is.
        refusal: Why it was not upgraded.
        notes: What the upgrade warned of.
        wrong: What else is wrong.
    """

    file: Path
    values: Path
    config: Path | None = None
    output: Path = Path()
    refusal: str = ""
    notes: tuple[str, ...] = ()
    wrong: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return f"{self.file.parent.name}/{self.file.name}"

    def carries_training(self) -> bool:
        return self.config is None


def older_files(folder: Path, patterns: list[str]) -> Iterator[Older]:
    for values in sorted(folder.glob("*.npz")):
        for form in FORMS:
            file = folder / form.format(values.stem)
            wanted = not patterns or any(
                fnmatch.fnmatch(f"{file.parent.name}/{file.name}", f"*{p}*") for p in patterns
            )
            if not file.exists() or not wanted:
                continue
            config = file.parent / f"{values.stem}.json" if "weights" in form else None
            if config is None or config.exists():
                yield Older(file, values, config)


def held(path: Path) -> tuple[Any, dict[str, bytes]]:
    """The configuration and the arrays of a model of Keras 3."""
    with zipfile.ZipFile(path) as archive:
        config = json.loads(archive.read("config.json"))
        file = h5py.File(io.BytesIO(archive.read("model.weights.h5")))
    arrays: dict[str, bytes] = {}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            arrays[name] = str(item.dtype).encode() + item[()].tobytes()

    file.visititems(visit)
    return config, arrays


def convert(older: Older, folder: Path) -> None:
    """Upgrades a file, and checks the verbs on it."""
    from snconvert import api
    from snconvert.errors import SnconvertError

    beside = {"config": older.config} if older.config else {}
    stem = older.name.replace("/", "_")
    older.output = folder / f"{stem}-keras3.keras"
    try:
        older.notes = api.upgrade_file(older.file, older.output, **beside).warnings
    except SnconvertError as error:
        older.refusal = str(error)
        return
    except Exception as error:  # noqa: BLE001 - a traceback is what is to be seen
        older.refusal = f"TRACEBACK {type(error).__name__}: {error}"
        return
    if "--upgrade" in sys.argv:
        return
    applied, plain = folder / f"{stem}-sn.keras", folder / f"{stem}-plain.keras"
    try:
        api.apply_file(older.file, applied, kinds=KINDS, **beside)
    except SnconvertError as error:
        if "nothing" not in str(error):
            older.wrong.append(f"apply: {error}")
        return
    except Exception as error:  # noqa: BLE001 - as above
        older.wrong.append(f"apply: TRACEBACK {type(error).__name__}: {error}")
        return
    try:
        verdict = api.verify(older.file, applied, **beside)
        if not verdict:
            older.wrong.append(f"verify: {verdict}")
        if not api.verify(older.output, applied):
            older.wrong.append("verify of the upgraded")
        api.remove_file(applied, plain)
    except SnconvertError as error:
        older.wrong.append(f"verify, remove: {error}")
        return
    except Exception as error:  # noqa: BLE001 - as above
        older.wrong.append(f"verify, remove: TRACEBACK {type(error).__name__}: {error}")
        return
    for what, one, two in zip(("config", "weights"), held(older.output), held(plain), strict=True):
        if one != two:
            older.wrong.append(f"remove: another {what} than upgrade")


def apart(one: list[Any], two: list[Any]) -> float:
    """How far lists of arrays are apart, relative to the largest number."""
    if [np.shape(value) for value in one] != [np.shape(value) for value in two]:
        return np.inf
    pairs = [(np.asarray(a, "f8"), np.asarray(b, "f8")) for a, b in zip(one, two, strict=True)]
    largest = max((np.abs(a).max() for a, _ in pairs if a.size), default=0.0) or 1.0
    return max((float(np.abs(a - b).max() / largest) for a, b in pairs if a.size), default=0.0)


class Keras3:
    """The judge."""

    def __init__(self) -> None:
        os.environ["KERAS_BACKEND"] = "tensorflow"
        import keras
        import tensorflow as tf

        import snconvert  # noqa: F401 - registers

        tf.config.run_functions_eagerly(run_eagerly=True)
        self.keras = keras

    def predictions(self, model: Any, inputs: list[Any]) -> list[Any]:
        for layer in model.layers:
            if getattr(layer, "stateful", False):
                layer.reset_state()
        outputs = model(self._fed(model, inputs), training=False)
        return [np.asarray(value) for value in self._flat(outputs)]

    def step(self, model: Any, inputs: list[Any], targets: list[Any]) -> None:
        struct = getattr(model, "_outputs_struct", None)
        aims: Any = targets if len(targets) > 1 else targets[0]
        if isinstance(struct, dict):
            aims = dict(zip(sorted(struct), targets, strict=True))
        model.train_on_batch(self._fed(model, inputs), aims)

    def load(self, path: Path, **options: Any) -> Any:
        self.keras.backend.clear_session()
        return self.keras.saving.load_model(path, **options)

    def _fed(self, model: Any, inputs: list[Any]) -> Any:
        inputs = [self.keras.ops.convert_to_tensor(value) for value in inputs]
        struct = getattr(model, "_inputs_struct", None)
        if isinstance(struct, dict):
            return {t.name: v for t, v in zip(model.inputs, inputs, strict=True)}
        return inputs if len(inputs) > 1 else inputs[0]

    @staticmethod
    def _flat(outputs: Any) -> list[Any]:
        if isinstance(outputs, dict):
            return [outputs[name] for name in sorted(outputs)]
        return list(outputs) if isinstance(outputs, list | tuple) else [outputs]


def listed(values: dict[str, Any], name: str) -> list[Any]:
    return [values[f"{name} {i}"] for i in range(len(values)) if f"{name} {i}" in values]


def judge(older: Older, keras3: Keras3) -> list[str]:
    """The row of a file: loaded, predictions, step, Keras 3 on the old file."""
    values = dict(np.load(older.values))
    inputs, outputs = listed(values, "input"), listed(values, "output")
    row = []
    try:
        model = keras3.load(older.output)
        row += ["loads", f"{apart(outputs, keras3.predictions(model, inputs)):.1e}"]
    except Exception as error:  # noqa: BLE001 - whatever Keras raises is its answer
        return [f"{type(error).__name__}: {error}"[:400].replace("\n", " "), "-", "-", "-"]
    targets = listed(values, "target")
    if not targets or not older.carries_training():
        row.append("-")
    elif not model.compiled:
        row.append("not compiled")
    else:
        try:
            keras3.step(model, inputs, targets)
            trained = listed(values, "trained output")
            distance = apart(trained, keras3.predictions(model, inputs))
            row.append(f"{distance:.1e}")
            weights = listed(values, "trained weight")
            own = [np.asarray(w) for w in model.get_weights()]
            if [w.shape for w in weights] == [w.shape for w in own]:
                row[-1] += f" {apart(weights, own):.1e}"
        except Exception as error:  # noqa: BLE001 - as above
            row.append(f"{type(error).__name__}: {error}"[:300].replace("\n", " "))
    try:
        old = keras3.load(older.file, compile=False)
        row.append(f"{apart(outputs, keras3.predictions(old, inputs)):.1e}")
    except Exception:  # noqa: BLE001 - it often cannot
        row.append("-")
    return row


def say(*columns: str) -> None:
    sys.stdout.write(" | ".join(columns) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Prints a table."""
    sys.path.insert(0, str(ROOT))
    folder, *patterns = (word for word in sys.argv[1:] if word != "--upgrade")
    files = list(older_files(Path(folder), patterns))
    with tempfile.TemporaryDirectory() as place:
        for older in files:
            convert(older, Path(place))
        keras3 = Keras3()
        say("file", "loads", "predictions", "step: outputs weights", "Keras 3 on the old", "wrong")
        for older in files:
            row = [older.refusal, "-", "-", "-"] if older.refusal else judge(older, keras3)
            say(older.name, *row, "; ".join(older.wrong))
            for note in older.notes if os.environ.get("NOTES") else ():
                say("", note)


if __name__ == "__main__":
    main()
