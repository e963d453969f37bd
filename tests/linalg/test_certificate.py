"""Proven bounds of sigma, against LAPACK, and where they are told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from saved_models import arrays, metadata, saved
from zoo import ZOO

import snconvert
from snconvert.core.convolution_map import at_size
from snconvert.core.matrix_view import MatrixView
from snconvert.core.triplet import Triplet
from snconvert.errors import KernelError, OptionError
from snconvert.jobs import measure
from snconvert.jobs.requests import Task
from snconvert.linalg import certificate
from snconvert.linalg.blocks import Blocks
from snconvert.linalg.certificate import SLACK, proved_bounds
from snconvert.linalg.convolution_norm import operator_triplet
from snconvert.linalg.matrix_norm import leading_triplet
from snconvert.linalg.torus import proved_operator_bounds
from snconvert.verification.records import _holds
from snconvert.weights.contents import Dataset
from snconvert.weights.extent import Extent

SHAPES = [(1, 1), (5, 4), (1, 7), (7, 1), (40, 300), (600, 257), (530, 540), (3000, 20)]


def exact(kernel: np.ndarray, view: MatrixView) -> float:
    """The norm by LAPACK in float64; its error is some 1e-14."""
    scale = float(np.abs(kernel).max())
    stack = view.matrix(kernel.astype("f8") / scale)
    return float(np.linalg.svd(stack, compute_uv=False).max()) * scale


def holds(kernel: np.ndarray, view: MatrixView, triplet: Triplet) -> None:
    """The norm lies between the bounds, and they lie where they should."""
    lower, upper = proved_bounds(kernel, view, triplet)
    norm = exact(kernel, view)
    assert lower <= norm * (1 + 1e-13)
    assert norm * (1 - 1e-13) <= upper
    assert triplet.sigma * (1 - 1e-9) < lower <= triplet.sigma * (1 + 1e-13)
    assert upper == triplet.sigma * (1 + SLACK)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("spectrum", ["random", "flat", "steep"])
def test_the_norm_lies_between_the_bounds(shape: tuple[int, int], spectrum: str) -> None:
    """For wide, tall, tiny and blockwise matrices; also where all singular values are equal, or
    each a tenth of the one before."""
    kernel = np.random.default_rng(sum(shape)).normal(size=shape)
    if spectrum != "random":
        left, values, right = np.linalg.svd(kernel, full_matrices=False)
        values = np.ones_like(values) if spectrum == "flat" else 0.1 ** np.arange(values.size)
        kernel = (left * values) @ right
    kernel, view = kernel.astype("f4"), MatrixView.of(shape)
    holds(kernel, view, leading_triplet(kernel, view))


@pytest.mark.parametrize("shape", [(5, 4), (300, 290), (1, 7)])
@pytest.mark.parametrize("scale", [1e-300, 1e-30, 1e30, 1e290])
def test_extreme_scales(shape: tuple[int, int], scale: float) -> None:
    """At the ends of the range of float64, too."""
    kernel = np.random.default_rng(0).normal(size=shape) * scale
    view = MatrixView.of(shape)
    holds(kernel, view, leading_triplet(kernel, view))


def test_blocks_of_any_size() -> None:
    """Every block is proved, also one of zeros, one that is next to nothing and a permuted one."""
    kernel = np.random.default_rng(1).normal(size=(6, 9, 5))
    kernel[1], kernel[2] = 0.0, kernel[2] * 1e-200
    kernel[4] *= 1e80
    for view in (
        MatrixView((6, 9, 5), (0, 1, 2), (6, 9, 5)),
        MatrixView((6, 9, 5), (1, 2, 0), (9, 5, 6)),
        MatrixView((6, 9, 5), (2, 0, 1), (1, 30, 9)),
    ):
        holds(kernel, view, leading_triplet(kernel, view))


def test_half_precision() -> None:
    """The numbers of both half precisions are taken exactly."""
    kernel = np.random.default_rng(2).normal(size=(300, 20)).astype("f4")
    bits = (kernel.view("u4") >> 16).astype("u2")
    for stored, wide, bfloat16 in (
        (kernel.astype("f2"), kernel.astype("f2"), False),
        (bits, (bits.astype("u4") << 16).view("f4"), True),
    ):
        view = MatrixView.of(kernel.shape)
        triplet = leading_triplet(stored, view, bfloat16=bfloat16)
        lower, upper = proved_bounds(stored, view, triplet, bfloat16=bfloat16)
        assert lower <= exact(wide, view) * (1 + 1e-13)
        assert exact(wide, view) <= upper * (1 + 1e-13)


def test_a_kernel_of_zeros() -> None:
    """Its norm is proved to be 0."""
    kernel, view = np.zeros((3, 4)), MatrixView.of((3, 4))
    assert proved_bounds(kernel, view, leading_triplet(kernel, view)) == (0.0, 0.0)


@settings(max_examples=25, deadline=None)
@given(
    shape=st.sampled_from([(4, 5), (30, 30), (30, 270), (270, 260)]),
    seed=st.integers(0, 99),
    off=st.floats(-4e-6, 4e-6),
)
def test_it_says_no(shape: tuple[int, int], seed: int, off: float) -> None:
    """A sigma that is more than a part in a million away from the norm is refused, whichever the
    side; one that is less than 0.9 parts away is proved: the rounding that is allowed for costs
    little."""
    kernel, view = np.random.default_rng(seed).normal(size=shape), MatrixView.of(shape)
    found = leading_triplet(kernel, view)
    norm = exact(kernel, view)
    wrong = found._replace(sigma=norm * (1 + off))
    if abs(off) < 0.9e-6:
        assert proved_bounds(kernel, view, wrong)[1] >= norm
    elif abs(off) > 1.001e-6:
        with pytest.raises(KernelError, match="cannot be proved: the kernel's norm may be"):
            proved_bounds(kernel, view, wrong)


def test_another_singular_vector_is_not_enough() -> None:
    """A triplet of the second singular value, which fits by itself and has no residual, is
    refused; so is one whose largest block was missed."""
    kernel = np.diag([3.0, 2.0, 1.0])
    second = Triplet(2.0, np.array([[0, 1, 0]], "f4"), 0.0, zero=False)
    with pytest.raises(KernelError, match=r"may be above 2\.000002"):
        proved_bounds(kernel, MatrixView.of((3, 3)), second)
    stack = np.stack([kernel, 2 * kernel])
    missed = Triplet(3.0, np.array([[1, 0, 0], [1, 0, 0]], "f4"), 0.0, zero=False)
    with pytest.raises(KernelError, match=r"may be above 3\.000003"):
        proved_bounds(stack, MatrixView((2, 3, 3), (0, 1, 2), (2, 3, 3)), missed)


@pytest.mark.parametrize("shape", [(530, 40), (40, 530), (512, 300), (3, 9), (1300, 260)])
def test_no_row_is_left_out(shape: tuple[int, int]) -> None:
    """The Gram matrix is that of all rows, or columns, whatever the chunks; a norm that hides in
    the last one is seen."""
    kernel = np.random.default_rng(3).normal(size=shape)
    view = MatrixView.of(shape)
    block = Blocks(kernel, view, bfloat16=False).block(0)
    tall = kernel if shape[0] >= shape[1] else kernel.T
    gram = certificate.gram(block, block.longer)
    np.testing.assert_allclose(np.triu(gram), np.triu(tall.T @ tall), rtol=1e-12, atol=1e-10)
    found = leading_triplet(kernel, view)
    tall[-1] *= 100.0
    wrong = found._replace(u=leading_triplet(kernel, view).u)
    with pytest.raises(KernelError, match="may be above"):
        proved_bounds(kernel, view, wrong)


@pytest.mark.parametrize("size", [7, 256, 300])
def test_the_factor_and_what_it_misses(size: int) -> None:
    """The blocks of the factorisation are those of the Cholesky factor, its remainder is what an
    independent product finds to be missing, and a matrix that is not positive has none."""
    kernel = np.random.default_rng(size).normal(size=(size + 3, size))
    whole = kernel.T @ kernel
    top = float(np.linalg.eigvalsh(whole)[-1])
    factor = whole.copy()
    found = certificate._factorise(factor, 1.001 * top)
    assert found is not None
    factor = np.triu(factor)
    np.testing.assert_allclose(
        factor, np.linalg.cholesky(1.001 * top * np.eye(size) - whole).T, atol=1e-9 * top**0.5
    )
    wide = factor.astype(np.longdouble)
    missing = 1.001 * top * np.eye(size) - np.asarray(whole, np.longdouble) - wide.T @ wide
    assert np.linalg.norm(missing.astype("f8")) <= found[0] + 1e-12 * top
    assert found[0] < 1e-10 * top
    assert found[1] == pytest.approx(np.square(factor).sum(), rel=1e-12)
    assert certificate._factorise(whole, 0.999 * top) is None


# -- In files, in memory and on the command line -------------------------------------------------


@pytest.mark.parametrize("name", ["tokens", "transposed", "mixed_float16"])
def test_in_files(name: str, tmp_path: Path) -> None:
    """With `certify` every sigma is proved, recorded in the file and reported; nothing else of the
    file changes, and without it nothing says so."""
    source, plain, proved = (
        saved(name, tmp_path),
        *(tmp_path / f"{x}.keras" for x in ("plain", "proved")),
    )
    without = snconvert.apply_file(source, plain, kinds="all")
    report = snconvert.apply_file(source, proved, kinds="all", certify=True)
    assert arrays(plain) == arrays(proved)
    recorded = metadata(proved)["snconvert"]
    assert (recorded["options"]["certify"], without.layers[0].certified) == (True, None)
    assert "certif" not in json.dumps(metadata(plain)) + json.dumps(without.as_json())
    converted = [layer for layer in report.layers if layer.status == "converted"]
    assert converted
    for layer in converted:
        check(layer)
        assert recorded["layers"][layer.path]["certified"] == list(layer.certified)
        assert layer.as_json()["proved"] == list(layer.certified)
    again = snconvert.inspect(proved, certify=True)
    for layer in (layer for layer in again.layers if layer.status == "spectral"):
        check(layer)


def check(layer: Any) -> None:
    lower, upper = layer.certified
    assert layer.sigma * (1 - SLACK) <= lower <= layer.sigma * (1 + 1e-12)
    assert upper == layer.sigma * (1 + SLACK)


def test_in_memory() -> None:
    """`plan` and `inspect` of a live model prove what the file's report proves."""
    model = ZOO["functional"]()
    planned, seen = snconvert.plan(model, certify=True), snconvert.inspect(model, certify=True)
    layers = [layer for layer in planned.layers if layer.sigma]
    assert [x.certified for x in layers] == [x.certified for x in seen.layers if x.sigma]
    for layer in layers:
        check(layer)
    assert snconvert.inspect(model).layers[0].certified is None
    assert snconvert.apply(model, certify=True).get_layer("shared").bound == 1.0
    with pytest.raises(OptionError, match="certify is 1"):
        snconvert.plan(model, certify=1)


def test_a_false_sigma_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Were sigma found wrongly, with `certify` it would be an error that names the layer, also
    where the layer is only looked at."""

    def wrongly(*arguments: Any, **options: Any) -> Triplet:
        found = leading_triplet(*arguments, **options)
        return found._replace(sigma=found.sigma * 0.99)

    monkeypatch.setattr("snconvert.linalg.kernel_norm.leading_triplet", wrongly)
    model = ZOO["sequential"]()
    for look in (snconvert.apply, lambda m, **o: snconvert.inspect(m, exclude=["*"], **o)):
        look(model)
        with pytest.raises(KernelError, match=r"dense\w* \(Dense\): sigma .* cannot be prov"):
            look(model, certify=True)
    # As the guarded process of the file carrier does.
    (tmp_path / "numbers").write_bytes(np.eye(3, dtype="f4").tobytes())
    with (tmp_path / "numbers").open("rb") as file:
        extent = Extent(file.fileno(), 0, 36)
        dataset = Dataset((3, 3), "float32", "little", 0, 36)
        for required in (True, False):
            task = Task(("a/b", "Dense"), "k", dataset, MatrixView.of((3, 3)), required)
            assert measure.measure(extent, [task])[0].sigma == pytest.approx(0.99)
            with pytest.raises(KernelError, match=r"^a/b \(Dense\): sigma 0.99 cannot be"):
                measure.measure(extent, [task._replace(certify=True)])


def test_too_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the Gram matrix finds no room, that is what the error says."""

    def full(*_: Any) -> None:
        raise MemoryError

    kernel, view = np.random.default_rng(0).normal(size=(50, 50)), MatrixView.of((50, 50))
    found = leading_triplet(kernel, view)
    monkeypatch.setattr(certificate, "gram", full)
    with pytest.raises(KernelError, match=r"the proof of sigma takes 2e-05 GB.*Leave out certify"):
        proved_bounds(kernel, view, found)


def test_the_command_line(tmp_path: Path, snconvert: Any) -> None:
    """`--certify` of `apply` and `inspect`, in the table and in JSON; recipes know it, too."""
    source = saved("sequential", tmp_path)
    run = snconvert("inspect", source, "--certify")
    assert (run.returncode, run.stderr) == (0, "")
    assert "sigma is proved to be" in run.stdout
    assert "sigma is proved" not in snconvert("inspect", source).stdout
    (tmp_path / "recipe.toml").write_text("certify = true\n")
    for options in (["--certify"], ["--recipe", tmp_path / "recipe.toml"]):
        run = snconvert("apply", source, "--json", "--force", *options)
        layers = [layer for layer in json.loads(run.stdout)["layers"] if layer["sigma"]]
        assert len(layers) == 2
        for layer in layers:
            assert layer["proved"][0] <= layer["sigma"] <= layer["proved"][1]


@pytest.mark.parametrize("name", ["convolutional", "transposed"])
def test_convolutions_as_maps(name: str, tmp_path: Path) -> None:
    """By `--norm operator` each convolution has bounds around sigma, the same in a file and in
    memory, recorded and verified, also where its neighbours are proved as matrices."""
    path, place = saved(name, tmp_path), tmp_path / "sn.keras"
    layers = [layer for layer in snconvert.inspect(path).layers if layer.operator_range]
    override = {layers[-1].path: {"norm": "matrix"}} if len(layers) > 1 else {}
    how = {"conv": True, "norm": "operator", "certify": True, "overrides": override}
    report = snconvert.apply_file(path, place, verify=True, **how)
    recorded = metadata(place)["snconvert"]["layers"]
    for layer in (layer for layer in report.layers if layer.status == "converted"):
        low, high = layer.certified
        assert layer.sigma * (1 - SLACK) <= low <= layer.sigma <= high <= layer.sigma * (1 + SLACK)
        assert recorded[layer.path]["certified"] == [low, high]
        assert layer.certified_after[1] >= layer.sigma_after
    model, again = keras.saving.load_model(place), snconvert.inspect(place, certify=True)
    assert again.as_json()["layers"] == snconvert.inspect(model, certify=True).as_json()["layers"]
    found = {layer.path: layer.certified for layer in again.layers if layer.sigma}
    assert all(found[layer.path] == layer.certified for layer in report.layers if layer.sigma)
    assert snconvert.verify(path, place)


def test_how_wide_a_proof_is(tmp_path: Path, snconvert: Any) -> None:
    """The table says which proof is the widest, where one is wider than those of matrices, and
    records of such a width are believed of convolutions only."""
    inputs = keras.Input((None, None, 2))
    keras.Model(inputs, keras.layers.Conv2D(3, 3, name="anywhere")(inputs)).save(
        tmp_path / "m.keras"
    )
    flags = ("--conv", "--norm", "operator", "--certify")
    run = snconvert("apply", tmp_path / "m.keras", "--verify", *flags)
    assert run.returncode == 0
    assert "so is after. The widest proof leaves 2 %: anywhere" in run.stdout
    (layer,) = (
        layer
        for layer in json.loads(
            snconvert("inspect", tmp_path / "m-sn.keras", "--json", "--certify").stdout
        )["layers"]
        if layer["sigma"]
    )
    low, high = layer["proved"]
    assert low < layer["sigma"] * 0.99
    assert layer["sigma"] <= high
    assert [_holds([low, high], layer["sigma"], mapped=mapped) for mapped in (True, False)] == [
        True,
        False,
    ]
    for bounds in ([0.0, high], [low, low], [low, 20 * high], [low], "all"):
        assert not _holds(bounds, layer["sigma"], mapped=True)


def test_a_false_sigma_of_a_convolution() -> None:
    """Were the norm of a map found to be what its `u` does not reach, or more than what bounds it,
    it would be an error with the bounds in it."""
    kernel = np.random.default_rng(0).normal(size=(3, 3, 2, 2))
    view = MatrixView.of(kernel.shape)
    conv = at_size((5, 5), (3, 3), (1, 1), (1, 1), "same", view.shape)
    found = operator_triplet(kernel, view, conv)
    low, high = proved_operator_bounds(kernel, view, conv, found)
    assert low <= found.sigma <= high <= low * (1 + 1e-6)
    for sigma in (found.sigma * (1 + 1.1e-6), found.sigma * (1 - 1e-5)):
        with pytest.raises(KernelError, match=r"cannot be proved: the convolution's norm lies"):
            proved_operator_bounds(kernel, view, conv, found._replace(sigma=sigma))
    other = found._replace(u=np.ones_like(found.u))
    with pytest.raises(KernelError, match="cannot be proved"):
        proved_operator_bounds(kernel, view, conv, other)
    zero = operator_triplet(np.zeros((3, 3, 2, 2)), view, conv)
    assert proved_operator_bounds(np.zeros((3, 3, 2, 2)), view, conv, zero) == (0.0, 0.0)
