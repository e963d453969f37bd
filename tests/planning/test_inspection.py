"""What an inspection can be asked for."""

from __future__ import annotations

from typing import Any

import pytest

from snconvert.errors import OptionError
from snconvert.planning.inspection import Inspection


def test_options_are_told_apart() -> None:
    """What belongs to a recipe is handed back."""
    asked, rest = Inspection.taken_from({"spectrum": True, "bound": 2, "nonsense": 1})
    assert asked == Inspection(spectrum=True)
    assert rest == {"bound": 2, "nonsense": 1}
    assert Inspection.taken_from({}) == (Inspection(), {})


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"spectrum": 1}, "spectrum is 1"),
        ({"lipschitz": 2.0}, "lipschitz is 2.0"),
        ({"lipschitz": True, "samples": -1}, "samples is -1"),
        ({"lipschitz": True, "samples": True}, "samples is True"),
        ({"samples": 3}, "was not asked for"),
        ({"sigma": False, "spectrum": True}, "begins with it"),
        ({"sigma": False, "certify": True}, "begins with it"),
    ],
)
def test_what_cannot_be_asked_for(options: dict[str, Any], says: str) -> None:
    """A value that means nothing is an error that says which."""
    with pytest.raises(OptionError, match=says):
        Inspection.taken_from(options)
