import bz2
import gzip
import lzma
import pickle

import pytest

from snconvert.core import foreign

FILES = {
    "empty": b"",
    "gzip": gzip.compress(b"x"),
    "bzip2": bz2.compress(b"x"),
    "xz": lzma.compress(b"x"),
    "pickle": pickle.dumps({"a": 1}),
    "HTML": b"\n<!DOCTYPE html><html>",
    "Git LFS": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
    "sharded": b'{"metadata": {}, "weight_map": {}}',
    "configuration": b'{"module": "keras", "class_name": "Sequential"}',
    "JSON": b"[1]",
    "tar": bytes(257) + b"ustar",
    "TensorFlow Lite": b"\x1c\0\0\0TFL3",
    "numpy": b"\x93NUMPY\x01",
    "truncated": b"PK\x03",
    "not a zip archive": b"hello",
    "block of other data": bytes(512) + foreign.HDF5,
}


@pytest.mark.parametrize("word", FILES)
def test_a_file_is_called_what_it_is(word):
    """The message names the kind of the file, and says what to do."""
    error = foreign.unknown_file(FILES[word], len(FILES[word]))
    assert word in error.what
    assert error.fix


@pytest.mark.parametrize(
    ("names", "word"),
    [
        (["config.json", "metadata.json", "model.weights.npz"], "npz"),
        (["config.json", "model.weights.json", "model_00000.weights.h5"], "sharded"),
        (["saved_model.pb", "variables"], "SavedModel"),
        (["_CHECKPOINT_METADATA", "default"], "Orbax"),
        (["checkpoint", "model.index"], "TensorFlow checkpoint"),
        (["a.npy", "b.npy"], "npz"),
        (["archive/data.pkl"], "PyTorch"),
    ],
)
def test_an_archive_or_folder_is_called_what_it_is(names, word):
    """The members tell what an archive is that Keras did not write."""
    assert word in foreign.unknown_members(names).what


def test_hdf5_is_called_what_it_is():
    """Weights alone are called by what wrote them, with what to give beside them."""
    old = foreign.weights_only({"dense", "dense/dense"}, listed=True)
    new = foreign.weights_only({"layers", "layers/dense", "layers/dense/vars"}, listed=False)
    other = foreign.weights_only({"data"}, listed=False)
    assert "Keras 2" in old.what
    assert "Keras 3" in new.what
    assert "--config" in old.fix
    assert old.fix == new.fix
    assert "another program" in other.what


def test_keras_own_files_pass():
    """What Keras writes is not called something else."""
    assert foreign.unknown_members(["config.json", "metadata.json", "model.weights.h5"]) is None
    assert foreign.unknown_weights(foreign.HDF5) is None


@pytest.mark.parametrize(("head", "word"), [(b"", "empty"), (b"PK\x03\x04", "npz"), (b"x", "HDF5")])
def test_weights_that_are_not_hdf5_are_named(head, word):
    """Anything but HDF5 under the weights' name is refused by what it is."""
    assert word in foreign.unknown_weights(head).what
