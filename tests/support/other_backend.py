"""Code on another backend of Keras than that of the tests' own process."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import warm

WITHOUT_TENSORFLOW = "import sys\nsys.modules['tensorflow'] = None\n"
"""Keras would import it, for seconds, to save a model."""


def run(code: str, backend: str) -> None:
    """Runs code in a process of its own, and fails where it does."""
    command = [sys.executable, "-c", WITHOUT_TENSORFLOW + textwrap.dedent(code)]
    options = {"capture_output": True, "text": True, "env": os.environ | {"KERAS_BACKEND": backend}}
    if backend == "jax":
        done = warm.run(command, modules=warm.JAX, **options)
    else:
        done = subprocess.run(command, check=False, **options)
    assert done.returncode == 0, done.stderr[-2000:]
