"""Patterns of layers: globs and regular expressions, and several of them in one text."""

from __future__ import annotations

import fnmatch
import re

from snconvert.errors import OptionError

REGEX = "re:"
"""What a pattern begins with that is a regular expression."""

_ONE = re.compile(r"\s*((?:re:.*|(?:\[!?\]?[^]]*\]|\{[^}]*\}|\([^)]*\)|[^,])*))(?:,|$)", re.DOTALL)


def expression(pattern: str) -> re.Pattern[str]:
    """Returns the regular expression of a pattern.

    Globs match whole paths as in a shell, where `*` also crosses `/`; behind `re:` stands an
    expression that is searched for.

    Raises:
        OptionError: It is no regular expression.

    Example:
        >>> bool(expression("encoder/*").match("encoder/block_1/dense"))
        True
    """
    regex = pattern.startswith(REGEX)
    try:
        return re.compile(pattern.removeprefix(REGEX) if regex else fnmatch.translate(pattern))
    except re.error as error:
        raise OptionError(
            f"the pattern {pattern!r} is no regular expression: {error}", "Correct the pattern"
        ) from error


def split(text: str) -> list[str]:
    """Returns the parts of a text between its commas, without the spaces around them.

    A comma in brackets or braces is part of a pattern, as is all that follows `re:`. A text without
    any part is one itself: no pattern at all would select every layer.

    Example:
        >>> split("stem, block_[1,2],re:^(a|b){1,2}$,x")
        ['stem', 'block_[1,2]', 're:^(a|b){1,2}$,x']
    """
    return [part for part in (match[1].strip() for match in _ONE.finditer(text)) if part] or [text]
