"""The addresses of models that lie elsewhere."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest

from snconvert.address import Address, place_of
from snconvert.core.verbs import VERBS

HIDING = "s3://key:pass@bucket/a/critic.keras?token=abc#part"


def test_what_is_secret_is_not_shown() -> None:
    """User, password, query and fragment are in no text, but in what opens the object."""
    address = place_of(HIDING)
    assert isinstance(address, Address)
    assert str(address) == f"{address}" == "s3://bucket/a/critic.keras"
    assert repr(address) == "'s3://bucket/a/critic.keras'"
    assert address.whole == HIDING
    assert {"key", "pass", "token", "abc", "part"} <= set(address.secrets)
    assert place_of(address) is address


def test_it_goes_to_other_processes() -> None:
    """Pickled, as by what copies it here, it keeps what it does not show."""
    again = copy.deepcopy(Address(HIDING))
    assert isinstance(again, Address)
    assert (str(again), again.whole) == ("s3://bucket/a/critic.keras", HIDING)


def test_the_default_output_lies_beside_it() -> None:
    """It keeps the credentials and loses the query, which is that of the input."""
    output = VERBS["apply"].default_output(place_of(HIDING))
    assert isinstance(output, Address)
    assert output.whole == "s3://key:pass@bucket/a/critic-sn.keras"


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ("critic.keras", "critic.keras"),
        ("C:/critic.keras", "C:/critic.keras"),
        ("file:///models/a%20b.keras", "/models/a b.keras"),
        ("FILE://localhost/a.keras", "/a.keras"),
    ],
)
def test_what_is_here_is_a_path(given: str, path: str) -> None:
    """A path is none, and neither is a URL of this machine's files."""
    place = place_of(given)
    assert place == path
    assert not isinstance(place, Address)


def test_a_file_may_be_named_like_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is there under that name is a path."""
    (tmp_path / "s3:" / "bucket").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert not isinstance(place_of("s3://bucket"), Address)
