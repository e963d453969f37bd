"""Shares are derivatives of the bound, and the dominating path is where most of it comes from."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from linear_networks import Builder

from snconvert.core.network_bound import NetworkBound
from snconvert.lipschitz.bound import network_bound


def bound_of(folder: Path, sizes: list[float], several: bool) -> NetworkBound:
    """A graph with a sum, a concatenation and two outputs, of kernels of given norms."""
    with Builder(folder) as b:
        eye = [(np.eye(4) * size).astype("f8") for size in sizes]
        x = b.dense(b.input(4), 4, eye[0])
        other = b.input(4) if several else x
        left, right = b.dense(x, 4, eye[1]), b.dense(other, 4, eye[2])
        y = b.sum(left, right, weights=(1.0, 2.0))
        z = b.activation(b.dense(y, 4, eye[3]))
        last = b.concatenate(b.activation(z), b.dense(other, 4, eye[4]))
        network = b.output(b.activation(last), z)
        return network_bound(b.extent, network, seconds=0.0)


@pytest.mark.parametrize("several", [False, True])
def test_shares_are_derivatives(tmp_path: Path, several: bool) -> None:
    """A share is `d log L / d log c`, by a difference quotient."""
    sizes = [1.5, 0.7, 1.2, 0.9, 2.0]
    first = bound_of(tmp_path, sizes, several)
    dense = [stage for stage in first.stages if stage.class_name == "Dense"]
    for index, stage in enumerate(dense):
        moved = [size * (1 + 1e-4 * (i == index)) for i, size in enumerate(sizes)]
        second = bound_of(tmp_path, moved, several)
        assert first.bound is not None
        assert second.bound is not None
        slope = (second.bound.log10 - first.bound.log10) / math.log10(1 + 1e-4)
        assert stage.share == pytest.approx(slope, abs=0.02 if several else 5e-3)


def test_the_dominating_path(tmp_path: Path) -> None:
    """The path goes by the largest term, from an input to an output."""
    result = bound_of(tmp_path, [1.0, 5.0, 1.0, 1.0, 0.1], several=False)
    path = [stage.path for stage in result.stages if stage.dominates]
    assert path[0] == "inputlayer_0"
    assert "dense_2" in path
    assert "dense_3" not in path
    assert "dense_7" not in path


def test_a_chain(tmp_path: Path) -> None:
    """All that every path crosses has the share 1, what is folded into it as well."""
    with Builder(tmp_path) as b:
        x = b.scale(b.activation(b.scale(b.dense(b.input(3), 4))))
        network = b.output(b.dense(x, 2))
        result = network_bound(b.extent, network, seconds=0.0)
        assert [stage.share for stage in result.stages] == [1.0] * len(result.stages)
        assert all(stage.dominates for stage in result.stages)
