"""Models in object stores, by the store of fsspec that is in memory."""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import h5py
import handmade
import numpy as np
import pytest
from fsspec.implementations.local import LocalFileSystem
from places import SAMPLES

import snconvert
from snconvert.address import Address
from snconvert.archive.copying import write_at
from snconvert.archive.remote import again, is_denied, reason
from snconvert.archive.zip_writer import ZipWriter
from snconvert.errors import (
    OutputError,
    OutputExistsError,
    SnconvertError,
    SourceError,
    SourceNotFoundError,
    SourcePermissionError,
    UnsupportedError,
)

MODEL, RESULT = "memory://models/moons.keras", "memory://models/moons-sn.keras"


@pytest.fixture
def store() -> Iterator[Any]:
    """The store with one model in it."""
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/models/moons.keras", (SAMPLES / "moons.keras").read_bytes())
    yield memory
    memory.store.clear()
    memory.pseudo_dirs[:] = [""]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits between two tries."""
    monkeypatch.setattr("snconvert.archive.remote._PAUSE", 0.0)


def names(store: Any) -> list[str]:
    return sorted(Path(name).name for name in store.find("/models"))


def failing(store: Any, error: Exception, times: int) -> Callable[..., bytes]:
    """Returns a `cat_file` that fails so many times first."""
    real, left = store.cat_file, [error] * times

    def cat_file(*args: Any, **options: Any) -> bytes:
        if left:
            raise left.pop()
        return bytes(real(*args, **options))

    return cat_file


def test_the_bytes_are_those_of_a_file(store: Any, tmp_path: Path) -> None:
    """A conversion in a store writes what one of files writes, and leaves nothing else."""
    model = shutil.copy(SAMPLES / "moons.keras", tmp_path)
    report = snconvert.apply_file(MODEL, verify=True)
    here = snconvert.apply_file(model)
    assert (report.source, report.output) == (MODEL, RESULT)
    assert here.output is not None
    assert store.cat_file(RESULT) == Path(here.output).read_bytes()
    assert names(store) == ["moons-sn.keras", "moons.keras"]
    assert snconvert.verify(MODEL, RESULT)
    assert snconvert.verify(model, RESULT)
    assert snconvert.apply_file(MODEL).up_to_date
    assert snconvert.inspect(RESULT).layers[0].path == here.layers[0].path
    snconvert.remove_file(RESULT, "memory://models/back/")
    assert snconvert.verify(MODEL, "memory://models/back/moons-sn-plain.keras")
    assert not list(Path(tempfile.gettempdir()).glob("snconvert-*"))


class Sparse(LocalFileSystem):  # type: ignore[misc]
    """A store of this machine's files, which counts what it serves."""

    protocol = "sparse"
    served = 0

    def cat_file(self, path: str, start: int, end: int) -> bytes:  # type: ignore[override]
        Sparse.served += end - start
        with open(path, "rb") as file:
            file.seek(start)
            return file.read(end - start)


def huge(path: Path, layers: int, units: int) -> None:
    """Writes an archive whose kernels are holes in the file."""
    config = handmade.sequential("huge", [handmade.dense(f"d{i}", units) for i in range(layers)], 4)
    weights = path.with_suffix(".h5")
    with h5py.File(weights, "w") as h5:
        for index in range(layers):
            place = f"layers/{handmade.snake(index)}/vars"
            early = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            early.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
            early.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
            space = h5py.h5s.create_simple((units, units))
            group = h5.create_group(place)
            h5py.h5d.create(group.id, b"0", h5py.h5t.IEEE_F32LE, space, early)
            group["1"] = np.zeros(units, "float32")
    with ZipWriter.new(str(path), str(path), ["model.weights.h5"], force=False) as writer:
        os.ftruncate(writer.weights[0], writer.offset + weights.stat().st_size)
        with weights.open("rb") as file:
            place, end = 0, weights.stat().st_size
            while place < end:  # what is no hole
                place = os.lseek(file.fileno(), place, os.SEEK_DATA)
                hole = os.lseek(file.fileno(), place, os.SEEK_HOLE)
                write_at(
                    writer.weights[0], os.pread(file.fileno(), hole - place, place), 72 + place
                )
                place = hole
        writer.end_weights(end, 0)
        text = json.dumps(config).encode()
        writer.add("config.json", iter([text]), len(text))
        writer.add("metadata.json", iter([b"{}"]), 2)
        writer.close()


def test_listing_reads_the_structure_only(tmp_path: Path) -> None:
    """`inspect --no-sigma` of 10 GB is served less than 400 kB."""
    fsspec.register_implementation("sparse", Sparse, clobber=True)
    huge(tmp_path / "huge.keras", 4, 25_000)
    Sparse.served = 0
    report = snconvert.inspect(f"sparse://{tmp_path}/huge.keras", sigma=False)
    assert report.bytes == (tmp_path / "huge.keras").stat().st_size > 10_000_000_000
    assert [layer.kernel for layer in report.layers if layer.kernel] == [(25_000, 25_000)] * 4
    assert Sparse.served < 400_000


def test_an_existing_object_is_not_replaced(store: Any) -> None:
    """But with force; the input never, but in place."""
    other = SAMPLES / "moons.keras"
    store.pipe_file("/models/moons-sn.keras", b"precious")
    with pytest.raises(OutputExistsError, match=r"memory://models/moons-sn\.keras: it exists"):
        snconvert.apply_file(other, RESULT)
    assert store.cat_file(RESULT) == b"precious"
    snconvert.apply_file(other, RESULT, force=True)
    assert snconvert.verify(MODEL, RESULT)
    with pytest.raises(OutputError, match="is the input itself"):
        snconvert.apply_file(MODEL, MODEL, force=True)
    snconvert.apply_file(MODEL, in_place=True)
    assert store.cat_file(MODEL) == store.cat_file(RESULT)


def test_nothing_half_written_is_seen(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """An upload that breaks off leaves no object, and no temporary one."""
    seen: list[list[str]] = []

    class Broken(io.BytesIO):
        def write(self, data: Any) -> int:  # noqa: ARG002
            seen.append(names(store))
            raise ConnectionResetError("the store hung up")

        def discard(self) -> None:
            pass

    real = store.open

    def opened(path: str, mode: str = "rb", **options: Any) -> Any:
        if mode == "rb":
            return real(path, mode, **options)
        real(path, mode, **options)
        return Broken()

    monkeypatch.setattr(store, "open", opened)
    with pytest.raises(OutputError, match=f"{RESULT}: it cannot be written .*hung up"):
        snconvert.apply_file(MODEL)
    assert "moons-sn.keras" not in seen[0]
    assert names(store) == ["moons.keras"]


def test_a_failed_check_uploads_nothing(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--verify` looks at the result before any of it is sent."""

    def wrong(*_: object) -> None:
        raise OutputError("the result is wrong")

    monkeypatch.setattr("snconvert.verification.files.check_result", wrong)
    with pytest.raises(OutputError, match="the result is wrong"):
        snconvert.apply_file(MODEL, verify=True)
    assert names(store) == ["moons.keras"]


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("sigma", [False, True])
def test_a_dropped_connection_is_tried_again(
    store: Any, monkeypatch: pytest.MonkeyPatch, sigma: bool
) -> None:
    """Three times in a row; then it is told, in one line and without secrets."""
    monkeypatch.setattr(store, "cat_file", failing(store, ConnectionResetError("reset"), 3))
    assert snconvert.inspect(MODEL, sigma=sigma).layers
    monkeypatch.setattr(store, "cat_file", failing(store, ConnectionResetError("reset"), 99))
    with pytest.raises(SourceError, match=r"moons.keras: the store cannot be read \(reset\)"):
        snconvert.inspect(MODEL, sigma=sigma)


def test_an_object_that_changes_is_told(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a file that is written while it is read."""
    real = store.cat_file

    def cat_file(*args: Any, **options: Any) -> bytes:
        data = bytes(real(*args, **options))
        store.pipe_file("/models/moons.keras", data)
        return data

    monkeypatch.setattr(store, "cat_file", cat_file)
    with pytest.raises(SourceError, match="was changed, replaced or removed"):
        snconvert.apply_file(MODEL)
    assert names(store) == ["moons.keras"]


@pytest.mark.usefixtures("store", "quick")
@pytest.mark.parametrize(
    ("url", "kind", "message"),
    [
        ("memory://models/none.keras", SourceNotFoundError, "there is no such object"),
        ("memory://models", SourceError, "this is a folder in a store"),
        ("nope://a/b.keras", UnsupportedError, "nothing is known of nope:// URLs"),
        ("zip://a::memory://b.zip", UnsupportedError, "a chain of URLs"),
        ("file://elsewhere/b.keras", UnsupportedError, "names no other machine"),
    ],
)
def test_what_cannot_be_opened_is_told(url: str, kind: type[SnconvertError], message: str) -> None:
    """In an error of the right class, that names the URL."""
    with pytest.raises(kind, match=message) as raised:
        snconvert.inspect(url, sigma=False)
    assert str(raised.value).startswith(f"{url}: ")


def test_what_is_missing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra, or the package of the protocol, the error says what to install."""
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(UnsupportedError, match=r"gs:// needs gcsfs.*pip install gcsfs"):
        snconvert.inspect("gs://bucket/a.keras")
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    with pytest.raises(UnsupportedError, match=r"pip install 'snconvert\[remote\]' s3fs"):
        snconvert.inspect("s3://bucket/a.keras")


def test_a_web_page_is_read_only() -> None:
    """Nothing is asked of the network to say so, and the message keeps the password."""
    with pytest.raises(OutputError, match=r"https://h/a-sn\.keras: https:// URLs can be read only"):
        snconvert.apply_file("https://me:word@h/a.keras?token=1")


def test_keras_opens_no_url() -> None:
    """What only Keras can open has to be here."""
    with pytest.raises(UnsupportedError, match="opens files of this machine only"):
        snconvert.apply_file(MODEL, imports=["json"])


def test_an_error_of_a_store_is_short_and_has_no_secrets() -> None:
    """Whatever the store writes into it."""
    address = Address("https://me:word@h/a.keras?token=0123abc")
    text = reason(OSError(f"GET {address.whole}:\n 0123abc word me meant " + "x" * 500), address)
    assert text.startswith("GET https://h/a.keras: ... ... ... meant xxx")
    assert len(text) < 210


def test_no_credentials_are_a_lack_of_permission() -> None:
    """As botocore has it, which raises no error of the system; and nobody tries again."""

    class NoCredentialsError(Exception):
        pass

    tries = []

    def work() -> None:
        tries.append(1)
        raise NoCredentialsError("Unable to locate credentials")

    with pytest.raises(NoCredentialsError) as raised:
        again(work)
    assert len(tries) == 1
    assert is_denied(raised.value)
    assert issubclass(SourcePermissionError, PermissionError)
