"""The verbs that only look, at files and at live models: the same as on the command line."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, Unpack

from snconvert.address import place_of
from snconvert.api.destination import refuse_urls
from snconvert.core.report import OnProgress, Report
from snconvert.core.verbs import StrPath
from snconvert.files.convert import inspect_file
from snconvert.kinds.kernel_rule import KernelRule
from snconvert.live.quiet import quiet_start
from snconvert.page.place import page_among, write_page
from snconvert.planning.advice import with_warning
from snconvert.planning.inspection import Inspection
from snconvert.planning.options import InspectOptions, check_names, with_options
from snconvert.planning.recipe import recipe as read_options

if TYPE_CHECKING:
    from snconvert.core.verdict import Verdict


@with_options(InspectOptions)
def inspect(
    source: StrPath | Any,
    *,
    recipe_file: StrPath | None = None,
    rules: Iterable[KernelRule] = (),
    progress: OnProgress = None,
    **options: Unpack[InspectOptions],
) -> Report:
    """Reports every layer of a model: class, kernel, sigma, convertible or why not.

    Without `kinds` and `conv` all kinds are looked at, and each layer says which option converts
    it.

    Args:
        source: A file or folder, as for `apply_file`, or a live `keras.Model`.
        recipe_file: A TOML file with options; those given here win over it.
        rules: Layer kinds of your own, beside `snconvert.rules.RULES`.
        progress: Called with a `Progress` as it goes on, for files.
        **options: `snconvert.planning.options.InspectOptions`; `None` means not given.

    Raises:
        SnconvertError: The file cannot be read.
    """
    started = time.perf_counter()
    live = not isinstance(source, str | os.PathLike)
    check_names(inspect, options)
    page, rest = page_among(options, None if live else source)
    asked, rest = Inspection.taken_from(rest)
    recipe = replace(read_options(recipe_file, **rest), page=page is not None)
    if live:
        from snconvert.live.convert import plan_of
        from snconvert.live.model import graph_of

        report = plan_of(source, recipe, rules, asked)
        report = replace(report, graph=graph_of(source) if recipe.page else None)
    elif recipe.imports:
        refuse_urls(source)
        with quiet_start(progress):
            from snconvert.live.through_keras import apply_through_keras
        report = apply_through_keras(place_of(source), None, recipe, rules=rules, asked=asked)
    else:
        if asked.samples:
            refuse_urls(source)
        report = inspect_file(place_of(source), recipe, asked, rules=rules, progress=progress)
        if asked.samples:
            with quiet_start(progress):
                from snconvert.live.by_file import with_lower_bound
            report = with_lower_bound(report, asked, recipe.config)
            report = replace(report, seconds=time.perf_counter() - started)
    return write_page(page, with_warning(report), {**recipe.options(), **asdict(asked)})


def verify(
    before: StrPath | Any,
    after: StrPath | Any,
    *,
    imports: Iterable[str] = (),
    config: StrPath | None = None,
    progress: OnProgress = None,
) -> Verdict:
    """Proves that one model is another one, converted, baked or made plain again.

    What a conversion does not explain is a difference: a layer or an array that is missing or new,
    a field of the configuration, a bit of a weight or of the optimizer's state, a `u` that is not
    the leading singular vector of its kernel, a norm that is not what the mode says.

    Args:
        before: A path or a live model.
        after: The same of the other; whichever of them is the converted one.
        imports: Modules that register custom classes; both files then go through Keras.
        config: The configuration of the model before, where `before` is a file of weights only.
        progress: Called with a `Progress` as it goes on, for files.

    Returns:
        The verdict, true where there is no difference; it lists the layers of another form, with
        their norms, and the differences.

    Raises:
        SnconvertError: One of them cannot be read.
    """
    paths = [isinstance(model, str | os.PathLike) for model in (before, after)]
    imports = tuple(imports)
    if all(paths) and not imports:
        from snconvert.verification.files import verify_file

        return verify_file(place_of(before), place_of(after), config=config, progress=progress)
    refuse_urls(before, after)
    with quiet_start(progress):
        from snconvert.live.verify import verify_models, verify_through_keras
    if any(paths):
        return verify_through_keras(before, after, imports, config)
    return verify_models(before, after)
