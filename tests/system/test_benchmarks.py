"""The benchmarks judge times rightly, and write tables that are well formed."""

import random
import re
import runpy
import sys

import pytest
from places import BENCHMARKS


@pytest.fixture(name="scripts")
def scripts_(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict]:
    """Returns what some scripts define, by their names."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    yield {name: runpy.run_path(str(BENCHMARKS / f"{name}.py")) for name in ("all", "compare")}
    sys.modules.pop("rounds", None)


def taken(change: float, drift: float = 0.0, noise: float = 0.03) -> dict[str, list[float]]:
    """Returns times of 15 rounds on a machine that is twice as slow at the end."""
    rng = random.Random(0)
    factors = {"old": 1.0, "new": change, "control": 1.0 + drift}
    return {
        name: [f * (1 + i / 14) * rng.lognormvariate(0, noise) / 100 for i in range(15)]
        for name, f in factors.items()
    }


@pytest.mark.parametrize(
    ("times", "verdict"),
    [
        (taken(1.2), "slower"),
        (taken(0.8), "faster"),
        (taken(1.0), "same"),
        (taken(1.01, noise=0.0001), "same"),
        (taken(1.03, noise=0.0001), "slower"),
        (taken(1.2, noise=0.5), "same"),
        (taken(1.08, drift=0.1, noise=0.01), "same"),
        ({name: times[:7] for name, times in taken(1.5).items()}, "undecided"),
    ],
)
def test_a_change_is_told_from_noise(
    scripts: dict[str, dict], times: dict[str, list[float]], verdict: str
) -> None:
    """A drift of the machine, noise, and what the control shows too are no change."""
    row, said = scripts["compare"]["line"]("apply mlp", times)
    assert said == verdict
    assert row.startswith("| apply mlp | ")
    assert row.endswith(f" | {verdict} |")
    assert row.count("|") == scripts["compare"]["head"](*"123456").splitlines()[0].count("|")


def test_the_interval_holds_the_median_as_often_as_it_says(scripts: dict[str, dict]) -> None:
    """Of 15 normal numbers the third smallest and largest enclose 0 in 99.26 % of cases."""
    rng, inside = random.Random(1), 0
    interval = scripts["compare"]["interval"]
    for _ in range(4000):
        low, high = interval([rng.gauss(0, 1) for _ in range(15)])
        inside += low <= 0 <= high
    assert inside / 4000 == pytest.approx(0.9926, abs=0.004)


def test_parts_name_scripts_that_are_there(scripts: dict[str, dict]) -> None:
    """Every part of the page runs a script of the folder, and a quick run has some."""
    parts = scripts["all"]["PARTS"].values()
    words = [command.split()[0] for part in parts for command in (part.full, part.quick) if command]
    assert words
    assert all((BENCHMARKS / word).exists() for word in words)


def test_a_section_has_the_table_or_the_error(scripts: dict[str, dict]) -> None:
    """Tables stand as they are, other text in a fence, and a failure in its place."""
    measured, part = scripts["all"]["measured"], scripts["all"]["Part"]
    measured.__globals__["busy"] = lambda: 0.0  # it takes two seconds
    text, worked = measured(part("Help", "compare.py --help"), quick=False)
    assert worked
    assert re.match(
        r"## Help\n\n`python benchmarks/compare.py --help`, 0\.\d minutes, \d+\.\d\d cores busy"
        r" before:\n\n```text\nusage: ",
        text,
    )
    text, worked = measured(part("Wrong", "compare.py", "compare.py none none"), quick=True)
    assert not worked
    assert "It ended with exit code 1: `none: git cannot read it:" in text
