"""The report page in a real browser: what a reader sees, does, and is protected from."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pages
import pytest
from places import SAMPLES
from playwright.sync_api import Browser, Page, sync_playwright

from snconvert.core.report import Report
from snconvert.errors import escaped
from snconvert.page.document import document

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the PATH")

OPTIONS = {"target": "layer", "mode": "hard", "bound": 1.0}
WIDE, PHONE = {"width": 1280, "height": 900}, {"width": 360, "height": 740}
LEAST_CONTRAST = 4.5  # WCAG 2.2, 1.4.3
CONTRAST = """() => {
  const channel = (x) => (x /= 255) <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const solid = (color) => color !== "none" && (parse(color)[3] ?? 1) === 1;
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const box = at.querySelector(":scope > rect");
      const fill = box && at !== element ? getComputedStyle(box).fill : "none";
      if (solid(fill)) return fill;
      if (solid(getComputedStyle(at).backgroundColor)) return getComputedStyle(at).backgroundColor;
    }
  };
  const worst = { ratio: 99 };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !element.getClientRects().length) continue;
    const style = getComputedStyle(element);
    const svg = element.namespaceURI.endsWith("svg");
    const colors = [svg ? style.fill : style.color, ground(element)];
    const [a, b] = colors.map(parse).map(light).sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < worst.ratio) Object.assign(worst, { ratio, colors, text: walker.currentNode.data });
  }
  return worst;
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for all tests, without a network; root may not sandbox it."""
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
        )
        yield started
        started.close()


Opener = Callable[..., Page]


@pytest.fixture
def opened(browser: Browser, tmp_path: Path) -> Iterator[Opener]:
    """Opens the page of a report; after the test nothing may have been said on the console, and
    nothing asked for but the page itself."""
    contexts, said, asked = [], [], []

    def open_page(page: Report | Path, *, anchor: str = "", **options: Any) -> Page:
        path = page if isinstance(page, Path) else tmp_path / "page.html"
        if isinstance(page, Report):
            path.write_text(document(page, OPTIONS), encoding="utf-8")
        context = browser.new_context(**{"viewport": WIDE, "reduced_motion": "reduce", **options})
        contexts.append(context)
        shown = context.new_page()
        shown.on("console", lambda message: said.append(message.text))
        shown.on("pageerror", lambda error: said.append(str(error)))
        shown.on("dialog", lambda dialog: said.append(dialog.message))
        shown.on("request", lambda request: asked.append(request.url))
        shown.expose_function("hacked", lambda: said.append("hacked"))
        shown.goto(path.as_uri() + anchor)
        return shown

    yield open_page
    for context in contexts:
        context.close()
    assert said == []
    assert {url.partition("#")[0].rpartition("/")[2] for url in asked} <= {"page.html", ","}


def names(page: Page) -> list[str]:
    return [name.strip() for name in page.locator("#layers tbody th").all_text_contents()]


def column(page: Page, title: str) -> list[str]:
    heads = page.locator("#layers thead th").all_text_contents()
    cells = page.locator(f"#layers tbody tr > :nth-child({heads.index(title) + 1})")
    return cells.all_text_contents()


def shows(page: Page, name: str | None) -> None:
    """Waits until the details of the layer of that name are shown, or none."""
    page.wait_for_function(
        """name => {
          const { hidden, firstElementChild } = document.querySelector("#details");
          return hidden ? name === null : firstElementChild.firstElementChild.textContent === name;
        }""",
        arg=name,
        timeout=5000,
    )


def test_sorting(opened: Opener) -> None:
    """A heading sorts by its numbers, then the other way, then not at all; `–` comes last."""
    page = opened(pages.resnet(2))
    before = column(page, "σ before")
    head = page.locator("th", has=page.get_by_role("button", name="σ before"))
    numbers = sorted((float(x) for x in before if x != "–"), reverse=True)
    dashes = ["–"] * before.count("–")
    for direction, expected in (
        ("descending", [f"{x:.4g}" for x in numbers] + dashes),
        ("ascending", [f"{x:.4g}" for x in reversed(numbers)] + dashes),
        ("none", before),
    ):
        head.get_by_role("button").click()
        assert head.get_attribute("aria-sort") == direction
        assert column(page, "σ before") == expected
    page.get_by_role("button", name="Layer", exact=True).click()
    assert names(page)[:2] == ["avg_pool", "image"]


def test_search(opened: Opener) -> None:
    """The table shows the layers that hold all words, in name, class or result, of a state."""
    page = opened(pages.resnet(2))
    search = page.get_by_label("Search")
    search.fill("CONV_2 spectral")
    assert names(page) == ["stage_1_block_1_conv_2", "stage_1_block_2_conv_2"]
    assert page.inner_text("#count") == "2 of 23 layers"
    search.fill("nothing like it")
    assert names(page) == []
    search.fill("")
    page.get_by_label("Show").select_option("plain")
    assert len(names(page)) == 14
    assert page.inner_text("#count") == "14 of 23 layers"


def test_picking_a_layer(opened: Opener) -> None:
    """A box of the graph, a row, a mark and a neighbour show a layer; the address names it."""
    page = opened(pages.resnet(2))
    shows(page, None)
    page.locator("#graph a", has_text="stage_1_block_1_conv_1").click()
    shows(page, "stage_1_block_1_conv_1")
    assert page.url.endswith("#layer=stage_1_block_1_conv_1")
    details = page.get_by_role("complementary")
    for text in ("Conv2D → SpectralConv2D", "3×3×48×48", "Stable rank", "Share of the"):
        assert text in details.inner_text()
    assert details.locator("polyline").count() == 1
    assert page.locator("#graph .line.near").count() == 2
    details.get_by_role("link", name="stage_1_block_1_bn_1").click()
    shows(page, "stage_1_block_1_bn_1")
    assert page.locator("[aria-current]").all_inner_texts()[-1] == "stage_1_block_1_bn_1"
    page.locator("#layers tr", has_text="stage_1_block_1_conv_3").locator("td").first.click()
    shows(page, "stage_1_block_1_conv_3")
    page.locator(".mark").first.click(force=True)
    shows(page, "stem_conv")
    page.go_back()
    shows(page, "stage_1_block_1_conv_3")
    page.get_by_role("button", name="Close").click()
    shows(page, None)
    assert "#" not in page.url


def test_an_address_picks_a_layer(opened: Opener) -> None:
    """A page opens with the layer that its address names; another address picks none."""
    page = opened(pages.resnet(2), anchor="#layer=stage_1_block_2_conv_1")
    shows(page, "stage_1_block_2_conv_1")
    for anchor in ("#layer=%E0%A4%A", "#layer=nobody", "#other", "#layer=__proto__"):
        page.evaluate("anchor => { location.hash = anchor; }", anchor)
        shows(page, None)


def test_keyboard(opened: Opener) -> None:
    """Tab reaches graph and table once each, arrows move within, enter opens, escape goes back."""
    page = opened(pages.resnet(2))
    focused = "document.activeElement.textContent.trim()"
    page.locator(".graph").focus()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.getAttribute('aria-label')").startswith("image")
    for key, expected in (
        ("ArrowDown", "stem_conv"),
        ("ArrowDown", "stage_1_block_1_conv_1"),
        ("ArrowRight", "stage_1_block_1_shortcut"),
        ("ArrowLeft", "stage_1_block_1_conv_1"),
        ("ArrowUp", "stem_conv"),
        ("End", "predictions"),
        ("Home", "image"),
    ):
        page.keyboard.press(key)
        label = page.evaluate("document.activeElement.getAttribute('aria-label')")
        assert label.partition(",")[0] == expected
    page.keyboard.press("Enter")
    shows(page, "image")
    assert page.evaluate("document.activeElement.id") == "details-name"
    page.keyboard.press("Escape")
    shows(page, None)
    assert page.evaluate("document.activeElement.getAttribute('aria-label')").startswith("image")
    for _ in range(60):  # on to the table
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.closest('#layers tbody') !== null"):
            break
    assert page.evaluate(focused) == "image"
    page.keyboard.press("ArrowDown")
    assert page.evaluate(focused) == "stem_conv"
    page.keyboard.press("Enter")
    shows(page, "stem_conv")
    page.keyboard.press("Escape")
    assert page.evaluate(focused) == "stem_conv"
    page.keyboard.press("End")
    assert page.evaluate(focused) == "predictions"
    page.keyboard.press("Tab")
    assert not page.evaluate("document.activeElement.closest('#layers') !== null")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_both_themes_are_legible(scheme: str, opened: Opener) -> None:
    """The page follows the system's theme; every text has contrast enough in it."""
    page = opened(pages.resnet(2), color_scheme=scheme, anchor="#layer=stem_conv")
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, ground[4:-1].split(","))) < 300) == (scheme == "dark")
    assert page.evaluate("getComputedStyle(document.documentElement).scrollBehavior") == "auto"
    worst = page.evaluate(CONTRAST)
    assert worst["ratio"] >= LEAST_CONTRAST, worst


@pytest.mark.parametrize("make", [pages.resnet, pages.hostile])
def test_a_phone(make: Callable[[], Report], opened: Opener) -> None:
    """At a width of 360 pixels the page does not scroll sideways, and can be used by touch."""
    page = opened(make(), viewport=PHONE, has_touch=True, is_mobile=True)
    sizes = "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    assert page.evaluate(sizes) == [360, 360]
    page.locator("#layers tbody th").first.tap()
    shows(page, names(page)[0])
    assert page.evaluate(sizes) == [360, 360]
    box = page.locator("#details").bounding_box()
    assert box is not None
    assert (box["x"], box["width"]) == (0, 360)
    assert box["height"] < 740 * 2 / 3
    page.get_by_role("button", name="Close").tap()
    table = page.locator("#layers").evaluate("x => [x.parentElement.clientWidth, x.offsetWidth]")
    assert make is not pages.resnet or table[0] == table[1]


def test_names_for_those_who_hear_the_page(opened: Opener) -> None:
    """Each control, link, table, chart and region has a name; headings do not skip a level."""
    page = opened(pages.resnet(2), anchor="#layer=stem_conv")
    session = page.context.new_cdp_session(page)
    tree = session.send("Accessibility.getFullAXTree")["nodes"]
    named = {
        "button",
        "link",
        "textbox",
        "searchbox",
        "combobox",
        "img",
        "image",
        "region",
        "group",
    }
    roles = set()
    for node in tree:
        role = node.get("role", {}).get("value")
        roles.add(role)
        if role in named and not node["ignored"]:
            assert node.get("name", {}).get("value", "").strip(), node
    assert roles >= {"main", "banner", "complementary", "search", "searchbox", "combobox", "table"}
    assert roles >= {"heading", "columnheader", "rowheader", "region", "status"}
    levels = page.evaluate("[...document.querySelectorAll('h1,h2,h3')].map((x) => +x.tagName[1])")
    assert levels[0] == 1
    assert all(below - above <= 1 for above, below in pairwise(levels))
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map((x) => x.id)")
    assert len(ids) == len(set(ids))
    assert page.get_attribute("html", "lang") == "en"


@pytest.mark.parametrize("make", [pages.hostile, pages.unbounded])
def test_hostile_names(make: Callable[[], Report], opened: Opener) -> None:
    """No name runs, loads or hides anything: each is shown, and its layer can be picked."""
    report = make()
    page = opened(report)
    assert page.evaluate("document.scripts.length") == 2
    assert (
        page.locator("img, iframe, object, embed, base, [onload], [onclick], [style]").count() == 0
    )
    shown = [escaped(layer.path) for layer in report.layers]
    assert names(page) == shown
    for name in shown:
        page.evaluate("name => { location.hash = '#layer=' + encodeURIComponent(name); }", name)
        shows(page, name)
    page.get_by_role("button", name="Class").click()
    page.get_by_label("Search").fill("<img")
    assert len(names(page)) == (1 if make is pages.hostile else 0)


def test_the_policy_holds(browser: Browser, tmp_path: Path) -> None:
    """A script, style or picture that got into the page would not run or load, nor would the page
    call anyone."""
    path = tmp_path / "page.html"
    path.write_text(document(pages.resnet(1), OPTIONS), encoding="utf-8")
    page = browser.new_page()
    page.goto(path.as_uri())
    blocked = page.evaluate("""async () => {
      const blocked = [];
      addEventListener("securitypolicyviolation", (e) => blocked.push(e.effectiveDirective));
      const script = document.createElement("script");
      try { script.text = "window.ran = true"; } catch { blocked.push("trusted types"); }
      try { document.body.innerHTML = "<b>"; } catch { blocked.push("inner"); }
      document.body.setAttribute("style", "color: red");
      const picture = document.createElement("img");
      picture.src = "https://example.org/x.png";
      document.body.append(script, picture);
      await fetch("https://example.org").catch(() => blocked.push("fetch"));
      await new Promise((done) => setTimeout(done, 50));
      return [...blocked, String(window.ran)];
    }""")
    page.close()
    assert {"trusted types", "inner", "style-src-attr", "img-src", "connect-src"} <= set(blocked)
    assert "true" not in blocked


def test_without_scripts(opened: Opener) -> None:
    """Where scripts are off, as in previews of mail, all but sorting and details is there."""
    page = opened(pages.resnet(2), java_script_enabled=False)
    hint = page.locator("noscript p")  # an element only where scripts are off
    assert hint.text_content() == "Sorting, search and details need JavaScript."
    assert page.locator("#layers tbody tr").count() == 23
    assert page.locator("#graph a").count() == 23


def test_a_large_model(opened: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows beyond those that the document holds are made when they are wanted, and found; the
    drawing says that it is cut off."""
    monkeypatch.setattr("snconvert.page.document.ROWS", 50)
    monkeypatch.setattr("snconvert.page.network.MOST_NODES", 40)
    page = opened(pages.chain(124))
    assert len(names(page)) == 50
    page.get_by_role("button", name="Show 50 more of 124").click()
    page.get_by_role("button", name="Show 24 more of 124").click()
    assert names(page) == [layer.path for layer in pages.chain(124).layers]
    assert column(page, "Class")[-1] == "SpectralDense"
    last = page.locator("#layers tbody tr").last
    assert last.locator("rect.before").get_attribute("width") != "0%"
    page.get_by_label("Search").fill("layer_120")
    page.locator("#layers tbody a").click()
    shows(page, "block_4/layer_120")
    assert page.locator("#graph a").count() == 40
    assert "The first 40 of 124 are drawn" in str(page.locator("main").text_content())


@pytest.mark.slow
def test_10_000_layers(opened: Opener) -> None:
    """A page of 10 000 layers opens, sorts, and finds its last layer."""
    page = opened(pages.chain(10_000, spectra=True))
    page.get_by_role("button", name="σ before").click()
    assert column(page, "σ before")[0] == "7"
    page.get_by_label("Search").fill("layer_9999")
    page.locator("#layers tbody a").click()
    shows(page, "block_333/layer_9999")
    assert page.locator("#details polyline").count() == 1


def test_the_page_of_a_command(
    opened: Opener, snconvert: Callable[..., Any], tmp_path: Path
) -> None:
    """`snconvert apply --html` writes a page that opens, with the graph of the model's file."""
    shutil.copy(SAMPLES / "moons.keras", tmp_path)
    result = snconvert("apply", "moons.keras", "--html", "page.html", "--json", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    layers = [layer["path"] for layer in json.loads(result.stdout)["layers"]]
    page = opened(tmp_path / "page.html")
    assert names(page) == layers
    assert page.locator("#graph a").count() == len(layers)
    page.locator("#graph a", has_text="block_1").click()
    shows(page, "block_1")
    assert "SpectralDense" in page.inner_text("#details")
    assert "Option mode" not in page.inner_text("header")
