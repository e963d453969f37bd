"""A report as one HTML document, whose policy lets a browser load and run nothing else."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Iterator, Mapping
from importlib import resources
from typing import Any

import jinja2
from markupsafe import Markup

from snconvert.core.report import Report
from snconvert.core.verbs import VERBS
from snconvert.core.version import __version__
from snconvert.errors import counted, escaped
from snconvert.page import charts
from snconvert.page.facts import CURVE
from snconvert.page.lipschitz import lipschitz_view
from snconvert.page.network import fitting, graph_view
from snconvert.page.numbers import at_least, number, rank
from snconvert.page.table import Table, table

ROWS = 500
"""How many rows of the table the document itself holds; the script makes the others."""

_MOST_CURVES = 300
_CURVE_LETTERS = 20


def document(report: Report, options: Mapping[str, Any]) -> str:
    """Returns the page of a report.

    Args:
        report: The report.
        options: What was asked for, as `metadata.json` records it.
    """
    files = resources.files("snconvert.page")
    style, script = ((files / f"page.{kind}").read_text("utf-8") for kind in ("css", "js"))
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: (files / name).read_text("utf-8")),
        autoescape=True,
        finalize=_printable,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    layers = table(report)
    return environment.get_template("page.html").render(
        policy=_policy(style, script),
        # What the package holds itself is written as it is, all else is escaped.
        style=Markup(style),  # noqa: S704 - see above
        script=Markup(script),  # noqa: S704 - see above
        title=os.path.basename(os.path.normpath(report.source)),
        says=_says(report),
        figures=list(_figures(report)),
        warnings=counted(report.warnings),
        graph=graph_view(report, layers),
        sigma=charts.sigma_chart(report, layers),
        growth=charts.growth_chart(report.lipschitz, layers),
        chart_height=charts.HEIGHT,
        lipschitz=lipschitz_view(report.lipschitz, layers),
        curves=_curves(layers),
        most_curves=_MOST_CURVES,
        curve_size=CURVE,
        columns=layers.columns,
        layers=layers.layers,
        rows=ROWS,
        data={
            "layers": layers.layers,
            "size": ROWS,
            "curve": CURVE,
        },
        made=list(_made(report, options)),
    )


def _printable(value: Any) -> Any:
    """Returns what stands in the place of a value; markup is the package's own."""
    return escaped(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _policy(style: str, script: str) -> str:
    """Returns the policy that allows the page's own style and script, by their hashes."""
    hashes = [
        base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        for text in (style, script)
    ]
    return (
        f"default-src 'none'; style-src 'sha256-{hashes[0]}'; script-src 'sha256-{hashes[1]}';"
        " img-src data:; base-uri 'none'; form-action 'none';"
        " require-trusted-types-for 'script'; trusted-types 'none'"
    )


def _says(report: Report) -> str:
    """Returns what was done, in a sentence."""
    verb, count = VERBS[report.verb], report.converted
    layers = f"{count} {'layer' if count == 1 else 'layers'}"
    normalised = f"mode {report.mode}, bound {number(report.bound)}, {report.norm} norm"
    if report.output is not None:
        left = f"{report.skipped} left as {'it was' if report.skipped == 1 else 'they were'}"
        return f"{layers} {verb.done}, {left}: {normalised}."
    if verb.writes:
        return f"A plan, nothing was written: {layers} to convert, {normalised}."
    already = sum(layer.status == "spectral" for layer in report.layers)
    rest = f", {already} {'is' if already == 1 else 'are'} spectral already" if already else ""
    return f"{layers} of {len(report.layers)} can be converted{rest}."


def _figures(report: Report) -> Iterator[tuple[str, str, str]]:
    """Yields what matters most: a name, a number, and what explains it."""
    with_kernel = sum(layer.kernel is not None for layer in report.layers)
    yield "Layers", str(len(report.layers)), f"{with_kernel} with a kernel"
    for name, values in (
        ("Largest σ before", [layer.sigma for layer in report.layers]),
        ("Largest σ after", [layer.sigma_after for layer in report.layers]),
    ):
        known = [x for x in values if rank(x) is not None]
        if known:
            above = sum(x > report.bound * (1 + 1e-3) for x in known if x is not None)
            yield (
                name,
                number(max(x for x in known if x is not None)),
                f"{above} above {number(report.bound)}",
            )
    network = report.lipschitz
    if network is not None:
        found = "" if network.lower is None else f"at least {at_least(network.lower)} was found"
        if network.bound is None:
            count = len(network.unbounded)
            found = f"{count} layers have no constant" if count != 1 else "1 layer has no constant"
        yield "Lipschitz bound", "none" if network.bound is None else number(network.bound), found


def _curves(layers: Table) -> list[tuple[int, str, str, dict[str, Any]]]:
    """Returns place, what fits of the name, all of it, and content, of kernels with a spectrum."""
    return [
        (place, fitting(_title(layer, kernel), _CURVE_LETTERS), _title(layer, kernel), kernel)
        for place, layer in enumerate(layers.layers)
        for kernel in layer["kernels"]
        if kernel["curve"] is not None
    ]


def _title(layer: Mapping[str, Any], kernel: Mapping[str, Any]) -> str:
    alone = len(layer["kernels"]) == 1
    return str(layer["id"] if alone else f"{layer['id']}: {kernel['name']}")


def _made(report: Report, options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yields how the report was made: names and values."""
    yield "Command", f"snconvert {report.verb}"
    yield "Version", __version__
    yield "Source", report.source
    if report.source_sha256:
        yield "SHA-256 of the source", report.source_sha256
    if report.output is not None:
        yield "Output", report.output
    for name, value in options.items():
        if value:
            shown = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
            yield f"Option {name}", shown
    if report.needs:
        yield "Before Keras loads it", ", ".join(report.needs)
