"""Norms of the channels of a depthwise convolution are proved, and folded like scales."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from linear_networks import Builder, matrix_of

from snconvert.core.convolution_map import Convolution, at_size
from snconvert.linalg.convolution_apply import forward
from snconvert.lipschitz import network as n
from snconvert.lipschitz.arithmetic import ZERO
from snconvert.lipschitz.arrays import Kernel
from snconvert.lipschitz.bound import network_bound
from snconvert.lipschitz.channel_norms import channel_norms

MAPS = [
    (size, kernel, stride, dilation, padding)
    for size in ((6, 5), (9, 12))
    for kernel in ((3, 3), (2, 3), (1, 1))
    for stride, dilation in (((1, 1), (1, 1)), ((2, 2), (1, 1)), ((1, 1), (2, 1)))
    for padding in ("same", "valid")
    if padding == "same" or all(s >= (k - 1) * 2 + 1 for s, k in zip(size, kernel, strict=True))
]


def taps_of(conv: Convolution, multiplier: int) -> np.ndarray:
    rng = np.random.default_rng(math.prod(conv.kernel))
    return rng.uniform(-0.99, 0.99, (3, math.prod(conv.kernel), multiplier))


@pytest.mark.parametrize("multiplier", [1, 2])
def test_each_norm_is_a_bound(multiplier: int) -> None:
    """Each norm is at least that of the channel's matrix, and a torus' slack above it."""
    for size, kernel, stride, dilation, padding in MAPS:
        conv = at_size(size, kernel, stride, dilation, padding, (3, math.prod(kernel), multiplier))
        taps = taps_of(conv, multiplier)
        scale = channel_norms(Kernel(taps, 5, missed=ZERO), conv)
        units = np.eye(math.prod(size)).reshape(-1, *size, 1)
        for channel, norm in zip(taps, scale.values, strict=True):
            matrix = forward(units, channel[:, None, :], conv).reshape(len(units), -1)
            exact = np.linalg.norm(matrix, 2)
            assert exact <= norm <= exact * 1.8 + 1e-9
    assert scale.exponent == 5
    assert scale.roundings == 0


def test_over_all_sizes() -> None:
    """Where sizes are not known, the norm bounds that at each size."""
    conv = Convolution.over_all_sizes((3, 3), (1, 1), (1, 1), 3)
    norms = channel_norms(Kernel(np.full((1, 9, 1), 0.5), 0), conv).values
    assert 4.5 <= norms[0] <= 4.5 * 1.02


def inverted(b: Builder, multiplier: int, order: str) -> int:
    x = b.input(4, 4, 2)
    if order == "back":
        x = b.activation(b.scale(b.conv(x, 5, 1)))
    x = b.activation(b.scale(b.conv(x, multiplier, 3, depthwise=True)))
    return b.conv(x, 3, 1) if order == "forward" else b.scale(x)


@pytest.mark.parametrize("order", ["back", "forward"])
@pytest.mark.parametrize("multiplier", [1, 2])
def test_they_are_folded(tmp_path: Path, multiplier: int, order: str) -> None:
    """The norms go into the kernel before or behind, and the bound holds."""
    lower = 0
    for seed in range(3):
        with Builder(tmp_path, seed) as b:
            network = b.output(inverted(b, multiplier, order))
            result = network_bound(b.extent, network, seconds=0.0)
            reached = max(np.linalg.norm(matrix_of(b, network, s), 2) for s in range(30))
            assert result.bound is not None
            assert result.product is not None
            assert reached <= result.bound.value <= result.product.value
            lower += result.bound.value < result.product.value * 0.95
            stage = next(s for s in result.stages if s.class_name == "DepthwiseConv2D")
            assert stage.constant is not None
            assert stage.constant.value == 1.0
    assert lower


def test_two_in_a_row(tmp_path: Path) -> None:
    """The norms of the second go past the first one into the kernel before both."""
    with Builder(tmp_path) as b:
        x = b.activation(b.conv(b.input(4, 4, 2), 4, 1))
        for _ in range(2):
            x = b.activation(b.conv(x, 1, 3, depthwise=True))
        network = b.output(x)
        result = network_bound(b.extent, network, seconds=0.0)
        constants = [
            stage.constant.value
            for stage, operation in zip(result.stages, network.operations, strict=True)
            if isinstance(operation.does, n.Linear) and stage.constant is not None
        ]
        assert constants[1:] == [1.0, 1.0]
        reached = max(np.linalg.norm(matrix_of(b, network, s), 2) for s in range(30))
        assert result.bound is not None
        assert reached <= result.bound.value


def test_a_scale_of_another_axis_stays(tmp_path: Path) -> None:
    """What scales positions does not pass a depthwise convolution, which mixes them."""
    with Builder(tmp_path) as b:
        x = b.conv(b.input(4, 4, 4), 4, 1)
        x = b.conv(b.activation(x), 1, 3, depthwise=True)
        x = b.conv(b.activation(x), 1, 3, depthwise=True)
        odd = np.array([1e-3, 1.0, 1e-3, 1.0])
        x = b.scale(b.activation(x), axis=1, gamma=odd, variance=np.ones(4))
        network = b.output(b.scale(x, axis=0, gamma=odd[::-1], variance=np.ones(4)))
        result = network_bound(b.extent, network, seconds=0.0)
        reached = max(np.linalg.norm(matrix_of(b, network, s), 2) for s in range(30))
        assert result.bound is not None
        assert reached <= result.bound.value
        assert all(stage.constant.value > 0.9 for stage in result.stages[-2:])
