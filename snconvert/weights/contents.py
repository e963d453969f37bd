"""What a weights file holds. Needs neither numpy nor h5py, which only the guarded process does."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from snconvert.core.settings import Settings

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Dataset(NamedTuple):
    """One stored array.

    Attributes:
        shape: Its shape.
        dtype: Its type as numpy names it, or `bfloat16`.
        byteorder: `little` or `big`.
        offset: Where its bytes begin in the extent, if they lie there in one piece; else None:
            then `reading.read_dataset` decodes it.
        nbytes: Its size in bytes, decoded.
    """

    shape: tuple[int, ...]
    dtype: str
    byteorder: Literal["little", "big"]
    offset: int | None
    nbytes: int


@dataclass
class Contents:
    """What an HDF5 file of weights holds.

    Attributes:
        groups: The paths of all groups but the root, without a leading `/`.
        datasets: The datasets by path.
    """

    groups: set[str] = field(default_factory=set)
    datasets: dict[str, Dataset] = field(default_factory=dict)


class Product(NamedTuple):
    """An array that is to be multiplied.

    Attributes:
        path: Where it is.
        factor: By what; see `scaling.Fill`.
        copy: Where the result goes, a path after the edit; `None`: it takes the array's place.
    """

    path: str
    factor: float
    copy: str | None = None


class State(NamedTuple):
    """What a model holds of how one kernel is normalised.

    Attributes:
        u: Path and place of the dataset of its `u`, or `u` itself; `None` if what should be its
            `u` is none.
        gamma: Path and place of the dataset of its `gamma`, in mode `gain`.
        settings: How it is normalised; `None` where the layer computes with it as it is stored.
    """

    u: tuple[str, Dataset] | NDArray[Any] | None
    gamma: tuple[str, Dataset] | None = None
    settings: Settings | None = None


class Attributes(NamedTuple):
    """What the attributes of an HDF5 file say that Keras wrote in its older format.

    Attributes:
        model_config: The configuration of the model, JSON; `None` in a file of weights only.
        training_config: How the model was compiled, JSON, if it was.
        keras_version: The version that wrote the file, if it says so.
        backend: The backend that wrote it.
        layers: Each layer's name and the paths of its weights in the file, in the model's order.
            `None` if the file does not list layers: then it is none of that format.
        top_level: The paths of weights that belong to the model itself.
        optimizer: The paths of the optimizer's variables, in its order.
    """

    model_config: str | None = None
    training_config: str | None = None
    keras_version: str | None = None
    backend: str | None = None
    layers: tuple[tuple[str, tuple[str, ...]], ...] | None = None
    top_level: tuple[str, ...] = ()
    optimizer: tuple[str, ...] = ()
