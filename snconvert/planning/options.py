"""The options of the verbs in Python: the name, the type and the meaning of each stands here once.

Functions take `**options: Unpack[...]`, by which type checkers and editors know the options;
`with_options` shows them in the function's signature and docstring as well, for `help()` and
notebooks. `None` means that an option is not given.
"""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import Annotated, Any, Literal, TypedDict, TypeVar, get_type_hints

from snconvert.core.settings import Mode, Norm
from snconvert.core.targets import Target
from snconvert.core.verbs import StrPath
from snconvert.errors import UnknownOptionError, printable
from snconvert.kinds.kernel_rule import Kind

Selector = Callable[[str, str], bool]
"""A callable that gets a layer's path and class name and says whether to convert it."""
_KindOrAll = Literal[Kind, "all"]
Kinds = _KindOrAll | Sequence[_KindOrAll]
"""What the option `kinds` takes."""

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

_WIDTH = 88  # of a docstring's lines


class ScalingOptions(TypedDict, total=False):
    """How strongly kernels are scaled."""

    bound: Annotated[
        float | None,
        "The norm that mode `hard` sets and mode `cap` allows, above 0. By default 1.",
    ]
    power_iterations: Annotated[
        int | None, "Rounds of power iteration in each training step. By default 1."
    ]


class SettingsOptions(ScalingOptions, total=False):
    """How one layer is normalised; what `overrides` may change."""

    mode: Annotated[
        Mode | None,
        "`hard` (the default) sets the norm to `bound`, `cap` only lowers it to `bound`, `gain`"
        " makes it a trainable scalar that starts at the kernel's own norm, so that converting"
        " changes no output.",
    ]
    norm: Annotated[
        Norm | None,
        "`matrix` (the default): the norm of the kernel as a matrix. `operator`: that of a"
        " convolution as the linear map it is; other layers have one norm.",
    ]


class KindOptions(TypedDict, total=False):
    """Layers of which kinds are normalised."""

    kinds: Annotated[
        Kinds | None,
        "The kinds of layers: `dense` (the default), `conv`, `attention`, `recurrent`,"
        " `embedding`, or `all` of them.",
    ]
    conv: Annotated[bool | None, "Whether convolutions are taken, too, beside `kinds`."]


class LayerOptions(TypedDict, total=False):
    """Which layers a verb works on."""

    only: Annotated[
        str | Sequence[str] | None,
        "Patterns; a layer must match one of them. A glob on the layer's path"
        " (`encoder/*/query`), or `re:` and a regular expression.",
    ]
    exclude: Annotated[
        str | Sequence[str] | None, "Patterns; layers that match one of them stay as they are."
    ]
    select: Annotated[
        Selector | None,
        "A function `(path: str, class_name: str) -> bool` that says of each layer that the"
        " patterns leave whether it is taken.",
    ]


class SelectionOptions(KindOptions, LayerOptions, total=False):
    """Which layers are normalised, and which of them in another way than the rest."""

    overrides: Annotated[
        Mapping[str, SettingsOptions] | None,
        "Settings of their own for the layers that a pattern matches, as"
        ' `{"head": {"bound": 2.0}}`; where several match, the last one wins.',
    ]


class FileOptions(TypedDict, total=False):
    """How a file is opened."""

    imports: Annotated[
        str | Sequence[str] | None,
        "Modules that register the file's custom classes; the file then goes through Keras.",
    ]
    config: Annotated[
        StrPath | None,
        "The JSON file with the configuration of a model whose weights only are given: what"
        " `model.to_json()` returns, or a `config.json`.",
    ]


class _Normalising(SelectionOptions, SettingsOptions, total=False):
    target: Annotated[
        Target | None,
        "What a converted layer becomes: `layer` (the default), a layer of this package; `keras`,"
        " Keras' own `SpectralNormalization` around it; `constraint`, the same layer with a"
        " kernel constraint.",
    ]
    certify: Annotated[bool | None, "Whether each sigma is proved in float64."]


class ConversionOptions(_Normalising, total=False):
    """The options of a conversion: which layers, what they become, how they are normalised."""

    lipschitz: Annotated[
        float | None,
        "Choose the layers' bounds so that the certified Lipschitz bound of the whole network is"
        " at most this; implies `norm` `operator`.",
    ]


class RecipeOptions(ConversionOptions, FileOptions, total=False):
    """The options that make a `snconvert.Recipe`."""


class PageOptions(TypedDict, total=False):
    """What is written beside the result."""

    html: Annotated[
        StrPath | None,
        "Where the report is written as a page, with the extra `snconvert[html]`; a page that is"
        " there is replaced.",
    ]


class ApplyFileOptions(RecipeOptions, PageOptions, total=False):
    """The options of `snconvert.apply_file`."""


class InspectionOptions(_Normalising, total=False):
    """The options of an inspection of a live model."""

    sigma: Annotated[bool | None, "Whether the norm of each kernel is found. By default it is."]
    spectrum: Annotated[bool | None, "Whether the singular values of each kernel are found."]
    lipschitz: Annotated[
        bool | None, "Whether a certified Lipschitz bound of the whole network is found."
    ]
    samples: Annotated[
        int | None,
        "With `lipschitz`: at how many points a lower bound is looked for on the true model.",
    ]


class InspectOptions(InspectionOptions, FileOptions, PageOptions, total=False):
    """The options of `snconvert.inspect`."""


class UndoFileOptions(LayerOptions, FileOptions, total=False):
    """The options of `snconvert.bake_file` and `snconvert.remove_file`."""


class ProjectionOptions(SelectionOptions, ScalingOptions, total=False):
    """The options of `snconvert.project` and `snconvert.SpectralProjection`."""

    mode: Annotated[
        Literal["hard", "cap"] | None,
        "`hard` (the default) sets the norm to `bound`, `cap` only lowers it to `bound`.",
    ]
    norm: Annotated[
        Literal["matrix"] | None, "`matrix`, the norm of the kernel as a matrix; there is no other."
    ]


def with_options(options: type) -> Callable[[Decorated], Decorated]:
    """Returns a decorator that shows each option of a function or class as a keyword.

    Its `**options` become keywords in what `inspect.signature` returns and in the docstring, where
    the entry `**options` of the section `Args` gives way to one for each.

    Args:
        options: A `TypedDict` of this module.

    Example:
        >>> @with_options(ScalingOptions)
        ... def double(model, **options):
        ...     pass
        >>> print(inspect.signature(double))
        (model, *, bound: float | None = None, power_iterations: int | None = None)
    """
    types = get_type_hints(options)
    texts = {
        name: hint.__metadata__[0]
        for name, hint in get_type_hints(options, include_extras=True).items()
    }

    def decorate(decorated: Decorated) -> Decorated:
        function: Any = vars(decorated).get("__init__", decorated)
        signature = inspect.signature(function)
        shown = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind)
            for name, kind in types.items()
        ]
        own = [x for x in signature.parameters.values() if x.kind is not x.VAR_KEYWORD]
        function.__signature__ = signature.replace(parameters=[*own, *shown])
        if decorated.__doc__ is not None:  # `python -OO` leaves them out
            decorated.__doc__ = _with_entries(inspect.cleandoc(decorated.__doc__), texts)
        return decorated

    return decorate


def check_names(function: Callable[..., Any], options: Mapping[str, Any]) -> None:
    """Makes sure that a function has the options that it was given.

    Args:
        function: What `with_options` has decorated.
        options: What is given.

    Raises:
        UnknownOptionError: It has not; the message suggests the one that was meant, and lists all.
    """
    parameters = inspect.signature(function).parameters.values()
    known = [x.name for x in parameters if x.default is not x.empty]
    for name in options:
        if name not in known:
            raise unknown_option(f"{function.__name__} has no option", name, known)


def unknown_option(what: str, name: str, known: Sequence[str]) -> UnknownOptionError:
    """Returns the error for an option that is not there, with a guess which one was meant.

    Args:
        what: What does not have it, in words that its name follows.
        name: The option.
        known: Those that there are.

    Example:
        >>> print(unknown_option("apply has no option", "kind", ["bound", "kinds", "mode"]))
        apply has no option 'kind'. Did you mean kinds? Known are bound, kinds, mode.
    """
    guesses = get_close_matches(name, known, n=1)
    guess = f"Did you mean {guesses[0]}? " if guesses else ""
    return UnknownOptionError(f"{what} {printable(name)!r}", f"{guess}Known are {', '.join(known)}")


def _with_entries(docstring: str, texts: Mapping[str, str]) -> str:
    entries = [
        textwrap.fill(f"{name}: {text}", _WIDTH, initial_indent=" " * 4, subsequent_indent=" " * 8)
        for name, text in texts.items()
    ]
    lines = docstring.split("\n")
    start = next(number for number, line in enumerate(lines) if line.startswith("    **options:"))
    end = start + 1
    while end < len(lines) and lines[end].startswith(" " * 8):
        end += 1
    return "\n".join([*lines[:start], *entries, *lines[end:]])
