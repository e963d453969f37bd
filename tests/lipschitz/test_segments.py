"""Chains and residual blocks are found, and their bounds hold with all that is folded in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from linear_networks import Builder, matrix_of

from snconvert.lipschitz.bound import network_bound


def chain(b: Builder) -> int:
    x = b.input(6)
    for units in (9, 8):
        x = b.scale(b.activation(b.scale(b.dense(x, units)), -0.1))
    return b.dense(x, 4)


def chain_over_positions(b: Builder) -> int:
    x = b.activation(b.dense(b.input(3, 4), 6))
    return b.dense(b.activation(x), 5)


def convolutions(b: Builder) -> int:
    x = b.activation(b.scale(b.conv(b.input(5, 4, 2), 4, 3)))
    return b.scale(b.conv(b.activation(b.conv(x, 4, 3, dilation=2)), 3, 3, padding="valid"))


def spectral_chain(b: Builder) -> int:
    kernel = b.rng.normal(size=(6, 6)).astype("f4")
    u = b.rng.normal(size=(1, 6)).astype("f4")
    x = b.activation(b.dense(b.input(6), 6, kernel, u=u, bound=0.5))
    return b.dense(x, 3)


def merged(b: Builder) -> int:
    x = b.dense(b.scale(b.dense(b.input(5), 7)), 6)
    return b.dense(b.activation(x), 4)


def residual(b: Builder) -> int:
    x = b.activation(b.conv(b.input(4, 4, 2), 3, 3))
    y = b.scale(b.conv(b.activation(b.scale(b.conv(x, 3, 3))), 3, 3))
    return b.activation(b.sum(x, y))


def before_activation(b: Builder) -> int:
    x = b.dense(b.input(5), 6)
    y = b.dense(b.activation(b.dense(b.activation(b.scale(x), -0.2), 8)), 6)
    return b.sum(y, x)


def behind_activation(b: Builder) -> int:
    x = b.dense(b.input(5), 6)
    return b.sum(x, b.activation(b.scale(b.dense(x, 6))))


def subtracted(b: Builder) -> int:
    x = b.dense(b.input(4), 4, np.eye(4, dtype="f4"))
    y = b.dense(b.activation(b.dense(x, 4, np.eye(4, dtype="f4"))), 4, -np.eye(4, dtype="f4"))
    return b.sum(x, y, subtracts=True)


def both(b: Builder) -> int:
    x = b.conv(b.input(4, 3, 2), 3, 3)
    return b.sum(b.activation(b.conv(b.activation(x, -0.3), 3, 3), -0.2), x)


def shortcut(b: Builder) -> int:
    x = b.conv(b.input(3, 3, 2), 2, 1)
    y = b.conv(b.activation(b.conv(x, 3, 3)), 4, 3)
    return b.sum(b.scale(b.conv(x, 4, 1)), y)


FOUND = (
    chain,
    chain_over_positions,
    convolutions,
    merged,
    residual,
    before_activation,
    behind_activation,
    both,
    shortcut,
)


@pytest.mark.parametrize("make", FOUND, ids=lambda make: make.__name__)
@pytest.mark.parametrize("seed", range(2))
def test_segments_are_bounded(tmp_path: Path, make: Callable, seed: int) -> None:
    """The bound is above random slopes' maps and below what the graph alone gives."""
    with Builder(tmp_path, seed) as b:
        network = b.output(make(b))
        result = network_bound(b.extent, network, seconds=1.0)
        assert result.bound is not None
        assert result.product is not None
        assert result.bound.value <= result.product.value
        reached = max(np.linalg.norm(matrix_of(b, network, s), 2) for s in range(40))
        assert reached <= result.bound.value
        if make is not both:  # whose branch the slopes leave as large as the product
            assert result.bound.value < result.product.value * 0.97
            assert "multipliers" in result.method


def test_a_spectral_chain(tmp_path: Path) -> None:
    """The factor of a spectral kernel counts, by its stale `u`."""
    with Builder(tmp_path) as b:
        network = b.output(spectral_chain(b))
        result = network_bound(b.extent, network, seconds=0.5)
        kernel, u = b.arrays["a0"].astype(float), b.arrays["a1"].astype(float)
        factor = 0.5 / (np.linalg.norm(kernel @ u[0]) / np.linalg.norm(u))
        reached = max(np.linalg.norm(matrix_of(b, network, s), 2) for s in range(40)) * factor
        assert result.bound is not None
        assert reached <= result.bound.value
        assert result.bound.value < result.product.value


def test_what_is_read_twice_is_no_segment(tmp_path: Path) -> None:
    """A tensor inside that something else reads, or that is an output, ends a segment."""
    with Builder(tmp_path) as b:
        x = b.activation(b.dense(b.input(4), 4))
        network = b.output(b.dense(x, 3), x)
        assert "multipliers" not in network_bound(b.extent, network).method


def test_a_sum_with_weights_is_no_residual_block(tmp_path: Path) -> None:
    """An Average is bounded by the rules of the graph, but for the chain in it."""
    with Builder(tmp_path) as b:
        y = b.conv(b.activation(b.conv(x := b.input(3, 3, 2), 2, 3)), 2, 3)
        network = b.output(b.sum(x, y, weights=(0.5, 0.5)))
        result = network_bound(b.extent, network, seconds=0.0)
        matrix = matrix_of(b, network)
        assert result.bound is not None
        assert np.linalg.norm(matrix, 2) <= result.bound.value


def test_a_difference_is_no_sum(tmp_path: Path) -> None:
    """`x - (-relu(x))` has the bound 2, and not that of `x - relu(x)`."""
    with Builder(tmp_path) as b:
        network = b.output(subtracted(b))
        result = network_bound(b.extent, network)
        assert result.bound is not None
        assert result.bound.value == pytest.approx(2.0, rel=1e-4)
        assert result.bound.value >= max(
            np.linalg.norm(matrix_of(b, network, s), 2) for s in range(40)
        )


def test_a_negative_gamma(tmp_path: Path) -> None:
    """In a residual block the sign of a `gamma` counts: `x + relu(x)` has the bound 2."""
    with Builder(tmp_path) as b:
        eye = np.eye(3, dtype="f4")
        x = b.dense(b.input(3), 3, eye)
        state = {"u": eye[:1], "mode": "gain", "gamma": -1.0}
        y = b.dense(b.activation(b.dense(x, 3, eye)), 3, -eye, **state)
        network = b.output(b.sum(x, y))
        result = network_bound(b.extent, network)
        assert result.bound is not None
        assert result.bound.value == pytest.approx(2.0, rel=1e-4)
