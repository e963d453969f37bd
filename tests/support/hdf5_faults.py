"""What HDF5 does on some damaged files, in the guarded process; light, as that imports it."""

from __future__ import annotations

import os
import signal
import time


def crash(_: object) -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def hang(_: object) -> None:
    time.sleep(60)
