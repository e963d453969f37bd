"""Every case of the corpus, through the command line."""

from __future__ import annotations

import json
import os
import re
import shutil
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import limited
import pytest
import warm
from keras_judge import Judge
from places import CORPUS

MANIFEST: list[dict[str, Any]] = json.loads((CORPUS / "manifest.json").read_text())["cases"]
BAIT = re.compile("424242|TOP-SECRET")
BAIT_BYTES = (b"424242", b"TOP-SECRET", struct.pack("<f", 424242.0), struct.pack("<d", 424242.0))


@dataclass(frozen=True)
class Run:
    """What one case came to, and the folder that holds its output."""

    outcome: dict[str, Any]
    folder: Path

    @property
    def output(self) -> Path:
        return self.folder / "out" / "out.keras"

    def left(self) -> list[str]:
        return [str(path.relative_to(self.folder)) for path in self.folder.rglob("*.*")]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """Runs all cases, each in a process of its own and an empty folder."""
    root = tmp_path_factory.mktemp("corpus")
    cases = root / "cases"
    shutil.copytree(CORPUS / "cases", cases)  # the bait lies beside, as the cases expect
    outcomes = []
    for case in MANIFEST:
        folder = root / "runs" / case["id"]
        for name in ("out", "tmp"):
            (folder / name).mkdir(parents=True)
        command = [sys.executable, "-m", "snconvert", "apply", str(cases / case["id"])]
        job = {
            "command": [*command, "-o", str(folder / "out" / "out.keras"), *case["flags"]],
            "cwd": str(cases),
            "env": {"TMPDIR": str(folder / "tmp"), "TF_CPP_MIN_LOG_LEVEL": None},
            "seconds": case["limits"]["secs"],
        }
        outcomes.append(limited.run(job, partial(warm.Popen, modules=warm.FILE_CARRIER)))
    for path in cases.rglob("*"):
        original = CORPUS / "cases" / path.relative_to(cases)
        assert path.is_dir() or path.read_bytes() == original.read_bytes(), path
    assert len(list(cases.rglob("*"))) == len(list((CORPUS / "cases").rglob("*")))
    return {
        case["id"]: Run(outcome, root / "runs" / case["id"])
        for case, outcome in zip(MANIFEST, outcomes, strict=True)
    }


@pytest.fixture(scope="module")
def judge() -> Iterator[Judge]:
    with Judge() as judge:
        yield judge


def test_the_manifest_is_complete() -> None:
    """Every file of the corpus has a case, and every case its file."""
    names = {path.name for path in (CORPUS / "cases").iterdir() if not path.name.startswith("_")}
    assert names == {case["id"] for case in MANIFEST}
    assert len(names) == 130


@pytest.mark.parametrize("case", MANIFEST, ids=[case["id"] for case in MANIFEST])
def test_case(case: dict[str, Any], runs: dict[str, Run], judge: Judge) -> None:
    """It comes out as the manifest says, within its limits, and leaves nothing but its output."""
    run = runs[case["id"]]
    outcome = run.outcome
    assert not outcome["timeout"]
    # Parent and guarded child live at the same time, and neither is larger than this.
    assert 2 * outcome["megabytes"] < case["limits"]["rss_mb"]
    said = outcome["stdout"] + outcome["stderr"]
    assert not BAIT.search(said)
    assert "Traceback" not in said
    lines = outcome["stderr"].splitlines()
    accepted = outcome["code"] == 0
    if case["verdict"] == "reject":
        assert not accepted
    if case["verdict"] == "accept":
        assert accepted
    if not accepted:
        assert outcome["code"] == 1
        assert len(lines) == 1
        assert re.match(r"error: .*\.$", lines[0])
        assert case["id"] in lines[0]
        if case["says"]:
            assert re.search(case["says"], lines[0].replace(case["id"], ""), re.IGNORECASE)
        assert run.left() == []
        return
    assert all(line.startswith("warning: ") for line in lines)
    assert run.left() == [os.path.join("out", "out.keras")]
    written = run.output.read_bytes()
    assert not any(bait in written for bait in BAIT_BYTES)
    assert judge.ask(CORPUS / "cases" / case["id"], run.output) == ""
    if case["verdict"] == "accept":
        assert judge.load(run.output) == ""
