"""Which options go with `lipschitz`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from snconvert.errors import OptionError
from snconvert.planning.recipe import recipe

WEIGHTS = {"overrides": {"a": {"bound": 2.0}}}


def test_it_implies_the_norm_of_maps() -> None:
    """The norm is that of maps, the number a float, and the record holds both."""
    made = recipe(lipschitz=1)
    assert made.settings.norm == "operator"
    assert type(made.lipschitz) is float
    assert made.options()["lipschitz"] == 1.0
    assert "lipschitz" not in recipe().options()
    assert recipe(lipschitz=1, bound=3.0, **WEIGHTS).settings.bound == 3.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lipschitz": 0}, "finite number above 0"),
        ({"lipschitz": -1.0}, "finite number above 0"),
        ({"lipschitz": float("inf")}, "finite number above 0"),
        ({"lipschitz": float("nan")}, "finite number above 0"),
        ({"lipschitz": True}, "finite number above 0"),
        ({"lipschitz": "1"}, "finite number above 0"),
        ({"lipschitz": 1, "norm": "matrix"}, "leave out the norm"),
        ({"lipschitz": 1, "overrides": {"a": {"norm": "matrix"}}}, "leave out the norm"),
        ({"lipschitz": 1, "mode": "gain"}, "mode hard or cap"),
        ({"lipschitz": 1, "overrides": {"a": {"mode": "gain"}}}, "mode hard or cap"),
        ({"lipschitz": 1, "target": "keras"}, "target layer"),
        ({"lipschitz": 1, "target": "constraint"}, "target layer"),
        ({"lipschitz": 1, "bound": 3.0}, "Leave out bound"),
        ({"lipschitz": 1, "bound": 1e20, **WEIGHTS}, "between"),
    ],
)
def test_what_does_not_go_with_it(options: dict[str, Any], message: str) -> None:
    """Is wrong usage, with the way out."""
    with pytest.raises(OptionError, match=message):
        recipe(**options)


def test_a_recipe_file(tmp_path: Path) -> None:
    """A file may hold it, flags win over it, and what is wrong in the file is said of the file."""
    file = tmp_path / "recipe.toml"
    file.write_text('lipschitz = 2\nkinds = "all"\n[[layer]]\nmatch = "a"\nbound = 0.5\n')
    assert recipe(file).lipschitz == 2.0
    assert recipe(file, lipschitz=3.0).lipschitz == 3.0
    file.write_text('lipschitz = 2\nmode = "gain"\n')
    with pytest.raises(OptionError, match="gain") as caught:
        recipe(file)
    assert caught.value.file == str(file)
