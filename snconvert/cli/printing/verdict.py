"""Verdicts as tables for people: the layers of another form, what differs, and what it comes to."""

from __future__ import annotations

import re
from typing import IO, TYPE_CHECKING

from snconvert.cli.columns import GREEN, Cell, Column, Line, count_of, number
from snconvert.cli.printing.printer import Printer, printer_for
from snconvert.errors import escaped, printable

if TYPE_CHECKING:
    from snconvert.core.verdict import Change, Verdict

_BY_TRAINING = re.compile(
    r"numbers differ|^optimizer/|: compile_config\.|is there after only|more differences$"
)
"""What differs where a model was trained, and a newer Keras has saved it, perhaps."""
_MOST = 10


def print_verdict(verdict: Verdict, stream: IO[str]) -> None:
    """Prints the layers of another form, the differences, and a closing line."""
    show_verdict(verdict, printer_for(stream))


def show_verdict(verdict: Verdict, printer: Printer) -> None:
    """Prints a verdict as `print_verdict` does, with a printer."""
    forms = {change.what for change in verdict.changes}
    columns = [
        Column("layer", least=16),
        Column("class", least=12),
        Column("sigma", numeric=True),
        Column("after", numeric=True),
        Column("result", least=12),
    ]
    same = all(number(x.sigma) == number(x.sigma_after) for x in verdict.changes)
    lines = [
        Line(_change(change, printer, one=len(forms) == 1, same=same)) for change in verdict.changes
    ]
    if lines:
        printer.table(columns, lines)
    found = [str(difference) for difference in verdict.differences]
    trained = bool(found) and all(map(_BY_TRAINING.search, found))
    for difference in found[: _MOST if trained else None]:
        printer.say(f"difference: {escaped(difference)}", as_is=True)
    if trained and len(found) > _MOST:
        printer.say(f"and {len(found) - _MOST} more of this kind (--json lists them)")
    before, after = printable(verdict.before), printable(verdict.after)
    says = "is" if verdict else "is not"
    how = "made plain" if forms and "converted" not in forms else "converted"
    layers = count_of(len(verdict.changes), "layer")
    checked = f"{count_of(verdict.arrays, 'array')} compared ({verdict.seconds:.2f} s)"
    if forms or not verdict:
        printer.say(f"{after} {says} {before}, {how}: {layers}, {checked}", as_is=True)
    else:
        printer.say(f"{after} {says} {before}, unchanged: {checked}", as_is=True)
    if trained:
        printer.say(
            "its weights are others, as after training; verify proves a conversion, and nothing"
            " more. `snconvert inspect` shows what the norms are now"
        )
    if verdict.lipschitz is not None:
        bound, most = verdict.lipschitz
        printer.say(f"Lipschitz bound of the network, proved again: {bound} (at most {most:g})")


def _change(change: Change, printer: Printer, *, one: bool, same: bool) -> tuple[Cell, ...]:
    """Returns the cells of a layer of another form, with its class after.

    Args:
        change: The layer.
        printer: What prints it.
        one: Whether what became of it is the same for all layers, which the closing line says.
        same: Whether every norm is what it was.
    """
    path, new = map(printable, (change.path, change.new_class))
    numbers = number(change.sigma), "" if same else number(change.sigma_after)
    what = "" if one else change.what
    return (path, (f"{printer.marks.arrow} {new}", GREEN), *numbers, what)
