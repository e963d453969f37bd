"""Parts of a Concatenate before a kernel are weighed by what they bring."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from linear_networks import Builder, matrix_of

from snconvert.core.network_bound import NetworkBound
from snconvert.lipschitz.bound import network_bound

LARGE, SMALL = 50.0, 0.02


def grown(b: Builder, nested: bool) -> int:
    """A large part with a small kernel beside a small part with a large one."""
    x = b.input(3)
    parts = [b.dense(x, 3, (np.eye(3) * size).astype("f4")) for size in (LARGE, 1.0, SMALL)]
    if nested:
        y = b.concatenate(b.activation(b.concatenate(*parts[:2])), parts[2])
    else:
        y = b.concatenate(*parts)
    kernel = np.concatenate([np.eye(3) * size for size in (SMALL, 1.0, LARGE)]).astype("f4")
    return b.dense(b.activation(y), 3, kernel)


def run(folder: Path, nested: bool) -> tuple[NetworkBound, float]:
    with Builder(folder) as b:
        network = b.output(grown(b, nested))
        reached = max(np.linalg.norm(matrix_of(b, network, s), 2) for s in range(60))
        return network_bound(b.extent, network), float(reached)


@pytest.mark.parametrize("nested", [False, True])
def test_parts_are_weighed(tmp_path: Path, nested: bool) -> None:
    """The bound is the sum of the parts', far below the product, also of nested ones."""
    result, reached = run(tmp_path, nested)
    assert result.bound is not None
    assert result.product is not None
    assert reached <= result.bound.value
    assert result.bound.value <= 3 * (1 + 1e-5)
    assert result.product.value > LARGE**2 * 0.9
    assert "parts" in result.method


def test_parts_of_nothing(tmp_path: Path) -> None:
    """A part of zeros, or one that the kernel does not read, adds nothing."""
    with Builder(tmp_path) as b:
        x = b.input(2)
        zero = b.dense(x, 2, np.zeros((2, 2), "f4"))
        unread = b.dense(x, 2, np.eye(2, dtype="f4") * 1000)
        y = b.concatenate(zero, unread, x)
        kernel = np.concatenate([np.eye(2) * s for s in (1000.0, 0.0, 1.0)]).astype("f4")
        network = b.output(b.dense(y, 2, kernel))
        result = network_bound(b.extent, network)
        assert result.bound is not None
        assert result.bound.value == pytest.approx(1.0, rel=1e-5)


def test_parts_of_convolutions(tmp_path: Path) -> None:
    """A convolution's input channels are parts as well, with scales and pools between."""
    with Builder(tmp_path) as b:
        x = b.input(4, 4, 2)
        parts = [b.conv(x, 2, 3), b.pool(x, 3, 1, "same")]
        y = b.pool(b.activation(b.scale(b.concatenate(*parts))), 2, 2, "valid")
        network = b.output(b.conv(y, 2, 1))
        result = network_bound(b.extent, network)
        reached = max(np.linalg.norm(matrix_of(b, network, s), 2) for s in range(40))
        assert result.bound is not None
        assert reached <= result.bound.value < result.product.value
        assert "parts" in result.method
