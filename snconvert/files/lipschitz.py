"""The certified Lipschitz bound of an opened model."""

from __future__ import annotations

from snconvert.config.tree import Node
from snconvert.core.network_bound import NetworkBound
from snconvert.core.report import OnProgress, Progress, begin_stage
from snconvert.errors import located
from snconvert.files.model import Opened
from snconvert.files.normalised import states_in_use
from snconvert.lipschitz import network
from snconvert.lipschitz.network import Network
from snconvert.lipschitz.reading.layers import Weights
from snconvert.lipschitz.reading.models import network_of
from snconvert.lipschitz.rows.row import OwnKernel

_SECONDS = 30.0  # about how long multipliers are looked for, which make the bound smaller


def bound_of(model: Opened, progress: OnProgress = None) -> NetworkBound:
    """Returns the bound of a model, of the kernels as its layers compute with them.

    Args:
        model: The model.
        progress: Called with how far the work is.

    Raises:
        SourceError: Its graph is none that Keras would compute.
        UnsupportedError: As for `network_read`.
    """
    read = network_read(model)
    total = len(read.operations)
    begin_stage(progress, "lipschitz", total + 1)

    def tell(done: tuple[str, int]) -> None:
        path, known = done[0], done[1] + 1
        if progress is not None:
            # The search for multipliers, which may take longer than all before, is one step more.
            what = path if known < total else "multipliers"
            progress(Progress("lipschitz", what, known, total + 1))

    result: NetworkBound = model.worker.call(
        "snconvert.lipschitz.bound:network_bound",
        model.source.weights,
        read,
        _SECONDS,
        seconds=None,
        progress=tell,
    )
    return result


def network_read(model: Opened) -> Network:
    """Returns the network of a model.

    Raises:
        SourceError: Its graph is none that Keras would compute.
        UnsupportedError: It is too large.
    """
    states = states_in_use(model)
    kernels: dict[Node, dict[str, OwnKernel]] = {}
    for node, stored in model.inventory.items():
        for kernel in stored.kernels:
            state = states.get(kernel.path)
            settings = None if state is None else state.settings
            with located(path=node.path, class_name=node.class_name):
                sigma_map = None if settings is None else kernel.map_of(settings.norm)
            place = network.StoredKernel(
                network.StoredArray(kernel.path, kernel.dataset),
                kernel.view,
                state if settings is not None else None,
                sigma_map,
            )
            kernels.setdefault(node, {})[kernel.kernel.path] = OwnKernel(kernel.kernel, place)
    return network_of(model.root, Weights(kernels, model.paths, model.contents.datasets))
