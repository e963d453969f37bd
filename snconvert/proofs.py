"""What is to be true of the layers of two models that are normalised in one of them only."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from snconvert.archive.guard import Worker
from snconvert.constrained import (
    argument_of,
    decoded,
    factor_of,
    found_in,
    options,
    settings_of,
    unusual,
)
from snconvert.differing import Findings
from snconvert.errors import KernelError, OptionError, located, printable
from snconvert.inventory import StoredKernel
from snconvert.linalg.scan import Array
from snconvert.opened import Opened
from snconvert.optimizer_edits import Gammas
from snconvert.plans import is_wrapper
from snconvert.report import Tell, adding_up
from snconvert.settings import Settings
from snconvert.targets.layer import states
from snconvert.tasks import Factor, Proof, Proved
from snconvert.tree import Node
from snconvert.unwrapping import Normalised, find, is_constrained, scalings


class Side(NamedTuple):
    """One of two models.

    Attributes:
        model: It.
        normalised: Its normalised layers that have another form in the other model.
    """

    model: Opened
    normalised: Normalised

    def kernels(self, node: Node) -> tuple[StoredKernel, ...]:
        """Returns the stored kernels of a layer, in a wrapper or not."""
        stored = self.model.inventory.get(node.children[0] if is_wrapper(node) else node)
        return stored.kernels if stored is not None else ()


def form_of(node: Node) -> str:
    """Returns `plain`, `spectral`, `wrapped` in Keras' own wrapper, or `constrained`."""
    if node.spectral is not None:
        return "spectral"
    if is_wrapper(node):
        return "wrapped"
    return "constrained" if is_constrained(node) else "plain"


def side_of(model: Opened, changed: set[Node]) -> Side:
    """Returns a model and the normalised ones among its layers that have changed."""

    def why_left(node: Node) -> str | None:
        return None if node in changed and form_of(node) != "plain" else "of the same form"

    return Side(model, find(model, why_left))


def prove(
    sides: tuple[Side, Side],
    changed: Mapping[Node, Node],
    found: Findings,
    worker: Worker,
    progress: Tell,
) -> dict[str, Proved]:
    """Finds sigma of the kernels that were normalised anew, and tells what is wrongly stored.

    Args:
        sides: The models before and after.
        changed: The layers of another form.
        found: What is wrong is told here.
        worker: Where the work is done.
        progress: Told how far it is.

    Returns:
        What was found, by the kernel's path before.
    """
    before, after = sides
    proofs: list[Proof] = []
    for x, y in changed.items():
        raw = {kernel.kernel.path: kernel for kernel in before.kernels(x)}
        _check_constraints(after, y, found)
        if is_wrapper(y):
            _check_wrapper(y, found)
        try:
            states = list(_states(after, y))
        except OptionError as error:
            found.differ(x.path, f"its constraint is invalid: {error.what}")
            continue
        for kernel, gamma, u, settings in states:
            one, dtype = raw.get(kernel.kernel.path), _dtype_of(after, u)
            if one is not None and dtype is not None:
                place = (one.path, one.dataset, one.view)
                with located(path=y.path, class_name=y.class_name):
                    conv = kernel.map_of(settings.norm)
                proofs.append(Proof(x.path, *place, u, dtype, gamma, settings, conv))
            elif one is not None:
                found.differ(x.path, f"its u is not there ({u})")
    tell = adding_up(progress, "sigma", sum(proof.dataset.nbytes for proof in proofs))
    results: list[Proved] = []
    if proofs:
        weights = before.model.source.weights, after.model.source.weights
        name = "snconvert.comparison:prove"
        results = worker.call(name, *weights, proofs, seconds=None, progress=tell)
    for proof, result in zip(proofs, results, strict=True):
        for what in result.wrong:
            found.differ(proof.layer, what)
        found.notes += [f"{proof.layer}: {note}" for note in result.notes]
    return {proof.kernel: result for proof, result in zip(proofs, results, strict=True)}


def _check_constraints(side: Side, node: Node, found: Findings) -> None:
    """Tells which of our constraints are not those that a conversion sets."""
    kernels = side.kernels(node)
    known = {argument_of(kernel.kernel, node.config) for kernel in kernels}
    for argument, _ in found_in(node.config):
        if kernels and argument not in known:
            found.differ(node.path, f"`{argument}` is of no kernel, but holds SpectralNorm")
    for kernel, constraint in _constraints(side, node):
        wanted = options(Settings(), unusual(kernel.view), None, None)["view"]
        if constraint.get("view") != wanted:
            found.differ(node.path, f"its constraint reads {kernel.kernel.path} as another matrix")


def _check_wrapper(node: Node, found: Findings) -> None:
    """Tells in which fields Keras' wrapper is not the one that a conversion makes."""
    inner = node.children[0].config
    for name in sorted(node.config.keys() - {"layer", "power_iterations", "name"}):
        have, wanted = (_plain(config.get(name)) for config in (node.config, inner))
        if name not in inner or have != wanted:
            found.differ(node.path, f"{printable(name)} of its wrapper is not that of the layer")
    rounds = node.config.get("power_iterations", 1)
    if type(rounds) is not int or rounds < 1:
        found.differ(node.path, "power_iterations of its wrapper is no whole number from 1 on")


def _plain(policy: Any) -> Any:
    """Returns a dtype policy without the number that says which objects are one."""
    if not isinstance(policy, dict):
        return policy
    return {key: value for key, value in policy.items() if key != "shared_object_id"}


def _dtype_of(side: Side, u: str | Array) -> str | None:
    if not isinstance(u, str):
        return "float32"
    dataset = side.model.contents.datasets.get(u)
    return None if dataset is None else dataset.dtype


def _states(
    side: Side, node: Node
) -> Iterator[tuple[StoredKernel, str | None, str | Array, Settings]]:
    """Yields each kernel of a normalised layer, the dataset of its gamma, its `u`, and how.

    `u` is a dataset, or what a constraint in the configuration holds.
    """
    if is_wrapper(node):
        for kernel in side.kernels(node):
            yield kernel, None, f"{side.model.paths[node]}/vars/1", Settings()
    elif node in side.normalised.layers:
        settings, stored = side.normalised.layers[node], side.model.inventory.get(node)
        if stored is not None and stored.kernels:
            for kernel, gamma, u in states(side.model.paths[node], stored, settings):
                yield kernel, gamma, u, settings
    else:
        for kernel, constraint in _constraints(side, node):
            with located(path=node.path, class_name=node.class_name):
                held = decoded(constraint.get("u"), kernel.view.shape[0])
                yield kernel, None, held, settings_of(constraint)


def _constraints(side: Side, node: Node) -> Iterator[tuple[StoredKernel, dict[str, Any]]]:
    """Yields the kernels of a layer that our constraint is on, with its options."""
    by_argument = dict(found_in(node.config))
    for kernel in side.kernels(node):
        argument = argument_of(kernel.kernel, node.config)
        if argument in by_argument:
            yield kernel, by_argument[argument]


def new_gammas(
    sides: tuple[Side, Side], changed: Mapping[Node, Node], proved: Mapping[str, Proved]
) -> dict[Node, Gammas]:
    """Returns the trainable scalars that layers have gained, by the layer before."""
    gammas: dict[Node, Gammas] = {}
    for x, y in changed.items():
        settings = sides[1].normalised.layers.get(y)
        if settings is not None and settings.mode == "gain":
            found = [proved.get(kernel.path) for kernel in sides[0].kernels(x)]
            gammas[x] = Gammas(tuple(one.sigma or 0.0 for one in found if one is not None))
    return gammas


def used_factors(side: Side, found: Findings, worker: Worker) -> dict[str, Factor]:
    """Returns what inference multiplied the kernels by that are plain after."""
    tasks = scalings(side.normalised)
    if not tasks:
        return {}
    name, weights = "snconvert.effective:factors", side.model.source.weights
    try:
        factors = worker.call(name, weights, tasks, seconds=None, progress=lambda _: None)
    except KernelError as error:
        found.notes.append(f"{error.path}: {error.what}")
        return {}
    return {task.path: factor for task, factor in zip(tasks, factors, strict=True)}


def allowed_factors(
    sides: tuple[Side, Side],
    changed: Mapping[Node, Node],
    proved: Mapping[str, Proved],
    used: Mapping[str, Factor],
    found: Findings,
) -> dict[str, tuple[float, ...]]:
    """Returns by what the kernels may have been multiplied, by the kernel before."""
    factors: dict[str, tuple[float, ...]] = {}
    for x, y in changed.items():
        constraints = {k.kernel.path: c for k, c in _constraints(sides[1], y)}
        divided = {k.kernel.path: factor_of(c) for k, c in _constraints(sides[0], x)}
        for kernel in sides[0].kernels(x):
            path, name = kernel.path, kernel.kernel.path
            if name in constraints and path in proved:
                sigma = proved[path].sigma or 0.0
                after = settings_of(constraints[name]).sigma_after(sigma)
                factors[path] = (after / sigma if sigma else 1.0,)
                _check_record(x, factor_of(constraints[name]), factors[path][0], found)
            elif name in divided:
                recorded = divided[name]
                factors[path] = (1.0,) if recorded is None else (1.0, 1.0 / recorded)
            elif is_wrapper(y) and path in proved:
                factors[path] = (1.0 / (proved[path].sigma or 1.0),)
                recorded = sides[1].normalised.wrapped.get(y)
                if recorded is not None:  # the memory carrier has no place for it
                    _check_record(x, recorded, factors[path][0], found)
            elif is_wrapper(x):
                recorded = sides[0].normalised.wrapped.get(x)
                factors[path] = (1.0,) if recorded is None else (1.0, 1.0 / recorded)
            elif path in used:
                factors[path] = (1.0, used[path].factor)
    return factors


def _check_record(node: Node, recorded: float | None, factor: float, found: Findings) -> None:
    """Tells if `remove` would divide by something else than the kernel was multiplied by."""
    if recorded is None or not math.isclose(recorded, factor, rel_tol=1e-6):
        found.differ(node.path, f"the factor {recorded} is recorded, where it is {factor:.9g}")
