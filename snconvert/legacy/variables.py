"""In which order older versions of Keras list the variables of a layer, a wrapper or a model.

All write trainable ones first, then the others. What that means for layers inside layers differs.
Keras 2 asks each layer inside for its trainable variables, and a frozen one has none
(tf_keras/src/engine/base_layer.py, training.py: `trainable_weights`, `non_trainable_weights`).
Keras 3 goes layer by layer, and divides the result by the flags of the variables themselves
(keras/src/layers/layer.py; keras/src/legacy/saving/legacy_h5_format.py, `_legacy_weights`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from snconvert.config.tree import MODELS, Node
from snconvert.kinds.recurrent import CELL
from snconvert.legacy.layer_variables import Variable, own_variables

_Split = tuple[list[Variable], list[Variable]]


class Variables:
    """The variables of all layers of a model.

    Args:
        root: The model.
        paths: The group of each node in the weights of Keras 3.

    Raises:
        SourceError: The configuration of a layer is invalid.
    """

    def __init__(self, root: Node, paths: Mapping[Node, str]) -> None:
        self._own = {node: own_variables(node, paths[node.first or node]) for node in root.walk()}

    def learn(self, node: Node, order: list[Variable]) -> None:
        """Takes note of the variables of a layer of unknown class, which may all be trainable."""
        for inner in node.walk():
            self._own[inner] = {} if inner.children else {"": order}

    def known(self, node: Node) -> bool:
        """Whether the configuration says which variables a layer has, and all inside it."""
        return all(self._own[inner] is not None for inner in node.walk())

    def own(self, node: Node) -> list[Variable] | None:
        """Returns the variables of a layer itself and of its parts, `None` if unknown."""
        return None if self._own[node] is None else self._of(node)

    def any_of(self, node: Node, unknown: bool) -> bool:
        """Whether a layer has variables, inside it or itself; `unknown` where nobody knows."""
        return bool(self._split(node)[0] or self._split(node)[1]) if self.known(node) else unknown

    def orders(self, node: Node, *, keras3: bool) -> list[list[Variable]]:
        """Returns in which orders a file may list the variables of a layer that is known.

        Keras 3 does not say of the parts of a frozen layer whether they were frozen with it. Up to
        Keras 2.3 the flag of a wrapper means nothing: the layer inside has its own.

        Args:
            node: A layer of the model's own.
            keras3: Whether Keras 3 wrote the file.
        """
        if not keras3:
            splits = (self._split(node, wrappers_freeze=freeze) for freeze in (True, False))
            return [_unique([*trained, *kept]) for trained, kept in splits]
        orders: list[list[Variable]] = []
        for parts_frozen in (True, False):
            flagged = list(self._flagged(node, parts_frozen=parts_frozen))
            if node.trainable:
                flagged.sort(key=lambda item: not item[1])
            order = _unique(variable for variable, _ in flagged)
            if order not in orders:
                orders.append(order)
        return orders

    def trained(self, root: Node) -> list[Variable]:
        """Returns what Keras 3 will train, in its order, once it has loaded the model."""
        flagged = self._flagged(root, parts_frozen=False)
        return _unique(variable for variable, trained in flagged if trained and root.trainable)

    def once_trained(self, root: Node) -> list[list[Variable]]:
        """Returns what Keras 2 may have trained: what is not frozen, or all that can be trained."""
        everything = (one for node in root.walk() for one in self._of(node) if one.trainable)
        splits = (self._split(root, wrappers_freeze=freeze) for freeze in (True, False))
        return [*(_unique(trained) for trained, _ in splits), _unique(everything)]

    def _split(self, node: Node, *, wrappers_freeze: bool = True) -> _Split:
        """Returns trainable and other variables, as Keras 2 lists them."""
        done: dict[Node, _Split] = {}
        for inner in reversed(list(node.walk())):
            own = self._of(inner)
            trained = [variable for variable in own if variable.trainable]
            kept = [variable for variable in own if not variable.trainable]
            inside = [done[child] for child in inner.children]
            wraps = bool(inner.children) and inner.builtin not in MODELS
            if inner.trainable or (wraps and not wrappers_freeze):
                done[inner] = (
                    [*trained, *(one for split in inside for one in split[0])],
                    [*kept, *(one for split in inside for one in split[1])],
                )
            elif inner.builtin in MODELS:
                done[inner] = (
                    [],
                    [one for part in (0, 1) for split in inside for one in split[part]],
                )
            else:
                flat = [one for split in inside for part in split for one in part]
                done[inner] = [], [*trained, *kept, *flat]
        return done[node]

    def _flagged(self, node: Node, *, parts_frozen: bool) -> Iterator[tuple[Variable, bool]]:
        """Yields the variables layer by layer, each with whether it is trained."""
        for inner in node.walk():
            for part, variables in (self._own[inner] or {}).items():
                # A recurrent layer of Keras 3 gives its flag to its cell, a ConvLSTM does not.
                follows = part == CELL and "Conv" not in inner.class_name
                frozen = not inner.trainable and (not part or parts_frozen or follows)
                for variable in variables:
                    yield variable, variable.trainable and not frozen

    def _of(self, node: Node) -> list[Variable]:
        return [one for part in (self._own[node] or {}).values() for one in part]


def _unique(variables: Iterable[Variable]) -> list[Variable]:
    """Drops what was met before: a layer may stand in a model twice."""
    return list({variable.path: variable for variable in variables}.values())
