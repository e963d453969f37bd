"""The verbs on files: one row each, which the command line and the API read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal, NamedTuple

from snconvert.address import Address
from snconvert.core.foreign import HDF5_SUFFIXES, WEIGHTS_SUFFIX

StrPath = str | os.PathLike[str]
Way = Literal["apply", "bake", "remove"]
"""A verb that makes one model of another."""

_MEASURING = ("snconvert.weights.shards", "snconvert.jobs.measure")


class Verb(NamedTuple):
    """One row of the table.

    Attributes:
        name: The command.
        suffix: What stands before the suffix of the result's name if nothing else is said; `None`
            for a verb that writes nothing.
        done: What has become of the layers, as the closing line of the report says.
        child_modules: The modules that the guarded process needs, and no other: h5py and the linear
            algebra.
        converts: Whether the verb makes layers normalised, or tells which ones can become so.
        scales: Whether kernels become what inference uses of them.
        divides: Whether kernels are divided by what the conversion has multiplied them by.
        made: What has become of models, where that is not what has become of their layers.
        already: What models are that have nothing to become.
    """

    name: str
    suffix: str | None
    done: str | None
    child_modules: tuple[str, ...]
    converts: bool = False
    scales: bool = False
    divides: bool = False
    made: str | None = None
    already: str = "already converted"

    @property
    def changes_layers(self) -> bool:
        """Whether layers become others, or could."""
        return self.converts or self.scales or self.divides

    @property
    def earlier(self) -> str:
        """What models are whose result an earlier run has made."""
        return f"already {self.made or self.done}"

    @property
    def writes(self) -> bool:
        """Whether the verb writes a file."""
        return self.suffix is not None

    @property
    def function(self) -> str:
        """The name of the verb's function in `snconvert.api`."""
        return f"{self.name}_file" if self.writes else self.name

    def default_output(self, source: StrPath, *, apart: bool = False) -> str:
        r"""Returns where the result goes when nothing is said, as `-sn` before the suffix.

        Args:
            source: The input.
            apart: Keep the suffix of an HDF5 file in the name, which another model would get, too.

        Example:
            >>> VERBS["apply"].default_output("gan/critic.keras").replace("\\", "/")
            'gan/critic-sn.keras'
            >>> VERBS["apply"].default_output("critic.weights.h5")
            'critic-sn.keras'
            >>> VERBS["apply"].default_output("critic.weights.h5", apart=True)
            'critic-weights-h5-sn.keras'
        """
        path = Path(source)
        if path.name in ("", ".."):  # a folder that is named by where it lies
            path = Path(os.path.abspath(path))
        stem, suffix = path.stem, path.suffix
        if suffix in HDF5_SUFFIXES:
            stem, suffix = stem.removesuffix(WEIGHTS_SUFFIX) or stem, ".keras"
            if apart:
                stem += path.name.removeprefix(stem).replace(".", "-")
        name = f"{stem}{self.suffix}{suffix}"
        return source.beside(name) if isinstance(source, Address) else str(path.parent / name)


_ROWS = (
    Verb("apply", "-sn", "converted", _MEASURING, converts=True),
    Verb(
        "bake",
        "-baked",
        "baked",
        (*_MEASURING, "snconvert.jobs.effective"),
        scales=True,
        already="already plain",
    ),
    Verb(
        "remove",
        "-plain",
        "plain again",
        _MEASURING,
        divides=True,
        made="made plain",
        already="already plain",
    ),
    Verb(
        "upgrade",
        "-keras3",
        "as they were",
        ("snconvert.weights.shards",),
        made="upgraded",
        already="already of Keras 3",
    ),
    Verb("inspect", None, None, _MEASURING, converts=True, made="inspected"),
    Verb("verify", None, None, (*_MEASURING, "snconvert.jobs.effective", "snconvert.jobs.compare")),
)
VERBS = {verb.name: verb for verb in _ROWS}
"""The verbs by their names."""
WAYS_BACK: tuple[Way, ...] = ("bake", "remove")
"""The verbs that make normalised layers plain."""
