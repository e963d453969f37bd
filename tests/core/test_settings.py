"""Settings, and the factor that they make of a norm."""

from __future__ import annotations

from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snconvert.core.settings import FIELDS, MODES, Settings, scale, settings_in
from snconvert.errors import OptionError

NORMS = st.floats(1e-6, 1e6)


@given(st.sampled_from(MODES), NORMS, NORMS, NORMS | st.none())
def test_the_norm_after_is_the_scaled_norm(
    mode: str, bound: float, sigma: float, gamma: float | None
) -> None:
    """`sigma_after` is `s(sigma) * sigma`, and never above the bound of `hard` and `cap`."""
    settings = Settings(mode, bound)
    after = settings.sigma_after(sigma, None, gamma)
    assert after == pytest.approx(abs(scale(sigma, settings, gamma)) * sigma)
    if mode != "gain":
        assert after <= bound
    if mode == "hard":
        assert after == bound


def test_zero_stays_zero() -> None:
    """A kernel of zeros is multiplied by 1, in every mode."""
    for mode in MODES:
        assert scale(0.0, Settings(mode)) == 1.0
        assert Settings(mode).sigma_after(0.0) == 0.0


def test_the_names_are_those_of_the_fields() -> None:
    """Options of other things are left out, and what is missing has its default."""
    assert tuple(asdict(Settings())) == FIELDS
    assert settings_in({"units": 3, "mode": "cap"}) == Settings("cap")
    with pytest.raises(OptionError, match="bound is -1"):
        settings_in({"bound": -1})
