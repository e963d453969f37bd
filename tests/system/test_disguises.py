"""Input and output under every name, kind and permission that a file can have."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import socket
import stat
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import handmade
import pytest
import warm
from places import MODELS

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def model(models: Path, tmp_path: Path) -> Path:
    (tmp_path / "here").mkdir()
    return Path(shutil.copyfile(models / "a01_seq_plain.keras", tmp_path / "here" / "model.keras"))


@pytest.fixture(scope="module")
def right(tmp_path_factory: pytest.TempPathFactory, snconvert: Run) -> bytes:
    """The conversion of the model, made in another place."""
    folder = tmp_path_factory.mktemp("right")
    model = MODELS / "a01_seq_plain.keras"
    assert snconvert("apply", model, "-o", folder / "o").returncode == 0
    return (folder / "o").read_bytes()


def refused(result: subprocess.CompletedProcess[str], says: str) -> None:
    """Checks that there is one line that says so."""
    assert result.returncode == 1, result
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    assert says in line
    assert line.count(". ") >= 1
    assert result.stdout == ""


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def same_path(model: Path) -> Path:
    return model


def dotted(model: Path) -> str:
    return f"{model.parent}/./../{model.parent.name}//model.keras"


def linked(model: Path) -> Path:
    link = model.with_name("link.keras")
    link.symlink_to(model.name)
    return link


def linked_twice(model: Path) -> Path:
    link = model.with_name("link2.keras")
    link.symlink_to(linked(model))
    return link


def hard_linked(model: Path) -> Path:
    link = model.with_name("hard.keras")
    link.hardlink_to(model)
    return link


def through_a_linked_folder(model: Path) -> Path:
    folder = model.parent.with_name("there")
    folder.symlink_to(model.parent.name)
    return folder / model.name


def other_case(model: Path) -> Path:
    other = model.with_name("MODEL.keras")
    if not other.exists():
        pytest.skip("this file system tells case apart")
    return other


def open_file(model: Path) -> Path:
    """The input by its number among the files of this process."""
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("no /proc here")
    return Path(f"/proc/{os.getpid()}/fd/{os.open(model, os.O_RDONLY)}")


DISGUISES = (
    same_path,
    dotted,
    linked,
    linked_twice,
    hard_linked,
    through_a_linked_folder,
    other_case,
    open_file,
)


@pytest.mark.parametrize("force", [[], ["--force"]], ids=["plain", "force"])
@pytest.mark.parametrize("disguise", DISGUISES)
def test_the_input_is_no_output(
    disguise: Callable[[Path], Path], force: list[str], snconvert: Run, model: Path
) -> None:
    """Under whichever name: the output is never the input, not even with --force."""
    before, output = model.read_bytes(), disguise(model)
    names = sorted(os.listdir(model.parent))
    result = snconvert("apply", model, "-o", output, *force)
    refused(result, "the output is the input itself")
    assert "--in-place" in result.stderr
    assert model.read_bytes() == before
    assert sorted(os.listdir(model.parent)) == names


@pytest.mark.parametrize("disguise", [linked, dotted, linked_twice])
def test_in_place_follows_links(
    disguise: Callable[[Path], Path], snconvert: Run, model: Path, right: bytes
) -> None:
    """--in-place replaces the file that a link leads to, and the link stays."""
    name = disguise(model)
    link = os.path.islink(name)
    assert snconvert("apply", name, "--in-place").returncode == 0
    assert os.path.islink(name) == link
    assert model.read_bytes() == right


def test_a_current_folder_makes_no_difference(
    snconvert: Run, model: Path, right: bytes, tmp_path: Path
) -> None:
    """Relative paths mean the same from anywhere, also for what lies beside the output."""
    result = snconvert("apply", "model.keras", "-o", "../out.keras", cwd=model.parent)
    assert result.returncode == 0
    assert (tmp_path / "out.keras").read_bytes() == right
    refused(
        snconvert("apply", "model.keras", "-o", "./model.keras", cwd=model.parent),
        "model.keras: the output is the input itself",
    )


def test_an_output_that_is_a_link(
    snconvert: Run, model: Path, right: bytes, tmp_path: Path
) -> None:
    """A link is followed: what it leads to is there or not, is replaced or made; it stays."""
    target, link = tmp_path / "target.keras", tmp_path / "link.keras"
    link.symlink_to(target)
    assert snconvert("apply", model, "-o", link).returncode == 0
    assert link.is_symlink()
    assert target.read_bytes() == right
    assert snconvert("apply", model, "-o", link).returncode == 0  # which is left as it is
    refused(snconvert("apply", model, "-o", link, "--conv"), "it exists already")
    target.write_bytes(b"old")
    assert snconvert("apply", model, "-o", link, "--force").returncode == 0
    assert link.is_symlink()
    assert target.read_bytes() == right


def test_a_link_to_nowhere_or_itself(snconvert: Run, model: Path, tmp_path: Path) -> None:
    """A link into a missing folder, and one that leads to itself, are refused."""
    (tmp_path / "lost.keras").symlink_to(tmp_path / "missing" / "target.keras")
    refused(snconvert("apply", model, "-o", tmp_path / "lost.keras"), "does not exist")
    (tmp_path / "loop.keras").symlink_to("loop.keras")
    refused(snconvert("apply", model, "-o", tmp_path / "loop.keras"), "loop.keras")
    refused(snconvert("apply", tmp_path / "loop.keras"), "loop.keras")
    assert sorted(os.listdir(tmp_path)) == ["here", "loop.keras", "lost.keras"]


@pytest.fixture
def special(tmp_path: Path) -> Iterator[dict[str, Path]]:
    """Things that are no regular files."""
    places = {name: tmp_path / name for name in ("folder", "pipe", "socket", "device")}
    places["folder"].mkdir()
    os.mkfifo(places["pipe"])
    server = socket.socket(socket.AF_UNIX)
    here = os.open(tmp_path, os.O_RDONLY)
    server.bind(f"/proc/self/fd/{here}/socket")  # its own path may be too long
    try:
        os.mknod(places["device"], stat.S_IFCHR | 0o666, os.makedev(1, 3))
    except OSError:
        places["device"] = Path(os.devnull)
    yield places
    server.close()
    os.close(here)


@pytest.mark.parametrize("force", [[], ["--force"]], ids=["plain", "force"])
@pytest.mark.parametrize("kind", ["pipe", "socket", "device"])
def test_an_output_of_another_kind(
    kind: str, force: list[str], special: dict[str, Path], snconvert: Run, model: Path
) -> None:
    """A pipe, socket or device is never replaced, and nothing waits for it."""
    before = special[kind].lstat()
    result = snconvert("apply", model, "-o", special[kind], *force, timeout=20)
    refused(result, "no regular file")
    after = special[kind].lstat()
    assert (after.st_mode, after.st_ino) == (before.st_mode, before.st_ino)


@pytest.mark.parametrize("kind", ["folder", "pipe", "socket", "device"])
@pytest.mark.parametrize("command", ["apply", "inspect"])
def test_an_input_of_another_kind(
    kind: str, command: str, special: dict[str, Path], snconvert: Run
) -> None:
    """A folder, pipe, socket or device is no model: one line, and nothing waits for it."""
    result = snconvert(command, special[kind], timeout=20)
    refused(result, str(special[kind]))


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o000])
def test_modes(umask: int, snconvert: Run, model: Path, tmp_path: Path) -> None:
    """A new file has mode 0666 & ~umask, whatever the input's; a replaced one keeps its mode."""
    model.chmod(0o600)
    output = tmp_path / "out.keras"
    assert snconvert("apply", model, "-o", output, umask=umask).returncode == 0
    assert stat.S_IMODE(output.stat().st_mode) == 0o666 & ~umask
    for mode in (0o640, 0o604, 0o444):
        output.chmod(mode)
        result = snconvert("apply", model, "-o", output, "--force", umask=umask)
        assert result.returncode == 0
        assert stat.S_IMODE(output.stat().st_mode) == mode
    model.chmod(0o640)
    assert snconvert("apply", model, "--in-place", umask=umask).returncode == 0
    assert stat.S_IMODE(model.stat().st_mode) == 0o640


def test_modes_of_folders(snconvert: Run, models: Path, tmp_path: Path) -> None:
    """So it is for an unzipped model: 0777 and 0666 & ~umask; a replaced folder keeps its mode."""
    output = tmp_path / "out"
    source = models / "a16_dir_h5dir"
    assert snconvert("apply", source, "-o", output, umask=0o027).returncode == 0
    assert stat.S_IMODE(output.stat().st_mode) == 0o750
    assert {stat.S_IMODE(path.stat().st_mode) for path in output.iterdir()} == {0o640}
    output.chmod(0o711)
    assert snconvert("apply", source, "-o", output, "--force", umask=0o027).returncode == 0
    assert stat.S_IMODE(output.stat().st_mode) == 0o711


NAMES = (
    "plain name.keras",
    "Größe 模型 🧠.keras",
    "quo'te\"s`$(touch x).keras",
    "new\nline\ttab.keras",
    "\x1b[31mred.keras",
    "-rf",
    "--help",
    "-o",
    "~",
    "a*b[c]?.keras",
    ".hidden",
    "no suffix",
    "trailing.keras ",
    "x" * 248 + ".keras",
)


@pytest.mark.parametrize("name", NAMES)
def test_names(name: str, snconvert: Run, model: Path, right: bytes) -> None:
    """Any name is read and written as it is, and printed as one line without escapes."""
    folder = model.parent
    source = model.rename(folder / name)
    output = folder / ("out " + name)[-250:]
    before = set(os.listdir(folder))
    for arguments in (
        ["apply", "-o", output.name, "--", name],
        ["apply", f"--output=./{output.name}", "--force", f"./{name}"],
    ):
        result = snconvert(*arguments, cwd=folder)
        assert result.returncode == 0, result
        assert output.read_bytes() == right
        text = result.stdout.replace("\n", "")
        assert text.isprintable()
    result = snconvert("inspect", "--json", "--", name, cwd=folder)
    assert result.returncode == 0, result
    result = snconvert("apply", "-o", output.name, "--bound", 2, "--", name, cwd=folder)
    refused(result, "it exists already")
    assert result.stderr.strip().isprintable()
    assert set(os.listdir(folder)) == before | {output.name}
    assert source.exists()


def test_names_beside_the_input(snconvert: Run, model: Path, right: bytes) -> None:
    """The default output of a file with an odd name, a leading dash too, lies beside it."""
    folder = model.parent
    model.rename(folder / "-a b\n.keras")
    assert snconvert("apply", "--", "-a b\n.keras", cwd=folder).returncode == 0
    assert (folder / "-a b\n-sn.keras").read_bytes() == right


def test_a_name_that_is_no_text(model: Path, right: bytes) -> None:
    """Bytes that are no UTF-8 are a name like any other."""
    folder = os.fsencode(model.parent)
    name = os.path.join(folder, b"\xff\xfe.keras")
    try:
        os.rename(model, name)
    except OSError as error:
        if error.errno != errno.EILSEQ:
            raise
        pytest.skip("this file system has names of text only")
    output = os.path.join(folder, b"out\xff.keras")
    command = [sys.executable, "-m", "snconvert", "apply", name, "-o", output]
    result = subprocess.run(command, capture_output=True, check=False)
    assert (result.returncode, result.stderr) == (0, b"")
    with open(output, "rb") as file:
        assert file.read() == right
    again = subprocess.run([*command, "--bound", "2"], capture_output=True, check=False)
    assert again.returncode == 1
    assert again.stderr.count(b"\n") == 1
    listing = subprocess.run(
        [sys.executable, "-m", "snconvert", "inspect", "--json", name],
        capture_output=True,
        check=False,
    )
    assert (listing.returncode, listing.stderr) == (0, b"")


def test_a_folder_without_a_name(snconvert: Run, models: Path, tmp_path: Path) -> None:
    """`.` and `..` mean the folder that they lead to, and the output lies beside that."""
    shutil.copytree(models / "a16_dir_h5dir", tmp_path / "model", copy_function=shutil.copyfile)
    (tmp_path / "model").chmod(0o755)
    (tmp_path / "model" / "assets").mkdir(exist_ok=True)
    assert snconvert("apply", ".", cwd=tmp_path / "model").returncode == 0
    result = snconvert("apply", "..", "--bound", 2, cwd=tmp_path / "model" / "assets")
    refused(result, "model-sn: it exists already")
    assert sorted(os.listdir(tmp_path)) == ["model", "model-sn"]


def test_names_that_are_too_long_or_empty(snconvert: Run, model: Path, tmp_path: Path) -> None:
    """What can be no name is refused with one line."""
    refused(snconvert("apply", model, "-o", tmp_path / ("x" * 300)), "too long")
    refused(snconvert("apply", model, "-o", ""), "no name")
    refused(snconvert("apply", ""), "no such file")
    refused(snconvert("apply", tmp_path / ("x" * 5000)), "too long")
    assert os.listdir(model.parent) == ["model.keras"]


@pytest.mark.parametrize("force", [False, True], ids=["plain", "force"])
def test_two_writers(force: bool, tmp_path: Path) -> None:
    """Two processes with one output: it is always whole, nothing is left, and without --force
    exactly one of them says that it exists."""
    models = []
    for number, units in enumerate((16, 24)):
        models.append(tmp_path / f"model{number}.keras")
        handmade.chain(models[-1], 120, units)
    rights = []
    for path in models:
        command = [sys.executable, "-m", "snconvert", "apply", path, "-qo", tmp_path / "right"]
        subprocess.run([*command, "--force"], check=True)
        rights.append((tmp_path / "right").read_bytes())
    out = tmp_path / "out"
    out.mkdir()
    output = out / "out.keras"
    for _ in range(4):
        output.unlink(missing_ok=True)
        command = [sys.executable, "-m", "snconvert", "apply", "-qo", output]
        writers = [
            warm.Popen([*command, *["--force"] * force, path], stderr=subprocess.PIPE)
            for path in models
        ]
        while any(writer.poll() is None for writer in writers):
            if output.exists():
                assert output.read_bytes() in rights
            time.sleep(0.01)
        said = [writer.communicate()[1].decode() for writer in writers]
        codes = sorted(writer.returncode for writer in writers)
        assert codes == ([0, 0] if force else [0, 1]), said
        if not force:
            assert "it exists already" in "".join(said)
        assert output.read_bytes() in rights
        assert os.listdir(out) == ["out.keras"]


WITHOUT = """
import ctypes, errno, os, sys
from snconvert.__main__ import main
from snconvert.archive import atomic
from snconvert.core import system

number = getattr(errno, sys.argv[1])

def link(*_, **__):
    raise OSError(number, os.strerror(number))

real = ctypes.CDLL

class Library:
    def __init__(self, *args, **options):
        self._real = real(*args, **options)

    def renameat2(self, *_):
        ctypes.set_errno(number)
        return -1

    def __getattr__(self, name):
        return getattr(self._real, name)

def flock(*_):
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

os.link = link
atomic.ctypes.CDLL = Library
system.fcntl.flock = flock
sys.argv[:2] = ["snconvert"]
main()
"""


@pytest.mark.parametrize("number", ["EPERM", "ENOTSUP", "EINVAL", "ENOSYS"])
def test_a_file_system_without_links(
    number: str, models: Path, model: Path, right: bytes, tmp_path: Path
) -> None:
    """Without link, renameat2 and locks, as on NFS and FAT, all works and refuses as elsewhere."""

    def apply(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", WITHOUT, number, "apply", *arguments]
        return warm.run(command, capture_output=True, text=True)

    output = tmp_path / "out.keras"
    for force in ([], ["--force"]):
        result = apply(model, "-o", output, *force)
        assert (result.returncode, result.stderr) == (0, "")
        assert output.read_bytes() == right
    refused(apply(model, "-o", output, "--bound", "2"), "it exists already")
    folder = tmp_path / "folder"
    for force in ([], ["--force"]):
        result = apply(models / "a16_dir_h5dir", "-o", folder, *force)
        assert (result.returncode, result.stderr) == (0, "")
        assert len(os.listdir(folder)) == 3
    refused(apply(models / "a16_dir_h5dir", "-o", folder, "--conv"), "it exists already")
    assert sorted(os.listdir(tmp_path)) == ["folder", "here", "out.keras"]


def test_an_output_that_appears_meanwhile(tmp_path: Path) -> None:
    """Who comes first at the end wins: a file made by somebody else is not replaced."""
    source, output = tmp_path / "model.keras", tmp_path / "out" / "out.keras"
    output.parent.mkdir()
    handmade.chain(source, 400, 16)
    command = [sys.executable, "-m", "snconvert", "apply", source, "-qo", output]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        while not os.listdir(output.parent):  # its temporary file
            assert process.poll() is None
            time.sleep(0.001)
        with open(output, "x") as file:
            file.write("mine")
        _, err = process.communicate()
    assert process.returncode == 1
    assert "it exists already" in err
    assert output.read_text() == "mine"
    assert os.listdir(output.parent) == ["out.keras"]


def test_the_conversion_is_a_whole_archive(right: bytes, tmp_path: Path) -> None:
    """What the tests here compare with is a model with right checksums."""
    (tmp_path / "right").write_bytes(right)
    with zipfile.ZipFile(tmp_path / "right") as archive:
        assert archive.testzip() is None
