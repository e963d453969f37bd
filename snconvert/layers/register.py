"""Registering the spectral layers with Keras, and what their docstrings share."""

from __future__ import annotations

import inspect
from typing import Any, TypeVar

import keras

from snconvert.layers.base import Spectral
from snconvert.layers.composite import plain_class

Class = TypeVar("Class", bound=type[Any])

_SHARED = """
`s(sigma) * W` takes the place of each kernel `W`. By `mode`, `s` is `bound / sigma` (`hard`),
`min(1, bound / sigma)` (`cap`), or `gamma / sigma` with a trainable scalar `gamma` that starts at
sigma (`gain`). See `snconvert.layers.Spectral` for what training and inference do.

Args:
    *args: Those of `keras.layers.{plain}`, in its order.
    mode: `hard`, `cap` or `gain`.
    bound: The bound of `hard` and `cap`{each}.
    power_iterations: Rounds of power iteration in each training call.
    norm: `matrix`{operator}.
    **kwargs: Those of `keras.layers.{plain}`, without LoRA and quantization.

Example:
{example}

Reference:
    Miyato et al. 2018, arXiv:1802.05957, eq. 8 and 12. `cap`: Gouk et al. 2018, arXiv:1804.04368.
    `gain`: Zhai et al. 2023, arXiv:2303.06296.
"""
_REFUSED = ("lora_", "quantization_", "gptq_")
"""How the names of the arguments begin that only a plain layer can have."""
_MAP = ", or `operator` for the norm of the convolution as a map"
_SAME = " or `operator`, which is the same here"


def register(cls: Class) -> Class:
    """Registers a layer of this package with Keras as `snconvert>{name}`; completes its docstring.

    Files name the module `snconvert.layers`, whatever module of it defines the class.

    Args:
        cls: The class. Its own docstring says what it is and gives an example; what its family has
            in common stands in the docstring of its first base.
    """
    cls.__module__ = "snconvert.layers"
    cls.__signature__ = _Signature(cls)
    if cls.__doc__ is not None:  # `python -OO` leaves them out
        cls.__doc__ = _docstring(cls)
    registered: Class = keras.saving.register_keras_serializable("snconvert")(cls)
    return registered


class _Signature:
    """What `inspect.signature` returns of a layer: Keras' arguments, then the options.

    A subclass may have a constructor of its own, and a layer itself is called, not constructed.
    """

    def __init__(self, cls: type[Any]) -> None:
        self._cls = cls

    def __get__(self, layer: Any, owner: type[Any]) -> inspect.Signature:
        own: Any = vars(Spectral)["__init__"]
        if layer is not None or owner.__init__ is not own:
            raise AttributeError("__signature__")
        keras_own: Any = plain_class(self._cls)
        _, *plain, rest = inspect.signature(keras_own.__init__).parameters.values()
        _, _, *options, _ = inspect.signature(own, eval_str=True).parameters.values()
        shown = [one for one in plain if not one.name.startswith(_REFUSED)]
        return inspect.Signature([*shown, *options, rest])


def _docstring(cls: type[Any]) -> str:
    own, _, example = inspect.cleandoc(str(cls.__doc__)).partition("\n\nExample:\n")
    first, *rest = own.split("\n\n")
    family = cls.__bases__[0]
    common = [] if family is Spectral else inspect.cleandoc(str(family.__doc__)).split("\n\n")[1:]
    kernels = cls.rule.kernels
    shared = _SHARED.format(
        plain=cls.rule.class_name,
        each=", for each kernel" if len(kernels) > 1 else "",
        operator=_MAP if any(kernel.convolution for kernel in kernels) else _SAME,
        example=example,
    )
    return "\n\n".join([first, *common, *rest, shared.strip() + "\n"])
