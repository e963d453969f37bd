"""What the user may do next, in words: which options convert more, how to name a result."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

from snconvert.core.report import Report
from snconvert.errors import printable
from snconvert.kinds.kernel_rule import KINDS
from snconvert.wording import spoken


def option_for(kinds: Iterable[str]) -> str:
    """Returns the option that selects kinds of layers.

    Example:
        >>> option_for(["conv"]), option_for(["attention", "recurrent"])
        ('--conv', '--kinds attention,recurrent')
    """
    names = list(kinds)
    return "--conv" if names == ["conv"] else f"--kinds {','.join(names)}"


def with_option(missing_kind: str | None, reason: str | None) -> str | None:
    """Returns the option that a layer still needs to be converted, then what is special about it.

    Example:
        >>> with_option("conv", None)
        'with --conv'
    """
    option = None if missing_kind is None else f"with {option_for([missing_kind])}"
    return "; ".join(filter(None, (option, reason))) or None


def more_with(kinds: Sequence[str], selected: int) -> list[str]:
    """Returns which options convert more layers, in words.

    Args:
        kinds: The kind of each layer that is not selected.
        selected: How many layers are.

    Example:
        >>> more_with(["conv", "recurrent", "conv"], 1)
        ['2 more with --conv', '1 with --kinds recurrent', 'all 4 with --kinds all']
        >>> more_with(["conv"], 0)
        ['1 with --conv']
    """
    counts = Counter(kinds)
    convolutions = counts.pop("conv", 0)
    more = " more" if selected else ""
    ways = [f"{convolutions}{more} with --conv"] if convolutions else []
    if counts:
        ways.append(f"{counts.total()} with {option_for(k for k in KINDS if k in counts)}")
        if selected or convolutions:
            ways.append(f"all {selected + len(kinds)} with --kinds all")
    return ways


def keras_opens(output: str) -> bool:
    """Whether Keras opens a result under its name: files end in `.keras`, folders do not."""
    return os.path.isdir(output) != output.endswith(".keras")


def with_warning(report: Report) -> Report:
    """Returns a report that warns where Keras will not open the result under its name.

    Its warnings name options as its reader does, by flags or as in Python.
    """
    output, warnings = report.output, [spoken(text, of_file=True) for text in report.warnings]
    if output is not None and not keras_opens(output):
        rule, way = "a file must", ", or give a folder with a slash at its end"
        if os.path.isdir(output):
            rule, way = "a folder may not", ""
        name = printable(output)
        warnings.append(
            f"Keras will not open {name!r}: the name of {rule} end in .keras. Rename it{way}."
        )
    return replace(report, warnings=tuple(warnings))
