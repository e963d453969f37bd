"""What an earlier `bake` or `remove` has made of a model, and may be left as it is.

A plain model has no record of how it was made, as it is to be a model like any other. So `verify`
proves it: it is left if it is this model with these layers plain, and nothing else, to the bit.
`metadata.json` alone may be another: Keras writes that anew when it saves a model again.
"""

from __future__ import annotations

import time
from dataclasses import replace

from snconvert.archive.atomic import exists
from snconvert.archive.output import Destination
from snconvert.core.report import OnProgress, Report
from snconvert.core.verbs import Way
from snconvert.errors import SnconvertError, located, printable
from snconvert.files.model import describe, loading_facts, open_source, open_weights
from snconvert.files.undo import undo_file
from snconvert.formats.table import open_model
from snconvert.kinds.table import RULES
from snconvert.planning.recipe import Recipe
from snconvert.verification.files import verify_file


def undone_earlier(
    way: Way, source: str, output: Destination, recipe: Recipe, *, progress: OnProgress = None
) -> Report:
    """Returns the report of a way back whose result is there.

    Args:
        way: `bake` or `remove`.
        source: The model's file or folder.
        output: Where the result goes, and something is.
        recipe: As for `undo_file`.
        progress: Called with how far the comparison is.

    Raises:
        OutputError: What is there is something else.
        SnconvertError: There would be no result, either.
    """
    started, out = time.perf_counter(), output.path
    judged = output._replace(force=True)
    with open_source(way, source, judged, recipe.config, progress=progress) as (_, worker):
        report = undo_file(way, source, None, recipe, progress=progress)
        try:
            verdict = verify_file(source, out, config=recipe.config, progress=progress, way=way)
            with located(file=out), open_model(out, worker) as written:
                facts = loading_facts(open_weights(describe(written), RULES, worker))
                size = written.size
        except SnconvertError as error:
            if error.file == source:
                raise
            raise exists(out, f"but {error.what}") from error
    wanted = {layer.path for layer in report.layers if layer.status == "convertible"}
    made = {change.path for change in verdict.changes if change.what != "converted"}
    other = [str(difference) for difference in verdict.differences]
    other += [f"{printable(x)}: it is plain in one of them only" for x in sorted(wanted ^ made)]
    if other:
        raise exists(out, f"but it is not what is made now: {other[0]}")
    rows = (
        replace(row, status="converted") if row.path in wanted else row for row in report.layers
    )
    report = replace(report, layers=tuple(rows), output=out, bytes=size, up_to_date=True, **facts)
    return replace(report, seconds=time.perf_counter() - started)
