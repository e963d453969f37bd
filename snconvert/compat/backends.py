"""What backends keep of Keras' objects by themselves, and how each compiles a step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

import keras

BOOKS = "_self_"
"""How the attributes begin in which TensorFlow keeps books of the objects in an object."""

BOOKED_NAMES = "_self_unconditional_dependency_names"
"""TensorFlow's books: a dict of what an object has by which name in a checkpoint."""

BOOKED_REFERENCES = "_self_unconditional_checkpoint_dependencies"
"""TensorFlow's books: the same as a list of references with names."""

ATTRIBUTES_ONLY = frozenset(
    {
        "tensorflow.python.trackable.autotrackable.AutoTrackable",
        "tensorflow.python.trackable.base.TrackableReference",
        "torch.nn.modules.module.Module",
    }
)
"""Classes of backends whose objects are nothing but their attributes."""

_WRAPPERS = "tensorflow.python.trackable.data_structures"


def is_wrapper(value: Any) -> bool:
    """Whether a value is what TensorFlow puts around a list, dict or tuple to keep books of it."""
    return type(value).__module__ == _WRAPPERS


def attributes_of(value: Any) -> dict[str, Any]:
    """Returns the attributes of an object itself, where a wrapper shows those of what is in it."""
    if not is_wrapper(value):
        return getattr(value, "__dict__", {})
    slot = next(c.__dict__["__dict__"] for c in type(value).__mro__ if c.__name__ == "Trackable")
    attributes: dict[str, Any] = slot.__get__(value)
    return attributes


def is_table(value: Any) -> bool:
    """Whether a backend's object is a lookup table of TensorFlow that checkpoints hold."""
    return hasattr(value, "insert") and hasattr(value, "_serialize_to_tensors")


def copy_table(table: Any) -> Any:
    """Returns a copy of a lookup table of TensorFlow."""
    copies: dict[Any, Any] = {}
    table._copy_trackable_to_cpu(copies)
    return copies[table]


def attach(variable: Any, name: str, state: Any) -> None:
    """Has TensorFlow's checkpoints and SavedModels hold a variable wherever they hold another.

    They hold what TensorFlow reaches from a model by attributes. Keras does not show it the layers
    in lists and dicts; it reaches their kernels through the optimizer, but what is not trained it
    would leave out.

    Args:
        variable: A Keras variable; on other backends nothing is done.
        name: By which the other one is known in checkpoints, from the variable.
        state: The other Keras variable.
    """
    if keras.backend.backend() == "tensorflow":
        variable._track_trackable(state, name, overwrite=True)


def forget(owner: Any, name: str) -> None:
    """Has TensorFlow's checkpoints leave out what they know of an object by a name.

    Args:
        owner: A layer or variable; on other backends nothing is done.
        name: Of an attribute, or one that was attached; it may be unknown.
    """
    if keras.backend.backend() == "tensorflow":
        tracking = import_module("tensorflow").__internal__.tracking
        tracking.AutoTrackable._delete_tracking(owner, name)


def renew_torch_parameters(module: Any) -> None:
    """Gives PyTorch the variables that a layer has by now, if it has asked for them before.

    Its modules keep parameters beside Keras' variables.
    """
    if hasattr(module, "_torch_params"):
        module._track_variables()


def torch_modules(layer: Any) -> Mapping[str, Any]:
    """Returns the parts of a layer that PyTorch's modules keep apart from its attributes."""
    modules: Mapping[str, Any] = vars(layer).get("_modules", {})
    return modules


def compiled_step(
    step: Callable[[], None],
    stateless_step: Callable[[Callable[..., Any]], Callable[[], None]],
    *,
    traced: bool,
) -> Callable[[], None]:
    """Returns a step that assigns variables, as the backend runs it fastest.

    Args:
        step: Assigns the variables.
        stateless_step: Makes the same step for JAX from `jax.jit`, which compiles functions that
            assign nothing only.
        traced: Whether TensorFlow traces the step now, and not when it first runs.
    """
    backend = keras.backend.backend()
    if backend == "jax":
        return stateless_step(import_module("jax").jit)
    if backend == "torch":
        return import_module("torch").no_grad()(step)  # type: ignore[no-any-return]
    if backend == "tensorflow":
        function = import_module("tensorflow").function(step, autograph=False)
        return function.get_concrete_function() if traced else function  # type: ignore[no-any-return]
    return step
