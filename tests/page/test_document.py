"""The page says all that the report says, and no name in it is more than a name."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any
from urllib.parse import unquote

import pages
import pytest

from snconvert.core.graph import Graph
from snconvert.core.magnitude import Magnitude
from snconvert.core.network_bound import NetworkBound, OutputBound, Stage
from snconvert.core.report import LayerReport
from snconvert.core.version import __version__
from snconvert.errors import escaped
from snconvert.page.charts import growth_chart, sigma_chart
from snconvert.page.document import document
from snconvert.page.network import MOST_NODES, graph_view
from snconvert.page.table import table

OPTIONS = {"target": "layer", "mode": "hard", "bound": 1.0, "kinds": ["dense", "conv"], "only": []}
VOID = {"meta", "link", "input"}


class Page(HTMLParser):
    """The elements of a page with their attributes and texts; an element that is not closed, or
    closed twice, fails."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        assert len(dict(attrs)) == len(attrs)
        for around in set(self._open):
            self.texts[around][-1] += " "
        if tag not in VOID:
            self._open.append(tag)
            self.texts.setdefault(tag, []).append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        for tag in set(self._open):
            self.texts[tag][-1] += data

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def data(self) -> dict[str, Any]:
        return json.loads(self.texts["script"][0])


def text_of(html: str) -> str:
    """Returns what a reader sees, without style and script."""
    page = Page(re.sub(r"<(style|script)[ >].*?</\1>", "", html, flags=re.DOTALL))
    return " ".join(page.texts["body"][0].split())


def page_data(html: str) -> str:
    return Page(html).texts["script"][0]


def test_a_page_says_what_the_report_says() -> None:
    """Numbers, warnings, bound, options, version, source and its SHA-256 are there."""
    report = pages.resnet(2)
    text = text_of(document(report, OPTIONS))
    bound = str(report.lipschitz.bound)
    for part in (
        "resnet.keras",
        "9 layers converted, 14 left as they were: mode hard, bound 1, matrix norm.",
        "stem_conv: its input size is not known.",
        f"move by at most {bound} ε (2-norms",
        "found at 64 points: at least 26.04",
        "Method: graph + folding + multipliers.",
        f"Version {__version__}",
        "Source models/resnet.keras",
        f"SHA-256 of the source {'9f' * 32}",
        "Output models/resnet-sn.keras",
        "Option kinds dense, conv",
        "Command snconvert apply",
        "SpectralConv2D",
        "3×3×48×48",
    ):
        assert part in text
    assert "Option only" not in text


def test_each_layer_is_there() -> None:
    """The table and the data of the script hold each layer, with its facts and its neighbours."""
    page = Page(document(pages.resnet(2), OPTIONS))
    layers = {layer["id"]: layer for layer in page.data["layers"]}
    rows = [row for row in page.named("tr") if "data-layer" in row]
    assert [int(row["data-layer"]) for row in rows] == list(range(len(layers)))
    conv = layers["stage_1_block_1_conv_2"]
    facts = dict(map(tuple, conv["facts"]))
    assert facts["Class"] == "Conv2D → SpectralConv2D"
    assert facts["σ after"] == "1"
    assert facts["Share of the network's bound"] == "90 %"
    assert dict(map(tuple, conv["kernels"][0]["facts"]))["Singular values"] == "48"
    assert len(conv["kernels"][0]["curve"].split()) == 48
    ids = list(layers)
    assert [ids[place] for place in conv["reads"]] == ["stage_1_block_1_relu_1"]
    # Through the operation that adds.
    sources = {ids[place] for place in layers["stage_1_block_1_out"]["reads"]}
    assert sources == {"stage_1_block_1_shortcut", "stage_1_block_1_bn_3"}


def test_what_is_not_there_has_no_section() -> None:
    """Without graph, spectra, bound and kernels, there is a table and how it was made."""
    html = document(pages.report([pages.plain("a")], output=None, verb="inspect"), {})
    assert Page(html).texts["h2"] == ["Layers", "How it was made", ""]
    full = Page(document(pages.resnet(1), {})).texts["h2"]
    assert full == [
        *("Warnings", "Graph", "Largest singular values", "Lipschitz bound of the network"),
        *("Spectra", "Layers", "How it was made", ""),
    ]


def test_a_page_without_layers() -> None:
    """A model without layers has a page."""
    assert "Layers 0" in text_of(document(pages.report([]), {}))


def test_layers_without_a_constant_are_counted() -> None:
    """One layer is one."""
    several = pages.unbounded()
    network = several.lipschitz
    one = replace(several, lipschitz=network._replace(unbounded=network.unbounded[:1]))
    assert "none 1 layer has no constant" in text_of(document(one, {}))
    count = len(network.unbounded)
    assert f"none {count} layers have no constant" in text_of(document(several, {}))


@pytest.mark.parametrize("make", [pages.hostile, pages.unbounded])
def test_names_stay_names(make: Any) -> None:
    """No name makes an element, an attribute, a script or a second block of data."""
    html = document(make(), {name: name for name in pages.HOSTILE})
    page = Page(html)
    tame = Page(document(pages.resnet(1), OPTIONS))
    assert {tag for tag, _ in page.elements} <= {tag for tag, _ in tame.elements}
    for _, attributes in page.elements:
        assert not {name for name in attributes if name.startswith("on") or name == "style"}
        href = attributes.get("href")
        assert href is None or href.startswith(("#layer=", "data:,"))
    assert len(page.named("script")) == 2
    assert len(page.named("style")) == 1
    assert {char for char in html if not char.isprintable()} == {"\n"}
    html.encode()


def test_links_name_their_layers() -> None:
    """What a link names, the data of the script has, whatever the name."""
    page = Page(document(pages.hostile(), {}))
    ids = [layer["id"] for layer in page.data["layers"]]
    assert ids == [escaped(name) for name in pages.HOSTILE]
    assert len(set(ids)) == len(ids)
    for link in page.named("a"):
        assert unquote(str(link["href"]).removeprefix("#layer=")) in ids


def test_the_policy_allows_the_page_and_nothing_else() -> None:
    """Style and script are allowed by their hashes; nothing is loaded from anywhere."""
    html = document(pages.resnet(1), {})
    page = Page(html)
    (policy,) = [x["content"] for x in page.named("meta") if x.get("http-equiv")]
    for kind, text in (("style", page.texts["style"][0]), ("script", page.texts["script"][1])):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in str(policy)
    assert "default-src 'none'" in str(policy)
    assert "unsafe" not in str(policy)
    assert not re.findall(r"https?://(?!www\.w3\.org/2000/svg)", html)
    assert not {"src", "srcset", "action", "ping"} & {x for _, each in page.elements for x in each}


def test_the_same_report_gives_the_same_page() -> None:
    """No time and no random number is in a page."""
    assert document(pages.resnet(1), OPTIONS) == document(pages.resnet(1), OPTIONS)


def test_numbers_beyond_floats() -> None:
    """A bound beyond float64 is told as such, nothing as NaN or infinite."""
    huge, one = Magnitude(0.5, 5000), Magnitude.of(1.0)
    stages = tuple(
        Stage(name, "Dense", (number - 1,) if number else (), one, one, bound, 1.0, dominates=True)
        for number, (name, bound) in enumerate([("a", one), ("b", huge), ("c", huge)])
    )
    network = NetworkBound(huge, (OutputBound("c", huge),), huge, stages, lower=math.inf)
    odd = (math.nan, math.inf, 0.0, -1.0, 1e308)
    layers = [pages.dense(f"l{x}", x, sigma_after=x, residual=x) for x in odd]
    html = document(pages.report(layers, lipschitz=network), {})
    text = text_of(html)
    assert "at most >1e308 ε" in text
    assert not re.search(r"\b(nan|inf|NaN|Infinity)\b", text + page_data(html))
    assert growth_chart(network, table(pages.report([]))) is not None


def test_duplicate_paths_have_names_of_their_own() -> None:
    """Layers of the same path are told apart."""
    page = Page(document(pages.report([pages.plain("a"), pages.dense("a"), pages.plain("b")]), {}))
    assert [layer["id"] for layer in page.data["layers"]] == ["a", "a (2)", "b"]


def test_a_layer_in_a_wrapper_is_reached_by_its_node() -> None:
    """The node of a wrapper shows the layer that lies in it."""
    report = pages.report(
        [pages.dense("td/dense")], graph=Graph((("td", "TimeDistributed", "layer"),), ())
    )
    view = graph_view(report, table(report))
    assert view is not None
    assert (view.nodes[0].place, view.nodes[0].state) == (0, "converted")


def test_large_models() -> None:
    """A page of 300 layers with all spectra is below 3 MB; of larger models the drawing is cut
    off, and the table holds all layers."""
    assert len(document(pages.chain(300, spectra=True), {})) < 3e6
    report = pages.chain(3000)
    page = Page(document(report, {}))
    assert len(page.data["layers"]) == 3000
    assert len([x for x in page.named("a") if x.get("class", "").startswith("node")]) == MOST_NODES
    chart = sigma_chart(report, table(report))
    assert chart is not None
    assert len(chart.marks) <= 400
    assert {mark.place for mark in chart.marks} <= set(range(3000))


def test_a_plan_says_so() -> None:
    """A dry run and an inspection say that nothing was written."""
    layers = [LayerReport("a", "Dense", (2, 2), "convertible", sigma=1.0)]
    plan = text_of(document(pages.report(layers, output=None), {}))
    assert "A plan, nothing was written: 1 layer to convert, mode hard" in plan
    seen = text_of(document(pages.report(layers, output=None, verb="inspect"), {}))
    assert "1 layer of 1 can be converted." in seen
    layers.append(LayerReport("b", "SpectralDense", (2, 2), "spectral", "spectral already"))
    again = text_of(document(pages.report(layers, output=None, verb="inspect"), {}))
    assert "1 layer of 2 can be converted, 1 is spectral already." in again
