"""Target `keras`: the layer goes into Keras' own wrapper, for files that load without snconvert.

`keras.layers.SpectralNormalization` divides the stored kernel by its sigma in every training call.
Here the kernel is divided once, at conversion, and `vector_u` is converged. The wrapper stores the
kernel a second time, before `vector_u`, and both copies are equal; the layer itself moves below
`layer`. The wrapper has the layer's name, so that `get_layer` and losses find it.

Its mathematics is that of mode `hard` with the bound 1, and its matrix the kernel reshaped to
`(everything else, last axis)`: a layer of another view stays as it is, with the reason.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from snconvert.config import keras_modules
from snconvert.config.constraint_entry import unusual
from snconvert.config.dtype_policies import policy_names
from snconvert.config.tree import Node
from snconvert.core.matrix_view import MatrixView
from snconvert.core.settings import Settings, scale
from snconvert.core.triplet import Triplet
from snconvert.errors import printable
from snconvert.files.edits import Edits
from snconvert.files.inventory import StoredLayer
from snconvert.files.model import Opened
from snconvert.files.targets.target import Copy, KernelState, Target
from snconvert.jobs.requests import Pair
from snconvert.kinds.kernel_rule import KernelRule
from snconvert.weights.contents import Product, State

if TYPE_CHECKING:
    import numpy as np

CLASS = "SpectralNormalization"
MOVED = ("module", "class_name", "config", "registered_name", "build_config")
"""The entries of a layer that go into the wrapper with it."""
_ENTRY = {
    "module": keras_modules.WRAPPER,
    "registered_name": (None, CLASS),
}
"""What may stand in the entry of a wrapper, as Keras versions write it."""
_SAME = ("name", "trainable", "dtype")
"""What a wrapper's configuration and that of the layer inside have in common."""


class KerasTarget(Target):
    """Target `keras`."""

    NAME = "keras"
    FORM = "wrapped"
    ALREADY = f"normalised already by keras' {CLASS}"
    WRAPPER = CLASS
    IN_PLACE = True
    RECORDED = True

    def obstacle(self, node: Node, rule: KernelRule, stored: StoredLayer | None) -> str | None:
        """Returns why the wrapper would do the layer wrong, or `None`."""
        if rule.kind == "embedding":
            return "keras' SpectralNormalization casts the output to the type of the ids"
        if len(rule.kernels) != 1 or rule.kernels[0].path != "kernel":
            return "keras' SpectralNormalization knows layers with one kernel only"
        if stored is None or not stored.kernels:
            return "not built yet: keras' SpectralNormalization would begin with a random u"
        kernel = stored.kernels[0]
        usual = MatrixView.of(kernel.dataset.shape)
        if kernel.view.shape != usual.shape or not kernel.view.in_order:
            return "keras' SpectralNormalization would take the norm of another matrix"
        names = policy_names(node.config.get("dtype"))
        if len(names) > 1:
            return "keras' SpectralNormalization changes the path that its dtype policies go by"
        if "mixed_" in str(names):
            return (
                "keras' SpectralNormalization would round the kernel to half precision every step"
            )
        return None

    def new_class(self, *_: object) -> str:
        """Returns the wrapper's class."""
        return CLASS

    def wrap(self, node: Node, _rule: KernelRule, settings: Settings, *_: object) -> None:
        """Turns the node's entry into that of the wrapper, as Keras would serialise it."""
        inner = {name: node.entry[name] for name in MOVED if name in node.entry}
        own = {name: node.config[name] for name in _SAME if name in node.config}
        config: dict[str, Any] = {
            **own,
            "layer": inner,
            "power_iterations": settings.power_iterations,
        }
        node.entry.update(
            module="keras.layers", class_name=CLASS, config=config, registered_name=None
        )

    def place(self, group: str) -> str:
        """Returns the group below the wrapper's."""
        return f"{group}/layer"

    def edits(
        self, group: str, stored: StoredLayer, triplets: Sequence[Triplet], settings: Settings
    ) -> Edits:
        """Returns the products that normalise both copies of the kernel, and `vector_u`.

        Args:
            group: The wrapper's group.
            stored: What the file holds for the layer.
            triplets: The leading singular triplet of its kernel.
            settings: How it is normalised.
        """
        kernel, triplet = stored.kernels[0], triplets[0]
        factor = scale(triplet.sigma, settings)
        return Edits(
            products=[
                Product(kernel.path, factor),
                Product(kernel.path, factor, f"{group}/vars/0"),
            ],
            additions=[(f"{group}/vars/1", _as(triplet.u, kernel.dataset.dtype))],
        )

    def is_mine(self, node: Node) -> bool:
        """Whether a node is Keras' own wrapper around a layer."""
        return node.builtin == CLASS and bool(node.children)

    def owner_of(self, node: Node) -> Node:
        """Returns the layer in a wrapper."""
        return node.children[0]

    def options_of(self, node: Node) -> Mapping[str, Any]:
        """Returns the settings of a wrapper."""
        rounds = node.config.get("power_iterations")
        return {"mode": "hard", "bound": 1.0, "power_iterations": rounds, "norm": "matrix"}

    def settings_of(self, node: Node) -> Settings:
        """Returns how a wrapper normalises; with one round where it has none that Keras takes."""
        rounds = node.config.get("power_iterations", 1)
        return Settings(power_iterations=rounds if _is_count(rounds) else 1)

    def states(self, model: Opened, node: Node) -> Iterator[KernelState]:
        """Yields the kernel in a wrapper with the vector, which has the kernel's type."""
        stored = model.inventory.get(self.owner_of(node))
        for kernel in stored.kernels if stored is not None else ():
            u, dtype = f"{model.paths[node]}/vars/1", kernel.dataset.dtype
            yield KernelState(kernel, u, self.settings_of(node), u_dtype=dtype)

    def states_in_use(self, model: Opened, node: Node) -> Mapping[str, State]:
        """Returns the wrapper's vector by the kernel's dataset.

        Nothing is returned where the wrapper reads the kernel as another matrix than the rule does.
        """
        state = next(self.states(model, node), None)
        dataset = None if state is None else model.contents.datasets.get(str(state.u))
        if state is None or dataset is None or "float" not in dataset.dtype:
            return {}
        usual = unusual(state.kernel.view) is None
        return {state.kernel.path: State((str(state.u), dataset))} if usual else {}

    def recorded_factors(
        self, _node: Node, _stored: StoredLayer | None, record: Mapping[str, float]
    ) -> Mapping[str, float | None]:
        """Returns the factor that `metadata.json` records for the kernel."""
        return {"kernel": record.get("kernel")}

    def plain_class(self, node: Node) -> str:
        """Returns the class of the layer in a wrapper."""
        return self.owner_of(node).class_name

    def unwrap(self, node: Node, _: Mapping[str, Any] | None = None) -> None:
        """Turns the entry of a wrapper into that of the layer inside, under the wrapper's name.

        The wrapper's name is what graphs and losses know.
        """
        inner = node.children[0]
        node.entry.pop("build_config", None)
        kept = {name: value for name, value in node.entry.items() if name not in MOVED}
        node.entry.clear()
        node.entry.update({name: inner.entry[name] for name in MOVED if name in inner.entry})
        node.entry.update(kept)
        node.config["name"] = node.name
        node.children.clear()
        self.drop_defaults(node)

    def removals(self, model: Opened, node: Node) -> list[str]:
        """Returns the wrapper's group."""
        return [model.paths[node]]

    def flaws(self, node: Node, *_: object) -> Iterator[str]:
        """Yields in which fields a wrapper is not the one that a conversion makes."""
        entry, inner = node.entry, self.owner_of(node)
        for name, allowed in _ENTRY.items():
            if entry.get(name) not in allowed:
                yield f"{name} of its wrapper is {printable(entry.get(name))}"
        config = node.config
        for name in sorted({*config, *_SAME} - {"layer", "power_iterations"}):
            outer, inside = (_without_id(each.get(name)) for each in (config, inner.config))
            if name not in _SAME or outer != inside:
                yield f"{printable(name)} of its wrapper is not that of the layer"
        if entry.get("build_config") != inner.entry.get("build_config"):
            yield "build_config of its wrapper is not that of the layer"
        for name in sorted(inner.entry.keys() - {*MOVED, "shared_object_id"}):
            yield f"{printable(name)} stands in the layer inside its wrapper"
        if not _is_count(config.get("power_iterations", 1)):
            yield "power_iterations of its wrapper is no whole number from 1 on"

    def stored_flaws(self, model: Opened, node: Node) -> Iterator[str]:
        """Yields which variables a wrapper stores, if not those that it should."""
        group = f"{model.paths[node]}/vars/"
        stored = sorted(
            path.removeprefix(group) for path in model.contents.datasets if path.startswith(group)
        )
        built = _kernel_of(model, node) in model.contents.datasets
        if stored != (["0", "1"] if built else []):
            belongs = "its kernel (0) and vector_u (1) belong" if built else "none belong"
            names = printable(", ".join(stored)) or "none"
            yield f"its wrapper stores the variables {names}, where {belongs}"

    def copies(self, model: Opened, node: Node) -> Iterator[Copy]:
        """Yields the kernel, which the layer inside stores and the wrapper as well."""
        datasets, kernel = model.contents.datasets, _kernel_of(model, node)
        if kernel in datasets:
            copy = f"{model.paths[node]}/vars/0"
            pair = Pair(kernel, datasets[kernel], copy, datasets[copy])
            yield Copy("the wrapper's copy of the kernel", pair)

    def drop_defaults(self, node: Node) -> None:
        """Takes the default of `training`, which Keras writes, out of a layer's calls."""
        for call in node.entry.get("inbound_nodes") or ():
            kwargs = call.get("kwargs") if isinstance(call, dict) else None
            if isinstance(kwargs, dict) and kwargs.get("training") is False:
                del kwargs["training"]


def _as(u: np.ndarray, dtype: str) -> np.ndarray:
    """Returns a vector in the type of the kernel, in which the wrapper keeps it."""
    import numpy as np  # noqa: PLC0415 - the other targets do without

    if dtype == "bfloat16":
        import ml_dtypes  # noqa: PLC0415 - comes with keras; few files need it

        return np.asarray(u).astype(ml_dtypes.bfloat16)
    return np.asarray(u).astype(dtype)


def _is_count(rounds: Any) -> bool:
    return type(rounds) is int and rounds > 0


def _without_id(policy: Any) -> Any:
    """Returns a dtype policy without the number that says which objects are one."""
    if not isinstance(policy, dict):
        return policy
    return {key: value for key, value in policy.items() if key != "shared_object_id"}


def _kernel_of(model: Opened, node: Node) -> str:
    """Returns the dataset of the kernel in a wrapper, the one that inference uses."""
    return f"{model.paths[node.children[0]]}/vars/0"
