"""Every class of error, provoked for real: where, what, with which value, and the way out."""

from __future__ import annotations

import builtins
import errno
import inspect
import io
import os
import pickle
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import h5py
import handmade
import numpy as np
import pytest
from places import CASES, MODELS

from snconvert import api, errors
from snconvert.formats import table

Folder = Path


def case(name: str, *options: object) -> Callable[[Folder], list[object]]:
    """Returns what makes the arguments that convert a case of the corpus with `options`."""
    return lambda folder: ["apply", CASES / name, "-o", folder / "out", *options]


def plain(*options: object) -> Callable[[Folder], list[object]]:
    """Returns what makes the arguments that convert a good file with `options`."""
    model = MODELS / "a01_seq_plain.keras"
    return lambda folder: ["apply", model, "-o", folder / "out", *options]


def recipe(text: str) -> Callable[[Folder], list[object]]:
    """Returns what makes the arguments that convert a good file by a recipe."""

    def make(folder: Folder) -> list[object]:
        (folder / "recipe.toml").write_text(text)
        return [*plain()(folder), "--recipe", folder / "recipe.toml"]

    return make


def nan_kernel(folder: Folder) -> list[object]:
    kernel = np.ones((4, 4), "f4")
    kernel.flat[[0, 5, 7]] = np.nan, np.inf, np.nan
    file = io.BytesIO()
    with h5py.File(file, "w") as weights:
        weights["layers/dense/vars/0"] = kernel
        weights["layers/dense/vars/1"] = kernel[3]
    model = handmade.sequential("model", [handmade.dense("d0", 4)], 4)
    handmade.write(folder / "nan.keras", model, file.getvalue())
    return ["apply", folder / "nan.keras", "-o", folder / "out"]


def taken(folder: Folder) -> list[object]:
    (folder / "out").write_text("mine")
    return plain()(folder)


def no_folder(folder: Folder) -> list[object]:
    return ["apply", MODELS / "a01_seq_plain.keras", "-o", folder / "missing" / "out"]


def is_folder(folder: Folder) -> list[object]:
    (folder / "out").mkdir()
    (folder / "out" / "config.json").touch()  # that of a model
    return plain()(folder)


def twice(folder: Folder) -> list[object]:
    api.apply_file(MODELS / "a01_seq_plain.keras", folder / "sn.keras", only="first")
    return ["apply", folder / "sn.keras", "-o", folder / "out", "--only", "first"]


def url(folder: Folder) -> list[object]:
    return ["apply", "nope://example.com/a.keras?download=1", "-o", folder / "out"]


@dataclass(frozen=True)
class Message:
    """One way to an error and what its message must hold.

    Attributes:
        kind: The class of the error.
        arguments: Makes the command line in an empty folder.
        where: The file, and the layer with its class, or the option.
        what: What is wrong.
        value: The value that is there.
        way_out: What to do.
        code: The exit code.
    """

    kind: type[errors.SnconvertError]
    arguments: Callable[[Folder], list[object]]
    where: str
    what: str
    value: str
    way_out: str
    code: int = 1


MESSAGES = (
    Message(errors.OptionError, plain("--bound=-1"), "bound", "is", "-1", "above 0", code=2),
    Message(errors.OptionError, plain("--mode=soft"), "mode", "is", "'soft'", "hard, cap", code=2),
    Message(errors.OptionError, recipe("bound = -3"), "recipe.toml: bound", "is", "-3", "above 0"),
    Message(
        errors.UnknownOptionError,
        recipe("bond = 1"),
        "recipe.toml: ",
        "entry",
        "'bond'",
        "Did you mean bound",
    ),
    Message(
        errors.RecipeNotFoundError,
        plain("--recipe", "no.toml"),
        "no.toml: ",
        "cannot be read",
        "No such file",
        "Check the path",
    ),
    Message(
        errors.SourceNotFoundError,
        lambda folder: ["apply", folder / "no.keras", "-o", folder / "out"],
        "no.keras: ",
        "there is no",
        "such file",
        "Check the path",
    ),
    Message(
        errors.UnsupportedError,
        url,
        "com/a.keras: ",
        "nothing is known",
        "nope://",
        "Give a path, or a URL",
    ),
    Message(
        errors.SourceError,
        case("json_bigint.keras"),
        "json_bigint.keras: config.json .* at character",
        "an integer has",
        "5000 digits",
        "Save the model again",
    ),
    Message(
        errors.SourceError,
        case("zip_bomb_weights.keras"),
        "zip_bomb_weights.keras: the member 'model.weights.h5'",
        "would expand",
        "to 314572800 bytes",
        "Save the model again",
    ),
    Message(
        errors.SourceError,
        case("h5_rank32.keras"),
        "h5_rank32.keras: layers/dense/vars/0",
        "too high a rank",
        r"\(1, 1, 1",
        "Save the model again",
    ),
    Message(
        errors.UnsafeError,
        case("code_module_builtins_eval.keras"),
        r"code_module_builtins_eval.keras: x \(Dense\): `activation`",
        "which no model needs",
        "`builtins.eval`",
        "Do not open this file",
    ),
    Message(
        errors.UnsafeError,
        case("code_lookup_url.keras"),
        r"code_lookup_url.keras: s \(IntegerLookup\)",
        "vocabulary from the path or URL",
        "`http://127.0.0.1:9/vocab.txt`",
        "Do not open this file",
    ),
    Message(
        errors.WeightsError,
        case("h5_transposed.keras"),
        r"h5_transposed.keras: a \(Dense\)",
        "the stored shape of variable 0 is",
        r"\(4, 5\).*\(5, 4\)",
        "save the model again",
    ),
    Message(
        errors.WeightsError,
        case("h5_extra_group.keras"),
        "h5_extra_group.keras: the weights",
        "belongs to no layer",
        "'layers/ghost'",
        "save the model again",
    ),
    Message(
        errors.DoneError,
        lambda folder: ["upgrade", MODELS / "a01_seq_plain.keras", "-o", folder / "out"],
        "a01_seq_plain.keras",
        "nothing to upgrade",
        "Keras 3",
        "Use it as it is",
    ),
    Message(
        errors.KernelError, nan_kernel, r"nan.keras: d0 \(Dense\)", "holds", "3", "--exclude d0"
    ),
    Message(
        errors.KernelError,
        case("w_huge.keras"),
        r"w_huge.keras: a \(Dense\)",
        "float32 cannot hold",
        r"1\.3\de\+39",
        "Rescale the kernel",
    ),
    Message(
        errors.SelectionError,
        plain("--only", "nix*"),
        "a01_seq_plain.keras: ",
        "matches no",
        "'nix[*]'",
        "first, dense|dense, first",
    ),
    Message(
        errors.NothingToConvertError,
        case("cfg_no_dense.keras"),
        "cfg_no_dense.keras: ",
        "nothing to convert",
        "no layer is of a kind that can be",
        "snconvert inspect",
    ),
    Message(
        errors.NothingLeftError,
        twice,
        "sn.keras: ",
        "nothing left to convert",
        r"1 layer is converted already \(first: spectral already\); dense: not matched",
        "remove` or `snconvert bake` undoes that",
    ),
    Message(
        errors.SelectionError,
        lambda folder: ["apply", MODELS / "a13_quant_int8.keras", "-o", folder / "out"],
        "int8.keras: ",
        "nothing that can be converted",
        r"dense: quantized layers \(int8\)",
        "before it is quantized",
    ),
    Message(
        errors.UnsupportedError,
        case("cfg_lora.keras", "--only", "a"),
        r"cfg_lora.keras: a \(Dense\)",
        "LoRA adapters",
        "lora_rank 2",
        "do not name the layer",
    ),
    Message(errors.OutputError, is_folder, "out: ", "is a folder", "folder", "Name a file"),
    Message(errors.OutputExistsError, taken, "out: ", "exists", "already", "Use --force"),
    Message(
        errors.OutputFolderError, no_folder, "missing/out: ", "does not exist", "missing", "Create"
    ),
)


def kinds() -> set[type[errors.SnconvertError]]:
    """Returns all error classes but their base, which is never raised itself."""
    found = {item for _, item in inspect.getmembers(errors, inspect.isclass)}
    return {
        item
        for item in found
        if issubclass(item, errors.SnconvertError) and item is not errors.SnconvertError
    }


def provoke(arguments: list[object]) -> None:
    """Does in Python what the arguments mean on the command line."""
    (verb, source, _, output), rest = arguments[:4], [str(item) for item in arguments[4:]]
    words = [word for item in rest for word in item.removeprefix("--").split("=")]
    options: dict[str, object] = dict(zip(words[::2], words[1::2], strict=True))
    if "bound" in options:
        options["bound"] = float(str(options["bound"]))
    if "recipe" in options:
        options["recipe_file"] = options.pop("recipe")
    if "only" in options:
        options["only"] = [options["only"]]
    getattr(api, f"{verb}_file")(str(source), str(output), **options)


def test_every_class_has_its_message() -> None:
    """A new class of error needs a way to it here; `root` has all permissions."""
    forbidden = {errors.SourcePermissionError, errors.OutputPermissionError}
    assert {message.kind for message in MESSAGES} == kinds() - forbidden


def test_what_is_forbidden(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A file that may not be read, and a folder that may not be written, are a `PermissionError`
    that knows the file."""
    model, out = MODELS / "a01_seq_plain.keras", str(tmp_path / "out.keras")
    with monkeypatch.context() as patch:
        patch.setattr(os, "access", lambda *_: False)
        with pytest.raises(PermissionError, match="cannot be written") as caught:
            api.apply_file(model, out)
    assert (type(caught.value), caught.value.filename) == (errors.OutputPermissionError, out)
    assert caught.value.errno == errno.EACCES

    def refuse(path: object, *_: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)

    monkeypatch.setattr(table, "FileSource", refuse)
    with pytest.raises(PermissionError, match="cannot be read \\(Permission denied") as caught:
        api.inspect(model)
    assert type(caught.value) is errors.SourcePermissionError
    assert caught.value.filename == str(model)


@pytest.mark.parametrize("kind", sorted(kinds(), key=lambda kind: kind.__name__))
def test_an_error_crosses_to_another_process(kind: type[errors.SnconvertError]) -> None:
    """All that an error knows survives pickling; of those of the system the file's name, too."""
    error = kind("what", "how", file="model.keras", path="head", class_name="Dense")
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 -- our own
    assert (type(copy), str(copy), vars(copy)) == (kind, str(error), vars(error))
    if isinstance(error, OSError):
        assert (copy.errno, copy.filename) == (error.errno, "model.keras")
        assert os.strerror(error.errno or 0) == copy.strerror


def ident(message: Message) -> str:
    return f"{message.kind.__name__}-{re.sub('[^a-z0-9]+', '-', message.what.lower())}"


@pytest.mark.parametrize("message", MESSAGES, ids=ident)
def test_a_message(
    message: Message, snconvert: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    """It says in one line where, what, with which value, and what to do; nothing is written."""
    arguments = message.arguments(tmp_path)
    before = sorted(os.listdir(tmp_path))
    result = snconvert(*arguments, "-q")
    assert result.returncode == message.code, result
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.isprintable()
    match = re.fullmatch(r"error: (.*?[^.])\. (.*)\.", line)
    assert match is not None, line
    assert re.search(f"{message.where}.*", match[1]), line
    assert re.search(message.what, match[1]), line
    assert re.search(message.value, match[1]), line
    assert re.search(message.way_out, line[line.index(match[1]) :]), line
    assert sorted(os.listdir(tmp_path)) == before
    with pytest.raises(errors.SnconvertError) as caught:
        provoke(arguments)
    assert type(caught.value) is message.kind


def test_a_cut_sentence_shows_that_it_is_cut() -> None:
    """What another program said is cut between two words, and keeps its dots."""
    long = errors.quoted("words of some length " * 20)
    assert long.endswith(("words...", "of...", "some...", "length..."))
    assert str(errors.SourceError(long, "Do this")) == f"{long} Do this."
    assert errors.quoted("two\nlines\x1b") == "two lines\\x1b"


def test_the_tree_is_drawn() -> None:
    """The drawing at the top of the module shows the classes that there are."""
    drawn = set(re.findall(r"\w+Error\b", str(errors.__doc__))) - {"SnconvertError", *dir(builtins)}
    assert drawn == {kind.__name__ for kind in kinds()}


@pytest.mark.parametrize("kind", sorted(kinds(), key=lambda kind: kind.__name__))
def test_nothing_escapes_from_a_message(kind: type[errors.SnconvertError]) -> None:
    """Whatever is in the parts, a message is one printable line."""
    odd = "a\nb\x1b[31m\ud800\u202e"
    error = kind(f"what {odd}", f"how {odd}", file=odd, path=odd, class_name=odd)
    assert str(error).isprintable()
    assert "a\\nb" in str(error)
