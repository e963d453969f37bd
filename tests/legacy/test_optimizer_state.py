"""The state of an optimizer, in the order of Keras 3."""

import pytest

from snconvert.config.parsing import parse
from snconvert.legacy.hdf5 import relocation
from tests.support.older_weights import dense, layer, norm, stored

WEIGHTS = {
    "a": {"a/k:0": (3, 4), "a/b:0": (4,)},
    "n": {"n/g:0": (4,), "n/h:0": (4,), "n/m:0": (4,), "n/v:0": (4,)},
    "z": {"z/k:0": (4, 2), "z/b:0": (2,)},
}
NAMES = ["a/k", "a/b", "n/g", "n/h", "z/k", "z/b"]
KERNEL_AND_BIAS = [("k", (4, 4)), ("b", (4,))]
SHAPES = [(3, 4), (4,), (4,), (4,), (4, 2), (2,)]


def model(optimizer, frozen=(), **config):
    layers = [dense("a"), norm("n"), dense("z", 2)]
    for one in layers:
        one["config"]["trainable"] = one["config"]["name"] not in frozen
    entry = {"module": "keras.optimizers", "class_name": optimizer, "config": config}
    return {**layer("Sequential", "m", layers), "compile_config": {"optimizer": entry}}


def state(config, slots, version="2.11.0"):
    """Returns what each of Keras 3's variables comes from, and the notes."""
    result, notes = relocation(parse(config), *stored(WEIGHTS, optimizer=slots, version=version))
    places = {new: old.removeprefix("optimizer_weights/") for old, new in result.moves}
    places |= {item.path: item.sources[0].split("/", 1)[1] for item in result.computed}
    places |= {item.path: item.value for item in result.constants}
    folder = "optimizer/vars/"
    found = {
        int(path.removeprefix(folder)): it for path, it in places.items() if path.startswith(folder)
    }
    assert sorted(found) == list(range(len(found)))
    return [found[index] for index in range(len(found))], notes


def pairs(pattern, *slots):
    return [
        (pattern.format(slot=slot, name=name) + ":0", shape)
        for slot in slots
        for name, shape in zip(NAMES, SHAPES, strict=True)
    ]


OLD = [("Adam/iter:0", ()), *pairs("Adam/{name}/{slot}", "m", "v")]
NEW_M, NEW_V = pairs("Adam/m/{name}", ""), pairs("Adam/v/{name}", "")
NEW = [("iteration:0", ()), *(it for pair in zip(NEW_M, NEW_V, strict=True) for it in pair)]
ADAM = {"learning_rate": 0.5}


def test_blocks_are_interleaved():
    """tf.keras stores slot after slot, Keras 3 variable after variable."""
    found, notes = state(model("Adam", **ADAM), OLD, "2.4.0")
    slots = [f"Adam/{name}/{slot}:0" for name in NAMES for slot in "mv"]
    assert (found, notes) == (["Adam/iter:0", 0.5, *slots], ())


def test_the_rate_comes_from_the_configuration():
    """A file of Keras 2.11 lacks it; with a schedule there is none."""
    assert state(model("Adam", **ADAM), NEW)[0] == [
        "iteration:0",
        0.5,
        *(name for name, _ in NEW[1:]),
    ]
    assert state(model("Adam", learning_rate={}), NEW)[0] == [name for name, _ in NEW]


def test_blocks_and_placeholders_of_multi_backend_keras():
    """Keras 2.2 names no variable, and has one placeholder for each behind the moments of Adam."""
    slots = [("Adam/iterations:0", ())]
    shapes = [*SHAPES, *SHAPES, *[(1,)] * 6]
    slots += [(f"training/Adam/Variable_{i}:0", shape) for i, shape in enumerate(shapes)]
    found, _ = state(model("Adam", **ADAM), slots, "2.2.0")
    order = [i + part for i in range(6) for part in (0, 6)]
    assert found[2:] == [f"training/Adam/Variable_{i}:0" for i in order]


def test_numbered_slots_of_keras_2_3():
    """Keras 2.3 numbers the slots, in the same order."""
    slots = [("Adam/iterations:0", ())]
    for slot, shapes in (("m", SHAPES), ("v", SHAPES), ("vhat", [(1,)] * 6)):
        slots += [(f"training/Adam/{slot}_{i}_1:0", shape) for i, shape in enumerate(shapes)]
    found, _ = state(model("Adam", **ADAM), slots, "2.3.1")
    assert found[2:] == [f"training/Adam/{slot}_{i}_1:0" for i in range(6) for slot in "mv"]


def test_keras_2_0_sorts_variables():
    """There variables come by the names of the weights."""
    order = sorted(range(6), key=NAMES.__getitem__)
    slots = [(f"Variable_{i}:0", SHAPES[i]) for i in order]
    found, _ = state(model("Adagrad"), slots, "2.0.5")
    assert found == [0.0, 0.001, *(f"Variable_{i}:0" for i in range(6))]


@pytest.mark.parametrize(
    ("optimizer", "config", "slots"),
    [
        ("SGD", {"momentum": 0.9}, ["momentum"]),
        ("Adamax", {}, ["m", "v"]),
        ("Adadelta", {}, ["accum_grad", "accum_var"]),
        ("RMSprop", {"momentum": 1, "centered": True}, ["rms", "momentum", "mg"]),
        ("Adam", {"amsgrad": True}, ["m", "v", "vhat"]),
    ],
)
def test_names_of_slots(optimizer, config, slots):
    """The slots of each optimizer are found by what tf.keras up to 2.10 calls them."""
    stored_slots = [("x/iter:0", ()), *pairs("x/{name}/{slot}", *slots)]
    found, notes = state(model(optimizer, **config), stored_slots, "2.4.0")
    assert notes == ()
    assert sorted(found[2:]) == sorted(f"x/{name}/{slot}:0" for name in NAMES for slot in slots)
    assert found[-1] == f"x/z/b/{slots[-1]}:0"


def test_momenta_that_nothing_uses():
    """Keras 2.11 stores momenta of SGD always, Keras 3 with a momentum only."""
    slots = [("iteration:0", ()), *pairs("SGD/m/{name}", "")]
    assert state(model("SGD", momentum=0.0), slots)[0] == ["iteration:0", 0.01]


def test_layers_frozen_or_thawed_since():
    """Slots of frozen variables go; those that were frozen get fresh ones."""
    found, notes = state(model("Adam", ["a"], **ADAM), NEW)
    assert (found[2:], notes) == ([name for name, _ in NEW[5:]], ())
    some = [NEW[0], *NEW[5:]]
    found, notes = state(model("Adam", **ADAM), some)
    assert (found[2:], notes) == ([0.0] * 4 + [name for name, _ in NEW[5:]], ())


def test_names_come_before_what_is_trainable():
    """Slots of one variable never go to another of its shape that is trainable now."""
    config = model("Adam", ["z"], **ADAM)
    config["config"]["layers"] = [dense("a"), dense("z", trainable=False)]
    layers = {name: {f"{name}/k:0": (4, 4), f"{name}/b:0": (4,)} for name in "az"}
    slots = [(f"Adam/z/{part}/{slot}:0", shape) for slot in "mv" for part, shape in KERNEL_AND_BIAS]
    file = stored(layers, optimizer=[("Adam/iter:0", ()), *slots])
    result, notes = relocation(parse(config), *file)
    assert not any(new.startswith("optimizer") for _, new in result.moves)
    assert (len(result.constants), notes) == (5, ())


def test_all_frozen():
    """Then iteration and rate are all there is."""
    assert state(model("Adam", ["a", "n", "z"], **ADAM), NEW)[0] == ["iteration:0", 0.5]


def test_all_frozen_in_keras_2_0():
    """Slots without names are those of variables that were trained when it was compiled."""
    slots = [("SGD/iterations:0", ()), *((f"Variable_{i}:0", it) for i, it in enumerate(SHAPES))]
    config = model("SGD", ["a", "n", "z"], momentum=0.9, learning_rate=0.5)
    assert state(config, slots, "2.2.0")[0] == ["SGD/iterations:0", 0.5]


def test_never_trained():
    """Slots begin as Keras 3 begins them."""
    found, notes = state(model("Adagrad", initial_accumulator_value=0.25), [])
    assert (found, notes) == ([0, 0.001] + [0.25] * 6, ())


@pytest.mark.parametrize(
    ("optimizer", "slots"),
    [("Nadam", OLD), ("Adafactor", OLD), ("Adam", OLD[:-1]), ("Mine", OLD)],
)
def test_what_does_not_go_over(optimizer, slots):
    """The state begins anew, and a note says so."""
    found, (note,) = state(model(optimizer), slots)
    assert note.startswith(f"The state of the optimizer ({optimizer}) does not go over: ")
    assert not any(isinstance(it, str) for it in found)
    assert len(found) == {"Nadam": 2 + 12 + 1, "Adam": 2 + 12}.get(optimizer, 0)


def test_a_loss_scale():
    """Four variables come before, and those inside are stored once more."""
    inner = model("Adam", **ADAM)["compile_config"]["optimizer"]
    config = model("LossScaleOptimizer", inner_optimizer=inner, initial_scale=8.0)
    found, _ = state(config, NEW)
    assert found == [0.0, 0.0, 0.0, 8.0, "iteration:0", 0.5, *(name for name, _ in NEW[1:])]
    result, _ = relocation(parse(config), *stored(WEIGHTS, optimizer=NEW))
    inside = [it.path for it in (*result.computed, *result.constants) if "inner" in it.path]
    assert len(inside) == 14


def test_without_an_optimizer():
    """Of a model that is not compiled the state goes."""
    config = model("Adam")
    del config["compile_config"]
    assert state(config, NEW) == ([], ())
