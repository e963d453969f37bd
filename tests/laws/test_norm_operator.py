"""`--norm operator` from end to end: files, live models, the command line, and the ways back."""

from __future__ import annotations

import json
from pathlib import Path

import keras
import numpy as np
import pytest
import steps
from comparable import config, weights
from exact_norms import exact_sigma
from keras import layers
from live_models import model_of_all_kinds, spectral_layers
from typer.testing import CliRunner

import snconvert
from snconvert.cli import commands
from snconvert.errors import OptionError, SourceError


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of the model above, compiled and trained for a step."""
    path = tmp_path_factory.mktemp("operator") / "model.keras"
    model = model_of_all_kinds()
    model.compile("adam", "mse", run_eagerly=True)
    steps.train(model, np.ones((2, 8, 7, 4)), np.ones((2, 2)))
    model.save(path)
    return path


X = np.random.default_rng(0).normal(size=(3, 8, 7, 4)).astype("float32")


def outputs_of(model):
    return np.asarray(model(X, training=False))


@pytest.mark.parametrize("mode", ["hard", "cap", "gain"])
def test_there_and_back(plain, tmp_path, mode):
    """The carriers agree; norms are as asked; gain, bake and remove keep what they promise."""
    options = {"kinds": "all", "norm": "operator", "mode": mode, "bound": 0.5}
    report = snconvert.apply_file(plain, tmp_path / "file.keras", **options)
    model = keras.saving.load_model(plain)
    snconvert.apply(model, **options).save(tmp_path / "live.keras")
    assert config(tmp_path / "file.keras") == config(tmp_path / "live.keras")
    assert weights(tmp_path / "file.keras") == weights(tmp_path / "live.keras")
    planned = snconvert.plan(model, **options)
    for one, other in zip(report.layers, planned.layers, strict=True):
        assert (one.sigma, one.residual, one.operator_range, one.reason) == (
            other.sigma,
            other.residual,
            other.operator_range,
            other.reason,
        )
        if one.operator_range is not None:
            low, high = one.operator_range
            assert low * (1 - 1e-6) <= one.sigma <= high * (1 + 1e-6)
    patched = keras.saving.load_model(tmp_path / "file.keras")
    for layer in spectral_layers(patched):
        for name in layer._own_kernels():
            raw = exact_sigma(layer, np.asarray(layer._variable(name)), name)
            norm = exact_sigma(layer, layer.effective_kernel(name), name)
            expected = {"hard": 0.5, "cap": min(raw, 0.5), "gain": raw}[mode]
            assert norm == pytest.approx(expected, rel=1e-5)
    if mode == "gain":
        np.testing.assert_allclose(outputs_of(patched), outputs_of(model), 1e-4)
    steps.train(patched, X, np.ones((3, 2)))
    patched.save(tmp_path / "trained.keras")
    outputs = outputs_of(patched)
    assert snconvert.bake_file(tmp_path / "trained.keras", tmp_path / "b.keras").norm == "operator"
    for baked in (keras.saving.load_model(tmp_path / "b.keras"), snconvert.bake(patched)):
        assert not spectral_layers(baked)
        np.testing.assert_allclose(outputs_of(baked), outputs, rtol=1e-4, atol=1e-6)
    snconvert.remove_file(tmp_path / "file.keras", tmp_path / "back.keras")
    assert config(tmp_path / "back.keras") == config(plain)
    assert weights(tmp_path / "back.keras") == weights(plain)


@pytest.mark.parametrize("mode", ["hard", "gain"])
@pytest.mark.parametrize("size", [14, None])
def test_channels_that_are_a_single_tap(tmp_path, mode, size):
    """File and live model agree, `gain` moves no output, and the report says what is stored."""
    kernel = np.zeros((3, 3, 2, 1), "float32")
    kernel[1, 1, 0, 0] = 1.3  # 1.3 times the identity
    kernel[:, :, 1, 0] = 0.25  # a box, of norm 2.18 at 14 x 14
    layer = layers.DepthwiseConv2D(3, padding="same", use_bias=False)
    model = keras.Sequential([keras.Input((size, size, 2)), layer])
    layer.set_weights([kernel])
    model.save(tmp_path / "m.keras")
    options = {"kinds": "conv", "norm": "operator", "mode": mode}
    report = snconvert.apply_file(tmp_path / "m.keras", tmp_path / "o.keras", **options)
    file = keras.saving.load_model(tmp_path / "o.keras")
    memory = snconvert.apply(model, **options)
    sigma = report.layers[-1].sigma
    exact = 2.1849203 if size else 2.25 * 1.0195911582083184
    assert sigma == pytest.approx(exact, rel=1e-6)
    x = np.random.default_rng(0).normal(size=(1, 14, 14, 2)).astype("float32")
    outputs = np.asarray(model(x)) / (1 if mode == "gain" else sigma)
    for patched in (file, memory):
        (norm,) = patched.layers[-1].spectral_norms().values()
        assert float(norm) == pytest.approx(sigma, rel=1e-6)
        np.testing.assert_allclose(np.asarray(patched(x)), outputs, rtol=1e-6, atol=1e-6)
    assert not snconvert.verify(tmp_path / "m.keras", tmp_path / "o.keras").differences


def test_sizes_that_are_not_known(tmp_path):
    """Without an input size sigma is a bound for every size, and the report says so."""
    model = keras.Sequential([keras.Input((None, None, 3)), layers.Conv2D(4, 3, padding="same")])
    model.save(tmp_path / "m.keras")
    report = snconvert.apply_file(
        tmp_path / "m.keras", tmp_path / "o.keras", conv=True, norm="operator"
    )
    (found,) = [layer for layer in report.layers if layer.status == "converted"]
    assert found.reason is not None
    assert "every size" in found.reason
    assert snconvert.plan(model, conv=True, norm="operator").layers[-1].reason == found.reason
    patched = keras.saving.load_model(tmp_path / "o.keras")
    effective = keras.Sequential([keras.Input((9, 9, 3)), layers.Conv2D(4, 3, padding="same")])
    effective.layers[0].kernel.assign(patched.layers[0].effective_kernel())
    at_nine = snconvert.plan(effective, conv=True, norm="operator").layers[-1].sigma
    assert 0.7 < at_nine <= 1 + 1e-6


def test_command_line(plain, tmp_path):
    """The table says what sigma is, and how large the operator norm can be where sigma is not that
    norm; the JSON keeps its keys."""
    out = tmp_path / "o.keras"
    base = ["apply", str(plain), "--kinds", "all", "-o", str(out), "--force"]
    for norm, beside in (("matrix", True), ("operator", False)):
        done = CliRunner().invoke(commands.app, [*base, "--norm", norm])
        assert done.exit_code == 0, done.output
        assert f"--norm {norm}" in done.output
        assert ("operator norm before" in done.output) == beside
        assert (" <= " in done.output.replace("\u2264", "<=")) == beside
    told = json.loads(
        CliRunner().invoke(commands.app, [*base, "--norm", "operator", "--json"]).stdout
    )
    assert told["norm"] == "operator"
    expected = [
        "path",
        "class",
        "kernel",
        "status",
        "reason",
        "new_class",
        "sigma",
        "sigma_after",
        "residual",
        "operator_range",
        "proved",
        "kernels",
    ]
    assert all(list(layer) == expected for layer in told["layers"])
    seen = snconvert.inspect(out)
    sigmas = {layer["path"]: layer["sigma"] for layer in told["layers"]}
    assert {layer.path: layer.sigma for layer in seen.layers} == sigmas


def test_files_from_before_the_option():
    """A layer without the entry `norm` has the norm of the matrix."""
    layer = snconvert.SpectralConv2D(3, 3)
    entry = layer.get_config()
    del entry["norm"]
    assert type(layer).from_config(entry).norm == "matrix"


def test_refusals(plain, tmp_path):
    """Other targets know one norm, and a layer without a padding that exists says so."""
    with pytest.raises(OptionError, match="matrix only"):
        snconvert.apply_file(plain, tmp_path / "o.keras", norm="operator", target="keras")
    with pytest.raises(OptionError, match="matrix only"):
        snconvert.apply(model_of_all_kinds(), norm="operator", target="keras")
    (kernel,) = snconvert.rules.RULES["Conv2D"].kernels
    with pytest.raises(SourceError, match="`padding` is 'reflect'"):
        kernel.map_of("operator", (3, 3, 2, 2), {"padding": "reflect"}, (None, 5, 5, 2))
