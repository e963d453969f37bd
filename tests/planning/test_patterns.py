"""Patterns of layers."""

from __future__ import annotations

import fnmatch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snconvert.errors import OptionError
from snconvert.planning.patterns import expression, split
from snconvert.planning.recipe import recipe

NAMES = st.text("abc/_*?:01 ", min_size=1).map(str.strip).filter(bool)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("fc1,fc2", ["fc1", "fc2"]),
        (" stem , block_* ", ["stem", "block_*"]),
        ("a,,b,", ["a", "b"]),
        ("re:fc[1,2]|x,y", ["re:fc[1,2]|x,y"]),
        ("stem,re:^(a|b){1,2},c$", ["stem", "re:^(a|b){1,2},c$"]),
        ("fc[1,2],head", ["fc[1,2]", "head"]),
        ("fc[!1,],head", ["fc[!1,]", "head"]),
        ("[],]x,head", ["[],]x", "head"]),
        ("a(1,2),b{3,4},c", ["a(1,2)", "b{3,4}", "c"]),
        ("a[1,b", ["a[1", "b"]),
        ("a[,]b", ["a[,]b"]),
        ("a,\nb", ["a", "b"]),
        ("", [""]),
        (" , ", [" , "]),
    ],
)
def test_commas_split(text: str, parts: list[str]) -> None:
    """Commas split outside brackets and expressions; a text always gives a pattern."""
    assert split(text) == parts


@given(st.lists(NAMES.filter(lambda name: not name.startswith("re:")), min_size=1))
def test_parts_come_back(names: list[str]) -> None:
    """What is joined by commas comes apart again."""
    assert split(",".join(names)) == names


def test_a_comma_in_a_name() -> None:
    """A name with a comma is matched as a glob in brackets, or by an expression."""
    (glob,) = split("a[,]b")
    assert fnmatch.fnmatchcase("a,b", glob)
    assert expression(glob).match("a,b")
    assert expression("re:^a,b$").search("a,b")


def test_lists_are_lists() -> None:
    """In Python and in recipes a text is taken apart, an item of a list is one pattern."""
    assert recipe(only="a,b", kinds="dense, conv").only == ("a", "b")
    assert recipe(only=["a,b"], exclude=("c,d", "e")).only == ("a,b",)
    assert recipe(exclude=("c,d", "e")).exclude == ("c,d", "e")


def test_no_regular_expression() -> None:
    """What is none is told before any work."""
    with pytest.raises(OptionError, match="is no regular expression"):
        expression("re:(")
