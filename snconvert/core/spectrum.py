"""What a kernel's singular values say, for the report, and what finding them costs.

Apart from how they are found, as the process that only asks for them does without numpy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

SPECTRA = "spectra"
"""The stage of the work, as `Progress` names it."""
POINTS = 64
"""How many of a kernel's singular values are kept at most."""
DIRECT = 256
"""The order up to which they are found by a QR factorisation at once; above, by the Gram matrix."""
LARGE_ORDER = 2048
"""The smaller side from which on a matrix takes hundreds of megabytes: one at a time."""
LARGEST_ORDER = 9216
"""The smaller side of a matrix from which on they take more memory than the guarded process has."""

_WORTH_SAYING, _MINUTES = 2, 120  # seconds


class Spectrum(NamedTuple):
    """The singular values of a kernel's matrix view; of several blocks those of all together.

    Attributes:
        largest: The largest one, sigma.
        smallest: The smallest of `min(m, n)` values, of every block.
        stable_rank: `|W|_F^2 / sigma^2` (Rudelson and Vershynin 2007); 0 of a kernel of zeros.
        effective_rank: `exp(-sum p log p)`, `p` the values divided by their sum (Roy and Vetterli
            2007); 0 of a kernel of zeros.
        condition: `largest / smallest`; `None` where the smallest is zero to rounding.
        values: The values in falling order, at most `POINTS` of them, evenly spread over their
            ranks, the first and the last among them.
        total: How many values there are.
    """

    largest: float
    smallest: float
    stable_rank: float
    effective_rank: float
    condition: float | None
    values: tuple[float, ...]
    total: int

    def as_json(self) -> dict[str, Any]:
        """Returns the spectrum as `--json` prints it."""
        return {**self._asdict(), "values": list(self.values)}


def seconds_for(shape: tuple[int, int, int]) -> float:
    """Returns about how long the spectrum of a stack `(b, m, n)` takes, in one thread.

    By multiplications, as `benchmarks/spectra.py` has measured them on one core of 2026.
    """
    count, m, n = shape
    long, short = max(m, n), min(m, n)
    if short <= DIRECT:
        each = 5e-6 + 3.5e-10 * long * short**2
    else:
        each = 4e-11 * long * short**2 + 1.2e-10 * short**3
    return count * each


def cost_of(shapes: Sequence[tuple[int, int, int]], processes: int) -> str | None:
    """Returns about how long the spectra of kernels take, in words; `None`: not long.

    Args:
        shapes: The stack `(b, m, n)` of each.
        processes: How many processes find them.

    Example:
        >>> cost_of([(1, 4096, 4096)] * 3, 2)
        'spectra of 3 kernels, about 30 s'
    """
    single = [seconds_for(shape) for shape in shapes]
    in_turn = sum(seconds_for(shape) for shape in shapes if min(shape[1:]) > LARGE_ORDER)
    seconds = max(sum(single) / processes, in_turn, *single)
    if seconds < _WORTH_SAYING:
        return None
    kernels = f"{len(shapes)} {'kernel' if len(shapes) == 1 else 'kernels'}"
    if seconds >= _MINUTES:
        return f"spectra of {kernels}, about {seconds / 60:.0f} min"
    digits = 0 if seconds < 10 else -1  # noqa: PLR2004
    return f"spectra of {kernels}, about {round(seconds, digits):.0f} s"
