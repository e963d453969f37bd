"""A thread beside which processes are forked."""

from __future__ import annotations

import signal
import threading
import time

from snconvert.sandbox import ticker
from snconvert.sandbox.ticker import Ticker


def test_it_acts_again_and_again() -> None:
    """After its patience, until it is stopped; then never more."""
    acts: list[float] = []
    one = Ticker(lambda: acts.append(time.monotonic()), 0.1, 0.01)
    started = time.monotonic()
    one.start()
    time.sleep(0.3)
    one.stop()
    count = len(acts)
    assert acts[0] - started >= 0.1
    assert count >= 3
    time.sleep(0.05)
    assert len(acts) == count


def test_it_is_still() -> None:
    """No act is going on in the block, nor begins there."""
    acting = threading.Event()
    acts: list[str] = []

    def act() -> None:
        acts.append("begun")
        acting.set()
        time.sleep(0.05)
        acts.append("done")

    one = Ticker(act, 0.0, 0.0)
    one.start()
    for _ in range(3):
        acting.clear()
        assert acting.wait(5)
        with ticker.still():
            count = len(acts)
            assert acts[-1] == "done"
            time.sleep(0.1)
            assert len(acts) == count
    one.stop()


def test_it_is_no_other_thread() -> None:
    """A ticker leaves a process alone, any other thread does not."""
    before = ticker.is_alone()
    one = Ticker(lambda: None, 0.0, 1.0)
    one.start()
    assert ticker.is_alone() == before
    done = threading.Event()
    other = threading.Thread(target=done.wait)
    other.start()
    assert not ticker.is_alone()
    done.set()
    other.join()
    one.stop()


def test_signals_are_for_the_main_thread() -> None:
    """Those that wait for the main thread do not wake the ticker."""
    masks: list[set[int]] = []
    one = Ticker(lambda: masks.append({*signal.pthread_sigmask(signal.SIG_BLOCK, ())}), 0.0, 1.0)
    one.start()
    while not masks:
        time.sleep(0.01)
    one.stop()
    assert {signal.SIGINT, signal.SIGTERM, signal.SIGHUP} <= masks[0]
    assert not {signal.SIGINT, signal.SIGTERM} & {*signal.pthread_sigmask(signal.SIG_BLOCK, ())}
