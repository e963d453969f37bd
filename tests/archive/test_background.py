import hashlib
import os
import shutil
import threading
import zipfile

import pytest
from places import DATA

from snconvert.archive import background
from snconvert.errors import SourceError
from snconvert.formats.table import open_model

MODEL = DATA / "models" / "a01_seq_plain.keras"
FOLDER = DATA / "models" / "a16_dir_h5dir"


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch):
    monkeypatch.setattr(background, "_CHUNK", 1000)


def test_an_archive_is_hashed_as_it_is(tmp_path):
    """The hash is that of the file, compressed or not, asked for once or again."""
    path = tmp_path / "m.keras"
    with zipfile.ZipFile(MODEL) as plain, zipfile.ZipFile(path, "w", 8) as packed:
        for name in plain.namelist():
            packed.writestr(name, plain.read(name))
    for model in (path, MODEL):
        with open_model(model) as source:
            source.hash_ahead()
            assert source.sha256() == hashlib.sha256(model.read_bytes()).hexdigest()
            assert source.sha256() == source.sha256()


def test_a_folder_is_hashed_as_its_files_joined(tmp_path):
    """The hash is that of `cat` over the model's files in the order of their names."""
    folder = tmp_path / "m"
    shutil.copytree(FOLDER, folder)
    (folder / "assets").mkdir()
    (folder / "assets" / "words.txt").write_text("a b")
    names = ("assets/words.txt", "config.json", "metadata.json", "model.weights.h5")
    joined = b"".join((folder / name).read_bytes() for name in names)
    with open_model(folder) as source:
        assert source.sha256() == hashlib.sha256(joined).hexdigest()


def test_an_input_that_shrinks_is_an_error(tmp_path):
    """A file cut before it is hashed is an error where the hash is asked for."""
    path = shutil.copy(MODEL, tmp_path / "m.keras")
    with open_model(path) as source:
        os.truncate(path, 5000)
        source.hash_ahead()
        with pytest.raises(SourceError, match="ends at byte 5000"):
            source.sha256()


def test_closing_ends_the_thread(monkeypatch):
    """Who gives up does not wait for the rest of a large file."""
    begun, go_on = threading.Event(), threading.Event()

    class Digest:
        updates = 0

        def update(self, _data):
            Digest.updates += 1
            begun.set()
            go_on.wait(10)

        def hexdigest(self):
            raise AssertionError("the file was hashed to its end")

    monkeypatch.setattr(background.hashlib, "sha256", Digest)
    before = threading.active_count()
    source = open_model(MODEL)
    source.hash_ahead()
    assert begun.wait(10)
    threading.Timer(0.2, go_on.set).start()
    source.close()
    assert Digest.updates == 1
    for thread in threading.enumerate():
        if isinstance(thread, threading.Timer):
            thread.join()
    assert threading.active_count() == before
