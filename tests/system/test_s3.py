"""Models in a real S3 server, with connections that drop."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import handmade
import pytest
from places import SAMPLES
from s3_server import Proxy, s3_server

import snconvert
from snconvert.archive.remote_source import RemoteSource
from snconvert.errors import OutputError, OutputExistsError, SourceError, SourceNotFoundError

pytestmark = pytest.mark.slow  # the server takes a second to start, and its client another

MODEL, RESULT = "s3://bucket/moons.keras", "s3://bucket/moons-sn.keras"
LARGE = "s3://bucket/large.keras"


@pytest.fixture(scope="module")
def proxy() -> Iterator[Proxy]:
    """The way to the server."""
    pytest.importorskip("moto.server")
    pytest.importorskip("s3fs")
    with s3_server() as server, pytest.MonkeyPatch.context() as patch:
        way = Proxy(server)
        patch.setenv("AWS_ACCESS_KEY_ID", "testing")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "hushhush")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{way.port}")
        patch.setenv("AWS_MAX_ATTEMPTS", "2")
        yield way
        way.close()


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of 50 MB."""
    path = tmp_path_factory.mktemp("large") / "large.keras"
    handmade.chain(path, 3, units=2048)
    return path


@pytest.fixture
def bucket(proxy: Proxy, large: Path) -> Iterator[Any]:
    """The store of a bucket with two models, reached by the proxy."""
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    store = s3fs.S3FileSystem()
    if not store.exists("bucket"):
        store.mkdir("bucket")
    store.put_file(SAMPLES / "moons.keras", "bucket/moons.keras")
    store.put_file(large, "bucket/large.keras")
    proxy.served = proxy.taken = proxy.cuts = 0
    yield store
    proxy.refuses, proxy.cuts = False, 0
    store.invalidate_cache()
    for key in store.find("bucket"):
        store.rm_file(key)


def keys(store: Any) -> list[str]:
    store.invalidate_cache()
    return sorted(key.removeprefix("bucket/") for key in store.find("bucket"))


def ended(command: list[str], env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=60)


def uploads(store: Any) -> list[Any]:
    """Returns the uploads that were begun, and neither completed nor aborted."""
    return list(store.call_s3("list_multipart_uploads", Bucket="bucket").get("Uploads", []))


def test_the_verbs(bucket: Any, tmp_path: Path) -> None:
    """Each reads and writes objects, and what it writes is what it writes of files."""
    (tmp_path / "moons.keras").write_bytes((SAMPLES / "moons.keras").read_bytes())
    here = snconvert.apply_file(tmp_path / "moons.keras")
    report = snconvert.apply_file(MODEL, verify=True)
    assert here.output is not None
    assert report.output == RESULT
    assert bucket.cat_file(RESULT) == Path(here.output).read_bytes()
    assert snconvert.verify(MODEL, RESULT)
    assert snconvert.apply_file(MODEL).up_to_date
    assert snconvert.bake_file(RESULT).output == "s3://bucket/moons-sn-baked.keras"
    assert snconvert.remove_file(RESULT).output == "s3://bucket/moons-sn-plain.keras"
    assert snconvert.inspect(MODEL).layers
    assert uploads(bucket) == []


def test_listing_reads_the_structure_only(bucket: Any, proxy: Proxy, large: Path) -> None:
    """`inspect --no-sigma` of 50 MB is served less than 300 kB, counted on the wire."""
    bucket.invalidate_cache()
    proxy.served = 0
    report = snconvert.inspect(LARGE, sigma=False)
    assert report.bytes == large.stat().st_size > 50_000_000
    assert len(report.layers) == 3
    assert proxy.served < 300_000


def test_a_large_model_goes_in_parts(bucket: Any, proxy: Proxy) -> None:
    """And both ways through the wire once."""
    size = bucket.size("bucket/large.keras")
    proxy.served = proxy.taken = 0
    snconvert.apply_file(LARGE)
    head = bucket.call_s3("head_object", Bucket="bucket", Key="large-sn.keras")
    assert head["ETag"].strip('"').endswith("-7")  # S3's mark of an object in seven parts
    assert proxy.served < 1.05 * size
    assert proxy.taken < 1.05 * size
    assert snconvert.verify(LARGE, "s3://bucket/large-sn.keras")


def test_dropped_downloads_are_tried_again(bucket: Any, proxy: Proxy) -> None:
    """A connection that is cut in the middle costs a part of the file, and nothing else."""
    proxy.cut_after, proxy.cuts = 3_000_000, 2
    snconvert.apply_file(LARGE)
    assert proxy.cuts == 0
    assert snconvert.verify(LARGE, "s3://bucket/large-sn.keras")
    assert uploads(bucket) == []


def test_a_lost_server_is_told(proxy: Proxy, bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one line, whether it is lost before or in the middle of an upload; nothing is there."""
    monkeypatch.setattr("snconvert.archive.remote._PAUSE", 0.0)
    bucket.retries = 1

    def lost(_: object) -> None:
        proxy.refuses = True

    monkeypatch.setattr(RemoteSource, "check_unchanged", lost)  # the last step before the upload
    with pytest.raises(OutputError, match=r"moons-sn\.keras: the store cannot be read"):
        snconvert.apply_file(MODEL, RESULT)
    with pytest.raises(SourceError, match=r"moons\.keras: the store cannot be read") as raised:
        snconvert.inspect(MODEL)
    assert "\n" not in str(raised.value)
    assert "hushhush" not in str(raised.value)
    proxy.refuses = False
    assert "moons-sn.keras" not in keys(bucket)
    assert uploads(bucket) == []


def test_a_failed_part_aborts_the_upload(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was sent before is given up, and no object is seen, nor while parts are sent."""
    seen: list[list[str]] = []
    call = type(bucket).call_s3

    def calling(self: Any, method: str, *args: Any, **options: Any) -> Any:
        if method == "upload_part" and options["PartNumber"] == 3:
            seen.append(keys(bucket))
            raise OSError("the disk of the store is full")
        return call(self, method, *args, **options)

    monkeypatch.setattr(type(bucket), "call_s3", calling)
    with pytest.raises(OutputError, match="disk of the store is full"):
        snconvert.apply_file(LARGE)
    assert [*seen, keys(bucket)] == [["large.keras", "moons.keras"]] * 2
    assert uploads(bucket) == []


def test_an_object_that_comes_meanwhile_stays(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """S3 itself refuses to replace it when the upload is completed."""
    monkeypatch.setattr("snconvert.archive.remote.exists", lambda _: False)
    bucket.pipe_file("bucket/large-sn.keras", b"precious")
    with pytest.raises(OutputError):
        snconvert.apply_file(LARGE)
    assert bucket.cat_file("bucket/large-sn.keras") == b"precious"
    assert uploads(bucket) == []


def test_what_is_not_there(bucket: Any) -> None:
    """A key, a bucket, a place: each is told in one line."""
    with pytest.raises(SourceNotFoundError, match="no such object"):
        snconvert.inspect("s3://bucket/none.keras")
    with pytest.raises(OutputError, match=r"s3://absent/x\.keras: .*bucket does not exist"):
        snconvert.apply_file(SAMPLES / "moons.keras", "s3://absent/x.keras")
    with pytest.raises(OutputExistsError):
        snconvert.apply_file(SAMPLES / "moons.keras", LARGE)
    bucket.touch("bucket/empty.keras")
    with pytest.raises(SourceError, match="empty"):
        snconvert.inspect("s3://bucket/empty.keras")


def test_the_command(bucket: Any, tmp_path: Path) -> None:
    """Several models go into a place in the store; without credentials the command says so."""
    command = [sys.executable, "-m", "snconvert", "apply", MODEL, LARGE, "-o", "s3://bucket/out"]
    paths = os.pathsep.join(path for path in sys.path if path)
    done = ended([*command, "--json"], env={**os.environ, "PYTHONPATH": paths})
    assert done.returncode == 0, done.stderr
    outputs = [json.loads(line)["output"] for line in done.stdout.splitlines()]
    assert outputs == ["s3://bucket/out/moons-sn.keras", "s3://bucket/out/large-sn.keras"]
    assert "out/moons-sn.keras" in keys(bucket)
    hidden = {name: value for name, value in os.environ.items() if not name.startswith("AWS_AC")}
    hidden |= {"PYTHONPATH": paths, "HOME": str(tmp_path), "AWS_EC2_METADATA_DISABLED": "true"}
    done = ended(command[:5], env=hidden | {"AWS_SECRET_ACCESS_KEY": ""})
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert "Check the credentials" in done.stderr
