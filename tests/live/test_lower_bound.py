"""The bound from below is a norm that the true model reaches."""

from __future__ import annotations

import keras
import numpy as np
import other_backend
import pytest

from snconvert.live.lower_bound import lower_bound

L = keras.layers


def norm(layer: keras.layers.Layer) -> float:
    return float(np.linalg.norm(np.asarray(layer.kernel, float), 2))


def test_of_a_linear_model() -> None:
    """Of a linear map it is the norm, from several inputs to several outputs."""
    keras.utils.set_random_seed(0)
    one, two = keras.Input((4,), name="one"), keras.Input((3,), name="two")
    x = L.Concatenate()([one, two])
    a, b = L.Dense(5), L.Dense(2)
    model = keras.Model({"one": one, "two": two}, {"a": a(x), "b": b(x)})
    both = np.concatenate([np.asarray(a.kernel), np.asarray(b.kernel)], axis=1)
    assert lower_bound(model, 2) == pytest.approx(np.linalg.norm(both, 2), rel=1e-3)
    assert lower_bound(model, 2) <= np.linalg.norm(both, 2) * (1 + 1e-5)


def test_more_samples_find_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """The search goes on from the best point."""
    monkeypatch.setattr("snconvert.live.lower_bound._LAST_ROUNDS", 20)
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [keras.Input((8,)), L.Dense(32, "relu"), L.Dense(32, "relu"), L.Dense(2)]
    )
    few, many = lower_bound(model, 2), lower_bound(model, 64)
    assert few is not None
    assert many is not None
    product = norm(model.layers[0]) * norm(model.layers[1]) * norm(model.layers[2])
    assert few < many <= product * (1 + 1e-5)


def test_a_slope_that_is_none() -> None:
    """TensorFlow's slope 2 of `celu` at 0 is not taken for one."""
    x = keras.Input((4,))
    model = keras.Model(x, L.Activation("celu")(L.Activation("relu")(x)))
    assert lower_bound(model, 8) == pytest.approx(1.0, rel=1e-4)


def test_discrete_inputs_are_held() -> None:
    """Inputs of whole numbers and of an `Embedding` are held; a model of nothing else has none."""
    tokens, x = keras.Input((5,)), keras.Input((3,))
    flag = keras.Input((1,), dtype="int32")
    words = L.Flatten()(L.Embedding(7, 2)(tokens))
    dense = L.Dense(2)
    shift = L.Rescaling(1.0)(flag)
    model = keras.Model([tokens, x, flag], L.Concatenate()([words, dense(x), shift]))
    assert lower_bound(model, 2) == pytest.approx(norm(dense), rel=1e-3)
    assert lower_bound(keras.Model(tokens, words), 2) is None


def test_a_model_that_cannot_be_computed_has_none() -> None:
    """It has no inputs yet, or takes none of the points."""
    assert lower_bound(keras.Sequential([L.Dense(2)]), 2) is None
    x = keras.Input(batch_shape=(2, 4, 3))
    assert lower_bound(keras.Model(x, L.LSTM(2, stateful=True)(x)), 3) is None


def test_without_a_forward_derivative() -> None:
    """Where an operation has none on TensorFlow, differences give the direction."""
    x = keras.Input((3, 3, 1))
    model = keras.Model(x, L.UpSampling2D(2, interpolation="bicubic")(x))
    matrix = np.asarray(model(np.eye(9, dtype="f4").reshape(9, 3, 3, 1))).reshape(9, -1)
    found, norm = lower_bound(model, 2), np.linalg.norm(matrix.astype(float), 2)
    assert found is not None
    assert 0.9 * norm <= found <= norm * (1 + 1e-5)


OTHERS = """
import numpy as np, keras
from snconvert.live.lower_bound import lower_bound
L = keras.layers
keras.utils.set_random_seed(0)
x = keras.Input((None, None, 2))
y = L.Conv2D(3, 3, padding="same")(x)
model = keras.Model(x, L.GlobalAveragePooling2D()(y))
found = lower_bound(model, 2)
model = keras.Sequential([keras.Input((4,)), L.Dense(3)])
norm = np.linalg.norm(keras.ops.convert_to_numpy(model.layers[0].kernel), 2)
assert found > 0 and abs(lower_bound(model, 2) / norm - 1) < 1e-3, (found, norm)
"""


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_other_backends(backend: str) -> None:
    """It is found on all backends."""
    other_backend.run(OTHERS, backend)
