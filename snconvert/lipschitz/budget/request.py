"""What the guarded process is asked for when bounds are chosen, and its answer; without numpy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from snconvert.core.convolution_map import Convolution
from snconvert.core.magnitude import Magnitude
from snconvert.core.network_bound import NetworkBound
from snconvert.core.settings import Settings

if TYPE_CHECKING:
    from numpy.typing import NDArray


class ConvertedKernel(NamedTuple):
    """A kernel that is to be normalised.

    Attributes:
        path: Its dataset.
        settings: How; the bound that is chosen is a multiple of the one here.
        u: The `u` that will be stored.
        sigma_map: The map whose norm sigma is; `None` for that of the matrix.
    """

    path: str
    settings: Settings
    u: NDArray[Any]
    sigma_map: Convolution | None


class Floor(NamedTuple):
    """What the bound of a network does not fall below, however small the bounds of layers are.

    Attributes:
        bound: That number.
        layers: Path, class and constant of the operations that make it, the largest first.
    """

    bound: Magnitude
    layers: tuple[tuple[str, str, Magnitude], ...]


class Budget(NamedTuple):
    """The choice of bounds.

    Attributes:
        scale: By what the bounds of the settings are multiplied; `None`: there is no such number.
        network: The bound of the network with these bounds; or of a network that has none.
        floor: Why there is no such number, if the network has a bound.
    """

    scale: float | None
    network: NetworkBound | None = None
    floor: Floor | None = None
