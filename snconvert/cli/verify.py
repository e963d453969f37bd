"""The command that proves a result."""

from __future__ import annotations

import sys

from snconvert.address import place_of
from snconvert.cli.options import After, Before, Config, Import, Json, Quiet
from snconvert.cli.runner import end, handled
from snconvert.display import json_line
from snconvert.errors import counted, printable
from snconvert.sandbox import signals


def verify(
    before: Before,
    after: After,
    imports: Import = None,
    config: Config = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Prove that AFTER is BEFORE, converted, baked or made plain again; exit code 3: it is not."""
    from snconvert import api
    from snconvert.cli.printing.verdict import print_verdict
    from snconvert.cli.progress import progress_bar

    signals.interrupt()
    before, after = place_of(before), place_of(after)
    with handled(before, after, verb="verify" if as_json else None):
        with progress_bar(hidden=quiet) as bar:
            verdict = api.verify(
                before, after, imports=imports or (), config=config, progress=bar.update
            )
        for warning in counted((*verdict.warnings, *verdict.notes)) if not quiet else ():
            about = "" if warning.startswith(f"{before}: ") else f"{printable(after)}: "
            print(f"warning: {about}{warning}", file=sys.stderr)
        if as_json:
            print(json_line(verdict.as_json()))
        elif not quiet:
            print_verdict(verdict, sys.stdout)
    if not verdict:
        end(3)
