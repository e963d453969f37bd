"""The errors that users see, and where they happened.

    SnconvertError
    |-- OptionError               an option has a value that cannot work; a ValueError
    |   |-- UnknownOptionError    there is no such option; a TypeError, too
    |   `-- RecipeNotFoundError   the file of options is not there; a FileNotFoundError, too
    |-- SourceError               the input is of another kind, or damaged
    |   |-- SourceNotFoundError   the input is not there; a FileNotFoundError
    |   |-- SourcePermissionError the input may not be read; a PermissionError
    |   |-- DoneError             the input is already what it was to become
    |   |-- UnsafeError           the input holds a reference that no model needs
    |   `-- WeightsError          the stored weights do not fit the configuration
    |-- KernelError               a kernel that was to be converted cannot be (NaN, no proof)
    |-- SelectionError            a pattern matches nothing, or nothing is left to convert; a
    |   |                         ValueError
    |   |-- NothingLeftError      as every layer is what it was to become; a DoneError, too
    |   `-- NothingToConvertError as no layer is of a kind that can be
    |-- UnsupportedError          this version cannot do it
    `-- OutputError               the output cannot be written
        |-- OutputExistsError     the output is there and may not be replaced; a FileExistsError
        |-- OutputFolderError     the output's folder is not there; a FileNotFoundError
        `-- OutputPermissionError the output may not be written there; a PermissionError

Every message reads `{file}: {layer path} ({class}): {what}. {how to fix}.`; the parts stay on the
object. Code deep down raises with `what` and `fix` only; `located` adds *where* on the way up.
Both name options as the command line does; `str` says them in Python's words there.
"""

from __future__ import annotations

import codecs
import errno
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

from snconvert.wording import spoken

_LONGEST_NAME = 200
_PATTERN = re.compile(r"[\w./]*\w", re.ASCII)  # as a pattern, and in a shell, nothing but a name
# Looked up now: the guarded process may open no file, such as the codec's, to report an error.
_escape = codecs.getencoder("unicode_escape")


class SnconvertWarning(UserWarning):
    """What Python's `snconvert.apply` has done or left, and its caller may not expect."""


class SnconvertError(Exception):
    """Base of all errors that snconvert raises on purpose.

    Args:
        what: What is wrong, without a full stop at the end.
        fix: What to do about it, without a full stop at the end.
        file: The file it is about, if any.
        path: The layer's path (`encoder/block_1/dense`), if it is about a layer.
        class_name: The layer's class name.
    """

    def __init__(
        self,
        what: str,
        fix: str = "",
        *,
        file: str | None = None,
        path: str | None = None,
        class_name: str | None = None,
    ) -> None:
        super().__init__(what, fix)
        self.what = what
        self.fix = fix
        self.file = file
        self.path = path
        self.class_name = class_name

    def __str__(self) -> str:
        where = ""
        if self.file is not None:
            where += f"{printable(self.file)}: "
        if self.path is not None:
            kind = f" ({printable(self.class_name)})" if self.class_name else ""
            where += f"{printable(self.path)}{kind}: "
        return where + " ".join(
            sentence if sentence.endswith("...") else f"{sentence.rstrip('.')}."
            for sentence in map(self._said, (self.what, self.fix))
            if sentence
        )

    def as_json(self) -> dict[str, Any]:
        """Returns the message and its parts as `--json` prints them."""
        return {
            "error": str(self),
            "file": self.file,
            "layer": self.path,
            "class": self.class_name,
            "what": self._said(self.what),
            "fix": self._said(self.fix) or None,
        }

    def _said(self, sentence: str) -> str:
        # Names in the sentences should be `printable` by then; what was missed is escaped here.
        return escaped(spoken(sentence, of_file=self.file is not None))

    def __reduce__(self) -> tuple[object, ...]:
        # Errors cross the pipe from the guarded process; keyword fields travel as state.
        return (type(self), (self.what, self.fix), self.__dict__)


class _SystemFields:
    """The fields of errors that are an `OSError`, too."""

    file: str | None
    _number: ClassVar[int]

    @property
    def errno(self) -> int:
        """The number of the system's error."""
        return self._number

    @property
    def strerror(self) -> str:
        """What the system calls it."""
        return os.strerror(self._number)

    @property
    def filename(self) -> str | None:
        """The file that it is about."""
        return self.file


class OptionError(SnconvertError, ValueError):
    """An option has a value that cannot work."""


class UnknownOptionError(OptionError, TypeError):
    """There is no such option."""


class RecipeNotFoundError(_SystemFields, OptionError, FileNotFoundError):  # type: ignore[misc] # as all of them: properties for what `OSError` keeps in fields
    """The file of options is not there."""

    _number = errno.ENOENT


class SourceError(SnconvertError):
    """The input is missing, of another kind, or damaged."""


class SourceNotFoundError(_SystemFields, SourceError, FileNotFoundError):  # type: ignore[misc]
    """The input is not there."""

    _number = errno.ENOENT


class SourcePermissionError(_SystemFields, SourceError, PermissionError):  # type: ignore[misc]
    """The input may not be read."""

    _number = errno.EACCES


class DoneError(SourceError):
    """The input is already what it was to become."""


class UnsafeError(SourceError):
    """The input holds a reference that no model needs."""


class WeightsError(SourceError):
    """The stored weights do not fit the configuration."""


class KernelError(SnconvertError):
    """A kernel that was to be converted cannot be."""


class SelectionError(SnconvertError, ValueError):
    """A pattern matches nothing, or nothing is left to convert."""


class NothingLeftError(SelectionError, DoneError):
    """Every selected layer is already what it was to become."""


class NothingToConvertError(SelectionError):
    """No layer is of a kind that can be converted."""


class UnsupportedError(SnconvertError):
    """This version cannot do it."""


class OutputError(SnconvertError):
    """The output cannot be written."""


class OutputExistsError(_SystemFields, OutputError, FileExistsError):  # type: ignore[misc]
    """The output is there and may not be replaced."""

    _number = errno.EEXIST


class OutputFolderError(_SystemFields, OutputError, FileNotFoundError):  # type: ignore[misc]
    """The folder of the output is not there."""

    _number = errno.ENOENT


class OutputPermissionError(_SystemFields, OutputError, PermissionError):  # type: ignore[misc]
    """The output may not be written there."""

    _number = errno.EACCES


def printable(text: object) -> str:
    r"""Returns `text` as one line that is safe to print: escaped and cut to 200 characters.

    Names come out of untrusted files; a newline or a terminal escape in one must not reach
    the user's screen.

    Example:
        >>> printable("a\nb")
        'a\\nb'
    """
    line = escaped(str(text)[: _LONGEST_NAME + 1])
    return line if len(line) <= _LONGEST_NAME else line[: _LONGEST_NAME - 3] + "..."


def quoted(text: object) -> str:
    """Returns what another program said as one printable line, cut between two words.

    Example:
        >>> len(quoted("word " * 100)), quoted("word " * 100)[-12:]
        (197, 'word word...')
    """
    line = " ".join(str(text).split())
    if len(line) > _LONGEST_NAME:
        start = line[: _LONGEST_NAME - 3]
        line = f"{start.rpartition(' ')[0] or start}..."
    return printable(line)


def counted(texts: Iterable[str]) -> list[str]:
    """Returns each text once, with how often it is there.

    Example:
        >>> counted(["a", "b", "a"])
        ['a (2 times)', 'b']
    """
    return [f"{x} ({n} times)" if n > 1 else x for x, n in Counter(texts).items()]


def escaped(text: str) -> str:
    r"""Returns `text` whole, as one line that is safe to print.

    Example:
        >>> escaped("a\u202eb")
        'a\\u202eb'
    """
    if text.isprintable():  # as good as always
        return text
    return "".join(char if char.isprintable() else _escape(char)[0].decode() for char in text)


@contextmanager
def located(
    *, file: str | None = None, path: str | None = None, class_name: str | None = None
) -> Iterator[None]:
    """Adds where it happened to any `SnconvertError` that passes; what is set already stays.

    Example:
        >>> try:
        ...     with located(file="m.keras", path="head", class_name="Dense"):
        ...         raise KernelError("the kernel holds 3 NaN", "Train or repair it first")
        ... except SnconvertError as error:
        ...     print(error)
        m.keras: head (Dense): the kernel holds 3 NaN. Train or repair it first.
    """
    try:
        yield
    except SnconvertError as error:
        if error.file is None:
            error.file = file
        if error.path is None:
            error.path, error.class_name = path, class_name
            if path is not None and error.fix.endswith("--exclude") and _PATTERN.fullmatch(path):
                error.fix += f" {path}"
        raise
