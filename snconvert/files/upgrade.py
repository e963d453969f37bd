"""The verb `upgrade`: a model that an older Keras saved, as Keras 3 saves it, and nothing else."""

from __future__ import annotations

import os
import time
from dataclasses import replace

from snconvert.archive.output import Destination
from snconvert.archive.source import Source
from snconvert.core.report import OnProgress, Report
from snconvert.core.settings import Settings
from snconvert.errors import DoneError, located
from snconvert.files.edits import Edits, write_model
from snconvert.files.model import (
    Opened,
    begin_output,
    describe,
    is_older,
    kernel_shape,
    loading_facts,
    open_source,
    open_weights,
)
from snconvert.kinds.table import RULES
from snconvert.planning.layer_rows import LayerFacts, left_row, report_of

_NOTHING = "none"
"""The target and the mode of a report where no layer becomes normalised."""


def upgrade_file(
    source: str,
    output: Destination | None,
    *,
    config: str | os.PathLike[str] | None = None,
    progress: OnProgress = None,
) -> Report:
    """Writes an older file as a model of Keras 3.

    Args:
        source: The model's file or folder.
        output: Where the result goes; `None`: nowhere, the model is only read and checked.
        config: The configuration of the model, where `source` holds weights only.
        progress: Called with how far the work is.

    Raises:
        SnconvertError: It cannot be done; nothing was written.
    """
    started = time.perf_counter()
    with open_source("upgrade", source, output, config, progress=progress) as (opened, worker):
        refuse_today(opened)
        model, size = open_weights(describe(opened), RULES, worker), opened.size
        if output is not None:
            opened.hash_ahead()
        with begin_output(opened, output, progress) as begun:
            if begun is not None:
                size = write_model(
                    model, Edits(), begun, metadata=lambda: model.metadata, progress=progress
                )
        return upgrade_report(model, started, None if output is None else output.path, size)


def refuse_today(source: Source) -> None:
    """Raises `DoneError` for a model that Keras 3 has saved."""
    if not is_older(source):
        with located(file=source.path):
            raise DoneError(
                "there is nothing to upgrade: this is a model of Keras 3 already",
                "Use it as it is",
            )


def upgrade_report(model: Opened, started: float, output: str | None, size: int) -> Report:
    """Returns the report of an older file that was written as a model of Keras 3.

    Args:
        model: The older file.
        started: As for `report_of`.
        output: Where the result is, if anywhere.
        size: As `bytes` of `Report`.
    """
    layers = [
        left_row(node, LayerFacts(node.title, shape=kernel_shape(model, node)), "as it was")
        for node in model.root.walk()
        if node.path
    ]
    report = report_of(
        "upgrade",
        _NOTHING,
        [Settings()],
        layers,
        started,
        source=model.source.path,
        output=output,
        bytes=size,
        warnings=model.warnings,
        **loading_facts(model),
    )
    return replace(report, mode=_NOTHING)
