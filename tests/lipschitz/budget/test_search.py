"""The bounds of layers are the largest with which the network's bound is at most what is wanted."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from linear_networks import Builder, matrix_of, random_network

from snconvert.core.matrix_view import MatrixView
from snconvert.core.settings import Settings
from snconvert.linalg.kernel_norm import kernel_triplet
from snconvert.lipschitz import network as n
from snconvert.lipschitz.arithmetic import ONE, order
from snconvert.lipschitz.budget.request import Budget, ConvertedKernel
from snconvert.lipschitz.budget.scaled_rules import ScaledRules
from snconvert.lipschitz.budget.search import budget

HARD = Settings(norm="operator")
CAP = Settings("cap", norm="operator")
NEAR = 1e-3  # relative, for the slack and the steps of float32
EXACT = 1e-6  # relative, for the rounding of `u` to float32


def stored_kernels(network: n.Network) -> dict[str, tuple[n.StoredKernel, object]]:
    """The kernels of a network with the maps that they make, by dataset."""
    found: dict[str, tuple[n.StoredKernel, object]] = {}
    for operation in network.operations:
        does = operation.does
        if isinstance(does, n.Linear):
            found[does.kernel.array.path] = does.kernel, does.convolution
        elif isinstance(does, n.Recurrent):
            found[does.kernel.array.path] = does.kernel, None
            found[does.recurrent.array.path] = does.recurrent, None
    return found


def converted(
    b: Builder, network: n.Network, settings: Mapping[str, Settings] | Settings = HARD
) -> tuple[list[ConvertedKernel], dict[str, float]]:
    """The kernels to convert, with their norms; all, unless settings are given by dataset."""
    kernels, norms = [], {}
    for path, (stored, conv) in stored_kernels(network).items():
        how = settings if isinstance(settings, Settings) else settings.get(path)
        if how is None:
            continue
        triplet = kernel_triplet(b.arrays[path], stored.view, conv)
        kernels.append(ConvertedKernel(path, how, triplet.u, conv))
        norms[path] = triplet.sigma
    return kernels, norms


def scale(b: Builder, kernels: list[ConvertedKernel], norms: dict[str, float], by: float) -> None:
    """Makes the kernels what the layers compute with."""
    for path, settings, *_ in kernels:
        after = settings.bound * by / norms[path]
        b.arrays[path] = b.arrays[path].astype(float) * (
            min(1.0, after) if settings.mode == "cap" else after
        )


def bound_without_multipliers(
    b: Builder, network: n.Network, kernels: list[ConvertedKernel], by: float
) -> float:
    bound = ScaledRules(b.extent, network, kernels, by, None).bound()
    assert bound is not None
    return float(bound.value or np.inf)


def checked(result: Budget, most: float) -> float:
    """Returns the scale, of a network whose bound is at most what was wanted."""
    assert result.floor is None
    assert result.scale is not None
    assert result.network is not None
    assert result.network.bound is not None
    assert result.network.most == most
    assert result.network.bound.value <= most
    assert np.float32(result.scale) == result.scale
    return result.scale


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("most", [0.03, 1.0, 1e6])
def test_random_graphs(tmp_path: Path, seed: int, most: float) -> None:
    """No linear map that the activations allow has a norm above what was wanted, and without
    multipliers the bound is below it by 1 % at most."""
    with Builder(tmp_path, seed) as b:
        network = random_network(b)
        kernels, norms = converted(b, network)
        result = budget(b.extent, network, kernels, most, seconds=0.1)
        if result.scale is None:  # an input goes to the outputs by scales alone
            assert result.floor is not None
            assert result.floor.bound.value > most * (1 - NEAR)
            return
        by = checked(result, most)
        assert most * (0.99 - NEAR) <= bound_without_multipliers(b, network, kernels, by) <= most
        scale(b, kernels, norms, by)
        reached = max(np.linalg.norm(matrix_of(b, network, s), 2) for s in range(3))
        assert reached <= most * (1 + EXACT)


def chain(b: Builder, sizes: list[int]) -> n.Network:
    x = b.input(sizes[0])
    for units in sizes[1:-1]:
        x = b.activation(b.dense(x, units))
    return b.output(b.dense(x, sizes[-1]))


def test_a_chain_is_met(tmp_path: Path) -> None:
    """The bounds of a chain of `k` layers are the `k`-th root, and the same each time."""
    with Builder(tmp_path) as b:
        network = chain(b, [5, 8, 7, 3])
        kernels, _ = converted(b, network)
        result = budget(b.extent, network, kernels, 2.0)
        assert checked(result, 2.0) == pytest.approx(2.0 ** (1 / 3), rel=NEAR)
        assert budget(b.extent, network, kernels, 2.0, seconds=0.0).scale == result.scale


def test_cap_raises_nothing(tmp_path: Path) -> None:
    """A kernel below what is allowed keeps its norm, and where the bound holds already, all do."""
    with Builder(tmp_path) as b:
        x = b.dense(b.input(3), 3, np.eye(3, dtype="f4") * 0.5)
        network = b.output(b.dense(b.activation(x), 3, np.eye(3, dtype="f4") * 8))
        kernels, _ = converted(b, network, CAP)
        for most, wanted in ((1.0, 2.0), (4.0, 8.0), (100.0, 8.0), (0.04, 0.2)):
            by = checked(budget(b.extent, network, kernels, most), most)
            assert by == pytest.approx(wanted, rel=NEAR)
            bound = bound_without_multipliers(b, network, kernels, by)
            assert bound == pytest.approx(min(most, 4.0), rel=2 * NEAR)


def test_weights(tmp_path: Path) -> None:
    """Bounds that are given are weights of layers against each other."""
    with Builder(tmp_path) as b:
        network = chain(b, [4, 4, 4])
        settings = {"a0": HARD, "a1": Settings(bound=4.0, norm="operator")}
        kernels, norms = converted(b, network, settings)
        by = checked(budget(b.extent, network, kernels, 9.0), 9.0)
        assert by == pytest.approx(1.5, rel=NEAR)
        scale(b, kernels, norms, by)
        assert np.linalg.norm(b.arrays["a1"], 2) == pytest.approx(6.0, rel=NEAR)


def test_what_is_not_converted_is_constant(tmp_path: Path) -> None:
    """A kernel that stays as it is counts with its norm, and one that reaches no output with
    nothing."""
    with Builder(tmp_path) as b:
        x = b.dense(b.input(3), 3, np.eye(3, dtype="f4") * 5)
        network = b.output(b.dense(b.activation(x), 3))
        kernels, _ = converted(b, network, {"a1": HARD})
        by = checked(budget(b.extent, network, kernels, 1.0), 1.0)
        assert by == pytest.approx(0.2, rel=NEAR)
        elsewhere = [kernels[0]._replace(path="elsewhere")]
        result = budget(b.extent, network, elsewhere, 1e9)
        assert checked(result, 1e9) == 1.0


@pytest.mark.parametrize("most", [0.5, 1.0, 3.0])
def test_a_skip_has_a_floor(tmp_path: Path, most: float) -> None:
    """A path on which nothing is converted is below no bound, and what lies on it is named."""
    with Builder(tmp_path) as b:
        x = b.input(3)
        skip = b.scale(x, gamma=np.array([1.0, 3.0, 2.0]), variance=np.full(3, 0.999))
        network = b.output(b.sum(b.dense(x, 3), skip))
        kernels, _ = converted(b, network)
        result = budget(b.extent, network, kernels, most)
        assert result.scale is None
        assert result.floor is not None
        assert result.floor.bound.value == pytest.approx(3.0, rel=1e-6)
        assert result.floor.bound.value >= 3.0 * (1 - 1e-7)
        (path, class_name, constant), *rest = result.floor.layers
        assert (path.split("_")[0], class_name) == ("batchnormalization", "BatchNormalization")
        assert constant.value == pytest.approx(3.0, rel=1e-6)
        assert rest == []
        by = checked(budget(b.extent, network, kernels, 3.5), 3.5)
        assert by == pytest.approx(0.5, rel=4 * NEAR)


def test_an_identity_is_named(tmp_path: Path) -> None:
    """Of a path whose constants are all 1 the layers on it are named, and no converted one."""
    with Builder(tmp_path) as b:
        x = b.input(3)
        network = b.output(b.sum(b.dense(x, 3), b.activation(x)))
        kernels, _ = converted(b, network)
        floor = budget(b.extent, network, kernels, 1.0).floor
        assert floor is not None
        assert floor.bound == ONE
        assert {name for _, name, _ in floor.layers} == {"Add", "relu"}


def test_constants_beyond_float32(tmp_path: Path) -> None:
    """A network whose other constants would need bounds below float32 has a floor, too."""
    with Builder(tmp_path) as b:
        x = b.dense(b.input(3), 3)
        large = n.Constant(1e40)
        network = b.output(b.add("Huge", large, (b.add("Huge", large, (x,), (3,)),), (3,)))
        kernels, _ = converted(b, network)
        floor = budget(b.extent, network, kernels, 1.0).floor
        assert floor is not None
        assert order(floor.bound) > order(ONE)
        assert {name for _, name, _ in floor.layers} == {"Huge"}


def test_no_bound(tmp_path: Path) -> None:
    """What has no constant is told."""
    with Builder(tmp_path) as b:
        x = b.dense(b.input(3), 3)
        network = b.output(b.add("Multiply", n.Unbounded("it jumps"), (x, x), (3,)))
        kernels, _ = converted(b, network)
        result = budget(b.extent, network, kernels, 1.0)
        assert result.scale is None
        assert result.floor is None
        assert result.network is not None
        assert [layer.reason for layer in result.network.unbounded] == ["it jumps"]


@pytest.mark.parametrize("cell", ["simple", "lstm", "gru"])
@pytest.mark.parametrize("which", [("a0", "a1"), ("a0",), ("a2",)])
def test_recurrent_layers(tmp_path: Path, cell: str, which: tuple[str, ...]) -> None:
    """Their constants rise with the bounds in another way, and are met as closely."""
    with Builder(tmp_path) as b:
        gates = {"simple": 1, "lstm": 4, "gru": 3}[cell]
        own, back = (b.array(b.rng.normal(size=(m, 4 * gates)).astype("f4")) for m in (3, 4))
        views = [MatrixView.of(b.arrays[name].shape) for name in (own, back)]

        def does(stored: Mapping[str, n.StoredArray]) -> n.Recurrent:
            kernels = (
                n.StoredKernel(stored[name], view)
                for name, view in zip((own, back), views, strict=True)
            )
            return n.Recurrent(cell, *kernels, None, 4, sequences=False)

        x = b.add("Recurrent", does, (b.input(4, 3),), (4,))
        network = b.output(b.dense(x, 2))
        kernels, _ = converted(b, network, dict.fromkeys(which, HARD))
        most = 25.0
        result = budget(b.extent, network, kernels, most)
        by = checked(result, most)
        bound = bound_without_multipliers(b, network, kernels, by)
        assert most * (1 - NEAR) <= bound <= most


def test_several_inputs(tmp_path: Path) -> None:
    """Towers over inputs of their own are met together."""
    with Builder(tmp_path) as b:
        towers = [b.activation(b.dense(b.input(3), 4)) for _ in range(3)]
        network = b.output(b.dense(b.concatenate(*towers), 2))
        kernels, norms = converted(b, network)
        by = checked(budget(b.extent, network, kernels, 5.0), 5.0)
        assert by == pytest.approx(5.0**0.5, rel=0.02)
        scale(b, kernels, norms, by)
        assert np.linalg.norm(matrix_of(b, network), 2) <= 5.0 * (1 + EXACT)
