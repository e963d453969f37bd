"""The network's Lipschitz bound as tables and sentences for people."""

from __future__ import annotations

import decimal
import math
from collections.abc import Iterator

from snconvert.cli.columns import Column, Line, count_of
from snconvert.cli.printing.printer import Printer
from snconvert.core.magnitude import Magnitude
from snconvert.core.network_bound import NetworkBound, OutputBound, Stage
from snconvert.errors import printable

_NONE = "none"
_ONE = Magnitude.of(1.0)
_ASTRONOMICAL = 6  # powers of ten: no perturbation of an input is worth such a bound
_ALL = 0.995  # a share that is printed as 1
_MARK = "*"
_STAGES = (
    Column("stage", least=10),
    Column("class", least=10),
    *(Column(name, numeric=True) for name in ("norm", "constant", "bound", "share")),
    Column("path"),
)
_OUTPUTS = (Column("output", least=10), Column("as a function of", least=10), Column("bound"))
_UNBOUNDED = (
    Column("layer without a bound", least=10),
    Column("class", least=10),
    Column("why", wraps=True),
)


def print_bound(network: NetworkBound, printer: Printer, *, verbose: bool = False) -> None:
    """Prints the bound with its stages, outputs and what it means.

    Of one that bounds of layers were chosen for, only that, unless it is to be `verbose`.

    Args:
        network: The bound.
        printer: Where to.
        verbose: Show the stages that change nothing, too.
    """
    if network.most is not None:
        chosen = f"Lipschitz bound of the network: {network.bound} (at most {network.most:g})"
        printer.say(chosen)
        if not verbose:
            return
    shown = [stage for stage in network.stages if verbose or not _changes_nothing(stage)]
    if shown:
        printer.table(_STAGES, [Line(_stage(stage)) for stage in shown], whole=verbose)
    hidden = len(network.stages) - len(shown)
    if hidden:
        printer.say(f"{count_of(hidden, 'stage')} with the constant 1 not shown ({printer.more})")
    outputs = [row for output in network.outputs for row in _output(output)]
    if len(network.outputs) > 1 and network.bound is not None:
        outputs.append(("all together", "all inputs", str(network.bound)))
    if len(outputs) > 1:
        printer.table(_OUTPUTS, [Line(row) for row in outputs], whole=verbose)
    if network.unbounded:
        lines = [Line([*map(printable, layer)]) for layer in network.unbounded]
        printer.table(_UNBOUNDED, lines, whole=verbose)
    for line in sentences(network):
        printer.say(line)


def sentences(network: NetworkBound) -> Iterator[str]:
    """Yields what the bound says, and what it does not."""
    if network.bound is None:
        without = list(dict.fromkeys(layer.path for layer in network.unbounded))
        has = "has" if len(without) == 1 else "have"
        why = f": {_list(without)} {has} none" if without else ""
        yield f"the network has no finite Lipschitz bound{why}"
        bounded = [output.name for output in network.outputs if output.bound is not None]
        if bounded:
            yield f"certified all the same: the bound of {_list(bounded)}"
    else:
        yield (
            f"Lipschitz bound of the network: {_in_words(network.bound)}, certified"
            f" ({network.method}; {network.seconds:.2f} s)"
        )
        yield (
            "at inference, inputs that move by a distance d move the outputs by at most"
            f" {_in_words(network.bound)} d"
        )
        if network.bound.log10 > _ASTRONOMICAL:
            yield (
                "bounds of deep networks are astronomical: that is the truth of a bound for all"
                " inputs at once, and no fault of the model"
            )
        if network.product is not None:
            chains = " (chains of layers are bounded as one)" if "multip" in network.method else ""
            yield f"the product of the layers' norms is {_in_words(network.product)}{chains}"
        if any(stage.dominates for stage in network.stages) and _branches(network):
            yield (
                f"the path marked {_MARK} makes most of it; a share of 0.40 says: with a constant"
                " smaller by 1 %, the bound falls by 0.4 %"
            )
        if "folding" in network.method:
            yield (
                "constants are those after folding, where the scale of one layer counts in another;"
                " norms and bounds are those of the layers as they stand"
            )
    points = count_of(network.samples, "point")
    if network.lower is not None:
        yield f"it cannot be below {_down(network.lower)}, found at {points} of the true model"
    elif network.samples:
        yield f"no bound from below was found at {points}"
    if network.starts:
        yield f"inputs are discrete: the bound begins behind {_list(list(network.starts))}"
    yield from network.notes


def _branches(network: NetworkBound) -> bool:
    """Whether there are stages that not all of the bound goes through."""
    return any(stage.share is not None and stage.share < _ALL for stage in network.stages)


def _stage(stage: Stage) -> tuple[str, ...]:
    return (
        printable(stage.path),
        printable(stage.class_name),
        "" if stage.norm is None else str(stage.norm),
        _NONE if stage.constant is None else str(stage.constant),
        _NONE if stage.bound is None else str(stage.bound),
        "" if stage.share is None else f"{stage.share:.2f}",
        _MARK if stage.dominates else "",
    )


def _changes_nothing(stage: Stage) -> bool:
    return stage.constant == _ONE and len(stage.inputs) <= 1 and stage.norm is None


def _output(output: OutputBound) -> Iterator[tuple[str, str, str]]:
    name, bound = printable(output.name), output.bound
    yield name, "all inputs", _NONE if bound is None else str(bound)
    if len(output.by_input) > 1:
        yield from ((name, printable(key), str(value)) for key, value in output.by_input)
    if output.logits is not None:
        yield name, "all inputs, before its activation", str(output.logits)


def _in_words(bound: Magnitude) -> str:
    """Returns a bound, rounded up, however large it is."""
    return str(bound) if bound.value is not None else f"1e{math.ceil(bound.log10)} ({bound})"


def _down(value: float) -> str:
    with decimal.localcontext(prec=4, rounding=decimal.ROUND_FLOOR):
        return f"{+decimal.Decimal(value):g}"


def _list(names: list[str]) -> str:
    """Returns names in a sentence, the first few of many.

    Example:
        >>> _list(["a", "b"]), _list(list("abcdef"))
        ('a, b', 'a, b, c and 3 more')
    """
    few = names[:3] if len(names) > 4 else names  # noqa: PLR2004
    rest = f" and {len(names) - len(few)} more" if len(few) < len(names) else ""
    return ", ".join(map(printable, few)) + rest
