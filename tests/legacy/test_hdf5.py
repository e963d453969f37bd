"""Where the arrays of whole models in HDF5 go."""

import io
import json
import zipfile

import h5py
import numpy as np
import pytest

from snconvert.config.parsing import parse
from snconvert.errors import SourceError
from snconvert.jobs.relocate import relocate
from snconvert.legacy.hdf5 import relocation
from snconvert.weights.attributes import read_attributes
from snconvert.weights.extent import Changes, Extent
from snconvert.weights.reading import read_dataset, scan
from tests.support.older_weights import dense, layer, norm, stored


def moved(config, *file):
    """Returns new path -> name of the weight in the file, for all that only move."""
    result, _ = relocation(parse(config), *file)
    return {new: old.split("/", 2)[2] for old, new in result.moves}


NORM = ("gamma", "beta", "mean", "variance")


def nested(frozen=(), **config):
    inner = [dense("d", trainable="d" not in frozen), norm("n"), dense("e")]
    return layer("Sequential", "model", [layer("Sequential", "inner", inner, **config)])


def of_nested(order):
    shapes = {"d": (3, 4), "e": (4, 4)}
    return {
        "inner": {name: shapes.get(name[0], (4,)) if name[1:] == "k" else (4,) for name in order}
    }


INNER = "layers/sequential/layers"
WANTED = {
    **{f"{INNER}/dense/vars/{i}": f"d{part}" for i, part in enumerate("kb")},
    **{f"{INNER}/batch_normalization/vars/{i}": part for i, part in enumerate(NORM)},
    **{f"{INNER}/dense_1/vars/{i}": f"e{part}" for i, part in enumerate("kb")},
}


@pytest.mark.parametrize(
    ("frozen", "order"),
    [
        ((), ["dk", "db", "gamma", "beta", "ek", "eb", "mean", "variance"]),
        (("d",), ["gamma", "beta", "ek", "eb", "dk", "db", "mean", "variance"]),
    ],
)
@pytest.mark.parametrize("version", ["2.11.0", "3.5.0"])
def test_nested_models(frozen, order, version):
    """Trainable arrays of all layers inside a model come first, then the others."""
    file = stored(of_nested(order), version=version)
    assert moved(nested(frozen), *file) == WANTED


def test_a_frozen_wrapper_around_a_model():
    """A frozen layer of Keras 2 lists the arrays of a model inside it behind its own."""
    config = nested()
    inner = config["config"]["layers"][0]
    config["config"]["layers"] = [layer("TimeDistributed", "t", layer=inner, trainable=False)]
    order = ["dk", "db", "gamma", "beta", "ek", "eb", "mean", "variance"]
    file = stored({"t": of_nested(order)["inner"]})
    wanted = {
        key.replace("sequential", "time_distributed/layer"): name for key, name in WANTED.items()
    }
    assert moved(config, *file) == wanted


def test_wrappers_of_keras_2_0_do_not_freeze():
    """There a frozen wrapper inside a model lists its weights among the trainable ones."""
    wrapper = layer("TimeDistributed", "t", layer=dense("d"), trainable=False)
    config = layer("Sequential", "m", [layer("Sequential", "i", [wrapper, dense("e", 2)])])
    group = "layers/sequential/layers"
    wrapped, plain = f"{group}/time_distributed/layer/vars", f"{group}/dense/vars"
    shapes = {"dk": (3, 4), "db": (4,), "ek": (4, 2), "eb": (2,)}
    wanted = {f"{wrapped}/0": "dk", f"{wrapped}/1": "db", f"{plain}/0": "ek", f"{plain}/1": "eb"}
    for order in (["dk", "db", "ek", "eb"], ["ek", "eb", "dk", "db"]):
        file = stored({"i": {name: shapes[name] for name in order}}, version="2.0.5")
        assert moved(config, *file) == wanted


def test_weights_of_layers_for_cudnn_are_computed():
    """A bias of twice the size tells that the layer was made for cuDNN."""
    config = layer("Sequential", "m", [layer("LSTM", "l", units=2), layer("GRU", "g", units=2)])
    layers = {
        "l": {"k": (3, 8), "r": (2, 8), "b": (16,)},
        "g": {"k": (2, 6), "r": (2, 6), "b": (12,)},
    }
    result, _ = relocation(parse(config), *stored(layers))
    assert result.moves == []
    assert {item.path: (item.formula, len(item.sources)) for item in result.computed} == {
        "layers/lstm/cell/vars/0": ("cudnn_kernel", 2),
        "layers/lstm/cell/vars/1": ("cudnn_recurrent_kernel", 1),
        "layers/lstm/cell/vars/2": ("cudnn_lstm_bias", 1),
        "layers/gru/cell/vars/0": ("cudnn_kernel", 2),
        "layers/gru/cell/vars/1": ("cudnn_recurrent_kernel", 1),
        "layers/gru/cell/vars/2": ("cudnn_gru_bias", 1),
    }


def test_kernels_of_theano_are_flipped():
    """Theano convolved, where other backends correlate."""
    conv = layer("Conv2D", "c", filters=2, kernel_size=[3, 3], groups=1)
    layers = {"c": {"k": (3, 3, 1, 2), "b": (2,)}}
    result, _ = relocation(
        parse(layer("Sequential", "m", [conv])), *stored(layers, backend="theano")
    )
    assert [(item.path, item.formula) for item in result.computed] == [
        ("layers/conv2d/vars/0", "flipped")
    ]


def test_layers_of_unknown_class():
    """What a custom layer itself holds goes over; what layers inside it hold cannot."""
    custom = {**layer("Mine", "mine"), "module": "mine", "registered_name": "mine>Mine"}
    config = layer("Sequential", "m", [custom, dense("d")])
    file = stored({"mine": {"mine/w:0": (2,), "mine/x:0": ()}, "d": {"k": (2, 4), "b": (4,)}})
    assert list(moved(config, *file))[:2] == ["layers/mine/vars/0", "layers/mine/vars/1"]
    file = stored({"mine": {"mine/dense/kernel:0": (2,)}, "d": {"k": (2, 4), "b": (4,)}})
    with pytest.raises(SourceError, match=r"mine.*layers of its own"):
        relocation(parse(config), *file)


@pytest.mark.parametrize(
    ("layers", "options", "says"),
    [
        ({"d": {"k": (3, 4)}}, {}, "holds 1 arrays of it, but its configuration makes 2"),
        ({"d": {"k": (3, 5), "b": (5,)}}, {}, r"is \(3, 5\), but \(any, 4\) is expected"),
        ({"d": {"k": (3, 4), "b": (4,)}, "x": {"k": (1,)}}, {}, "weights of 2 layers, but 1"),
        ({"d": {"k": (3, 4), "b": (4,)}}, {"version": "1.2.2"}, "another form"),
        ({"d": {"k": (3, 4), "b": (4,)}}, {"top_level": ("x",)}, "of the model itself"),
    ],
)
def test_what_does_not_fit(layers, options, says):
    """Weights that are not those of the configuration are refused, with the layer's name."""
    config = layer("Sequential", "m", [dense("d")])
    with pytest.raises(SourceError, match=says):
        relocation(parse(config), *stored(layers, **options))


def named(*names, units=4):
    layers = [dense(name, count) for name, count in zip(names, (4, units), strict=False)]
    return layer("Sequential", "m", [layer("InputLayer", "i"), *layers])


def test_layers_in_another_order():
    """Where the names are the same ones they say which is which, and a note tells it."""
    file = stored({name: {f"{name}/k": (4, 4), f"{name}/b": (4,)} for name in "xy"})
    for names, wanted in (("yx", "yx"), ("xy", "xy"), ("yz", "xy")):
        result, notes = relocation(parse(named(*names)), *file)
        kernels = {new: old for old, new in result.moves if new.endswith("/0")}
        assert kernels == {
            f"layers/dense{suffix}/vars/0": f"model_weights/{name}/{name}/k"
            for suffix, name in zip(("", "_1"), wanted, strict=True)
        }
        assert len(notes) == (wanted == "yx")


def test_names_that_contradict_the_shapes():
    """A layer whose name stands for other shapes is refused, with the one in its place."""
    shapes = {"x": {"x/k": (4, 4), "x/b": (4,)}, "y": {"y/k": (4, 2), "y/b": (2,)}}
    with pytest.raises(SourceError, match=r"y \(Dense\): the file has x in its place, and .*y/k"):
        relocation(parse(named("y", "x", units=2)), *stored(shapes))


def test_a_weight_that_is_not_there():
    """Each listed array must exist, and only once."""
    attributes, contents = stored({"d": {"k": (3, 4), "b": (4,)}})
    config = parse(layer("Sequential", "m", [dense("d")]))
    twice = attributes._replace(layers=(("d", ("model_weights/d/k", "model_weights/d/k")),))
    with pytest.raises(SourceError, match="listed twice"):
        relocation(config, twice, contents)
    contents.datasets.popitem()
    with pytest.raises(SourceError, match="there is no array"):
        relocation(config, attributes, contents)


@pytest.mark.keras
def test_as_keras_3_stores_it(tmp_path):
    """Of a model of many kinds, HDF5 and the archive by Keras 3 come to the same arrays."""
    import keras

    k = keras.layers
    inner = keras.Sequential(
        [k.Input((6, 4)), k.Dense(4), k.BatchNormalization(), k.Dense(4, trainable=False)]
    )
    x = start = k.Input((6, 4))
    x = k.Bidirectional(k.LSTM(2, return_sequences=True))(inner(x))
    x = k.MultiHeadAttention(2, 3)(x, x)
    x = k.RNN([k.GRUCell(3), k.LSTMCell(4)], return_sequences=True)(x)
    x = k.TimeDistributed(k.Dense(4))(k.LayerNormalization()(x))
    x = k.PReLU()(k.SeparableConv1D(4, 2)(inner(k.Conv1D(4, 1)(x))))
    model = keras.Model(start, k.GRU(2)(k.SpectralNormalization(k.Dense(3))(x)))
    model.compile("adam", "mse", run_eagerly=True)
    random = np.random.default_rng(0)
    model.fit(random.normal(size=(4, 6, 4)), random.normal(size=(4, 2)), verbose=0)
    model.save(tmp_path / "m.keras")
    model.save(tmp_path / "m.h5")
    with zipfile.ZipFile(tmp_path / "m.keras") as archive:
        config = json.loads(archive.read("config.json"))
        wanted = {}
        with h5py.File(io.BytesIO(archive.read("model.weights.h5"))) as h5:
            h5.visititems(
                lambda name, item: (
                    wanted.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None
                )
            )
    with (tmp_path / "m.h5").open("rb") as file:
        extent = Extent(file.fileno(), 0, (tmp_path / "m.h5").stat().st_size)
        result, notes = relocation(parse(config), read_attributes(extent), scan(extent))
        after = extent._replace(changes=Changes(*relocate(extent, result)[:3]))
        have = {path: read_dataset(after, path) for path in scan(after).datasets}
    assert notes == ()
    assert set(have) == set(wanted)
    for path, array in wanted.items():
        np.testing.assert_array_equal(have[path], array, err_msg=path)
