"""What a kernel's singular values say, for the report."""

from __future__ import annotations

from typing import NamedTuple


class Spectrum(NamedTuple):
    """The singular values of a kernel's matrix view; of several blocks those of all together.

    Attributes:
        largest: The largest one, sigma.
        smallest: The smallest of `min(m, n)` values, of every block.
        stable_rank: `|W|_F^2 / sigma^2` (Rudelson and Vershynin 2007); 0 of a kernel of zeros.
        effective_rank: `exp(-sum p log p)`, `p` the values divided by their sum (Roy and Vetterli
            2007); 0 of a kernel of zeros.
        condition: `largest / smallest`; `None` where the smallest is zero to rounding.
        values: The values in falling order, at most 64 of them, evenly spread over their ranks, the
            first and the last among them.
        total: How many values there are.
    """

    largest: float
    smallest: float
    stable_rank: float
    effective_rank: float
    condition: float | None
    values: tuple[float, ...]
    total: int
