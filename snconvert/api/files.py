"""The verbs that write a file: the same as on the command line."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Unpack

from snconvert.address import place_of
from snconvert.api.destination import destination_of, refuse_urls
from snconvert.archive.output import Destination
from snconvert.core.report import OnProgress, Report
from snconvert.core.verbs import StrPath, Way
from snconvert.errors import OptionError
from snconvert.files.convert import Check, convert_file
from snconvert.files.undo import undo_file
from snconvert.kinds.kernel_rule import KernelRule
from snconvert.live.quiet import quiet_start
from snconvert.page.place import page_among, write_page
from snconvert.planning.advice import with_warning
from snconvert.planning.options import (
    ApplyFileOptions,
    UndoFileOptions,
    check_names,
    with_options,
)
from snconvert.planning.recipe import Recipe
from snconvert.planning.recipe import recipe as read_options

if TYPE_CHECKING:
    pass


@with_options(ApplyFileOptions)
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
    progress: OnProgress = None,
    **options: Unpack[ApplyFileOptions],
) -> Report:
    """Converts a saved model, file to file, without importing keras or a backend.

    What an older Keras saved becomes a `.keras` file of Keras 3. With `imports` the file goes
    through Keras (safe mode on) and the memory carrier instead.

    Args:
        source: A `.keras` file, the folder that `model.save(..., zipped=False)` wrote, an `.h5`
            file of a whole model, or with `config` an HDF5 file of weights only.
        output: Where the result goes, or a folder for it; by default `source` with `-sn` before the
            suffix, which is `.keras` for HDF5 files.
        recipe_file: A TOML file with options; those given here win over it.
        dry_run: Report what would be done, write nothing.
        force: Replace an existing output.
        in_place: Replace `source` itself.
        verify: Compare the result with the source, as `verify` does but to the last bit, before it
            takes its place.
        rules: Layer kinds of your own, beside `snconvert.rules.RULES`.
        progress: Called with a `Progress` as it goes on.
        **options: `snconvert.planning.options.ApplyFileOptions`; `None` means not given.

    Returns:
        What was done to each layer.

    Raises:
        SnconvertError: It cannot be done; the message says what and how to fix it, and nothing was
            written.
    """
    check_names(apply_file, options)
    destination = destination_of(
        "apply", source, output, dry_run=dry_run, force=force, in_place=in_place
    )
    target = None if destination is None else destination.path
    page, rest = page_among(options, source, target)
    path, recipe, rules = place_of(source), read_options(recipe_file, **rest), tuple(rules)
    recipe = replace(recipe, page=page is not None)
    if verify and (recipe.imports or rules):
        raise OptionError(
            "verify knows files that the file carrier opens, and the layers of this package only",
            "Leave out --verify; compare the models with `snconvert verify` afterwards",
        )
    if recipe.imports:
        refuse_urls(path, target)
        with quiet_start(progress):
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


@with_options(UndoFileOptions)
def bake_file(
    source: StrPath,
    output: StrPath | None = None,
    *,
    dry_run: bool = False,
    force: bool = False,
    in_place: bool = False,
    progress: OnProgress = None,
    **options: Unpack[UndoFileOptions],
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
        **options: `snconvert.planning.options.UndoFileOptions`; `None` means not given.

    Returns:
        What was done to each layer.

    Raises:
        SnconvertError: It cannot be done; nothing was written.
    """
    check_names(bake_file, options)
    place = destination_of("bake", source, output, dry_run=dry_run, force=force, in_place=in_place)
    return _undo("bake", source, place, read_options(**options), progress)


@with_options(UndoFileOptions)
def remove_file(
    source: StrPath,
    output: StrPath | None = None,
    *,
    dry_run: bool = False,
    force: bool = False,
    in_place: bool = False,
    progress: OnProgress = None,
    **options: Unpack[UndoFileOptions],
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
        **options: `snconvert.planning.options.UndoFileOptions`; `None` means not given.

    Returns:
        What was done to each layer.

    Raises:
        SnconvertError: It cannot be done; nothing was written.
    """
    check_names(remove_file, options)
    place = destination_of(
        "remove", source, output, dry_run=dry_run, force=force, in_place=in_place
    )
    return _undo("remove", source, place, read_options(**options), progress)


def upgrade_file(
    source: StrPath,
    output: StrPath | None = None,
    *,
    config: StrPath | None = None,
    dry_run: bool = False,
    force: bool = False,
    progress: OnProgress = None,
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
    path = place_of(source)
    if destination is not None and destination.occupied:
        from snconvert.verification.earlier import upgraded_earlier

        return with_warning(upgraded_earlier(path, destination, config=config, progress=progress))
    return with_warning(upgrade(path, destination, config=config, progress=progress))


def _undo(
    way: Way,
    source: StrPath,
    destination: Destination | None,
    recipe: Recipe,
    progress: OnProgress,
) -> Report:
    path = place_of(source)
    if recipe.imports:
        refuse_urls(path, destination and destination.path)
        with quiet_start(progress):
            from snconvert.live.through_keras import undo_through_keras
        report = undo_through_keras(way, path, destination, recipe)
    elif destination is not None and destination.occupied:
        from snconvert.verification.undone import undone_earlier

        report = undone_earlier(way, path, destination, recipe, progress=progress)
    else:
        report = undo_file(way, path, destination, recipe, progress=progress)
    return with_warning(report)
