"""Errors in the configuration, the record and the assets of a converted file; see `planting`."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy
from functools import partial
from itertools import combinations, pairwise
from random import Random
from typing import Any

import numpy as np
from planting_arrays import Planter, is_another_u
from planting_contents import ID, Contents, Tree

PLANTERS: dict[str, Planter] = {}
"""What an error is, and what plants it: given both files, of which it changes the second one."""

Places = Callable[[Contents], Iterable[tuple[Any, ...]]]


def _plant(
    _: Contents, after: Contents, rng: Random, *, places: Places, change: Callable[..., Any]
) -> str | None:
    every = list(places(after))
    if not every:
        return None
    place = rng.choice(every)
    names = [item.get("name") for item in place if isinstance(item, dict)]
    names += [item for item in place if isinstance(item, str)]
    change(rng, *place)
    return next((name for name in names if name), "somewhere")


def planter(kind: str, places: Places) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Registers a function that changes one of the places there are; it gets the choices, too."""

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        PLANTERS[kind] = partial(_plant, places=places, change=function)
        return function

    return register


def _other(value: Any, values: tuple[Any, ...]) -> Any:
    return deepcopy(next((new for new in values if repr(new) != repr(value)), values[0]))


def _set(rng: Random, config: Tree, name: str, values: tuple[Any, ...]) -> None:
    """Sets a field to one of some values, another one than it has."""
    config[name] = _other(config.get(name), tuple(rng.sample(values, len(values))))


# -- Layers ---------------------------------------------------------------------------------------


def entries(tree: Any) -> Iterator[Tree]:
    """Yields the layers of a configuration, also those inside others, and the model itself."""
    if isinstance(tree, dict):
        config = tree.get("config")
        if "class_name" in tree and isinstance(config, dict) and "name" in config:
            yield tree
        for key, value in tree.items():
            if key not in {"compile_config", "inbound_nodes", "dtype"}:
                yield from entries(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from entries(value)


def layers(after: Contents) -> Iterator[tuple[Tree, Tree]]:
    """Yields configuration and entry of all but the input layers."""
    for entry in entries(after.config):
        if entry["class_name"] != "InputLayer":
            yield entry["config"], entry


def _built(class_name: str, module: str, /, **config: Any) -> Tree:
    names = {"module": module, "class_name": class_name}
    return {**names, "config": config, "registered_name": None}


_START = _built("Constant", "keras.initializers", value=0.25)
_PENALTY = _built("L2", "keras.regularizers", l2=0.125)
_LIMIT = _built("MaxNorm", "keras.constraints", max_value=0.5, axis=0)
FIELDS: dict[str, tuple[Any, ...]] = {
    "name": ("another_name",),
    "trainable": (False, True),
    "units": (3, 5),
    "filters": (3, 5),
    "kernel_size": ([2, 1], [1]),
    "strides": ([2, 1], [3]),
    "padding": ("same", "valid"),
    "dilation_rate": ([3, 3], [5]),
    "groups": (1, 2),
    "data_format": ("channels_first", "channels_last"),
    "depth_multiplier": (3, 2),
    "output_padding": (1,),
    "activation": ("tanh", "relu"),
    "recurrent_activation": ("relu", "tanh"),
    "use_bias": (False, True),
    "kernel_initializer": (_START,),
    "bias_initializer": (_START,),
    "recurrent_initializer": (_START,),
    "embeddings_initializer": (_START,),
    "kernel_regularizer": (_PENALTY, None),
    "bias_regularizer": (_PENALTY, None),
    "activity_regularizer": (_PENALTY, None),
    "recurrent_regularizer": (_PENALTY, None),
    "embeddings_regularizer": (_PENALTY, None),
    "kernel_constraint": (_LIMIT,),
    "bias_constraint": (_LIMIT, None),
    "recurrent_constraint": (_LIMIT,),
    "epsilon": (0.5,),
    "momentum": (0.5,),
    "axis": (1,),
    "rate": (0.75,),
    "dropout": (0.25,),
    "recurrent_dropout": (0.25,),
    "return_sequences": (True, False),
    "return_state": (True, False),
    "go_backwards": (True, False),
    "stateful": (True, False),
    "unroll": (True, False),
    "reset_after": (False, True),
    "unit_forget_bias": (False, True),
    "merge_mode": ("sum",),
    "num_heads": (3, 1),
    "num_query_heads": (4,),
    "num_key_value_heads": (3, 4),
    "key_dim": (4, 5),
    "value_dim": (5, 4),
    "output_shape": (9, 11),
    "equation": ("ab,bc->ac", "abc,cd->abd"),
    "bias_axes": ("b", "c"),
    "use_gate": (False, True),
    "input_dim": (11,),
    "output_dim": (7,),
    "mask_zero": (False, True),
    "tie_weights": (False, True),
    "target_shape": ([2, 2],),
    "batch_shape": ([None, 77],),
    "seed": (12345,),
}
"""Fields of layers, and what they may wrongly hold instead."""


def _with_field(after: Contents, *, name: str) -> Iterator[tuple[Tree, str, tuple[Any, ...]]]:
    for entry in entries(after.config):
        if name in entry["config"]:
            yield entry["config"], name, FIELDS[name]


for _name in FIELDS:
    planter(f"field: {_name}", partial(_with_field, name=_name))(_set)


@planter("field: dtype", layers)
def _(_: Random, config: Tree, __: Tree) -> None:
    policy = config.get("dtype")
    name = policy["config"].get("name") if isinstance(policy, dict) else policy
    other = "float32" if name != "float32" else "mixed_bfloat16"
    config["dtype"] = _built("DTypePolicy", "keras", name=other)


@planter("a field more", layers)
def _(_: Random, config: Tree, __: Tree) -> None:
    config["extra"] = 1


@planter("no name", layers)
def _(_: Random, config: Tree, __: Tree) -> None:
    del config["name"]


_SIZES = ("units", "filters", "kernel_size", "num_heads", "key_dim", "input_dim", "equation")
_TELLING = ("activation", "kernel_regularizer", "bias_constraint", "epsilon", "padding")


def _telling(after: Contents, *, names: tuple[str, ...]) -> Iterator[tuple[Tree, str]]:
    """Yields fields that do not hold what Keras assumes without them."""
    for config, _ in layers(after):
        for name in names:
            if config.get(name) not in (None, "linear", "valid", 1e-3):
                yield config, name


@planter("no size", partial(_telling, names=_SIZES))
@planter("a setting missing", partial(_telling, names=_TELLING))
def _(_: Random, config: Tree, name: str) -> None:
    del config[name]


@planter("class of a layer", layers)
def _(_: Random, __: Tree, entry: Tree) -> None:
    others = {"Dense": "EinsumDense", "SpectralDense": "SpectralEinsumDense", "LSTM": "GRU"}
    entry["class_name"] = others.get(entry["class_name"], "Flatten")


@planter("module of a layer", layers)
def _(_: Random, __: Tree, entry: Tree) -> None:
    entry["module"] = "keras.losses"


@planter("registered name of a layer", layers)
def _(_: Random, __: Tree, entry: Tree) -> None:
    entry["registered_name"] = "mine>Other"


def _shapes(after: Contents) -> Iterator[tuple[Tree, list[Any]]]:
    for config, entry in layers(after):
        shape = (entry.get("build_config") or {}).get("input_shape")
        if isinstance(shape, list) and isinstance(shape[-1], int):
            yield config, shape


@planter("shape that a layer is built for", _shapes)
def _(_: Random, __: Tree, shape: list[Any]) -> None:
    shape[-1] += 94


# -- The graph ------------------------------------------------------------------------------------


def _containers(after: Contents) -> Iterator[tuple[list[Tree]]]:
    for config, _ in layers(after):
        if isinstance(config.get("layers"), list) and len(config["layers"]) > 2:
            yield (config["layers"],)


def _neighbours(after: Contents) -> Iterator[tuple[list[Tree], int]]:
    for (container,) in _containers(after):
        for index, (one, two) in enumerate(pairwise(container)):
            if one["class_name"] == two["class_name"]:
                yield container, index


@planter("order of two layers", _neighbours)
def _(_: Random, container: list[Tree], i: int) -> None:
    container[i], container[i + 1] = container[i + 1], container[i]


@planter("names of two layers swapped", _neighbours)
def _(_: Random, container: list[Tree], i: int) -> None:
    one, two = container[i]["config"], container[i + 1]["config"]
    one["name"], two["name"] = two["name"], one["name"]


@planter("a layer missing", _containers)
def _(_: Random, container: list[Tree]) -> None:
    container.pop()


@planter("a layer more", _containers)
def _(_: Random, container: list[Tree]) -> None:
    new = _built("Dropout", "keras.layers", name="more", rate=0.5, seed=None, noise_shape=None)
    graph = {"name": "more", "inbound_nodes": []} if "inbound_nodes" in container[-1] else {}
    container.append({**new, **graph})


def _objects(tree: Any) -> Iterator[Tree]:
    """Yields every object in a tree."""
    if isinstance(tree, dict):
        yield tree
    for value in tree.values() if isinstance(tree, dict) else tree:
        if isinstance(value, dict | list):
            yield from _objects(value)


def _sources(after: Contents) -> Iterator[tuple[list[Any], list[str]]]:
    """Yields where each tensor comes from, and the names of other layers."""
    histories = [tree.get("keras_history") for tree in _objects(after.config)]
    histories = [history for history in histories if isinstance(history, list)]
    for history in histories:
        others = sorted({other[0] for other in histories} - {history[0]})
        if others:
            yield history, others


@planter("what a layer is called on", _sources)
def _(rng: Random, history: list[Any], others: list[str]) -> None:
    history[0] = rng.choice(others)


def _calls(after: Contents) -> Iterator[tuple[Tree, list[Any]]]:
    for config, entry in layers(after):
        if entry.get("inbound_nodes"):
            yield config, entry["inbound_nodes"]


@planter("how a layer is called", _calls)
def _(_: Random, __: Tree, calls: list[Any]) -> None:
    calls[0]["kwargs"]["training"] = True


@planter("a call missing", _calls)
def _(_: Random, __: Tree, calls: list[Any]) -> None:
    calls.pop()


def _outputs(after: Contents) -> Iterator[tuple[Tree, list[Any]]]:
    for config, _ in layers(after):
        if config.get("output_layers"):
            yield config, config["output_layers"]


@planter("outputs of a model", _outputs)
def _(_: Random, __: Tree, outputs: list[Any]) -> None:
    several = isinstance(outputs[0], list) and len(outputs) > 1
    if several:
        outputs.reverse()
    else:
        (outputs[0] if isinstance(outputs[0], list) else outputs)[0] = "another"


def _shared(after: Contents) -> dict[int, list[Tree]]:
    """Returns the objects that Keras numbers, but for policies, which are equal or not."""
    numbered: dict[int, list[Tree]] = {}
    for tree in _objects(after.config):
        if ID in tree and "DTypePolicy" not in str(tree.get("class_name")):
            numbered.setdefault(tree[ID], []).append(tree)
    return numbered


def _two_shared(after: Contents) -> Iterator[tuple[list[Tree], list[Tree]]]:
    yield from combinations(_shared(after).values(), 2)


@planter("two shared objects become one", _two_shared)
def _(_: Random, one: list[Tree], two: list[Tree]) -> None:
    for tree in two:
        tree[ID] = one[0][ID]


# Keras numbers all uses of an object but the first, and so loses one each time it saves.
@planter(
    "a shared object becomes two",
    lambda after: ((group,) for group in _shared(after).values() if len(group) > 2),
)
def _(_: Random, group: list[Tree]) -> None:
    group[-1][ID] += 12345


def _two_of_their_own(after: Contents) -> Iterator[tuple[Tree, Tree]]:
    initializers = [config.get("kernel_initializer") for config, _ in layers(after)]
    initializers = [one for one in initializers if isinstance(one, dict) and ID not in one]
    yield from ((one, two) for one, two in combinations(initializers, 2) if one == two)


@planter("two objects become one", _two_of_their_own)
def _(_: Random, one: Tree, two: Tree) -> None:
    one[ID] = two[ID] = 424242


# -- Training -------------------------------------------------------------------------------------

COMPILED: dict[str, tuple[Any, ...]] = {
    "loss": ("mae", "mse"),
    "loss_weights": (0.5,),
    "metrics": (["mape"],),
    "weighted_metrics": (["mape"],),
    "run_eagerly": (True, False),
    "steps_per_execution": (7,),
    "jit_compile": (True, False),
}
OPTIMIZED: dict[str, tuple[Any, ...]] = {
    "name": ("another",),
    "learning_rate": (0.75,),
    "weight_decay": (0.3,),
    "clipnorm": (0.25,),
    "global_clipnorm": (0.25,),
    "clipvalue": (0.25,),
    "use_ema": (True, False),
    "ema_momentum": (0.25,),
    "ema_overwrite_frequency": (77,),
    "loss_scale_factor": (8.0,),
    "gradient_accumulation_steps": (7,),
    "beta_1": (0.25,),
    "beta_2": (0.25,),
    "epsilon": (0.25,),
    "amsgrad": (True, False),
    "momentum": (0.25,),
    "nesterov": (True, False),
    "rho": (0.25,),
    "centered": (True, False),
    "initial_accumulator_value": (0.75,),
}


def _compiled(after: Contents) -> Iterator[tuple[Tree]]:
    if after.config.get("compile_config"):
        yield (after.config["compile_config"],)


def _optimizer(after: Contents) -> Iterator[tuple[Tree]]:
    for (compiled,) in _compiled(after):
        if isinstance(compiled.get("optimizer"), dict):
            yield (compiled["optimizer"],)


def _compiled_field(after: Contents, *, name: str) -> Iterator[tuple[Tree, str, Any]]:
    for (compiled,) in _compiled(after):
        if name in compiled:
            yield compiled, name, COMPILED[name]


def _optimizer_field(after: Contents, *, name: str) -> Iterator[tuple[Tree, str, Any]]:
    for (optimizer,) in _optimizer(after):
        if name in optimizer["config"]:
            yield optimizer["config"], name, OPTIMIZED[name]


for _name in COMPILED:
    planter(f"compiled: {_name}", partial(_compiled_field, name=_name))(_set)
for _name in OPTIMIZED:
    planter(f"optimizer: {_name}", partial(_optimizer_field, name=_name))(_set)


@planter("optimizer: class", _optimizer)
def _(_: Random, optimizer: Tree) -> None:
    optimizer["class_name"] = "Adam" if optimizer["class_name"] == "Adamax" else "Adamax"


@planter("compiled: no longer", _compiled)
def _(_: Random, compiled: Tree) -> None:
    compiled.clear()


# -- Layers that are normalised -------------------------------------------------------------------

OPTIONS = ("mode", "bound", "power_iterations", "norm")
INVALID: dict[str, tuple[Any, ...]] = {
    "mode": ("soft", None, 1, ["hard"]),
    "bound": (-1.0, 0.0, "1", None, float("nan"), float("inf"), True),
    "power_iterations": (0, -1, 1.5, "1", None, True),
    "norm": ("frobenius", None, 2),
}
ANOTHER: dict[str, tuple[Any, ...]] = {
    "mode": ("cap", "hard"),
    "bound": (0.37,),
    "power_iterations": (4,),
    "norm": ("operator", "matrix"),
}


def _spectral(after: Contents) -> Iterator[tuple[Tree, Tree]]:
    for config, entry in layers(after):
        if str(entry.get("registered_name")).startswith("snconvert>"):
            yield config, entry


def _spectral_field(
    after: Contents, *, name: str, values: Tree, recorded: bool = False
) -> Iterator[tuple[Tree, str, Any]]:
    for config, _ in _spectral(after):
        if not recorded or "snconvert" in after.metadata:
            yield config, name, values[name]


for _name in OPTIONS:
    planter(
        f"spectral layer: invalid {_name}", partial(_spectral_field, name=_name, values=INVALID)
    )(_set)
    # Another valid value is another conversion; that the file was not made so, its record says.
    planter(
        f"spectral layer: another {_name} than recorded",
        partial(_spectral_field, name=_name, values=ANOTHER, recorded=True),
    )(_set)


@planter("spectral layer: plain again, its u left behind", _spectral)
def _(_: Random, config: Tree, entry: Tree) -> None:
    plain = entry["class_name"].removeprefix("Spectral")
    entry.update(module="keras.layers", class_name=plain, registered_name=None)
    for name in OPTIONS:
        config.pop(name, None)


@planter("spectral layer: no longer of this package", _spectral)
def _(_: Random, __: Tree, entry: Tree) -> None:
    entry.update(module="keras.layers", registered_name=None)


def _wrappers(after: Contents) -> Iterator[tuple[Tree, Tree]]:
    for config, entry in layers(after):
        if entry["class_name"] == "SpectralNormalization":
            yield config, entry


WRAPPER: dict[str, tuple[Any, ...]] = {
    "name": ("another",),
    "trainable": (True, False),
    "dtype": ("float16",),
    "power_iterations": (0, 1.5, None),
    "extra": (1,),
}


def _wrapper_field(after: Contents, *, name: str) -> Iterator[tuple[Tree, str, Any]]:
    for config, _ in _wrappers(after):
        yield config, name, WRAPPER[name]


for _name in WRAPPER:
    planter(f"wrapper: its {_name}", partial(_wrapper_field, name=_name))(_set)


@planter(
    "wrapper: other iterations than recorded",
    lambda after: _wrappers(after) if "snconvert" in after.metadata else (),
)
def _(_: Random, config: Tree, __: Tree) -> None:
    config["power_iterations"] += 3


@planter("wrapper: the shape that it is built for", _wrappers)
def _(_: Random, __: Tree, entry: Tree) -> None:
    entry["build_config"] = {"input_shape": [None, 99]}


@planter("wrapper: in a wrapper", _wrappers)
def _(_: Random, config: Tree, __: Tree) -> None:
    inside = {"name": config["name"], "layer": config["layer"], "power_iterations": 1}
    config["layer"] = _built("SpectralNormalization", "keras.layers", **inside)


def _constraints(after: Contents) -> Iterator[tuple[Tree, str, Tree]]:
    """Yields layers, arguments and the options of our constraints there."""
    for config, _ in layers(after):
        for name, value in config.items():
            if isinstance(value, dict) and value.get("registered_name") == "snconvert>SpectralNorm":
                yield config, name, value["config"]


CONSTRAINT: dict[str, tuple[Any, ...]] = {
    "mode": ("soft", "gain", None),
    "bound": (-1.0, 0.0, "1", None),
    "power_iterations": (0, 1.5, None),
    "view": ({"split": [1, 1], "axes": [1, 0], "shape": [1, 1, 1]}, "transposed", 1),
    "factor": (None, 0.123, -1.0, "x"),
    "u": ("AAAA", "not base64!", 1, ""),
    "extra": (1,),
}


def _constraint_field(
    after: Contents, *, name: str, values: Tree, recorded: bool = False
) -> Iterator[tuple[Tree, str, Any]]:
    for _, __, options in _constraints(after):
        if not recorded or "snconvert" in after.metadata:
            yield options, name, values[name]


for _name in CONSTRAINT:
    planter(f"constraint: its {_name}", partial(_constraint_field, name=_name, values=CONSTRAINT))(
        _set
    )
for _name in OPTIONS[:3]:
    planter(
        f"constraint: another {_name} than recorded",
        partial(_constraint_field, name=_name, values=ANOTHER, recorded=True),
    )(_set)


def _rolled(after: Contents) -> Iterator[tuple[Tree, bytes]]:
    for _, __, options in _constraints(after):
        u = np.frombuffer(base64.b64decode(options["u"]), "<f4")
        if is_another_u(u[None], np.roll(u, 1)[None]):
            yield options, np.roll(u, 1).tobytes()


@planter("constraint: numbers of its u", _rolled)
def _(_: Random, options: Tree, u: bytes) -> None:
    options["u"] = base64.b64encode(u).decode()


@planter("constraint: a u of fewer numbers", _constraints)
def _(_: Random, __: Tree, ___: str, options: Tree) -> None:
    options["u"] = base64.b64encode(base64.b64decode(options["u"])[:-4]).decode()


@planter("constraint: no view", lambda after: (x for x in _constraints(after) if x[2].get("view")))
def _(_: Random, __: Tree, ___: str, options: Tree) -> None:
    options["view"] = None


def _beside_bias(after: Contents) -> Iterator[tuple[Tree, str]]:
    for config, name, _ in _constraints(after):
        if "bias_constraint" in config:
            yield config, name


@planter("constraint: on the bias, too", _beside_bias)
def _(_: Random, config: Tree, name: str) -> None:
    config["bias_constraint"] = deepcopy(config[name])


@planter("constraint: on the bias", _beside_bias)
def _(_: Random, config: Tree, name: str) -> None:
    config["bias_constraint"], config[name] = config[name], None


@planter("constraint: missing", _constraints)
def _(_: Random, config: Tree, name: str, __: Tree) -> None:
    config[name] = None


@planter("constraint: of another class", _constraints)
def _(_: Random, config: Tree, name: str, __: Tree) -> None:
    config[name].update(class_name="MaxNorm", module="keras.constraints", registered_name=None)


def _two_constraints(after: Contents) -> Iterator[tuple[Tree, Tree]]:
    options = [options for *_, options in _constraints(after)]
    yield from ((one, two) for one, two in combinations(options, 2) if one != two)


@planter("constraint: that of another layer", _two_constraints)
def _(_: Random, one: Tree, two: Tree) -> None:
    one.update(deepcopy(two))


def _uncovered(after: Contents) -> Iterator[tuple[Tree, str]]:
    for config, _ in layers(after):
        for name in ("gamma_constraint", "beta_constraint", "alpha_constraint"):
            if name in config:
                yield config, name


@planter("constraint: on a layer that no rule covers", _uncovered)
def _(_: Random, config: Tree, name: str) -> None:
    options = {"mode": "hard", "bound": 1.0, "power_iterations": 1}
    options |= dict.fromkeys(("view", "factor", "u"))
    config[name] = _built("SpectralNorm", "snconvert.constraints", **options)
    config[name]["registered_name"] = "snconvert>SpectralNorm"


# -- The record, and assets -----------------------------------------------------------------------

RECORDED = {"target": ("layer", "keras"), "kinds": (["embedding"], ["conv"])} | ANOTHER


def _recorded_option(after: Contents, *, name: str) -> Iterator[tuple[Tree, str, Any]]:
    record = after.metadata.get("snconvert")
    if record:
        target = record["options"]["target"]
        unsaid = {"keras": {"mode", "bound", "norm"}, "constraint": {"norm"}}
        if name not in unsaid.get(target, ()):  # of these the layers say nothing
            yield record["options"], name, RECORDED[name]


for _name in RECORDED:
    planter(f"record: its {_name}", partial(_recorded_option, name=_name))(_set)


def _recorded(after: Contents) -> Iterator[tuple[Tree, str, Tree]]:
    layers_of_it = after.metadata.get("snconvert", {}).get("layers", {})
    for path, layer in layers_of_it.items():
        yield layers_of_it, path, layer


def _with_factors(after: Contents) -> Iterator[tuple[Tree, str, Tree]]:
    yield from (item for item in _recorded(after) if item[2].get("factors"))


@planter("record: sigma", _recorded)
def _(_: Random, __: Tree, ___: str, layer: Tree) -> None:
    layer["sigma"] *= 1.01


@planter("record: sigma_after", _recorded)
def _(_: Random, __: Tree, ___: str, layer: Tree) -> None:
    layer["sigma_after"] *= 1.1  # stored in half precision it is no better known


@planter("record: residual", _recorded)
def _(_: Random, __: Tree, ___: str, layer: Tree) -> None:
    layer["residual"] = 0.25


@planter("record: class", _recorded)
def _(_: Random, __: Tree, ___: str, layer: Tree) -> None:
    layer["class"] = "Flatten"


@planter("record: new class", _recorded)
def _(_: Random, __: Tree, ___: str, layer: Tree) -> None:
    layer["new_class"] = "Flatten"


@planter("record: a layer missing", _recorded)
def _(_: Random, record: Tree, path: str, __: Tree) -> None:
    if len(record) > 1:
        del record[path]


@planter("record: a layer more", _recorded)
def _(_: Random, record: Tree, path: str, layer: Tree) -> None:
    record[f"{path}_more"] = dict(layer)


@planter("record: a layer under another name", _recorded)
def _(_: Random, record: Tree, path: str, __: Tree) -> None:
    record[f"{path}_more"] = record.pop(path)


@planter("record: numbers of two layers swapped", _recorded)
def _(_: Random, record: Tree, __: str, layer: Tree) -> None:
    other = next((x for x in record.values() if x["sigma"] != layer["sigma"]), layer)
    layer["sigma"], other["sigma"] = other["sigma"], layer["sigma"]


@planter("record: a factor", _with_factors)
def _(rng: Random, __: Tree, ___: str, layer: Tree) -> None:
    layer["factors"][rng.choice(sorted(layer["factors"]))] *= 1.01


@planter("record: no factors", _with_factors)
def _(_: Random, __: Tree, ___: str, layer: Tree) -> None:
    del layer["factors"]


@planter(
    "record: a factor of a kernel that is as it was",
    lambda after: (item for item in _recorded(after) if "factors" not in item[2]),
)
def _(_: Random, __: Tree, ___: str, layer: Tree) -> None:
    layer["factors"] = {"kernel": 0.5}


def _assets(after: Contents) -> Iterator[tuple[dict[str, bytes], str]]:
    yield from ((after.assets, name) for name in sorted(after.assets))


@planter("asset: one byte", _assets)
def _(_: Random, assets: dict[str, bytes], name: str) -> None:
    assets[name] = bytes([assets[name][0] ^ 1, *assets[name][1:]])


@planter("asset: shorter", _assets)
def _(_: Random, assets: dict[str, bytes], name: str) -> None:
    assets[name] = assets[name][:-1]


@planter("asset: missing", _assets)
def _(_: Random, assets: dict[str, bytes], name: str) -> None:
    del assets[name]


@planter("asset: one more", _assets)
def _(_: Random, assets: dict[str, bytes], name: str) -> None:
    assets[f"{name}2"] = assets[name]


@planter("asset: under another name", _assets)
def _(_: Random, assets: dict[str, bytes], name: str) -> None:
    assets[f"{name}2"] = assets.pop(name)
