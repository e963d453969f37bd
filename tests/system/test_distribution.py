"""Converted models, trained on several devices: u is the same on all, and all is as on one."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import distributed
import numpy as np
import pytest
import warm

JAX = {"quick": ("live",), "slow": ("hard", "gain", "live")}
TENSORFLOW = {
    "quick": ("live", "in_place", "constraint"),
    "slow": ("hard", "gain", "live", "in_place", *distributed.OTHERS),
}
EXTENTS = pytest.mark.parametrize("extent", ["quick", pytest.param("slow", marks=pytest.mark.slow)])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A plain model and its conversions, and in `one-*` what training on one device makes."""
    distributed.convert(tmp_path)
    return tmp_path


def start(kind: str, folder: Path, names: Sequence[str], **environment: str) -> warm.Popen:
    """Starts a process of `distributed.py`."""
    return warm.Popen(
        [sys.executable, "-W", "ignore", distributed.__file__, kind, folder, *names],
        modules=() if kind == "jax" else warm.TENSORFLOW,
        env=os.environ | environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(*processes: warm.Popen) -> None:
    """Waits for processes, for four minutes each."""
    try:
        for process in processes:
            _, errors = process.communicate(timeout=240)
            assert process.returncode == 0, errors[-3000:]
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def check(folder: Path, names: Sequence[str], replicas: list[str]) -> None:
    """Makes sure that all replicas hold the same bits, and those of one device to 2e-5: float32
    rounding of other sums over the batch, over four steps."""
    for name in names:
        first, *others = (np.load(folder / replica.format(name)) for replica in replicas)
        one = "live" if name == "in_place" else name  # in the same mode
        expected = np.load(folder / f"one-{one}-0.npz")
        assert sum(path.endswith("u") for path in first) == 3
        assert set(first) == set(expected)
        for path in first:
            for other in others:
                np.testing.assert_array_equal(first[path], other[path], err_msg=path)
            np.testing.assert_allclose(first[path], expected[path], atol=2e-5, err_msg=path)


@EXTENTS
def test_tensorflow(extent: str, folder: Path) -> None:
    """MirroredStrategy on two devices, and MultiWorkerMirroredStrategy in two processes."""
    names = TENSORFLOW[extent]
    finish(start("mirrored", folder, names))
    check(folder, names, [f"mirrored-{{}}-{i}.npz" for i in range(2)])
    with socket.create_server(("127.0.0.1", 0)) as a, socket.create_server(("127.0.0.1", 0)) as b:
        addresses = [f"127.0.0.1:{server.getsockname()[1]}" for server in (a, b)]
    configs = [
        {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": i}} for i in range(2)
    ]
    if extent == "quick":
        names = ("live", "constraint")
    finish(*(start("worker", folder, names, TF_CONFIG=json.dumps(config)) for config in configs))
    check(folder, names, [f"worker{i}-{{}}-0.npz" for i in range(2)])


@EXTENTS
def test_jax(extent: str, folder: Path) -> None:
    """DataParallel on four devices, and ModelParallel, which divides the kernels, on two by two."""
    devices = "--xla_force_host_platform_device_count=4"
    finish(start("jax", folder, JAX[extent], KERAS_BACKEND="jax", XLA_FLAGS=devices))
    for kind in ("data", "model"):
        check(folder, JAX[extent], [f"{kind}-{{}}-{i}.npz" for i in range(4)])
