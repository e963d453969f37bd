"""The layers of a report as a table: a line for each kernel, and reasons in groups below."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from snconvert.cli.columns import (
    GREEN,
    RED,
    Bar,
    Cell,
    Column,
    Line,
    Marks,
    count_of,
    number,
    proved,
    shape_of,
    text_of,
)
from snconvert.cli.printing.norms import bar_of
from snconvert.core.report import HOLDS, NO_KERNEL, KernelReport, LayerReport, Report
from snconvert.core.verbs import VERBS
from snconvert.errors import escaped, printable
from snconvert.wording import spoken

_SAID_ELSEWHERE = (NO_KERNEL, "spectral already")
_GROUPS, _CLASSES, _NAMED = 8, 5, 2


def layer_table(
    report: Report, layers: Sequence[LayerReport], marks: Marks, *, notes: bool = False
) -> tuple[list[Column], list[Line]]:
    """Returns the table of layers: a line for each, and below it one for each of several kernels.

    Args:
        report: The report.
        layers: Those of its layers that are shown.
        marks: The signs to use.
        notes: Write the reason below each layer.
    """
    rows = [
        (cells, bar_of(layer, measured, report) if measured else None, layer if first else None)
        for layer in layers
        for cells, measured, first in _rows(layer, report, marks)
    ]
    numbers = [(cells, text_of(cells.get("after", ""))) for cells, *_ in rows]
    after = any(text and text != text_of(cells["sigma"]) for cells, text in numbers)
    columns = _columns(report, after=after)
    if any(text_of(cells.get("range", "")).startswith(marks.at_most) for cells, *_ in rows):
        note = f"the operator norm is at most what stands behind {marks.at_most}"
        columns["range"] = columns["range"]._replace(note=note)
    if not after:  # there is none, or it is what sigma is in every row
        del columns["after"]
    if len({layer.bound for layer in layers} - {None}) == 1:  # which is said below
        del columns["bound"]
    looks = not VERBS[report.verb].writes
    lines = [
        Line(
            [cells.get(name, "") for name in columns],
            bar if looks else None,
            _note(head) if notes and head else "",
        )
        for cells, bar, head in rows
    ]
    return list(columns.values()), lines


def _note(layer: LayerReport) -> str:
    return "" if layer.reason in {None, NO_KERNEL} else escaped(spoken(layer.reason or ""))


def _columns(report: Report, *, after: bool) -> dict[str, Column]:
    """Returns the columns by their names; the headings say when a number was so."""
    verb = VERBS[report.verb]
    sigma = ("before" if verb.converts and verb.writes else "raw") if after else ""
    then = "after" if verb.writes else "in use"
    return {
        "layer": Column("layer", least=16),
        "class": Column("class", least=12),
        "kernel": Column("kernel", least=13),
        "sigma": Column(f"sigma\n{sigma}".rstrip(), numeric=True),
        "range": Column(f"operator\nnorm\n{sigma}".rstrip(), numeric=True, spare=True),
        "after": Column(f"sigma\n{then}", numeric=True),
        "bound": Column("bound", numeric=True, spare=True),
    }


def _rows(
    layer: LayerReport, report: Report, marks: Marks
) -> Iterator[tuple[dict[str, Cell], LayerReport | KernelReport | None, bool]]:
    """Yields a layer's cells, what they are the numbers of, and whether they are its first."""
    verb = VERBS[report.verb]
    becomes = _becomes(layer)
    name = printable(layer.new_class if becomes else layer.class_name)
    own = printable(layer.class_name)
    if becomes and verb.converts and verb.writes and layer.new_class == layer.class_name:
        name += ", constrained"
    elif becomes and own not in name and name not in own:
        name = f"{name}({own})"
    head: dict[str, Cell] = {
        "layer": printable(layer.path),
        "class": (f"{marks.arrow} {name}", GREEN) if becomes else name,
        "kernel": shape_of(layer.kernel),
        "bound": number(layer.bound),
    }
    if len(layer.kernels) <= 1:
        yield head | _numbers(layer, layer, report, marks), layer, True
        return
    yield head | {"kernel": ""}, None, True
    for part, kernel in zip(short([x.name for x in layer.kernels]), layer.kernels, strict=True):
        cells: dict[str, Cell] = {"layer": f"  {part}", "kernel": shape_of(kernel.shape)}
        yield cells | _numbers(kernel, layer, report, marks), kernel, False


def _becomes(layer: LayerReport) -> bool:
    """Whether a layer becomes one of another class, or one with a constraint."""
    return layer.new_class is not None and layer.missing_kind is None


def _numbers(
    measured: LayerReport | KernelReport, layer: LayerReport, report: Report, marks: Marks
) -> dict[str, Cell]:
    sigma = proved(measured.certified, marks.at_most) or number(measured.sigma)
    after = proved(measured.certified_after, marks.at_most) or number(measured.sigma_after)
    spectral, bar = layer.status == "spectral", bar_of(layer, measured, report)
    # What stays as it is needs no second number, and what is only looked at has none yet.
    has_after = spectral or (_becomes(layer) and VERBS[report.verb].writes)
    limit = layer.bound or (report.bound if bar is not None and bar.limit is not None else None)
    late = measured.sigma_after is not None and Bar(measured.sigma_after, limit).is_above
    return {
        "sigma": (sigma, RED if bar is not None and bar.is_above and not spectral else ""),
        "range": "" if layer.norm == "operator" else _range(measured, marks),
        "after": (after, RED if late else "") if has_after else "",
    }


def _range(measured: LayerReport | KernelReport, marks: Marks) -> str:
    """Returns between which numbers the norm of a convolution lies, without what sigma says."""
    if measured.operator_range is None:
        return ""
    low, high = map(number, measured.operator_range)
    if low == high:
        return low
    return f"{marks.at_most} {high}" if low == number(measured.sigma) else f"{low} to {high}"


def short(names: Sequence[str]) -> list[str]:
    """Returns paths without the parts that are the same in all.

    Example:
        >>> short(["cell/kernel", "cell/recurrent_kernel"]), short(["a/kernel", "b/kernel"])
        (['kernel', 'recurrent_kernel'], ['a', 'b'])
    """
    parts = list(zip(*(name.split("/") for name in names), strict=False))
    differ = [index for index, part in enumerate(parts) if len(set(part)) > 1]
    return ["/".join(name.split("/")[index] for index in differ) for name in names]


def reasons(report: Report, layers: Sequence[LayerReport], more: str) -> Iterator[str]:
    """Yields why layers stay as they are, or what is special: a sentence for those of one reason.

    Example:
        >>> dense = LayerReport("head", "Dense", (2, 3), "skipped", "excluded by 'head'")
        >>> report = Report("m", None, "layer", "hard", 1.0, "matrix", (dense,), 0, 0.0)
        >>> list(reasons(report, report.layers, "-v"))
        ["head (Dense) stays plain: excluded by 'head'"]
    """
    groups: dict[tuple[str, str], list[LayerReport]] = {}
    for layer in layers:
        if layer.reason is not None and layer.reason not in _SAID_ELSEWHERE:
            groups.setdefault((layer.status, layer.reason), []).append(layer)
    for (status, reason), group in [*groups.items()][:_GROUPS]:
        does, one = ": ", len(group) == 1
        if status == "skipped" and not reason.startswith(HOLDS):
            left = "plain" if VERBS[report.verb].converts else "as it is" if one else "as they are"
            does = f" {'stays' if one else 'stay'} {left}: "
        elif status == "convertible" and group[0].missing_kind is not None:
            does = " converts " if one else " convert "  # with --conv
        yield f"{_who(group)}{does}{escaped(spoken(reason))}"
    if len(groups) > _GROUPS:
        yield f"{count_of(len(groups) - _GROUPS, 'more reason')} not shown ({more})"


def _who(layers: Sequence[LayerReport]) -> str:
    """Returns the names of a few layers, of more how many there are of each class."""
    if len(layers) <= _NAMED:
        return ", ".join(f"{printable(x.path)} ({printable(x.class_name)})" for x in layers)
    counts = Counter(printable(layer.class_name) for layer in layers).most_common()
    rest = sum(count for _, count in counts[_CLASSES:])
    classes = [f"{count} {name}" for name, count in counts[:_CLASSES]]
    return ", ".join([*classes, *([f"{rest} of other classes"] if rest else [])])
