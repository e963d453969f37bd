"""Calls of layers, read by the row of their class; wrappers, by what is in them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from snconvert.config.connections import leaves
from snconvert.config.dtype_policies import unsupported
from snconvert.config.tree import MODELS, Node
from snconvert.errors import SourceError, located
from snconvert.kinds.kernel_rule import input_shape_of
from snconvert.kinds.recurrent import CELL
from snconvert.kinds.table import SPECTRAL
from snconvert.lipschitz.network import Unbounded
from snconvert.lipschitz.reading.builder import MASK, Builder, Value
from snconvert.lipschitz.rows import merging, recurrent
from snconvert.lipschitz.rows.row import (
    NOT_STORED,
    REPAIR,
    Answer,
    Call,
    OwnKernel,
    sample_rank,
)
from snconvert.lipschitz.rows.table import TABLE
from snconvert.weights.contents import Dataset

Outputs = tuple[Value, ...]
Reads = Generator["Reads", Any, Outputs]
"""Adds operations and returns their outputs; yields others whose outputs it needs."""

NO_SHAPE = Unbounded("the shape of its input is not known")
_OWN_CODE = Unbounded("only its own code tells what it computes")
_ARGUMENTS = Unbounded("it is called with arguments that are not understood")
_MASK = Unbounded(MASK)
_TRAINING = Unbounded("it is called as in training, so that it changes its kernel")
_MULTIPLIES = Unbounded("it multiplies the outputs of its two layers")


class Weights(NamedTuple):
    """What the weights file holds for the layers of a model.

    Attributes:
        kernels: The kernels of each layer that has some, by their names.
        paths: The group of each node.
        datasets: The arrays, by path.
    """

    kernels: Mapping[Node, Mapping[str, OwnKernel]]
    paths: Mapping[Node, str]
    datasets: Mapping[str, Dataset]


class Arguments(NamedTuple):
    """What a layer is called with.

    Attributes:
        args: The positional arguments, with values for tensors.
        kwargs: The named ones, likewise.
        training: Whether it is called as in training; `None`: as in inference.
    """

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any] = {}
    training: Any = None

    @property
    def first(self) -> Any:
        """The argument that holds the inputs."""
        return self.args[0] if self.args else next(iter(self.kwargs.values()), None)

    @property
    def values(self) -> list[Value]:
        """All tensors, in order."""
        found = [leaf for one in (*self.args, *self.kwargs.values()) for _, leaf in leaves(one)]
        return [leaf for leaf in found if isinstance(leaf, Value)]

    @property
    def inputs(self) -> list[Value] | None:
        """The tensors of the first argument; `None` if there is anything else in the others."""
        found = [leaf for _, leaf in leaves(self.first)]
        names = list(self.kwargs)[0 if self.args else 1 :]
        others = [*self.args[1:], *(self.kwargs[name] for name in names if name != "training")]
        if any(one is not None for one in others) or self.training not in (None, True, False):
            return None
        if not found or not all(isinstance(leaf, Value) for leaf in found):
            return None
        return found

    def of(self, *inputs: Value) -> Arguments:
        """Returns the arguments with other inputs."""
        return Arguments(inputs, {}, self.training)


class LayerReader(ABC):
    """Adds the calls of layers to a network.

    Args:
        builder: The network.
        weights: What the file holds.
    """

    def __init__(self, builder: Builder, weights: Weights) -> None:
        self.builder = builder
        self._weights = weights
        self._wrappers = {
            "TimeDistributed": self._time_distributed,
            "SpectralNormalization": self._spectral_normalization,
            "Bidirectional": self._bidirectional,
            "RNN": self._rnn,
        }
        self._stored: dict[str, list[tuple[int, str]]] = {}
        for path in weights.datasets:
            group, _, name = path.rpartition("/")
            if group.endswith("/vars") and name.isdecimal():
                self._stored.setdefault(group.removesuffix("/vars"), []).append((int(name), path))

    @abstractmethod
    def model(self, node: Node, arguments: Arguments) -> Reads:
        """Adds a Functional or Sequential model."""

    def layer(self, node: Node, arguments: Arguments) -> Reads:
        """Adds a call of a layer, wrapper or model."""
        self.builder.count()
        kind = _class_of(node)
        if kind in MODELS:
            outputs: Outputs = yield self.model(node, arguments)
            return outputs
        inputs = arguments.inputs
        if inputs is not None and len(inputs) == 1 and not inputs[0].known:
            inputs = [_as_built(inputs[0], node)]
        wrapper = self._wrappers.get(kind or "")
        if wrapper is not None:
            if inputs is None or len(inputs) != 1 or not node.children:
                return self.unbounded(node, _ARGUMENTS, arguments)
            outputs = yield wrapper(node, arguments.of(*inputs), inputs[0])
            return outputs
        return self._by_row(node, kind, arguments, inputs)

    def _by_row(
        self, node: Node, kind: str | None, arguments: Arguments, inputs: list[Value] | None
    ) -> Outputs:
        row = TABLE.get(kind or "")
        answer: Answer
        if row is None:
            answer = _OWN_CODE
        elif inputs is None or (len(inputs) > 1 and row.bounded and not row.joins):
            answer = _ARGUMENTS if row.bounded else row.read(self._call(node, arguments, ()))
        elif row.bounded and not all(value.known for value in inputs):
            answer = NO_SHAPE
        else:
            with located(path=node.path, class_name=node.class_name):
                if row.bounded:
                    _check_rank(kind or "", inputs[0])
                answer = row.read(self._call(node, arguments, tuple(inputs)))
            if row.masks and isinstance(answer, Value) and answer.mask:
                self.builder.uses_mask(answer)
        if answer is NOT_STORED:
            answer = Unbounded(unsupported(node.config) or NOT_STORED.reason)
        return self.outputs(node.path, node.class_name, answer, tuple(arguments.values))

    def _call(self, node: Node, arguments: Arguments, inputs: Outputs) -> Call:
        own = node.first or node
        group = self._weights.paths[own]
        return Call(
            self.builder,
            node.path,
            node.class_name,
            node.config,
            inputs,
            kernels=self._weights.kernels.get(own, {}),
            datasets={
                part: self._arrays(f"{group}/{part}" if part else group) for part in ("", CELL)
            },
            training=bool(arguments.training),
        )

    def _arrays(self, group: str) -> tuple[tuple[str, Dataset], ...]:
        stored = sorted(self._stored.get(group, ()))
        return tuple((path, self._weights.datasets[path]) for _, path in stored)

    def outputs(self, path: str, class_name: str, answer: Answer, inputs: Outputs) -> Outputs:
        """Returns the outputs of a call; adds an operation where there is no constant."""
        if isinstance(answer, Unbounded):
            answer = self.builder.add(path, class_name, answer, (), inputs)._replace(known=False)
        return (answer,) if isinstance(answer, Value) else answer

    def unbounded(self, node: Node, why: Unbounded, arguments: Arguments) -> Outputs:
        """Adds a call of a layer without a constant."""
        return self.outputs(node.path, node.class_name, why, tuple(arguments.values))

    def _time_distributed(self, node: Node, arguments: Arguments, value: Value) -> Reads:
        """Adds a layer once for all steps: it has the norm that it has for one."""
        if value.mask:
            return self.unbounded(node, _MASK, arguments)
        if not value.known or not value.sizes:
            return self.unbounded(node, NO_SHAPE, arguments)
        first, *rest = value.sizes
        with self.builder.hiding((first,)):
            inner = value._replace(sizes=tuple(rest))
            outputs: Outputs = yield self.layer(node.children[0], arguments.of(inner))
        if len(outputs) != 1:
            return self.unbounded(node, _ARGUMENTS, arguments)
        return tuple(one._replace(sizes=(first, *one.sizes)) for one in outputs)

    def _spectral_normalization(self, node: Node, arguments: Arguments, _: Value) -> Reads:
        """Adds the layer in Keras' wrapper, whose stored kernel is normalised already."""
        if arguments.training:
            return self.unbounded(node, _TRAINING, arguments)
        outputs: Outputs = yield self.layer(node.children[0], arguments)
        return outputs

    def _bidirectional(self, node: Node, arguments: Arguments, _: Value) -> Reads:
        """Adds both layers; that one of them reads backwards changes no norm."""
        ways: list[Value] = []
        for child in node.children:
            outputs: Outputs = yield self.layer(child, arguments)
            if len(outputs) != 1 or not outputs[0].known:
                return outputs
            ways += outputs
        if len(ways) != 2:  # noqa: PLR2004 -- there and back
            return self.unbounded(node, _ARGUMENTS, arguments)
        call = self._call(node, arguments, tuple(ways))
        mode = node.config.get("merge_mode", "concat")
        if mode is None:
            return tuple(ways)
        answer: Answer = _MULTIPLIES
        if mode == "concat":
            answer = merging.joined(call, -1)
        elif mode in ("sum", "ave"):
            answer = merging.summed(call, 1.0 if mode == "sum" else 0.5)
        return self.outputs(node.path, node.class_name, answer, tuple(ways))

    def _rnn(self, node: Node, arguments: Arguments, value: Value) -> Reads:
        """Adds the cells, one behind the other, as layers over all steps."""
        if value.mask:
            return self.unbounded(node, _MASK, arguments)
        if not value.known:
            return self.unbounded(node, NO_SHAPE, arguments)
        (cell,) = node.children
        cells = cell.children if cell.builtin == "StackedRNNCells" else [cell]
        yield from ()
        for place, one in enumerate(cells):
            name = (_class_of(one) or "").removesuffix("Cell")
            if name not in recurrent.CELLS:
                return self.unbounded(one, _OWN_CODE, arguments)
            own = {key: node.config.get(key) for key in ("stateful", "return_state")}
            last = place == len(cells) - 1
            own["return_sequences"] = node.config.get("return_sequences") if last else True
            call = self._call(one, arguments, (value,))
            call = replace(call, config={**one.config, **own})
            with located(path=one.path, class_name=one.class_name):
                answer = recurrent.unrolled(call, recurrent.CELLS[name], "")
            (value,) = self.outputs(one.path, one.class_name, answer, (value,))
            if not value.known:
                break
        return (value,)


def _class_of(node: Node) -> str | None:
    """Returns the Keras class of a layer, of a spectral one that of the plain layer."""
    rule = SPECTRAL.get(node.spectral or "")
    return node.builtin if rule is None else rule.class_name


def _check_rank(class_name: str, value: Value) -> None:
    rank = sample_rank(class_name)
    if rank is not None and rank != len(value.sizes):
        raise SourceError(
            f"its input has {len(value.sizes) + 1} axes, but {rank + 1} are expected", REPAIR
        )


def _as_built(value: Value, node: Node) -> Value:
    """Returns a tensor of unknown sizes with those that the layer which reads it was built for."""
    shape = input_shape_of(node.entry.get("build_config"))
    if not isinstance(shape, list) or not shape:
        return value
    if not all(size is None or (type(size) is int and size >= 0) for size in shape):
        return value
    return value._replace(sizes=tuple(shape[1:]), known=True)
