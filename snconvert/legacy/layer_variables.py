"""Which variables a layer has, from its configuration, and where Keras 3 stores them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from snconvert.config.tree import CONTAINERS, Node
from snconvert.errors import SourceError, located, printable
from snconvert.kinds.kernel_rule import Config, input_shape_of
from snconvert.kinds.table import RULES
from snconvert.legacy.relocation import Computed

Shape = tuple[int | None, ...]


class Variable(NamedTuple):
    """One variable of a model.

    Attributes:
        path: Its dataset in the `model.weights.h5` of Keras 3.
        trainable: Whether it is, as far as its class goes.
        shape: Its shape, as far as the configuration says; `None` if it says nothing.
        cudnn: The other shape that it has where a layer for cuDNN stored it.
    """

    path: str
    trainable: bool = True
    shape: Shape | None = None
    cudnn: Shape | None = None

    def shape_of(self, stored: tuple[int, ...]) -> tuple[int, ...]:
        """Returns its shape in Keras 3, from that of the stored array."""
        if stored != self.cudnn:
            return stored
        return tuple(size for size in self.shape or () if size is not None)

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Whether a stored array has the shape of this variable."""
        return self.shape is None or shape == self.cudnn or _fits(shape, self.shape)


def _fits(shape: tuple[int, ...], expected: Shape) -> bool:
    return len(shape) == len(expected) and all(
        size is None or size == actual for actual, size in zip(shape, expected, strict=True)
    )


def shown_shape(shape: Shape | None) -> str:
    """Returns a shape in words, as far as it is known."""
    return ", ".join("any" if size is None else str(size) for size in shape or ())


_Own = list[tuple[bool, Shape | None]]
_TRAINED, _KEPT = (True, None), (False, None)


def _scale_and_center(config: Config) -> _Own:
    return [_TRAINED] * (bool(config.get("scale", True)) + bool(config.get("center", True)))


def _normalization(config: Config) -> _Own:
    return [_KEPT, _KEPT, (False, ())] if config.get("mean") is None else []


def _attention(config: Config) -> _Own:
    concatenates = config.get("score_mode") == "concat"
    return [(True, ())] * (bool(config.get("use_scale", False)) + concatenates)


_LAYERS: Mapping[str, Callable[[Config], _Own]] = {
    "AdditiveAttention": lambda config: [_TRAINED] * bool(config.get("use_scale", True)),
    "Attention": _attention,
    "BatchNormalization": lambda config: [*_scale_and_center(config), _KEPT, _KEPT],
    "Discretization": lambda config: [_KEPT] * (config.get("bin_boundaries") is None),
    "GroupNormalization": _scale_and_center,
    "LayerNormalization": _scale_and_center,
    "Normalization": _normalization,
    "PReLU": lambda _: [_TRAINED],
    "RMSNormalization": lambda _: [_TRAINED],
}
"""Keras' layers without a rule of this package that have variables of their own, trainable ones
first, for each whether it is trained, and its shape."""

_UNKNOWN = frozenset(
    {
        "FlaxLayer",
        "JaxLayer",
        "Lambda",
        "Layer",
        "STFTSpectrogram",
        "TFSMLayer",
        "TorchModuleWrapper",
    }
)
"""Keras' layers of which the configuration does not say what they store."""

_WRAPPER, _WRAPPER_COPY = "SpectralNormalization", ("layer/vars/0", "vars/0")
"""Keras' own layer of that name, and below its group the kernel and a second copy of it."""

REPAIR = "It is damaged or was put together by hand; save the model again with the Keras it is of"
"""What to do about weights that are not those of their configuration."""


def wrapper_copies(
    nodes: Iterable[Node], paths: Mapping[Node, str], places: Mapping[str, str]
) -> Iterator[Computed]:
    """Yields the second copies of kernels that Keras' `SpectralNormalization` stores.

    Args:
        nodes: Layers of the model.
        paths: The group of each in the weights of Keras 3.
        places: Path in the weights of Keras 3 -> path in the file.
    """
    for node in nodes:
        kernel, copy = (f"{paths[node]}/{path}" for path in _WRAPPER_COPY)
        if node.builtin != _WRAPPER or node.first is not None:
            continue
        if kernel in places and copy not in places:
            yield Computed(copy, "copy", (places[kernel],))


def own_variables(node: Node, group: str) -> dict[str, list[Variable]] | None:
    """Returns the variables of a layer by the part of it that holds them, `None` if unknown.

    Args:
        node: The layer or model; what `node.children` hold is not its own.
        group: Its group in the weights of Keras 3.

    Raises:
        SourceError: Its configuration is invalid.
    """
    with located(path=node.path or None, class_name=node.class_name):
        rule = RULES.get(node.builtin or "")
        if rule is not None:
            shapes = rule.variables(node.config, input_shape_of(node.entry.get("build_config")))
            return {
                part: _numbered(f"{group}/{part}" if part else group, node, own)
                for part, own in shapes.items()
            }
        if node.builtin is None or (node.builtin in _UNKNOWN and node.builtin not in CONTAINERS):
            return None
        if node.builtin == _WRAPPER:
            kernel, u = (f"{group}/{path}" for path in (_WRAPPER_COPY[0], "vars/1"))
            return {"": [Variable(kernel), Variable(u, trainable=False)]}
        variables_of = _LAYERS.get(node.builtin)
        own = variables_of(node.config) if variables_of else []
        return {
            "": [
                Variable(f"{group}/vars/{index}", trained, shape)
                for index, (trained, shape) in enumerate(own)
            ]
        }


def _numbered(group: str, node: Node, shapes: tuple[Shape, ...]) -> list[Variable]:
    variables = [
        Variable(f"{group}/vars/{index}", shape=shape) for index, shape in enumerate(shapes)
    ]
    bias = shapes[-1] if shapes else ()
    if node.builtin == "LSTM" and len(bias) == 1 and bias[0]:
        variables[-1] = variables[-1]._replace(cudnn=(2 * bias[0],))
    elif node.builtin == "GRU" and len(bias) == 2 and bias[1] and len(shapes) == 3:  # noqa: PLR2004
        variables[-1] = variables[-1]._replace(cudnn=(2 * bias[1],))
    return variables


def variables_by_name(node: Node, paths: Mapping[Node, str], names: list[str]) -> list[Variable]:
    """Returns the variables of a layer of unknown class, which hold all that the file has of it.

    Args:
        node: The layer, or a wrapper around it.
        paths: The group of each node in the weights of Keras 3.
        names: What the file calls its weights, below the group of the layer.

    Raises:
        SourceError: The weights may belong to other layers inside it.
    """
    leaf, depth = node, 0
    while leaf.children:
        if len(leaf.children) > 1:
            raise _unknown(node, "it holds layers of a class that is not Keras' own")
        leaf, depth = leaf.children[0], depth + 1
    for name in names:
        scopes = name.split("/")[:-1]
        start = scopes.index(leaf.name) if leaf.name in scopes else depth
        if scopes[start + 1 :]:
            raise _unknown(leaf, f"it holds layers of its own ({printable(name)})")
    return [Variable(f"{paths[leaf]}/vars/{index}") for index in range(len(names))]


def _unknown(node: Node, what: str) -> SourceError:
    return SourceError(
        f"{what}, and only its Python code tells where Keras 3 looks for their weights",
        "Load the file with the Keras that saved it, and carry the weights over in code",
        path=node.path,
        class_name=node.title,
    )
