"""What is told of outputs, and of inputs that are too many."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from linear_networks import Builder, matrix_of

from snconvert.lipschitz import graph
from snconvert.lipschitz import network as n
from snconvert.lipschitz.bound import network_bound


@pytest.mark.parametrize("name", ["softmax", "Softmax", "sigmoid", "relu"])
def test_logits(tmp_path: Path, name: str) -> None:
    """Before a last softmax or sigmoid the bound of the logits is told as well."""
    with Builder(tmp_path) as b:
        x = b.dense(b.input(4), 3, np.eye(4, 3, dtype="f4"))
        last = b.add(name, n.Constant(0.5), (x,), (3,))
        network = b.output(last)
        (output,) = network_bound(b.extent, network).outputs
        assert output.bound is not None
        assert output.bound.value == pytest.approx(0.5, rel=2e-6)
        if name == "relu":
            assert output.logits is None
        else:
            assert output.logits is not None
            assert output.logits.value == pytest.approx(1.0, rel=2e-6)


def test_very_many_inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Inputs that are too many are taken as one, which the notes say."""
    monkeypatch.setattr(graph, "_MOST_ENTRIES", 10)
    with Builder(tmp_path) as b:
        inputs = [b.input(2) for _ in range(4)]
        network = b.output(b.dense(b.concatenate(*inputs), 3))
        result = network_bound(b.extent, network)
        assert result.bound is not None
        assert np.linalg.norm(matrix_of(b, network), 2) <= result.bound.value
        assert result.outputs[0].by_input == ()
        assert any("taken as one" in note for note in result.notes)
