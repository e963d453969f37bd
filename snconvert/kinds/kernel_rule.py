"""The rows of the table of kinds, and how their functions read a layer's configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from snconvert.core.convolution_map import Convolution
from snconvert.core.matrix_view import MatrixView
from snconvert.errors import SourceError, printable

Shape = tuple[int, ...]
Config = Mapping[str, Any]
"""The configuration of a layer, as `get_config` returns it and `config.json` holds it."""

_HIGHEST_RANK = 32  # of a dataset in HDF5

Kind = Literal["dense", "conv", "attention", "recurrent", "embedding"]
KINDS: tuple[Kind, ...] = get_args(Kind)
"""The families that `--kinds` names."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """One kernel of a layer.

    Attributes:
        name: The attribute of the kernel, and the name of its variable.
        index: The position of the kernel among the variables stored in `group`.
        view: Maps the kernel's shape and the layer's configuration to its matrix view.
        group: The path below the layer of the object that owns the kernel; empty for the layer.
        present: Predicate on the layer's configuration: the kernel exists where it is true.
            `None`: it always exists.
        convolution: Maps the kernel's shape, the configuration and the shape the layer was built
            for to the convolution as a map. `None`: the kernel has one norm, that of its matrix.
        constraint: The layer's argument for the kernel's constraint. `None`: as the kernel's name.
    """

    name: str
    index: int
    view: Callable[[Shape, Config], MatrixView]
    group: str = ""
    present: Callable[[Config], bool] | None = None
    convolution: Callable[[Shape, Config, Any], Convolution] | None = None
    constraint: str | None = None

    @property
    def path(self) -> str:
        """Group and name of the kernel: `cell/recurrent_kernel`, or the name alone."""
        return f"{self.group}/{self.name}" if self.group else self.name

    def map_of(
        self, norm: str, shape: Shape, config: Config, input_shape: Any
    ) -> Convolution | None:
        """Returns the map whose norm is sigma, or `None` where that is the matrix view's.

        Args:
            norm: `matrix` or `operator`.
            shape: The shape of the kernel.
            config: The layer's configuration.
            input_shape: The shape that the layer was built for.

        Raises:
            SourceError: The configuration is invalid.
        """
        conv = None if norm == "matrix" else self.convolution_of(shape, config, input_shape)
        return None if conv is None or conv.same_norm_as_matrix else conv

    def convolution_of(self, shape: Shape, config: Config, input_shape: Any) -> Convolution | None:
        """Returns the convolution by the kernel as a map, or `None` if the layer is none.

        Args:
            shape: The shape of the kernel.
            config: The layer's configuration.
            input_shape: The shape that the layer was built for.

        Raises:
            SourceError: The configuration is invalid.
        """
        return self.convolution and self.convolution(shape, config, input_shape)


@dataclass(frozen=True, slots=True)
class KernelRule:
    """One row: a layer class and its spectral counterpart.

    Attributes:
        class_name: The Keras class, or the registered name (`package>Class`) of a user's own.
        kind: One of `KINDS`.
        spectral_class: Name of the class in `snconvert.layers`, or the registered name.
        kernels: The kernels, in the order in which the layer stores them.
        variables: Maps the configuration and the shape the layer was built for (`None` where it is
            unknown) to the shapes of the variables that each group stores, in order. A dimension
            that cannot be known is `None`. Groups come in the order in which the layer makes them;
            one that stores nothing is an empty tuple. Raises `SourceError` when the configuration
            is invalid.
        title: How the kernels are read as matrices, in words, for the table of kinds.
    """

    class_name: str
    kind: str
    spectral_class: str
    kernels: tuple[Kernel, ...]
    variables: Callable[[Config, Any], Mapping[str, tuple[tuple[int | None, ...], ...]]]
    title: str

    def kernels_of(self, config: Config) -> tuple[Kernel, ...]:
        """Returns the kernels that a layer of this configuration has."""
        return tuple(k for k in self.kernels if k.present is None or k.present(config))


def positive_integers(config: Config, key: str, *, length: int | None = None) -> Shape:
    """Returns `config[key]` as a tuple of positive integers.

    Args:
        config: The layer's configuration.
        key: The name of the entry.
        length: The number of integers; a single one stands for that many. `None`: any number.

    Raises:
        SourceError: The entry is missing or is anything else.
    """
    value = config.get(key)
    values = value if isinstance(value, list | tuple) else [value] * (length or 1)
    if (
        (length is not None and len(values) != length)
        or len(values) > _HIGHEST_RANK
        or not all(type(size) is int and 0 < size < 2**40 for size in values)
    ):
        expected = "a positive integer" if length in {None, 1} else f"{length} positive integers"
        raise SourceError(
            f"`{key}` is {value!r}, but {expected} is expected",
            "Repair the layer's configuration and save the model again",
        )
    return tuple(values)


def dimension(shape: Any, axis: int) -> int | None:
    """Returns one axis of a `build_config` shape, or `None` where it is not known."""
    if not isinstance(shape, list | tuple) or not -len(shape) <= axis < len(shape):
        return None
    size = shape[axis]
    return size if type(size) is int else None


def input_shape_of(build_config: Any) -> Any:
    """Returns the shape that a serialised layer was built with, by argument for several, or `None`.

    Raises:
        SourceError: The shape holds a number that is no size.

    Example:
        >>> input_shape_of({"shapes_dict": {"query_shape": [None, 5, 6]}})
        {'query_shape': [None, 5, 6]}
    """
    if not isinstance(build_config, Mapping):
        return None
    shape = build_config.get("input_shape", build_config.get("shapes_dict"))
    for sizes in shape.values() if isinstance(shape, Mapping) else (shape,):
        if isinstance(sizes, list | tuple) and any(isinstance(size, float) for size in sizes):
            raise SourceError(
                f"the shape it was built for is {printable(sizes)}, but whole numbers are expected",
                "Repair the layer's `build_config` and save the model again",
            )
    return shape


def argument_shape(input_shape: Any, name: str) -> Any:
    """Returns the shape of an argument of `build`, be it the only one or one of several."""
    return input_shape.get(name) if isinstance(input_shape, Mapping) else input_shape


def channels_axis(config: Config, first: int = 1) -> int:
    """Returns the axis of the channels; `first` is where `channels_first` has it."""
    return first if config.get("data_format") == "channels_first" else -1


def usual_view(kernel: Shape, _: Config) -> MatrixView:
    """Reads a kernel as `(1, everything else, last axis)`."""
    return MatrixView.of(kernel)


def with_bias(
    config: Config, bias: tuple[int | None, ...], *kernels: tuple[int | None, ...]
) -> tuple[tuple[int | None, ...], ...]:
    """Returns the shapes of the kernels, and of the bias if the layer has one."""
    return (*kernels, bias) if config.get("use_bias", True) else kernels
