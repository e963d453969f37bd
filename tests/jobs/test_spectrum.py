"""Spectra of whole models, in files and in memory, and what is told of them beforehand."""

from __future__ import annotations

import json
from pathlib import Path

import keras
import numpy as np
import pytest
from saved_models import saved
from zoo import ZOO, randomize

import snconvert
from snconvert.core.matrix_view import MatrixView
from snconvert.core.report import Progress, Report
from snconvert.core.spectrum import Spectrum
from snconvert.errors import KernelError
from snconvert.jobs import spectrum
from snconvert.jobs.requests import Task
from snconvert.weights.contents import Dataset
from snconvert.weights.extent import Extent


def by_kernel(report: Report) -> dict[tuple[str, str], Spectrum | None]:
    return {
        (layer.path, kernel.name): kernel.spectrum
        for layer in report.layers
        for kernel in layer.kernels
    }


@pytest.mark.parametrize("name", ["many", "recurrent", "convolutional", "mixed_float16", "tokens"])
def test_files_and_live_models_have_the_same(name: str, tmp_path: Path) -> None:
    """Every kernel that has a sigma has a spectrum which begins with it, the same to the bit in a
    file and in memory."""
    path = saved(name, tmp_path)
    report = snconvert.inspect(path, spectrum=True)
    found = by_kernel(report)
    assert found == by_kernel(snconvert.inspect(keras.models.load_model(path), spectrum=True))
    assert found
    for layer in report.layers:
        for kernel in layer.kernels:
            told = found[layer.path, kernel.name]
            assert told is not None
            assert told.largest == pytest.approx(kernel.sigma, rel=1e-6)
    assert set(by_kernel(snconvert.inspect(path)).values()) == {None}


def test_a_converted_model_has_the_spectra_of_its_raw_kernels(tmp_path: Path) -> None:
    """As sigma, spectra are those of what is stored, by whatever norm a layer is normalised."""
    path, out = saved("convolutional", tmp_path), tmp_path / "out.keras"
    before = by_kernel(snconvert.inspect(path, spectrum=True))
    snconvert.apply_file(path, out, conv=True, norm="operator")
    assert by_kernel(snconvert.inspect(out, spectrum=True)) == before
    model = keras.models.load_model(out)
    assert by_kernel(snconvert.inspect(model, spectrum=True)) == before


def test_a_model_seen_through_a_wrapper(tmp_path: Path) -> None:
    """With the target that puts another object around layers, and through Keras."""
    path = saved("sequential", tmp_path)
    found = by_kernel(snconvert.inspect(path, spectrum=True))
    model = keras.models.load_model(path)
    assert by_kernel(snconvert.inspect(model, target="keras", spectrum=True)) == found
    assert by_kernel(snconvert.inspect(path, imports=["keras"], spectrum=True)) == found


def test_kernels_without_a_spectrum(tmp_path: Path) -> None:
    """A kernel of NaN has none, as it has no sigma; one of zeros has one of zeros."""
    model = randomize(ZOO["sequential"]())
    kernels = [layer.kernel for layer in model.layers if isinstance(layer, keras.layers.Dense)]
    kernels[0].assign(np.full(kernels[0].shape, np.nan))
    kernels[1].assign(np.zeros(kernels[1].shape))
    model.save(tmp_path / "m.keras")
    for source in (tmp_path / "m.keras", model):
        found = by_kernel(snconvert.inspect(source, spectrum=True))
        assert len(found) == len(kernels) - 1
        (zeros,) = [told for told in found.values() if told is not None and not told.largest]
        assert (zeros.stable_rank, zeros.effective_rank, zeros.condition) == (0, 0, None)


def test_the_json_is_strict(tmp_path: Path) -> None:
    """`spectrum` is a member of the kernels that have one, where it was asked for; no number in it
    is infinite or NaN."""
    path = saved("recurrent", tmp_path)
    text = json.dumps(snconvert.inspect(path, spectrum=True).as_json(), allow_nan=False)
    kernels = [kernel for layer in json.loads(text)["layers"] for kernel in layer["kernels"]]
    assert kernels
    assert {*kernels[0]["spectrum"]} == {*Spectrum._fields}
    plain = json.dumps(snconvert.inspect(path).as_json())
    assert '"spectrum":' not in plain


def test_what_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before long work its cost is told, once; then how far it is, in bytes."""
    path, told = saved("sequential", tmp_path), list[Progress]()
    snconvert.inspect(path, spectrum=True, progress=told.append)
    spectra = [done for done in told if done.stage == "spectra"]
    assert [done.done for done in spectra] == sorted(done.done for done in spectra)
    assert spectra[-1].done == spectra[-1].total > 0
    assert not any(done.what for done in spectra if not done.done)
    monkeypatch.setattr("snconvert.core.spectrum.seconds_for", lambda _: 30.0)
    told.clear()
    snconvert.inspect(path, spectrum=True, progress=told.append)
    first = next(done for done in told if done.stage == "spectra")
    assert (first.done, first.what.partition(", ")[2]) in {(0, "about 60 s"), (0, "about 30 s")}


def tasks(folder: Path, shapes: list[tuple[int, int]]) -> tuple[Extent, list[Task], list[Path]]:
    """Returns kernels of random numbers one behind the other in a file."""
    rng, made, offset = np.random.default_rng(0), [], 0
    with (folder / "weights").open("wb") as file:
        for index, shape in enumerate(shapes):
            kernel = rng.standard_normal(shape).astype("<f4")
            file.write(kernel.tobytes())
            data = Dataset(shape, "float32", "little", offset, kernel.nbytes)
            view = MatrixView.of(shape)
            made.append(Task((f"layer{index}", "Dense"), "k", data, view, required=False))
            offset += kernel.nbytes
    return (folder / "weights").open("rb"), made, offset


def test_side_by_side_as_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forks find the same, in the order of the kernels, while large ones wait for each other."""
    file, made, size = tasks(tmp_path, [(5, 4), (60, 80), (3, 90), (70, 60), (1, 1)])
    with file:
        extent = Extent(file.fileno(), 0, size)
        alone = spectrum.spectra(extent, made)
        monkeypatch.setattr(spectrum, "_WORTH_FORKS", 0.0)
        monkeypatch.setattr(spectrum, "LARGE_ORDER", 10)
        monkeypatch.setattr(spectrum, "processes", lambda: 3)
        told: list[tuple[str, int]] = []
        assert spectrum.spectra(extent, made, report=told.append) == alone
    assert [found.total for found in alone if found] == [4, 60, 3, 60, 1]
    assert sorted(name for name, _ in told) == [task.layer[0] for task in made]


def test_too_little_memory_is_told_of_the_layer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A spectrum for which there is no memory names its layer and the way out."""

    def none_left(*_: object, **__: object) -> None:
        raise MemoryError

    file, made, size = tasks(tmp_path, [(5, 4)])
    monkeypatch.setattr(spectrum, "spectrum_of", none_left)
    with file, pytest.raises(KernelError, match=r"^layer0 \(Dense\): its spectrum takes .* GB"):
        spectrum.spectra(Extent(file.fileno(), 0, size), made)


def test_a_matrix_that_is_too_large_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The report warns of each kernel that has no spectrum for its size."""
    monkeypatch.setattr("snconvert.linalg.spectrum.LARGEST_ORDER", 1)
    report = snconvert.inspect(randomize(ZOO["sequential"]()), spectrum=True)
    told = [text for text in report.warnings if "no spectrum of kernel" in text]
    missing = [name for name, found in by_kernel(report).items() if found is None]
    assert len(told) == len(missing) > 0
