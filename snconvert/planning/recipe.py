"""The options of a conversion, from the command line, from Python or from a TOML file.

A file names options as the flags do; each `[[layer]]` table has a `match` pattern and settings of
its own for the layers that match, and where several match the later one wins.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, Unpack

from snconvert.core.settings import FIELDS, Settings, check_config, choice
from snconvert.core.targets import TARGETS, check_target
from snconvert.errors import OptionError, RecipeNotFoundError, located
from snconvert.kinds.kernel_rule import KINDS
from snconvert.planning.budget import check_budget
from snconvert.planning.options import (
    RecipeOptions,
    Selector,
    check_names,
    unknown_option,
    with_options,
)
from snconvert.planning.patterns import expression, split

_LISTS = ("kinds", "only", "exclude", "imports")
_KEYS = (*FIELDS, *_LISTS, "target", "conv", "layer", "lipschitz", "certify", "config")


class Override(NamedTuple):
    """Settings of their own for the layers that a pattern matches.

    Attributes:
        match: The pattern.
        changes: The fields of `Settings` that differ.
    """

    match: str
    changes: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that decides what a conversion does.

    Attributes:
        target: What a converted layer becomes: `layer`, `keras` or `constraint`.
        settings: How layers are normalised where no override says otherwise.
        kinds: The families of layers to convert.
        only: Patterns; where given, a layer must match one of them.
        exclude: Patterns; a layer that matches one of them stays as it is.
        select: A callable with the last word, or `None`.
        overrides: Per-layer settings; where several match, the later one wins.
        imports: Modules that register custom classes.
        config: A JSON file with the configuration of a model whose weights only are given.
        lipschitz: What the Lipschitz bound of the converted network is to be at most, by the choice
            of the layers' bounds; those given are then weights of layers against each other.
        certify: Whether each sigma is to be proved.
        kinds_chosen: Whether the user has said which kinds.
        page: Whether the report is to have what only its page shows.
    """

    target: str = "layer"
    settings: Settings = field(default_factory=Settings)
    kinds: tuple[str, ...] = ("dense",)
    only: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    select: Selector | None = None
    overrides: tuple[Override, ...] = ()
    imports: tuple[str, ...] = ()
    config: str | os.PathLike[str] | None = None
    lipschitz: float | None = None
    certify: bool = False
    kinds_chosen: bool = False
    page: bool = False

    def __post_init__(self) -> None:
        choice("target", self.target, tuple(TARGETS))
        check_config(self.config)
        if self.select is not None and not callable(self.select):
            raise OptionError(
                f"select is {self.select!r}", "Give a function (path: str, class_name: str) -> bool"
            )
        if type(self.certify) is not bool:
            raise OptionError(f"certify is {self.certify!r}", "Give true or false")
        for kind in self.kinds:
            choice("kinds", kind, KINDS)
        for pattern in (*self.only, *self.exclude):
            expression(pattern)
        for override in self.overrides:
            expression(override.match)
        every = self.all_settings()
        check_budget(self.lipschitz, self.target, every)
        if self.lipschitz is not None:
            object.__setattr__(self, "lipschitz", float(self.lipschitz))
        for settings in every:
            check_target(self.target, settings)

    def looking_at_all(self) -> Recipe:
        """Returns the recipe with all kinds, unless the user has said which."""
        return self if self.kinds_chosen else replace(self, kinds=KINDS)

    def all_settings(self) -> list[Settings]:
        """Returns the settings that layers may have: the general ones, and those of overrides."""
        changes = [override.changes for override in self.overrides]
        return [self.settings, *(replace(self.settings, **each) for each in changes)]

    def options(self) -> dict[str, Any]:
        """Returns what `metadata.json` records: all that decides the output's bytes."""
        return {
            "target": self.target,
            **asdict(self.settings),
            "kinds": list(self.kinds),
            "only": list(self.only),
            "exclude": list(self.exclude),
            "layer": [{"match": item.match, **item.changes} for item in self.overrides],
            **({} if self.lipschitz is None else {"lipschitz": self.lipschitz}),
            **({"certify": True} if self.certify else {}),
        }


@with_options(RecipeOptions)
def recipe(file: str | os.PathLike[str] | None = None, **options: Unpack[RecipeOptions]) -> Recipe:
    """Returns the recipe that a TOML file and options make; options win over the file.

    Args:
        file: The TOML file, or `None`.
        **options: `snconvert.planning.options.RecipeOptions`; `None` means not given. In place of a
            list may stand its items in one text, separated by commas.

    Raises:
        OptionError: The file cannot be read, or an option has no such name or value.

    Example:
        >>> recipe(conv=True, mode="cap").kinds
        ('dense', 'conv')
    """
    check_names(recipe, options)
    given = {key: value for key, value in options.items() if value is not None}
    if file is None:
        return _recipe_of({}, given)
    table = _read(Path(file))
    try:
        return _recipe_of(table, given)
    except OptionError:
        with located(file=str(file)):
            _recipe_of(table, {})  # what is wrong in the file is said of the file
        raise


def _recipe_of(table: Mapping[str, Any], options: Mapping[str, Any]) -> Recipe:
    table, options = dict(table), dict(options)
    if "kinds" in options or options.get("conv"):
        table = {key: value for key, value in table.items() if key not in {"kinds", "conv"}}
    # Options win over all of the file, its single layers too.
    overrides = [
        Override(match, {key: value for key, value in changes.items() if key not in options})
        for match, changes in map(_override, table.pop("layer", []))
    ]
    overrides += [
        Override(match, _settings_only(changes))
        for match, changes in _mapping("overrides", options.pop("overrides", {})).items()
    ]
    merged = {**table, **options}
    chosen = not merged.keys().isdisjoint({"kinds", "conv"})
    conv = merged.pop("conv", False)
    if not isinstance(conv, bool):
        raise OptionError(f"conv is {conv!r}", "Give true or false")
    kinds = _kinds(merged.pop("kinds", None), conv=conv)
    if merged.get("lipschitz") is not None:
        merged.setdefault("norm", "operator")
    settings = Settings(**{name: merged.pop(name) for name in FIELDS if name in merged})
    lists = {name: _strings(name, merged.pop(name)) for name in _LISTS if name in merged}
    fields: dict[str, Any] = {**lists, **merged, "kinds_chosen": chosen}
    return Recipe(settings=settings, kinds=kinds, overrides=tuple(overrides), **fields)


def _read(path: Path) -> dict[str, Any]:
    import tomllib  # noqa: PLC0415 - few runs have a file

    with located(file=str(path)):
        try:
            table = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            kind = RecipeNotFoundError if isinstance(error, FileNotFoundError) else OptionError
            raise kind(
                f"the recipe cannot be read: {error.strerror}", "Check the path of --recipe"
            ) from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise OptionError(f"the recipe is no TOML: {error}", "Correct it there") from error
        table = {_field(key): value for key, value in table.items()}
        unknown = sorted(table.keys() - set(_KEYS))
        if unknown:
            known = ["import" if key == "imports" else key for key in _KEYS]
            raise unknown_option("the recipe has an unknown entry", unknown[0], sorted(known))
        layers = table.get("layer", [])
        if not isinstance(layers, list) or not all(isinstance(entry, dict) for entry in layers):
            raise OptionError("`layer` is no list of tables", "Write each as [[layer]]")
        return table


def _field(key: str) -> str:
    """Returns the name of an option that a recipe spells as the command line does, `import`."""
    name = key.replace("-", "_")
    return "imports" if name == "import" else name


def _override(entry: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    changes = {_field(key): value for key, value in entry.items()}
    match = changes.pop("match", None)
    if not isinstance(match, str):
        raise OptionError("a [[layer]] of the recipe has no `match`", 'Add match = "PATTERN"')
    return match, _settings_only(changes)


def _settings_only(changes: Any) -> dict[str, Any]:
    unknown = sorted(_mapping("an override", changes).keys() - set(FIELDS))
    if unknown:
        raise unknown_option("an override has an unknown entry", unknown[0], FIELDS)
    return {name: value for name, value in changes.items() if value is not None}


def _mapping(name: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise OptionError(f"{name} is {value!r}", "Give a dictionary with names as keys")
    return value


def _strings(name: str, value: Any) -> tuple[str, ...]:
    values = split(value) if isinstance(value, str) else value
    if not isinstance(values, Sequence) or not all(isinstance(item, str) for item in values):
        raise OptionError(f"{name} is {value!r}", "Give a list of texts")
    return tuple(values)


def _kinds(value: Any, *, conv: bool) -> tuple[str, ...]:
    kinds = ("dense",) if value is None else _strings("kinds", value)
    if "all" in kinds:
        return KINDS
    if conv and "conv" not in kinds:
        kinds += ("conv",)
    for kind in kinds:
        choice("kinds", kind, (*KINDS, "all"))
    return tuple(kind for kind in KINDS if kind in kinds)
