"""No Jacobian of a network is larger than its certified bound."""

from __future__ import annotations

import itertools
from collections.abc import Collection
from pathlib import Path

import keras
import numpy as np
import pytest
from linear_pieces import lipschitz_constant, random_relu_network
from random_networks import jacobian, points, random_network

import snconvert
from snconvert.core.magnitude import Magnitude
from snconvert.core.network_bound import NetworkBound

ROUNDING = 1 + 1e-5  # of a Jacobian in float32
GATE, GRAPHS = 12, 220
PIECES_GATE, PIECES = (0, 1, 2, 5, 8, 27), 60  # two or three of each kind, the smaller ones


def seeds(gate: Collection[int], count: int) -> list[object]:
    """The numbers, of which those beyond the gate's are slow."""
    slow = pytest.mark.slow
    return [pytest.param(k, marks=[] if k in gate else slow) for k in range(count)]


def bound_of(model: keras.Model, folder: Path) -> NetworkBound:
    """Saves a model and bounds the file."""
    path = folder / "model.keras"
    model.save(path)
    network = snconvert.inspect(path, lipschitz=True).lipschitz
    assert network is not None
    return network


def holds(bound: Magnitude | None, matrix: np.ndarray) -> bool:
    """Whether a bound is not below the norm of a matrix; it is if there is none."""
    if bound is None or bound.value is None:
        return True
    return bool(np.linalg.norm(matrix, 2) <= bound.value * ROUNDING + 1e-30)


@pytest.mark.parametrize("seed", seeds(range(GATE), GRAPHS))
def test_random_networks(seed: int, tmp_path: Path) -> None:
    """All bounds of a random network are above what its Jacobians reach."""
    network = random_network(seed)
    result = bound_of(network.model, tmp_path)
    if result.bound is not None:
        assert result.product is not None
        assert result.bound.log10 <= result.product.log10 + 1e-9
    for point in points(network, 4, seed):
        matrix, rows, columns = jacobian(network.reference, point)
        if not np.isfinite(matrix).all():
            continue  # beyond float32
        assert holds(result.bound, matrix)
        assert holds(result.product, matrix)
        ends = np.cumsum([0, *rows])
        for output, part in zip(result.outputs, itertools.pairwise(ends), strict=True):
            block = matrix[slice(*part)]
            assert holds(output.bound, block), output.name
            inputs = itertools.pairwise(np.cumsum([0, *columns]))
            for (name, bound), own in zip(output.by_input, inputs, strict=bool(output.by_input)):
                assert holds(bound, block[:, slice(*own)]), (output.name, name)


@pytest.mark.parametrize("seed", seeds(PIECES_GATE, PIECES))
def test_linear_pieces(seed: int, tmp_path: Path) -> None:
    """The bound of a small ReLU network is at least the largest norm of its linear pieces."""
    model = random_relu_network(seed)
    exact = lipschitz_constant(model)
    bound = bound_of(model, tmp_path).bound
    assert bound is not None
    assert bound.value is not None
    assert 1 - 1e-9 <= bound.value / exact <= 20
