"""What the optimizer's state in a file needs when layers gain or lose a trainable `gamma`.

That follows from how many of the variables that a Keras layer stores are trainable; these come
first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, Literal, NamedTuple

from snconvert.config.dtype_policies import unsupported
from snconvert.config.tree import Node
from snconvert.errors import UnsupportedError
from snconvert.files.inventory import ACTIVATIONS, StoredLayer
from snconvert.files.model import Opened
from snconvert.files.optimizer_layout import is_guessed
from snconvert.files.optimizer_slots import (
    Gamma,
    RemovedGamma,
    SeveralOrdersError,
    SlotEdits,
    StoredVariables,
    Variable,
    edit_slots,
)
from snconvert.files.optimizer_slots import untrained_slots as untrained_slots_of
from snconvert.kinds.recurrent import CELL
from snconvert.planning.selection import is_leaf

_ALL = frozenset(
    {
        "AdditiveAttention",
        "Attention",
        "Conv1D",
        "Conv1DTranspose",
        "Conv2D",
        "Conv2DTranspose",
        "Conv3D",
        "Conv3DTranspose",
        "Dense",
        "DepthwiseConv1D",
        "DepthwiseConv2D",
        "EinsumDense",
        "Embedding",
        "GroupNormalization",
        "LayerNormalization",
        "PReLU",
        "RMSNormalization",
        "SeparableConv1D",
        "SeparableConv2D",
    }
)
"""Layers whose variables are all trainable."""


def trainable_count(class_name: str, config: Mapping[str, Any], stored: int) -> int | None:
    """Returns how many of the `stored` variables of a layer are trainable, or `None` if unknown.

    Args:
        class_name: One of Keras' own layers.
        config: Its configuration.
        stored: How many variables its own group holds.

    Example:
        >>> trainable_count("BatchNormalization", {"center": True, "scale": False}, 3)
        1
    """
    if stored == 0 or class_name in _ALL:
        return stored
    if class_name == "BatchNormalization":
        return int(bool(config.get("scale", True))) + int(bool(config.get("center", True)))
    if class_name == "Normalization":
        return 0
    return None


_Shapes = dict[Node, list[tuple[int, ...]]]

_Reading = Literal["frozen throughout", "frozen itself", "nothing is frozen"]
_READINGS: tuple[_Reading, ...] = ("frozen throughout", "frozen itself", "nothing is frozen")
"""What a layer's flag in the configuration may say of the layers that it makes itself.

Set on a layer or a model, the flag holds for all of them; given to the constructor, as in loading,
for the layer's own variables only; and it may have been set since the optimizer was built. Which of
these it was, only the slots tell.
"""


class Gammas(NamedTuple):
    """The trainable scalars of one layer that come or go.

    Attributes:
        new: What each kernel's new one starts at.
        gone: Whether each kernel's present one goes.
    """

    new: tuple[float, ...] = ()
    gone: bool = False


def optimizer_edits(model: Opened, gammas: Mapping[Node, Gammas]) -> SlotEdits:
    """Returns the edits of the optimizer's state.

    Args:
        model: The model.
        gammas: What comes and goes, by layer.

    Raises:
        UnsupportedError: The state cannot be understood.
    """
    slots = _slots(model)
    if not gammas or not slots:
        return SlotEdits()
    optimizer = _optimizer(model)
    if optimizer is None:
        raise UnsupportedError(
            "the file holds optimizer state, but its configuration names no optimizer, and the"
            " scalars of mode gain change that state",
            "Use --mode hard or cap, or save the model again",
        )
    shapes = stored_shapes(model)

    def edits(reading: _Reading) -> SlotEdits:
        return edit_slots(optimizer, slots, _trainable_variables(model, gammas, shapes, reading))

    if not model.root.trainable:
        # It has been frozen since the optimizer was built: Keras freezes all below it, and the
        # flags before that are lost. Nor does Keras load such a state.
        with suppress(UnsupportedError):
            return edits("nothing is frozen")
        return SlotEdits()
    # A guess at the slots must be borne out by one reading: with three, one may fit by chance.
    readings = _READINGS[:1] if is_guessed(optimizer, slots) else _READINGS
    failures = []
    for reading in readings:
        try:
            return edits(reading)
        except SeveralOrdersError:
            raise  # this may be the right reading; that another fits in one way proves nothing
        except UnsupportedError as error:
            failures.append(error)
    raise failures[0]


def untrained_slots(model: Opened) -> dict[str, float]:
    """Returns what each slot of the optimizer holds throughout before the first step, by its path.

    As `snconvert.files.optimizer_slots.untrained_slots`; nothing if the state is not understood.
    """
    slots, optimizer, shapes = _slots(model), _optimizer(model), stored_shapes(model)
    if optimizer is not None:
        for reading in _READINGS:
            with suppress(UnsupportedError):
                variables = _trainable_variables(model, {}, shapes, reading)
                return untrained_slots_of(optimizer, slots, variables)
    return {}


def _slots(model: Opened) -> dict[str, tuple[tuple[int, ...], str]]:
    return {
        path: (dataset.shape, dataset.dtype)
        for path, dataset in model.contents.datasets.items()
        if path.startswith("optimizer/")
    }


def _optimizer(model: Opened) -> dict[str, Any] | None:
    """Returns the serialised optimizer of a model, if it was compiled with one."""
    compiled = model.root.entry.get("compile_config")
    optimizer = compiled.get("optimizer") if isinstance(compiled, dict) else None
    if isinstance(optimizer, str):
        # Keras up to 3.5 writes what `compile` was given.
        return {"module": "keras.optimizers", "class_name": optimizer, "config": {}}
    return optimizer if isinstance(optimizer, dict) else None


def stored_shapes(model: Opened) -> tuple[_Shapes, _Shapes]:
    """Returns the shapes that each leaf stores itself, and those that layers inside it store."""
    leaves = {path: node for node, path in model.paths.items() if is_leaf(node)}
    own: _Shapes = {}
    inner: _Shapes = {}
    for path, dataset in model.contents.datasets.items():
        owner = path.rpartition("/vars/")[0]
        group = owner
        while group:
            if group in leaves:
                shapes = own if group == owner else inner
                shapes.setdefault(leaves[group], []).append(dataset.shape)
                break
            group = group.rpartition("/")[0]
    return own, inner


def _trainable_variables(
    model: Opened,
    gammas: Mapping[Node, Gammas],
    shapes: tuple[_Shapes, _Shapes],
    reading: _Reading,
) -> list[Variable]:
    """Returns stored variables, new and old gammas in the order of Keras' trainable variables."""
    own, inner = shapes
    variables: list[Variable] = []
    for node in model.root.walk():
        frozen = not (node.trainable or reading == "nothing is frozen")
        if not is_leaf(node) or node.first is not None:
            continue
        if frozen and reading == "frozen throughout":
            continue
        stored = model.inventory.get(node)
        if stored is not None:
            new = gammas.get(node, Gammas())
            variables += _of_parts(model, node, stored, new, frozen=frozen)
            continue
        if frozen:
            variables.append(StoredVariables(tuple(inner.get(node, [])), exact=False))
            continue
        here = own.get(node, [])
        if unsupported(node.config):
            adapters = _adapters(node, here)
            variables.append(StoredVariables((*here, *adapters, *inner.get(node, [])), exact=False))
            continue
        count = trainable_count(node.builtin, node.config, len(here)) if node.builtin else None
        if node in inner or count is None:
            unsure = (*here, *inner.get(node, []))
            variables.append(StoredVariables(unsure, exact=False))
        else:
            variables.append(StoredVariables(tuple(here[:count]), exact=True))
    return variables


def _adapters(node: Node, stored: list[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """Returns the shapes of LoRA's factors: a file stores their product with the kernel only."""
    rank = node.config.get("lora_rank")
    if not isinstance(rank, int) or not stored or not stored[0]:
        return []
    kernel = stored[0]
    return [(*kernel[:-1], rank), (rank, kernel[-1])]


def _of_parts(
    model: Opened, node: Node, stored: StoredLayer, gammas: Gammas, *, frozen: bool
) -> Iterator[Variable]:
    """Yields what each part of a layer with a rule trains: all but its `u`s, then new gammas.

    What its activations train comes behind all parts. Of a layer that is frozen itself these are
    trained, and its parts, save the cells that are given its flag; Keras' ConvLSTMs give it none.
    """
    for part, count in stored.counts.items():
        if frozen and (not part or (part == CELL and "Conv" not in node.class_name)):
            continue
        group = f"{model.paths[node]}/{part}".rstrip("/")
        own = [i for i, kernel in enumerate(stored.kernels) if kernel.kernel.group == part]
        trained = count
        if node.spectral:
            trained -= len(own) * (2 if gammas.gone else 1)
        datasets = [model.contents.datasets[f"{group}/vars/{index}"] for index in range(trained)]
        yield StoredVariables(tuple(dataset.shape for dataset in datasets), exact=True)
        if gammas.gone:
            yield from (RemovedGamma() for _ in own)
        if gammas.new:
            yield from (Gamma(gammas.new[index]) for index in own)
    for part in stored.counts:
        group = f"{model.paths[node]}/{part}".rstrip("/")
        for activation in ACTIVATIONS:
            if f"{group}/{activation}" in model.contents.groups:
                inside = f"{group}/{activation}/"
                shapes_inside = [
                    dataset.shape
                    for path, dataset in model.contents.datasets.items()
                    if path.startswith(inside)
                ]
                yield StoredVariables(tuple(shapes_inside), exact=False)
