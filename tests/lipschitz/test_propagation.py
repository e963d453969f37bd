"""The rules of the graph, for one input and for several."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from linear_networks import Builder, matrix_of

from snconvert.core.magnitude import Magnitude
from snconvert.lipschitz.arithmetic import ONE
from snconvert.lipschitz.bound import network_bound
from snconvert.lipschitz.propagation import Rule, Value, evaluated, input_value


def number(value: Magnitude | None) -> float:
    assert value is not None
    assert value.value is not None
    return value.value


def two_towers(b: Builder) -> int:
    kernel = np.diag([2.0, 1.0]).astype("f4")
    towers = [b.activation(b.dense(b.input(2), 2, kernel)) for _ in range(2)]
    return b.dense(b.concatenate(*towers), 2, np.concatenate([np.eye(2), np.eye(2)]).astype("f4"))


def test_two_towers(tmp_path: Path) -> None:
    """Two towers side by side cost the larger of them, and each input its own."""
    with Builder(tmp_path) as b:
        network = b.output(two_towers(b))
        result = network_bound(b.extent, network)
        assert number(result.bound) == pytest.approx(2 * 2**0.5, rel=1e-5)
        ((_, one), (_, two)) = result.outputs[0].by_input
        assert number(one) == pytest.approx(2.0, rel=1e-5)
        assert number(two) == pytest.approx(2.0, rel=1e-5)


def test_outputs_by_themselves(tmp_path: Path) -> None:
    """Each output has a bound, from each input; one that sees no input of them 0."""
    with Builder(tmp_path) as b:
        x, y = b.input(3), b.input(2)
        first = b.dense(x, 4)
        network = b.output(first, b.dense(b.concatenate(first, y), 2))
        result = network_bound(b.extent, network)
        matrix = matrix_of(b, network)
        assert number(result.outputs[0].bound) >= np.linalg.norm(matrix[:, :4], 2)
        names = dict(result.outputs[0].by_input)
        assert [number(bound) for bound in names.values()][1] == 0.0
        for index, rows in enumerate((slice(0, 3), slice(3, 5))):
            alone = number(result.outputs[1].by_input[index][1])
            assert np.linalg.norm(matrix[rows, 4:], 2) <= alone
        assert number(result.bound) >= np.linalg.norm(matrix, 2)


def test_broadcasting(tmp_path: Path) -> None:
    """The weights of a sum count, and so do the repeats of a concatenation."""
    with Builder(tmp_path) as b:
        x = b.input(4)
        network = b.output(b.sum(x, b.activation(x), weights=(0.5, 3.0)))
        assert number(network_bound(b.extent, network).bound) == 3.5


@given(st.integers(0, 2**32 - 1))
def test_a_random_sum(seed: int) -> None:
    """All three bounds hold for the sum of linear maps of several inputs."""
    rng = np.random.default_rng(seed)
    count = int(rng.integers(1, 4))
    values: list[Value | None] = [input_value(i, count) for i in range(count)]
    maps = [np.eye(2 * count)[:, 2 * i : 2 * i + 2] for i in range(count)]
    for _ in range(4):
        kind = ("sum", "root")[int(rng.integers(2))]
        picks = rng.integers(len(values), size=2)
        weights = rng.uniform(0.0, 2.0, 2)
        terms = tuple((int(p), Magnitude.of(float(w))) for p, w in zip(picks, weights, strict=True))
        parts = [w * maps[p] for p, w in zip(picks, weights, strict=True)]
        if kind == "root":
            maps.append(np.concatenate(parts, axis=1))
        else:
            width = max(part.shape[1] for part in parts)
            maps.append(sum(np.pad(p, ((0, 0), (0, width - p.shape[1]))) for p in parts))
        values.append(evaluated([Rule(ONE, terms, kind)], values))  # type: ignore[arg-type]
    value, matrix = values[-1], maps[-1]
    assert value is not None
    assert np.linalg.norm(matrix, 2) <= number(value.joint) * (1 + 1e-9)
    for index in range(count):
        alone = np.linalg.norm(matrix[2 * index : 2 * index + 2], 2)
        assert alone <= number(value.alone[index]) * (1 + 1e-9)


def test_without_a_bound(tmp_path: Path) -> None:
    """What depends on an operation without a constant has none, all else has one."""
    from snconvert.lipschitz import network as n

    with Builder(tmp_path) as b:
        x = b.input(3)
        odd = b.add("Multiply", n.Unbounded("it multiplies two tensors"), (x, x), (3,))
        network = b.output(b.dense(odd, 2), b.dense(x, 2))
        result = network_bound(b.extent, network)
        assert result.bound is None
        assert result.product is None
        assert [layer.reason for layer in result.unbounded] == ["it multiplies two tensors"]
        assert [output.bound is None for output in result.outputs] == [True, False]
        assert all(stage.share is None for stage in result.stages)


def test_a_deep_network(tmp_path: Path) -> None:
    """A bound beyond float64 is told as such, and shares are finite."""
    with Builder(tmp_path) as b:
        x = b.input(2)
        kernel = (np.eye(2) * 1e30).astype("f4")
        for _ in range(15):
            x = b.sum(x, b.activation(b.dense(x, 2, kernel)))
        network = b.output(x)
        result = network_bound(b.extent, network, seconds=0.0)
        assert str(result.bound) == ">1e308"
        assert result.bound is not None
        assert result.bound.log10 == pytest.approx(450, abs=0.1)
        assert all(0 <= (stage.share or 0) <= 1 for stage in result.stages)
