"""Target `layer`: a Keras layer becomes its spectral subclass of this package.

The kernel stays as it is; behind the variables that the layer had come, for `gain`, one trainable
scalar `gamma` per kernel, and then one `u` per kernel, as `snconvert.layers` creates them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from snconvert.config.safety import is_builtin_layer
from snconvert.config.tree import PACKAGE, Node
from snconvert.core.settings import FIELDS, Settings, settings_in
from snconvert.core.triplet import Triplet
from snconvert.errors import OptionError, SourceError, printable
from snconvert.files.edits import Edits
from snconvert.files.inventory import StoredLayer
from snconvert.files.model import Opened
from snconvert.files.targets.target import KernelState, Target
from snconvert.kinds.kernel_rule import KernelRule
from snconvert.kinds.table import SPECTRAL
from snconvert.weights.contents import State

if TYPE_CHECKING:
    import numpy as np

MODULE = "snconvert.layers"

_TODAY: Mapping[str, Any] = {"module": "keras.layers", "registered_name": None}


class LayerTarget(Target):
    """Target `layer`."""

    NAME = "layer"
    FORM = "spectral"
    ALREADY = "spectral already"

    def new_class(self, _: Node, rule: KernelRule) -> str:
        """Returns the spectral class."""
        return rule.spectral_class

    def wrap(self, node: Node, rule: KernelRule, settings: Settings, *_: object) -> None:
        """Turns the node's entry into that of the spectral class, as Keras would serialise it."""
        own = ">" in rule.spectral_class
        node.entry["module"] = _module(node, rule) if own else MODULE
        node.entry["class_name"] = rule.spectral_class.rpartition(">")[2]
        node.entry["registered_name"] = (
            rule.spectral_class if own else PACKAGE + rule.spectral_class
        )
        node.config.update(asdict(settings))

    def edits(
        self, group: str, stored: StoredLayer, triplets: Sequence[Triplet], settings: Settings
    ) -> Edits:
        """Returns the datasets to add: each gamma, then each `u`, behind the variables of its part.

        Args:
            group: The layer's group.
            stored: What the file holds for it.
            triplets: The leading singular triplet of each of its kernels.
            settings: How it is normalised.
        """
        added: list[tuple[str, np.ndarray]] = []
        for part, count in stored.counts.items():
            own = [
                triplet
                for kernel, triplet in zip(stored.kernels, triplets, strict=True)
                if kernel.kernel.group == part
            ]
            values: list[np.ndarray] = []
            if settings.mode == "gain":
                import numpy as np  # noqa: PLC0415 - the other modes do without

                values += [np.asarray(triplet.sigma, np.float32) for triplet in own]
            values += [triplet.u for triplet in own]
            owner = f"{group}/{part}" if part else group
            added += [(f"{owner}/vars/{count + i}", value) for i, value in enumerate(values)]
        return Edits(additions=list(added))

    def is_mine(self, node: Node) -> bool:
        """Whether a node is of a spectral class."""
        return node.spectral is not None

    def options_of(self, node: Node) -> Mapping[str, Any]:
        """Returns the layer's configuration."""
        return node.config

    def settings_of(self, node: Node) -> Settings:
        """Returns how a spectral layer is normalised.

        Raises:
            SourceError: Its configuration says nothing that can be.
        """
        try:
            return settings_in(node.config)
        except OptionError as error:
            raise SourceError(
                f"its configuration is invalid: {error.what}",
                "Convert the original model again",
                path=node.path,
                class_name=node.class_name,
            ) from error

    def states(self, model: Opened, node: Node) -> Iterator[KernelState]:
        """Yields each kernel of a spectral layer with its `u` and, in mode `gain`, its gamma."""
        settings, stored = self.settings_of(node), model.inventory.get(node)
        if stored is None or not stored.kernels:
            return
        for part, count in stored.counts.items():
            own = [kernel for kernel in stored.kernels if kernel.kernel.group == part]
            variables = f"{model.paths[node]}/{part}/vars" if part else f"{model.paths[node]}/vars"
            first = count - len(own)
            for index, kernel in enumerate(own):
                u = f"{variables}/{first + index}"
                gamma = (
                    f"{variables}/{first - len(own) + index}" if settings.mode == "gain" else None
                )
                yield KernelState(kernel, u, settings, gamma)

    def states_in_use(self, model: Opened, node: Node) -> Mapping[str, State]:
        """Returns how the kernels of a spectral layer are normalised, by dataset."""
        datasets = model.contents.datasets
        return {
            state.kernel.path: State(
                (str(state.u), datasets[str(state.u)]),
                None if state.gamma is None else (state.gamma, datasets[state.gamma]),
                state.settings,
            )
            for state in self.states(model, node)
        }

    def plain_class(self, node: Node) -> str:
        """Returns the Keras class of a spectral layer."""
        return SPECTRAL[str(node.spectral)].class_name

    def unwrap(self, node: Node, spelling: Mapping[str, Any] | None = None) -> None:
        """Turns the entry of a spectral layer back into that of the Keras class.

        Args:
            node: The layer.
            spelling: What `spelling_of` said before the conversion; it is not trusted.
        """
        plain = self.plain_class(node)
        names = (*_TODAY, "class_name")
        own = {name: spelling[name] for name in names if name in spelling} if spelling else _TODAY
        if is_builtin_layer({"class_name": plain, **own}) != plain:
            own = _TODAY
        node.entry.update({"class_name": plain, **own})
        if "registered_name" not in own:
            del node.entry["registered_name"]
        for name in FIELDS:
            node.config.pop(name, None)

    def removals(self, model: Opened, node: Node) -> list[str]:
        """Returns the datasets of each gamma and `u`."""
        return [
            path
            for state in self.states(model, node)
            for path in (state.gamma, str(state.u))
            if path is not None
        ]

    def flaws(self, node: Node, *_: object) -> Iterator[str]:
        """Yields what in a spectral layer's entry is not as a conversion writes it."""
        module = node.entry.get("module")
        if module != MODULE:
            yield f"its module is {printable(module)}, where {MODULE} belongs"


def _module(node: Node, rule: KernelRule) -> Any:
    """Returns where a user's own class is defined, as Keras would write it.

    Whoever adds a rule has mostly registered the class with Keras in the same process. Where not,
    the module of the plain class stands: Keras finds either by the registered name.
    """
    keras = sys.modules.get("keras")
    own = keras.saving.get_registered_object(rule.spectral_class) if keras is not None else None
    module = node.entry.get("module") if own is None else own.__module__
    return None if module == "__main__" else module


def spelling_of(node: Node) -> dict[str, Any] | None:
    """Returns how a Keras layer is named, or `None` where it is as Keras writes it today.

    Keras 3.0.0 wrote the defining module and the class name, other programs write no registered
    name at all, and 3.16 has another name for `GroupQueryAttention`; to Keras all of these are one
    class.
    """
    own = {name: node.entry[name] for name in _TODAY if name in node.entry}
    if node.class_name != node.builtin:
        own["class_name"] = node.class_name
    return None if own == _TODAY else own
