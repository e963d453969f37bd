"""The picture of a terminal in the documentation."""

from __future__ import annotations

import re
import runpy
import shutil
from html import unescape
from pathlib import Path

from places import ROOT


def said(svg: str) -> list[str]:
    """Returns the texts of a picture, without digits."""
    return [re.sub(r"[\d.]+", "#", unescape(text)) for text in re.findall(r">([^<>]+)</text>", svg)]


def test_the_picture_is_of_this_version(tmp_path: Path) -> None:
    """It shows what the program prints today, in a small file that needs nothing from elsewhere."""
    script = runpy.run_path(str(ROOT / "benchmarks" / "picture.py"))
    shutil.copy(ROOT / "samples" / "moons.keras", tmp_path)
    stored = (ROOT / "docs" / "images" / "apply.svg").read_text("utf-8")
    shown = script["picture"](script["printed"](str(tmp_path)))
    assert said(stored) == said(shown), "python benchmarks/picture.py docs/images/apply.svg"
    assert any("SpectralDense" in text for text in said(stored))
    assert len(stored) < 60_000
    assert not re.search(r"url\((?!#)|href|<script|@import", stored)
