"""Reports as tables for people: with rich on a terminal, as plain columns where piped."""

from __future__ import annotations

import decimal
from collections.abc import Callable, Sequence
from typing import IO, TYPE_CHECKING, Any

from snconvert.cli.columns import RANGE, count_of, number, print_table, size
from snconvert.cli.network import print_bound
from snconvert.cli.norms import LEGEND, bars_of, print_spectra, summary
from snconvert.core.json_lines import SCHEMA
from snconvert.core.report import NO_KERNEL, KernelReport, LayerReport, Report
from snconvert.core.verbs import VERBS
from snconvert.errors import printable
from snconvert.kinds.kernel_rule import KernelRule
from snconvert.kinds.table import RULES
from snconvert.planning.advice import keras_opens, more_with
from snconvert.planning.layer_rows import norm_of

if TYPE_CHECKING:
    from snconvert.core.verdict import Verdict

_AT_MOST = "<="
_WIDE = 2.1e-6  # between the bounds of a proof: those of matrices are closer
_COLUMNS: dict[str, Callable[[Sequence[LayerReport]], bool]] = {
    "layer": bool,
    "class": bool,
    "kernel": bool,
    "sigma": bool,
    RANGE: lambda layers: any(layer.operator_range for layer in layers),
    "after": bool,
    "bound": lambda layers: any(layer.bound is not None for layer in layers),
    "result": bool,
}
"""The headings of the table of layers in their order, and whether they are shown."""
_NORM_SENTENCES = {
    "matrix": "sigma is the norm of the kernel as a matrix (--norm matrix)",
    "operator": "sigma of a convolution is its norm as a map (--norm operator)",
    "mixed": "sigma is the norm that each layer is normalised by",
}


def print_report(report: Report, stream: IO[str], *, verbose: bool = False) -> None:
    """Prints the table of layers and a closing line.

    Args:
        report: What was done.
        stream: Where to; a table with lines if it is a terminal, else plain columns.
        verbose: List the layers without a kernel too.
    """
    layers = report.layers if verbose or VERBS[report.verb].changes_layers else ()
    shown = [layer for layer in layers if verbose or layer.reason != NO_KERNEL]
    columns = [name for name, used in _COLUMNS.items() if used(shown)]
    rows = [row for layer in shown for row in _rows(layer, report.verb)]
    drawn = False
    if rows:
        cells = [[row.get(name, "") for name in columns] for row in rows]
        looked = () if VERBS[report.verb].writes else shown
        bars = [bar for layer in looked for bar in bars_of(layer, report)]
        drawn = print_table(columns, cells, stream, bars)
    hidden = len(layers) - len(shown)
    if hidden:
        print(f"{count_of(hidden, 'layer')} without a kernel not shown (-v)", file=stream)
    if drawn:
        print(LEGEND, file=stream)
    if RANGE in columns:
        print(_NORM_SENTENCES[norm_of(shown, report.norm)], file=stream)
    if any(layer.certified for layer in shown):
        print(
            f"sigma is proved to be at most what stands behind {_AT_MOST}; so is after"
            f"{_width(shown)}",
            file=stream,
        )
    print_spectra(report, stream)
    if report.lipschitz is not None:
        print_bound(report.lipschitz, stream, verbose=verbose)
    for line in closing(report):
        print(line, file=stream)


def closing(report: Report) -> list[str]:
    """Returns the sentences below the table: how many, where to, how long."""
    verb, duration = VERBS[report.verb], f"{report.seconds:.2f} s"
    if report.seconds_sigma:
        what = "sigma and u" if verb.converts else "sigma"
        duration += f", {report.seconds_sigma:.2f} s of it for {what}"
    source, count = printable(report.source), report.converted
    missing = [layer.missing_kind for layer in report.layers if layer.missing_kind is not None]
    clauses = more_with(missing, count)
    already = sum(layer.status == "spectral" for layer in report.layers)
    if already:
        clauses.append(f"{already} {'was' if already == 1 else 'were'} converted already")
    if already and verb.converts and verb.writes:
        clauses[-1] += " (`snconvert remove` first to change that)"
    if not verb.changes_layers:
        outcome = f"{count_of(len(report.layers), 'layer')} {verb.done}"
    elif report.output is not None:
        outcome = f"{count_of(count, 'layer')} {verb.done}, {report.skipped} left as they were"
    elif verb.converts:
        inspected = any(x.status == "convertible" and x.missing_kind for x in report.layers)
        outcome = f"{count_of(count, 'layer')} {'converts' if count == 1 else 'convert'}"
        outcome += " by default" if inspected else ""
    else:
        outcome = f"{count_of(count, 'layer')} to {verb.name}"
    says = f"{source}: {'; '.join([outcome, *clauses])}"
    if report.output is None:
        lines = [f"{says}; nothing was written ({duration})"]
        told = None if verb.writes else summary(report)
        return lines if told is None else [*lines, told]
    lines = [says, f"wrote {printable(report.output)} ({size(report.bytes)}; {duration})"]
    if report.needs and report.loads and keras_opens(report.output):
        lines.append(f"load it with {', '.join(report.needs)} and keras.saving.load_model")
    return lines


def print_verdict(verdict: Verdict, stream: IO[str]) -> None:
    """Prints the layers of another form, the differences, and a closing line."""
    if verdict.changes:
        rows = [
            (
                printable(change.path),
                printable(change.class_name),
                number(change.sigma),
                number(change.sigma_after),
                f"{change.what}: {printable(change.new_class)}",
            )
            for change in verdict.changes
        ]
        print_table(("layer", "class", "sigma", "after", "result"), rows, stream)
    for difference in verdict.differences:
        print(f"difference: {difference}", file=stream)
    before, after = printable(verdict.before), printable(verdict.after)
    count = len(verdict.changes)
    layers = f"{count_of(count, 'layer')} of another form"
    checked = f"{count_of(verdict.arrays, 'array')} compared"
    says = "is" if verdict else "is not"
    forms = {change.what for change in verdict.changes}
    how = "converted" if "converted" in forms or not verdict else "unchanged"
    if forms and "converted" not in forms:
        how = "made plain"
    print(
        f"{after} {says} {before}, {how}: {layers}, {checked} ({verdict.seconds:.2f} s)",
        file=stream,
    )
    if verdict.lipschitz is not None:
        bound, most = verdict.lipschitz
        print(
            f"Lipschitz bound of the network, proved again: {bound} (at most {most:g})", file=stream
        )


def print_rules(rules: Sequence[KernelRule], stream: IO[str]) -> None:
    """Prints the table of the layer kinds."""
    rows = [(rule.kind, rule.class_name, rule.spectral_class, rule.title) for rule in rules]
    print_table(("kind", "class", "becomes", "matrices (b, m, n)"), rows, stream)


def rules_json() -> dict[str, Any]:
    """Returns the layer kinds as `rules --json` prints them."""
    rules = [
        {
            "kind": rule.kind,
            "class": rule.class_name,
            "new_class": rule.spectral_class,
            "kernels": [kernel.name for kernel in rule.kernels],
            "matrix": rule.title,
        }
        for rule in RULES.values()
    ]
    return {"schema": SCHEMA, "verb": "rules", "rules": rules}


def _rows(layer: LayerReport, verb: str) -> list[dict[str, str]]:
    """Returns a layer's row by the headings; of several kernels one row each."""
    result = layer.new_class or layer.status
    if VERBS[verb].converts and VERBS[verb].writes and layer.new_class == layer.class_name:
        result = f"{result}, constrained"
    if layer.reason:
        result = f"{result}: {layer.reason}" if layer.new_class else layer.reason
    first = {
        "layer": printable(layer.path),
        "class": printable(layer.class_name),
        "kernel": _shape(layer.kernel),
        "bound": number(layer.bound),
        "result": printable(result),
    }
    if len(layer.kernels) <= 1:
        return [first | _numbers(layer)]
    rows = [
        {"kernel": f"{name} {_shape(kernel.shape)}", **_numbers(kernel)}
        for name, kernel in zip(_short([x.name for x in layer.kernels]), layer.kernels, strict=True)
    ]
    rows[0] = first | rows[0]
    return rows


def _short(names: list[str]) -> list[str]:
    """Returns paths without the parts that are the same in all.

    Example:
        >>> _short(["cell/kernel", "cell/recurrent_kernel"]), _short(["a/kernel", "b/kernel"])
        (['kernel', 'recurrent_kernel'], ['a', 'b'])
    """
    parts = list(zip(*(name.split("/") for name in names), strict=False))
    differ = [index for index, part in enumerate(parts) if len(set(part)) > 1]
    return ["/".join(name.split("/")[index] for index in differ) for name in names]


def _numbers(measured: LayerReport | KernelReport) -> dict[str, str]:
    return {
        "sigma": _proved(measured.certified) or number(measured.sigma),
        RANGE: _range(measured.operator_range),
        "after": _proved(measured.certified_after) or number(measured.sigma_after),
    }


def _shape(shape: tuple[int, ...] | None) -> str:
    return "" if shape is None else "x".join(map(str, shape))


def _proved(bounds: tuple[float, float] | None) -> str:
    """Returns an upper bound, rounded up."""
    if bounds is None:
        return ""
    with decimal.localcontext(prec=7, rounding=decimal.ROUND_CEILING):
        return f"{_AT_MOST} {+decimal.Decimal(bounds[1]):g}"


def _width(layers: list[LayerReport]) -> str:
    """Returns what is to be said of the widest proof, if it is wider than those of matrices."""
    widths = [
        (high / low - 1.0, layer.path)
        for layer in layers
        for low, high in [layer.certified or (0.0, 0.0)]
        if low > 0
    ]
    widest, path = max(widths, default=(0.0, ""))
    return f". The widest proof leaves {100 * widest:.2g} %: {path}" if widest > _WIDE else ""


def _range(limits: tuple[float, float] | None) -> str:
    if limits is None:
        return ""
    low, high = (f"{value:.4g}" for value in limits)
    return low if low == high else f"{low} to {high}"
