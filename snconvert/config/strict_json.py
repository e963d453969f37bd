"""JSON read strictly and within bounds, and written byte for byte as Keras writes it.

`json.loads` takes the last of two equal keys, turns `1e999` into infinity, and stops at about
a thousand levels, while genuine files of nested models go deeper. Two readers that resolve such
things differently see two different models, so here everything ambiguous is an error. `NaN`,
`Infinity` and `-Infinity`, which Keras writes for `Masking(nan)` and `ReLU(max_value=inf)`, are
numbers.
"""

from __future__ import annotations

import codecs
import json
import math
import re
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import accumulate
from typing import Any

from snconvert.errors import SourceError, printable

MAX_BYTES = 256 * 2**20
"""The largest text that is read: hundreds of times the configuration of any known model."""

MAX_DEPTH = 4_000
"""The deepest nesting that is read. A model inside a model costs three levels, so this is over a
thousand of them; the C stack that `json` needs for it stays below 2 MiB."""

MAX_VALUES = 8_000_000
"""The most values (more exactly: commas and opening brackets) in one text. Empty objects cost
64 bytes for 3 of text, so without it 64 MiB of text could ask for gigabytes."""

MAX_DIGITS = 20
"""The longest integer: `shared_object_id` is a 64-bit address of at most 20 digits."""

_MAX_REAL = 1_000
"""The longest float in characters; Keras writes 25, the exact value of one takes up to 770."""

_DEEP = 400
"""Up to here `json` works within Python's usual recursion limit of 1000, whoever calls."""

_NAMES = frozenset({"name", "class_name", "module", "registered_name", "spec_name"})
_STRING = r'"(?:[^"\\]++|\\.)*+"'
_MAYBE_BAD_NAME = re.compile(r"\\u(?:0000|[dD][89a-fA-F])")
_NOT_STRUCTURE = bytes(set(range(256)) - set(b'[]{},"'))
_QUOTED = re.compile(rb'"[^"]*+(?:"|$)')
_STEPS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")  # one up and one down, as signed bytes
_FIX = "Save the model again with Keras"
# One object for each, so that comparing by identity first finds NaN equal to itself.
_CONSTANTS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_recursion_limit = threading.Lock()


def loads(data: bytes, name: str) -> Any:
    """Returns the parsed JSON, with nothing in it that two readers could take differently.

    Args:
        data: UTF-8 text; a byte order mark is accepted, as Keras does.
        name: What the text is called in messages (`config.json`).

    Raises:
        SourceError: It is not strict JSON (UTF-8, no key twice, no number that a float cannot
            hold, no NUL or lone surrogate in a name), or it exceeds `MAX_BYTES`, `MAX_DEPTH`,
            `MAX_VALUES` or `MAX_DIGITS`.

    Example:
        >>> loads(b'{"units": 3}', "config.json")
        {'units': 3}
        >>> loads(b'{"units": 3, "units": 4}', "config.json")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        snconvert.errors.SourceError: config.json is not strict JSON: the key 'units' is a ...
    """
    text = _decode(data, name)
    depth = _measure(data, name)
    reader = _Reader(text, name)
    try:
        with _room(depth):
            tree = json.loads(
                text,
                object_pairs_hook=reader.object,
                parse_int=reader.integer,
                parse_float=reader.real,
                parse_constant=_CONSTANTS.__getitem__,
            )
    except json.JSONDecodeError as error:
        raise _error(name, "is not valid JSON", f"{error.msg} (character {error.pos})") from error
    if _MAYBE_BAD_NAME.search(text):
        _check_names(tree, name)
    return tree


def dumps(tree: Any) -> bytes:
    r"""Returns the JSON text of `tree` as `json.dumps` writes it by default, at any depth.

    For every file that Keras wrote, `dumps(loads(data)) == data`.

    Example:
        >>> dumps({"name": "é", "shape": [None, 3]})
        b'{"name": "\\u00e9", "shape": [null, 3]}'
    """
    with _room(_tree_depth(tree)):
        return json.dumps(tree).encode("ascii")


class _Reader:
    """What `json` calls back for each object and number; knows where an error happened."""

    def __init__(self, text: str, name: str) -> None:
        self._text = text
        self._name = name
        self._objects = 0

    def object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) != len(pairs):
            key = Counter(key for key, _ in pairs).most_common(1)[0][0]
            where = self._position("}", self._objects)
            raise self._error(
                f"the key '{printable(key)}' is a duplicate, in the object that ends at {where}"
            )
        self._objects += 1
        return result

    def integer(self, digits: str) -> int:
        count = len(digits) - digits.startswith("-")
        if count > MAX_DIGITS:
            where = self._position(rf"(?<![\d.eE+-])-?\d{{{MAX_DIGITS + 1},}}+(?![.eE])")
            raise self._error(
                f"an integer has {count} digits at {where}, but at most {MAX_DIGITS} are expected"
            )
        return int(digits)

    def real(self, digits: str) -> float:
        if len(digits) > _MAX_REAL:
            raise self._error(f"a number is {len(digits)} characters long")
        value = float(digits)
        if math.isinf(value):
            where = self._position(re.escape(digits))
            raise self._error(f"the number {printable(digits)} at {where} is too large for a float")
        return value

    def _position(self, pattern: str, skip: int = 0) -> str:
        """Finds the match number `skip` of `pattern` outside strings; only on errors."""
        for match in re.finditer(f"{_STRING}|({pattern})", self._text, re.DOTALL):
            if match[1] is not None:
                if skip == 0:
                    return f"character {match.start(1)}"
                skip -= 1
        return "an unknown place"

    def _error(self, problem: str) -> SourceError:
        return _error(self._name, "is not strict JSON", problem)


def _error(name: str, verdict: str, problem: str) -> SourceError:
    return SourceError(f"{name} {verdict}: {problem}", _FIX)


def _decode(data: bytes, name: str) -> str:
    if len(data) > MAX_BYTES:
        raise SourceError(
            f"{name} holds {len(data)} bytes of JSON, but at most {MAX_BYTES} are read",
            "Keep large constants and vocabularies out of the layers' configurations",
        )
    if not data.strip():
        raise SourceError(f"{name} is empty, but JSON was expected", _FIX)
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or 0 in data[:4]:
        raise SourceError(
            f"{name} is not in UTF-8 (it looks like UTF-16 or UTF-32)",
            "Write the JSON in UTF-8, as Keras does",
        )
    try:
        return data.removeprefix(codecs.BOM_UTF8).decode()
    except UnicodeDecodeError as error:
        problem = f"byte 0x{data[error.start]:02x} at position {error.start} does not decode"
        raise _error(name, "is not in UTF-8", problem) from error


def _measure(data: bytes, name: str) -> int:
    """Returns how deep `data` nests, before `json` recurses; linear in time and memory.

    What stands outside strings follows from the parity of the quotes. For text that is no JSON
    the answer holds up to its first error, which is as far as `json` goes.
    """
    structure = data.replace(b"\\\\", b"").replace(b'\\"', b"").translate(None, _NOT_STRUCTURE)
    # Two quotes side by side change the parity of nothing; most strings are no more by now.
    structure = _QUOTED.sub(b"", structure.replace(b'""', b""))
    values = sum(map(structure.count, (b"[", b"{", b",")))
    depth = max(accumulate(memoryview(structure.translate(_STEPS, b",")).cast("b")), default=0)
    if values > MAX_VALUES:
        raise SourceError(
            f"{name} holds about {values} JSON values, but at most {MAX_VALUES} are read",
            "Keep large constants and vocabularies out of the layers' configurations",
        )
    if depth > MAX_DEPTH:
        raise SourceError(
            f"{name} holds JSON nested {depth} levels deep, but at most {MAX_DEPTH} are read",
            "Save the model with fewer models inside each other",
        )
    return depth


def _tree_depth(tree: Any) -> int:
    depth, row = 0, [tree]
    while row := [value for value in row if isinstance(value, (dict, list, tuple))]:
        depth += 1
        row = [
            child
            for value in row
            for child in (value.values() if isinstance(value, dict) else value)
        ]
    return depth


@contextmanager
def _room(depth: int) -> Iterator[None]:
    """Lets `json` recurse `depth` levels.

    The limit belongs to all threads, so one deep text at a time may move it. Early releases of
    Python 3.12 have a second limit, of 1500, that cannot be moved.
    """
    if depth <= _DEEP:
        yield
        return
    with _recursion_limit:
        before = sys.getrecursionlimit()
        sys.setrecursionlimit(before + depth + _DEEP)
        try:
            yield
        except RecursionError as error:
            version = sys.version.split()[0]
            raise SourceError(
                f"the JSON nests {depth} levels deep, more than Python {version} can handle",
                "Use another version of Python",
            ) from error
        finally:
            sys.setrecursionlimit(before)


def objects(tree: Any) -> Iterator[dict[str, Any]]:
    """Yields every object of a parsed JSON text, outer ones first.

    Example:
        >>> list(objects([{"a": {"b": 1}}, {}]))
        [{'a': {'b': 1}}, {'b': 1}, {}]
    """
    stack = [tree]
    while stack:
        value = stack.pop()
        if isinstance(value, dict):
            yield value
            value = [*reversed(value.values())]
        stack += [child for child in reversed(value) if isinstance(child, dict | list)]


def _check_names(tree: Any, name: str) -> None:
    """Names become paths, HDF5 groups and C strings: there NUL and lone surrogates do harm."""
    stack = [tree]
    while stack:
        value = stack.pop()
        if isinstance(value, dict):
            for key, child in value.items():
                _check_name(key, name)
                if isinstance(child, str) and key in _NAMES:
                    _check_name(child, name)
            stack.extend(child for child in value.values() if isinstance(child, (dict, list)))
        elif isinstance(value, list):
            stack.extend(child for child in value if isinstance(child, (dict, list)))


def _check_name(text: str, name: str) -> None:
    if "\0" in text or any("\ud800" <= char <= "\udfff" for char in text):
        raise SourceError(
            f"{name} holds the name '{printable(text)}', with a NUL or half a surrogate pair in it",
            "Rename it and save the model again",
        )
