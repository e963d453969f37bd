"""The recurrent layers, over a number of steps that is known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from snconvert.kinds.recurrent import CELL
from snconvert.lipschitz.network import Recurrent, Slopes, Unbounded
from snconvert.lipschitz.reading import activations
from snconvert.lipschitz.reading.builder import MASK
from snconvert.lipschitz.rows.row import NOT_STORED, Answer, Call, Row, none

CELLS = {"SimpleRNN": "simple", "LSTM": "lstm", "GRU": "gru"}
"""Class of a layer -> cell; the class of the cell has `Cell` behind it."""

_MOST_STEPS = 1 << 17  # seconds
_SEQUENCE = 2  # axes of a sequence: steps and channels


def unrolled(call: Call, cell: str, group: str = CELL) -> Answer:
    """Adds a recurrent layer.

    Args:
        call: The call, with the configuration of layer and cell in one.
        cell: `simple`, `lstm` or `gru`.
        group: The part of the layer that owns the kernels; empty for the cell itself.
    """
    reason = _obstacle(call, cell)
    if reason:
        return Unbounded(reason)
    prefix = f"{group}/" if group else ""
    kernel, recurrent = (call.kernels.get(f"{prefix}{name}") for name in _KERNELS)
    if kernel is None or recurrent is None:
        return NOT_STORED
    with_bias = call.flag("use_bias", default=True)
    steps, units = call.sizes[0], recurrent.stored.array.dataset.shape[0]
    sequences = call.flag("return_sequences")
    slopes = activations.by_name(_name(call.config, "activation", "tanh"), (units,))
    if steps is None or not isinstance(slopes, Slopes):
        return Unbounded("the number of its steps is not known")
    if steps > _MOST_STEPS:
        return Unbounded(f"its steps are {steps}, more than are gone through")
    does = Recurrent(
        cell,
        kernel.stored,
        recurrent.stored,
        call.array(2, 3, group) if with_bias else None,
        steps,
        sequences,
        slope=max(abs(slopes.low), abs(slopes.high)),
        reset_after=call.flag("reset_after", default=True),
    )
    return call.add(does, (steps, units) if sequences else (units,))


_KERNELS = ("kernel", "recurrent_kernel")


def _obstacle(call: Call, cell: str) -> str | None:
    """Says why a recurrent layer has no constant that is known, or returns `None`."""
    if call.inputs[0].mask:
        return MASK
    if len(call.sizes) != _SEQUENCE:
        return f"its input has {len(call.sizes)} axes"
    if call.flag("stateful"):
        return "it is `stateful`, so that its state has no limit"
    if call.flag("return_state"):
        return "it puts out its state, too"
    if call.training and (call.config.get("dropout") or call.config.get("recurrent_dropout")):
        return "it is called as in training, with dropout"
    activation = _name(call.config, "activation", "tanh")
    if cell == "simple":
        does = activations.by_name(activation, (None,))
        return None if isinstance(does, Slopes) else f"its activation is {activation}"
    gate = _name(call.config, "recurrent_activation", "sigmoid")
    if activation not in activations.SQUASHING or gate not in activations.GATES:
        return f"its activations are {activation} and {gate}, so that its state has no limit"
    return None


def _name(config: Mapping[str, Any], key: str, default: str) -> str:
    return activations.name_of(config.get(key, default))


def _layer(call: Call) -> Answer:
    name = call.class_name.removeprefix("Spectral")
    return unrolled(call, CELLS[name])


ROWS = (
    Row(("SimpleRNN",), "norm over its steps; none over an unknown number", _layer),
    Row(
        ("LSTM", "GRU"),
        "finite over a known number of steps, with `tanh` and `sigmoid`",
        _layer,
    ),
    none(
        *(f"ConvLSTM{rank}D" for rank in (1, 2, 3)),
        because="no bound of a convolutional recurrent layer is known",
    ),
    none(
        *(f"{name}Cell" for name in CELLS),
        "StackedRNNCells",
        because="a cell by itself reads a state",
    ),
)
