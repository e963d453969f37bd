"""Where the arrays of archives of Keras 2 go."""

import pytest

from snconvert.config.parsing import parse
from snconvert.errors import SourceError
from snconvert.legacy.groups import of_keras_3, relocation
from snconvert.weights.contents import Contents, Dataset
from tests.support.older_weights import dense, layer, norm

OTHER = "_layer_checkpoint_dependencies"


def stored(*paths, shapes=()):
    shapes = dict(shapes)
    return Contents(
        {path.rpartition("/")[0] for path in paths},
        {path: Dataset(shapes.get(path, (4,)), "float32", "little", 0, 0) for path in paths},
    )


def moved(config, contents):
    result, notes = relocation(parse(config), contents)
    assert notes == ()
    return {old: new for old, new in result.moves if not new.startswith("optimizer")}, result


def model():
    """Two Dense without bias, a Dropout between, in a model inside a model beside another."""

    def plain(name):
        return dense(name, use_bias=False)

    inner = layer("Sequential", "inner", [plain("a"), layer("Dropout", "b"), plain("c")])
    return layer("Functional", "m", [layer("InputLayer", "i"), plain("d"), inner, plain("e")])


def arrays(layers, separator, second):
    """Returns old path -> new path, for a name of `layers` and of the second of a class."""
    inner = f"{layers}{separator}sequential{separator}{layers}{separator}"
    return {
        f"{layers}{separator}dense/vars/0": "layers/dense/vars/0",
        f"{inner}dense/vars/0": "layers/sequential/layers/dense/vars/0",
        f"{inner}{second}/vars/0": "layers/sequential/layers/dense_1/vars/0",
        f"{layers}{separator}{second}/vars/0": "layers/dense_1/vars/0",
    }


@pytest.mark.parametrize(
    ("layers", "separator", "second"),
    [
        ("layers", "/", "dense_1"),
        ("layers", "\\", "dense_1"),
        (OTHER, "/", "dense_1"),
        (OTHER, "/", "dense_2"),
        (OTHER, "\\", "dense_2"),
    ],
)
def test_names_of_groups(layers, separator, second):
    """Keras 2.13 counts layers with weights twice, 2.14 does not; Windows joins by backslashes."""
    wanted = arrays(layers, separator, second)
    shapes = dict.fromkeys(wanted, (3, 4))
    contents = stored(*wanted, "metrics/mean/vars/0", shapes=shapes)
    found, result = moved(model(), contents)
    assert found == wanted
    assert {path.partition("/")[0] for path in contents.datasets} <= set(result.removals)
    inner = "layers/sequential/layers/dense_1"
    old = f"{layers}/sequential/{layers}/{second}"
    assert (old, inner) in result.groups


def test_parts_of_attention():
    """Keras 3 has made the names of the parts of MultiHeadAttention public."""
    config = layer("MultiHeadAttention", "a", num_heads=1, key_dim=2, use_bias=False)
    parts = ("query", "key", "value", "output")
    group = "layers/multi_head_attention"
    paths = {part: f"{group}/_{part}_dense/vars/0" for part in parts}
    shapes = {path: (1, 2, 3) if part == "output" else (3, 1, 2) for part, path in paths.items()}
    contents = stored(*shapes, shapes=shapes)
    contents.groups.add(f"{group}/_softmax/vars")
    found, _ = moved(layer("Functional", "m", [config]), contents)
    assert found == {path: path.replace("/_", "/") for path in shapes}


def test_the_optimizer_has_no_rate():
    """Keras 2 stores no learning rate, so that all behind it stands one place further on."""
    config = layer("Sequential", "m", [norm("n", scale=False)])
    config["compile_config"] = {"optimizer": "adam"}
    folder = "optimizer/vars"
    weights = [f"layers/batch_normalization/vars/{i}" for i in range(3)]
    slots = [f"{folder}/{i}" for i in range(3)]
    contents = stored(*weights, *slots, shapes={slots[0]: ()})
    result, notes = relocation(parse(config), contents)
    assert notes == ()
    assert [(old, new) for old, new in result.moves if old in slots] == [
        (f"{folder}/1", f"{folder}/2"),
        (f"{folder}/2", f"{folder}/3"),
    ]
    assert [(it.path, it.sources) for it in result.computed] == [(f"{folder}/0", (f"{folder}/0",))]
    assert [(it.path, it.value) for it in result.constants] == [(f"{folder}/1", 0.001)]


def test_a_custom_layer():
    """All of it goes over as it is: Keras 3 names what is inside by the same attributes."""
    custom = {**layer("Mine", "mine"), "module": "mine", "registered_name": "mine>Mine"}
    below = ("vars/0", "block/vars/0")
    contents = stored(*(f"{OTHER}/mine/{path}" for path in below))
    found, _ = moved(layer("Sequential", "m", [custom]), contents)
    assert found == {f"{OTHER}/mine/{path}": f"layers/mine/{path}" for path in below}


def test_keras_own_spectral_normalisation():
    """Where the second copy of the kernel is missing it is made."""
    config = layer("SpectralNormalization", "s", power_iterations=1, layer=dense("d"))
    group = "layers/spectral_normalization"
    paths = [f"{group}/{path}" for path in ("vars/1", "layer/vars/0", "layer/vars/1")]
    contents = stored(*paths, shapes={paths[1]: (3, 4)})
    result, _ = relocation(parse(layer("Sequential", "m", [config])), contents)
    assert [(it.path, it.sources) for it in result.computed] == [(f"{group}/vars/0", (paths[1],))]


@pytest.mark.parametrize(
    ("paths", "says"),
    [
        (["layers/dense/vars/0"], "vars/1 is missing"),
        (["layers/dense/vars/0", "layers/dense/vars/1"], r"vars/0 has the shape \(4,\)"),
        (["layers/dense/vars/0", "layers/lstm/vars/0"], "belongs to no layer"),
        (["vars/0"], "belongs to no layer"),
        (["layers/dense/vars/0", "layers\\dense/vars/0"], "twice"),
    ],
)
def test_what_does_not_fit(paths, says):
    """Arrays that are not those of the configuration are refused."""
    shapes = {} if len(paths) > 1 and "1" in paths[1] else {"layers/dense/vars/0": (3, 4)}
    with pytest.raises(SourceError, match=says):
        relocation(parse(layer("Sequential", "m", [dense("d")])), stored(*paths, shapes=shapes))


@pytest.mark.parametrize(
    ("paths", "keras_2", "keras_3"),
    [
        (["optimizer/vars/0", "optimizer/vars/1", "optimizer/vars/2"], True, True),
        (["optimizer/vars/0", "optimizer/vars/2"], True, False),
        (["optimizer/vars/0", "optimizer/vars/2"], False, True),
        (["optimizer/vars/0", "optimizer/vars/1", "optimizer/vars/2", "metrics/m"], False, False),
        ([f"{OTHER}/dense/vars/0"], False, False),
        (["layers\\dense/vars/0"], False, False),
        (["layers/multi_head_attention/_query_dense/vars/0"], False, False),
    ],
)
def test_who_wrote_weights_alone(paths, keras_2, keras_3):
    """A learning rate tells Keras 3, some names Keras 2, and else the configuration does."""
    scalars = {"optimizer/vars/0": (), "optimizer/vars/1": ()}
    root = parse(layer("Sequential", "m", [dense("d")]))
    assert of_keras_3(root, stored(*paths, shapes=scalars), keras_2) is keras_3


def test_slots_behind_the_iteration_tell_keras_2():
    """There Keras 2 has the first slot, whatever the configuration is; a schedule hides it."""
    config = layer("Sequential", "m", [dense("d")])
    contents = stored("optimizer/vars/0", "optimizer/vars/1", shapes={"optimizer/vars/0": ()})
    assert not of_keras_3(parse(config), contents, keras_2=False)
    schedule = {"class_name": "Adam", "config": {"learning_rate": {"class_name": "CosineDecay"}}}
    config["compile_config"] = {"optimizer": schedule}
    assert of_keras_3(parse(config), contents, keras_2=False)
