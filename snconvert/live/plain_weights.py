"""Loading the weights of the plain model into its converted form."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from snconvert.errors import SelectionError, SourceNotFoundError, WeightsError, located
from snconvert.layers.base import Spectral
from snconvert.layers.composite import Composite
from snconvert.live.internals.class_swap import set_state, without_state
from snconvert.live.internals.walk import Layer, descendants
from snconvert.live.measure import triplets_of
from snconvert.live.model import check_model


def load_plain_weights(model: Layer, source: Any) -> None:
    """Loads weights saved before the conversion into a converted model, and finds `u` anew.

    A converted model stores more variables, in groups of other names, so that Keras' own
    `load_weights` cannot read the original's file. `gamma`, in mode `gain`, starts at the new
    sigma. The optimizer's state stays as it is.

    Args:
        model: The converted model; it must be built.
        source: A `.weights.h5` or `.keras` file of the plain model, or the plain model itself.

    Raises:
        SelectionError: No layer of `model` is converted.
        WeightsError: The weights are not those of the model before its conversion.
        KernelError: A kernel among them is not finite.
    """
    check_model(model, "load_plain_weights")
    spectral = [layer for _, layer in descendants(model) if isinstance(layer, Spectral)]
    if not spectral:
        raise SelectionError(
            f"no layer of {model.name} is spectral", "Load the weights with model.load_weights"
        )
    file = os.fspath(source) if isinstance(source, str | os.PathLike) else None
    kept = model.get_weights()
    try:
        with located(file=file), without_state(spectral), _translated():
            if file is None:
                model.set_weights(source.get_weights())
            else:
                _load(model, file)
        parts = {id(p) for x in spectral if isinstance(x, Composite) for p in x.parts().values()}
        wholes = [layer for layer in spectral if id(layer) not in parts]
        of_layers = [_triplets(layer) for layer in wholes]
    except BaseException:
        model.set_weights(kept)
        raise
    for layer, triplets in zip(wholes, of_layers, strict=True):
        set_state(layer, triplets)


def _load(model: Layer, file: str) -> None:
    options: dict[str, Any] = {}
    optimizer = getattr(model, "optimizer", None)
    if optimizer is not None and file.endswith(".weights.h5"):
        options["objects_to_skip"] = [optimizer]
    with warnings.catch_warnings():
        # Else Keras would leave layers with the weights that they have.
        warnings.filterwarnings("error", message="Skipping nested container")
        model.load_weights(file, **options)


def _triplets(layer: Layer) -> Any:
    with located(path=layer.name, class_name=type(layer).__name__):
        return triplets_of(layer, layer.rule, layer.norm)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise SourceNotFoundError("there is no such file", "Check the path") from error
    except (ValueError, KeyError, OSError, IndexError, UserWarning) as error:
        lines = str(error).strip().splitlines()
        raise WeightsError(
            f"the weights do not fit the model before its conversion: {lines[0] if lines else ''}",
            "Give the weights that the original model saved",
        ) from error
