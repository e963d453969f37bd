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
from collections.abc import Callable, Iterator
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

    @property
    def beside(self) -> dict[str, Path]:
        """The option that names the configuration, of weights only."""
        return {} if self.config is None else {"config": self.config}


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


def attempt(function: Callable[..., Any], *arguments: Any, **options: Any) -> tuple[Any, str]:
    """What a call returns, or what it says where it fails."""
    from snconvert.errors import SnconvertError

    try:
        return function(*arguments, **options), ""
    except SnconvertError as error:
        return None, str(error)
    except Exception as error:  # noqa: BLE001 - a traceback is what is to be seen
        return None, f"TRACEBACK {type(error).__name__}: {error}"


def upgrade(older: Older, folder: Path) -> None:
    from snconvert import api

    older.output = folder / f"{older.name.replace('/', '_')}-keras3.keras"
    report, older.refusal = attempt(api.upgrade_file, older.file, older.output, **older.beside)
    if report is not None:
        older.notes = report.warnings


def use(older: Older, folder: Path) -> None:
    """Tries the verbs on a file, and compares with the upgraded one."""
    from snconvert import api

    applied, plain = (
        folder / f"{older.output.stem}-sn.keras",
        folder / f"{older.output.stem}-p.keras",
    )
    _, why = attempt(api.apply_file, older.file, applied, kinds=KINDS, **older.beside)
    if why:
        older.wrong += [f"apply: {why}"] * ("nothing" not in why)
        return
    for before, beside in ((older.file, older.beside), (older.output, {})):
        verdict, why = attempt(api.verify, before, applied, **beside)
        if not verdict:
            older.wrong.append(f"verify: {why or verdict}")
    _, why = attempt(api.remove_file, applied, plain)
    if why:
        older.wrong.append(f"remove: {why}")
    elif held(older.output) != held(plain):
        older.wrong.append("remove gives something else than upgrade")


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

        import snconvert  # noqa: F401 - registers the layers

        self.keras, self.dense = keras, tf.convert_to_tensor

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
        model.run_eagerly = True  # to trace a small model takes longer
        apply = model.optimizer.apply

        def apply_dense(gradients: list[Any], variables: list[Any]) -> None:
            # Keras 3 squares each slice of a sparse gradient by itself, so that a token that is
            # twice in a batch counts less than in Keras 2.
            apply([self.dense(gradient) for gradient in gradients], variables)

        model.optimizer.apply = apply_dense
        model.train_on_batch(self._fed(model, inputs), aims)

    def trained_apart(self, model: Any, values: dict[str, Any]) -> list[float]:
        """How far outputs are apart after a step, and weights that train if in the same order."""
        inputs = listed(values, "input")
        self.step(model, inputs, listed(values, "target"))
        differences = [apart(listed(values, "trained output"), self.predictions(model, inputs))]
        weights = listed(values, "trained weight")
        own = model.weights
        if [weight.shape for weight in weights] == [tuple(weight.shape) for weight in own]:
            pairs = [(w, np.asarray(v)) for w, v in zip(weights, own, strict=True) if v.trainable]
            differences.append(apart([w for w, _ in pairs], [v for _, v in pairs]))
        return differences

    def load(self, path: Path, **options: Any) -> Any:
        self.keras.backend.clear_session(free_memory=False)
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
    model, why = attempt(keras3.load, older.output)
    if why:
        return [why[:400].replace("\n", " "), "-", "-", "-"]
    own, why = attempt(keras3.predictions, model, inputs)
    row = ["loads", why[:300].replace("\n", " ") or f"{apart(outputs, own):.1e}"]
    if "target 0" not in values or older.config:
        row.append("-")
    elif not model.compiled:
        row.append("not compiled")
    else:
        differences, why = attempt(keras3.trained_apart, model, values)
        row.append(why[:300].replace("\n", " ") or " ".join(f"{d:.1e}" for d in differences))
    old, why = attempt(keras3.load, older.file, compile=False)
    own, why = (None, why) if why else attempt(keras3.predictions, old, inputs)
    return [*row, "-" if why else f"{apart(outputs, own):.1e}"]


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
            upgrade(older, Path(place))
            if not older.refusal and "--upgrade" not in sys.argv:
                use(older, Path(place))
        keras3 = Keras3()
        say("file", "loads", "predictions", "step: outputs weights", "Keras 3 on the old", "wrong")
        for older in files:
            row = [older.refusal, "-", "-", "-"] if older.refusal else judge(older, keras3)
            say(older.name, *row, "; ".join(older.wrong))
            for note in older.notes if os.environ.get("NOTES") else ():
                say("", note)


if __name__ == "__main__":
    main()
