import hashlib
import json
import os
import re
import shutil
import socket
import zipfile

import pytest
from places import DATA

from snconvert.archive.source import unchanged
from snconvert.errors import OutputError, SnconvertError, SourceError
from snconvert.formats.table import open_model

CASES = {
    case["id"]: case
    for case in json.loads((DATA / "corpus" / "manifest.json").read_text())["cases"]
    if case["cat"] in ("zip", "format", "ok")
}
PLAIN = DATA / "models" / "a01_seq_plain.keras"
FOLDER = DATA / "models" / "a16_dir_h5dir"


@pytest.mark.parametrize("name", CASES)
def test_the_corpus_comes_out_as_its_manifest_says(name):
    """Each odd archive is opened, or refused by one error that names the problem."""
    case, error = CASES[name], None
    try:
        with open_model(DATA / "corpus" / "cases" / name) as source:
            source.check_weights()
            for asset in source.assets:
                assert all(source.read(asset))
    except SnconvertError as caught:
        error = caught
    if case["verdict"] == "accept":
        assert error is None
    if case["verdict"] == "reject":
        assert error is not None
        assert "\n" not in str(error)
        assert re.search(case["says"] or "", str(error), re.IGNORECASE)


def test_members_are_those_that_zipfile_reads():
    """Configuration, metadata, weights and assets are the bytes in the archive."""
    path = DATA / "models" / "a18_assets.keras"
    with open_model(path) as source, zipfile.ZipFile(path) as archive:
        assert source.format == "keras3_archive"
        assert source.path == str(path)
        assert source.size == path.stat().st_size
        assert source.config == archive.read("config.json")
        assert source.metadata == archive.read("metadata.json")
        assert bytes(source.weights.view(source.weights.size, 0)) == archive.read(
            "model.weights.h5"
        )
        assert source.assets == tuple(n for n in archive.namelist() if n.startswith("assets/"))
        assert source.assets
        for name in source.assets:
            assert b"".join(source.read(name)) == archive.read(name)
        assert source.warnings == []
        assert source.verbatim


def test_compressed_weights_are_unpacked_beside_the_memory(tmp_path):
    """A deflated archive gives the same weights, from a file without a name."""
    path = tmp_path / "m.keras"
    with zipfile.ZipFile(PLAIN) as plain:
        weights = plain.read("model.weights.h5")
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
            for name in plain.namelist():
                packed.writestr(name, plain.read(name))
    with open_model(path) as source:
        assert not source.verbatim
        assert bytes(source.weights.view(source.weights.size, 0)) == weights
        assert os.fstat(source.weights.descriptor).st_nlink == 0


def test_a_full_temporary_folder_is_said(tmp_path, monkeypatch):
    """Without room for the unpacked weights the error names the folder and TMPDIR."""
    path = tmp_path / "m.keras"
    with zipfile.ZipFile(PLAIN) as plain, zipfile.ZipFile(path, "w", 8) as packed:
        for name in plain.namelist():
            packed.writestr(name, plain.read(name))

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.TemporaryFile", full)
    with pytest.raises(OutputError, match=r"No space left on device.*TMPDIR"):
        open_model(path)


def test_the_extension_does_not_matter(tmp_path):
    """A model is known by its bytes, under any name that a file can have."""
    for name in ("model.h5", "m", "ein schönes Modell\n2.KERAS", "-rf"):
        path = tmp_path / name
        shutil.copy(PLAIN, path)
        with open_model(path) as source:
            assert source.format == "keras3_archive"


def test_a_folder_is_opened(tmp_path):
    """An unzipped model is its files; what else lies there is left alone and said."""
    folder = tmp_path / "model"
    shutil.copytree(FOLDER, folder)
    (folder / "README.md").write_text("hello")
    (folder / "assets" / "a").mkdir(parents=True)
    (folder / "assets" / "a" / "words.txt").write_text("a b")
    with open_model(folder) as source:
        assert source.format == "keras3_folder"
        assert source.config == (FOLDER / "config.json").read_bytes()
        assert (
            bytes(source.weights.view(source.weights.size, 0))
            == (FOLDER / "model.weights.h5").read_bytes()
        )
        assert source.assets == ("assets/a/words.txt",)
        assert b"".join(source.read("assets/a/words.txt")) == b"a b"
        assert source.size == sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) - 5
        assert [name for name, _ in source.parts()] == sorted(source.members)
        assert "README.md" in source.warnings[0]


@pytest.mark.parametrize("name", ["assets/secret.txt", "model.weights.h5", "assets"])
def test_links_in_a_folder_are_not_followed(tmp_path, name):
    """No file outside the folder is read through a link in it."""
    folder = tmp_path / "model"
    shutil.copytree(FOLDER, folder)
    target = tmp_path / "secret"
    target.mkdir() if name == "assets" else target.write_text("TOP-SECRET")
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    path.symlink_to(target)
    with pytest.raises(SourceError, match="is a link"):
        open_model(folder)


@pytest.mark.parametrize(
    ("names", "word"),
    [
        ([], "no config.json"),
        (["config.json"], "no model.weights.h5"),
        (["saved_model.pb"], "SavedModel"),
        (["config.json", "model.weights.npz"], "npz"),
        (["_METADATA"], "Orbax"),
    ],
)
def test_other_folders_are_named(tmp_path, names, word):
    """A folder that is no model is called what it is."""
    for name in names:
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(SourceError, match=word):
        open_model(tmp_path)


def test_what_is_no_file_is_named_without_waiting(tmp_path):
    """Missing paths, pipes, sockets and devices are one clear line each, at once."""
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        for path, word in {
            tmp_path / "none": "no such file",
            tmp_path / "pipe": "named pipe",
            tmp_path / "s": "socket",
            "/dev/null": "device",
            "nul\0": "null",
            tmp_path / "none" / "below": "no such file",
            PLAIN / "below": "Not a directory",
        }.items():
            with pytest.raises(SourceError, match=word):
                open_model(path)


def test_a_changed_input_is_noticed(tmp_path):
    """Content, replacement and removal of the input are told from an untouched one."""
    path = tmp_path / "m.keras"
    for change in (
        lambda: os.utime(path, ns=(1, 1)),
        lambda: os.truncate(path, 100),
        lambda: shutil.copy(PLAIN, tmp_path / "n") and (tmp_path / "n").replace(path),
        path.unlink,
    ):
        shutil.copy(PLAIN, path)
        with open_model(path) as source:
            source.check_unchanged()
            change()
            with pytest.raises(SourceError, match="changed"):
                source.check_unchanged()


def test_a_change_that_hides_its_time_is_noticed_and_a_touched_status_is_no_change(tmp_path):
    """A new link or permissions change no byte; what was changed and dated back is damaged."""
    path = tmp_path / "m.keras"
    shutil.copy(PLAIN, path)
    with open_model(path) as source:
        (tmp_path / "link").hardlink_to(path)
        path.chmod(0o640)
        assert path.stat().st_ctime_ns != source._identities[str(path)][1]
        source.check_unchanged()
        before = path.stat()
        with path.open("r+b") as file:
            file.seek(source.weights.offset + source.weights.size // 2)
            (byte,) = file.read(1)
            file.seek(-1, os.SEEK_CUR)
            file.write(bytes([byte ^ 1]))
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        with pytest.raises(SourceError, match="CRC"):
            source.check_unchanged()


def change(path, start, stop):
    """Flips a bit in the middle of a stretch of a file and hides the time of that."""
    before = path.stat()
    with path.open("r+b") as file:
        file.seek((start + stop) // 2)
        (byte,) = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 1]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("member", ["config.json", "model.weights.h5"])
@pytest.mark.parametrize("linked", [False, True])
@pytest.mark.parametrize("back", [False, True])
def test_no_byte_changes_unseen(member, linked, back, tmp_path):
    """Whichever byte changes, also if it changes back, if its time is hidden and if new permissions
    and links explain the time of the status; the hash is of the bytes that were read."""
    path = tmp_path / "m.keras"
    shutil.copy(PLAIN, path)
    with open_model(path) as source:
        place = source.members[member]
        change(path, place.offset, place.offset + place.size)
        read = source.sha256()
        if back:
            change(path, place.offset, place.offset + place.size)
            assert path.read_bytes() == PLAIN.read_bytes()
        if linked:
            (tmp_path / "link").hardlink_to(path)
        with pytest.raises(SourceError, match=r"changed|CRC"):
            source.check_unchanged()
    assert read != hashlib.sha256(PLAIN.read_bytes()).hexdigest()


def test_who_reads_by_the_path_notices_a_change(tmp_path):
    """Of a file and of a folder, with the time hidden; what stays or is not there is no change."""
    file, folder = tmp_path / "m.keras", tmp_path / "m"
    shutil.copy(PLAIN, file)
    with zipfile.ZipFile(PLAIN) as archive:
        archive.extractall(folder)
    for path in (file, folder, tmp_path / "none"):
        with unchanged(str(path)):
            pass
    for path, changed in ((file, file), (folder, folder / "config.json")):
        with pytest.raises(SourceError, match=f"{path.name}: .* changed"), unchanged(str(path)):
            change(changed, 0, 100)


def test_a_change_of_a_folder_that_hides_its_time_is_noticed(tmp_path):
    """There is no CRC to compare."""
    path = tmp_path / "m"
    with zipfile.ZipFile(PLAIN) as archive:
        archive.extractall(path)
    weights = path / "model.weights.h5"
    with open_model(path) as source:
        source.check_unchanged()
        before = weights.stat()
        with weights.open("r+b") as file:
            file.seek(-1, os.SEEK_END)
            file.write(b"x")
        os.utime(weights, ns=(before.st_atime_ns, before.st_mtime_ns))
        with pytest.raises(SourceError, match="changed"):
            source.check_unchanged()


def test_a_refused_file_leaves_nothing_open(tmp_path):
    """Descriptors are closed with the source, and when it is refused."""
    (tmp_path / "model.weights.h5").write_bytes(b"x")
    (tmp_path / "config.json").write_bytes(b"{}")
    before = len(os.listdir("/proc/self/fd"))
    for path in (DATA / "corpus" / "cases" / "h5_not_hdf5.keras", tmp_path):
        with pytest.raises(SourceError, match="HDF5"):
            open_model(path)
    with open_model(PLAIN):
        pass
    assert len(os.listdir("/proc/self/fd")) == before
