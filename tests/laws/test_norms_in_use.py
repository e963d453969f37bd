"""The norm of the kernel that a layer computes with: measured with the `u` that it stores, in every
command, on files and live; and what `inspect` and `apply` say of the same layers."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from comparable import weights
from exact_norms import exact_sigma
from keras import layers
from live_models import model_of_all_kinds, spectral_layers
from typer.testing import CliRunner

import snconvert
from snconvert.cli import commands
from snconvert.cli.columns import proved
from snconvert.cli.tables import print_report
from snconvert.core.report import LayerReport
from snconvert.errors import KernelError, SelectionError
from snconvert.linalg import stored_u

EXACT = 1e-9
"""Relatively: float64 against a float64 SVD."""
SINGLE = 1e-5
"""Of a kernel that the layers have multiplied in float32."""
BOUND = 0.7


def plain_model() -> keras.Model:
    """Kernels of one block and of several, one and several to a layer."""
    keras.utils.set_random_seed(3)
    inputs = keras.Input((8, 8, 4))
    x = layers.Conv2D(4, 3, groups=2, name="grouped")(inputs)
    x = layers.DepthwiseConv2D(3, depth_multiplier=2, name="depthwise")(x)
    x = layers.SeparableConv2D(3, 2, name="separable")(x)
    x = layers.Conv2DTranspose(2, 2, name="transposed")(x)
    x = layers.Reshape((8, 4))(x)
    x = layers.MultiHeadAttention(2, 3, name="attention")(x, x)
    x = layers.LSTM(4, name="lstm")(x)
    return keras.Model(inputs, layers.Dense(3, name="dense")(x))


def lengthened(model: keras.Model) -> keras.Model:
    """Gives every `u` another length."""
    for layer in spectral_layers(model):
        for name in layer._own_kernels():
            u = getattr(layer, f"{layer._prefix(name)}u")
            u.assign(3.0 * u)
    return model


def turned(model: keras.Model) -> keras.Model:
    """Turns every `u` away from the leading vector, and moves every `gamma`."""
    rng = np.random.default_rng(0)
    for layer in spectral_layers(model):
        for name in layer._own_kernels():
            prefix = layer._prefix(name)
            u = getattr(layer, f"{prefix}u")
            rows = np.asarray(u).reshape(u.shape[0], -1)
            aside = rng.normal(size=rows.shape)
            rows = rows + 0.7 * aside / np.linalg.norm(aside, axis=1, keepdims=True)
            rows /= np.linalg.norm(rows, axis=1, keepdims=True)
            u.assign(rows.reshape(u.shape))
            if layer.mode == "gain":
                getattr(layer, f"{prefix}gamma").assign(-1.5 * getattr(layer, f"{prefix}gamma"))
    return model


def reference(layer: Any) -> dict[str, tuple[float, float, float]]:
    """Returns sigma, the norm of the kernel in use and the residual, by a float64 SVD, of the
    kernels of a layer."""
    found = {}
    for kernel in layer.rule.kernels_of(layer.get_config()):
        owner = getattr(layer, kernel.group.strip("/")) if kernel.group else layer
        prefix = owner._prefix(kernel.name)
        view = getattr(owner, f"_{kernel.name}_view")
        stack = view.matrix(np.asarray(owner._variable(kernel.name), np.float64))
        u = np.asarray(getattr(owner, f"{prefix}u"), np.float64)
        u /= np.linalg.norm(u, axis=1, keepdims=True)
        sigmas = np.linalg.norm(stack, 2, axis=(1, 2))
        image = np.einsum("bmn,bn->bm", stack, u)
        lengths = np.linalg.norm(image, axis=1)
        v = image / lengths[:, None]
        across = np.einsum("bmn,bm->bn", stack, v)
        misses = [
            np.linalg.norm(image - sigmas[:, None] * v, axis=1),
            np.linalg.norm(across - sigmas[:, None] * u, axis=1),
        ]
        sigma, sigma_u = sigmas.max(), lengths.max()
        factor = {
            "hard": BOUND / sigma_u,
            "cap": min(1.0, BOUND / sigma_u),
            "gain": abs(float(getattr(owner, f"{prefix}gamma"))) / sigma_u
            if owner.mode == "gain"
            else 0.0,
        }[owner.mode]
        residual = float((np.maximum(*misses) / sigmas).max())
        found[kernel.path] = (float(sigma), float(factor * sigma), residual)
    return found


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("in_use") / "plain.keras"
    plain_model().save(path)
    return path


@pytest.mark.parametrize("mode", ["hard", "cap", "gain"])
def test_what_is_measured(mode: str, source: Path, tmp_path: Path) -> None:
    """Of every kernel of a layer whose `u` has turned, `inspect` shows the raw norm, the norm in
    use and the residual of that `u`, as a float64 SVD finds them; a `u` of another length counts as
    a direction; a file and the live model say the same; and `bake` and `remove` tell the norms of
    what they write."""
    model = keras.saving.load_model(source)
    model = turned(snconvert.apply(model, kinds="all", mode=mode, bound=BOUND))
    report = snconvert.inspect(model)
    reported = {layer.path: layer for layer in report.layers if layer.status == "spectral"}
    assert len(reported) == 7
    for path, layer in reported.items():
        expected = reference(model.get_layer(path))
        assert [kernel.name for kernel in layer.kernels] == list(expected)
        for kernel in layer.kernels:
            measured = kernel.sigma, kernel.sigma_after, kernel.residual
            assert measured == pytest.approx(expected[kernel.name], rel=1e-6)
        assert layer.residual > 0.05
        numbers = zip(*expected.values(), strict=True)
        measured = layer.sigma, layer.sigma_after, layer.residual
        assert measured == pytest.approx([max(column) for column in numbers], rel=1e-6)
        assert layer.bound == (None if mode == "gain" else BOUND)
    dense = model.get_layer("dense")
    used = np.linalg.norm(np.asarray(dense.effective_kernel(), np.float64), 2)
    assert reported["dense"].sigma_after == pytest.approx(used, rel=SINGLE)
    model.save(tmp_path / "turned.keras")
    file = snconvert.inspect(tmp_path / "turned.keras")
    assert file.as_json()["layers"] == report.as_json()["layers"]
    assert [layer.kernels for layer in file.layers] == [layer.kernels for layer in report.layers]
    longer = snconvert.inspect(lengthened(model))
    for one, two in zip(report.layers, longer.layers, strict=True):
        if one.sigma_after is not None:
            assert two.sigma_after == pytest.approx(one.sigma_after, rel=1e-6)
            assert two.residual == pytest.approx(one.residual, rel=1e-5)
    before = {x.path: x for x in file.layers}
    for undo in (snconvert.bake_file, snconvert.remove_file):
        for options in ({}, {"imports": ["keras"]})[: 2 if mode == "hard" else 1]:
            out = tmp_path / "out.keras"
            told = undo(tmp_path / "turned.keras", out, force=True, **options)
            written = {x.path: x for x in snconvert.inspect(out).layers}
            rows = [layer for layer in told.layers if layer.status == "converted"]
            assert len(rows) == 7
            for layer in rows:
                assert layer.sigma == before[layer.path].sigma
                assert layer.sigma_after == pytest.approx(written[layer.path].sigma, rel=SINGLE)


@pytest.mark.parametrize("mode", ["hard", "gain"])
def test_the_norm_of_an_operator(mode: str, tmp_path: Path) -> None:
    """Under `norm="operator"` the norm in use is that of the map which the explicit matrix has, on
    files and live."""
    model = turned(snconvert.apply(model_of_all_kinds(), kinds="all", norm="operator", mode=mode))
    model.save(tmp_path / "turned.keras")
    report = snconvert.inspect(model)
    assert (
        snconvert.inspect(tmp_path / "turned.keras").as_json()["layers"]
        == (report.as_json()["layers"])
    )
    found = [k for x in report.layers if x.status == "spectral" for k in x.kernels]
    pairs = [(layer, name) for layer in spectral_layers(model) for name in layer._own_kernels()]
    measured = sorted(kernel.sigma_after for kernel in found)
    exact = sorted(exact_sigma(layer, layer.effective_kernel(name), name) for layer, name in pairs)
    assert measured == pytest.approx(exact, rel=SINGLE)
    assert max(exact) > 1.1 * (1.0 if mode == "hard" else 1.5)


@pytest.mark.parametrize("target", ["keras", "constraint"])
def test_kernels_that_are_used_as_they_are(target: str, source: Path, tmp_path: Path) -> None:
    """Under the targets that normalise the stored kernel, the norm in use is that of this kernel
    however it has changed, and the residual is that of the vector beside it; `remove` tells the
    raw norm that it restores."""
    options = {"only": ["dense", "transposed"], "conv": True, "target": target}
    raw = {x.path: x.sigma for x in snconvert.inspect(source).layers}
    snconvert.apply_file(source, tmp_path / "sn.keras", **options)
    model = keras.saving.load_model(tmp_path / "sn.keras")
    fresh = {x.path: x for x in snconvert.inspect(tmp_path / "sn.keras").layers}
    kernel = model.get_layer("dense").kernel
    rng = np.random.default_rng(1)
    kernel.assign(kernel + 0.3 * rng.normal(size=kernel.shape))
    model.save(tmp_path / "moved.keras")
    norm = np.linalg.norm(np.asarray(kernel, np.float64), 2)
    report = snconvert.inspect(tmp_path / "moved.keras")
    assert report.as_json()["layers"] == snconvert.inspect(model).as_json()["layers"]
    (dense,) = [x for x in report.layers if x.path == "dense"]
    assert (dense.status, dense.bound) == ("spectral", 1.0)
    assert (dense.sigma, dense.sigma_after) == pytest.approx((norm, norm), rel=1e-6)
    assert fresh["dense"].residual < 1e-5
    assert dense.residual > 0.05
    told = snconvert.remove_file(tmp_path / "sn.keras", tmp_path / "out.keras", force=True)
    rows = {x.path: x for x in told.layers if x.status == "converted"}
    assert set(rows) == {"dense", "transposed"}
    for path, row in rows.items():
        assert (row.sigma, row.sigma_after) == pytest.approx((1.0, raw[path]), rel=1e-6)
    told = snconvert.bake_file(tmp_path / "moved.keras", tmp_path / "out.keras", force=True)
    (row,) = [x for x in told.layers if x.path == "dense"]
    assert row.sigma_after == pytest.approx(norm, rel=1e-6)


@pytest.mark.parametrize("file", [False, True])
def test_a_fresh_u_is_taken_at_its_word(
    file: bool, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the stored `u` is the one that the search finds, no pass over the kernel is added, and
    the norm in use is the bound to the last bit."""
    snconvert.apply_file(source, tmp_path / "sn.keras", kinds="all", bound=BOUND)
    model = keras.saving.load_model(tmp_path / "sn.keras")
    monkeypatch.setattr(stored_u, "blocks_of", None)
    report = snconvert.inspect(tmp_path / "sn.keras" if file else model)
    found = [layer for layer in report.layers if layer.status == "spectral"]
    assert [layer.sigma_after for layer in found] == [BOUND] * 7
    assert max(layer.residual for layer in found) < 1e-5


def test_proofs(source: Path, tmp_path: Path) -> None:
    """What is proved is between bounds around the raw norm, and others around the norm in use, of
    each kernel; the table shows the upper ones, rounded up."""
    model = turned(snconvert.apply(keras.saving.load_model(source), kinds="all", bound=BOUND))
    model.save(tmp_path / "turned.keras")
    report = snconvert.inspect(tmp_path / "turned.keras", certify=True)
    assert report.as_json()["layers"] == snconvert.inspect(model, certify=True).as_json()["layers"]
    for layer in (layer for layer in report.layers if layer.status == "spectral"):
        exact = reference(model.get_layer(layer.path))
        for kernel in layer.kernels:
            sigma, after, _ = exact[kernel.name]
            assert kernel.certified[0] * (1 - EXACT) <= sigma <= kernel.certified[1]
            assert kernel.certified_after[0] * (1 - EXACT) <= after <= kernel.certified_after[1]
            assert kernel.certified_after[1] <= after * (1 + 1.1e-6)
        low, high = layer.certified_after
        assert low <= layer.sigma_after <= high
        assert layer.as_json()["proved_after"] == [low, high]
    stream = io.StringIO()
    print_report(report, stream)
    (row,) = [line for line in stream.getvalue().splitlines() if line.startswith("dense ")]
    shown = [float(part.split()[0]) for part in row.split("<= ")[1:]]
    (dense,) = [layer for layer in report.layers if layer.path == "dense"]
    bounds = dense.certified[1], dense.certified_after[1]
    assert all(a >= b for a, b in zip(shown, bounds, strict=True))
    assert shown == pytest.approx(bounds, rel=2e-6)
    assert "sigma is proved to be at most what stands behind <=; so is after" in stream.getvalue()
    assert proved((1.0, 1.00000001), "<=") == "<= 1.000001"


@pytest.mark.parametrize("value", [np.nan, 0.0])
def test_a_u_that_is_no_direction(value: float, source: Path, tmp_path: Path) -> None:
    """A `u` of NaN is told, `bake` refuses it and `remove` does not; one of zeros leaves the kernel
    as it is, as in the layers."""
    snconvert.apply_file(source, tmp_path / "sn.keras")
    model = keras.saving.load_model(tmp_path / "sn.keras")
    model.get_layer("dense").u.assign(np.full((1, 3), value))
    model.save(tmp_path / "bad.keras")
    for report in (snconvert.inspect(tmp_path / "bad.keras"), snconvert.inspect(model)):
        (dense,) = [x for x in report.layers if x.path == "dense"]
        if value == 0.0:
            assert dense.sigma_after == dense.sigma
            assert dense.residual == pytest.approx(1.0)
            return
        assert (dense.sigma_after, dense.residual) == (None, None)
        assert dense.sigma > 0.5
        assert (
            dense.reason
            == "spectral already; its u or gamma is not usable: NaN, infinity, or another shape"
        )
    kernel = np.asarray(model.get_layer("dense").kernel)
    model.get_layer("dense").kernel.assign(kernel * np.inf)
    model.save(tmp_path / "worse.keras")
    for report in (snconvert.inspect(tmp_path / "worse.keras"), snconvert.inspect(model)):
        assert report.layers[-1].sigma is None
        assert report.layers[-1].reason.startswith("spectral already; its kernel cannot be")
    with pytest.raises(KernelError, match="its kernel, u or gamma holds NaN"):
        snconvert.bake_file(tmp_path / "bad.keras")
    told = snconvert.remove_file(tmp_path / "bad.keras", tmp_path / "out.keras")
    assert told.layers[-1].sigma_after == dense.sigma
    assert weights(tmp_path / "out.keras") == weights(source)


# -- What inspect and apply say of the same layers ------------------------------------------------


def without_after(row: LayerReport) -> LayerReport:
    kernels = tuple(x._replace(sigma_after=None, certified_after=None) for x in row.kernels)
    return replace(row, sigma_after=None, certified_after=None, kernels=kernels)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"conv": True},
        {"kinds": "all"},
        {"kinds": "recurrent"},
        {"kinds": "all", "exclude": ["lstm"]},
        {"kinds": "all", "target": "keras"},
        {"kinds": "all", "target": "constraint"},
    ],
    ids=str,
)
def test_inspect_and_apply_count_the_same(options: dict[str, Any], source: Path) -> None:
    """With the same options `inspect` counts the layers that `apply` converts, on files and live,
    and both know how many more there are by kind; only a dry run says which norms they will have
    after, as nothing is promised of a model that is looked at."""
    model = keras.saving.load_model(source)
    seen = snconvert.inspect(source, **options), snconvert.inspect(model, **options)
    done = snconvert.apply_file(source, dry_run=True, **options), snconvert.plan(model, **options)
    for report in (*seen, *done):
        assert report.converted == done[0].converted > 0
        assert [x.missing_kind for x in report.layers] == [x.missing_kind for x in seen[0].layers]
    if options:
        assert all(x.sigma_after for x in done[0].layers if x.status == "convertible")
        assert [*map(without_after, done[0].layers)] == [*seen[0].layers]
    assert [x.as_json() for x in seen[0].layers] == [x.as_json() for x in seen[1].layers]


def test_inspect_says_which_option_converts_what(source: Path, tmp_path: Path) -> None:
    """Without `kinds`, `inspect` shows layers of all kinds as convertible, with the option that
    converts each, and a summary by option; `apply` says what stays plain, and by which option it
    would not; a recipe's kinds count for both."""
    report = snconvert.inspect(source)
    convertible = {x.path: x.missing_kind for x in report.layers if x.status == "convertible"}
    assert convertible == {
        **dict.fromkeys(("grouped", "depthwise", "separable", "transposed"), "conv"),
        "attention": "attention",
        "lstm": "recurrent",
        "dense": None,
    }
    reasons = {x["path"]: x["reason"] for x in report.as_json()["layers"]}
    assert (reasons["grouped"], reasons["lstm"]) == (
        "with conv=True",
        'with kinds="recurrent"',
    )
    assert reasons["dense"] is None

    def said(*arguments: str) -> str:
        run = CliRunner().invoke(commands.app, [*arguments])
        assert run.exit_code == 0, run.output
        return run.stdout

    more = "4 more with --conv; 2 with --kinds attention,recurrent; all 7 with --kinds all"
    text = said("inspect", str(source))
    assert f"plain.keras: 1 layer converts by default; {more}; nothing was written" in text
    assert " convert with --conv\n" in text
    assert "(LSTM) converts with --kinds recurrent" in text
    out = str(tmp_path / "out.keras")
    text = said("apply", str(source), "-o", out)
    assert f"plain.keras: 1 layer converted, 8 left as they were; {more}" in text
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('kinds = ["dense", "recurrent"]\n')
    for command in (["inspect"], ["apply", "--dry-run"]):
        text = said(*command, str(source), "--recipe", str(recipe))
        assert "2 layers convert; 4 more with --conv; 1 with --kinds attention" in text


def test_several_kernels_have_a_row_each(source: Path) -> None:
    """In the table each kernel of a layer stands with its own shape and norm, and the range of a
    convolution's norm beside the norm of its raw kernel."""
    stream = io.StringIO()
    print_report(snconvert.inspect(source), stream)
    head, *lines = stream.getvalue().splitlines()
    assert head.split()[:5] == ["layer", "class", "kernel", "sigma", "operator"]
    kernels = {row.name: row for x in snconvert.inspect(source).layers for row in x.kernels}
    rows = {" ".join(line.split()[:3]) for line in lines if line.startswith("  ")}
    for name, short in (
        ("cell/kernel", "kernel 4x16"),
        ("cell/recurrent_kernel", "recurrent_kernel 4x16"),
        ("pointwise_kernel", "pointwise_kernel 1x1x8x3"),
    ):
        assert f"{short} {kernels[name].sigma:.4g}" in rows
    _, high = kernels["depthwise_kernel"].operator_range
    (line,) = [line for line in lines if "depthwise_kernel" in line]
    assert f"<= {high:.4g}" in line


def test_what_is_converted_in_part(source: Path, tmp_path: Path) -> None:
    """`apply` on a file that is converted, in whole or in part, says so and names the ways on."""
    snconvert.apply_file(source, tmp_path / "part.keras")
    for apply in (
        snconvert.apply_file,
        lambda path: snconvert.apply(keras.saving.load_model(path)),
    ):
        with pytest.raises(SelectionError) as error:
            apply(tmp_path / "part.keras")
        assert (
            "nothing left to convert: 1 layer is converted already (dense: spectral already);"
        ) in str(error.value)
        assert (
            "undoes that. Layers that convert: 4 with conv=True, 2 with"
            ' kinds=["attention", "recurrent"], all 6 with kinds="all". See'
        ) in str(error.value)
    arguments = ["apply", str(tmp_path / "part.keras"), "--kinds", "all"]
    run = CliRunner().invoke(commands.app, arguments)
    assert run.exit_code == 0
    assert (
        "6 layers converted, 2 left as they were; 1 is normalised already (`snconvert remove` or"
        " `snconvert bake` first to change that)"
    ) in run.stdout
