"""What each value of an option means."""

from __future__ import annotations

from snconvert.cli.help.values import VALUES
from snconvert.core.settings import MODES, NORMS, Settings
from snconvert.core.targets import TARGETS
from snconvert.kinds.kernel_rule import KINDS
from snconvert.kinds.table import RULES
from snconvert.planning.recipe import Recipe


def test_every_value_has_a_meaning() -> None:
    """The table has the values that there are, in their order."""
    there = {"kinds": (*KINDS, "all"), "mode": MODES, "norm": NORMS, "target": tuple(TARGETS)}
    assert {option: tuple(meanings) for option, meanings in VALUES.items()} == there


def test_the_defaults_are_marked() -> None:
    """One value of each option is called the default, and it is."""
    marked = {
        option: [value for value, meaning in meanings.items() if "(default" in meaning]
        for option, meanings in VALUES.items()
        if option != "kinds"  # where `inspect` has another
    }
    settings = Settings()
    assert marked == {"mode": [settings.mode], "norm": [settings.norm], "target": [Recipe().target]}


def test_the_kinds_are_of_the_table() -> None:
    """The classes that the meaning of a kind names have rules of that kind."""
    for kind in KINDS:
        words = VALUES["kinds"][kind].replace(",", "").split()
        named = [word for word in words if word in RULES]
        assert all(RULES[word].kind == kind for word in named)
        assert named or kind == "conv"
