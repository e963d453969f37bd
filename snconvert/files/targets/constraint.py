"""Target `constraint`: the plain layer, with `snconvert.constraints.SpectralNorm` on its kernels.

The kernel is normalised at conversion, as after every step of training from then on; nothing is
added to the weights. The converged `u`, and the factor by which `remove` divides, are in the
constraint's configuration.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from snconvert.config import constraint_entry
from snconvert.config.constraint_entry import (
    CLASS,
    MODULE,
    REGISTERED,
    argument_of,
    decoded,
    entry,
    factor_of,
    found_in,
    options,
    unusual,
    view_entry,
)
from snconvert.config.tree import Node
from snconvert.core.settings import Settings, scale
from snconvert.core.triplet import Triplet
from snconvert.errors import OptionError, SourceError, UnsupportedError, located, printable
from snconvert.files.edits import Edits
from snconvert.files.inventory import StoredKernel, StoredLayer
from snconvert.files.model import Opened
from snconvert.files.targets.target import KernelState, Target
from snconvert.kinds.kernel_rule import KernelRule, usual_view
from snconvert.weights.contents import Product, State


class ConstraintTarget(Target):
    """Target `constraint`."""

    NAME = "constraint"
    FORM = "constrained"
    ALREADY = "normalised already by its constraint"
    IN_PLACE = True

    def check_model(self, root: Node) -> None:
        """Refuses a model whose optimizer, or one inside it, averages weights.

        Raises:
            UnsupportedError: It does.
        """
        compiled = root.entry.get("compile_config")
        optimizer = compiled.get("optimizer") if isinstance(compiled, Mapping) else None
        refuse_averages(any(part.get("use_ema") is True for part in _mappings(optimizer)))

    def obstacle(self, node: Node, rule: KernelRule, stored: StoredLayer | None) -> str | None:
        """Returns why the layer's kernels cannot be constrained, or `None`."""
        return why_not(node, rule, built=bool(stored is not None and stored.kernels))

    def wrap(
        self,
        node: Node,
        rule: KernelRule,
        settings: Settings,
        stored: StoredLayer | None,
        triplets: Sequence[Triplet],
    ) -> None:
        """Gives the layer's configuration its constraints."""
        views = [kernel.view for kernel in stored.kernels] if stored is not None else []
        for index, kernel in enumerate(rule.kernels_of(node.config)):
            argument = str(argument_of(kernel, node.config))
            if not triplets:
                node.config[argument] = entry(settings, None, None, None)
                continue
            triplet = triplets[index]
            factor = scale(triplet.sigma, settings)
            node.config[argument] = entry(settings, unusual(views[index]), factor, triplet.u)

    def edits(
        self, _group: str, stored: StoredLayer, triplets: Sequence[Triplet], settings: Settings
    ) -> Edits:
        """Returns the products that normalise the kernels."""
        pairs = zip(stored.kernels, triplets, strict=True)
        return Edits(products=[Product(k.path, scale(t.sigma, settings)) for k, t in pairs])

    def is_mine(self, node: Node) -> bool:
        """Whether our constraint is on a layer."""
        return any(found_in(node.config))

    def options_of(self, node: Node) -> Mapping[str, Any]:
        """Returns the options of a layer's first constraint."""
        return {"norm": "matrix", **next(found_in(node.config))[1]}

    def arguments_in(self, config: Mapping[str, Any]) -> Sequence[str]:
        """Returns the arguments that hold our constraint."""
        return [argument for argument, _ in found_in(config)]

    def settings_of(self, node: Node) -> Settings:
        """Returns how a layer's constraints normalise; they are alike.

        Raises:
            SourceError: One of them says nothing that can be.
        """
        each = [constraint_entry.settings_of(held) for _, held in found_in(node.config)]
        return each[0]

    def states(self, model: Opened, node: Node) -> Iterator[KernelState]:
        """Yields the constrained kernels of a layer with the `u` that the constraint holds.

        Raises:
            OptionError: A constraint is not what a conversion writes.
        """
        for kernel, held in _constrained(model, node):
            with located(path=node.path, class_name=node.class_name):
                u = decoded(held.get("u"), kernel.view.shape[0])
                try:
                    yield KernelState(kernel, u, constraint_entry.settings_of(held))
                except SourceError as error:
                    raise OptionError(error.what) from error

    def states_in_use(self, model: Opened, node: Node) -> Mapping[str, State]:
        """Returns the `u` that constraints hold, by dataset, of kernels which they read alike."""
        in_use: dict[str, State] = {}
        for kernel, held in _constrained(model, node):
            if held.get("u") is None or held.get("view") != view_entry(unusual(kernel.view)):
                continue
            try:
                in_use[kernel.path] = State(decoded(held["u"], kernel.view.shape[0]))
            except OptionError:
                in_use[kernel.path] = State(None)
        return in_use

    def recorded_factors(
        self, node: Node, stored: StoredLayer | None, _: Mapping[str, float]
    ) -> Mapping[str, float | None]:
        """Returns the factors that constraints record, for each kernel of a layer that is built."""
        by_argument = dict(found_in(node.config))
        kernels = [kernel.kernel for kernel in stored.kernels] if stored is not None else []
        arguments = {kernel.path: argument_of(kernel, node.config) or "" for kernel in kernels}
        return {
            path: factor_of(by_argument.get(argument, {})) for path, argument in arguments.items()
        }

    def unwrap(self, node: Node, _: Mapping[str, Any] | None = None) -> None:
        """Takes the constraints out of a layer's configuration."""
        node.config.update(dict.fromkeys(self.arguments_in(node.config)))

    def flaws(self, node: Node, rule: KernelRule, stored: StoredLayer | None) -> Iterator[str]:
        """Yields which of a layer's constraints are not those that a conversion sets."""
        present, seen = dict(found_in(node.config)), set[Settings]()
        arguments = {argument_of(kernel, node.config) for kernel in rule.kernels_of(node.config)}
        for argument in sorted(present.keys() - arguments):
            yield f"`{printable(argument)}` is of no kernel, but holds {CLASS}"
        for argument in sorted(filter(None, arguments - present.keys())):
            yield f"`{argument}` holds no {CLASS}, as another of its kernels has"
        views = {
            argument_of(kernel.kernel, node.config): unusual(kernel.view)
            for kernel in (stored.kernels if stored is not None else ())
        }
        for argument, held in present.items():
            value, usual = (
                node.config[argument],
                options(Settings(), views.get(argument), None, None),
            )
            expected = {"module": MODULE, "class_name": CLASS, "registered_name": REGISTERED}
            for name in sorted(value.keys() - {"config", "shared_object_id"} | expected.keys()):
                if name not in expected or value.get(name) != expected[name]:
                    yield f"{printable(name)} of its {argument} is {printable(value.get(name))}"
            for name in sorted(held.keys() - usual.keys()):
                option = printable(name)
                yield f"its {argument} has the option {option}, which {CLASS} does not know"
            try:
                seen.add(constraint_entry.settings_of(held))
            except SourceError as error:
                yield error.what
            if held.get("mode") == "gain":
                yield f"its {argument} is of mode gain, which {CLASS} does not know"
            if argument in arguments and held.get("view") != usual["view"]:
                yield f"its {argument} reads the kernel as another matrix"
            if held.get("factor") is not None and factor_of(held) is None:
                yield f"the factor of its {argument} is {printable(held['factor'])}"
        if len(seen) > 1:
            yield "its constraints are not of one mode, bound and number of power iterations"


def refuse_averages(averages: bool) -> None:
    """Refuses a model whose optimizer averages weights.

    Keras' optimizers average what a step gives before they call the constraint, and `fit` ends with
    the averages in the model.

    Raises:
        UnsupportedError: It does.
    """
    if averages:
        raise UnsupportedError(
            "its optimizer averages weights (use_ema), and does so before it calls a constraint, so"
            " that the averages, with which fit ends, are above the bound",
            "Choose target layer, or keep the model and train it with the callback"
            " snconvert.SpectralProjection; or compile it without use_ema",
        )


def _mappings(value: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, Mapping):
        yield value
    if isinstance(value, Mapping | list):
        for inner in value.values() if isinstance(value, Mapping) else value:
            yield from _mappings(inner)


def why_not(node: Node, rule: KernelRule, *, built: bool) -> str | None:
    """Returns why the kernels of a layer, built or not, cannot be constrained, or `None`."""
    kernels = rule.kernels_of(node.config)
    arguments = [argument_of(kernel, node.config) for kernel in kernels]
    for kernel, argument in zip(kernels, arguments, strict=True):
        if argument is None:
            return f"the layer has no argument for a constraint on its {kernel.name}"
        if node.config[argument] is not None:
            return f"it has a {argument} already"
    if len(set(arguments)) < len(arguments):
        return f"its one {arguments[0]} is for several kernels, each of another matrix"
    if not built and any(kernel.view is not usual_view for kernel in kernels):
        return "not built yet: a constraint needs the shape of the kernel"
    return None


def _constrained(model: Opened, node: Node) -> Iterator[tuple[StoredKernel, Mapping[str, Any]]]:
    """Yields the kernels of a layer that our constraint is on, with its options."""
    by_argument, stored = dict(found_in(node.config)), model.inventory.get(node)
    for kernel in stored.kernels if stored is not None else ():
        argument = argument_of(kernel.kernel, node.config)
        if argument in by_argument:
            yield kernel, by_argument[argument]
