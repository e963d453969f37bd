"""Dense and EinsumDense."""

from __future__ import annotations

from snconvert.errors import SourceError, printable
from snconvert.kinds.dense import einsum_terms
from snconvert.lipschitz.network import Slopes, Unbounded
from snconvert.lipschitz.reading import activations
from snconvert.lipschitz.reading.builder import Value
from snconvert.lipschitz.rows.row import NOT_STORED, REPAIR, Answer, Call, Row, linear


def activated(call: Call, value: Value | Unbounded) -> Answer:
    """Adds the activation that a layer has in itself to what it has computed."""
    if isinstance(value, Unbounded):
        return value
    entry = call.config.get("activation")
    does = activations.of(entry, value.sizes)
    if isinstance(does, Unbounded) or does == Slopes(1.0, 1.0):
        return does if isinstance(does, Unbounded) else value
    return call.same(does, (value,), activations.name_of(entry))


def _dense(call: Call) -> Answer:
    kernel = call.kernels.get("kernel")
    if kernel is None:
        return NOT_STORED
    *_, units = kernel.stored.array.dataset.shape
    return activated(call, linear(call, "kernel", (*call.sizes[:-1], units)))


def _einsum(call: Call) -> Answer:
    """Reads labels of input and kernel as rows, of kernel and output as columns, as the view does.

    Labels of all three are blocks of it; what input and output share are positions.
    """
    own = call.kernels.get("kernel")
    if own is None:
        return NOT_STORED
    inputs, kernel, output = _labels(call)
    sizes: dict[str, int | None] = dict(zip(inputs[1:], call.sizes, strict=True))
    sizes |= dict(zip(kernel, own.stored.array.dataset.shape, strict=True))
    terms = set(inputs), set(kernel), set(output)
    is_matrix = (
        sum(map(len, terms)) == len(inputs) + len(kernel) + len(output)
        and all(terms[at] <= terms[at - 1] | terms[at - 2] for at in range(3))
        and inputs[0] == output[0]
        and inputs[0] not in kernel
    )
    if not is_matrix:
        return Unbounded(f"the equation {printable(call.config['equation'])} is no matrix product")
    rows = [label for label in inputs if label not in output]
    columns = [label for label in output if label not in inputs]
    # Channels have an axis of their own where the positions around it stay in their order.
    before, behind = ([x for x in term if x not in kernel] for term in (inputs, output))
    apart = before == behind and not terms[0] & terms[1] & terms[2]
    value = linear(
        call,
        "kernel",
        tuple(sizes[label] for label in output[1:]),
        inputs_axis=_only_axis(inputs, rows) if apart else None,
        channels_axis=_only_axis(output, columns) if apart else None,
    )
    return activated(call, value)


def _labels(call: Call) -> tuple[list[str], list[str], list[str]]:
    """Returns the labels of input, kernel and output, an ellipsis written out."""
    inputs, kernel, output, leading = einsum_terms(call.config)
    spare = len(call.sizes) + 1 - len(inputs)
    if spare < 0:
        raise SourceError(
            f"`equation` is {call.config['equation']!r}, which does not fit an input of"
            f" {len(call.sizes) + 1} axes",
            REPAIR,
        )
    ellipsis = [str(axis) for axis in range(spare)]
    if leading:
        return [*ellipsis, *inputs], [*kernel], [*ellipsis, *output]
    return [*inputs, *ellipsis], [*kernel], [*output, *ellipsis]


def _only_axis(term: list[str], labels: list[str]) -> int | None:
    return term.index(labels[0]) - len(term) if len(labels) == 1 else None


ROWS = (
    Row(("Dense",), "norm of the kernel", _dense),
    Row(("EinsumDense",), "norm of the kernel, read as a matrix", _einsum),
)
