"""The options of a conversion, from the command line, from Python or from a TOML file.

A file names options as the flags do; each `[[layer]]` table has a `match` pattern and settings of
its own for the layers that match, and where several match the later one wins.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from snconvert.core.settings import FIELDS, Settings, check_config, choice
from snconvert.core.targets import TARGETS, check_target
from snconvert.errors import OptionError, located
from snconvert.kinds.kernel_rule import KINDS
from snconvert.planning.budget import check_budget
from snconvert.planning.patterns import expression, split

Selector = Callable[[str, str], bool]
"""A callable that gets a layer's path and class name and says whether to convert it."""

_LISTS = ("kinds", "only", "exclude", "imports")
_KEYS = {*FIELDS, *_LISTS, "target", "conv", "layer", "lipschitz", "certify", "config"}
_UNDO = ("only", "exclude", "select", "imports", "config")


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


def recipe(file: str | os.PathLike[str] | None = None, **options: Any) -> Recipe:
    """Returns the recipe that a TOML file and options make; options win over the file.

    Args:
        file: The TOML file, or `None`.
        **options: The fields of `Recipe` and `Settings`, and `conv=True` for the kind `conv`.
            `None` means not given. In place of a list may stand its items in one text, separated
            by commas; `kinds` may be `all`. `overrides` maps patterns to changes.

    Raises:
        OptionError: The file cannot be read, or an option has no such name or value.

    Example:
        >>> recipe(conv=True, mode="cap").kinds
        ('dense', 'conv')
    """
    options = {key: value for key, value in options.items() if value is not None}
    if file is None:
        return _recipe_of({}, options)
    table = _read(Path(file))
    try:
        return _recipe_of(table, options)
    except OptionError:
        with located(file=str(file)):
            _recipe_of(table, {})  # what is wrong in the file is said of the file
        raise


def undo_recipe(verb: str, **options: Any) -> Recipe:
    """Returns the recipe of a way back, which has options for the choice of layers only.

    Args:
        verb: The way back, for the message.
        **options: `only`, `exclude`, `select`, `imports` and `config`, as for
            `snconvert.recipe.recipe`.

    Raises:
        OptionError: There is another one among them.
    """
    useless = sorted(options.keys() - set(_UNDO))
    if useless:
        raise OptionError(
            f"{verb} has no option {useless[0]!r}",
            f"It has {', '.join(_UNDO[:-1])} and {_UNDO[-1]}",
        )
    return recipe(None, **options)


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
        for match, changes in dict(options.pop("overrides", {})).items()
    ]
    merged = {**table, **options}
    conv = merged.pop("conv", False)
    if not isinstance(conv, bool):
        raise OptionError(f"conv is {conv!r}", "Give true or false")
    chosen = conv or "kinds" in merged
    kinds = _kinds(merged.pop("kinds", None), conv=conv)
    if merged.get("lipschitz") is not None:
        merged.setdefault("norm", "operator")
    settings = Settings(**{name: merged.pop(name) for name in FIELDS if name in merged})
    lists = {name: _strings(name, merged.pop(name)) for name in _LISTS if name in merged}
    unknown = sorted(merged.keys() - {"target", "select", "lipschitz", "certify", "config"})
    if unknown:
        raise OptionError(f"there is no option {unknown[0]!r}", "See snconvert.recipe.Recipe")
    fields: dict[str, Any] = {**lists, **merged, "kinds_chosen": chosen}
    return Recipe(settings=settings, kinds=kinds, overrides=tuple(overrides), **fields)


def _read(path: Path) -> dict[str, Any]:
    import tomllib  # noqa: PLC0415 - few runs have a file

    with located(file=str(path)):
        try:
            table = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise OptionError(
                f"the recipe cannot be read: {error.strerror}", "Check the path of --recipe"
            ) from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise OptionError(f"the recipe is no TOML: {error}", "Correct it there") from error
        table = {_field(key): value for key, value in table.items()}
        unknown = sorted(table.keys() - _KEYS)
        if unknown:
            raise OptionError(
                f"the recipe has an unknown entry {unknown[0]!r}",
                f"Known are {', '.join(sorted(_KEYS - {'imports'} | {'import'}))}",
            )
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


def _settings_only(changes: Mapping[str, Any]) -> dict[str, Any]:
    unknown = sorted(set(changes) - set(FIELDS))
    if unknown:
        raise OptionError(
            f"an override has an unknown entry {unknown[0]!r}",
            f"Known are {', '.join(FIELDS)}",
        )
    return dict(changes)


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
