"""The checks of spectral layers, and their errors, which Keras' callers catch as Python's own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from inspect import signature
from typing import Any

import keras

from snconvert.compat.layers import own_variables
from snconvert.core.settings import FIELDS, Settings
from snconvert.errors import OptionError, UnsupportedError, WeightsError

_BAKE = "Bake the layer first (`snconvert bake`), which gives a plain layer that can do it"

EXACT_TRACED = (
    "the exact u cannot be found while a function is traced, as kernels have no numbers there",
    "Call converge outside of it, or give rounds",
)
"""The error of an exact `converge` in a traced function: what is wrong, and how to fix it."""


class LayerOptionError(OptionError):
    """A constructor argument has a value that cannot work; Keras users catch `ValueError`."""


class LayerUnsupportedError(UnsupportedError, NotImplementedError):
    """A spectral layer cannot do something that its plain class can.

    Being a `NotImplementedError`, the error lets `keras.Model.quantize` pass over the layer with a
    warning instead of stopping half-way.
    """


class LayerWeightsError(WeightsError, ValueError):
    """The weights to load belong to another layer; Keras users catch `ValueError`."""


def check_stored(layer: keras.layers.Layer, count: int) -> None:
    """Makes sure that a layer has as many variables as a file stores for it.

    Raises:
        LayerWeightsError: The layer has another number; most likely the weights were saved before
            the conversion.
    """
    # Its own ones, as Keras' loading counts: those of its parts are theirs.
    own = own_variables(layer)
    if layer.built and count != len(own):
        raise LayerWeightsError(
            f"{count} variables are stored for it, but with gamma and u it has {len(own)}",
            "Load weights that were saved before the conversion with"
            " snconvert.load_plain_weights(model, file)",
            path=layer.name,
            class_name=type(layer).__name__,
        )


def check_options(layer: type, name: Any, options: Mapping[str, Any]) -> Settings:
    """Returns the validated options of a layer.

    Args:
        layer: The class of the layer.
        name: The name of the layer, or `None`.
        options: `mode`, `bound`, `power_iterations` and `norm`.

    Raises:
        LayerOptionError: An option has a value that cannot work.
    """
    try:
        return Settings(**options)
    except OptionError as error:
        path = name or layer.__name__
        raise LayerOptionError(
            error.what, error.fix, path=path, class_name=layer.__name__
        ) from error


@contextmanager
def suggestions(layer: type, arguments: Iterable[str]) -> Iterator[None]:
    """Turns Keras' error for an unknown argument into one that says which option was meant.

    Args:
        layer: The class of the layer.
        arguments: The names of the arguments that Keras is given.

    Raises:
        LayerOptionError: One of them is nearly the name of an argument.
    """
    try:
        yield
    except ValueError as error:
        for name in arguments:
            known = [*signature(layer).parameters, "name", "dtype", "trainable"]
            guesses = get_close_matches(name, known, 1) if repr(name) in str(error) else []
            for guess in guesses:
                raise LayerOptionError(
                    f"there is no argument {name!r}",
                    f"Did you mean {guess}? Beside Keras' own there are {', '.join(FIELDS)}",
                    path=layer.__name__,
                ) from error
        raise


def check_rounds(rounds: Any) -> None:
    """Makes sure that the argument `rounds` of `converge` is `None` or a whole number from 1 on.

    Raises:
        LayerOptionError: `rounds` is something else.
    """
    if rounds is not None and (type(rounds) is not int or rounds < 1):
        raise LayerOptionError(
            f"rounds is {rounds!r}", "Give a whole number from 1 on, or None for the exact u"
        )


def refuse_adapters(layer: keras.layers.Layer) -> None:
    """Makes sure that a layer has neither LoRA nor a quantized dtype.

    Raises:
        LayerUnsupportedError: The layer has.
    """
    if getattr(layer, "lora_rank", None):
        raise unsupported(layer, "`lora_rank` needs a plain kernel, but this one is normalised")
    if getattr(layer, "quantization_config", None) is not None or layer.quantization_mode:
        raise unsupported(layer, "quantization needs a plain kernel, but this one is normalised")


def unsupported(layer: keras.layers.Layer, what: str) -> LayerUnsupportedError:
    """Returns the error for something that only a plain layer can do; it says how to get one."""
    return LayerUnsupportedError(what, _BAKE, path=layer.name, class_name=type(layer).__name__)
