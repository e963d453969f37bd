"""Laws of every format, and of the table that holds them."""

import re
import shutil
import subprocess
import zipfile

import pytest
from places import DATA, ROOT

import snconvert
from snconvert.errors import OutputError
from snconvert.formats.table import FORMATS, open_model

MODELS = DATA / "models"
EXAMPLES = {
    "keras3_archive": lambda folder: shutil.copy(MODELS / "a18_assets.keras", folder / "in.keras"),
    "keras3_folder": lambda folder: shutil.copytree(MODELS / "a16_dir_h5dir", folder / "in"),
}
"""The name of each format -> a function that makes a model of it in a folder, and returns its path.
It has a Dense layer."""


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


def test_every_example_is_of_a_format():
    """No example outlives its row."""
    assert EXAMPLES.keys() <= FORMATS.keys()


def test_a_model_is_recognised_by_its_row(name, model):
    """The first row that recognises a model is that of its format, which reads all of it."""
    with open_model(model) as source:
        assert source.format == name
        assert source.config.startswith(b"{")
        assert source.weights.pread(4, 0) == b"\x89HDF"
        assert source.weights.size <= source.size


def test_a_result_is_a_model_of_keras_3(name, model, tmp_path):
    """What is written is an archive or a folder of Keras 3, proved to be the input, converted."""
    out = tmp_path / "out"
    report = snconvert.apply_file(model, out, verify=True)
    assert report.converted
    with open_model(out) as result:
        assert result.format in {"keras3_archive", "keras3_folder"}
        assert FORMATS[result.format].writer is FORMATS[name].writer
    assert snconvert.verify(model, out)


def test_removing_gives_the_weights_back(model, tmp_path):
    """A conversion undone has the arrays of the input, bit for bit."""
    snconvert.apply_file(model, tmp_path / "sn")
    snconvert.remove_file(tmp_path / "sn", tmp_path / "plain")
    assert snconvert.verify(model, tmp_path / "plain")
    assert not snconvert.verify(model, tmp_path / "plain").changes


def test_a_result_of_another_form_does_not_replace_its_input(name, model):
    """In place, a file stays a file and a folder a folder; what cannot is refused."""
    if FORMATS[name].writer.folder == model.is_dir():
        snconvert.apply_file(model, in_place=True)
        with open_model(model) as source:
            assert source.format == name
        return
    with pytest.raises(OutputError):
        snconvert.apply_file(model, in_place=True)


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
    """`docs/adding-a-format.md` shows a difference to the code as it is."""
    page = (ROOT / "docs" / "adding-a-format.md").read_text()
    change = "".join(re.findall(r"^```diff\n(.*?)^```$", page, re.DOTALL | re.MULTILINE))
    result = subprocess.run(
        ["git", "apply", "--check", "-"],
        input=change,
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, "")
