"""What the attributes of older HDF5 files say, and hostile ones."""

import io

import h5py
import numpy as np
import pytest

from snconvert.errors import SourceError
from snconvert.weights.attributes import read_attributes
from snconvert.weights.reading import scan


def file_of(write):
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        write(file)
    return buffer.getvalue()


def whole_model(file):
    file.attrs["model_config"] = "{}"
    file.attrs["training_config"] = b"{}"
    file.attrs["keras_version"] = np.bytes_("2.2.4-tf")
    weights = file.create_group("model_weights")
    weights.attrs["layer_names"] = [b"dense", b"dropout"]
    weights.attrs["backend"] = "theano"
    weights.create_group("dense").attrs["weight_names"] = ["dense/kernel:0", "dense/bias:0"]
    weights["dense/dense/kernel:0"] = np.ones((2, 1), "f4")
    weights.create_group("dropout").attrs["weight_names"] = np.zeros((0,))
    optimizer = file.create_group("optimizer_weights")
    optimizer.attrs["weight_names"] = [b"Adam/iter:0"]


def test_a_whole_model(extent_of):
    """Texts come in each form that h5py writes, and paths are those in the file."""
    extent = extent_of(file_of(whole_model))
    scan(extent)
    read = read_attributes(extent)
    assert read[:4] == ("{}", "{}", "2.2.4-tf", "theano")
    assert read.layers == (
        ("dense", ("model_weights/dense/dense/kernel:0", "model_weights/dense/dense/bias:0")),
        ("dropout", ()),
    )
    assert read.top_level == ()
    assert read.optimizer == ("optimizer_weights/Adam/iter:0",)


def test_weights_only(extent_of):
    """`save_weights` lists the layers at the root, long lists in parts."""

    def write(file):
        file.attrs["layer_names0"] = [b"a"]
        file.attrs["layer_names1"] = [b"b"]
        for name in ("a", "b"):
            group = file.create_group(name)
            for part in range(2):
                group.attrs[f"weight_names{part}"] = [f"{name}/{part}:0".encode()]

    read = read_attributes(extent_of(file_of(write)))
    assert read.model_config is None
    assert read.layers == (("a", ("a/a/0:0", "a/a/1:0")), ("b", ("b/b/0:0", "b/b/1:0")))


def test_weights_of_keras_3(extent_of):
    """A file without such attributes lists no layers."""
    read = read_attributes(extent_of(file_of(lambda file: file.create_group("layers"))))
    assert read.layers is None


@pytest.mark.parametrize(
    ("write", "says"),
    [
        (lambda file: file.attrs.create("model_config", 3), "no text"),
        (lambda file: file.attrs.create("model_config", ["a", "b"]), "2 texts"),
        (lambda file: file.attrs.create("model_config", np.bytes_(b"\xff")), "UTF-8"),
        (lambda file: file.attrs.create("layer_names", [[b"a"]]), "no text"),
        (lambda file: file.attrs.create("layer_names", [b"../a"]), "no plain name"),
        (lambda file: file.attrs.create("layer_names", [b"/a"]), "no plain name"),
        (lambda file: file.attrs.create("layer_names", [b"a\n"]), "no plain name"),
        (lambda file: file.attrs.create("layer_names", [1.0]), "no text"),
        (lambda file: file.create_dataset("model_weights", data=1), "a group is expected"),
    ],
)
def test_hostile_attributes(extent_of, write, says):
    """What Keras does not write is refused in one line."""
    with pytest.raises(SourceError, match=says) as error:
        read_attributes(extent_of(file_of(write)))
    assert "\n" not in str(error.value)


def test_too_much_text(extent_of):
    """Texts that all lie in one place of the file are counted as often as they are named."""

    def write(file):
        kind = h5py.string_dtype()
        file.attrs.create("layer_names", ["x" * (1 << 20)] * 70, dtype=kind)

    with pytest.raises(SourceError, match="too much text"):
        read_attributes(extent_of(file_of(write)))
