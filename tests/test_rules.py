"""Each row of the table of kinds, against the Keras layer it is about."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snconvert.errors import SnconvertError, SourceError, WeightsError
from snconvert.matrix import MatrixView
from snconvert.rules import KINDS, RULES, SPECTRAL, table

EXAMPLES: dict[str, list[tuple[dict[str, Any], tuple[int | None, ...], tuple[int, int, int]]]] = {
    "Dense": [
        ({"units": 4}, (None, 5), (1, 5, 4)),
        ({"units": 1, "use_bias": False}, (None, 3, 2), (1, 2, 1)),
    ],
    "EinsumDense": [
        ({"equation": "ab,bc->ac", "output_shape": 4}, (None, 3), (1, 3, 4)),
        (
            {"equation": "abc,cde->abde", "output_shape": (None, 2, 3), "bias_axes": "de"},
            (None, 7, 6),
            (1, 6, 6),
        ),
        (
            {"equation": "abc,cd->abd", "output_shape": (None, 4), "bias_axes": "d"},
            (None, None, 6),
            (1, 6, 4),
        ),
        ({"equation": "...x,xy->...y", "output_shape": 5}, (None, 2, 3), (1, 3, 5)),
        ({"equation": "abc,bcd->abd", "output_shape": (7, 3)}, (None, 7, 2), (7, 2, 3)),
        ({"equation": "abc,dc->abd", "output_shape": (7, 3)}, (None, 7, 2), (1, 2, 3)),
        ({"equation": "ab...,bc->ac...", "output_shape": 3}, (None, 4, 6), (1, 4, 3)),
    ],
    "Conv1D": [({"filters": 4, "kernel_size": 3}, (None, 9, 2), (1, 6, 4))],
    "Conv2D": [
        ({"filters": 4, "kernel_size": (3, 2)}, (None, 9, 9, 2), (1, 12, 4)),
        ({"filters": 6, "kernel_size": 3, "groups": 3}, (None, 9, 9, 9), (3, 27, 2)),
        (
            {"filters": 4, "kernel_size": 3, "data_format": "channels_first", "use_bias": False},
            (None, 2, 9, 8),
            (1, 18, 4),
        ),
    ],
    "Conv3D": [({"filters": 2, "kernel_size": 2}, (None, 4, 4, 4, 3), (1, 24, 2))],
}

CASES = [
    pytest.param(name, *example, id=f"{name}-{i}")
    for name in RULES
    for i, example in enumerate(EXAMPLES[name])
]


def build(name: str, config: dict[str, Any], shape: tuple[int | None, ...]) -> keras.layers.Layer:
    layer = getattr(keras.layers, name)(**config)
    layer.build(shape)
    return layer


@pytest.mark.parametrize(("name", "config", "shape", "stack"), CASES)
def test_expected_variables_are_keras_own(
    name: str, config: dict[str, Any], shape: tuple[int | None, ...], stack: tuple[int, int, int]
) -> None:
    """The shapes that a rule expects are those of the layer that Keras builds, and its matrix view
    has the documented shape."""
    layer = build(name, config, shape)
    rule = RULES[name]
    expected = rule.variables(layer.get_config(), list(shape))
    assert expected == {"": tuple(tuple(variable.shape) for variable in layer.weights)}
    for kernel in rule.kernels:
        variable = layer.weights[kernel.index]
        assert variable.path.endswith(kernel.name)
        view = kernel.view(tuple(variable.shape), layer.get_config())
        assert view.shape == stack
        assert view.matrix(np.zeros(variable.shape)).shape == stack


@pytest.mark.parametrize(("name", "config", "shape", "stack"), CASES)
def test_the_view_is_the_map(
    name: str, config: dict[str, Any], shape: tuple[int | None, ...], stack: tuple[int, int, int]
) -> None:
    """On an input that one kernel position covers, the layer's response is the matrix product
    with the stack: block by block, rows in, columns out."""
    layer = build(name, config | {"use_bias": False} if name != "EinsumDense" else config, shape)
    rule = RULES[name]
    kernel = np.random.default_rng(0).normal(size=layer.kernel.shape).astype("float32")
    layer.kernel.assign(kernel)
    matrix = rule.kernels[0].view(kernel.shape, layer.get_config()).matrix(kernel)
    assert matrix.shape == stack
    window = list(shape)
    if name.startswith("Conv"):
        if config.get("data_format") == "channels_first":
            pytest.skip("TensorFlow on CPU has no channels_first convolution")
        window[1:-1] = layer.kernel_size
    largest = _norm_by_unit_inputs(layer, window)
    sigma = max(np.linalg.svd(block.astype("float64"), compute_uv=False)[0] for block in matrix)
    np.testing.assert_allclose(largest, sigma, rtol=1e-5)


def _norm_by_unit_inputs(layer: keras.layers.Layer, shape: list[Any]) -> float:
    """Returns the norm of the explicit matrix of the layer's response to each unit input."""
    shape = [1, *(size or 1 for size in shape[1:])]
    count = int(np.prod(shape))
    bias = layer(np.zeros(shape, "float32"))
    rows = [np.ravel(layer(unit.reshape(shape).astype("float32")) - bias) for unit in np.eye(count)]
    return float(np.linalg.svd(np.stack(rows).astype("float64"), compute_uv=False)[0])


@pytest.mark.parametrize("name", RULES)
def test_rows_are_complete(name: str) -> None:
    """Every row has an example here, a kind that --kinds knows and a spectral class of its own."""
    assert name in EXAMPLES
    assert RULES[name].kind in KINDS
    assert SPECTRAL[RULES[name].spectral_class] is RULES[name]


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("Dense", {"units": 0}),
        ("Dense", {"units": -3}),
        ("Dense", {"units": 4.0}),
        ("Dense", {"units": True}),
        ("Dense", {"units": 10**30}),
        ("Dense", {}),
        ("Conv2D", {"filters": 4, "kernel_size": [3]}),
        ("Conv2D", {"filters": 4, "kernel_size": [3, 0]}),
        ("Conv2D", {"filters": 4, "kernel_size": 3, "groups": 0}),
        ("EinsumDense", {"equation": "ab,bc", "output_shape": 3}),
        ("EinsumDense", {"equation": None, "output_shape": 3}),
        ("EinsumDense", {"equation": "ab,bc->ac", "output_shape": 3, "bias_axes": "x"}),
    ],
)
def test_invalid_configurations(name: str, config: dict[str, Any]) -> None:
    """A configuration that Keras would refuse is a SourceError, whatever is in it."""
    with pytest.raises(SourceError):
        RULES[name].variables(config, None)


@settings(max_examples=200, deadline=None)
@given(
    name=st.sampled_from(sorted(RULES)),
    config=st.dictionaries(
        st.sampled_from(["units", "filters", "kernel_size", "groups", "equation", "output_shape"]),
        st.one_of(
            st.integers(-5, 10**20),
            st.floats(),
            st.booleans(),
            st.none(),
            st.text(max_size=5),
            st.lists(st.integers(-2, 9), max_size=4),
            st.just("ab,bc->ac"),
        ),
    ),
    shape=st.one_of(st.none(), st.text(), st.lists(st.one_of(st.none(), st.integers(-9, 99)))),
)
def test_any_configuration_is_judged(name: str, config: dict[str, Any], shape: Any) -> None:
    """Whatever a file says, a rule answers or raises a SnconvertError."""
    try:
        RULES[name].variables(config, shape)
        RULES[name].kernels[0].view((3, 3, 2, 4), config)
    except SnconvertError:
        pass


def test_groups_that_do_not_divide() -> None:
    """Filters that the groups do not divide are refused."""
    with pytest.raises(WeightsError, match="groups"):
        RULES["Conv2D"].kernels[0].view((3, 3, 2, 5), {"groups": 2})


def test_rows_of_ones_own() -> None:
    """A caller's row joins the table without changing it."""
    mine = RULES["Dense"]
    assert set(table([mine])) == set(RULES)
    assert MatrixView.of((2, 3)).in_order
