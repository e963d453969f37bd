import io
import tempfile

import h5py
import numpy as np
import pytest
from hdf5_files import LAYERS, NAMES, NEW_LAYERS, built, content
from hypothesis import given, settings
from hypothesis import strategies as st

from snconvert.errors import SourceError
from snconvert.weights.editing import edit
from snconvert.weights.extent import Extent
from snconvert.weights.overlay import Overlay
from snconvert.weights.reading import scan


def applied(extent: Extent, overlay: Overlay) -> bytes:
    """Returns the bytes of the extent with the overlay on them."""
    result = bytearray(extent.pread(extent.size, 0)[: overlay.size].ljust(overlay.size, b"\0"))
    for index, block in overlay.blocks.items():
        result[index * overlay.block : index * overlay.block + len(block)] = block
    return bytes(result)


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
    after = applied(extent, edit(extent, moves, removals=removals))
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
        after = applied(extent, edit(extent, moves, removals=removals))
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
    overlay = edit(extent, moves, list(arrays.items()))
    after = extent_of(applied(extent, overlay))
    contents = scan(after)
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
    after = applied(extent, edit(extent, [(NAMES[3], "layers/sn")]))
    with h5py.File(io.BytesIO(after)) as file:
        assert file["layers/sn/vars"].attrs["name"] == "n3"


def test_the_same_edit_gives_the_same_bytes(extent_of):
    """No clock and no chance in what is written."""
    extent = extent_of(LAYERS)
    arguments = ([(NAMES[0], "layers/sn")], [("layers/sn/vars/2", np.ones((1, 2), "f4"))])
    assert edit(extent, *arguments) == edit(extent, *arguments)


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
        edit(extent_of(LAYERS), moves, additions, removals)


def test_many_moves_take_linear_time(extent_of):
    """A thousand layers are renamed and added to in a few thousand blocks at most."""

    def fill(file):
        for index in range(1000):
            file.create_group(f"layers/dense_{index}/vars")["0"] = np.ones((4, 4), "f4")

    extent = extent_of(built(fill))
    moves = [(f"layers/dense_{i}", f"layers/dense_{(i + 1) % 1000}") for i in range(1000)]
    additions = [(f"layers/dense_{i}/vars/1", np.ones(4, "f4")) for i in range(1000)]
    overlay = edit(extent, moves, additions)
    assert len(overlay.blocks) < 2000
    assert len(scan(extent_of(applied(extent, overlay))).datasets) == 2000
