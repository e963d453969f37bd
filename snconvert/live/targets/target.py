"""What targets do with live layers: the class and the protocol of their modules."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from snconvert.config.tree import Node
from snconvert.core.matrix_view import MatrixView
from snconvert.core.settings import Settings
from snconvert.core.triplet import Triplet
from snconvert.kinds.kernel_rule import Kernel, KernelRule
from snconvert.kinds.table import RULES
from snconvert.linalg.stored_u import Normalisation
from snconvert.live.internals.walk import Layer


class LiveStep(NamedTuple):
    """A layer that will be converted.

    Attributes:
        layer: The layer, built or not.
        rule: Its row.
        settings: How it will be normalised.
        triplets: The leading singular triplet of each kernel of a built layer.
    """

    layer: Layer
    rule: KernelRule
    settings: Settings
    triplets: Sequence[Triplet] | None


class Normaliser(Protocol):
    """A target that tells how it has normalised a kernel."""

    def normalisation(
        self, owner: Layer, kernel: Kernel, view: MatrixView, around: Layer = None
    ) -> Normalisation | None:
        """Returns how this target has normalised a kernel, if it has.

        Args:
            owner: The object that has the kernel: the layer, or a part of it.
            kernel: Its row.
            view: How it is read.
            around: What a target has put around the layer, if one has.
        """


class LiveTarget(ABC):
    """A target that changes layers in memory; methods that are not abstract suit most targets."""

    def check_model(self, model: Layer) -> None:  # noqa: B027 -- most targets take every model
        """Raises `UnsupportedError` if the target would do a whole model wrong."""

    def obstacle(self, _node: Node, _rule: KernelRule) -> str | None:
        """Returns why a layer cannot become what the target makes of others, or `None`."""
        return None

    @abstractmethod
    def convert(self, model: Layer, steps: Sequence[LiveStep]) -> None:
        """Changes layers of a model, or raises `SnconvertError` before anything is changed."""

    @abstractmethod
    def normalisation(
        self, owner: Layer, kernel: Kernel, view: MatrixView, around: Layer = None
    ) -> Normalisation | None:
        """Returns how this target has normalised a kernel, as `Normaliser` does."""

    def rule_of(self, node: Node) -> KernelRule | None:
        """Returns the row of a normalised layer, if it has one."""
        return RULES.get(node.builtin or "")

    def recorded_factors(self, _layer: Layer, _rule: KernelRule) -> Mapping[str, float | None]:
        """Returns what the conversion has multiplied kernels by, by their paths below the layer.

        `None` where that is not known; empty if nothing was multiplied.
        """
        return {}

    def parts_of(self, _layer: Layer, _rule: KernelRule) -> Iterator[tuple[Any, str, Any]]:
        """Yields the variables of a normalised layer that the target has given a part for training.

        Yields:
            The variable, the name of its attribute (`constraint`), and what the layer has there.
        """
        return iter(())

    def plain_class(self, node: Node) -> str:
        """Returns the class of the plain layer."""
        return node.class_name

    def check_undo(self, node: Node) -> None:  # noqa: B027 -- most layers stay plain
        """Raises `UnsupportedError` if a layer would not stay plain."""

    @abstractmethod
    def make_plain(
        self, verb: str, model: Layer, layers: Sequence[tuple[Layer, KernelRule]]
    ) -> None:
        """Makes layers of a model plain, or raises `SnconvertError` before anything is changed."""
