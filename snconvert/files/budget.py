"""Choosing the bounds of layers for the bound of the whole network: `apply --lipschitz`."""

from __future__ import annotations

from typing import NamedTuple

from snconvert.core.network_bound import NetworkBound
from snconvert.core.report import OnProgress, Progress, begin_stage
from snconvert.errors import UnsupportedError, located, printable
from snconvert.files.lipschitz import network_read
from snconvert.files.model import Opened
from snconvert.lipschitz.budget.request import Budget, ConvertedKernel, Floor
from snconvert.planning.advice import option_for
from snconvert.planning.measured import Measured
from snconvert.planning.plan import Plan, Skip

_LISTED = 4
_SMALL = 1e-2  # by what bounds may be multiplied without a word


class Chosen(NamedTuple):
    """The bounds of layers, chosen.

    Attributes:
        scale: By what the bounds of the plan are multiplied.
        network: The bound of the network with these.
    """

    scale: float
    network: NetworkBound


def choose_bounds(
    model: Opened, plan: Plan, measured: Measured, most: float, progress: OnProgress = None
) -> Chosen:
    """Returns by what the bounds of a plan are multiplied so that the network's is at most `most`.

    Args:
        model: The model before the conversion.
        plan: What is converted; the bounds in it are weights of layers against each other.
        measured: The `u` that will be stored.
        most: What is wanted of the network's bound.
        progress: Called with how far the work is.

    Raises:
        SourceError: The model's graph is none that Keras would compute.
        UnsupportedError: The network has no bound, or none that is so small.
    """
    read = network_read(model)
    kernels: list[ConvertedKernel] = []
    for step in plan.steps:
        stored, triplets = model.inventory.get(step.node), measured.known(step.node)
        for kernel, triplet in zip(stored.kernels if stored else (), triplets, strict=True):
            with located(path=step.node.path, class_name=step.node.class_name):
                sigma_map = kernel.map_of(step.settings.norm)
            kernels.append(ConvertedKernel(kernel.path, step.settings, triplet.u, sigma_map))
    total = len(read.operations)
    begin_stage(progress, "lipschitz", total)

    def tell(done: tuple[str, int]) -> None:
        if progress is not None:
            progress(Progress("lipschitz", done[0], done[1] + 1, total))

    found: Budget = model.worker.call(
        "snconvert.lipschitz.budget.search:budget",
        model.source.weights,
        read,
        kernels,
        float(most),
        seconds=None,
        progress=tell,
    )
    if found.floor is not None:
        raise _too_small(found.floor, plan, most)
    if found.scale is None or found.network is None or found.network.bound is None:
        raise _unbounded(found.network)
    network = found.network
    if found.scale < _SMALL:
        network = network._replace(notes=(*network.notes, _why_small(found.scale, plan)))
    return Chosen(found.scale, network)


def _why_small(scale: float, plan: Plan) -> str:
    """Returns what makes small bounds, which leave little of what the layers compute."""
    kinds = dict.fromkeys(x.kind for x in plan.outcomes if isinstance(x, Skip) and x.kind)
    way = f"; with {option_for(kinds)} they share in it" if kinds else ""
    return (
        f"The converted layers have bounds as small as {scale:.2g}, as those that stay as they are"
        f" make the rest of the network's bound{way}."
    )


def _unbounded(network: NetworkBound | None) -> UnsupportedError:
    layers = dict.fromkeys(network.unbounded) if network is not None else {}
    why = [f"{printable(x.path)} ({printable(x.class_name)}): {x.reason}" for x in layers]
    return UnsupportedError(
        f"the network has no Lipschitz bound, whatever the bounds of its layers are: {_few(why)}",
        "Build it without these layers, or leave out --lipschitz",
    )


def _too_small(floor: Floor, plan: Plan, most: float) -> UnsupportedError:
    """Returns the error of a network whose bound cannot be so small, with what makes it so."""
    names = [
        f"{printable(path)} ({printable(class_name)}, {constant})"
        for path, class_name, constant in floor.layers
    ]
    made_by = {path for path, *_ in floor.layers}
    left = [x for x in plan.outcomes if isinstance(x, Skip) and x.path in made_by and x.rule]
    kinds = dict.fromkeys(skip.kind for skip in left if skip.kind is not None)
    ways = [f"Give more than {floor.bound}"]
    if left:
        ways.append(f"convert more layers{f' ({option_for(kinds)})' if kinds else ''}")
    scales = [x for x, class_name, _ in floor.layers if class_name.endswith("Normalization")]
    if scales:
        ways.append(f"give {_few(list(map(printable, scales)))} a smaller scale")
    if not (left or scales):
        ways.append("build the network with converted layers on every path")
    return UnsupportedError(
        f"the network's Lipschitz bound cannot be at most {most:g}: however small the bounds of the"
        f" converted layers are, it is {floor.bound}, by what is not converted: {_few(names)}",
        f"{', '.join(ways[:-1])}, or {ways[-1]}",
    )


def _few(names: list[str]) -> str:
    rest = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + rest
