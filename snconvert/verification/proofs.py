"""What is to be true of the layers of two models that are normalised in one of them only."""

from __future__ import annotations

import math
from collections.abc import Container, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

from snconvert.config.tree import Node
from snconvert.core.report import OnProgress, cumulative
from snconvert.core.settings import scale
from snconvert.core.verbs import Way
from snconvert.errors import KernelError, OptionError, SourceError, located
from snconvert.files.inventory import StoredKernel
from snconvert.files.model import Opened
from snconvert.files.normalised import Normalised, normalised_layers, scalings
from snconvert.files.optimizer_state import Gammas
from snconvert.files.targets import owner_of, target_of
from snconvert.jobs.requests import Proof, Proved
from snconvert.sandbox.worker import Worker
from snconvert.verification.findings import Findings
from snconvert.verification.forms import flaws
from snconvert.verification.records import Converted


class Side(NamedTuple):
    """One of two models that are compared.

    Attributes:
        model: The model.
        normalised: The layers of it that are normalised, and have another form in the other model.
    """

    model: Opened
    normalised: Normalised

    def kernels(self, node: Node) -> tuple[StoredKernel, ...]:
        """Returns the stored kernels of a layer, in a wrapper or not."""
        stored = self.model.inventory.get(owner_of(node))
        return stored.kernels if stored is not None else ()


def side_of(model: Opened, changed: set[Node]) -> Side:
    """Returns a model and the normalised ones among its layers that have changed."""

    def why_left(node: Node) -> str | None:
        normalised = node in changed and target_of(node) is not None
        return None if normalised else "of the same form"

    return Side(model, normalised_layers(model, why_left))


def prove_kernels(
    sides: tuple[Side, Side],
    changed: Mapping[Node, Node],
    findings: Findings,
    worker: Worker,
    progress: OnProgress,
) -> dict[str, Proved]:
    """Finds sigma anew of kernels that were normalised; `add_proofs` says what is wrong with them.

    Args:
        sides: The models before and after.
        changed: The layers that have another form after, by the layer before.
        findings: Takes what keeps a kernel from being proved.
        worker: The guarded process.
        progress: Called with how far the search is.

    Returns:
        The proofs, by the kernel's path before.
    """
    before, after = sides
    proofs: list[Proof] = []
    for x, y in changed.items():
        target = target_of(y)
        if target is None:
            continue
        for what in flaws(x, y, before.model.inventory.get(x.first or x)):
            findings.differ(x.path, what)
        raw = {kernel.kernel.path: kernel for kernel in before.kernels(x)}
        try:
            states = list(target.states(after.model, y))
        except OptionError as error:
            findings.differ(x.path, f"its {target.NAME} is invalid: {error.what}")
            continue
        for state in states:
            kernel, u = raw.pop(state.kernel.kernel.path, None), state.u
            if kernel is None:
                continue
            if isinstance(u, str) and u not in after.model.contents.datasets:
                findings.differ(x.path, f"its u is not there ({u})")
                continue
            place = (kernel.path, kernel.dataset, kernel.view)
            with located(path=y.path, class_name=y.class_name):
                conv = state.kernel.map_of(state.settings.norm)
            proofs.append(
                Proof(x.path, *place, u, state.u_dtype, state.gamma, state.settings, conv)
            )
        for name in raw:
            findings.differ(x.path, f"nothing normalises its {name}")
    tell = cumulative(progress, "sigma", sum(proof.dataset.nbytes for proof in proofs))
    results: list[Proved] = []
    if proofs:
        weights = before.model.source.weights, after.model.source.weights
        name = "snconvert.jobs.compare:prove"
        results = worker.call(name, *weights, proofs, seconds=None, progress=tell)
    return {proof.kernel: result for proof, result in zip(proofs, results, strict=True)}


def add_proofs(
    path: str,
    kernels: Sequence[StoredKernel],
    proved: Mapping[str, Proved],
    same: Container[str],
    findings: Findings,
) -> None:
    """Adds to the findings what is wrong with the normalisation of a layer's kernels.

    Of a kernel that has other numbers after, as training gives it, its `u` after says nothing: that
    it differs is told already.

    Args:
        path: The layer's path.
        kernels: Its kernels before.
        proved: As `prove_kernels` returns them.
        same: The kernels whose numbers after are explained.
        findings: Takes what is wrong.
    """
    for kernel in kernels:
        if kernel.path in proved and kernel.path in same:
            for what in proved[kernel.path].wrong:
                findings.differ(path, what)
            for note in proved[kernel.path].notes:
                findings.note(path, note)


def converted_of(
    sides: tuple[Side, Side], changed: Mapping[Node, Node], proved: Mapping[str, Proved]
) -> dict[str, Converted]:
    """Returns what is found out about the layers that were converted, by path."""
    converted: dict[str, Converted] = {}
    for x, y in changed.items():
        target = target_of(y)
        if target is None or y.first is not None:
            continue
        kernels = sides[0].kernels(x)
        # What the layer itself says, without the record.
        stored = sides[1].model.inventory.get(target.owner_of(y))
        factors = target.recorded_factors(y, stored, {})
        known = [proved[k.path] for k in kernels if k.path in proved]
        half = any(k.dataset.dtype in {"float16", "bfloat16"} for k in kernels)
        mapped = False
        with suppress(SourceError):  # which is told elsewhere
            norm = target.settings_of(y).norm
            mapped = any(k.map_of(norm) is not None for k in kernels)
        converted[y.path] = Converted(known, half, mapped, factors)
    return converted


def new_gammas(
    sides: tuple[Side, Side], changed: Mapping[Node, Node], proved: Mapping[str, Proved]
) -> dict[Node, Gammas]:
    """Returns the trainable scalars that layers have gained or lost, by the layer before."""
    gammas: dict[Node, Gammas] = {}
    for x, y in changed.items():
        gone, new = (_has_gamma(side, node) for side, node in zip(sides, (x, y), strict=True))
        values = [proved[k.path].gamma or 0.0 for k in sides[0].kernels(x) if k.path in proved]
        if gone or new:
            gammas[x] = Gammas(tuple(values) if new else (), gone=gone)
    return gammas


def _has_gamma(side: Side, node: Node) -> bool:
    layer = side.normalised.layers.get(node)
    return layer is not None and layer.has_gammas


def used_factors(side: Side, findings: Findings, worker: Worker) -> dict[str, float]:
    """Returns what inference multiplied kernels by that are plain after, by dataset before."""
    tasks = scalings(side.normalised)
    if not tasks:
        return {}
    name, weights = "snconvert.jobs.effective:factors", side.model.source.weights
    try:
        factors = worker.call(name, weights, tasks, seconds=None, progress=lambda _: None)
    except KernelError as error:
        findings.note(error.path or "", error.what)
        return {}
    return {task.path: factor for task, factor in zip(tasks, factors, strict=True)}


def factors_of(
    sides: tuple[Side, Side],
    changed: Mapping[Node, Node],
    proved: Mapping[str, Proved],
    used: Mapping[str, float],
    findings: Findings,
) -> dict[str, dict[Way, float]]:
    """Returns what each kernel may have been multiplied by, by its dataset before."""
    factors: dict[str, dict[Way, float]] = {}
    for x, y in changed.items():
        old, new = (
            side.normalised.layers.get(node) for side, node in zip(sides, (x, y), strict=True)
        )
        for kernel in sides[0].kernels(x):
            path, name = kernel.path, kernel.kernel.path
            if old is not None and not old.target.IN_PLACE:
                factors[path] = {"remove": 1.0}
                if path in used:
                    factors[path]["bake"] = used[path]
            elif old is not None:
                factors[path] = {"bake": 1.0}
                if (recorded := old.factors.get(name)) is not None:
                    factors[path]["remove"] = 1.0 / recorded
            elif new is not None and new.target.IN_PLACE and path in proved:
                factor = scale(proved[path].sigma or 0.0, new.settings)
                recorded = new.factors.get(name)
                # Keras drops the record when it saves a model again.
                if recorded is not None or not new.target.RECORDED:
                    _check_record(x, recorded, factor, findings)
                factors[path] = {"apply": recorded or factor}
    return factors


def _check_record(node: Node, recorded: float | None, factor: float, findings: Findings) -> None:
    """Adds to the findings that `remove` would divide by another factor than the kernel's."""
    if recorded is None or not math.isclose(recorded, factor, rel_tol=1e-6):
        findings.differ(node.path, f"the factor {recorded} is recorded, where it is {factor:.9g}")
    elif recorded != factor:
        findings.note(node.path, f"the factor {recorded} is recorded, where {factor} is found here")
