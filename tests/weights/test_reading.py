import io
import json
import os
import re
import resource
import tempfile

import h5py
import numpy as np
import pytest
from hdf5_files import built, content
from hypothesis import given, settings
from hypothesis import strategies as st
from places import DATA

from snconvert.errors import SnconvertError, SourceError
from snconvert.formats.table import open_model
from snconvert.sandbox.worker import Worker
from snconvert.weights.datasets import numpy_type
from snconvert.weights.editing import edit
from snconvert.weights.extent import Extent
from snconvert.weights.reading import read_dataset, scan

CASES = DATA / "corpus" / "cases"
VERDICTS = {
    case["id"]: case
    for case in json.loads((DATA / "corpus" / "manifest.json").read_text())["cases"]
    if case["cat"] == "h5"
}
# These are good HDF5; what is wrong shows beside the model's configuration only.
NEED_CONFIGURATION = {
    "h5_bias_missing.keras",
    "h5_extra_group.keras",
    "h5_layer_missing.keras",
    "h5_layers_missing.keras",
    "h5_transposed.keras",
    "h5_var_name_odd.keras",
}
MODELS = sorted(path for path in (DATA / "models").glob("[av]*.keras") if "npz" not in path.name)


@pytest.fixture(scope="module")
def worker():
    with Worker() as worker:
        yield worker


@pytest.mark.parametrize("name", VERDICTS)
def test_the_corpus_comes_out_as_its_manifest_says(worker, name):
    """Each odd weights file is read, or refused by one error that names the problem."""
    case, error = VERDICTS[name], None
    try:
        with open_model(CASES / name) as source:
            contents = worker.call(scan, source.weights, seconds=10)
            for path in contents.datasets:
                worker.call(read_dataset, source.weights, path, seconds=10)
    except SnconvertError as caught:
        error = caught
    if name in NEED_CONFIGURATION or case["verdict"] == "accept":
        assert error is None
    elif case["verdict"] == "reject":
        assert error is not None
        assert "\n" not in str(error)
        assert re.search(case["says"] or "", str(error), re.IGNORECASE)


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)
def test_a_scan_finds_what_h5py_finds(path):
    """Groups, shapes, types and the places of the bytes are those of the file."""
    with open_model(path) as source:
        data = bytes(source.weights.view(source.weights.size, 0))
        contents = scan(source.weights)
        expected = content(data)
        assert contents.groups == {name for name, item in expected.items() if item is None}
        assert contents.datasets.keys() == expected.keys() - contents.groups
        for name, dataset in contents.datasets.items():
            shape, dtype, raw = expected[name]
            assert dataset.shape == shape
            assert numpy_type(dataset).str == dtype or (dataset.dtype, dtype) == ("bfloat16", "|V2")
            assert data[dataset.offset :][: dataset.nbytes] == raw
            read = read_dataset(source.weights, name)
            assert (read.shape, read.dtype, read.tobytes()) == (shape, numpy_type(dataset), raw)


@pytest.mark.parametrize("name", ["h5_gzip.keras", "h5_bigendian.keras", "h5_latest.keras"])
def test_other_good_files_give_the_same_values(name):
    """Compressed, big-endian and new-style files hold the values that h5py reads."""
    with (
        open_model(CASES / name) as source,
        h5py.File(io.BytesIO(source.weights.view(source.weights.size, 0))) as file,
    ):
        for path in scan(source.weights).datasets:
            np.testing.assert_array_equal(read_dataset(source.weights, path), file[path][()])


def external_link(file, bait):
    file["layers"] = h5py.ExternalLink(bait, "/")


def soft_link(file, _):
    file["layers"] = h5py.SoftLink("/vars")


def cycle(file, _):
    group = file.create_group("layers")
    group["layers"] = group


def root_cycle(file, _):
    file["layers"] = file["/"]


def external_storage(file, bait):
    file.create_dataset("k", (4,), "f4", external=[(bait, 0, 16)])


def virtual(file, bait):
    layout = h5py.VirtualLayout((4,), "f4", maxshape=(None,))
    layout[:] = h5py.VirtualSource(bait, "k", (4,), maxshape=(None,))[:]
    file.create_virtual_dataset("k", layout)


def text(file, _):
    file["k"] = "hello"


def reference(file, _):
    file.create_dataset("k", data=file.ref, dtype=h5py.ref_dtype)


def null(file, _):
    file["k"] = h5py.Empty("f4")


def half_stored(file, _):
    file.create_dataset("k", (64, 64), "f4", chunks=(8, 8))[:8] = 1


def bomb(file, _):
    file.create_dataset("k", data=np.zeros((4096, 4096), "f8"), compression="gzip")


def fletcher(file, _):
    file.create_dataset("k", data=np.zeros(8), chunks=(8,), fletcher32=True)


def escape(file, _):
    file.create_group("a\x1b[2Jb")


def dots(file, _):
    file.create_group("..")


@pytest.mark.parametrize(
    ("fill", "word"),
    [
        (external_link, "is an external link"),
        (soft_link, "is a soft link"),
        (cycle, "hard link"),
        (root_cycle, "hard link"),
        (external_storage, "external"),
        (virtual, "virtual"),
        (text, "text|variable length"),
        (reference, "reference"),
        (null, "no shape"),
        (half_stored, "8 of 64 chunks"),
        (bomb, "only .* stored"),
        (fletcher, "filter 3"),
        (escape, "not plain"),
        (dots, "not plain"),
    ],
)
def test_what_keras_does_not_write_is_refused(extent_of, tmp_path, worker, fill, word):
    """Links, other files, missing or hidden data are refused; a pipe behind them is not opened."""
    bait = str(tmp_path / "pipe")
    os.mkfifo(bait)
    data = built(lambda file: fill(file, bait))
    with pytest.raises(SourceError, match=word) as caught:
        worker.call(scan, extent_of(data), seconds=5)
    assert "\x1b" not in str(caught.value)


def test_deep_nesting_is_bounded(extent_of):
    """Groups in groups without end are refused."""
    data = built(lambda file: file.create_group("/".join("a" * 600)))
    with pytest.raises(SourceError, match="too many"):
        scan(extent_of(data))


def test_overlapping_data_is_refused(extent_of):
    """Two arrays never share bytes."""

    def fill(file):
        file.create_dataset("a", data=np.arange(1024, dtype="f4"))
        file.create_dataset("b", data=np.arange(1024, dtype="f4"))

    data = built(fill)
    with h5py.File(io.BytesIO(data)) as file:
        first, second = (file[name].id.get_offset() for name in "ab")
    assert data.count(second.to_bytes(8, "little")) == 1
    data = data.replace(second.to_bytes(8, "little"), (first + 8).to_bytes(8, "little"))
    with pytest.raises(SourceError, match="share bytes"):
        scan(extent_of(data))


def test_reading_leaves_the_process_as_it_was(extent_of):
    """The limit on open files is restored, and no plugin path is left."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    h5py.h5pl.append(b"/tmp/plugins")
    scan(extent_of(built(lambda _: None)))
    with pytest.raises(SourceError):
        scan(extent_of(b"\x89HDF\r\n\x1a\n" + bytes(100)))
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == before
    assert h5py.h5pl.size() == 0


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_damage_is_a_source_error_or_readable(data):
    """Random damage gives one SourceError, or a file whose arrays lie inside it."""
    with open_model(CASES / "ok_adam.keras") as source:
        damaged = bytearray(source.weights.view(source.weights.size, 0))
    for _ in range(data.draw(st.integers(1, 12))):
        damaged[data.draw(st.integers(8, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    with tempfile.TemporaryFile(buffering=0) as file, Worker() as worker:
        file.write(damaged)
        extent = Extent(file.fileno(), 0, len(damaged))
        try:
            contents = worker.call(scan, extent, seconds=5)
            for path, dataset in contents.datasets.items():
                assert dataset.offset is None or dataset.offset + dataset.nbytes <= extent.size
                worker.call(read_dataset, extent, path, seconds=5)
            worker.call(edit, extent, [("layers", "other")], seconds=5)
        except SourceError:
            pass
