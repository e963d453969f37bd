"""Older weights become those of Keras 3 by a few changed blocks."""

import io
import tempfile

import h5py
import numpy as np
import pytest

from snconvert.jobs.relocate import relocate
from snconvert.legacy.relocation import Computed, Constant, Relocation
from snconvert.weights.extent import Changes, Extent
from snconvert.weights.reading import read_dataset, scan


def relocated(write, relocation):
    """Returns the arrays of a file after a relocation, and the names of its root's attributes."""
    with tempfile.TemporaryFile(buffering=0) as file:
        with h5py.File(file, "w") as h5:
            write(h5)
        size = file.seek(0, io.SEEK_END)
        extent = Extent(file.fileno(), 0, size)
        overlay = relocate(extent, relocation)
        assert overlay.fills == ()
        after = extent._replace(changes=Changes(*overlay[:3]))
        arrays = {path: read_dataset(after, path) for path in scan(after).datasets}
        with h5py.File(io.BytesIO(after.pread(after.size, 0)), "r") as h5:
            return arrays, set(h5.attrs)


def test_moves_additions_and_removals():
    """Arrays move with their bytes, encoded or not, and the configuration goes."""
    kernel = np.arange(6, dtype="f4").reshape(2, 3)

    def write(h5):
        h5["model_weights/d/d/kernel:0"] = kernel
        h5.create_dataset("model_weights/d/d/bias:0", data=kernel[0], chunks=(2,), compression=1)
        h5["layers"] = np.ones(3)
        h5.attrs["model_config"] = "{}" * 1000
        h5.attrs["keras_version"] = "2.4.0"

    moves = [
        ("model_weights/d/d/kernel:0", "layers/dense/vars/0"),
        ("model_weights/d/d/bias:0", "layers/dense/vars/1"),
    ]
    constants = [Constant("optimizer/vars/0", "int64", 3), Constant("z", "float32", 0.5, (2, 2))]
    relocation = Relocation(moves, ["model_weights", "layers"], constants)
    arrays, attributes = relocated(write, relocation)
    assert set(arrays) == {path for _, path in moves} | {"optimizer/vars/0", "z"}
    np.testing.assert_array_equal(arrays["layers/dense/vars/0"], kernel)
    np.testing.assert_array_equal(arrays["layers/dense/vars/1"], kernel[0])
    assert (arrays["optimizer/vars/0"], arrays["optimizer/vars/0"].dtype) == (3, np.int64)
    np.testing.assert_array_equal(arrays["z"], np.full((2, 2), 0.5, "f4"))
    assert attributes == set()


UNITS, FEATURES = 3, 2


def gates(count, seed):
    random = np.random.default_rng(seed)
    kernels = [random.normal(size=(FEATURES, UNITS)).astype("f4") for _ in range(count)]
    recurrent = [random.normal(size=(UNITS, UNITS)).astype("f4") for _ in range(count)]
    return kernels, recurrent


@pytest.mark.parametrize("count", [3, 4])
def test_layers_for_cudnn(count):
    """cuDNN keeps each gate's kernel column by column, where Keras has rows."""
    kernels, recurrent = gates(count, 0)
    stored = [kernel.reshape(-1, order="F").reshape(FEATURES, UNITS) for kernel in kernels]

    def write(h5):
        h5["w/0"] = np.concatenate(stored, 1)
        # the transposed of each, as the matrix is applied from the other side
        h5["w/1"] = np.concatenate([kernel.T for kernel in recurrent], 1)
        h5["w/2"] = np.arange(2 * count * UNITS, dtype="f4")

    bias = {3: "cudnn_gru_bias", 4: "cudnn_lstm_bias"}[count]
    computed = [
        Computed("a", "cudnn_kernel", ("w/0", "w/1")),
        Computed("b", "cudnn_recurrent_kernel", ("w/1",)),
        Computed("c", bias, ("w/2",)),
    ]
    arrays, _ = relocated(write, Relocation(removals=["w"], computed=computed))
    # A kernel that is written by columns reads as its transposed, in rows of other lengths.
    wanted = [one.T.reshape(FEATURES, UNITS, order="F") for one in stored]
    np.testing.assert_array_equal(arrays["a"], np.concatenate(wanted, 1))
    np.testing.assert_array_equal(arrays["b"], np.concatenate(recurrent, 1))
    width = count * UNITS
    both = np.arange(2 * width, dtype="f4").reshape(2, width)
    np.testing.assert_array_equal(arrays["c"], both if count == 3 else both.sum(0))


def test_other_formulas():
    """Theano's kernels are turned round in space only; iterations become whole numbers."""
    kernel = np.arange(24, dtype="f4").reshape(3, 2, 2, 2)

    def write(h5):
        h5["w/0"] = kernel
        h5["w/1"] = np.float32(7)

    computed = [Computed("a", "flipped", ("w/0",)), Computed("b", "int64", ("w/1",))]
    computed.append(Computed("c", "copy", ("w/0",)))
    arrays, _ = relocated(write, Relocation(removals=["w"], computed=computed))
    np.testing.assert_array_equal(arrays["a"], kernel[::-1, ::-1])
    assert (arrays["b"].shape, arrays["b"].dtype, int(arrays["b"])) == ((), np.int64, 7)
    np.testing.assert_array_equal(arrays["c"], kernel)
