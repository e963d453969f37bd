import contextlib
import hashlib
import io
import os
import shutil
import signal
import stat
import struct
import subprocess
import sys
import threading
import time
import tracemalloc
import zipfile

import h5py
import numpy as np
import pytest
from places import DATA, ROOT, SUPPORT

from snconvert.archive import output, zip_writer
from snconvert.archive.members import read_members
from snconvert.archive.output import begin, check_output
from snconvert.archive.zip_writer import FolderWriter, ZipWriter
from snconvert.core import system
from snconvert.errors import OutputError, SourceError
from snconvert.formats.table import FORMATS, open_model
from snconvert.weights.editing import edit
from snconvert.weights.extent import Extent
from snconvert.weights.overlay import Overlay

MODEL = DATA / "models" / "a18_assets.keras"
FOLDER = DATA / "models" / "a16_dir_h5dir"


def convert(source, out, *, force=False, **options):
    """Writes the source with its weights unchanged and metadata that holds the hash."""
    options = {
        "texts": {"config.json": b'{"new": 1}'},
        "metadata": lambda: source.sha256().encode(),
        "overlay": Overlay.empty(source.weights),
        **options,
    }
    with begin(source, out, FORMATS[source.format].writer, force=force) as begun:
        return begun.finish(**options)


def members(path):
    """Returns the members of an archive, or the files of a folder, by name."""
    if path.is_dir():
        return {
            str(file.relative_to(path)): file.read_bytes()
            for file in sorted(path.rglob("*"))
            if file.is_file()
        }
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def test_an_archive_holds_the_new_and_the_carried_members(tmp_path):
    """Configuration and metadata are the new ones, weights and renamed assets the old bytes."""
    out = tmp_path / "out.keras"
    before = members(MODEL)
    asset, *others = (name for name in before if name.startswith("assets/"))
    with open_model(MODEL) as source:
        seen = []
        size = convert(source, out, assets={asset: "assets/ü/v.txt"}, progress=seen.append)
        assert sum(seen) == source.weights.size
    assert members(out) == {
        "config.json": b'{"new": 1}',
        "model.weights.h5": before["model.weights.h5"],
        "assets/ü/v.txt": before[asset],
        **{name: before[name] for name in others},
        "metadata.json": hashlib.sha256(MODEL.read_bytes()).hexdigest().encode(),
    }
    assert size == out.stat().st_size
    with zipfile.ZipFile(out) as archive:
        for info in archive.infolist():
            assert (info.compress_type, info.date_time[:3]) == (zipfile.ZIP_STORED, (1980, 1, 1))
    with open_model(out) as again:  # our own strict reader takes what we write
        again.check_weights()
        assert again.assets == ("assets/ü/v.txt", *others)


def test_the_same_input_gives_the_same_bytes(tmp_path):
    """Two runs at different times write identical files."""
    for name in "ab":
        with open_model(MODEL) as source:
            convert(source, tmp_path / name)
        time.sleep(0.01)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_the_bytes_of_an_archive_are_these(tmp_path):
    """The layout of the archive does not change unnoticed."""
    out = tmp_path / "golden"
    with open_model(DATA / "models" / "a01_seq_plain.keras") as source:
        convert(source, out, metadata=lambda: b"{}")
        size = source.weights.size
    data = out.read_bytes()
    assert data[:72] == (
        b"PK\3\4\x14\0\0\0\0\0\0\0!\0"
        + data[14:18]
        + struct.pack("<IIHH", size, size, 16, 26)
        + b"model.weights.h5"
        + struct.pack("<HHH20x", 0xD935, 22, 8)
    )
    assert data[72 + size :].startswith(
        b"PK\3\4\x14\0\0\0\0\0\0\0!\0"
        + data[86 + size : 90 + size]
        + b"\n\0\0\0\n\0\0\0\x0b\0\0\0config.json"
        b'{"new": 1}'
    )
    assert data.endswith(struct.pack("<4H", 0, 0, 3, 3) + data[-10:])


def test_an_edited_model_is_what_h5py_reads(tmp_path):
    """Renamed and added data arrive in the archive, the rest bit for bit."""
    out = tmp_path / "out.keras"
    path = DATA / "models" / "a02_seq_adam.keras"
    with open_model(path) as source:
        overlay = edit(
            source.weights,
            [("layers/dense", "layers/spectral_dense")],
            [("layers/spectral_dense/vars/2", np.ones((1, 3), "f4"))],
        )
        convert(source, out, overlay=overlay)
    old, new = (
        h5py.File(io.BytesIO(members(name)["model.weights.h5"]), "r") for name in (path, out)
    )
    with old, new:
        found = {}
        new.visititems(lambda name, item: found.update({name: item}))
        assert "layers/dense" not in found
        assert found["layers/spectral_dense/vars/2"][()].tolist() == [[1, 1, 1]]
        for name, item in found.items():
            if isinstance(item, h5py.Dataset) and not name.endswith("spectral_dense/vars/2"):
                before = old[name.replace("spectral_dense", "dense")]
                assert before[()].tobytes() == item[()].tobytes()


def test_zip64_fields_are_written_where_needed(tmp_path):
    """Members beyond 4 GiB are found by our reader and by zipfile, holes or not."""
    path = tmp_path / "large"
    large = 5 << 30
    with path.open("w+b", buffering=0) as file:
        archive = ZipWriter(system.Descriptor(file.fileno(), "out"))
        archive.end_weights(large, 123)  # a hole in the place of the data
        archive.add("config.json", iter([b"{}"]), 2)
        archive.add("assets/late.txt", iter([b"late"]), 4)
        size = archive.close()
        assert size == path.stat().st_size
        found = read_members(Extent(file.fileno(), 0, size))
    assert found["model.weights.h5"].size == large
    assert found["assets/late.txt"].offset > large
    with zipfile.ZipFile(path) as archive:
        assert archive.getinfo("model.weights.h5").file_size == large
        assert archive.read("assets/late.txt") == b"late"


def test_many_members_need_zip64_as_well(tmp_path):
    """More members than 16 bits count are found by zipfile."""
    path = tmp_path / "many"
    with path.open("w+b", buffering=0) as file:
        archive = ZipWriter(system.Descriptor(file.fileno(), "out"))
        for number in range(65_536):
            archive._entries.append(zip_writer._Entry(b"%d" % number, 0, 0, 0))
        archive.close()
    with zipfile.ZipFile(path) as found:
        assert len(found.namelist()) == 65_536


def test_a_folder_is_written_and_replaced_as_a_whole(tmp_path):
    """A folder's conversion holds the same members; the old folder goes when it is replaced."""
    folder, out = tmp_path / "in", tmp_path / "out"
    shutil.copytree(FOLDER, folder)
    (folder / "assets").mkdir()
    (folder / "assets" / "a.txt").write_text("a")
    before = members(folder)
    for config in (b"1", b"2"):
        with open_model(folder) as source:
            size = convert(
                source,
                out,
                texts={"config.json": config},
                assets={"assets/a.txt": "assets/x/b.txt"},
                force=True,
            )
        after = members(out)
        assert (
            after.pop("metadata.json").decode()
            == hashlib.sha256(b"".join(before[name] for name in sorted(before))).hexdigest()
        )
        assert after == {
            "assets/x/b.txt": b"a",
            "config.json": config,
            "model.weights.h5": before["model.weights.h5"],
        }
        assert size == sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    assert members(folder) == before
    assert sorted(os.listdir(tmp_path)) == ["in", "out"]
    with open_model(out) as source, pytest.raises(OutputError, match="exists"):
        convert(source, folder)


def test_a_folder_with_other_files_is_not_replaced(tmp_path):
    """Replacing a model never takes other files along."""
    out = tmp_path / "out"
    shutil.copytree(FOLDER, out)
    (out / "notes.txt").write_text("mine")
    with open_model(FOLDER) as source, pytest.raises(OutputError, match=r"notes\.txt"):
        convert(source, out, force=True)
    with pytest.raises(OutputError, match=r"notes\.txt"):
        check_output(FOLDER, out, FolderWriter, force=True)
    assert (out / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("original", [MODEL, FOLDER], ids=["archive", "folder"])
def test_an_input_can_be_replaced_by_its_conversion(tmp_path, original):
    """In place, the path holds the new model and nothing else is left."""
    path = tmp_path / "model"
    (shutil.copytree if original.is_dir() else shutil.copy)(original, path)
    with open_model(path) as source:
        writer = FORMATS[source.format].writer
        assert check_output(path, path, writer, in_place=True) == str(path)
        convert(source, path, force=True)
    assert members(path)["config.json"] == b'{"new": 1}'
    assert os.listdir(tmp_path) == ["model"]


def test_damage_leaves_nothing(tmp_path):
    """A CRC error after the last byte still prevents the output."""
    case = DATA / "corpus" / "cases" / "zip_flip_weights.keras"
    with open_model(case) as source, pytest.raises(SourceError, match="CRC") as caught:
        convert(source, tmp_path / "out")
    assert caught.value.file == str(case)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("original", [MODEL, FOLDER], ids=["archive", "folder"])
def test_an_input_that_changes_meanwhile_prevents_the_output(tmp_path, original):
    """What was read from a changing input is not written."""
    path = tmp_path / "in"
    (shutil.copytree if original.is_dir() else shutil.copy)(original, path)

    def metadata():
        os.utime(path / "config.json" if path.is_dir() else path, ns=(5, 5))
        return b"{}"

    with open_model(path) as source, pytest.raises(SourceError, match="changed"):
        convert(source, tmp_path / "out", metadata=metadata)
    assert os.listdir(tmp_path) == ["in"]


@pytest.mark.parametrize("original", [MODEL, FOLDER], ids=["archive", "folder"])
@pytest.mark.parametrize("function", ["pwrite", "write"])
def test_a_full_disk_is_one_error_and_leaves_nothing(tmp_path, original, function, monkeypatch):
    """A write that fails in the middle names the reason, of the weights and of what follows."""

    def full(*_):
        raise OSError(28, os.strerror(28))

    with open_model(original) as source:
        monkeypatch.setattr(system if function == "pwrite" else os, function, full)
        with pytest.raises(OutputError, match="No space left on device") as caught:
            convert(source, tmp_path / "out")
    assert caught.value.file == str(tmp_path / "out")
    assert os.listdir(tmp_path) == []


def test_an_interrupt_while_copying_leaves_nothing(tmp_path):
    """Ctrl-C in the middle of the copy removes what was written, and no thread stays."""

    def interrupt(_):
        raise KeyboardInterrupt

    before = threading.enumerate()
    with open_model(MODEL) as source, pytest.raises(KeyboardInterrupt):
        convert(source, tmp_path / "out", progress=interrupt)
    assert os.listdir(tmp_path) == []
    assert set(threading.enumerate()) <= set(before)


def test_a_real_signal_while_copying_leaves_nothing(tmp_path):
    """SIGINT at any moment ends a process that copies without a trace in the folder."""
    script = (
        "import sys, time\n"
        "sys.path[:0] = sys.argv[2:]\n"
        "from test_output import convert, open_model, MODEL\n"
        "print('ready', flush=True)\n"
        "with open_model(MODEL) as source:\n"
        "    while True:\n"
        "        convert(source, sys.argv[1], force=True)\n"
    )
    places = map(str, (tmp_path / "out", os.path.dirname(__file__), SUPPORT, ROOT))
    command = [sys.executable, "-c", script, *places]
    for delay in (0.05, 0.081, 0.113):
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as process:
            assert process.stdout.readline() == b"ready\n"
            for _ in range(5):
                time.sleep(delay)
                process.send_signal(signal.SIGINT)
                # One that comes in a destructor is printed by Python, and forgotten.
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(5)
                    break
            else:
                process.kill()
        assert process.returncode not in (0, -signal.SIGKILL)
        assert set(os.listdir(tmp_path)) <= {"out"}


def test_a_link_stays_and_its_file_is_replaced(tmp_path):
    """Writing through a link changes what it leads to."""
    real, link = tmp_path / "real", tmp_path / "link"
    real.write_text("old")
    real.chmod(0o640)
    link.symlink_to("real")
    assert check_output(MODEL, link, ZipWriter, force=True) == str(real)
    with open_model(MODEL) as source:
        convert(source, link, force=True)
    assert link.is_symlink()
    assert "config.json" in members(real)
    assert stat.S_IMODE(real.stat().st_mode) == 0o640


def test_asset_names_are_checked(tmp_path):
    """A new asset name stays under assets/, and no two assets share one."""
    with open_model(MODEL) as source:
        (asset, *_) = source.assets
        for name in ("config.json", "assets/../x", "assets//x"):
            with pytest.raises(OutputError, match="no path under assets"):
                convert(source, tmp_path / "out", assets={asset: name})
    assert os.listdir(tmp_path) == []


def test_memory_does_not_grow_with_the_model(tmp_path):
    """Copying 64 MB takes a few buffers of memory."""
    weights = tmp_path / "w"
    with h5py.File(weights, "w") as file:
        file["layers/dense/vars/0"] = np.zeros((16, 1 << 20), "f4")
    path = tmp_path / "m.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", "{}")
        archive.write(weights, "model.weights.h5")
    with open_model(path) as source:
        tracemalloc.start()
        convert(source, tmp_path / "out")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 16 << 20


def test_the_input_is_recognised_in_every_disguise(tmp_path, monkeypatch):
    """Another spelling, a link and a hard link of the input are the input."""
    path = tmp_path / "m.keras"
    shutil.copy(MODEL, path)
    (tmp_path / "link").symlink_to(path)
    (tmp_path / "hard").hardlink_to(path)
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path)
    for out in ("m.keras", "./m.keras", "sub/../m.keras", "link", "hard", str(path)):
        with pytest.raises(OutputError, match="input itself") as caught:
            check_output(path, out, ZipWriter, force=True)
        assert caught.value.file == out
        check_output(path, out, ZipWriter, in_place=True)


def test_outputs_that_cannot_be_are_refused_before_any_work(tmp_path):
    """Each reason why an output cannot be written has its own message."""
    (tmp_path / "there").write_text("")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for out, word in {
        tmp_path / "there": "exists already.*force=True",
        tmp_path / "none" / "x": "does not exist",
        tmp_path / "there" / "x": "does not exist",
        tmp_path / "folder": "is a folder",
        tmp_path / "pipe": "no regular file",
        "/dev/null": "no regular file",
        "": "no name",
        tmp_path / ("x" * 300): "too long",
    }.items():
        with pytest.raises(OutputError, match=word):
            check_output(MODEL, out, ZipWriter)
    check_output(MODEL, tmp_path / "there", ZipWriter, force=True)
    assert check_output(MODEL, tmp_path / "new ü\n", ZipWriter) == str(tmp_path / "new ü\n")


def test_a_read_only_folder_is_refused(tmp_path, monkeypatch):
    """A folder without write permission is named before any work."""
    monkeypatch.setattr(output.os, "access", lambda *_: False)
    with pytest.raises(OutputError, match="cannot be written"):
        check_output(MODEL, tmp_path / "x", ZipWriter)


def test_folders_and_files_are_not_mixed_up(tmp_path):
    """A folder's output is a folder, outside of the input and around nothing else."""
    folder = tmp_path / "deep" / "in"
    shutil.copytree(FOLDER, folder)
    (tmp_path / "file").write_text("")
    for out, word in {
        tmp_path / "file": "is a file",
        folder / "out": "inside each other",
        tmp_path / "deep": "inside each other",
        folder: "input itself",
    }.items():
        with pytest.raises(OutputError, match=word):
            check_output(folder, out, FolderWriter, force=True)
    check_output(folder, tmp_path / "deep" / "in-sn", FolderWriter)
    check_output(folder, folder, FolderWriter, in_place=True)


def test_a_copy_that_fails_can_be_noticed_before_it_is_waited_for(tmp_path, monkeypatch):
    """A disk that fills up ends the search for `u`, with the error that writing makes of it."""

    def full(*_):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(system, "pwrite", full)

    def wait_and_check():
        with open_model(MODEL) as source, begin(source, tmp_path / "out", ZipWriter) as begun:
            while True:
                begun.check()
                time.sleep(0.01)

    with pytest.raises(OutputError, match="No space left") as caught:
        wait_and_check()
    assert caught.value.file == str(tmp_path / "out")
    assert os.listdir(tmp_path) == []


def test_an_output_that_is_not_finished_does_not_take_its_place(tmp_path):
    """Whoever forgets to finish what was begun gets no file."""
    with open_model(MODEL) as source:
        with (
            pytest.raises(RuntimeError, match="not finished"),
            begin(source, tmp_path / "out", ZipWriter),
        ):
            pass
        with pytest.raises(OSError, match="elsewhere"), begin(source, tmp_path / "out", ZipWriter):
            raise OSError("elsewhere")  # no error of the output: it goes its own way
    assert os.listdir(tmp_path) == []
