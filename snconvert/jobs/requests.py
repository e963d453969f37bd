"""The requests to the guarded process that measures and compares kernels, and its answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from snconvert.core.convolution_map import Convolution
from snconvert.core.matrix_view import MatrixView
from snconvert.core.settings import Settings
from snconvert.core.verbs import Way
from snconvert.weights.contents import Dataset, State

if TYPE_CHECKING:
    from snconvert.linalg.blocks import Array


class StoredState(NamedTuple):
    """The arrays that a layer stores for one kernel.

    Attributes:
        u: `(b, n)`, of a map `(b, *conv.outputs, n)`; uint16 where it holds bfloat16.
        gamma: In mode `gain`.
        u_dtype: The type that `u` is to have.
    """

    u: Array
    gamma: Array | None
    u_dtype: str = "float32"


class Task(NamedTuple):
    """One kernel to measure.

    Attributes:
        layer: The layer's path and class name, for messages.
        path: The kernel's dataset.
        dataset: Where it lies.
        view: Its matrix view.
        required: Whether the layer is to be converted, so that a bad kernel is an error.
        certify: Whether its sigma is to be proved.
        convolution: The map whose norm is sigma; `None` where that is the view's.
        state: How it is normalised already, if it is.
    """

    layer: tuple[str, str]
    path: str
    dataset: Dataset
    view: MatrixView
    required: bool
    certify: bool = False
    convolution: Convolution | None = None
    state: State | None = None


class Scaling(NamedTuple):
    """One kernel of a spectral layer, whose effective kernel is wanted.

    Attributes:
        layer: The layer's path and class name, for messages.
        path: The kernel's dataset.
        dataset: Where it lies.
        view: Its matrix view.
        u: The dataset of its `u`.
        gamma: The dataset of its `gamma`, in mode `gain`.
        settings: How it is normalised.
        convolution: The map whose norm is sigma; `None` where that is the view's.
    """

    layer: tuple[str, str]
    path: str
    dataset: Dataset
    view: MatrixView
    u: str
    gamma: str | None
    settings: Settings
    convolution: Convolution | None = None


UNCHANGED: Mapping[Way, float] = {"apply": 1.0}
"""Of an array that nothing multiplies."""


class Pair(NamedTuple):
    """Two arrays, of which the second should be a multiple of the first.

    Attributes:
        before: The dataset in one file.
        first: Where it lies.
        after: The dataset in the other.
        second: Where it lies.
        factors: What the first may have been multiplied by, by what was done; 1: every bit is to be
            the same.
    """

    before: str
    first: Dataset
    after: str
    second: Dataset
    factors: Mapping[Way, float] = UNCHANGED


class Compared(NamedTuple):
    """Whether one array is a certain multiple of another.

    Attributes:
        factor: By what the first was multiplied, `None` if it is no such multiple.
        what: What differs then.
        off: How many numbers do.
    """

    factor: float | None
    what: str = ""
    off: int = 0


class Proof(NamedTuple):
    """One kernel whose normalisation is to be proved.

    Attributes:
        layer: The layer's path.
        kernel: The raw kernel's dataset, before.
        dataset: Where it lies.
        view: Its matrix view.
        u: The dataset of `u`, after, or `u` itself.
        u_dtype: The type that `u` is to have.
        gamma: The dataset of `gamma`, after, in mode `gain`.
        settings: How it is normalised.
        convolution: The map whose norm is sigma; `None` where that is the view's.
    """

    layer: str
    kernel: str
    dataset: Dataset
    view: MatrixView
    u: str | Array
    u_dtype: str
    gamma: str | None
    settings: Settings
    convolution: Convolution | None = None


class Proved(NamedTuple):
    """The answer to a `Proof`.

    Attributes:
        sigma: Its norm, found anew.
        reached: The norm of the effective kernel, by the stored `u`.
        wrong: What is wrong.
        notes: What is not to the last bit as it would be computed here.
        gamma: What is stored as `gamma`.
        residual: That of the `u` which is found here.
    """

    sigma: float | None
    reached: float | None
    wrong: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    gamma: float | None = None
    residual: float = 0.0
