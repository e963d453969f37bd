"""What the shell offers after a TAB: values, files that can be models, and layers.

Nothing here may fail, wait, or print: what cannot be told at once is not offered, and the shell
then offers files as it does anywhere.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
from collections.abc import Callable, Iterator
from typing import Any

import typer

from snconvert.cli.help.values import VALUES

Offers = list[tuple[str, str]]
"""Words, each with what it means."""

PATIENCE = 0.5
"""Seconds that reading the layers of a model may take."""

_LARGEST = 4 << 20  # bytes of a configuration: fifty times that of ResNet50
_MODELS = (".keras", ".h5", ".hdf5")
_CONFIG = "config.json"  # a folder that holds it is one model
_SPECIAL = re.compile(r"[^\w./+@%,-]")  # what a shell may take for something else
_IN_PATTERNS = re.compile(r"[][*?,]")


def values(option: str) -> Callable[[str], Offers]:
    """Returns what offers the values of an option; kinds also one after the other."""

    def offer(incomplete: str) -> Offers:
        offers = VALUES[option].items()
        if "," not in incomplete or option != "kinds":
            return list(offers)
        return _after_commas(incomplete, [offer for offer in offers if offer[0] != "all"])

    return offer


def files(*suffixes: str) -> Callable[[str], list[str]]:
    """Returns what offers the files with some suffixes, and folders."""

    def offer(incomplete: str) -> list[str]:
        with contextlib.suppress(OSError, ValueError):
            return _files(incomplete, suffixes)
        return []

    return offer


models = files(*_MODELS)
"""Offers what can be a model, by its name."""


def layers(ctx: typer.Context, incomplete: str) -> Offers:
    """Offers the layers of the model that is named before, and what they lie in."""
    named = [*(ctx.params.get("models") or ()), *ctx.args]
    # A model may be damaged or hostile in any way; the command will say how.
    with contextlib.suppress(Exception, _LateError), _at_once():
        model = next(filter(os.path.exists, named))
        return _after_commas(incomplete, list(_layers(model)))
    return []


def topics() -> Offers:
    """Offers what there is help on."""
    from snconvert.cli.help.topics import TOPICS

    return [(name, topic.title) for name, topic in TOPICS.items()]


def mend_words() -> None:
    """Takes the `=` out of the words of a line of bash, which takes `--mode=h` for three."""
    words, place = _words()
    kept = [word for index, word in enumerate(words) if word != "=" or index == place]
    if words:
        os.environ["COMP_WORDS"] = "\n".join(kept)
        os.environ["COMP_CWORD"] = str(place - words[:place].count("="))


def _words() -> tuple[list[str], int]:
    """Returns the words of the line as bash gives them, and which of them is completed."""
    words, place = os.environ.get("COMP_WORDS", ""), os.environ.get("COMP_CWORD", "")
    return (words.split("\n"), int(place)) if words and place.isdecimal() else ([], 0)


def _after_commas(incomplete: str, offers: Offers) -> Offers:
    """Returns the offers for the last of words between commas, but those that are there."""
    done = incomplete.rpartition(",")[0]
    before = f"{done}," if done else ""
    return [(before + word, about) for word, about in offers if word not in done.split(",")]


def _typed(word: str) -> str:
    """Returns a word as it is typed: bash wants what is special behind backslashes, or quoted."""
    words, place = _words()
    if not words or "".join(words[place : place + 1]).startswith(("'", '"')):
        return word
    return _SPECIAL.sub(r"\\\g<0>", word)


def _files(incomplete: str, suffixes: tuple[str, ...]) -> list[str]:
    found = list(_matches(incomplete, suffixes))
    if len(found) == 1 and found[0].endswith("/"):
        # One word alone would be done with; what lies in the folder makes the shell go on.
        found += _matches(found[0], suffixes)
    return [_typed(path) for path in found]


def _matches(incomplete: str, suffixes: tuple[str, ...]) -> Iterator[str]:
    """Yields the paths that begin so: folders with a slash, and files with one of the suffixes."""
    start = os.path.basename(incomplete)
    folder = incomplete.removesuffix(start)
    with os.scandir(folder or ".") as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            hidden = entry.name[0] == "." and not start
            if hidden or not entry.name.startswith(start) or not entry.name.isprintable():
                continue
            path = folder + entry.name
            if entry.is_dir():
                yield path if os.path.lexists(os.path.join(path, _CONFIG)) else f"{path}/"
            elif entry.name.endswith(suffixes):
                yield path


class _LateError(BaseException):
    """What is read takes too long."""


@contextlib.contextmanager
def _at_once() -> Iterator[None]:
    """Ends what takes longer than `PATIENCE`; where the system has no such timer, gives up."""

    def end(*_: Any) -> None:
        raise _LateError

    signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _layers(model: str) -> Iterator[tuple[str, str]]:
    """Yields path and class of what has kernels, or may hold something that has."""
    from snconvert.config import strict_json
    from snconvert.config.parsing import parse
    from snconvert.errors import printable
    from snconvert.formats.table import open_model
    from snconvert.kinds.table import RULES

    with open_model(model, ranged=True) as source:
        if len(source.config) > _LARGEST:
            return
        for node in parse(strict_json.loads(source.config, _CONFIG)).walk():
            may = node.children or node.spectral or node.opaque or node.builtin in RULES
            path = node.path
            if may and path and path.isprintable() and not _IN_PATTERNS.search(path):
                yield _typed(path), printable(node.title)
