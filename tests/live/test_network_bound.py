from __future__ import annotations

import keras
import numpy as np
import pytest

import snconvert
from snconvert.errors import UnsupportedError


@pytest.fixture(scope="module")
def model() -> keras.Model:
    keras.utils.set_random_seed(3)
    return keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(6, "relu"), keras.layers.Dense(3)], name="net"
    )


def test_a_live_model_has_the_bound_of_its_file(model, tmp_path):
    """The same certified bound in memory and of the saved file, not below what is found."""
    path = str(tmp_path / "net.keras")
    model.save(path)
    live = snconvert.inspect(model, lipschitz=True, samples=8).lipschitz
    file = snconvert.inspect(path, lipschitz=True, samples=8).lipschitz
    assert live.bound == file.bound
    assert live.lower == pytest.approx(file.lower)
    assert live.lower <= live.bound.value * (1 + 1e-5)
    product = np.prod([np.linalg.norm(layer.kernel, 2) for layer in model.layers])
    assert live.product.value == pytest.approx(product, rel=1e-5)


def test_the_kernels_in_use_are_what_counts(model):
    """Of a converted model it is the bound of what its layers compute with."""
    patched = snconvert.apply(model, mode="cap", bound=0.5)
    bound = snconvert.inspect(patched, lipschitz=True).lipschitz
    assert bound.bound.value <= 0.25 * (1 + 1e-5)


def test_a_graph_in_code_has_no_bound():
    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.head = keras.layers.Dense(2)

        def call(self, x):
            return self.head(x)

    own = Own()
    own(np.zeros((1, 3), "float32"))
    with pytest.raises(UnsupportedError, match="Own computes stands in its code alone"):
        snconvert.inspect(own, lipschitz=True)
