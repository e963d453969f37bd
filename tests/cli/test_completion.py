"""What the shell offers after a TAB."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import types
from pathlib import Path

import pytest
from places import CASES, MODELS, SAMPLES

from snconvert.cli import completion
from snconvert.cli.help.topics import TOPICS
from snconvert.cli.help.values import VALUES

LINES = {
    "apply --mode ''": "hard cap gain",
    "apply --mode = h": "hard",  # as bash splits --mode=h
    "apply --kinds dense,e": "dense,embedding",
    "apply mod": "model.keras",
    "apply model.keras --exclude logits,st": "logits,stem",
    "help mo": "modes",
}
"""The words of lines in bash, and what it is to offer for the last one."""


def place(*models: str, **params: object) -> types.SimpleNamespace:
    """Returns what typer tells of a line that names models."""
    return types.SimpleNamespace(params=params, args=[str(model) for model in models])


def words(offers: completion.Offers) -> list[str]:
    return [word for word, _ in offers]


def test_in_bash(tmp_path: Path) -> None:
    """What `--show-completion` prints makes bash complete values, files and layers."""
    program = tmp_path / "bin/snconvert"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m snconvert "$@"\n')
    program.chmod(0o755)
    shutil.copy(SAMPLES / "moons.keras", tmp_path / "model.keras")
    (tmp_path / "model.txt").touch()
    script = """
        eval "$(snconvert --show-completion)"
        offer() {
            COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
            _snconvert_completion "$1" "${COMP_WORDS[COMP_CWORD]}"
            echo $(printf '%s\\n' "${COMPREPLY[@]}")
        }
    """
    calls = [f"offer snconvert {line}" for line in LINES]
    done = subprocess.run(
        ["bash", "--norc", "-c", script + "\n".join(calls)],
        cwd=tmp_path,
        env=os.environ | {"PATH": f"{program.parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == list(LINES.values())


def test_values() -> None:
    """Each value is offered with its meaning; behind a comma the kinds that are not there."""
    assert completion.values("mode")("") == list(VALUES["mode"].items())
    assert words(completion.values("kinds")("dense,")) == [
        "dense,conv",
        "dense,attention",
        "dense,recurrent",
        "dense,embedding",
    ]
    assert words(completion.values("mode")("hard,")) == list(VALUES["mode"])
    assert words(completion.topics()) == list(TOPICS)


def test_files_that_can_be_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files by their suffix, and folders; the inside of a folder where there is no other."""
    for name in ("a.keras", "a.txt", "b.h5", "c.hdf5", ".hidden.keras", "f/x.keras", "f/y.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    shutil.copytree(MODELS / "a16_dir_h5dir", tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    assert completion.models("") == ["a.keras", "b.h5", "c.hdf5", "f/", "model"]
    assert completion.models("f") == ["f/", "f/x.keras"]
    assert completion.models("f/") == ["f/x.keras"]
    assert completion.models("./f/x") == ["./f/x.keras"]
    assert completion.models(f"{tmp_path}/b") == [f"{tmp_path}/b.h5"]
    assert completion.models(".") == [".hidden.keras"]
    for nothing in ("x", "none/", "~/", "\0", "a" * 5000):
        assert completion.models(nothing) == []
    assert completion.files(".txt")("a") == ["a.txt"]


def test_special_letters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In bash they are offered as they have to be typed; what no terminal should get, never."""
    for name in ("a b.keras", "a$b.keras", "a\x1b[31m.keras", "a\n.keras"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    assert completion.models("a") == ["a b.keras", "a$b.keras"]
    monkeypatch.setenv("COMP_CWORD", "2")
    for typed, offered in (
        ("a", ["a\\ b.keras", "a\\$b.keras"]),
        ("'a", ["a b.keras", "a$b.keras"]),
    ):
        monkeypatch.setenv("COMP_WORDS", f"snconvert\napply\n{typed}")
        assert completion.models("a") == offered


@pytest.mark.parametrize(
    ("words", "place", "mended"),
    [
        ("s\napply\n--mode\n=\nh", "4", ("s\napply\n--mode\nh", "3")),
        ("s\napply\n--mode\n=", "3", ("s\napply\n--mode\n=", "3")),
        (
            "s\napply\n--mode\n=\ncap\nm\n--norm\n=\n",
            "8",
            ("s\napply\n--mode\ncap\nm\n--norm\n", "6"),
        ),
        ("s\napply", "x", ("s\napply", "x")),
    ],
)
def test_words_of_bash(
    monkeypatch: pytest.MonkeyPatch, words: str, place: str, mended: tuple[str, str]
) -> None:
    """A `=` that bash has split off is no word; the one at the cursor stays."""
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", place)
    completion.mend_words()
    assert (os.environ["COMP_WORDS"], os.environ["COMP_CWORD"]) == mended


def test_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those with kernels are offered, with their class, and what they lie in."""
    monkeypatch.setattr(completion, "PATIENCE", 60.0)  # the machine may be busy
    moons, functional = SAMPLES / "moons.keras", MODELS / "a03_func_counter.keras"
    stages = ["stem", "block_0", "block_1", "block_2", "logits"]
    assert completion.layers(place(moons), "") == [(name, "Dense") for name in stages]
    assert words(completion.layers(place(moons), "stem,")) == [f"stem,{x}" for x in stages[1:]]
    assert words(completion.layers(place(models=[str(moons)]), "")) == stages
    assert ("out with space", "Dense") in completion.layers(place("none", functional), "")
    nested = words(
        completion.layers(place(MODELS / "a30_multiple_models_same_layer_nested.keras"), "")
    )
    assert any(path.startswith(f"{nested[0]}/") for path in nested)
    assert words(completion.layers(place(MODELS / "k215_seq.h5"), ""))


@pytest.mark.parametrize("case", sorted(CASES.iterdir())[::4], ids=lambda path: path.name)
def test_hostile_files(case: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Nothing of a bad file fails, prints, or reaches the terminal as it is."""
    offers = completion.layers(place(case), "")
    assert all(text.isprintable() for offer in offers for text in offer)
    assert capfd.readouterr() == ("", "")


def test_nothing_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that cannot be read at once has no layers to offer."""
    monkeypatch.setattr(completion, "_layers", lambda _: time.sleep(60))
    begin = time.monotonic()
    assert completion.layers(place(SAMPLES / "moons.keras"), "") == []
    assert time.monotonic() - begin < 10 * completion.PATIENCE


def test_nothing_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """A configuration beyond all usual ones is not parsed; one is needed to offer anything."""
    monkeypatch.setattr(completion, "_LARGEST", 10)
    assert completion.layers(place(SAMPLES / "moons.keras"), "") == []
    assert completion.layers(place(), "") == []
