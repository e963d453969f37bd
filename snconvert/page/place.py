"""Where a page may be written, and writing it."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence
from typing import Any

from snconvert.archive.atomic import new_file, writing
from snconvert.archive.output import check_parent, check_writable
from snconvert.core.report import Report
from snconvert.errors import OptionError, OutputError, UnsupportedError, located, printable

_SUFFIXES = (".html", ".htm")


def check_page(page: Any, *models: str | os.PathLike[str] | None) -> str | None:
    """Checks, before any work, that a page can be made and may be written.

    A page that is there already is replaced.

    Args:
        page: Its path; `None`: there is to be none.
        *models: The input and the output, whose place it may not take.

    Returns:
        The path.

    Raises:
        OptionError: It is no path that ends in `.html`.
        OutputError: It is the place of a model, or cannot be written.
        UnsupportedError: jinja2 is missing.
    """
    if page is None:
        return None
    if not isinstance(page, str | os.PathLike) or isinstance(shown := os.fspath(page), bytes):
        raise OptionError(f"html is {page!r}", "Give the path of the page, as report.html")
    if not shown.lower().endswith(_SUFFIXES):
        raise OptionError(
            f"the page is {printable(shown)!r}, but a page's name ends in .html", "Give it that end"
        )
    with located(file=shown), writing(shown):
        _check_place(os.path.realpath(shown), models)
        try:
            import jinja2  # noqa: F401, PLC0415 - whether it is there; only pages need it
        except ImportError:
            raise UnsupportedError(
                "the page is made with jinja2, which is not installed",
                "Install it: pip install jinja2",
            ) from None
    return shown


def page_among(
    options: Mapping[str, Any], *models: str | os.PathLike[str] | None
) -> tuple[str | None, dict[str, Any]]:
    """Returns the checked path of the page that options ask for with `html`, and the others.

    Args:
        options: The options.
        *models: As for `check_page`, which raises what is wrong.
    """
    rest = {name: value for name, value in options.items() if name != "html"}
    return check_page(options.get("html"), *models), rest


def _check_place(real: str, models: Sequence[str | os.PathLike[str] | None]) -> None:
    check_parent(real)
    for model in models:
        if model is None:
            continue
        place = os.path.realpath(model)
        if real == place or real.startswith(place + os.sep):
            raise OutputError(
                f"the page would take the place of {printable(model)!r}, or lie in it",
                "Choose another name for the page",
            )
    if os.path.lexists(real) and not stat.S_ISREG(os.lstat(real).st_mode):
        raise OutputError("it is there already, and no file", "Choose another name for the page")
    check_writable(real)


def write_page(page: str | None, report: Report, options: Mapping[str, Any]) -> Report:
    """Writes the page of a report, whole or not at all, and returns the report.

    Args:
        page: Its path, as `check_page` has returned it.
        report: The report.
        options: What was asked for, as `metadata.json` records it.

    Raises:
        OutputError: It cannot be written.
    """
    if page is None:
        return report
    # jinja2 takes a twentieth of a second, and only pages need it.
    from snconvert.page.document import document  # noqa: PLC0415

    # What comes from files is escaped by then; no text whatever may end in a traceback.
    content = document(report, options).encode(errors="backslashreplace")
    with (
        writing(page),
        new_file(os.path.realpath(page), force=True) as descriptor,
        os.fdopen(os.dup(descriptor), "wb") as file,
    ):
        file.write(content)
    return report
