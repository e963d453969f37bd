"""How long Keras takes to load a converted model, beside the plain one, on each backend.

    python benchmarks/loading.py [--rounds N] [BACKEND ...]

ResNet50 with random weights; `keras.saving.load_model` in a process of its own each, behind the
imports, in turns: ratios to the plain model in the same round, medians with quartiles.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from rounds import head, in_turns, ratios, row, shown

BACKENDS = ("tensorflow", "jax", "torch")
FORMS = {
    "plain": None,
    "hard": {"mode": "hard"},
    "gain": {"mode": "gain"},
    "built-in": {"target": "keras"},
}
LOAD = (
    "import sys, time, keras, snconvert, snconvert.layers; start = time.perf_counter();"
    " keras.saving.load_model(sys.argv[1]); print(time.perf_counter() - start)"
)


def seconds(path: Path, backend: str) -> float:
    """Returns how long a process takes to load a file."""
    environment = os.environ | {"KERAS_BACKEND": backend, "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", LOAD, path]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return float(run.stdout)


def main() -> None:
    """Prints one line for each backend."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("backends", nargs="*", default=BACKENDS, metavar="BACKEND")
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        paths = {form: Path(place) / f"{form}.keras" for form in FORMS}
        import keras  # noqa: PLC0415

        import snconvert  # noqa: PLC0415

        keras.applications.ResNet50(weights=None).save(paths["plain"])
        for form, options in FORMS.items():
            if options:
                kinds = ["dense", "conv"]
                snconvert.apply_file(paths["plain"], paths[form], kinds=kinds, **options)
        columns = ("control", *list(FORMS)[1:])
        print(head("backend", "plain s", *columns))
        for backend in asked.backends:
            variants = {
                form: lambda p=path, b=backend: seconds(p, b)
                for form, path in (*paths.items(), ("control", paths["plain"]))
            }
            taken = in_turns(variants, asked.rounds)
            cells = [shown(ratios(taken, column)) for column in columns]
            print(row([backend, shown(taken["plain"]), *cells]), flush=True)


if __name__ == "__main__":
    main()
