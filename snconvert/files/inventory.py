"""Which stored variables belong to which layer, and whether they fit its configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from snconvert.config.dtype_policies import FLOATS, unsupported, variable_dtype
from snconvert.config.tree import Node
from snconvert.core.convolution_map import Convolution
from snconvert.core.matrix_view import MatrixView
from snconvert.errors import WeightsError, located, printable
from snconvert.kinds.kernel_rule import Config, Kernel, KernelRule, Shape, input_shape_of
from snconvert.kinds.table import SPECTRAL

if TYPE_CHECKING:
    from snconvert.weights.contents import Contents, Dataset

_AGAIN = "The file is damaged or was put together by hand; save the model again with Keras"
_STRANGER = (
    "If the model had a layer as an attribute beside its graph, open the file through Keras, with"
    " --import keras, which drops that layer, or work on the model in memory; else the file is"
    " damaged or was put together by hand: save the model again with Keras"
)
ACTIVATIONS = ("activation", "recurrent_activation")
"""Attributes that may be layers, of the user's choice, in a layer with a rule or a part of it."""


class StoredKernel(NamedTuple):
    """One kernel of a layer, in the file.

    Attributes:
        kernel: The kernel's row in the rule.
        path: The kernel's dataset.
        dataset: What the file says of the dataset.
        view: How the kernel is read as a stack of matrices.
        config: The layer's configuration.
        built_for: The shape that the layer was built for.
    """

    kernel: Kernel
    path: str
    dataset: Dataset
    view: MatrixView
    config: Config
    built_for: Any

    def map_of(self, norm: str) -> Convolution | None:
        """Returns the map whose norm is sigma, or `None` where that is the matrix view's."""
        return self.kernel.map_of(norm, self.dataset.shape, self.config, self.built_for)

    @property
    def convolution(self) -> Convolution | None:
        """The convolution that the kernel makes, if it makes one."""
        return self.kernel.convolution_of(self.dataset.shape, self.config, self.built_for)


class StoredLayer(NamedTuple):
    """What the file holds for one layer that a rule covers.

    Attributes:
        kernels: The layer's kernels; empty for a layer that is not built yet.
        counts: How many variables each group of the layer stores, by the rule's group names.
    """

    kernels: tuple[StoredKernel, ...]
    counts: Mapping[str, int]


def take_inventory(
    root: Node,
    paths: Mapping[Node, str],
    contents: Contents,
    rules: Mapping[str, KernelRule],
) -> dict[Node, StoredLayer]:
    """Returns what is stored for each node that a rule covers, checked against its configuration.

    Args:
        root: The model.
        paths: The group of each node.
        contents: What the weights file holds.
        rules: The rows, by class name.

    Raises:
        WeightsError: Variables are missing, left over, or of another shape or dtype than expected.
    """
    variables = _variables_by_group(contents)
    inventory: dict[Node, StoredLayer] = {}
    for node in paths:
        rule = _rule_of(node, rules)
        if rule is None or node.first is not None or unsupported(node.config):
            continue
        with located(path=node.path, class_name=node.class_name):
            inventory[node] = _take(node, rule, paths[node], variables, contents)
    _refuse_strangers(root, paths, contents, inventory)
    return inventory


def _rule_of(node: Node, rules: Mapping[str, KernelRule]) -> KernelRule | None:
    if node.spectral:
        return SPECTRAL.get(node.spectral)
    return rules.get(node.builtin or str(node.entry.get("registered_name")))


def _variables_by_group(contents: Contents) -> dict[str, dict[str, Dataset]]:
    """Maps the owner of each `vars` group to the datasets in it."""
    groups: dict[str, dict[str, Dataset]] = {}
    for path, dataset in contents.datasets.items():
        group, _, name = path.rpartition("/")
        owner, _, last = group.rpartition("/")
        if last == "vars":
            groups.setdefault(owner, {})[name] = dataset
    return groups


def _take(
    node: Node,
    rule: KernelRule,
    group: str,
    variables: Mapping[str, Mapping[str, Dataset]],
    contents: Contents,
) -> StoredLayer:
    input_shape = input_shape_of(node.entry.get("build_config"))
    expected = rule.variables(node.config, input_shape)
    rows = rule.kernels_of(node.config)
    kernels: list[StoredKernel] = []
    counts: dict[str, int] = {}
    for part, shapes in expected.items():
        owner = f"{group}/{part}" if part else group
        datasets = variables.get(owner, {})
        counts[part] = len(datasets)
        if not datasets and input_shape is None and f"{group}/vars" in contents.groups:
            continue  # the layer is not built yet: Keras saved it without weights
        own = [kernel for kernel in rows if kernel.group == part]
        full = _with_normalisation(node, shapes, own)
        if datasets or full:
            _check(owner, datasets, full, dtype=variable_dtype(node.config.get("dtype")))
        for kernel in own:
            dataset = datasets[str(kernel.index)]
            view = kernel.view(dataset.shape, node.config)
            path = f"{owner}/vars/{kernel.index}"
            kernels.append(StoredKernel(kernel, path, dataset, view, node.config, input_shape))
    return StoredLayer(tuple(kernels), counts)


def _with_normalisation(
    node: Node, shapes: tuple[tuple[int | None, ...], ...], kernels: list[Kernel]
) -> list[tuple[int | None, ...] | None]:
    """Adds what a spectral layer stores behind its kernel and bias: each gamma, then each `u`."""
    full: list[tuple[int | None, ...] | None] = list(shapes)
    if node.spectral:
        if node.config.get("mode") == "gain":
            full += [()] * len(kernels)
        full += [None] * len(kernels)
    return full


def _check(
    owner: str,
    stored: Mapping[str, Dataset],
    expected: list[tuple[int | None, ...] | None],
    *,
    dtype: str | None,
) -> None:
    names = [str(index) for index in range(len(expected))]
    extra = sorted(stored.keys() - set(names))
    if not stored:
        raise WeightsError(
            f"the weights are missing: {owner}/vars holds no variable, {len(expected)} expected",
            _AGAIN,
        )
    if extra or len(stored) < len(expected):
        stray = f" (unexpected: {', '.join(map(printable, extra))})" if extra else ""
        raise WeightsError(
            f"{owner}/vars holds {len(stored)} variables{stray}, but the configuration (use_bias"
            f" and the like) makes {len(expected)} expected",
            _AGAIN,
        )
    for name, shape in zip(names, expected, strict=True):
        dataset = stored[name]
        if shape is not None and not _fits(dataset.shape, shape):
            belongs = "(" + ", ".join("any" if size is None else str(size) for size in shape) + ")"
            raise WeightsError(
                f"the stored shape of variable {name} is {dataset.shape}, but the configuration"
                f" (units, filters, input shape) makes it {belongs}",
                _AGAIN,
            )
        if dataset.dtype not in FLOATS or (dtype and shape and dataset.dtype != dtype):
            raise WeightsError(
                f"variable {name} is stored with dtype {dataset.dtype}, but"
                f" {dtype or 'a floating-point type'} is expected",
                _AGAIN,
            )


def _fits(shape: Shape, expected: tuple[int | None, ...]) -> bool:
    return len(shape) == len(expected) and all(
        size is None or actual == size for actual, size in zip(shape, expected, strict=True)
    )


def _refuse_strangers(
    root: Node,
    paths: Mapping[Node, str],
    contents: Contents,
    inventory: Mapping[Node, StoredLayer],
) -> None:
    """Refuses weights that belong to no layer, rather than drop or carry unknown data."""
    closed = {
        path for node, path in paths.items() if node.children or node in inventory or node.first
    }
    closed |= {
        f"{paths[node]}/{part}"
        for node, stored in inventory.items()
        for part in stored.counts
        if part
    }
    known = {group for path in closed for group in (path, f"{path}/vars".lstrip("/"))}
    known |= {
        f"{path}/{child.slot.attribute}".lstrip("/")
        for node, path in paths.items()
        for child in node.children[:1]
        if child.slot and child.slot.many
    }
    if root.config.get("layers") == []:
        known.add("layers")
    # Of other classes only Keras knows what they store; the optimizer is the model's. An activation
    # may be a layer.
    open_ = {path for node, path in paths.items() if path not in closed} | {"optimizer"}
    open_ |= {
        f"{paths[node]}/{part}/{activation}".replace("//", "/")
        for node, stored in inventory.items()
        for part in stored.counts
        for activation in ACTIVATIONS
    }
    for group in sorted(contents.groups, key=lambda path: path.count("/")):
        if not group or group in known or group in open_:
            continue
        if group.rpartition("/")[0] not in open_:
            raise WeightsError(
                f"the weights have an unexpected group {printable(group)!r} that belongs to no"
                " layer of config.json",
                _STRANGER,
            )
        open_.add(group)
    for path in contents.datasets:
        group = path.rpartition("/")[0]
        if group not in open_ and not (group in known and group.rpartition("/")[2] == "vars"):
            raise WeightsError(
                f"the weights have an unexpected dataset {printable(path)!r}", _AGAIN
            )
