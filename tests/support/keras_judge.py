"""Asks Keras what it makes of two files, in a process of its own that may crash or hang.

As a script: reads lists of paths (an output, or an input and its output), one JSON list per line,
and answers each with one JSON line.
"""

from __future__ import annotations

import json
import os
import resource
import select
import subprocess
import sys
from typing import Any, Self

import warm
from places import ROOT

_MEMORY = 6 << 30


class Judge:
    """A Keras process that is asked about conversions; a context manager.

    Args:
        seconds: How long Keras may take over one pair of files.
    """

    def __init__(self, seconds: float = 60.0) -> None:
        self._seconds = seconds
        self._process: warm.Popen | None = None
        self._said = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def ask(self, before: str | os.PathLike[str], after: str | os.PathLike[str]) -> str:
        """Returns why `after` is not a conversion of `before`; an empty string if it is.

        It is one if Keras loads it and it holds every variable of `before` bit for bit, or if
        Keras loads neither of the two.
        """
        answer = self._exchange([os.fspath(before), os.fspath(after)])
        if answer is not None:
            return answer
        # Keras died or hung. That is the conversion's fault only if it copes with the input.
        alone = self._exchange([os.fspath(before)])
        return "" if alone is None else "Keras dies or hangs on the output, and not on the input"

    def load(self, path: str | os.PathLike[str]) -> str:
        """Returns why Keras does not load a file; an empty string if it does."""
        answer = self._exchange([os.fspath(path)])
        return "Keras dies or hangs" if answer is None else answer

    def _exchange(self, paths: list[str]) -> str | None:
        if self._process is None:
            self._process = warm.Popen(
                [sys.executable, __file__],
                modules=warm.TENSORFLOW,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            self._answer(120.0)  # that it is there; TensorFlow takes its time
        process = self._process
        if process.stdin is None:
            return None
        try:
            process.stdin.write(json.dumps(paths) + "\n")
            process.stdin.flush()
        except BrokenPipeError:
            self._stop()
            return None
        return self._answer(self._seconds)

    def _answer(self, seconds: float) -> str | None:
        process = self._process
        if process is None or process.stdout is None:
            return None
        ready, _, _ = select.select([process.stdout], [], [], seconds)
        line = process.stdout.readline() if ready else ""
        if not line:
            self._stop()
            return None
        answer: str = json.loads(line)
        return answer

    def _stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


def _load(keras: Any, path: str) -> Any:
    try:
        return keras.saving.load_model(path)
    except Exception as error:  # noqa: BLE001 - whatever Keras raises is its answer
        return error


def _loads(keras: Any, path: str) -> str:
    keras.backend.clear_session(free_memory=False)
    model = _load(keras, path)
    return f"{type(model).__name__}: {model}" if isinstance(model, Exception) else ""


def _compare(keras: Any, before: str, after: str) -> str:
    keras.backend.clear_session(free_memory=False)
    converted = _load(keras, after)
    original = _load(keras, before)
    if isinstance(converted, Exception):
        if isinstance(original, Exception):
            return ""
        return f"Keras loads the input but not the output: {type(converted).__name__}: {converted}"
    if isinstance(original, Exception):
        return ""
    # By position: layers may have one name, and one without a name gets it from its class.
    pairs = zip(_layers(original), _layers(converted), strict=True)
    for old, new in pairs:
        found = {variable.name: variable for variable in new.variables}
        for variable in old.variables:
            if variable.name == "seed_generator_state":  # not stored
                continue
            other = found.get(variable.name)
            if other is None:
                return f"{variable.path} is missing in the output"
            if variable.numpy().tobytes() != other.numpy().tobytes():
                return f"{variable.path} has changed"
    return ""


def _layers(model: Any) -> list[Any]:
    return [layer for layer in model._flatten_layers() if not list(layer._layers)]


def main() -> None:
    """Answers until stdin ends."""
    resource.setrlimit(resource.RLIMIT_DATA, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what Keras prints must not get between the answers
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    os.environ["KERAS_BACKEND"] = "tensorflow"
    sys.path.insert(0, str(ROOT))
    import keras

    import snconvert  # noqa: F401 - registers the layers

    print('""', file=answers, flush=True)
    for line in sys.stdin:
        paths = json.loads(line)
        try:
            answer = _compare(keras, *paths) if paths[1:] else _loads(keras, *paths)
        except Exception as error:  # noqa: BLE001 - it belongs to the one who asks
            answer = f"{type(error).__name__}: {error}"
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
