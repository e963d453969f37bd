"""Output that is there as a whole or not at all.

A file or folder is built under a temporary name beside its place, flushed to the disk, and renamed.
The temporary name is locked while its owner lives, so that what a killed process left behind can be
told from what another one is writing, and removed by the next run.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import shutil
import stat
import sys
from collections.abc import Iterator

from snconvert.core.system import POSIX, Descriptor, flags, flush, is_running, lock
from snconvert.errors import OutputError, OutputExistsError, OutputPermissionError, SnconvertError

_TRIES = 20
_LONGEST_NAME = 255
_NO_REPLACE, _EXCHANGE = 1, 2  # renameat2(2)
_FIXES = {
    errno.ENOSPC: "Free some room on the disk or choose another folder",
    errno.EDQUOT: "Free some room in your quota or choose another folder",
    errno.EROFS: "Choose a folder on a disk that can be written",
    errno.EACCES: "Choose a folder that you may write to",
    errno.EPERM: "Choose a folder that you may write to",
    errno.ENAMETOOLONG: "Choose a shorter name",
    errno.EFBIG: "Choose a disk that can hold files of this size",
}


def exists(out: str, but: str = "") -> OutputError:
    """Returns the error for an output that is there and may not be replaced.

    Args:
        out: The output.
        but: Why it is not the result of an earlier run that could be left, as a clause.
    """
    what = f"it exists already, {but}" if but else "it exists already"
    return OutputExistsError(what, "Use --force to replace it", file=out)


@contextlib.contextmanager
def writing(out: str) -> Iterator[None]:
    """Turns an `OSError` into an `OutputError` that says what to do."""
    try:
        yield
    except SnconvertError:  # some are an `OSError`, too
        raise
    except OSError as error:
        fix = _FIXES.get(error.errno or 0, "Check the disk and try again")
        kind = OutputPermissionError if isinstance(error, PermissionError) else OutputError
        raise kind(
            f"the output cannot be written ({error.strerror or error})", fix, file=out
        ) from error


@contextlib.contextmanager
def new_file(out: str, force: bool) -> Iterator[Descriptor]:
    """Opens a temporary file that becomes `out` when the block ends without an exception.

    A new file gets the usual permissions, a replaced one keeps its own.

    Args:
        out: Where the file shall be; not a link.
        force: Whether a file there is replaced.

    Yields:
        A descriptor, open for reading and writing.

    Raises:
        OutputError: The file cannot be made or put in its place, or is there and `force` is false.
    """
    with _temporary(out, 0o666, force, folder=False) as (name, opened, mode):
        yield Descriptor(opened[0], name)
        with writing(out):
            if POSIX and force and os.path.lexists(out):
                os.fchmod(opened[0], mode)
            flush(opened[0])
            if not POSIX:
                os.close(opened.pop())
            if force:
                os.replace(name, out)
            else:
                _publish(name, out)
            _settle(out)


@contextlib.contextmanager
def new_folder(out: str, force: bool) -> Iterator[str]:
    """Makes a temporary folder that becomes `out` when the block ends without an exception.

    The files in it must have been flushed by whoever wrote them. A folder that is replaced changes
    places with the new one in one step where the system can do that; elsewhere there is a moment
    without either.

    Args:
        out: Where the folder shall be; not a link.
        force: Whether a folder there is replaced.

    Yields:
        The path of the temporary folder.

    Raises:
        OutputError: The folder cannot be written, or is there and `force` is false.
    """
    with _temporary(out, 0o777, force, folder=True) as (name, _, mode):
        yield name
        with writing(out):
            if force and os.path.lexists(out):
                os.chmod(name, mode)
                if not _renameat2(name, out, _EXCHANGE):
                    _swap(name, out)
            else:
                _publish(name, out)
            _settle(out)


def sync_folder(folder: str) -> None:
    """Flushes a folder's entries to the disk, where its file system knows that."""
    try:
        descriptor = os.open(folder, flags("RDONLY", "DIRECTORY"))
    except PermissionError:  # a folder that one may write to, but not list; on Windows any folder
        return
    try:
        flush(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        with contextlib.suppress(OSError):
            os.close(descriptor)


def _settle(out: str) -> None:
    """Flushes the rename; whatever comes of it, the output is there as a whole."""
    try:
        sync_folder(os.path.dirname(out))
    except OSError as error:
        raise OutputError(
            "the output is complete, but it may not outlast a power failure: "
            f"its folder cannot be flushed to the disk ({error.strerror})",
            "Check the disk",
            file=out,
        ) from error


def remove_stale(out: str) -> None:
    """Removes the temporary files and folders for `out` that no living process holds."""
    folder = os.path.dirname(out)
    prefix = _prefix(out)
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):
            if name.startswith(prefix) and name.endswith(".tmp"):
                path = os.path.join(folder, name)
                with contextlib.suppress(OSError):
                    if not _held(path, name[len(prefix) :]):
                        _remove(path)


@contextlib.contextmanager
def _temporary(
    out: str, mode: int, force: bool, folder: bool
) -> Iterator[tuple[str, list[int], int]]:
    """Yields the temporary name, a descriptor of what has it, and the mode that `out` shall get.

    The descriptor is in a list, empty for a folder that the system does not open, from which it is
    taken when it is closed.
    """
    name = ""
    opened: list[int] = []
    try:
        with writing(out):
            remove_stale(out)
            mode = _mode(out, mode) if force else mode
            for _ in range(_TRIES):
                # Named before it is made, so that an interrupt in between leaves nothing behind.
                name = os.path.join(
                    os.path.dirname(out), f"{_prefix(out)}{os.getpid()}-{os.urandom(8).hex()}.tmp"
                )
                if folder:
                    os.mkdir(name, mode | 0o700)
                    if POSIX:
                        opened.append(os.open(name, flags("RDONLY", "DIRECTORY")))
                else:
                    opened.append(os.open(name, flags("RDWR", "CREAT", "EXCL", "BINARY"), mode))
                if (not opened or lock(opened[0]) is not False) and os.path.lexists(name):
                    break
                _close(opened)  # a starting neighbour took it for stale just now
                _remove(name)
            else:
                raise OSError(errno.EAGAIN, "other processes are starting to write it, too")
        yield name, opened, mode
    finally:
        _close(opened)
        # After a rename the name is gone; after an exchange it is the old folder.
        _remove(name)


def _close(opened: list[int]) -> None:
    while opened:
        with contextlib.suppress(OSError):  # the data has been flushed, or is not wanted
            os.close(opened.pop())


def _prefix(out: str) -> str:
    name = os.path.basename(out)
    room = _LONGEST_NAME - len(f".snconvert-{2**32}-{'0' * 16}.tmp") - 1
    while len(os.fsencode(name)) > room:
        name = name[:-1]
    return f".{name}.snconvert-"


def _held(path: str, rest: str) -> bool:
    """Whether a living process owns a temporary file: by its lock, or else by its number."""
    free = None
    if POSIX:
        kind = ("RDONLY", "DIRECTORY") if os.path.isdir(path) else ("RDWR", "NONBLOCK")
        descriptor = os.open(path, flags(*kind, "NOFOLLOW"))
        try:
            free = lock(descriptor)
        finally:
            os.close(descriptor)
    if free is None:
        with contextlib.suppress(ValueError, OverflowError):
            return is_running(int(rest.partition("-")[0]))
    return free is False


def _remove(path: str) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        with contextlib.suppress(OSError):  # it does not ignore a failing close
            shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            os.unlink(path)


def _mode(path: str, default: int) -> int:
    try:
        return stat.S_IMODE(os.lstat(path).st_mode) if POSIX else default
    except FileNotFoundError:
        return default


def _publish(name: str, out: str) -> None:
    """Renames without replacing anything: the last word on whether `out` exists."""
    if _renameat2(name, out, _NO_REPLACE):
        return
    if not os.path.isdir(name):
        try:
            os.link(name, out)
        except FileExistsError:
            raise exists(out) from None
        except OSError:  # a file system without hard links
            pass
        else:
            os.unlink(name)
            return
    if os.path.lexists(out):
        raise exists(out)
    os.rename(name, out)


def _swap(name: str, out: str) -> None:
    old = f"{name.removesuffix('.tmp')}.old"  # not a name that counts as stale
    try:
        os.rename(out, old)
        os.rename(name, out)
    except BaseException:
        if os.path.lexists(old) and not os.path.lexists(out):
            os.rename(old, out)
        raise
    _remove(old)


def _renameat2(old: str, new: str, flags: int) -> bool:
    """Renames with flags; false where system or file system do not know them."""
    if sys.platform != "linux":
        return False
    library = ctypes.CDLL(None, use_errno=True)
    here = -100  # AT_FDCWD
    try:
        done = library.renameat2(here, os.fsencode(old), here, os.fsencode(new), flags) == 0
    except AttributeError:  # an old C library
        return False
    if done:
        return True
    number = ctypes.get_errno()
    if number == errno.EEXIST:
        raise exists(new)
    if number in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EPERM):
        return False
    raise OSError(number, os.strerror(number), new)
