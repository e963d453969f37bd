"""The certified Lipschitz bound of a network, as the report, the command line and the page say it.

All numbers are in the 2-norm, at inference, of the function in exact arithmetic of the weights that
the file stores; bounds are rounded upward all the way.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from snconvert.core.magnitude import Magnitude
from snconvert.display import html_of, pretty, text_of


class Stage(NamedTuple):
    """One operation of the network, in the order in which it is computed.

    A layer that is called several times has one stage a call; an operation that was folded into
    another one (`BatchNormalization` into the kernel before it) stands there with the constant 1.

    Attributes:
        path: The layer's path, as in the report of layers.
        class_name: Its class, or the operation's (`Add`).
        inputs: The stages that it reads, by their places in the list.
        constant: Its own Lipschitz constant, with what was folded into it; `None`: it has none.
        norm: The proved norm of its kernel alone, as the layer uses it; `None` without a kernel.
        bound: That of its output as a function of the network's inputs; `None`: it has none.
        share: `d log L / d log constant`, with `L` the network's bound by the rules of the graph:
            by how many percent `L` falls when the constant falls by one. 1 where all paths cross
            it, less on a branch; `None` where the bound is not finite.
        dominates: Whether it lies on the path that makes most of the bound.
    """

    path: str
    class_name: str
    inputs: tuple[int, ...]
    constant: Magnitude | None
    norm: Magnitude | None = None
    bound: Magnitude | None = None
    share: float | None = None
    dominates: bool = False


class OutputBound(NamedTuple):
    """The bound of one output.

    Attributes:
        name: The output's name: its key, or its layer.
        bound: From all inputs together; `None`: it has none.
        by_input: From each input alone, by the inputs' names.
        logits: The bound before a final softmax or sigmoid; `None` if there is none.
    """

    name: str
    bound: Magnitude | None
    by_input: tuple[tuple[str, Magnitude], ...] = ()
    logits: Magnitude | None = None


class Unbounded(NamedTuple):
    """A layer without a Lipschitz constant.

    Attributes:
        path: The layer's path.
        class_name: Its class.
        reason: Why it has none, as a clause: `it multiplies two tensors`.
    """

    path: str
    class_name: str
    reason: str


class NetworkBound(NamedTuple):
    """The certified Lipschitz bound of a network.

    Attributes:
        bound: Of all outputs together as a function of all inputs together; `None`: there is none.
        outputs: Each output by itself.
        product: The bound by the rules of the graph alone, with each layer's own proved norm: no
            folding, no multipliers. `None` where there is no bound.
        stages: The operations.
        unbounded: The layers that have no constant, where there is no bound.
        starts: Paths of the layers behind discrete inputs (`Embedding`), where the bound begins.
        method: What made it, as in `graph + folding + multipliers`.
        lower: The largest norm of a Jacobian that was found on the true model; `None`: not asked
            for.
        samples: At how many points `lower` was looked for.
        notes: What the user should know, a sentence each.
        most: What the bounds of layers were chosen for: that the bound is at most this.
        seconds: How long it took.
    """

    bound: Magnitude | None
    outputs: tuple[OutputBound, ...]
    product: Magnitude | None
    stages: tuple[Stage, ...]
    unbounded: tuple[Unbounded, ...] = ()
    starts: tuple[str, ...] = ()
    method: str = ""
    lower: float | None = None
    samples: int = 0
    notes: tuple[str, ...] = ()
    most: float | None = None
    seconds: float = 0.0

    def __str__(self) -> str:
        return text_of(self)

    def __repr__(self) -> str:
        return f"<NetworkBound: {'none' if self.bound is None else self.bound}>"

    def _repr_html_(self) -> str:
        return html_of(self)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        pretty(self, printer, cycle)

    def to_dict(self) -> dict[str, Any]:
        """Returns the bound in the shape of `--json`."""
        return self.as_json()

    def as_json(self) -> dict[str, Any]:
        """Returns the bound as `--json` prints it.

        A magnitude is an object of its `value`, null above 1e308, and its `log10`, null of zero;
        null stands for one that is not finite.
        """
        fields = self._asdict()
        fields |= {"bound": _json(self.bound), "product": _json(self.product)}
        fields |= {name: list(fields[name]) for name in ("starts", "notes")}
        fields["outputs"] = [
            {
                "name": output.name,
                "bound": _json(output.bound),
                "by_input": {name: _json(bound) for name, bound in output.by_input},
                "logits": _json(output.logits),
            }
            for output in self.outputs
        ]
        fields["stages"] = [
            {
                "path": stage.path,
                "class": stage.class_name,
                "inputs": list(stage.inputs),
                "constant": _json(stage.constant),
                "norm": _json(stage.norm),
                "bound": _json(stage.bound),
                "share": stage.share,
                "dominates": stage.dominates,
            }
            for stage in self.stages
        ]
        fields["unbounded"] = [
            {"path": layer.path, "class": layer.class_name, "reason": layer.reason}
            for layer in self.unbounded
        ]
        return fields


def _json(magnitude: Magnitude | None) -> dict[str, float | None] | None:
    return None if magnitude is None else magnitude.as_json()
