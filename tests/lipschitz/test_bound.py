"""The bound of a network is above every linear map that its activations allow, and not by much."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from linear_networks import Builder, matrix_of

from snconvert.core.magnitude import Magnitude
from snconvert.lipschitz import network as n
from snconvert.lipschitz.bound import network_bound


def norm(matrix: np.ndarray) -> float:
    return float(np.linalg.norm(matrix, 2))


def value(magnitude: Magnitude | None) -> float:
    assert magnitude is not None
    assert magnitude.value is not None
    return magnitude.value


def test_a_chain(tmp_path: Path) -> None:
    """The product rule of a chain is the product of the norms of its kernels."""
    with Builder(tmp_path) as b:
        x = b.dense(b.activation(b.dense(b.input(5), 7)), 3)
        network = b.output(x)
        result = network_bound(b.extent, network)
        wanted = norm(b.arrays["a0"]) * norm(b.arrays["a1"])
        assert value(result.product) == pytest.approx(wanted, rel=3e-6)
        assert value(result.product) >= wanted
        assert value(result.bound) >= norm(matrix_of(b, network))


def random_network(b: Builder) -> n.Network:
    """A graph of convolutions, scales, pools, sums and concatenations."""
    x = first = b.input(6, 5, 3)
    rng = b.rng
    other = b.input(6, 5, 2) if rng.random() < 0.5 else None
    if other is not None:
        x = b.concatenate(x, other)
    for _ in range(rng.integers(1, 4)):
        y = b.conv(x, 4, int(rng.integers(1, 4)), groups=1, dilation=int(rng.integers(1, 3)))
        if rng.random() < 0.3:
            y = b.conv(y, 1, 3, depthwise=True)
            y = b.conv(y, 4, 1)
        if rng.random() < 0.7:
            y = b.scale(y)
        y = b.activation(y, float(rng.choice([0.0, -0.2])))
        if rng.random() < 0.4:
            y = b.scale(y)
        kind = rng.integers(4)
        if kind == 0 and b.size(x) == b.size(y):
            x = b.sum(x, y)
        elif kind == 1:
            x = b.activation(b.scale(b.concatenate(x, y)))
        elif kind == 2:
            x = b.concatenate(b.pool(y, 3, 1, "same"), y)
        else:
            x = y
    del first
    x = b.pool(x, 2, 2, "valid")
    return b.output(b.dense(b.flatten(x), 4), b.scale(x))


@pytest.mark.parametrize("seed", range(30))
def test_the_bound_of_a_random_graph(tmp_path: Path, seed: int) -> None:
    """The bounds are above what random slopes make, and below the rules without folding."""
    with Builder(tmp_path, seed) as b:
        network = random_network(b)
        result = network_bound(b.extent, network, seconds=0.0)
        reached = max(norm(matrix_of(b, network, s)) for s in range(3))
        assert reached <= value(result.bound) <= value(result.product) * (1 + 1e-9)
        assert result.unbounded == ()
        matrix = matrix_of(b, network)
        for output, part in zip(result.outputs, np.split(matrix, [4], axis=1), strict=True):
            assert norm(part) <= value(output.bound) <= value(result.bound)
