"""A page is written where it was asked for, whole or not at all, and never over a model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pages
import pytest
from places import SAMPLES

import snconvert
from snconvert.errors import OptionError, OutputError, SnconvertError, UnsupportedError
from snconvert.page.place import check_page, write_page

MOONS = SAMPLES / "moons.keras"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "m.keras"
    path.write_bytes(MOONS.read_bytes())
    return path


def test_apply_and_inspect_write_pages(model: Path, tmp_path: Path) -> None:
    """Both write the page of their report, with graph and SHA-256; a page that is there goes."""
    page = tmp_path / "page.html"
    page.write_text("old")
    plain = snconvert.apply_file(model, tmp_path / "plain.keras")
    report = snconvert.apply_file(model, html=page)
    first = page.read_text(encoding="utf-8")
    assert report.source_sha256 is not None
    assert report.source_sha256 in first
    assert report.graph is not None
    assert (plain.graph, plain.source_sha256) == (None, None)
    assert "5 layers converted" in first
    seen = snconvert.inspect(model, spectrum=True, html=str(page))
    second = page.read_text(encoding="utf-8")
    assert seen.source_sha256 == report.source_sha256
    assert "Spectra" in second
    assert "Option spectrum</dt><dd>True" in second
    assert (tmp_path / "plain.keras").read_bytes() == (tmp_path / "m-sn.keras").read_bytes()


def test_a_dry_run_writes_the_page_only(model: Path, tmp_path: Path) -> None:
    """The plan has a page, the model has none."""
    snconvert.apply_file(model, dry_run=True, html=tmp_path / "p.html")
    assert sorted(os.listdir(tmp_path)) == ["m.keras", "p.html"]


def test_a_run_that_fails_leaves_no_page(model: Path, tmp_path: Path) -> None:
    """Nothing is left, and a page that was there stays."""
    kept = tmp_path / "kept.html"
    kept.write_text("kept")
    for page in (kept, tmp_path / "new.html"):
        with pytest.raises(SnconvertError):
            snconvert.apply_file(model, only=["nothing"], html=page)
        model.with_name("bad.keras").write_bytes(b"no model")
        with pytest.raises(SnconvertError):
            snconvert.inspect(model.with_name("bad.keras"), html=page)
    assert kept.read_text() == "kept"
    assert sorted(os.listdir(tmp_path)) == ["bad.keras", "kept.html", "m.keras"]


@pytest.mark.parametrize("page", [5, b"x.html", "report", "report.keras", "m.keras", ""])
def test_what_is_no_page(page: object, model: Path) -> None:
    """A page is a path that ends in .html or .htm."""
    with pytest.raises(OptionError, match="html"):
        snconvert.inspect(model, html=page)


def test_a_page_takes_the_place_of_no_model(model: Path, tmp_path: Path) -> None:
    """Neither input nor output is overwritten, by whatever name they go."""
    odd = model.rename(tmp_path / "model.html")
    before = odd.read_bytes()
    (tmp_path / "link.html").symlink_to(odd)
    os.mkdir(tmp_path / "folder")
    for page in (odd, tmp_path / "link.html", tmp_path / "folder" / ".." / "model.html"):
        with pytest.raises(OutputError, match="take the place"):
            snconvert.inspect(odd, html=page)
    with pytest.raises(OutputError, match="take the place"):
        snconvert.apply_file(MOONS, tmp_path / "out.html", html=tmp_path / "out.html")
    with pytest.raises(OutputError, match="lie in it"):
        check_page(tmp_path / "folder" / "x.html", tmp_path / "folder")
    assert odd.read_bytes() == before
    assert not (tmp_path / "out.html").exists()


def test_places_that_cannot_be_written(model: Path, tmp_path: Path) -> None:
    """A missing folder, and what is no file, end in one line before any work."""
    with pytest.raises(OutputError, match="does not exist"):
        snconvert.apply_file(model, html=tmp_path / "no" / "p.html")
    os.mkdir(tmp_path / "f.html")
    with pytest.raises(OutputError, match="no file"):
        snconvert.apply_file(model, html=tmp_path / "f.html")
    assert sorted(os.listdir(tmp_path)) == ["f.html", "m.keras"]


def test_a_link_stays(tmp_path: Path) -> None:
    """Where the page is a link, what it leads to is replaced."""
    (tmp_path / "real.htm").write_text("old")
    (tmp_path / "link.html").symlink_to("real.htm")
    write_page(check_page(tmp_path / "link.html"), pages.resnet(1), {})
    assert (tmp_path / "link.html").is_symlink()
    assert (tmp_path / "real.htm").read_text(encoding="utf-8").startswith("<!doctype html>")


def test_without_jinja2(monkeypatch: pytest.MonkeyPatch, model: Path, tmp_path: Path) -> None:
    """Without jinja2 one line says what to install, before any work; all else does without."""
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(UnsupportedError) as caught:
        snconvert.apply_file(model, html=tmp_path / "p.html")
    assert str(caught.value) == (
        f"{tmp_path / 'p.html'}: the page is made with jinja2, which is not installed."
        " Install it: pip install jinja2."
    )
    assert os.listdir(tmp_path) == ["m.keras"]
    snconvert.inspect(model)


def test_a_name_that_is_no_text(tmp_path: Path) -> None:
    """A file whose name is no UTF-8 has a page that is."""
    odd = os.fsencode(tmp_path / "m-") + b"\xff.keras"
    Path(os.fsdecode(odd)).write_bytes(MOONS.read_bytes())
    snconvert.inspect(os.fsdecode(odd), html=tmp_path / "p.html")
    assert "m-\\udcff.keras" in (tmp_path / "p.html").read_text(encoding="utf-8")


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "snconvert", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_command_says_what_it_wrote(model: Path, tmp_path: Path) -> None:
    """The last line names the page; with --json nothing else is on stdout."""
    page = tmp_path / "p.html"
    assert command("inspect", model, "--html", page).stdout.endswith(f"wrote {page}\n")
    assert page.exists()
    assert json.loads(command("inspect", model, "--html", page, "--json").stdout)


def test_several_models_have_no_page(model: Path, tmp_path: Path) -> None:
    """On the command line --html goes with one model: else it is wrong usage, in one line."""
    result = command("inspect", model, MOONS, "--html", tmp_path / "p.html")
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert "a page shows one model" in result.stderr
    assert os.listdir(tmp_path) == ["m.keras"]
