import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from places import ROOT, SUPPORT

from snconvert.errors import SourceError, WeightsError
from snconvert.sandbox.worker import Worker
from snconvert.weights.extent import Extent

COLD_WORKERS = True  # their start is tested here


def crash(number):
    os.kill(os.getpid(), number)


def fail():
    raise WeightsError("too few", "Add some", path="a/b", class_name="Dense")


def bug():
    return {}["missing"]


def allocate(count):
    return int(np.ones(count, np.uint8)[-1])


def total(extent):
    return int(np.frombuffer(extent.view(extent.size, 0), np.uint8)[:: 1 << 27].sum())


def shrink_and_touch(extent, path):
    view = extent.view(extent.size, 0)
    os.truncate(path, 0)
    return view[0]


def shout():
    print("python")  # noqa: T201 - this is what must not be seen
    os.write(1, b"out")
    os.write(2, b"err")


def count(end, report=None):
    for number in range(end):
        report(number)
    return end


def pause(seconds):
    time.sleep(seconds)


def hang(*, report=None):
    """Hangs as libhdf5 does: in C, with the interpreter's lock held."""
    if report is not None:
        report(os.getpid())
    ctypes.PyDLL(None).sleep(1000)


@pytest.fixture(params=["fork", "spawn"])
def worker(request):
    """A worker of either kind: beside another thread no process is forked."""
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    if request.param == "spawn":
        thread.start()
    with Worker() as worker:
        yield worker
        forked = worker._pid and worker._process is None
    done.set()
    if request.param == "spawn":
        assert not forked
        thread.join()


def gone(pid):
    """Whether a process ends within two seconds."""
    for _ in range(200):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        with contextlib.suppress(FileNotFoundError):
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        time.sleep(0.01)
    return False


def test_results_come_back(worker):
    """A call gives what the function gives, in another process."""
    assert worker.call(divmod, 7, 2) == (3, 1)
    assert worker.call(os.getpid) not in (os.getpid(), 0)
    assert worker.call(os.getpid) == worker.call(os.getpid)


def test_own_errors_arrive_as_themselves(worker):
    """A SnconvertError of the child is the same error here, and the child goes on."""
    with pytest.raises(WeightsError, match="too few") as caught:
        worker.call(fail)
    assert (caught.value.path, caught.value.class_name, caught.value.fix) == (
        "a/b",
        "Dense",
        "Add some",
    )
    assert worker.call(abs, -1) == 1


def test_a_bug_is_not_taken_for_a_damaged_file(worker):
    """Any other exception arrives with its traceback."""
    with pytest.raises(RuntimeError, match="KeyError: 'missing'"):
        worker.call(bug)


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGKILL])
def test_a_crash_is_one_error(worker, number):
    """A child that dies is a SourceError here, and the next call has a new child."""
    with pytest.raises(SourceError, match=r"crashed.*SIG|killed, perhaps for lack of memory"):
        worker.call(crash, number)
    assert worker.call(abs, -1) == 1


def test_a_file_that_shrinks_under_a_map_is_one_error(worker, tmp_path):
    """The SIGBUS of a lost page does not reach this process."""
    path = tmp_path / "f"
    path.write_bytes(bytes(10_000))
    with path.open("rb") as file, pytest.raises(SourceError, match="SIGBUS"):
        worker.call(shrink_and_touch, Extent(file.fileno(), 0, 10_000), str(path))


def test_a_missed_deadline_is_one_error(worker):
    """A child that hangs in C is killed on time."""
    start = time.monotonic()
    worker.call(abs, 1)
    with pytest.raises(SourceError, match=r"within 0\.3 seconds"):
        worker.call(hang, seconds=0.3)
    assert time.monotonic() - start < 5
    assert worker._pid == 0


def spin():
    """Hangs as libhdf5 does in a loop."""
    while True:
        pass


def rest(seconds):
    time.sleep(seconds)
    return "rested"


def test_computing_time_is_bounded_but_waiting_less(worker, monkeypatch):
    """A child that computes too long is killed; one that waits for a processor is given time."""
    start = time.process_time()
    with monkeypatch.context() as patch:
        patch.setattr("snconvert.sandbox.worker.PATIENCE", 100)  # a busy machine is no hang
        with pytest.raises(SourceError, match="did not finish on this file in time"):
            worker.call(spin, seconds=0.5)
    assert time.process_time() - start < 0.5
    worker.call(abs, 1)  # its start is not what is timed
    assert worker.call(rest, 0.8, seconds=0.5) == "rested"


def test_memory_is_bounded_but_maps_are_not(worker, tmp_path):
    """A child cannot allocate 3 GiB, but can read a mapped file of 3 GiB."""
    with pytest.raises(SourceError, match="memory"):
        worker.call(allocate, 3 << 30)
    assert worker.call(allocate, 200 << 20) == 1
    with (tmp_path / "sparse").open("w+b") as file:
        file.truncate(3 << 30)
        assert worker.call(total, Extent(file.fileno(), 0, 3 << 30)) == 0


def test_the_child_is_silent(worker, capfd):
    """What a library prints in the child does not reach the terminal."""
    worker.call(shout)
    with pytest.raises(SourceError):
        worker.call(crash, signal.SIGSEGV)
    assert capfd.readouterr() == ("", "")


def test_progress_arrives_in_order(worker):
    """What the function reports is passed on before its result."""
    seen = []
    assert worker.call(count, 5, progress=seen.append) == 5
    assert seen == [0, 1, 2, 3, 4]


def test_an_interrupt_ends_the_child(worker):
    """Ctrl-C during a call does not leave the child behind."""
    pids = []

    def interrupt(pid):
        pids.append(pid)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        worker.call(hang, progress=interrupt)
    assert gone(pids[0])
    assert worker.call(abs, -1) == 1


def test_leaving_the_block_ends_the_child():
    """After the block there is no child."""
    with Worker() as worker:
        pid = worker.call(os.getpid)
    assert gone(pid)


def test_a_child_started_ahead_serves_the_next_worker_of_its_kind():
    """Another kind of worker gets a child of its own, and so does a process forked meanwhile."""
    first = Worker(["math"])
    first.start_ahead()
    ahead = first._pid
    with Worker(["math", "cmath"]) as other:
        assert other.call(os.getpid) != ahead
    fork = os.fork()
    if fork == 0:
        with Worker(["math"]) as worker:
            os._exit(worker.call(os.getpid) == ahead)
    assert os.waitpid(fork, 0)[1] == 0
    with Worker(["math"]) as worker, Worker(["math"]) as second:
        assert worker.call(os.getpid) == ahead
        assert second.call(os.getpid) != ahead
    assert gone(ahead)


@pytest.mark.parametrize("arguments", [["--colour"], ["missing.keras"], []])
def test_a_command_that_fails_leaves_no_child_behind(arguments):
    """The child is there before anything is known to be wrong, and ends with its parent."""
    ours, theirs = os.pipe()
    command = [sys.executable, "-m", "snconvert", "apply", *arguments]
    code = subprocess.run(command, cwd=ROOT, capture_output=True, pass_fds=[theirs], check=False)
    os.close(theirs)
    assert code.returncode in (1, 2)
    assert select.select([ours], [], [], 5.0)[0]
    assert os.read(ours, 1) == b""  # nobody else has it open
    os.close(ours)


@pytest.mark.parametrize("busy", ["hang", "pause"])
def test_the_child_does_not_outlive_its_parent(busy):
    """A parent that is killed takes a hanging child with it."""
    code = (
        f"import sys; sys.path[:] = {[*sys.path, str(SUPPORT), str(Path(__file__).parent)]!r}\n"
        "import os, test_worker as t\n"
        "worker = t.Worker()\n"
        "print(worker.call(os.getpid), flush=True)\n"
        f"worker.call(t.{busy}, *({busy!r} == 'pause') * (1000,))\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as parent:
        pid = int(parent.stdout.readline())
        time.sleep(0.2)
        assert not gone_now(pid)
        parent.kill()
    assert gone(pid)


def gone_now(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_a_notebook_needs_no_main_guard(tmp_path):
    """A spawned child does not run the parent's script again."""
    script = tmp_path / "cells.py"
    script.write_text(
        "import threading, os\n"
        "from snconvert.sandbox.worker import Worker\n"
        "print('once')\n"
        "event = threading.Event(); thread = threading.Thread(target=event.wait); thread.start()\n"
        "with Worker() as worker: print(worker.call(len, 'abc'))\n"
        "event.set()\n"
    )
    (tmp_path / "socket.py").write_text("print('hijacked')\nraise SystemExit(3)\n")
    done = subprocess.run(
        [sys.executable, "-P", str(script)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert (done.stdout, done.stderr) == ("once\n3\n", "")
