"""What Keras keeps of a live layer."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import CellType, FunctionType, MethodType
from typing import Any

import keras
from keras.src.layers.rnn import conv_lstm

Layer = Any

ConvLSTMCell = conv_lstm.ConvLSTMCell
"""The cell of the ConvLSTM layers, which Keras does not export."""

_WRAPPED = ("build", "quantize")  # methods that Keras wraps for each object, when it is made


LAYERS = "_layers"
"""The attribute that lists the layers directly inside a layer."""


def has_layer(name: str) -> bool:
    """Whether Keras has a layer of that name: `ReversibleEmbedding` came with 3.12."""
    return hasattr(keras.layers, name)


def variable_lists(layer: Layer) -> tuple[list[Any], list[Any]]:
    """Returns the lists of the variables that a layer has itself: the trainable, and the others.

    They are those of the layer, not copies.
    """
    return layer._trainable_variables, layer._non_trainable_variables


def own_variables(layer: Layer) -> list[Any]:
    """Returns the variables that a layer has itself, without those of the layers inside."""
    trainable, others = variable_lists(layer)
    return [*trainable, *others]


def flattened(layer: Layer) -> list[Layer]:
    """Returns a layer and all that Keras has tracked below it, as `Model.layers` of a backbone."""
    return list(layer._flatten_layers())


def tracked_layers(layer: Layer) -> list[Layer]:
    """Returns the layers directly inside a layer, whatever attributes hold them."""
    layers: list[Layer] = getattr(layer, LAYERS)
    return layers


@contextmanager
def unlocked(layer: Layer) -> Iterator[None]:
    """Lets a layer that is built get further variables."""
    tracker, locked = layer._tracker, layer._tracker.locked
    tracker.unlock()
    try:
        yield
    finally:
        if locked:
            tracker.lock()


def untrack(layer: Layer, variable: Any) -> None:
    """Takes a variable out of a layer's lists."""
    layer._untrack_variable(variable)


def call_after_build(cls: Any, function: Callable[[Layer], None]) -> None:
    """Has Keras call a function with each layer of a class that it has just built.

    That is before PyTorch is told of the variables, which Keras does in the same method.
    """

    def _post_build(self: Layer) -> None:
        function(self)
        super(cls, self)._post_build()

    cls._post_build = _post_build


def follow_class(layer: Layer) -> None:
    """Updates what Keras keeps of a layer's class for each object, after it got another class.

    That is the wrappers around its methods and the signature of its `call`. Keras 3.12 brought
    `call_signature_parameters` and arguments like `training` of one's own; the versions before have
    neither.
    """
    for name in _WRAPPED:
        wrapper = vars(layer).get(name)
        if isinstance(wrapper, FunctionType):
            _rewrap(wrapper, MethodType(getattr(type(layer), name), layer))
    signature = inspect.signature(layer.call)
    names = [parameter.name for parameter in signature.parameters.values()]
    known = {
        "_call_signature": signature,
        "call_signature_parameters": names,
        "_call_has_training_arg": "training" in names,
        "_call_has_mask_arg": "mask" in names,
        "_call_has_context_arg": {
            name: name in names for name in getattr(layer, "_call_context_args", ())
        },
    }
    for name, value in known.items():
        if hasattr(layer, name):
            object.__setattr__(layer, name, value)


def _rewrap(wrapper: FunctionType, method: MethodType) -> None:
    """Makes Keras' wrapper around a method of the former class call that of the new one."""
    names, cells = wrapper.__code__.co_freevars, wrapper.__closure__ or ()
    for name, cell in zip(names, cells, strict=True):
        if name.startswith("original_") and isinstance(cell, CellType):
            cell.cell_contents = method
    wrapper.__dict__["__wrapped__"] = method
