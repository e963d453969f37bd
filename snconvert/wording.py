"""Messages in the words of who reads them: flags on the command line, arguments in Python.

Messages are written once, with flags and commands: `Use --force`, `` See `snconvert inspect` ``.
What shows one as text asks for it here. A word right after a flag is its value, but for the few
words that join two parts of a sentence.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

SWITCHES = {
    "certify": "certify=True",
    "conv": "conv=True",
    "dry-run": "dry_run=True",
    "force": "force=True",
    "in-place": "in_place=True",
    "json": "as_json()",
    "no-sigma": "sigma=False",
    "spectrum": "spectrum=True",
    "verify": "verify=True",
}
"""Flags without a value, each with what stands for it in Python."""
OPTIONS = {
    name: name.replace("-", "_")
    for name in (
        "bound",
        "config",
        "exclude",
        "html",
        "kinds",
        "lipschitz",
        "mode",
        "norm",
        "only",
        "output",
        "power-iterations",
        "samples",
        "target",
    )
} | {"import": "imports", "recipe": "recipe_file"}
"""Flags with a value, each with its name in Python."""

_JOINING = "and|at|in|is|it|or|to|too|with"
_FLAG = re.compile(
    rf"--([a-z][a-z-]*)(?: (?!(?:{_JOINING})\b)(\w[\w./]*(?:,\w+)*\b)(?: or (hard|cap)\b)?)?"
)
_COMMAND = re.compile(r"`snconvert ([a-z]+)`")
_spoken_flags = False


@contextmanager
def flags() -> Iterator[None]:
    """Shows messages as they are written, for the command line, in the whole process."""
    global _spoken_flags  # noqa: PLW0603 -- threads of the command line speak as it does
    before, _spoken_flags = _spoken_flags, True
    try:
        yield
    finally:
        _spoken_flags = before


def spoken(text: str, *, of_file: bool = False) -> str:
    """Returns a message in the words of who reads it.

    Args:
        text: The message, with flags and commands.
        of_file: Whether it is about a file, and not about a live model.

    Example:
        >>> spoken("Use --force, or --kinds attention,recurrent and --import my_net")
        'Use force=True, or kinds=["attention", "recurrent"] and imports=["my_net"]'
        >>> spoken("`snconvert remove` undoes that"), spoken("`snconvert rules` lists them")
        ('snconvert.remove(model) undoes that', 'snconvert.RULES lists them')
    """
    if _spoken_flags or ("--" not in text and "`snconvert " not in text):
        return text
    text = _FLAG.sub(_argument, text)
    return _COMMAND.sub(lambda match: _call(match[1], of_file=of_file), text)


def _argument(match: re.Match[str]) -> str:
    flag, value, other = match.groups()
    if flag in SWITCHES:
        return match[0].replace(f"--{flag}", SWITCHES[flag])
    if flag not in OPTIONS:  # of another program
        return match[0]
    if value is None:
        return "imports=[...]" if flag == "import" else OPTIONS[flag]
    values = ", ".join(x if x.isdecimal() else f'"{x}"' for x in value.split(","))
    if flag == "import" or "," in value:
        values = f"[{values}]"
    return f"{OPTIONS[flag]}={values}" + ("" if other is None else f' or "{other}"')


def _call(verb: str, *, of_file: bool) -> str:
    if verb == "verify":
        return "snconvert.verify(before, after)"
    if verb == "rules":
        return "snconvert.RULES"
    if verb == "inspect":
        return f"snconvert.inspect({'path' if of_file else 'model'})"
    return f"snconvert.{verb}{'_file(path)' if of_file or verb == 'upgrade' else '(model)'}"
