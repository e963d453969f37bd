"""Laws of every format, and of the table that holds them."""

import re
import shutil
import subprocess
import zipfile

import pytest
from places import DATA, ROOT
from shards import spread

import snconvert
from snconvert.errors import OptionError, OutputError, SourceError
from snconvert.formats.table import FORMATS, open_model

MODELS = DATA / "models"


def preset(folder):
    """Makes a preset of keras-hub, of a model whose configuration holds its layers."""
    shutil.copytree(MODELS / "a16_dir_h5dir", folder / "in")
    (folder / "in" / "preprocessor.json").write_text("{}")
    return folder / "in"


def sharded(folder):
    """Spreads the weights of an unzipped archive over two files, as `max_shard_size` does."""
    shutil.copytree(MODELS / "a16_dir_h5dir", folder / "in")
    return spread(folder / "in")


def weights_and_config(folder):
    """Makes what `save_weights` and `to_json` of Keras 3 give."""
    with zipfile.ZipFile(MODELS / "a01_seq_plain.keras") as archive:
        (folder / "config.json").write_bytes(archive.read("config.json"))
        (folder / "in.weights.h5").write_bytes(archive.read("model.weights.h5"))
    return folder / "in.weights.h5"


def keras2_folder(folder):
    """Unzips an archive of Keras 2."""
    with zipfile.ZipFile(MODELS / "k215_seq.keras") as archive:
        archive.extractall(folder / "in")
    return folder / "in"


EXAMPLES = {
    "hdf5_model": lambda folder: shutil.copy(MODELS / "k215_seq.h5", folder / "in.h5"),
    "keras2_archive": lambda folder: shutil.copy(MODELS / "k2.13.1_seq.keras", folder / "in.keras"),
    "keras2_folder": keras2_folder,
    "keras3_archive": lambda folder: shutil.copy(MODELS / "a18_assets.keras", folder / "in.keras"),
    "keras3_folder": lambda folder: shutil.copytree(MODELS / "a16_dir_h5dir", folder / "in"),
    "weights_and_config": weights_and_config,
    "sharded": sharded,
    "preset": preset,
}
"""The name of each format -> a function that makes a model of it in a folder, and returns its path.
It has a Dense layer. A `config.json` beside it is its configuration."""


@pytest.fixture(params=FORMATS)
def name(request):
    """The name of a format that has an example."""
    if request.param not in EXAMPLES:
        pytest.fail(
            f"the format {request.param!r} has no example: add to EXAMPLES in {__file__} the line\n"
            f"    {request.param!r}: lambda folder: ...  # makes a model, returns its path"
        )
    return request.param


@pytest.fixture
def model(name, tmp_path):
    """The path of a model of that format."""
    return EXAMPLES[name](tmp_path)


@pytest.fixture
def beside(name, tmp_path):
    """The option that names the configuration beside that model, if it takes one."""
    return {"config": tmp_path / "config.json"} if name == "weights_and_config" else {}


def test_every_example_is_of_a_format():
    """No example outlives its row."""
    assert EXAMPLES.keys() <= FORMATS.keys()


def test_a_model_is_recognised_by_its_row(name, model, beside):
    """The first row that recognises a model is that of its format, which reads all of it."""
    with open_model(model, **beside) as source:
        assert source.format == name
        assert source.config.startswith(b"{")
        assert source.weights.pread(4, 0) == b"\x89HDF"
        assert source.weights.stored <= source.size


def test_a_result_is_a_model_of_keras_3(name, model, beside, tmp_path):
    """What is written is an archive or a folder of Keras 3, proved to be the input, converted."""
    out = tmp_path / "out"
    report = snconvert.apply_file(model, out, verify=True, **beside)
    assert report.converted
    with open_model(out) as result:
        assert result.format in {"keras3_archive", "keras3_folder", "sharded", "preset"}
        assert FORMATS[result.format].writer is FORMATS[name].writer
    assert snconvert.verify(model, out, **beside)


def test_removing_gives_the_weights_back(model, beside, tmp_path):
    """A conversion undone has the arrays of the input, bit for bit."""
    snconvert.apply_file(model, tmp_path / "sn", **beside)
    snconvert.remove_file(tmp_path / "sn", tmp_path / "plain")
    assert snconvert.verify(model, tmp_path / "plain", **beside)
    assert not snconvert.verify(model, tmp_path / "plain", **beside).changes


def test_a_result_of_another_form_does_not_replace_its_input(name, model, beside):
    """In place, a file of Keras 3 stays a file and a folder a folder; what cannot is refused."""
    before = None if model.is_dir() else model.read_bytes()
    if not FORMATS[name].older:
        snconvert.apply_file(model, in_place=True)
        with open_model(model) as source:
            assert source.format == name
        return
    with pytest.raises(OutputError, match="takes the place of no older file"):
        snconvert.apply_file(model, in_place=True, **beside)
    assert model.is_dir() or model.read_bytes() == before


def test_a_configuration_beside_a_model_that_has_one(name, tmp_path):
    """It goes with weights alone: beside a model it is wrong usage."""
    model, given = EXAMPLES[name](tmp_path), tmp_path / "given.json"
    given.write_text("{}")
    if name == "weights_and_config":
        with pytest.raises(SourceError, match=r"weights only .*config="):
            open_model(model)
        return
    with pytest.raises(OptionError, match="a configuration of its own"):
        open_model(model, config=given)


def test_no_row_recognises_what_is_no_model(tmp_path):
    """A file is refused by what it is, a zip archive and a folder by what they lack."""
    (tmp_path / "text").write_text("hello")
    with zipfile.ZipFile(tmp_path / "zip", "w") as archive:
        archive.writestr("hello", "hello")
    (tmp_path / "folder").mkdir()
    for path, what in {
        "text": "not a zip archive",
        "zip": "no config",
        "folder": "no config",
    }.items():
        with pytest.raises(snconvert.SnconvertError, match=what):
            open_model(tmp_path / path)


@pytest.mark.skipif(shutil.which("git") is None, reason="there is no git")
def test_the_change_that_the_page_shows_applies():
    """The page on adding a format shows how one came into the code as it is: it can go again."""
    page = (ROOT / "docs" / "contributing" / "adding-a-format.md").read_text()
    change = "".join(re.findall(r"^```diff\n(.*?)^```$", page, re.DOTALL | re.MULTILINE))
    result = subprocess.run(
        ["git", "apply", "--check", "--reverse", "-"],
        input=change,
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, "")
