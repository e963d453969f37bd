"""Reports as tables for people: with rich on a terminal, as plain columns where piped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import IO, TYPE_CHECKING, Any

from snconvert.errors import printable
from snconvert.report import NO_KERNEL, LayerReport, Report, norm_of, stay_plain
from snconvert.rules import RULES, KernelRule

if TYPE_CHECKING:
    from snconvert.verdict import Verdict

_THOUSAND = 1000
_DONE = {"apply": "converted", "bake": "baked", "remove": "plain again"}
_HEADINGS = ("layer", "class", "kernel", "sigma", "after", "result")
_RANGE = "operator norm"
_SHOWN = {
    "matrix": "sigma is the norm of the kernel as a matrix (--norm matrix)",
    "operator": "sigma of a convolution is its norm as a map (--norm operator)",
    "mixed": "sigma is the norm that each layer is normalised by",
}


def size(count: int) -> str:
    """Returns a number of bytes for people.

    Example:
        >>> size(553_000_000)
        '553.0 MB'
    """
    amount = float(count)
    units = ["B", "kB", "MB", "GB"]
    while amount >= _THOUSAND and len(units) > 1:
        amount /= _THOUSAND
        units.pop(0)
    return f"{count} B" if units[0] == "B" else f"{amount:.1f} {units[0]}"


def print_report(report: Report, stream: IO[str], *, verbose: bool = False) -> None:
    """Prints the table of layers and a closing line.

    Args:
        report: What was done.
        stream: Where to; a table with lines if it is a terminal, else plain columns.
        verbose: List the layers without a kernel too.
    """
    shown = [layer for layer in report.layers if verbose or layer.reason != NO_KERNEL]
    rows = [_row(layer, report.verb) for layer in shown]
    headings = list(_HEADINGS)
    ranges = any(layer.operator_range for layer in shown)
    if ranges:
        headings.insert(-1, _RANGE)
        rows = [(*r[:-1], _range(x), r[-1]) for r, x in zip(rows, shown, strict=True)]
    if any(layer.certified for layer in shown):
        headings.append("sigma is proved to be")
        rows = [(*row, _bounds(layer)) for row, layer in zip(rows, shown, strict=True)]
    if rows:
        _table(headings, rows, stream)
    hidden = len(report.layers) - len(shown)
    if hidden:
        print(f"{hidden} {_plural(hidden, 'layer')} without a kernel not shown (-v)", file=stream)
    if ranges:
        print(_SHOWN[norm_of(shown, report.norm)], file=stream)
    for line in closing(report):
        print(line, file=stream)


def closing(report: Report) -> list[str]:
    """Returns the sentences below the table: how many, where to, how long."""
    took = f"{report.seconds:.2f} s"
    if report.verb in {"apply", "inspect"}:
        took += f", {report.seconds_sigma:.2f} s of it for sigma and u"
    count = f"{report.converted} {_plural(report.converted, 'layer')}"
    if report.output is None:
        can = "convertible" if report.verb in {"apply", "inspect"} else f"to {report.verb}"
        lines = [f"{printable(report.source)}: {count} {can}; nothing was written ({took})"]
        return [*lines, *_left(report)]
    done = f"{count} {_DONE[report.verb]}, {report.skipped} left as they were"
    lines = [
        f"{printable(report.source)}: {done}",
        *_left(report),
        f"wrote {printable(report.output)} ({size(report.bytes)}; {took})",
    ]
    if report.target == "layer" and report.verb == "apply":
        lines.append("load it with `import snconvert` and keras.saving.load_model")
    return lines


def _left(report: Report) -> list[str]:
    """What stays plain and nobody has chosen to, and how to convert it."""
    if not report.unchosen:
        return []
    flag = (
        "--conv" if [*report.unchosen] == ["conv"] else f"--kinds dense,{','.join(report.unchosen)}"
    )
    return [f"{stay_plain(report.unchosen)} ({flag} converts them)"]


def print_verdict(verdict: Verdict, stream: IO[str]) -> None:
    """Prints the layers of another form, the differences, and a closing line."""
    if verdict.changes:
        rows = [
            (
                printable(change.path),
                printable(change.class_name),
                _number(change.sigma),
                _number(change.sigma_after),
                f"{change.what}: {printable(change.new_class)}",
            )
            for change in verdict.changes
        ]
        _table(("layer", "class", "sigma", "after", "result"), rows, stream)
    for difference in verdict.differences:
        print(f"difference: {difference}", file=stream)
    before, after = printable(verdict.before), printable(verdict.after)
    count = len(verdict.changes)
    layers = f"{count} {_plural(count, 'layer')} of another form"
    checked = f"{verdict.arrays} {_plural(verdict.arrays, 'array')} compared"
    says = "is" if verdict else "is not"
    forms = {change.what for change in verdict.changes}
    how = "converted" if "converted" in forms or not verdict else "unchanged"
    if forms and "converted" not in forms:
        how = "made plain"
    print(
        f"{after} {says} {before}, {how}: {layers}, {checked} ({verdict.seconds:.2f} s)",
        file=stream,
    )


def print_rules(rules: Sequence[KernelRule], stream: IO[str]) -> None:
    """Prints the table of the layer kinds."""
    rows = [(rule.kind, rule.class_name, rule.spectral_class, rule.title) for rule in rules]
    _table(("kind", "class", "becomes", "matrices (b, m, n)"), rows, stream)


def rules_json() -> list[dict[str, Any]]:
    """Returns the layer kinds as `rules --json` prints them."""
    return [
        {
            "kind": rule.kind,
            "class": rule.class_name,
            "new_class": rule.spectral_class,
            "kernels": [kernel.name for kernel in rule.kernels],
            "matrix": rule.title,
        }
        for rule in RULES.values()
    ]


def _row(layer: LayerReport, verb: str) -> tuple[str, ...]:
    kernel = "" if layer.kernel is None else "x".join(map(str, layer.kernel))
    result = layer.new_class or layer.status
    if verb == "apply" and layer.new_class == layer.class_name:
        result = f"{result}, constrained"
    if layer.reason:
        result = f"{result}: {layer.reason}" if layer.new_class else layer.reason
    return (
        printable(layer.path),
        printable(layer.class_name),
        kernel,
        _number(layer.sigma),
        _number(layer.sigma_after),
        printable(result),
    )


def _bounds(layer: LayerReport) -> str:
    return "" if layer.certified is None else "{:.9g} to {:.9g}".format(*layer.certified)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _range(layer: LayerReport) -> str:
    if layer.operator_range is None:
        return ""
    low, high = (f"{value:.4g}" for value in layer.operator_range)
    return low if low == high else f"{low} to {high}"


def _plural(count: int, word: str) -> str:
    return word if count == 1 else f"{word}s"


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]], stream: IO[str]) -> None:
    if stream.isatty():
        _rich_table(headings, rows, stream)
        return
    widths = [max(len(row[i]) for row in (headings, *rows)) for i in range(len(headings))]
    for row in (headings, *rows):
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip(), file=stream)


def _rich_table(headings: Sequence[str], rows: Sequence[Sequence[str]], stream: IO[str]) -> None:
    # rich costs a twentieth of a second, which a piped run need not pay.
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in headings:
        numeric = heading in {"sigma", "after", _RANGE}
        table.add_column(heading, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        # Names come from the file: as Text they are never read as markup.
        table.add_row(*(Text(cell) for cell in row))
    Console(file=stream).print(table)
