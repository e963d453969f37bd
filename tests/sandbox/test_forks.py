import contextlib
import mmap
import os
import signal
import threading
import time

import pytest

from snconvert.errors import SourceError, WeightsError
from snconvert.sandbox.forks import OneAtATime, rounds, side_by_side
from snconvert.sandbox.worker import Worker
from snconvert.weights.extent import Extent

ITEMS = list(range(40))


def squares(processes):
    """Returns what forks made of `ITEMS`: place, process, square."""

    def work(item):
        time.sleep(0.005)
        return os.getpid(), item * item

    return os.getpid(), [(place, *found) for place, found in side_by_side(work, ITEMS, processes)]


def in_rounds(processes):
    """Has the same forks work on all items three times, on what is shared with them."""
    shared = mmap.mmap(-1, 1)
    with rounds(lambda item: (os.getpid(), item * shared[0]), ITEMS, processes) as done:
        found = []
        for number in (1, 2, 3):
            shared[0] = number
            found.append(list(done()))
    return found


def without_processes():
    """Does the work where no process can be made."""

    def refuse():
        raise BlockingIOError("no more processes")

    os.fork = refuse
    return list(side_by_side(lambda item: item + 1, ITEMS, 2))


def failing():
    def work(item):
        if item == 3:
            raise WeightsError("too few", "Add some", path="a/b", class_name="Dense")
        return item

    return list(side_by_side(work, ITEMS, 2))


def kill_itself(number):
    os.kill(os.getpid(), number)


def crashing(number):
    def work(item):
        if item == 3:
            os.kill(os.getpid(), number)
        return item

    return list(side_by_side(work, ITEMS, 2))


def buggy():
    def look_up(item):
        return {}[f"missing {item}"]

    return list(side_by_side(look_up, ITEMS, 2))


def dying_while_idle():
    """A fork dies after its answer, before it is given more to do."""

    def work(item):
        threading.Timer(0.05, kill_itself, [signal.SIGKILL]).start()
        return item

    for _ in side_by_side(work, ITEMS, 2):
        time.sleep(0.3)


def pids_of_forks(_):
    """Returns the forks' numbers and which of them are still there when all is done."""
    pids = {pid for _, pid in side_by_side(lambda _: os.getpid(), ITEMS, 3)}
    return pids, [pid for pid in pids if not gone(pid)]


def waiting(extent):
    """Writes the numbers of its forks to a file; they work for long."""

    def work(_):
        os.write(extent.descriptor, f"{os.getpid()}\n".encode())
        time.sleep(60)

    list(side_by_side(work, ITEMS, 2))


def in_turns(extent):
    """Each fork writes where it is, with a lock around."""
    turn = OneAtATime()

    def work(_):
        with turn:
            os.write(extent.descriptor, b"(")
            time.sleep(0.002)
            os.write(extent.descriptor, b")")

    with contextlib.closing(turn):
        list(side_by_side(work, ITEMS, 3))


def gone(pid):
    """Whether a process has ended, within two seconds."""
    for _ in range(200):
        try:
            with open(f"/proc/{pid}/stat") as file:
                if file.read().rsplit(")", 1)[1].split()[0] in "ZX":
                    return True
        except OSError:
            return True
        time.sleep(0.01)
    return False


@pytest.mark.parametrize("processes", [0, 1, 2, 3])
def test_each_item_is_done_once(processes):
    """Every place comes once with its result; fewer than two processes make no fork."""
    with Worker() as worker:
        own, found = worker.call(squares, processes)
    assert sorted((place, square) for place, _, square in found) == [(i, i * i) for i in ITEMS]
    pids = {pid for _, pid, _ in found}
    assert pids == {own} if processes < 2 else own not in pids
    assert len(pids) == max(1, processes)


@pytest.mark.parametrize("processes", [1, 3])
def test_forks_do_all_items_again_in_each_round(processes):
    """The forks stay, and see what has changed where memory is shared."""
    with Worker() as worker:
        found = worker.call(in_rounds, processes)
    for number, done in enumerate(found, 1):
        assert sorted((i, value) for i, (_, value) in done) == [(i, number * i) for i in ITEMS]
    pids = [{pid for _, (pid, _) in done} for done in found]
    assert pids == [pids[0]] * 3
    assert len(pids[0]) == processes


def test_the_work_is_done_without_forks_where_there_can_be_none():
    """A limit of processes makes it slower, not impossible."""
    with Worker() as worker:
        found = worker.call(without_processes)
    assert found == [(i, i + 1) for i in ITEMS]


def test_an_error_is_raised_where_the_results_are_asked_for():
    """What the work raised comes out, with all that the error holds."""
    with Worker() as worker, pytest.raises(WeightsError) as caught:
        worker.call(failing)
    assert (caught.value.path, caught.value.what) == ("a/b", "too few")


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGBUS, signal.SIGKILL, signal.SIGABRT])
def test_a_crash_is_told_as_one_of_the_guarded_process(number):
    """A fork that dies by a signal takes the guarded process along, by the same signal."""
    with Worker() as worker, pytest.raises(SourceError) as alone:
        worker.call(kill_itself, number)
    with Worker() as worker, pytest.raises(SourceError) as forked:
        worker.call(crashing, number)
    assert str(forked.value) == str(alone.value)


def test_a_fork_that_dies_while_it_waits_is_told_as_a_crash():
    """A fork that is killed between two items ends the work like one that is killed in an item."""
    with Worker() as worker, pytest.raises(SourceError, match="was killed"):
        worker.call(dying_while_idle)


def test_a_bug_is_told_with_its_place():
    """What is no error of the package comes out as a text that names the place."""
    with Worker() as worker, pytest.raises(RuntimeError, match=r"(?s)look_up.*missing"):
        worker.call(buggy)


def test_forks_are_waited_for_where_the_end_of_children_is_ignored():
    """Some supervisors start programs with SIGCHLD ignored, which children inherit."""
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        with Worker() as worker:
            _, found = worker.call(squares, 2)
        with Worker() as worker, pytest.raises(SourceError):
            worker.call(crashing, signal.SIGSEGV)
    finally:
        signal.signal(signal.SIGCHLD, before)
    assert len(found) == len(ITEMS)


def test_no_fork_outlives_its_work():
    """When all is done the forks are gone, though the guarded process goes on."""
    with Worker() as worker:
        pids, left = worker.call(pids_of_forks, 0)
    assert len(pids) == 3
    assert not left


def test_no_fork_outlives_the_process_that_forked_it(tmp_path):
    """Where the guarded process is killed in the middle, its forks die with it."""
    path = tmp_path / "pids"
    with path.open("wb", buffering=0) as file, Worker() as worker:
        child = worker.call(os.getpid)

        def kill():
            for _ in range(1000):
                if len(path.read_bytes().splitlines()) == 2:
                    break
                time.sleep(0.01)
            os.kill(child, signal.SIGKILL)

        killer = threading.Thread(target=kill)
        killer.start()
        with pytest.raises(SourceError, match="was killed"):
            worker.call(waiting, Extent(file.fileno(), 0, 0))
        killer.join()
    pids = [int(line) for line in path.read_text().splitlines()]
    assert len(pids) == 2
    assert all(gone(pid) for pid in pids)


def test_only_one_fork_holds_the_lock(tmp_path):
    """What is done under the lock is done by one fork after the other."""
    path = tmp_path / "log"
    with path.open("wb", buffering=0) as file, Worker() as worker:
        worker.call(in_turns, Extent(file.fileno(), 0, 0))
    assert path.read_bytes() == b"()" * len(ITEMS)
