"""Options from flags, from Python and from TOML files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from snconvert.core.settings import Settings
from snconvert.errors import OptionError
from snconvert.planning.recipe import recipe


def test_defaults() -> None:
    """Without options: dense layers, hard mode, bound one, one iteration."""
    made = recipe()
    assert made.kinds == ("dense",)
    assert made.target == "layer"
    assert made.settings == Settings("hard", 1.0, 1, "matrix")


@pytest.mark.parametrize(
    ("options", "kinds"),
    [
        ({"conv": True}, ("dense", "conv")),
        ({"kinds": "conv"}, ("conv",)),
        ({"kinds": "conv,dense"}, ("dense", "conv")),
        ({"kinds": ["embedding"], "conv": True}, ("conv", "embedding")),
        ({"kinds": "all"}, ("dense", "conv", "attention", "recurrent", "embedding")),
    ],
)
def test_kinds(options: dict[str, Any], kinds: tuple[str, ...]) -> None:
    """Kinds are a list or text, `conv` adds one, and `all` means all, in the table's order."""
    assert recipe(**options).kinds == kinds


@pytest.mark.parametrize(
    "options",
    [
        {"bound": 0},
        {"bound": float("nan")},
        {"bound": "1"},
        {"bound": True},
        {"power_iterations": 0},
        {"power_iterations": 1.5},
        {"mode": "soft"},
        {"norm": "frobenius"},
        {"target": "torch"},
        {"kinds": "dens"},
        {"conv": "no"},
        {"only": 3},
        {"overrides": {"a": {"units": 3}}},
        {"overrides": {"a": {"bound": -1}}},
    ],
)
def test_values_that_cannot_work(options: dict[str, Any]) -> None:
    """Every value that cannot work is an OptionError that says what is expected."""
    with pytest.raises(OptionError, match=r"\. (Give|Choose|Known)"):
        recipe(**options)


FILE = """
kinds = ["dense", "conv"]
exclude = ["head"]
mode = "cap"
power-iterations = 2

[[layer]]
match = "encoder/*"
bound = 3
"""


def test_a_file_and_flags(tmp_path: Path) -> None:
    """A recipe file gives every option; what is given beside it wins."""
    path = tmp_path / "r.toml"
    path.write_text(FILE)
    made = recipe(path, bound=2.0, exclude=None)
    assert made.settings == Settings("cap", 2.0, 2)
    assert (made.kinds, made.exclude) == (("dense", "conv"), ("head",))
    assert [(item.match, item.changes) for item in made.overrides] == [("encoder/*", {})]
    made = recipe(path, mode="hard", overrides={"head": {"bound": 5}})
    changes = [(item.match, item.changes) for item in made.overrides]
    assert changes == [("encoder/*", {"bound": 3}), ("head", {"bound": 5})]
    assert recipe(path, kinds="dense", mode="hard").kinds == ("dense",)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"target": "keras", "norm": "operator"}, "keras knows the norm of the kernel's matrix"),
        ({"target": "constraint", "norm": "operator"}, "constraint knows the norm of the kernel's"),
        ({"target": "keras", "mode": "cap"}, "mode hard with bound 1 only, not cap with bound 1"),
        ({"target": "keras", "overrides": {"a": {"bound": 2}}}, "not hard with bound 2"),
        ({"target": "constraint", "mode": "gain"}, "no mode gain"),
    ],
)
def test_options_that_do_not_go_together(options: dict[str, Any], says: str) -> None:
    """Each is right by itself."""
    with pytest.raises(OptionError, match=says):
        recipe(**options)


def test_flags_mend_a_file(tmp_path: Path) -> None:
    """A file whose options do not go together is no error if what is given takes one away; where it
    is one, it is said of the file, and what is wrong with a flag is not."""
    path = tmp_path / "r.toml"
    path.write_text('target = "constraint"\nmode = "gain"\n')
    assert recipe(path, mode="cap").settings.mode == "cap"
    for options in ({}, {"bound": 2}):
        with pytest.raises(OptionError, match="no gamma") as caught:
            recipe(path, **options)
        assert caught.value.file == str(path)
    path.write_text("bound = 2\n")
    with pytest.raises(OptionError, match="mode is 'soft'") as caught:
        recipe(path, mode="soft")
    assert caught.value.file is None


@pytest.mark.parametrize(
    "text",
    ["modus = 'hard'", "mode = ", "layer = 3", "[[layer]]\nbound = 1", "mode = 'soft'", "\xff"],
)
def test_bad_files(text: str, tmp_path: Path) -> None:
    """A recipe file that cannot work is an OptionError."""
    path = tmp_path / "r.toml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(OptionError):
        recipe(path)


def test_missing_file(tmp_path: Path) -> None:
    """A recipe that is not there is named."""
    with pytest.raises(OptionError, match=r"none\.toml: the recipe cannot be read"):
        recipe(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("mode", "sigma", "after"),
    [
        ("hard", 5.0, 2.0),
        ("hard", 0.5, 2.0),
        ("hard", 0.0, 0.0),
        ("cap", 5.0, 2.0),
        ("cap", 0.5, 0.5),
        ("gain", 5.0, 5.0),
    ],
)
def test_sigma_after(mode: str, sigma: float, after: float) -> None:
    """The effective norm is the bound, at most the bound, or what it was."""
    assert Settings(mode, 2.0).sigma_after(sigma) == after
