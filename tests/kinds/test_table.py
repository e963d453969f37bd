"""Each row of the table of kinds, against the Keras layer it is about."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kind_examples import EXAMPLES, examples_of

from snconvert.core.matrix_view import MatrixView
from snconvert.errors import SnconvertError, SourceError, WeightsError
from snconvert.kinds.kernel_rule import KINDS, Kernel, KernelRule, input_shape_of
from snconvert.kinds.table import RULES, SPECTRAL, table

CASES = [
    pytest.param(name, *example, id=f"{name}-{i}")
    for name in RULES
    for i, example in enumerate(examples_of(name))
]


def make(name: str, config: dict[str, Any], shape: tuple[int | None, ...]) -> keras.layers.Layer:
    layer = getattr(keras.layers, name)(**config)
    layer.build(*[shape] * (2 if RULES[name].kind == "attention" else 1))
    return layer


def stacks(rule: KernelRule, stack: Any) -> dict[str, tuple[int, int, int]]:
    return stack if isinstance(stack, dict) else {rule.kernels[0].path: stack}


def follow(layer: Any, path: str) -> Any:
    for attribute in filter(None, path.split("/")):
        layer = getattr(layer, attribute)
    return layer


@pytest.mark.parametrize(("name", "config", "shape", "stack"), CASES)
def test_expected_variables_are_keras_own(
    name: str, config: dict[str, Any], shape: tuple[int | None, ...], stack: Any
) -> None:
    """The shapes that a rule expects, group by group in the order of creation, are those of the
    layer that Keras builds, and its matrix views have the documented shapes."""
    layer = make(name, config, shape)
    rule = RULES[name]
    shapes = input_shape_of(layer.get_build_config())
    expected = rule.variables(layer.get_config(), shapes)
    owned = {group: follow(layer, group) for group in expected}
    variables = {
        group: owner.trainable_variables if len(owned) == 1 or owner is not layer else []
        for group, owner in owned.items()
    }
    assert expected == {
        group: tuple(tuple(variable.shape) for variable in own) for group, own in variables.items()
    }
    order = [id(variable) for own in variables.values() for variable in own]
    assert order == [id(variable) for variable in layer.trainable_variables]
    kernels = rule.kernels_of(layer.get_config())
    assert [kernel.path for kernel in kernels] == list(stacks(rule, stack))
    for kernel in kernels:
        variable = owned[kernel.group].weights[kernel.index]
        assert variable.path.endswith(kernel.name)
        view = kernel.view(tuple(variable.shape), layer.get_config())
        assert view.shape == stacks(rule, stack)[kernel.path]
        assert view.matrix(np.zeros(variable.shape)).shape == view.shape


@pytest.mark.parametrize(("name", "config", "shape", "stack"), CASES)
def test_the_view_is_the_map(
    name: str, config: dict[str, Any], shape: tuple[int | None, ...], stack: Any
) -> None:
    """On an input that one kernel position covers, the explicit matrix of the response of what a
    kernel stands for, to unit inputs and in float64, has the singular values of the stack: block
    by block, rows in, columns out. For a transposed convolution it is the adjoint. An axis of the
    input that the kernel does not know repeats them."""
    if config.get("data_format") == "channels_first":
        pytest.skip("TensorFlow on CPU has no channels_first convolution")
    layer = make(name, config | {"dtype": "float64"}, shape)
    rule = RULES[name]
    for kernel in rule.kernels_of(layer.get_config()):
        matrix = _randomized(layer, kernel)
        assert matrix.shape == stacks(rule, stack)[kernel.path]
        explicit = _explicit_matrix(*_linear_part(rule, layer, kernel, list(shape)))
        _assert_copies(explicit, matrix)


SLIDING = [case for case in CASES if "kernel_size" in str(case.values[1])]


@pytest.mark.parametrize(("name", "config", "shape", "stack"), SLIDING)
def test_positions_that_do_not_overlap(
    name: str, config: dict[str, Any], shape: tuple[int | None, ...], stack: Any
) -> None:
    """With a stride as long as the kernel, the explicit matrix on two patches along each axis is
    the stack once per patch: so its norm is sigma exactly, for every kind of convolution."""
    del stack  # of another kernel size
    if config.get("data_format") == "channels_first":
        pytest.skip("TensorFlow on CPU has no channels_first convolution")
    rule = RULES[name]
    recurrent = rule.kind == "recurrent"
    own = {"kernel_size": 2, "strides": 2, "dtype": "float64"}
    layer = make(name, config | own, shape[: 1 + recurrent] + (4,) * (len(shape) - 2) + shape[-1:])
    kernel = rule.kernels[0]
    owner, rank = follow(layer, kernel.group), len(shape) - 2 - recurrent
    matrix = _randomized(layer, kernel)
    sizes = [1, *[2 if name.endswith("Transpose") else 4] * rank, shape[-1]]
    call: Callable[[Any], Any] = layer
    if kernel.name == "depthwise_kernel":
        call = functools.partial(keras.ops.depthwise_conv, kernel=owner.depthwise_kernel, strides=2)
    elif recurrent:
        call = functools.partial(owner.input_conv, w=owner.kernel)
    explicit = _explicit_matrix(call, sizes)
    assert explicit.size == matrix.size * 2 ** (2 * rank) * matrix.shape[0]
    _assert_copies(explicit, matrix)
    sigma = np.linalg.svd(matrix, compute_uv=False).max()
    np.testing.assert_allclose(np.linalg.norm(explicit, 2), sigma, rtol=1e-12)


def _randomized(layer: Any, kernel: Kernel) -> np.ndarray:
    """Gives a kernel random numbers, and returns its stack."""
    owner = follow(layer, kernel.group)
    value = np.random.default_rng(0).normal(size=getattr(owner, kernel.name).shape)
    getattr(owner, kernel.name).assign(value)
    matrix: np.ndarray = kernel.view(value.shape, layer.get_config()).matrix(value)
    return matrix


def _assert_copies(explicit: np.ndarray, stack: np.ndarray) -> None:
    """Asserts that a matrix has the singular values of a stack, each as often as all others."""
    found = np.linalg.svd(explicit, compute_uv=False)
    once = np.linalg.svd(stack, compute_uv=False).ravel()
    assert found.size % once.size == 0
    expected = np.sort(np.repeat(once, found.size // once.size))[::-1]
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12 * expected[0])


def _linear_part(
    rule: KernelRule, layer: Any, kernel: Kernel, shape: list[Any]
) -> tuple[Callable[[Any], Any], list[Any]]:
    """Returns what a kernel does to the input of its own, by Keras' own code, and the shape of the
    smallest such input."""
    name, owner = rule.class_name, follow(layer, kernel.group)
    weight = getattr(owner, kernel.name)
    if kernel.name == "embeddings":
        # A bag of ids, by how often each is looked up.
        rows = owner(np.arange(weight.shape[0])[None])[0]
        return lambda x: keras.ops.matmul(x, rows), [1, weight.shape[0]]
    if kernel.name == "reverse_embeddings":
        return lambda x: owner(x, reverse=True), [1, weight.shape[0]]
    if name.startswith("ConvLSTM"):
        convolve = owner.input_conv if kernel.name == "kernel" else keras.ops.conv
        return lambda x: convolve(x, weight), [1, *weight.shape[:-1]]
    if rule.kind == "recurrent":
        return lambda x: _before_the_gates(owner, kernel.name, x), [1, weight.shape[0]]
    if rule.kind == "attention":
        # A projection takes every position by itself.
        owner.activation = None
        inputs = weight.shape[: 2 if kernel.group.endswith("output_dense") else 1]
        return owner, [1, *[1] * (len(shape) - 2), *inputs]
    if kernel.name == "pointwise_kernel":
        return lambda x: keras.ops.conv(x, weight), [1, *weight.shape[:-1]]
    if kernel.name == "depthwise_kernel":
        return lambda x: keras.ops.depthwise_conv(x, weight), [1, *weight.shape[:-1]]
    if name.endswith("Transpose"):
        return layer, [1, *[1] * layer.rank, shape[-1]]
    if rule.kind == "conv":
        shape[1:-1] = layer.kernel_size
    return layer, shape


def _before_the_gates(cell: Any, kernel: str, x: Any) -> Any:
    """Returns what a cell makes of inputs, or of a state, before its activations, with open gates
    (and a reset gate of 1)."""
    seen: list[Any] = []

    def watch(z: Any) -> Any:
        seen.append(z)
        return keras.ops.ones_like(z)

    cell.activation = cell.recurrent_activation = watch
    states = [keras.ops.zeros((1, cell.units), "float64") for _ in cell.get_initial_state(1)]
    if kernel == "kernel":
        cell(x, states)
    else:
        cell(np.zeros((1, cell.kernel.shape[0])), [keras.ops.convert_to_tensor(x), *states[1:]])
    return np.concatenate(seen[: cell.kernel.shape[-1] // cell.units], axis=-1)


def _explicit_matrix(call: Callable[[Any], Any], shape: list[Any]) -> np.ndarray:
    """Returns the response to each unit input, one a row."""
    shape = [1, *(size or 1 for size in shape[1:])]
    count = int(np.prod(shape))
    rows = call(np.eye(count).reshape(count, *shape[1:])) - call(np.zeros(shape))
    return np.reshape(rows, (count, -1)).astype("float64")


@pytest.mark.parametrize("name", RULES)
def test_rows_are_complete(name: str) -> None:
    """Every row has an example here, a kind that --kinds knows and a spectral class of its own."""
    assert name in EXAMPLES, f"add {name} to EXAMPLES in tests/support/kind_examples.py"
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


@pytest.mark.parametrize("labels", [3, [None], ["b", 3]])
def test_bias_axes_that_are_no_text_are_an_error(labels: Any) -> None:
    """Bias axes are letters of the equation."""
    config = {"equation": "ab,bc->ac", "output_shape": [3], "bias_axes": labels}
    with pytest.raises(SourceError, match="`bias_axes` is"):
        RULES["EinsumDense"].variables(config, [None, 4])


def test_a_padding_that_is_no_text_is_an_error() -> None:
    """A padding is one of three words."""
    (kernel,) = RULES["Conv1D"].kernels
    with pytest.raises(SourceError, match="`padding` is"):
        kernel.convolution_of((3, 2, 4), {"padding": ["same"]}, [None, 8, 2])
