"""The bound of a network is above every linear map that its activations allow, and not by much."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from linear_networks import Builder, matrix_of, random_network

from snconvert.core.magnitude import Magnitude
from snconvert.lipschitz.bound import network_bound
from snconvert.lipschitz.network import Unbounded


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


def test_what_a_bound_covers_is_told_where_there_is_one(tmp_path: Path) -> None:
    """A network of which no output has a bound is told of nothing that would hold."""
    for bounded in (False, True):
        with Builder(tmp_path) as b:
            x = b.dense(b.input(5), 7)
            jump = b.add("Threshold", Unbounded("it jumps"), (x,), (7,))
            network = b.output(jump, x) if bounded else b.output(jump)
            found = network_bound(b.extent, network)
        assert found.bound is None
        assert len(found.notes) == bounded


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
