"""Scales go into kernels, and linear maps in a row become one: then the bound is the norm."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from linear_networks import Builder, matrix_of

from snconvert.core.network_bound import NetworkBound
from snconvert.lipschitz import network as n
from snconvert.lipschitz.bound import network_bound


def dense_behind(b: Builder) -> int:
    return b.scale(b.dense(b.input(6), 5))


def dense_between(b: Builder) -> int:
    return b.dense(b.scale(b.dense(b.input(6), 5)), 4)


def three_dense(b: Builder) -> int:
    return b.dense(b.dense(b.scale(b.dense(b.input(3, 6), 5)), 4), 7)


def conv_behind(b: Builder) -> int:
    return b.scale(b.scale(b.conv(b.input(4, 5, 2), 3, 3)))


def grouped(b: Builder) -> int:
    return b.scale(b.conv(b.input(4, 4, 4), 6, 3, groups=2))


def depthwise(b: Builder) -> int:
    return b.scale(b.conv(b.input(4, 4, 3), 2, 3, depthwise=True))


def separable(b: Builder) -> int:
    return b.scale(b.conv(b.scale(b.conv(b.input(4, 4, 3), 2, 3, depthwise=True)), 4, 1))


def conv_and_two_dense(b: Builder) -> int:
    return b.dense(b.dense(b.scale(b.conv(b.input(4, 3, 2), 3, 3)), 4), 2)


def before_conv(b: Builder) -> int:
    return b.conv(b.scale(b.input(4, 4, 3)), 2, 3, strides=2)


def before_depthwise(b: Builder) -> int:
    return b.conv(b.scale(b.input(4, 4, 3)), 2, 3, depthwise=True)


def before_dense(b: Builder) -> int:
    return b.dense(b.scale(b.input(3, 4)), 2)


def before_two(b: Builder) -> int:
    x = b.scale(b.input(4, 4, 2))
    return b.concatenate(b.conv(x, 2, 3), b.conv(x, 3, 1))


EXACT = (
    dense_behind,
    dense_between,
    three_dense,
    conv_behind,
    grouped,
    depthwise,
    separable,
    conv_and_two_dense,
    before_conv,
    before_depthwise,
    before_dense,
)


def run(b: Builder, place: int) -> tuple[NetworkBound, np.ndarray]:
    network = b.output(place)
    return network_bound(b.extent, network, seconds=0.0), matrix_of(b, network)


@pytest.mark.parametrize("make", EXACT, ids=lambda make: make.__name__)
def test_the_bound_is_the_norm(tmp_path: Path, make: Callable[[Builder], int]) -> None:
    """Of a chain of linear maps it is the norm of the chain, not the product of norms."""
    with Builder(tmp_path, 3) as b:
        result, matrix = run(b, make(b))
        exact = np.linalg.norm(matrix, 2)
        assert result.bound is not None
        assert result.product is not None
        assert exact <= result.bound.value <= exact * (1 + 3e-6)
        assert result.product.value >= result.bound.value
        assert "folding" in result.method


def test_forward_into_several(tmp_path: Path) -> None:
    """A scale goes forward into all the kernels that read it."""
    with Builder(tmp_path) as b:
        result, matrix = run(b, before_two(b))
        assert result.bound is not None
        assert np.linalg.norm(matrix, 2) <= result.bound.value < result.product.value * 0.9
        gone = [stage for stage in result.stages if stage.class_name == "BatchNormalization"]
        assert gone[0].constant is not None
        assert gone[0].constant.value == 1.0


def test_what_a_stage_says(tmp_path: Path) -> None:
    """A stage has the norm of its own kernel, the constant after folding, and a true bound."""
    with Builder(tmp_path) as b:
        x = b.dense(b.input(6), 5)
        result, _ = run(b, b.activation(b.scale(x)))
        kernel = b.arrays["a0"].astype(float)
        scale = b.arrays["a1"] / np.sqrt(b.arrays["a2"] + 1e-3)
        stage = result.stages[1]
        assert stage.norm is not None
        assert stage.constant is not None
        assert stage.bound is not None
        assert stage.norm.value == pytest.approx(np.linalg.norm(kernel, 2), rel=3e-6)
        assert stage.constant.value == pytest.approx(np.linalg.norm(kernel * scale, 2), rel=3e-6)
        assert stage.bound.value == pytest.approx(np.linalg.norm(kernel, 2), rel=3e-6)


def read_twice(b: Builder) -> int:
    x = b.dense(b.input(6), 5)
    return b.sum(b.scale(x), x)


def other_axis(b: Builder) -> int:
    return b.scale(b.dense(b.input(5, 5), 5), axis=0)


def through_flatten(b: Builder) -> int:
    return b.scale(b.flatten(b.conv(b.input(2, 2, 1), 2, 1)))


@pytest.mark.parametrize("make", [read_twice, other_axis, through_flatten])
def test_what_is_not_folded(tmp_path: Path, make: Callable[[Builder], int]) -> None:
    """No scale goes where something else reads, along another axis, or past a mixing."""
    with Builder(tmp_path) as b:
        result, matrix = run(b, make(b))
        assert result.bound is not None
        assert np.linalg.norm(matrix, 2) <= result.bound.value
        assert "folding" not in result.method


def test_an_output_inside(tmp_path: Path) -> None:
    """What is an output itself is left as it is."""
    with Builder(tmp_path) as b:
        x = b.dense(b.input(6), 5)
        network = b.output(b.scale(x, gamma=np.full(5, 1e-3)), x)
        result = network_bound(b.extent, network)
        assert result.bound is not None
        assert np.linalg.norm(matrix_of(b, network), 2) <= result.bound.value
        assert "folding" not in result.method


@pytest.mark.parametrize("size", [1e-38, 1e38])
def test_extreme_scales(tmp_path: Path, size: float) -> None:
    """Scales beyond what a product of floats holds fold as others do."""
    with Builder(tmp_path) as b:
        kernel = (b.rng.normal(size=(4, 3)) * size).astype("f4")
        gamma = np.array([size, size / 2, -size], "f4")
        x = b.scale(b.dense(b.input(4), 3, kernel), gamma=gamma, variance=np.ones(3))
        result, _ = run(b, x)
        assert result.bound is not None
        matrix = kernel.astype("g") * gamma.astype("g") / np.sqrt(np.longdouble(1.001))
        exact = np.linalg.norm((matrix / np.longdouble(size) ** 2).astype(float), 2)
        wanted = np.log10(exact) + 2 * np.log10(size)
        assert result.bound.log10 == pytest.approx(wanted, abs=1e-5)


def test_a_scalar_scale(tmp_path: Path) -> None:
    """One scale for all goes anywhere; several without an axis stay where they are."""
    with Builder(tmp_path) as b:
        x = b.dense(b.input(4), 3)
        x = b.add("Rescaling", n.Diagonal(None, (-2.0,)), (x,), (3,))
        x = b.add("Normalization", n.Diagonal(None, (1.0, 3.0, 2.0)), (x,), (3,))
        result, _ = run(b, x)
        assert result.bound is not None
        norm = np.linalg.norm(b.arrays["a0"].astype(float), 2)
        assert result.bound.value == pytest.approx(6 * norm, rel=3e-6)
        assert [stage.constant.value for stage in result.stages[2:]] == [1.0, 3.0]
