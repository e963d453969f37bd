import io
import json
import os
import re
import resource
import tempfile

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from places import DATA

from snconvert.archive.source import open_source
from snconvert.errors import SnconvertError, SourceError
from snconvert.sandbox.worker import Worker
from snconvert.weights import h5
from snconvert.weights.datasets import numpy_type
from snconvert.weights.extent import Extent
from snconvert.weights.overlay import Overlay

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


@pytest.fixture
def extent_of():
    """Returns a function that gives the extent of some bytes."""
    files = []

    def make(data):
        file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - closed below
        files.append(file)
        file.write(b"before" + data + b"after")
        return Extent(file.fileno(), 6, len(data))

    yield make
    for file in files:
        file.close()


def built(fill, **options):
    """Returns the bytes of an HDF5 file that `fill` filled."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", **options) as file:
        fill(file)
    return buffer.getvalue()


def applied(extent: Extent, overlay: Overlay) -> bytes:
    """Returns the bytes of the extent with the overlay on them."""
    result = bytearray(extent.pread(extent.size, 0)[: overlay.size].ljust(overlay.size, b"\0"))
    for index, block in overlay.blocks.items():
        result[index * overlay.block : index * overlay.block + len(block)] = block
    return bytes(result)


def content(data):
    """Returns shape, type and bytes of every dataset, as h5py reads them; groups as None."""
    found = {}

    def visit(name, item):
        group = isinstance(item, h5py.Group)
        found[name] = None if group else (item.shape, item.dtype.str, item[()].tobytes())

    with h5py.File(io.BytesIO(data), "r") as file:
        file.visititems(visit)
    return found


@pytest.mark.parametrize("name", VERDICTS)
def test_the_corpus_comes_out_as_its_manifest_says(worker, name):
    """Each odd weights file is read, or refused by one error that names the problem."""
    case, error = VERDICTS[name], None
    try:
        with open_source(CASES / name) as source:
            contents = worker.call(h5.scan, source.weights, seconds=10)
            for path in contents.datasets:
                worker.call(h5.read_dataset, source.weights, path, seconds=10)
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
    with open_source(path) as source:
        data = bytes(source.weights.map())
        contents = h5.scan(source.weights)
        expected = content(data)
        assert contents.groups == {name for name, item in expected.items() if item is None}
        assert contents.datasets.keys() == expected.keys() - contents.groups
        for name, dataset in contents.datasets.items():
            shape, dtype, raw = expected[name]
            assert dataset.shape == shape
            assert numpy_type(dataset).str == dtype or (dataset.dtype, dtype) == ("bfloat16", "|V2")
            assert data[dataset.offset :][: dataset.nbytes] == raw
            read = h5.read_dataset(source.weights, name)
            assert (read.shape, read.dtype, read.tobytes()) == (shape, numpy_type(dataset), raw)


@pytest.mark.parametrize("name", ["h5_gzip.keras", "h5_bigendian.keras", "h5_latest.keras"])
def test_other_good_files_give_the_same_values(name):
    """Compressed, big-endian and new-style files hold the values that h5py reads."""
    with open_source(CASES / name) as source, h5py.File(io.BytesIO(source.weights.map())) as file:
        for path in h5.scan(source.weights).datasets:
            np.testing.assert_array_equal(h5.read_dataset(source.weights, path), file[path][()])


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
        worker.call(h5.scan, extent_of(data), seconds=5)
    assert "\x1b" not in str(caught.value)


def test_deep_nesting_is_bounded(extent_of):
    """Groups in groups without end are refused."""
    data = built(lambda file: file.create_group("/".join("a" * 600)))
    with pytest.raises(SourceError, match="too many"):
        h5.scan(extent_of(data))


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
        h5.scan(extent_of(data))


def test_reading_leaves_the_process_as_it_was(extent_of):
    """The limit on open files is restored, and no plugin path is left."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    h5py.h5pl.append(b"/tmp/plugins")
    h5.scan(extent_of(built(lambda _: None)))
    with pytest.raises(SourceError):
        h5.scan(extent_of(b"\x89HDF\r\n\x1a\n" + bytes(100)))
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == before
    assert h5py.h5pl.size() == 0


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_damage_is_a_source_error_or_readable(data):
    """Random damage gives one SourceError, or a file whose arrays lie inside it."""
    with open_source(CASES / "ok_adam.keras") as source:
        damaged = bytearray(source.weights.map())
    for _ in range(data.draw(st.integers(1, 12))):
        damaged[data.draw(st.integers(8, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    with tempfile.TemporaryFile(buffering=0) as file, Worker() as worker:
        file.write(damaged)
        extent = Extent(file.fileno(), 0, len(damaged))
        try:
            contents = worker.call(h5.scan, extent, seconds=5)
            for path, dataset in contents.datasets.items():
                assert dataset.offset is None or dataset.offset + dataset.nbytes <= extent.size
                worker.call(h5.read_dataset, extent, path, seconds=5)
            worker.call(h5.edit, extent, [("layers", "other")], seconds=5)
        except SourceError:
            pass


def layers(file):
    """Five numbered layers, one of them with a layer inside."""
    for index in range(5):
        file.create_group(f"layers/dense_{index}/vars").attrs["name"] = f"n{index}"
        for number in range(2):
            file[f"layers/dense_{index}/vars/{number}"] = np.full((3, 2), 10.0 * index + number)
    file["layers/dense_0/inner/vars/0"] = np.ones(7, "f2")
    file.create_group("vars")


LAYERS = built(layers)
NEW_LAYERS = built(layers, libver="latest")
NAMES = [f"layers/dense_{index}" for index in range(5)]


def moved(before, moves, removals=()):
    """Returns what `edit` must make of `content`: the reference, path by path."""
    edited = dict(moves) | dict.fromkeys(removals)
    after = {}
    for old, item in before.items():
        path, parts = old, old.split("/")
        for length in range(len(parts), 0, -1):
            above = "/".join(parts[:length])
            if above in edited:
                new = edited[above]
                path = None if new is None else "/".join([new, *parts[length:]])
                break
        if path is not None:
            after[path] = item
            above = path.rpartition("/")[0]
            while above:
                after.setdefault(above, None)
                above = above.rpartition("/")[0]
    return after


EDITS = {
    "rename": ([(NAMES[0], "layers/spectral_dense")], []),
    "swap": ([(NAMES[0], NAMES[1]), (NAMES[1], NAMES[0])], []),
    "chain": ([(NAMES[i + 1], NAMES[i]) for i in range(4)] + [(NAMES[0], "layers/sn")], []),
    "wrap": ([(NAMES[0], "layers/sn/layer"), (NAMES[1], NAMES[0])], []),
    "unwrap": ([(NAMES[0] + "/inner", NAMES[0])], [NAMES[0]]),
    "datasets": ([(NAMES[0] + "/vars/1", NAMES[0] + "/vars/2")], [NAMES[1] + "/vars/0"]),
    "inside": ([(NAMES[0], "layers/x"), (NAMES[0] + "/inner", "layers/x/y")], []),
    "inside first": ([(NAMES[0] + "/inner", "layers/x/y"), (NAMES[0], "layers/x")], []),
    "stays": ([(NAMES[0], "layers/x"), (NAMES[0] + "/inner", NAMES[0] + "/inner")], []),
    "same": ([(NAMES[0], NAMES[0])], []),
    "nothing": ([], []),
}


@pytest.mark.parametrize("data", [LAYERS, NEW_LAYERS], ids=["old", "latest"])
@pytest.mark.parametrize("name", EDITS)
def test_moves_are_simultaneous(extent_of, data, name):
    """Renames, swaps, chains and nested moves lead each object to its new path, unchanged."""
    moves, removals = EDITS[name]
    extent = extent_of(data)
    after = applied(extent, h5.edit(extent, moves, removals=removals))
    assert content(after) == moved(content(data), moves, removals)
    assert extent.pread(extent.size, 0) == data


@given(st.permutations(range(5)), st.sets(st.integers(0, 4)))
@settings(max_examples=40, deadline=None)
def test_any_permutation_of_names_works(order, removed):
    """Any renumbering of layers, with some of them dropped, gives just that."""
    moves = [(NAMES[i], NAMES[order[i]]) for i in range(5) if i not in removed]
    removals = [NAMES[i] for i in removed]
    with tempfile.TemporaryFile(buffering=0) as file:
        file.write(LAYERS)
        extent = Extent(file.fileno(), 0, len(LAYERS))
        after = applied(extent, h5.edit(extent, moves, removals=removals))
    assert content(after) == moved(content(LAYERS), moves, removals)


def test_additions_are_written_contiguously(extent_of):
    """New arrays of any type are found by a scan, where their bytes lie, and nothing else moves."""
    ml_dtypes = pytest.importorskip("ml_dtypes")
    extent = extent_of(LAYERS)
    arrays = {
        "layers/sn/vars/2": np.arange(6, dtype="f4").reshape(1, 6),
        "layers/sn/vars/3": np.float64(2.5) + np.zeros(()),
        "layers/sn/vars/4": np.arange(4, dtype="f8").reshape(2, 2).T,
        "layers/sn/vars/5": np.arange(3).astype(ml_dtypes.bfloat16),
    }
    moves = [(NAMES[0], "layers/sn")]
    overlay = h5.edit(extent, moves, list(arrays.items()))
    after = extent_of(applied(extent, overlay))
    contents = h5.scan(after)
    for path, array in arrays.items():
        dataset = contents.datasets[path]
        assert (dataset.shape, dataset.dtype) == (array.shape, array.dtype.name)
        assert after.pread(dataset.nbytes, dataset.offset) == array.tobytes()
    rest = content(after.pread(after.size, 0))
    for path in arrays:
        del rest[path]
    assert rest == moved(content(LAYERS), moves)


def test_a_layers_attributes_move_along(extent_of):
    """The `name` that Keras stores with a layer stays with it."""
    extent = extent_of(LAYERS)
    after = applied(extent, h5.edit(extent, [(NAMES[3], "layers/sn")]))
    with h5py.File(io.BytesIO(after)) as file:
        assert file["layers/sn/vars"].attrs["name"] == "n3"


def test_the_same_edit_gives_the_same_bytes(extent_of):
    """No clock and no chance in what is written."""
    extent = extent_of(LAYERS)
    arguments = ([(NAMES[0], "layers/sn")], [("layers/sn/vars/2", np.ones((1, 2), "f4"))])
    assert h5.edit(extent, *arguments) == h5.edit(extent, *arguments)


@pytest.mark.parametrize(
    ("moves", "additions", "removals"),
    [
        ([("layers/none", "layers/x")], [], []),
        ([(NAMES[0], NAMES[1])], [], []),
        ([], [(NAMES[0], np.ones(1))], []),
        ([], [], ["layers/none"]),
        ([("layers", "snconvert.tmp")], [], []),
    ],
)
def test_an_impossible_edit_is_an_error(extent_of, moves, additions, removals):
    """A path that is missing or taken is named."""
    with pytest.raises(SourceError, match=r"layers|snconvert\.tmp"):
        h5.edit(extent_of(LAYERS), moves, additions, removals)


def test_many_moves_take_linear_time(extent_of):
    """A thousand layers are renamed and added to in a few thousand blocks at most."""

    def fill(file):
        for index in range(1000):
            file.create_group(f"layers/dense_{index}/vars")["0"] = np.ones((4, 4), "f4")

    extent = extent_of(built(fill))
    moves = [(f"layers/dense_{i}", f"layers/dense_{(i + 1) % 1000}") for i in range(1000)]
    additions = [(f"layers/dense_{i}/vars/1", np.ones(4, "f4")) for i in range(1000)]
    overlay = h5.edit(extent, moves, additions)
    assert len(overlay.blocks) < 2000
    assert len(h5.scan(extent_of(applied(extent, overlay))).datasets) == 2000
