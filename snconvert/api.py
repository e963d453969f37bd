"""The Python API: the same verbs as the command line, on files and on live models."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from snconvert.archive.output import Destination, destination_of
from snconvert.core.report import OnProgress, Progress, Report
from snconvert.core.verbs import StrPath
from snconvert.errors import OptionError
from snconvert.files.convert import Check, convert_file, inspect_file
from snconvert.files.undo import undo_file
from snconvert.kinds.kernel_rule import KernelRule
from snconvert.live.quiet import quiet_start
from snconvert.page.place import check_page, write_page
from snconvert.planning.advice import with_warning
from snconvert.planning.inspection import Inspection
from snconvert.planning.recipe import recipe as read_options
from snconvert.planning.recipe import undo_recipe

if TYPE_CHECKING:
    from snconvert.core.verdict import Verdict


def apply_file(
    source: StrPath,
    output: StrPath | None = None,
    *,
    recipe_file: StrPath | None = None,
    dry_run: bool = False,
    force: bool = False,
    in_place: bool = False,
    verify: bool = False,
    rules: Iterable[KernelRule] = (),
    progress: Callable[[Progress], None] | None = None,
    **options: Any,
) -> Report:
    """Converts a saved model, file to file, without importing keras or a backend.

    What an older Keras saved becomes a `.keras` file of Keras 3. With `imports` the file goes
    through Keras (safe mode on) and the memory carrier instead.

    Args:
        source: A `.keras` file, the folder that `model.save(..., zipped=False)` wrote, an `.h5`
            file of a whole model, or with `config` an HDF5 file of weights only.
        output: Where the result goes; by default `source` with `-sn` before the suffix, which is
            `.keras` for HDF5 files.
        recipe_file: A TOML file with options; those given here win over it.
        dry_run: Report what would be done, write nothing.
        force: Replace an existing output.
        in_place: Replace `source` itself.
        verify: Compare the result with the source, as `verify` does but to the last bit, before it
            takes its place.
        rules: Layer kinds of your own, beside `snconvert.rules.RULES`.
        progress: Called with a `Progress` as it goes on.
        **options: `target`, `mode`, `bound`, `power_iterations`, `norm`, `kinds`, `conv`, `only`,
            `exclude`, `select`, `overrides`, `imports`, `config`, `lipschitz`, `certify`, as in
            `snconvert.recipe.recipe`. And `html`: where the report goes as a page, with the extra
            `snconvert[html]`; a page that is there is replaced.

    Returns:
        What was done to each layer.

    Raises:
        SnconvertError: It cannot be done; the message says what and how to fix it, and nothing was
            written.
    """
    destination = destination_of(
        "apply", source, output, dry_run=dry_run, force=force, in_place=in_place
    )
    target = None if destination is None else destination.path
    page = check_page(options.pop("html", None), source, target)
    path, recipe, rules = os.fspath(source), read_options(recipe_file, **options), tuple(rules)
    recipe = replace(recipe, page=page is not None)
    if verify and (recipe.imports or rules):
        raise OptionError(
            "verify knows files that the file carrier opens, and the layers of this package only",
            "Leave out verify; compare the models with snconvert.verify afterwards",
        )
    if recipe.imports:
        with quiet_start():
            from snconvert.live.through_keras import apply_through_keras
        report = apply_through_keras(path, destination, recipe, rules=rules)
    else:
        check: Check | None = None
        if verify:
            from snconvert.verification.files import check_result as check
        if destination is not None and destination.occupied and not (rules or recipe.select):
            from snconvert.verification.earlier import applied_earlier

            report = applied_earlier(path, destination, recipe, check=check, progress=progress)
        else:
            report = convert_file(
                path, destination, recipe, rules=rules, check=check, progress=progress
            )
    return write_page(page, with_warning(report), recipe.options())


def inspect(
    source: StrPath | Any,
    *,
    recipe_file: StrPath | None = None,
    rules: Iterable[KernelRule] = (),
    progress: Callable[[Progress], None] | None = None,
    **options: Any,
) -> Report:
    """Reports every layer of a model: class, kernel, sigma, convertible or why not.

    Args:
        source: A file or folder, as for `apply_file`, or a live `keras.Model`.
        recipe_file: A TOML file with options; those given here win over it.
        rules: Layer kinds of your own, beside `snconvert.rules.RULES`.
        progress: Called with a `Progress` as it goes on, for files.
        **options: As for `apply_file`. Without `kinds` and `conv` all kinds are looked at, and each
            layer says which option converts it. And `spectrum`, `lipschitz` and `samples`, as in
            `snconvert.planning.inspection.Inspection`.

    Raises:
        SnconvertError: The file cannot be read.
    """
    live = not isinstance(source, str | os.PathLike)
    page = check_page(options.pop("html", None), None if live else source)
    asked, rest = Inspection.taken_from(options)
    recipe = replace(read_options(recipe_file, **rest), page=page is not None)
    if live:
        from snconvert.live.convert import inspect as inspect_model
        from snconvert.live.model import graph_of

        report = inspect_model(source, rules=rules, recipe_file=recipe_file, **options)
        report = replace(report, graph=graph_of(source) if recipe.page else None)
    elif recipe.imports:
        with quiet_start():
            from snconvert.live.through_keras import apply_through_keras
        report = apply_through_keras(os.fspath(source), None, recipe, rules=rules, asked=asked)
    else:
        report = inspect_file(os.fspath(source), recipe, asked, rules=rules, progress=progress)
        if asked.samples:
            with quiet_start():
                from snconvert.live.by_file import with_lower_bound
            report = with_lower_bound(report, asked, recipe.config)
    return write_page(page, report, {**recipe.options(), **asdict(asked)})


def bake_file(
    source: StrPath,
    output: StrPath | None = None,
    *,
    dry_run: bool = False,
    force: bool = False,
    in_place: bool = False,
    progress: Callable[[Progress], None] | None = None,
    **options: Any,
) -> Report:
    """Folds the normalisation of a converted file into plain Keras layers, for deployment.

    Every kernel becomes `s(sigma) * W` as inference uses it, so no output changes; the result loads
    without this package, unless its report `needs` it. Layers in Keras' own wrapper become plain.

    Args:
        source: A file or folder, as for `apply_file`.
        output: Where the result goes; by default `source` with `-baked` before the suffix.
        dry_run: Report what would be done, write nothing.
        force: Replace an existing output.
        in_place: Replace `source` itself.
        progress: Called with a `Progress` as it goes on.
        **options: `only`, `exclude`, `select`, `imports` and `config`, as for `apply_file`.

    Returns:
        What was done to each layer.

    Raises:
        SnconvertError: It cannot be done; nothing was written.
    """
    place = destination_of("bake", source, output, dry_run=dry_run, force=force, in_place=in_place)
    return _undo("bake", source, place, options, progress)


def remove_file(
    source: StrPath,
    output: StrPath | None = None,
    *,
    dry_run: bool = False,
    force: bool = False,
    in_place: bool = False,
    progress: Callable[[Progress], None] | None = None,
    **options: Any,
) -> Report:
    """Undoes the conversion of a file: plain Keras layers with the raw kernels.

    Of a file that was not trained since, the configuration and the weights of the original come
    back, bit for bit. Where the conversion had normalised the stored kernel (the targets `keras`
    and `constraint`), it is divided by the recorded factor, and a warning says so.

    Args:
        source: A file or folder, as for `apply_file`.
        output: Where the result goes; by default `source` with `-plain` before the suffix.
        dry_run: As for `bake_file`.
        force: As for `bake_file`.
        in_place: As for `bake_file`.
        progress: As for `bake_file`.
        **options: As for `bake_file`.

    Returns:
        What was done to each layer.

    Raises:
        SnconvertError: It cannot be done; nothing was written.
    """
    place = destination_of(
        "remove", source, output, dry_run=dry_run, force=force, in_place=in_place
    )
    return _undo("remove", source, place, options, progress)


def upgrade_file(
    source: StrPath,
    output: StrPath | None = None,
    *,
    config: StrPath | None = None,
    dry_run: bool = False,
    force: bool = False,
    progress: Callable[[Progress], None] | None = None,
) -> Report:
    """Writes what an older Keras saved as a `.keras` file of Keras 3, and changes nothing else.

    Weights, configuration, compilation and the optimizer's state go over. Where something cannot,
    or means something else in Keras 3, a warning of the report says so. Neither keras nor a backend
    is imported.

    Args:
        source: A whole model in HDF5 (`.h5`), an archive of Keras 2, or an HDF5 file of weights
            only.
        output: Where the result goes; by default `source` with `-keras3` before `.keras`.
        config: The JSON file with the configuration of a model whose weights only are in `source`:
            what `model.to_json()` returns, or a `config.json`.
        dry_run: Read and check the file, write nothing.
        force: Replace an existing output.
        progress: Called with a `Progress` as it goes on.

    Raises:
        SnconvertError: It cannot be done; nothing was written.
    """
    from snconvert.files.upgrade import upgrade_file as upgrade

    destination = destination_of("upgrade", source, output, dry_run=dry_run, force=force)
    path = os.fspath(source)
    if destination is not None and destination.occupied:
        from snconvert.verification.earlier import upgraded_earlier

        return with_warning(upgraded_earlier(path, destination, config=config, progress=progress))
    return with_warning(upgrade(path, destination, config=config, progress=progress))


def verify(
    before: StrPath | Any,
    after: StrPath | Any,
    *,
    imports: Iterable[str] = (),
    config: StrPath | None = None,
    progress: Callable[[Progress], None] | None = None,
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

        return verify_file(os.fspath(before), os.fspath(after), config=config, progress=progress)
    with quiet_start():
        from snconvert.live.verify import verify_models, verify_through_keras
    if any(paths):
        return verify_through_keras(before, after, imports, config)
    return verify_models(before, after)


def _undo(
    verb: str,
    source: StrPath,
    destination: Destination | None,
    options: dict[str, Any],
    progress: OnProgress,
) -> Report:
    recipe, path = undo_recipe(verb, **options), os.fspath(source)
    if recipe.imports:
        with quiet_start():
            from snconvert.live.through_keras import undo_through_keras
        return with_warning(undo_through_keras(verb, path, destination, recipe))
    return with_warning(undo_file(verb, path, destination, recipe, progress=progress))
