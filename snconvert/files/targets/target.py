"""What every target can do with the layers of a file: the protocol that its module implements.

The way in turns a plain layer into a normalised one, the way back turns that into a plain one, and
the proof compares both. A normalised layer is named by the node that stands for it in its model:
the layer itself, or what the target has put around it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from snconvert.config.tree import Node
from snconvert.core.settings import Settings
from snconvert.core.triplet import Triplet
from snconvert.files.edits import Edits
from snconvert.files.inventory import StoredKernel, StoredLayer
from snconvert.files.model import Opened
from snconvert.jobs.requests import Pair, State
from snconvert.kinds.kernel_rule import KernelRule

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


class Target(Protocol):
    """What every target can do.

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
    WRAPPER: str | None
    IN_PLACE: bool
    RECORDED: bool

    # The way in.

    def check_model(self, root: Node) -> None:
        """Raises `UnsupportedError` if the target would do a whole model wrong."""

    def obstacle(self, node: Node, rule: KernelRule, stored: StoredLayer | None) -> str | None:
        """Returns why the layer cannot become what the target makes of others, or `None`."""

    def new_class(self, node: Node, rule: KernelRule) -> str:
        """Returns the class that a plain layer will have."""

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

    def edits(
        self, group: str, stored: StoredLayer, triplets: Sequence[Triplet], settings: Settings
    ) -> Edits:
        """Returns what else changes in the weights of a layer whose new group is `group`."""

    # A normalised layer.

    def is_mine(self, node: Node) -> bool:
        """Whether a node stands for a layer that this target has normalised."""

    def owner_of(self, node: Node) -> Node:
        """Returns the node of the layer that has the kernels."""

    def options_of(self, node: Node) -> Mapping[str, Any]:
        """Returns the settings by their names as the configuration holds them, right or wrong."""

    def arguments_in(self, config: Mapping[str, Any]) -> Sequence[str]:
        """Returns the arguments in the configuration of a Keras layer that the target has set."""

    def settings_of(self, node: Node) -> Settings:
        """Returns how the layer is normalised.

        Raises:
            SourceError: Its configuration says nothing that can be.
        """

    def states(self, model: Opened, node: Node) -> Iterator[KernelState]:
        """Yields what is kept with each kernel.

        Raises:
            OptionError: It is not what a conversion writes.
            SourceError: As for `settings_of`.
        """

    def states_in_use(self, model: Opened, node: Node) -> Mapping[str, State]:
        """Returns how kernels are normalised, by dataset, where what is kept serves to measure."""

    def recorded_factors(
        self, node: Node, stored: StoredLayer | None, record: Mapping[str, float]
    ) -> Mapping[str, float | None]:
        """Returns what the conversion has multiplied each kernel by, by the kernel's path.

        Args:
            node: The layer.
            stored: What the file holds for it.
            record: What `metadata.json` says of it.

        Returns:
            The factors, `None` where one is not known; empty if nothing was multiplied.
        """

    # The way back.

    def plain_class(self, node: Node) -> str:
        """Returns the class of the plain layer."""

    def unwrap(self, node: Node, spelling: Mapping[str, Any] | None) -> None:
        """Turns the entry of a normalised layer into that of the plain one.

        Args:
            node: The layer.
            spelling: Module and registered name of the plain layer, as far as they were recorded.
        """

    def removals(self, model: Opened, node: Node) -> list[str]:
        """Returns the datasets and groups that go when the layer becomes plain."""

    # The proof.

    def flaws(self, node: Node, rule: KernelRule, stored: StoredLayer | None) -> Iterator[str]:
        """Yields what in a normalised layer's entry is not as a conversion writes it.

        Args:
            node: The layer.
            rule: Its row.
            stored: What is stored for the plain layer.
        """

    def stored_flaws(self, model: Opened, node: Node) -> Iterator[str]:
        """Yields which variables are stored for the layer that a conversion does not store."""

    def copies(self, model: Opened, node: Node) -> Iterator[Copy]:
        """Yields the arrays that are stored twice, if `stored_flaws` yields nothing."""

    def drop_defaults(self, node: Node) -> None:
        """Takes out of the entry what Keras writes when it saves the model, but no conversion."""
