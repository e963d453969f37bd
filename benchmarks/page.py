"""Size of report pages, time to write them, and time until a browser shows them.

    python benchmarks/page.py

For reports of 100, 300 and 10 000 layers with the spectra of all kernels it prints the size, the
time that `snconvert.page` takes, and in headless Chromium (from the PATH): when the page can be
used after its opening began, and how long sorting and searching take until the result is painted.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "support"))

import pages

from snconvert.page.document import document

PAINTED = """async act => {
  const started = performance.now();
  act();
  await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
  return performance.now() - started;
}"""
SORT = "() => document.querySelector('#layers [data-column=\"2\"]').click()"
SEARCH = """() => {
  const search = document.querySelector("#search");
  search.value = "layer_1";
  search.dispatchEvent(new Event("input"));
}"""


def painted(page: Page, act: str) -> float:
    """Returns how many seconds an action takes until its result is painted."""
    return page.evaluate(f"() => ({PAINTED})({act})") / 1000


def main() -> None:
    """Prints the table."""
    print(f"{'layers':>7} {'kB':>7} {'write s':>8} {'usable s':>9} {'sort s':>7} {'search s':>9}")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        path = Path(folder) / "page.html"
        for count in (100, 300, 10_000):
            report = pages.chain(count, spectra=True)
            started = time.perf_counter()
            html = document(report, {})
            written = time.perf_counter() - started
            path.write_text(html, encoding="utf-8")
            page = browser.new_page()
            page.goto(path.as_uri())
            usable = page.evaluate(
                "performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd / 1000"
            )
            print(
                f"{count:>7} {path.stat().st_size / 1000:>7.0f} {written:>8.2f} {usable:>9.2f}"
                f" {painted(page, SORT):>7.2f} {painted(page, SEARCH):>9.2f}"
            )
            page.close()
        browser.close()


if __name__ == "__main__":
    main()
