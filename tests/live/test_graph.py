"""A live model has the graph of its file."""

from __future__ import annotations

from pathlib import Path

import keras
import pytest
from zoo import ZOO, randomize

import snconvert


@pytest.mark.parametrize("name", ["functional", "sequential"])
def test_live_and_file_agree(name: str, tmp_path: Path) -> None:
    """`inspect(model, html=...)` has the nodes and edges that inspecting the file has, and so has a
    conversion through Keras."""
    model = randomize(ZOO[name]())
    page = tmp_path / "p.html"
    live = snconvert.inspect(model, html=page)
    assert "Graph" in page.read_text(encoding="utf-8")
    model.save(tmp_path / "m.keras")
    file = snconvert.inspect(tmp_path / "m.keras", html=page)
    assert live.graph is not None
    assert live.graph == file.graph
    through_keras = snconvert.apply_file(tmp_path / "m.keras", imports=["keras"], html=page)
    assert through_keras.graph == file.graph
    assert through_keras.source_sha256 == file.source_sha256
    assert file.source_sha256 in page.read_text(encoding="utf-8")


def test_no_graph(tmp_path: Path) -> None:
    """A model whose code alone knows its graph, or that cannot be serialised, has none."""

    class Mine(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.dense = keras.layers.Dense(2)

        def call(self, x: object) -> object:
            return self.dense(x)

    class Odd(keras.layers.Layer):
        def call(self, x: object) -> object:
            return x

        def get_config(self) -> dict[str, object]:
            raise RuntimeError("no")

    mine = Mine()
    mine(keras.ops.ones((1, 3)))
    x = keras.Input((3,))
    odd = keras.Model(x, keras.layers.Dense(2)(Odd()(x)))
    for model in (mine, odd):
        report = snconvert.inspect(model, html=tmp_path / "p.html")
        assert report.graph is None
        assert (tmp_path / "p.html").exists()
