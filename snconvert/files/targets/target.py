"""What every target does with the layers of a file: the class that its module derives.

The way in turns a plain layer into a normalised one, the way back turns that into a plain one, and
the proof compares both. A normalised layer is named by the node that stands for it in its model:
the layer itself, or what the target has put around it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from snconvert.config.tree import Node
from snconvert.core.settings import Settings
from snconvert.core.triplet import Triplet
from snconvert.files.edits import Edits
from snconvert.files.inventory import StoredKernel, StoredLayer
from snconvert.files.model import Opened
from snconvert.jobs.requests import Pair
from snconvert.kinds.kernel_rule import KernelRule
from snconvert.weights.contents import State

if TYPE_CHECKING:
    from snconvert.linalg.blocks import Array


class KernelState(NamedTuple):
    """What a model keeps with one kernel of a normalised layer.

    Attributes:
        kernel: The kernel.
        u: The dataset of `u`, or `u` itself where the configuration holds it.
        settings: How the kernel is normalised.
        gamma: The dataset of `gamma`, in mode `gain`.
        u_dtype: The type that `u` is to have.
    """

    kernel: StoredKernel
    u: str | Array
    settings: Settings
    gamma: str | None = None
    u_dtype: str = "float32"


class Copy(NamedTuple):
    """An array that a normalised layer stores for a second time.

    Attributes:
        what: The copy in words.
        pair: The array and its copy.
    """

    what: str
    pair: Pair


class Target(ABC):
    """What a target does; as it stands here, for one that leaves layers where they are.

    Attributes:
        NAME: Its name, as in `snconvert.core.targets`.
        FORM: A normalised layer in one word, as verdicts say it.
        ALREADY: Why a normalised layer is not converted again.
        WRAPPER: Keras' class that is put around a layer; `None` if the layer keeps its place.
        IN_PLACE: Whether the stored kernels are normalised, so that inference uses them as they are
            and `remove` divides them.
        RECORDED: Whether only the record in `metadata.json` keeps what kernels were multiplied by.
    """

    NAME: str
    FORM: str
    ALREADY: str
    WRAPPER: str | None = None
    IN_PLACE = False
    RECORDED = False

    # The way in.

    def check_model(self, root: Node) -> None:  # noqa: B027 -- most targets take every model
        """Raises `UnsupportedError` if the target would do a whole model wrong."""

    def obstacle(self, _node: Node, _rule: KernelRule, _stored: StoredLayer | None) -> str | None:
        """Returns why a layer cannot become what the target makes of others, or `None`."""
        return None

    def new_class(self, node: Node, _rule: KernelRule) -> str:
        """Returns the class that a plain layer will have."""
        return node.class_name

    @abstractmethod
    def wrap(
        self,
        node: Node,
        rule: KernelRule,
        settings: Settings,
        stored: StoredLayer | None,
        triplets: Sequence[Triplet],
    ) -> None:
        """Edits the configuration of a plain layer; no triplets for one that is not built."""

    def place(self, group: str) -> str:
        """Returns where the layer's own variables lie, if its new group is `group`."""
        return group

    @abstractmethod
    def edits(
        self, group: str, stored: StoredLayer, triplets: Sequence[Triplet], settings: Settings
    ) -> Edits:
        """Returns what else changes in the weights of a layer whose new group is `group`."""

    # A normalised layer.

    @abstractmethod
    def is_mine(self, node: Node) -> bool:
        """Whether a node stands for a layer that this target has normalised."""

    def owner_of(self, node: Node) -> Node:
        """Returns the node of the layer that has the kernels."""
        return node

    @abstractmethod
    def options_of(self, node: Node) -> Mapping[str, Any]:
        """Returns the settings by their names as the configuration holds them, right or wrong."""

    def arguments_in(self, _config: Mapping[str, Any]) -> Sequence[str]:
        """Returns the arguments in the configuration of a Keras layer that the target has set."""
        return ()

    @abstractmethod
    def settings_of(self, node: Node) -> Settings:
        """Returns how the layer is normalised.

        Raises:
            SourceError: Its configuration says nothing that can be.
        """

    @abstractmethod
    def states(self, model: Opened, node: Node) -> Iterator[KernelState]:
        """Yields what is kept with each kernel.

        Raises:
            OptionError: It is not what a conversion writes.
            SourceError: As for `settings_of`.
        """

    @abstractmethod
    def states_in_use(self, model: Opened, node: Node) -> Mapping[str, State]:
        """Returns how kernels are normalised, by dataset, where what is kept serves to measure."""

    def recorded_factors(
        self, _node: Node, _stored: StoredLayer | None, _record: Mapping[str, float]
    ) -> Mapping[str, float | None]:
        """Returns what the conversion has multiplied each kernel by, by the kernel's path.

        Args:
            _node: The layer.
            _stored: What the file holds for it.
            _record: What `metadata.json` says of it.

        Returns:
            The factors, `None` where one is not known; empty if nothing was multiplied.
        """
        return {}

    # The way back.

    def plain_class(self, node: Node) -> str:
        """Returns the class of the plain layer."""
        return node.class_name

    @abstractmethod
    def unwrap(self, node: Node, spelling: Mapping[str, Any] | None) -> None:
        """Turns the entry of a normalised layer into that of the plain one.

        Args:
            node: The layer.
            spelling: Module and registered name of the plain layer, as far as they were recorded.
        """

    def removals(self, _model: Opened, _node: Node) -> list[str]:
        """Returns the datasets and groups that go when the layer becomes plain."""
        return []

    # The proof.

    @abstractmethod
    def flaws(self, node: Node, rule: KernelRule, stored: StoredLayer | None) -> Iterator[str]:
        """Yields what in a normalised layer's entry is not as a conversion writes it.

        Args:
            node: The layer.
            rule: Its row.
            stored: What is stored for the plain layer.
        """

    def stored_flaws(self, _model: Opened, _node: Node) -> Iterator[str]:
        """Yields what of the stored variables, beyond the inventory, no conversion writes."""
        return iter(())

    def copies(self, _model: Opened, _node: Node) -> Iterator[Copy]:
        """Yields the arrays that are stored twice, if `stored_flaws` yields nothing."""
        return iter(())

    def drop_defaults(self, node: Node) -> None:  # noqa: B027 -- Keras writes most as conversions do
        """Takes out of the entry what Keras writes when it saves the model, but no conversion."""
