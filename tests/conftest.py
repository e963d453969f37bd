"""What several tests share: where the data lies, and a zoo of Keras models."""

from __future__ import annotations

import gc
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import light
import pytest
import quick_variables
import turns
import warm
from hypothesis import settings
from places import MODELS

from snconvert.sandbox import worker

# The tests run side by side. Threads of BLAS wait for each other in loops: where they are more than
# idle cores, twenty times the CPU time of one. What is about them sets their number itself.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")  # compiling is the time

# The same examples every time, so that no change fails by luck; `--hypothesis-profile=default`
# looks for others.
settings.load_profile("ci")

# A shell starts its background jobs with SIGINT ignored, and so would be every process that a test
# interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fast", action="store_true", help="run the tests that do without keras")


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Has a run of all tests take a process for each core, unless `-n` says how many. Single files
    start faster without, and `--cov` has begun by now. The processes themselves read no `-n`."""
    if hasattr(config, "workerinput"):
        return
    option = config.option
    whole = config.args_source is pytest.Config.ArgsSource.TESTPATHS and not option.keyword
    alone = option.usepdb or option.collectonly or getattr(option, "cov_source", None)
    if whole and option.numprocesses is None and not alone:
        option.numprocesses = "auto"
        option.dist = "loadfile"


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--fast"):
        sys.meta_path.insert(0, light.NoKeras())
        config.option.doctestmodules = False  # in the package, where many modules need keras


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """With `--fast`, leaves out what needs keras."""
    fast = config.getoption("--fast") and collection_path.suffix == ".py"
    return True if fast and not light.is_light(collection_path) else None


def pytest_itemcollected(item: pytest.Item) -> None:
    turns.mark_slow(item)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Puts first what takes long, so that no process is left with it in the end; with `--fast`,
    leaves out single tests that need keras."""
    items.sort(key=lambda item: light.SYSTEM not in item.path.parents)
    if config.getoption("--fast"):
        items[:] = [item for item in items if not item.get_closest_marker("keras")]


def pytest_collection_finish() -> None:
    quick_variables.forget_names()


@pytest.fixture(autouse=True, scope="module")
def passed_over() -> None:
    """Has the garbage collector pass over what is here to stay, the libraries, the tests and what
    Keras keeps of earlier ones: to go through it takes half a second, each time."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> None:
    """With `--cov`, traces the tests that do without keras, and no others: to trace Keras takes
    half as long again as the tests."""
    plugin = item.config.pluginmanager.getplugin("_cov")
    controller = plugin and plugin.cov_controller
    if controller is None:
        return
    if _needs_keras(item) and controller.started:
        controller.pause()
    elif not _needs_keras(item) and not controller.started:
        controller.resume()


def _needs_keras(item: pytest.Item) -> bool:
    return item.get_closest_marker("keras") is not None or not light.is_light(item.path)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Every test draws the same weights whichever tests its process ran before: Keras seeds its
    initializers from `random`."""
    random.seed(item.nodeid)


@pytest.fixture(scope="session")
def models() -> Path:
    """Genuine files from many Keras versions."""
    return MODELS


@pytest.fixture(scope="session")
def snconvert() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the command line in a process of its own, with the libraries loaded."""

    def run(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "snconvert", *map(str, arguments)]
        settings = {"capture_output": True, "text": True, "timeout": 120, **options}
        done = warm.run(command, **settings)
        if "--json" in command and isinstance(done.stdout, str):
            import json_shape

            json_shape.lines(done.stdout)  # each fits the schema that ships
        return done

    return run


@pytest.fixture(autouse=True, scope="module")
def warm_workers(request: pytest.FixtureRequest) -> Iterator[None]:
    """Guarded processes that cannot be forked, as TensorFlow is loaded here, come from a warm
    interpreter. Where they are what is tested, a module sets `COLD_WORKERS`."""
    with pytest.MonkeyPatch.context() as patch:
        if not hasattr(request.module, "COLD_WORKERS"):
            starter = SimpleNamespace(Popen=warm.Popen, DEVNULL=subprocess.DEVNULL)
            patch.setattr(worker, "subprocess", starter)
        yield
