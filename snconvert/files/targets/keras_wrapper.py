"""Target `keras`: the layer goes into Keras' own wrapper, for files that load without snconvert.

`keras.layers.SpectralNormalization` divides the stored kernel by its sigma in every training call.
Here the kernel is divided once, at conversion, and `vector_u` is converged. The wrapper stores the
kernel a second time, before `vector_u`, and both copies are equal; the layer itself moves below
`layer`. The wrapper has the layer's name, so that `get_layer` and losses find it.

Its mathematics is that of mode `hard` with the bound 1, and its matrix the kernel reshaped to
`(everything else, last axis)`: a layer of another view stays as it is, with the reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from snconvert.config import keras_modules
from snconvert.config.dtype_policies import policy_names
from snconvert.config.tree import Node
from snconvert.core.matrix_view import MatrixView
from snconvert.core.settings import Settings
from snconvert.core.triplet import Triplet
from snconvert.files.edits import Edits
from snconvert.files.inventory import Stored
from snconvert.kinds.kernel_rule import KernelRule
from snconvert.weights.contents import Product

if TYPE_CHECKING:
    import numpy as np

CLASS = "SpectralNormalization"
MOVED = ("module", "class_name", "config", "registered_name", "build_config")
"""The entries of a layer that go into the wrapper with it."""
ENTRY = {
    "module": keras_modules.WRAPPER,
    "registered_name": (None, CLASS),
}
"""What may stand in the entry of a wrapper, as Keras versions write it."""


def obstacle(node: Node, rule: KernelRule, stored: Stored | None) -> str | None:
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
        return "keras' SpectralNormalization would round the kernel to half precision every step"
    return None


def new_class(*_: object) -> str:
    """Returns the wrapper's class."""
    return CLASS


def place(group: str) -> str:
    """Returns the group below the wrapper's."""
    return f"{group}/layer"


def wrap(node: Node, _rule: KernelRule, settings: Settings, *_: object) -> None:
    """Turns the node's entry into that of the wrapper, as Keras would serialise it."""
    inner = {name: node.entry[name] for name in MOVED if name in node.entry}
    names = ("name", "trainable", "dtype")
    own = {name: node.config[name] for name in names if name in node.config}
    config: dict[str, Any] = {**own, "layer": inner, "power_iterations": settings.power_iterations}
    node.entry.update(module="keras.layers", class_name=CLASS, config=config, registered_name=None)


def edits(group: str, stored: Stored, triplets: Sequence[Triplet], _: Settings) -> Edits:
    """Returns the products that normalise both copies of the kernel, and `vector_u`.

    Args:
        group: The wrapper's group.
        stored: What the file holds for the layer.
        triplets: The leading singular triplet of its kernel.
        settings: How it is normalised.
    """
    kernel, triplet = stored.kernels[0], triplets[0]
    factor = 1.0 if triplet.zero else 1.0 / triplet.sigma
    return Edits(
        products=[
            Product(kernel.path, factor),
            Product(kernel.path, factor, f"{group}/vars/0"),
        ],
        additions=[(f"{group}/vars/1", _as(triplet.u, kernel.dataset.dtype))],
    )


def _as(u: np.ndarray, dtype: str) -> np.ndarray:
    """The wrapper keeps its vector in the kernel's type."""
    import numpy as np  # noqa: PLC0415 - the other targets do without

    if dtype == "bfloat16":
        import ml_dtypes  # noqa: PLC0415 - comes with keras; few files need it

        return np.asarray(u).astype(ml_dtypes.bfloat16)
    return np.asarray(u).astype(dtype)


def unwrap(node: Node) -> None:
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
    drop_default(node)


def drop_default(node: Node) -> None:
    """Takes the default of the wrapper's argument, which Keras writes, out of a layer's calls."""
    for call in node.entry.get("inbound_nodes") or ():
        kwargs = call.get("kwargs") if isinstance(call, dict) else None
        if isinstance(kwargs, dict) and kwargs.get("training") is False:
            del kwargs["training"]
